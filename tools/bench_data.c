/* bench_data.c: random weights and activations in canonical form. */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* xorshift64* (Vigna, arXiv:1402.6246): small, fast, and the same numbers everywhere. */
uint64_t bench_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t bench_host_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_C(4) << 30;
}

/* Uniform in 0 … 1. */
static float uniform(uint64_t *state)
{
    return (float)(bench_random(state) >> 40) * 0x1p-24f;
}

static void store(enum woq_type type, uint8_t *array, uint64_t index, float value)
{
    uint16_t half = type == WOQ_F16 ? woq_f32_to_f16(value) : woq_f32_to_bf16(value);
    if (type == WOQ_F32)
        memcpy(array + index * 4, &value, 4);
    else
        memcpy(array + index * 2, &half, 2);
}

double bench_element(enum woq_type type, const uint8_t *array, uint64_t index)
{
    uint16_t half;
    uint32_t word;
    float value;
    if (type == WOQ_F16) {
        memcpy(&half, array + index * 2, 2);
        int exponent = half >> 10 & 31, mantissa = half & 1023;
        double magnitude = exponent == 31 ? (mantissa ? (double)NAN : (double)INFINITY)
                           : exponent     ? ldexp(1024 + mantissa, exponent - 25)
                                          : ldexp(mantissa, -24);
        return half & 0x8000 ? -magnitude : magnitude;
    }
    if (type == WOQ_BF16) {
        memcpy(&half, array + index * 2, 2);
        word = (uint32_t)half << 16;
        memcpy(&value, &word, 4);
        return value;
    }
    memcpy(&value, array + index * 4, 4);
    return value;
}

static void fill_bytes(uint8_t *bytes, uint64_t count, uint64_t *state)
{
    for (uint64_t i = 0; i < count; i += 8) {
        uint64_t word = bench_random(state);
        memcpy(bytes + i, &word, count - i < 8 ? (size_t)(count - i) : 8);
    }
}

static void fill_quantized(struct bench_matrix *m, uint64_t *state)
{
    const struct woq_format *f = &m->format;
    bool four = f->code == WOQ_CODE_U4;
    uint64_t count = m->sizes.scales / woq_type_size(f->scale);
    fill_bytes(m->codes, m->sizes.codes, state);
    for (uint64_t i = 0; i < count; i++) {
        /* At least 2^-11, so that the smallest weight but zero is a normal binary16. */
        float scale = (0.5f + uniform(state)) * (four ? 0x1p-6f : 0x1p-10f);
        store(f->scale, m->scales, i, scale);
        if (f->zero == WOQ_ZERO_POINT)
            m->zeros[i] = (uint8_t)(bench_random(state) >> (four ? 60 : 56));
        else if (f->zero == WOQ_ZERO_OFFSET)
            store(f->scale, m->zeros, i, -scale * (four ? 15 : 255) * uniform(state));
    }
}

bool bench_matrix_create(const struct woq_format *format, struct tool_shape shape,
                         struct bench_matrix *out, char *why)
{
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15) ^ shape.n << 32 ^ shape.k;
    *out = (struct bench_matrix){.format = *format, .n = shape.n, .k = shape.k};
    if (woq_format_get_sizes(format, shape.n, shape.k, &out->sizes)) {
        snprintf(why, TOOL_WHY, "%s", woq_last_message());
        return false;
    }
    const struct woq_format_sizes *s = &out->sizes;
    if (s->codes / 2 + s->scales / 2 > bench_host_memory() / 4) {
        char need[24], have[24];
        snprintf(why, TOOL_WHY, "the weights take %s; this host has %s",
                 tool_bytes(s->codes + s->scales, need), tool_bytes(bench_host_memory(), have));
        return false;
    }
    out->codes = malloc(s->codes);
    out->scales = s->scales ? malloc(s->scales) : NULL;
    out->zeros = s->zeros ? malloc(s->zeros) : NULL;
    out->g_idx = s->g_idx ? malloc(s->g_idx) : NULL;
    if (!out->codes || (s->scales && !out->scales) || (s->zeros && !out->zeros) ||
        (s->g_idx && !out->g_idx)) {
        bench_matrix_destroy(out);
        snprintf(why, TOOL_WHY, "no host memory for weights of %llu x %llu",
                 (unsigned long long)shape.n, (unsigned long long)shape.k);
        return false;
    }
    if (s->scales)
        fill_quantized(out, &state);
    else
        for (uint64_t i = 0; i < shape.n * shape.k; i++)
            store(format->code == WOQ_CODE_F16 ? WOQ_F16 : WOQ_BF16, out->codes, i,
                  (uniform(&state) - 0.5f) * 0.25f);
    for (uint64_t i = 0; s->g_idx && i < shape.k; i++)
        out->g_idx[i] = (uint32_t)(i / format->group);
    for (uint64_t i = shape.k; s->g_idx && i > 1; i--) { /* a shuffle: columns in any group */
        uint64_t j = bench_random(&state) % i;
        uint32_t swapped = out->g_idx[i - 1];
        out->g_idx[i - 1] = out->g_idx[j];
        out->g_idx[j] = swapped;
    }
    return true;
}

void bench_matrix_destroy(struct bench_matrix *matrix)
{
    free(matrix->codes);
    free(matrix->scales);
    free(matrix->zeros);
    free(matrix->g_idx);
    *matrix = (struct bench_matrix){0};
}

struct woq_weights_source bench_matrix_source(const struct bench_matrix *matrix)
{
    struct woq_weights_source source = WOQ_WEIGHTS_SOURCE_INIT;
    source.format = matrix->format;
    source.n = matrix->n;
    source.k = matrix->k;
    source.codes = matrix->codes;
    source.scales = matrix->scales;
    source.zeros = matrix->zeros;
    source.g_idx = matrix->g_idx;
    return source;
}

uint8_t *bench_activations(enum woq_type type, size_t count)
{
    uint64_t state = UINT64_C(0xd1b54a32d192ed03);
    uint8_t *array = malloc(count * woq_type_size(type));
    for (size_t i = 0; array && i < count; i++)
        store(type, array, i, 2 * uniform(&state) - 1);
    return array;
}
