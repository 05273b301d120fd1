/* shared.cuh: shared memory by address, in the shared window. Loads keep their order among each other, with stores, and
 * with what waits and copies. */
#ifndef WOQ_SHARED_CUH
#define WOQ_SHARED_CUH

#include "common.cuh"

static __device__ __forceinline__ uint4 shared_vector(woq_u32 at)
{
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
    return v;
}

static __device__ __forceinline__ woq_u32 shared_word(woq_u32 at)
{
    woq_u32 v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at));
    return v;
}

static __device__ __forceinline__ uint2 shared_pair(woq_u32 at)
{
    uint2 v;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at));
    return v;
}

static __device__ __forceinline__ void store_word(woq_u32 at, woq_u32 v)
{
    asm volatile("st.shared.u32 [%0], %1;" ::"r"(at), "r"(v) : "memory");
}

static __device__ __forceinline__ void store_pair(woq_u32 at, woq_u32 a, woq_u32 b)
{
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(at), "r"(a), "r"(b) : "memory");
}

static __device__ __forceinline__ float shared_float(woq_u32 at)
{
    return __uint_as_float(shared_word(at));
}

#endif
