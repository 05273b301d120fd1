/* mma_fed_codes.cuh: codes for a warp of a block that is fed, through a ring of its own, by lanes what each reads. */
#ifndef WOQ_MMA_FED_CODES_CUH
#define WOQ_MMA_FED_CODES_CUH

#include "copies.cuh"
#include "mma_fed_part.cuh"
#include "shared.cuh"

/* Codes of a warp's strips, by stages. */
template <int COLUMNS> struct fed_codes {
    typedef fed_part<COLUMNS> P;
    const woq_u8 *from[STRIPS]; /* this lane's in the stage fetched next */
    woq_u32 begin, at, free;    /* in shared memory: this lane's in slot 0, in that to be read, in that to be filled */
    woq_u32 left, step;         /* stages not yet fetched; bytes from one to the next */

    __device__ __forceinline__ fed_codes(const woq_u8 *weights, const woq_args &a, const spot &p, const P &part)
    {
        const woq_u32 last_strip = (a.scale_stride >> 4) - 1u; /* of the tile */
#pragma unroll
        for (int s = 0; s < STRIPS; s++)
            from[s] = kept(weights + (a.codes_off + min(p.strip + s, last_strip) * a.codes_stride +
                                      part.first * P::STRIP + p.lane * 16u));
        begin = at = free = part.begin + p.warp_n * P::RING + p.lane * 16u;
        left = part.stages;
        step = part.stride * P::STRIP;
#pragma unroll 1
        for (int i = 0; i < P::CODE_SLOTS - 1; i++)
            fetch();
    }

    static __device__ __forceinline__ woq_u32 after(woq_u32 begin, woq_u32 slot)
    {
        return slot == begin + (P::CODE_SLOTS - 1) * P::CODES ? begin : slot + P::CODES;
    }

    /* The next stage, to the slot that was read last. */
    __device__ __forceinline__ void fetch()
    {
        if (left) {
            left--;
#pragma unroll
            for (int i = 0; i < STRIPS * P::WIDTH / 64; i++) {
                const int s = i / (P::WIDTH / 64), block = i % (P::WIDTH / 64);
                woq_copy_vector<true>(free + s * P::STRIP + block * 512u, from[s] + block * 512, true);
            }
        }
#pragma unroll
        for (int s = 0; s < STRIPS; s++)
            from[s] += step;
        free = after(begin, free);
        woq_copies_end();
    }

    /* Until those of the stage to be read are there. */
    __device__ __forceinline__ void wait() const
    {
        woq_copies_wait<P::CODE_SLOTS - 2>();
    }

    __device__ __forceinline__ uint4 read(int s, int block) const
    {
        return shared_vector(at + s * P::STRIP + block * 512u);
    }

    __device__ __forceinline__ void next()
    {
        at = after(begin, at);
    }
};

#endif
