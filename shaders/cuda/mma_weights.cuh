/*
 * mma_weights.cuh: what a lane of kernel mma has of the weights in a step: codes, scales and zeros, in registers, loaded
 * to where those of the step before were.
 */
#ifndef WOQ_MMA_WEIGHTS_CUH
#define WOQ_MMA_WEIGHTS_CUH

#include "fragment.cuh"
#include "mma_block.cuh"

static __device__ __forceinline__ void load_if(bool wanted, woq_u32 &to, const woq_u8 *from)
{
    asm("{.reg .pred p; setp.ne.u32 p, %2, 0; @p ld.global.nc.u32 %0, [%1];}"
        : "+r"(to)
        : "l"(from), "r"((woq_u32)wanted));
}

/* Scales and zeros of the rows g and g+8 of a strip as they lie in memory. */
struct raw_pair {
    uint2 scale, zero;
};

/* Groups that end within units are those of a lane's columns. */
static __device__ __forceinline__ bool ends_in_units(const woq_args &a)
{
    return a.group < a.k && a.group % 32u != 0;
}

/* STEP: blocks of 64 columns in a step; RAWS: spans whose scales are loaded ahead; LANE_GROUPS: groups may end within
 * units; HALF: scales have X's type, and there are no offsets. */
template <int STEP, int SPAN, int RAWS, bool LANE_GROUPS, bool HALF> struct lane_weights {
    static const int BLOCK = CODE_BITS * 128; /* bytes of a strip in 64 columns */
    /* Halves of a step, if each has 1 KiB of a strip (HALVED of mma.cu): what lies together is loaded together, for
     * memory is slower if a part of it comes later. */
    static const int HALVES = STEP > 1 && STEP * VECTORS >= 4 ? 2 : 1;
    static const int HALF_UNITS = 2 * STEP / HALVES, HALF_BYTES = STEP * BLOCK / HALVES;
    uint4 codes[STEP][STRIPS][VECTORS];
    raw_pair raw[RAWS][STRIPS];

    /* Of this lane: the first codes of a strip; its rows in the first group, zeros by their place in the window. */
    const woq_u8 *window, *codes_at[STRIPS], *scales_at[STRIPS];
    woq_u32 zeros_at[STRIPS];
    woq_u32 at;             /* bytes from the first codes to those of the step loaded next */
    woq_u32 place;          /* of the next span: its first column in its group */
    woq_u32 group_at, last; /* elements of the tables up to that group, and to the last one */

    /* Of the halves begin … end − 1. */
    __device__ __forceinline__ lane_weights(const woq_u8 *weights, const woq_args &a, const spot &p, woq_u32 begin,
                                            woq_u32 end)
    {
        const woq_u32 last_strip = (a.scale_stride >> 4) - 1u; /* of the tile */
        window = weights;
        at = begin * HALF_BYTES;
#pragma unroll
        for (int s = 0; s < STRIPS; s++)
            codes_at[s] = kept(weights + (a.codes_off + min(p.strip + s, last_strip) * a.codes_stride + p.lane * 16u));
        load_codes(0, true);
        if (HALVES == 2)
            load_codes(1, begin + 1u < end);
        if (!QUANTIZED)
            return;
        const woq_u32 column = begin * (HALF_UNITS * 32u) + (LANE_GROUPS && ends_in_units(a) ? p.t * 8u : 0u);
        last = (a.k - 1u) / a.group * a.scale_stride;
        group_at = min(column / a.group * a.scale_stride, last);
        place = column % a.group;
#pragma unroll
        for (int s = 0; s < STRIPS; s++) {
            const woq_u32 pair = min(p.strip + s, last_strip) * 16u + 2u * p.g;
            scales_at[s] = kept(weights + (a.scales_off + scale_bytes(a, pair)));
            zeros_at[s] = a.zeros_off + zero_bytes(a, point(a) ? pair & ~3u : pair);
        }
#pragma unroll
        for (int i = 0; i < RAWS; i++) {
            load_zeros(a, i);
            load_scales(a, i);
        }
    }

    /* What has been loaded was so before what follows: ptxas lets loads sink below a wait, not below this barrier. */
    __device__ __forceinline__ void settle()
    {
#pragma unroll
        for (int i = 0; i < STEP * STRIPS * VECTORS; i++) {
            uint4 &v = codes[i / (STRIPS * VECTORS)][i / VECTORS % STRIPS][i % VECTORS];
            asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w));
        }
