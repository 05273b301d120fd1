/*
 * pooled_scales.glsl: scales and zeros of mma.comp through shared memory, in place of lane_scales.glsl, whose macros
 * these are.
 *
 * For steps of four spans in staged blocks, scales of 16 bits, and zero points or offsets: what the four lanes of a row
 * share. A lane loads one span's of each strip and stores them ready for use, those of two strips in a vector of the
 * pool, behind X of their step; a unit takes a vector for two strips, where it would shuffle twice for each. They are
 * stored with X, and those of all units of a step are loaded at once (H200, µs, each with its unit before: 28672 × 8192,
 * M = 256 471, 463; 512 822, 811; 4096 × 4096, M = 512 72.0, 70.4). The work-group's barrier does not order them, as a
 * step's first unit comes before it; one of the subgroup does.
 */
#ifndef WOQ_POOLED_SCALES_GLSL
#define WOQ_POOLED_SCALES_GLSL

#define COUNTER_SPAN(i) t

/* Of a step; where groups are of any size, of the one that the counter has reached. Tables are read as pairs of rows;
 * pair_at: where the lane's stand, but for what a step adds, which is the same for all lanes. */
#define POOL_LOAD(step)                                                                            \
    {                                                                                              \
        const uint number = GROUP_A_SPAN ? min(step, steps - 1u) * SPANS                           \
                                         : min(group[0], last_group);                              \
        const uint first = number * group_pairs;                                                   \
        UNROLL for (uint i = 0u; i < STRIPS; i++) {                                                \
            raw[i].scale.x = w_words[pair_at[i] + (scale_pairs + first)];                          \
            raw[i].zero.x = ZERO_KIND == WOQ_ABI_ZERO_POINT                                        \
                                ? uint(w_halves[pair_at[i] + (zero_pairs + first)])                \
                                : w_words[pair_at[i] + (zero_pairs + first)];                      \
        }                                                                                          \
        GROUP_NEXT(0u)                                                                             \
    }

/* Zero points, two bytes, as 1024 + zero; or offsets as they are. */
uint pool_zeros(uint raw)
{
    /* Zero points of 4 bits carry nothing over. */
    return ZERO_KIND == WOQ_ABI_ZERO_POINT ? ((raw * 0x101u) & 0x00ff00ffu) | magic : raw;
}

#define POOL_STORE(at)                                                                             \
    UNROLL for (uint i = 0u; i < STRIPS / 2u; i++)                                                 \
        pool[(at) + i * THREADS] = uvec4(raw[2u * i].scale.x, pool_zeros(raw[2u * i].zero.x),      \
                                         raw[2u * i + 1u].scale.x, pool_zeros(raw[2u * i + 1u].zero.x));

/* One strip's of two. */
PairRaw pooled_scale(uvec4 two, const uint n)
{
    return n == 0u ? PairRaw(uvec2(two.x, 0u), uvec2(two.y, 0u)) : PairRaw(uvec2(two.z, 0u), uvec2(two.w, 0u));
}

#define SCALES_BEGIN(step)                                                                         \
    const uint group_pairs = args.scale_stride >> 1, scale_pairs = args.scales_off >> 2;           \
    const uint zero_pairs = args.zeros_off >> (ZERO_KIND == WOQ_ABI_ZERO_POINT ? 1u : 2u);         \
    const uint scales_at = POOL_X / 2u + gl_LocalInvocationIndex, row_scales_at = scales_at & ~3u; \
    uint pair_at[MAX_STRIPS];                                                                      \
    UNROLL for (uint i = 0u; i < STRIPS; i++)                                                      \
        pair_at[i] = min(strip + i, last) * 8u + g + (GROUP_A_SPAN ? t * group_pairs : 0u);        \
    POOL_LOAD(step)

#define SCALES_STAGE(half, step)                                                                   \
    POOL_STORE(scales_at + half)                                                                   \
    POOL_LOAD(step)

/* Nothing reads raw_now. NVIDIA's driver makes faster code with it than without (580.159.04, H200, 28672 × 8192,
 * M = 512, 816 µs against 835). */
#define SCALES_READY                                                                               \
    PairRaw raw_now[MAX_SCALES];                                                                   \
    UNROLL for (uint i = 0u; i < SCALE_LOADS; i++)                                                 \
        raw_now[i] = pair_ready(raw[i], g);                                                        \
    uvec4 pooled[MAX_STRIPS / 2u], pooled_all[4u * (MAX_STRIPS / 2u)];                             \
    subgroupBarrier(); /* only the four lanes of a row exchange them */                            \
    UNROLL for (uint i = 0u; i < 4u * (STRIPS / 2u); i++)                                          \
        pooled_all[i] = pool[row_scales_at + flip + i % 4u + i / 4u * THREADS];                    \
    UNROLL for (uint i = 0u; i < STRIPS / 2u; i++)                                                 \
        pooled[i] = pooled_all[4u * i];

#define SCALES_NEXT(step)

#define SCALES_UNIT(unit)                                                                          \
    UNROLL for (uint i = 0u; i < STRIPS / 2u; i++)                                                 \
        pooled[i] = pooled_all[4u * i + unit];

/* 64 + zero of both rows by one subtraction: operands can be either half of a register. */
#define ROWS_OF(n, unit, low, high)                                                                \
    RowGroup low, high;                                                                            \
    {                                                                                              \
        const PairRaw scale = pooled_scale(pooled[(n) / 2u], (n) % 2u);                            \
        low = row_group(scale, g, 0u);                                                             \
        high = row_group(scale, g, 1u);                                                            \
        if (ZERO_KIND == WOQ_ABI_ZERO_POINT) {                                                     \
            const f16vec2 bias64 = unpackFloat2x16(scale.zero.x) - f16vec2(960.0);                 \
            low.bias64 = f16vec2(bias64.x);                                                        \
            high.bias64 = f16vec2(bias64.y);                                                       \
        }                                                                                          \
    }

#define SCALES_SPENT(unit, closes, step)

#endif
