/*
 * fuzz_files.h: what the fuzz targets of file formats share: everything a program would ask of a
 * checkpoint that opened; fuzz_driver.h runs them without libFuzzer.
 */
#ifndef FUZZ_FILES_H
#define FUZZ_FILES_H

#include "checkpoint/checkpoint_impl.h"
#include "fuzz_driver.h"

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

static inline void fuzz_checkpoint(const struct woq_checkpoint *c)
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

#endif