#pragma unroll
        for (int i = 0; i < (QUANTIZED ? RAWS * STRIPS : 0); i++) {
            raw_pair &v = raw[i / STRIPS][i % STRIPS];
            asm volatile("" : "+r"(v.scale.x), "+r"(v.zero.x));
        }
        __syncwarp();
    }

    /* When a unit of a step has been decoded. left: halves that this part has from this step on; first: it is the
     * first step, whose halves are both under way. Of two halves, one begins to be loaded when the other has arrived,
     * as a wait would be for both. */
    __device__ __forceinline__ void load_more(int unit, woq_u32 left, bool first)
    {
        if (HALVES == 2 && unit == 0)
            load_codes(1, left > 1u && !first);
        if (unit != (HALVES == 2 ? HALF_UNITS : HALF_UNITS - 1))
            return;
        at += HALVES * HALF_BYTES;
        load_codes(0, left > HALVES);
    }

    /* Half of the step at `at`, if it is wanted. */
    __device__ __forceinline__ void load_codes(int half, bool wanted)
    {
#pragma unroll
        for (int s = 0; s < STRIPS; s++) {
            const woq_u8 *from = codes_at[s] + at;
#pragma unroll
            for (int i = 0; i < STEP / HALVES * VECTORS; i++) {
                const int b = half * (STEP / HALVES) + i / VECTORS;
                woq_stream_if(wanted, codes[b][s][i % VECTORS], from, b * BLOCK + i % VECTORS * 512u);
            }
        }
    }

    static __device__ __forceinline__ bool wide(const woq_args &a)
    {
        return !HALF && WOQ_FLAG_SCALE(a.flags) == WOQ_ABI_F32;
    }

    static __device__ __forceinline__ bool point(const woq_args &a)
    {
        return WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_POINT;
    }

    /* Bytes of elements of the tables. */
    static __device__ __forceinline__ woq_u32 scale_bytes(const woq_args &a, woq_u32 elements)
    {
        return elements << (wide(a) ? 2 : 1);
    }

    static __device__ __forceinline__ woq_u32 zero_bytes(const woq_args &a, woq_u32 elements)
    {
        return point(a) ? elements : scale_bytes(a, elements);
    }

    /* Of the next span. */
    __device__ __forceinline__ void load_zeros(const woq_args &a, int slot)
    {
        const bool offset = !HALF && WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_OFFSET;
#pragma unroll
        for (int s = 0; s < STRIPS; s++) {
            const woq_u8 *from = window + (zeros_at[s] + zero_bytes(a, group_at));
            load_if(point(a) || offset, raw[slot][s].zero.x, from);
            if (!HALF)
                load_if(offset && wide(a), raw[slot][s].zero.y, from + 4);
        }
    }

    /* Of the next span, and on to the one after it; beyond K, the last group's. */
    __device__ __forceinline__ void load_scales(const woq_args &a, int slot)
    {
#pragma unroll
        for (int s = 0; s < STRIPS; s++) {
            const woq_u8 *from = scales_at[s] + scale_bytes(a, group_at);
            raw[slot][s].scale.x = __ldg((const woq_u32 *)from);
            if (!HALF)
                load_if(wide(a), raw[slot][s].scale.y, from + 4);
        }
        place += SPAN;
        if (LANE_GROUPS && ends_in_units(a)) {
            group_at = min(group_at + place / a.group * a.scale_stride, last);
            place %= a.group;
        } else if (place >= a.group) {
            group_at = min(group_at + a.scale_stride, last);
            place = 0;
        }
    }
};

#endif
