/*
 * lane_scales.glsl: scales and zeros of mma.comp, from memory to the registers of the lanes that use them. A lane loads
 * those of a step, or the four lanes of a row share them.
 *
 * Macros for mma.comp, with quantized weights: SCALES_BEGIN before the first step; SCALES_STAGE where X is stored in a
 * half of the pool; of each step SCALES_READY and SCALES_NEXT, before and after its codes are loaded; SCALES_UNIT and
 * SCALES_SPENT before and behind each unit; ROWS_OF where operands are made. These load where those before them have
 * been used, into the same registers.
 */
#ifndef WOQ_LANE_SCALES_GLSL
#define WOQ_LANE_SCALES_GLSL

/* Which of the SCALES a lane loads as its number i. */
uint scale_number(uint i)
{
    return SHARE ? min(4u * i + t, SCALES - 1u) : i;
}

/* The span of counter i. */
#define COUNTER_SPAN(i) (SHARE ? scale_number(i) / STRIPS : i)

/* Number i of a step; where groups are of any size, of the step that their counters have reached. */
#define SCALE_LOAD(i, step)                                                                        \
    raw[i] = pair_raw(ONE_GROUP      ? 0u                                                          \
                      : GROUP_A_SPAN ? min(step, steps - 1u) * SPANS + scale_number(i) / STRIPS    \
                                     : min(group[SHARE ? i : (i) / STRIPS], last_group),           \
                      min(strip + scale_number(i) % STRIPS, last), g);

#define SCALES_LOAD(step)                                                                          \
    UNROLL for (uint i = 0u; i < SCALE_LOADS; i++) {                                               \
        SCALE_LOAD(i, step)                                                                        \
    }                                                                                              \
    UNROLL for (uint i = 0u; i < COUNTERS; i++)                                                    \
        GROUP_NEXT(i)

/* What products need of them. */
#define EARLY_ROWS(raw)                                                                            \
    UNROLL for (uint n = 0u; n < 2u * STRIPS; n++)                                                 \
        early[n] = row_group(raw[n / 2u], g, n % 2u);

/* As lane `from` of the row's four has it. */
PairRaw quad_scale(PairRaw raw, uint from)
{
    const uint other = (gl_SubgroupInvocationID & ~3u) | from;
    return PairRaw(subgroupShuffle(raw.scale, other), subgroupShuffle(raw.zero, other));
}

/* Of a strip in a span. */
#define SCALE_OF(raw, span, n)                                                                     \
    (SHARE ? quad_scale(raw[((span) * STRIPS + (n)) / 4u], ((span) * STRIPS + (n)) % 4u)           \
           : raw[(span) * STRIPS + (n)])

#define SCALES_BEGIN(step)                                                                         \
    SCALES_LOAD(step)                                                                              \
    RowGroup early[2u * MAX_STRIPS];                                                               \
    if (ONE_GROUP) {                                                                               \
        UNROLL for (uint i = 0u; i < SCALE_LOADS; i++)                                             \
            raw[i] = pair_ready(raw[i], g);                                                        \
        if (EARLY)                                                                                 \
            EARLY_ROWS(raw)                                                                        \
    }

/* Those that have been loaded become the step's. */
#define SCALES_READY                                                                               \
    PairRaw raw_now[MAX_SCALES];                                                                   \
    UNROLL for (uint i = 0u; i < SCALE_LOADS; i++)                                                 \
        raw_now[i] = ONE_GROUP ? raw[i] : pair_ready(raw[i], g);                                   \
    if (!ONE_GROUP)                                                                                \
        if (EARLY)                                                                                 \
            EARLY_ROWS(raw_now)

#define SCALES_STAGE(half, step)

#define SCALES_NEXT(step)                                                                          \
    if (SHARE) {                                                                                   \
        SCALES_LOAD(step)                                                                          \
    }

#define SCALES_UNIT(unit)

/* The rows of strip n in a unit: RowGroup `low` and `high`. */
#define ROWS_OF(n, unit, low, high)                                                                \
    RowGroup low, high;                                                                            \
    if (EARLY) {                                                                                   \
        low = early[2u * (n)];                                                                     \
        high = early[2u * (n) + 1u];                                                               \
    } else {                                                                                       \
        const PairRaw scale = SCALE_OF(raw_now, (unit) * 32u / SPAN, n);                           \
        low = row_group(scale, g, 0u);                                                             \
        high = row_group(scale, g, 1u);                                                            \
    }

/* STAGED: a unit's of `step`, where it closes a span. */
#define SCALES_SPENT(unit, closes, step)                                                           \
    if (closes && !SHARE && !ONE_GROUP) {                                                          \
        UNROLL for (uint n = 0u; n < STRIPS; n++) {                                                \
            SCALE_LOAD(unit * 32u / SPAN * STRIPS + n, step)                                       \
        }                                                                                          \
        GROUP_NEXT(unit * 32u / SPAN)                                                              \
    }

#endif
