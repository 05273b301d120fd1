/* sources.c: stacked weight sources of random bytes. */
#include "sources.h"

#include <stdlib.h>

static void *make_random(uint64_t bytes, struct test_random *random)
{
    uint8_t *memory = malloc(bytes + 1);
    for (uint64_t i = 0; memory && i < bytes; i++)
        memory[i] = (uint8_t)random_bits(random);
    return memory;
}

/* Finite numbers of any type: no exponent of ones. */
static void *make_scales(enum woq_type type, uint64_t bytes, struct test_random *random)
{
    const uint64_t size = woq_type_size(type);
    uint8_t *memory = make_random(bytes, random);
    for (uint64_t i = size - 1; memory && i < bytes; i += size)
        memory[i] &= 0xbb;
    return memory;
}

static void *make_points(enum woq_code code, uint64_t bytes, struct test_random *random)
{
    uint8_t *memory = make_random(bytes, random);
    for (uint64_t i = 0; memory && code == WOQ_CODE_U4 && i < bytes; i++)
        memory[i] &= 15;
    return memory;
}

static uint32_t *make_g_idx(uint64_t k, uint64_t groups, struct test_random *random)
{
    uint32_t *g_idx = malloc(k * sizeof *g_idx);
    for (uint64_t c = 0; g_idx && c < k; c++)
        g_idx[c] = (uint32_t)random_below(random, groups);
    return g_idx;
}

static bool make_source(struct woq_weights_source *s, const struct woq_format_sizes *sizes, bool strided,
                        struct test_random *random)
{
    const struct woq_format *f = &s->format;
    s->row_stride = strided ? sizes->row_bytes + 3 : 0;
    s->codes = make_random((s->row_stride ? s->row_stride : sizes->row_bytes) * (s->n - 1) + sizes->row_bytes, random);
    if (sizes->scales)
        s->scales = make_scales(f->scale, sizes->scales, random);
    if (f->zero == WOQ_ZERO_OFFSET)
        s->zeros = make_scales(f->scale, sizes->zeros, random);
    else if (sizes->zeros)
        s->zeros = make_points(f->code, sizes->zeros, random);
    return s->codes && (s->scales || !sizes->scales) && (s->zeros || !sizes->zeros);
}

uint64_t sources_make(struct test_sources *sources, const struct woq_format *format, uint64_t n, uint64_t k,
                      struct test_random *random)
{
    struct woq_format_sizes sizes;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < sources->count; i++) {
        struct woq_weights_source *s = &sources->sources[i];
        *s = (struct woq_weights_source)WOQ_WEIGHTS_SOURCE_INIT;
        s->format = *format;
        s->n = sources->gated ? n : n + i;
        s->k = k;
        bool made = !woq_format_get_sizes(format, s->n, k, &sizes) && make_source(s, &sizes, i % 2, random);
        if (made && format->g_idx && !sources->g_idx)
            sources->g_idx = make_g_idx(k, sizes.groups, random);
        s->g_idx = sources->g_idx;
        if (!made || (format->g_idx && !s->g_idx)) {
            sources_free(sources);
            return 0;
        }
        rows += s->n;
    }
    return rows;
}

void sources_free(struct test_sources *sources)
{
    for (uint32_t i = 0; i < sources->count; i++) {
        struct woq_weights_source *s = &sources->sources[i];
        free((void *)(uintptr_t)s->codes);
        free((void *)(uintptr_t)s->scales);
        free((void *)(uintptr_t)s->zeros);
        s->codes = s->scales = s->zeros = NULL;
    }
    free(sources->g_idx);
    sources->g_idx = NULL;
}
