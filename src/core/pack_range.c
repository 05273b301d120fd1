/* pack_range.c: what the scales of a matrix allow. */
#include <math.h>

#include "alloc.h"
#include "half_value.h"
#include "pack.h"

#define FP16_LEAST   0x1p-14f /* the smallest normal binary16 */
#define FP16_MOST    65504.0f
#define BLOCK_GROUPS 64

/* Scales, and offsets or zero points, of some groups, as numbers. */
struct block {
    float scales[BLOCK_GROUPS], zeros[BLOCK_GROUPS];
};

static void load_block(enum woq_type type, const void *array, uint64_t first, uint64_t count, float *out)
{
    const uint8_t *from = (const uint8_t *)array + first * woq_type_size(type);
    if (type == WOQ_F32) {
        memcpy(out, from, count * sizeof *out);
        return;
    }
    uint16_t bits[BLOCK_GROUPS];
    memcpy(bits, from, count * sizeof *bits);
    if (type == WOQ_F16)
        for (uint64_t i = 0; i < count; i++)
            out[i] = woqi_half_value(bits[i]);
    else
        for (uint64_t i = 0; i < count; i++) {
            uint32_t word = (uint32_t)bits[i] << 16;
            memcpy(&out[i], &word, sizeof word);
        }
}

static void load_zeros(const struct woq_format *format, const void *zeros, uint64_t first, uint64_t count, float *out)
{
    if (format->zero == WOQ_ZERO_OFFSET) {
        load_block(format->scale, zeros, first, count, out);
        return;
    }
    const uint8_t *points = zeros;
    for (uint64_t i = 0; i < count; i++)
        out[i] = points ? points[first + i] : format->code == WOQ_CODE_U4 ? 8 : 128;
}

/* Weights scale·(q − zero): q − zero = 1 or −1 is the least but 0, and an end of the codes the most. least: of them,
 * but for 0. */
static bool points_are_safe(const struct block *b, uint64_t count, float top, float least)
{
    uint32_t safe = 1; /* as wide as a float, for vectors */
    for (uint64_t i = 0; i < count; i++) {
        float scale = fabsf(b->scales[i]), zero = b->zeros[i];
        float most = scale * (zero > top - zero ? zero : top - zero);
        safe &= (uint32_t)((scale == 0) | ((scale >= least) & (most <= FP16_MOST)));
    }
    return safe;
}

static bool fp16_normal(float w)
{
    float a = fabsf(w);
    return w == 0 || (a >= FP16_LEAST && a <= FP16_MOST);
}

/* scale·q + offset is linear in q: its ends and the two codes next to its root decide. */
static bool offset_is_safe(float scale, float offset, unsigned top)
{
    float root = -offset / scale;
    unsigned near = !(root > 0) ? 0 : root < (float)top ? (unsigned)root : top - 1;
    unsigned tested[] = {0, top, near, near + 1, near + 2 <= top ? near + 2 : top};
    for (size_t i = 0; i < sizeof tested / sizeof *tested; i++)
        if (!fp16_normal(fmaf(scale, (float)tested[i], offset)))
            return false;
    return true;
}

/* True for zero, and for what is so far inside the range that rounding to binary32 can not bring it out. */
static inline bool surely_normal(double w)
{
    double a = fabs(w);
    return (a == 0) | ((a >= FP16_LEAST * (1 + 0x1p-20)) & (a <= FP16_MOST * (1 - 0x1p-20)));
}

/* The same in double, where scale·q is exact and the sum 0 only if it is; fmaf, a slow call on many CPUs, is left to
 * blocks with a weight at an end of the range. */
static bool offsets_are_safe(const struct block *b, uint64_t count, unsigned top)
{
    bool sure = true;
    for (uint64_t i = 0; i < count; i++) {
        double scale = b->scales[i], offset = b->zeros[i], root = -offset / (scale == 0 ? 1 : scale);
        double near = !(root > 0) ? 0 : root < top ? (int32_t)root : (int32_t)top - 1;
        sure &= surely_normal(offset) & surely_normal(scale * top + offset) & surely_normal(scale * near + offset) &
                surely_normal(scale * (near + 1) + offset);
    }
    for (uint64_t i = 0; !sure && i < count; i++)
        if (!offset_is_safe(b->scales[i], b->zeros[i], top))
            return false;
    return true;
}

/* Scales of a source. */
static uint64_t scale_count(const struct woqi_packer *p, const struct woq_weights_source *s)
{
    return p->format.group == WOQ_GROUP_TENSOR ? 1 : s->n * p->sizes.groups;
}

bool woqi_packer_mild_scales(const struct woqi_packer *p)
{
    if (!p->groups || p->format.scale == WOQ_F16)
        return true;
    for (uint32_t i = 0; i < p->count; i++) {
        const struct woq_weights_source *s = &p->sources[i];
        uint64_t scales = scale_count(p, s), count;
        for (uint64_t first = 0; first < scales; first += count) {
            float values[BLOCK_GROUPS];
            uint32_t found = 0;
            count = woqi_min(scales - first, BLOCK_GROUPS);
            load_block(p->format.scale, s->scales, first, count, values);
            for (uint64_t j = 0; j < count; j++)
                found |= !(fabsf(values[j]) < 0x1p64f);
            if (found)
                return false;
        }
    }
    return true;
}

bool woqi_packer_fp16_safe(const struct woqi_packer *p, bool subnormal)
{
    const float least = subnormal && p->format.scale == WOQ_F16 ? 0 : FP16_LEAST;
    unsigned top = p->format.code == WOQ_CODE_U4 ? 15 : 255;
    for (uint32_t i = 0; p->groups && i < p->count; i++) {
        const struct woq_weights_source *s = &p->sources[i];
        uint64_t scales = scale_count(p, s), count;
        for (uint64_t first = 0; first < scales; first += count) {
            struct block b;
            count = woqi_min(scales - first, BLOCK_GROUPS);
            load_block(p->format.scale, s->scales, first, count, b.scales);
            load_zeros(&p->format, s->zeros, first, count, b.zeros);
            if (!(p->format.zero == WOQ_ZERO_OFFSET ? offsets_are_safe(&b, count, top)
                                                    : points_are_safe(&b, count, (float)top, least)))
                return false;
        }
    }
    return true;
}
