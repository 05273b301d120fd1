/*
 * samples.h: calibration samples: windows of tokens from texts, drawn by a seed.
 */
#ifndef WOQI_SAMPLES_H
#define WOQI_SAMPLES_H

#include <woq/tokenizer.h>

struct woqi_samples {
    uint32_t count, window;
    int32_t *tokens; /* [count][window] */
    uint64_t available; /* windows that the text had */
};

/*
 * file: UTF-8 text, or JSON lines, if its name ends in .jsonl: of each line the member "text" (a string), joined by
 * blank lines; lines of white space do not count. Text that spells a special token stays text. The tokens are cut into
 * windows one after the other; `count` of them are drawn without repetition by the seed (SplitMix64 and Fisher-Yates,
 * so every machine draws the same), and come in the text's order. A window begins with the begin-of-text token in place
 * of its first where the model's config says so. *out is released by woqi_samples_release, zeroed after a failure.
 * Returns WOQ_OK; INVALID_ARGUMENT (cannot be read; 0 samples or tokens); INVALID_DATA (fewer windows than asked:
 * tokens found and needed are named; a bad line: its number); OUT_OF_MEMORY.
 */
enum woq_status woqi_samples_read(const struct woq_tokenizer *tokenizer, const char *file, uint32_t count,
                                  uint32_t window, uint64_t seed, struct woqi_samples *out);
void woqi_samples_release(struct woqi_samples *s); /* accepts a zeroed one */

/* The draw itself: numbers[0 … count) become the windows that are taken, rising; numbers has room for `available`. */
void woqi_samples_draw(uint64_t *numbers, uint64_t available, uint32_t count, uint64_t seed);

#endif
