/* norm.c: RMS norms, conversion of activations, and reductions over logits. */
#include "model_impl.h"
#include "vector.h"

#include <math.h>
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

/* Σ x²: 8 partial sums in binary32, added by halves. */
WOQI_CLONES_256 static float square_sum(const float *x, uint32_t width)
{
    woqi_vec sum = {0};
    uint32_t i = 0;
    for (; i + WOQI_LANES <= width; i += WOQI_LANES) {
        woqi_vec v = woqi_load(x + i);
        sum += v * v;
    }
    float rest = 0;
    for (; i < width; i++)
        rest += x[i] * x[i];
    return woqi_sum(sum) + rest;
}

/*
 * Binary32 to binary16 as woq_f32_to_f16 does it, without branches. From 2^-14 on: add half a unit of
 * the last place, less one if the result is even, and shift. Below: adding 0.5 lets the addition
 * itself round to multiples of 2^-24.
 */
WOQI_CLONES_256 static void to_f16(const float *x, uint16_t *y, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t bits, small;
        memcpy(&bits, x + i, 4);
        const uint32_t a = bits & 0x7fffffffu;
        float f;
        memcpy(&f, &a, 4);
        f += 0.5f;
        memcpy(&small, &f, 4);
        small -= 0x3f000000u;
        uint32_t r = (a - 0x38000000u + 0xfffu + (a >> 13 & 1)) >> 13;
        r = a < 0x38800000u ? small : r;
        r = a >= 0x47800000u ? 0x7c00u : r;
        r = a > 0x7f800000u ? 0x7e00u | (a >> 13 & 0x1ffu) : r;
        y[i] = (uint16_t)(r | (bits >> 16 & 0x8000u));
    }
}

#if defined(__x86_64__) && defined(__GNUC__)
/* The same bits by the CPU's own conversion, eight at a time. Every CPU with AVX2 has it. */
__attribute__((target("avx,f16c"))) static size_t to_f16_eights(const float *x, uint16_t *y, size_t count)
{
    size_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(y + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    return i;
}

static size_t to_f16_fast(const float *x, uint16_t *y, size_t count)
{
    return __builtin_cpu_supports("avx2") ? to_f16_eights(x, y, count) : 0;
}
#else
static size_t to_f16_fast(const float *x, uint16_t *y, size_t count)
{
    (void)x, (void)y, (void)count;
    return 0;
}
#endif

void woqi_convert(const float *x, void *y, enum woq_type type, size_t count)
{
    uint16_t *halves = y;
    if (type == WOQ_F32) {
        memcpy(y, x, count * sizeof *x);
    } else if (type == WOQ_F16) {
        const size_t done = to_f16_fast(x, halves, count);
        to_f16(x + done, halves + done, count - done);
    } else {
        for (size_t i = 0; i < count; i++)
            halves[i] = woq_f32_to_bf16(x[i]);
    }
}

WOQI_CLONES_256 static void scale_by(const float *x, const float *weight, float factor, float *y,
                                     uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        y[i] = x[i] * factor * weight[i];
}

static void norm_row(const float *x, const float *weight, float epsilon, uint32_t width, char *y,
                     enum woq_type type)
{
    enum { PIECE = 256 };
    const float factor = 1.0f / sqrtf(square_sum(x, width) / (float)width + epsilon);
    float scaled[PIECE];
    for (uint32_t i = 0; i < width; i += PIECE) {
        const uint32_t count = width - i < PIECE ? width - i : PIECE;
        scale_by(x + i, weight + i, factor, scaled, count);
        woqi_convert(scaled, y + i * woq_type_size(type), type, count);
    }
}

void woqi_norm_rows(const float *x, const float *weight, float epsilon, uint32_t width, void *y,
                    enum woq_type type, uint32_t rows, int threads)
{
    char *out = y;
#pragma omp parallel for schedule(dynamic, 16) num_threads(threads) if (rows >= 64)
    for (uint32_t r = 0; r < rows; r++)
        norm_row(x + (size_t)r * width, weight, epsilon, width,
                 out + (size_t)r * width * woq_type_size(type), type);
}

void woqi_norm_head(float *x, const float *weight, float epsilon, uint32_t width)
{
    const float factor = 1.0f / sqrtf(square_sum(x, width) / (float)width + epsilon);
    for (uint32_t i = 0; i < width; i++)
        x[i] = x[i] * factor * weight[i];
}

WOQI_CLONES_256 static float highest(const float *x, size_t count)
{
    float best = x[0];
    size_t i = 0;
    if (count >= WOQI_LANES) {
        woqi_vec v = woqi_load(x);
        for (; i + WOQI_LANES <= count; i += WOQI_LANES)
            v = woqi_max(woqi_load(x + i), v);
        best = woqi_highest(v);
    }
    for (; i < count; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

WOQI_CLONES_256 static double exp_sum(const float *x, float top, size_t count)
{
    enum { PIECE = 64 * WOQI_LANES }; /* added in binary32 before binary64 */
    double total = 0;
    size_t i = 0;
    while (i + WOQI_LANES <= count) {
        woqi_vec sum = {0};
        const size_t end = count - i < PIECE ? count : i + PIECE;
        for (; i + WOQI_LANES <= end; i += WOQI_LANES)
            sum += woqi_exp(woqi_load(x + i) - top);
        total += woqi_sum(sum);
    }
    for (; i < count; i++)
        total += expf(x[i] - top);
    return total;
}

double woqi_log_sum(const float *x, size_t count)
{
    const float top = highest(x, count);
    return log(exp_sum(x, top, count)) + top;
}

uint32_t woqi_largest(const float *x, size_t count)
{
    enum { PIECE = 512 };
    size_t best = 0;
    for (size_t begin = 0; begin < count; begin += PIECE) {
        const size_t end = count - begin < PIECE ? count : begin + PIECE;
        if (highest(x + begin, end - begin) <= x[best])
            continue; /* as most pieces */
        for (size_t i = begin; i < end; i++)
            best = x[i] > x[best] ? i : best;
    }
    return (uint32_t)best;
}
