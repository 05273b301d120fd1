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
    uint4 codes[STEP][STRIPS][VECTORS];
    raw_pair raw[RAWS][STRIPS];

    const woq_u8 *window, *from[STRIPS]; /* from: the step whose codes are loaded next */
    woq_u32 pair[STRIPS];                /* elements in the tables */
    woq_u32 group, place, last_group;    /* of the span to be loaded next, and its first column in it */

    __device__ __forceinline__ lane_weights(const woq_u8 *weights, const woq_args &a, const spot &p, woq_u32 step)
    {
        const woq_u32 last = (a.scale_stride >> 4) - 1u; /* strip of the tile */
        window = weights;
#pragma unroll
        for (int s = 0; s < STRIPS; s++) {
            from[s] = weights + (a.codes_off + min(p.strip + s, last) * a.codes_stride + p.lane * 16u) +
                      step * (STEP * BLOCK);
#pragma unroll
            for (int b = 0; b < STEP; b++)
                load_codes(b, s);
        }
        if (!QUANTIZED)
            return;
        const woq_u32 column = step * (STEP * 64u) + (LANE_GROUPS && ends_in_units(a) ? p.t * 8u : 0u);
        last_group = (a.k - 1u) / a.group;
        group = column / a.group;
        place = column % a.group;
#pragma unroll
        for (int s = 0; s < STRIPS; s++)
            pair[s] = min(p.strip + s, last) * 16u + 2u * p.g;
#pragma unroll
        for (int i = 0; i < RAWS; i++)
            load_scales(a, i);
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

    /* On to the next step; more false: there is none, and the last is loaded again. */
    __device__ __forceinline__ void advance(bool more)
    {
#pragma unroll
        for (int s = 0; s < STRIPS; s++)
            from[s] += more ? STEP * BLOCK : 0;
    }

    __device__ __forceinline__ void load_codes(int b, int s)
    {
#pragma unroll
        for (int i = 0; i < VECTORS; i++)
            codes[b][s][i] = woq_stream(from[s], b * BLOCK + i * 512u);
    }

    /* Of the next span, and on to the one after it. */
    __device__ __forceinline__ void load_scales(const woq_args &a, int slot)
    {
        const woq_u32 kind = WOQ_FLAG_ZERO(a.flags), in_table = min(group, last_group) * a.scale_stride;
        const bool wide = !HALF && WOQ_FLAG_SCALE(a.flags) == WOQ_ABI_F32;
        const bool point = kind == WOQ_ABI_ZERO_POINT, offset = !HALF && kind == WOQ_ABI_ZERO_OFFSET;
#pragma unroll
        for (int s = 0; s < STRIPS; s++) {
            const woq_u32 index = in_table + pair[s], bytes = index << (wide ? 2 : 1);
            const woq_u8 *scale = window + (a.scales_off + bytes);
            const woq_u8 *zero = window + (a.zeros_off + (point ? index & ~3u : bytes));
            raw_pair &to = raw[slot][s];
            to.scale.x = __ldg((const woq_u32 *)scale);
            load_if(point || offset, to.zero.x, zero);
            if (HALF)
                continue;
            load_if(wide, to.scale.y, scale + 4);
            load_if(offset && wide, to.zero.y, zero + 4);
        }
        place += SPAN;
        if (LANE_GROUPS && ends_in_units(a)) {
            group += place / a.group;
            place %= a.group;
        } else if (place >= a.group) {
            place = 0;
            group++;
        }
    }
};

#endif
