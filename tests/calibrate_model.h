/*
 * calibrate_model.h: a small model with a tokenizer and texts in a temporary folder, calibrated quantizations of it,
 * and what tests ask of them. The tokenizer has a token for each of 28 letters.
 */
#ifndef TEST_CALIBRATE_MODEL_H
#define TEST_CALIBRATE_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <woq/calibrate.h>

#include "support/device.h"
#include "support/expect.h"
#include "support/folder.h"
#include "support/tiny_model.h"

enum { LAYERS = 2, HIDDEN = 64, INNER = 96, WINDOW = 24, SAMPLES = 8, LETTERS = 28, TEXT = 800 };

static const struct tiny_model tiny = {.architecture = "llama", .layers = LAYERS, .hidden = HIDDEN, .heads = 4,
                                       .kv_heads = 2, .head_dim = 16, .intermediate = INNER};

static struct woq_device *device;

/* Of the folder: what is left behind is one more. */
static inline unsigned count_entries(void)
{
    unsigned count = 0;
    DIR *dir = opendir(root);
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* ---- Texts ---- */

/* A letter is followed by one of four, which the seed draws. */
static inline void draw_letters(uint64_t seed, size_t count, int32_t *out)
{
    uint64_t state = seed * 2654435761u + 1;
    int32_t at = 0;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        at = (int32_t)((at * 7 + (int32_t)(state >> 62) * 3 + 1) % LETTERS);
        out[i] = at;
    }
}

static inline void write_text(const char *name, uint64_t seed, size_t count)
{
    int32_t *letters = malloc(count * sizeof *letters);
    FILE *f = fopen(in_root(name), "wb");
    assert_true(f && letters);
    draw_letters(seed, count, letters);
    for (size_t i = 0; i < count; i++)
        fputc(letters[i] < 26 ? 'a' + letters[i] : letters[i] == 26 ? '\n' : ' ', f);
    assert_int_equal(fclose(f), 0);
    free(letters);
}

/* ---- The model ---- */

static inline void write_model(const char *name, const struct tiny_model *m)
{
    char path[192];
    assert_true(tiny_write(m, NULL, in_root(name)));
    snprintf(path, sizeof path, "%s/tokenizer.json", in_root(name));
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs("{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\","
          "\"vocab\":{", f);
    for (int i = 0; i < 26; i++)
        fprintf(f, "\"%c\":%d,", 'a' + i, i);
    fputs("\"\xc4\x8a\":26,\"\xc4\xa0\":27},\"merges\":[]}}\n", f);
    assert_int_equal(fclose(f), 0);
}

/* Multiplies `count` elements of a tensor of root/name, from `first` on. */
static inline void scale_tensor(const char *name, const char *tensor, uint64_t first, uint64_t count, float by)
{
    char path[192], key[128];
    uint64_t length = 0;
    snprintf(path, sizeof path, "%s/model.safetensors", in_root(name));
    snprintf(key, sizeof key, "\"%s\":", tensor);
    FILE *f = fopen(path, "r+b");
    assert_true(f && fread(&length, sizeof length, 1, f) == 1);
    char *header = calloc(1, length + 1);
    assert_int_equal(fread(header, 1, length, f), length);
    const char *at = strstr(header, key);
    at = at ? strstr(at, "\"data_offsets\":[") : NULL;
    assert_non_null(at);
    const uint64_t start = 8 + length + strtoull(at + strlen("\"data_offsets\":["), NULL, 10) + 4 * first;
    for (uint64_t i = 0; i < count; i++) {
        float v;
        fseek(f, (long)(start + 4 * i), SEEK_SET);
        assert_int_equal(fread(&v, 4, 1, f), 1);
        v *= by;
        fseek(f, (long)(start + 4 * i), SEEK_SET);
        assert_int_equal(fwrite(&v, 4, 1, f), 1);
    }
    free(header);
    assert_int_equal(fclose(f), 0);
}

static inline struct woq_checkpoint *open_model(const char *name)
{
    struct woq_checkpoint *c = NULL;
    if (woq_checkpoint_open(*name == '/' ? name : in_root(name), NULL, &c))
        fail_msg("%s", woq_last_message());
    return c;
}

/* ---- Calls ---- */

struct call {
    const char *model;
    struct woq_quantize_params q;
    struct woq_calibrate_params c;
    double stop;        /* progress at which it is stopped; 0 = never */
    const char *folder; /* made while it runs; NULL = none */
    unsigned steps;     /* of progress that were told */
    double last;        /* and the last of them */
    char logged[4096];
};

static inline bool call_progress(void *user, const char *what, uint32_t layer, uint32_t layers, double done)
{
    struct call *call = user;
    assert_true(what && *what && layer < layers && done >= call->last && done <= 1);
    call->steps++;
    call->last = done;
    if (call->folder)
        mkdir(call->folder, 0700);
    return !(call->stop > 0) || done < call->stop;
}

static inline void call_log(void *user, enum woq_log_level level, const char *message)
{
    struct call *call = user;
    const size_t size = strlen(call->logged);
    assert_int_equal(level, WOQ_LOG_WARNING);
    snprintf(call->logged + size, sizeof call->logged - size, "%s\n", message);
}

