/*
 * fuzz_files.h: what the fuzz targets of file formats share: everything a program would ask of a
 * checkpoint that opened, and, without libFuzzer, a driver that mutates seed files:
 *
 *     fuzz_gguf [count] [seed] FILE...
 */
#ifndef FUZZ_FILES_H
#define FUZZ_FILES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_FLOATS = 1 << 16, FUZZ_SOURCE = 1 << 11 }; /* elements of a row; bytes of a tensor */

/* A refusal says why, in nothing that a terminal would obey. */
static void fuzz_refused(void)
{
    const char *message = woq_last_message();
    if (!*message)
        abort();
    for (; *message; message++)
        if ((unsigned char)*message < 32 || *message == 127)
            abort();
}

static void fuzz_tensor(const struct woq_checkpoint *c, const struct woq_tensor *t)
{
    static float out[FUZZ_FLOATS];
    struct woq_weights_source source;
    const uint64_t columns = t->rank ? t->shape[t->rank - 1] : 1;
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < t->rank; i++)
        rows *= t->shape[i];
    if (woq_checkpoint_find(c, t->name) != t)
        abort();
    if (columns <= FUZZ_FLOATS && rows) {
        (void)woq_tensor_read(t, 0, 1, out);
        (void)woq_tensor_read(t, rows - 1, 1, out);
    }
    if (t->bytes < FUZZ_SOURCE && !woq_tensor_source(t, &source)) {
        for (uint64_t i = 0; i < source.n && source.k <= FUZZ_FLOATS; i++)
            if (woq_format_decode_row(&source.format, source.n, source.k, source.codes, 0,
                                      source.scales, source.zeros, NULL, i, out))
                abort();
        woq_source_release(&source);
    }
    const char *suffix = strstr(t->name, ".weight_packed");
    if (suffix) {
        char name[WOQI_CKPT_MAX_NAME + 1];
        snprintf(name, sizeof name, "%.*s", (int)(suffix - t->name), t->name);
        if (!woq_checkpoint_packed_source(c, name, &source))
            woq_source_release(&source);
    }
}

static void fuzz_checkpoint(const struct woq_checkpoint *c)
{
    struct woq_model_config config;
    const char *key, *value;
    for (size_t i = 0; i < woq_checkpoint_meta_count(c); i++) {
        if (woq_checkpoint_meta(c, i, &key, &value) || !value || !woqi_ckpt_meta_find(c, key))
            abort();
        if (memchr(value, 27, strlen(value)))
            abort();
    }
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++)
        fuzz_tensor(c, woq_checkpoint_tensor(c, i));
    (void)woq_checkpoint_config(c, &config);
}

#ifdef FUZZ_STANDALONE

static uint64_t fuzz_state = 1;

static uint64_t fuzz_random(uint64_t limit)
{
    fuzz_state = fuzz_state * 6364136223846793005u + 1442695040888963407u;
    return (fuzz_state >> 32) % limit;
}

static void fuzz_mutate(uint8_t *bytes, size_t *size)
{
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '9', '-'};
    for (uint64_t left = 1 + fuzz_random(6); left && *size; left--) {
        const size_t at = (size_t)fuzz_random(*size), run = (size_t)fuzz_random(9);
        switch (fuzz_random(5)) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << fuzz_random(8));
            break;
        case 1:
            bytes[at] = odd[fuzz_random(sizeof odd)];
            break;
        case 2:
            *size = at;
            break;
        case 3:
            memset(bytes + at, odd[fuzz_random(sizeof odd)], run < *size - at ? run : *size - at);
            break;
        default:
            memmove(bytes + at, bytes + fuzz_random(at + 1), run < *size - at ? run : *size - at);
            break;
        }
    }
}

static uint8_t *fuzz_load(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(FUZZ_FLOATS);
    if (!file || !bytes) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    *size = fread(bytes, 1, FUZZ_FLOATS, file);
    fclose(file);
    return bytes;
}

int main(int argc, char **argv)
{
    const unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    fuzz_state = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    for (int i = 3; i < argc; i++) {
        size_t size;
        uint8_t *seed = fuzz_load(argv[i], &size);
        LLVMFuzzerTestOneInput(seed, size);
        for (unsigned long j = 0; j < count; j++) {
            size_t left = size;
            /* Of just this size, so that AddressSanitizer sees a byte too far. */
            uint8_t *bytes = malloc(size ? size : 1);
            if (!bytes)
                return 1;
            memcpy(bytes, seed, size);
            fuzz_mutate(bytes, &left);
            uint8_t *exact = realloc(bytes, left ? left : 1);
            LLVMFuzzerTestOneInput(exact ? exact : bytes, left);
            free(exact ? exact : bytes);
        }
        free(seed);
    }
    printf("%lu inputs from each of %d files\n", count, argc > 3 ? argc - 3 : 0);
    return 0;
}

#endif
#endif