static inline struct call call_of(enum woq_method method, uint32_t bits, uint64_t group)
{
    struct call call = {.model = "model", .q = WOQ_QUANTIZE_PARAMS_INIT, .c = WOQ_CALIBRATE_PARAMS_INIT};
    call.q.bits = bits;
    call.q.group = group;
    call.c.method = method;
    call.c.text = in_root("text.txt");
    call.c.samples = SAMPLES;
    call.c.window = WINDOW;
    return call;
}

static inline enum woq_status calibrate(struct call *call, const char *out)
{
    struct woq_checkpoint *c = open_model(call->model);
    call->c.progress = call_progress;
    call->c.progress_user = call;
    call->c.log = call_log;
    call->c.log_user = call;
    call->steps = 0;
    call->last = 0;
    *call->logged = 0;
    const enum woq_status st = woq_quantize_calibrated(device, c, in_root(out), &call->q, &call->c);
    woq_checkpoint_close(&c);
    return st;
}

static inline void must_calibrate(struct call *call, const char *out)
{
    delete(out);
    if (calibrate(call, out))
        fail_msg("%s: %s", out, woq_last_message());
    char work[96];
    snprintf(work, sizeof work, ".%s.woq-work", out);
    assert_false(exists(work));
}

static inline void must_round(const struct call *call, const char *out)
{
    struct woq_checkpoint *c = open_model(call->model);
    delete(out);
    if (woq_quantize_checkpoint(c, in_root(out), &call->q))
        fail_msg("%s: %s", out, woq_last_message());
    woq_checkpoint_close(&c);
}

static inline void assert_logged(const struct call *call, const char *text)
{
    if (!strstr(call->logged, text))
        fail_msg("'%s' does not say '%s'", call->logged, text);
}

/* ---- What came out ---- */

/* malloc'ed, with a NUL behind it. */
static inline char *read_all(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *bytes = NULL;
    if (!f)
        fail_msg("there is no %s", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    bytes = calloc(1, *size + 1);
    assert_int_equal(fread(bytes, 1, *size, f), *size);
    fclose(f);
    return bytes;
}

static inline bool equal_files(const char *a, const char *b)
{
    size_t sizes[2];
    char *bytes[] = {read_all(a, &sizes[0]), read_all(b, &sizes[1])};
    const bool equal = sizes[0] == sizes[1] && !memcmp(bytes[0], bytes[1], sizes[0]);
    free(bytes[0]);
    free(bytes[1]);
    return equal;
}

static inline bool equal_weights(const char *a, const char *b)
{
    char paths[2][192];
    snprintf(paths[0], sizeof paths[0], "%s/model.safetensors", in_root(a));
    snprintf(paths[1], sizeof paths[1], "%s/model.safetensors", in_root(b));
    return equal_files(paths[0], paths[1]);
}

/* All files of two directories. */
static inline void assert_same_directory(const char *a, const char *b)
{
    unsigned counts[2] = {0};
    for (int i = 0; i < 2; i++) {
        DIR *dir = opendir(in_root(i ? b : a));
        assert_non_null(dir);
        for (struct dirent *e; (e = readdir(dir));) {
            char paths[2][512];
            if (*e->d_name == '.')
                continue;
            counts[i]++;
            snprintf(paths[0], sizeof paths[0], "%s/%s", in_root(a), e->d_name);
            snprintf(paths[1], sizeof paths[1], "%s/%s", in_root(b), e->d_name);
            if (!equal_files(paths[0], paths[1]))
                fail_msg("%s differs of %s and %s", e->d_name, a, b);
        }
        closedir(dir);
    }
    assert_true(counts[0] > 2 && counts[0] == counts[1]);
}

enum { PROBE = 64 };

/* Logits [PROBE][TINY_VOCABULARY] of a text that was not calibrated with. */
static inline void logits_of(const char *name, bool f16, float *logits)
{
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_checkpoint *c = open_model(name);
    struct woq_model *m = NULL;
    int32_t letters[PROBE];
    draw_letters(99, PROBE, letters);
    p.weights = f16 ? WOQ_MODEL_F16 : WOQ_MODEL_AS_STORED;
    p.context = PROBE;
    if (woq_model_create(device, c, &p, &m) || woq_model_forward(m, letters, PROBE, logits, PROBE))
        fail_msg("%s: %s", name, woq_last_message());
    woq_model_destroy(&m);
    woq_checkpoint_close(&c);
}

/* Energy of the difference of the logits from the original's, of the original's. */
static inline double distance(const char *model, const char *quantized)
{
    static float original[PROBE * TINY_VOCABULARY], made[PROBE * TINY_VOCABULARY];
    double energy = 0, error = 0;
    logits_of(model, true, original);
    logits_of(quantized, false, made);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        const double e = (double)made[i] - original[i];
        energy += (double)original[i] * original[i];
        error += e * e;
    }
    assert_true(energy > 0 && error == error);
    return error / energy;
}

/* ---- Group fixtures ---- */

static inline int begin(void **state)
{
    (void)state;
    if (!mkdtemp(root))
        return -1;
    write_model("model", &tiny);
    write_text("text.txt", 1, TEXT);
    device = test_open(NULL);
    return 0;
}

static inline int end(void **state)
{
    (void)state;
    const bool clean = test_close(&device);
    delete("");
    return clean ? 0 : -1;
}

#endif
