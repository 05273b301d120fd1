/*
 * copies.cuh: asynchronous copies from global to shared memory (PTX ISA, cp.async), whose targets are addresses in the
 * shared window. A thread's copies since the group before are a group; it sees what it copied itself after it has
 * waited for the group, others after a barrier behind that. Requires sm_80.
 */
#ifndef WOQ_COPIES_CUH
#define WOQ_COPIES_CUH

#include "common.cuh"

/* 16 bytes; present false: zeros. NEIGHBOURS: L2 gets the 128 bytes around them. */
template <bool NEIGHBOURS>
static __device__ __forceinline__ void woq_copy_vector(woq_u32 to, const woq_u8 *from, bool present)
{
    if (NEIGHBOURS)
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                     "r"(present ? 16 : 0)
                     : "memory");
    else
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(present ? 16 : 0)
                     : "memory");
}

/* Likewise, through the cache of the multiprocessor, for what its warps share. */
static __device__ __forceinline__ void woq_copy_cached(woq_u32 to, const woq_u8 *from, bool present)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(present ? 16 : 0)
                 : "memory");
}

/* A word, or two; present false: zeros. */
static __device__ __forceinline__ void woq_copy_words(woq_u32 to, const woq_u8 *from, bool two, bool present)
{
    if (two)
        asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(present ? 8 : 0)
                     : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(present ? 4 : 0)
                     : "memory");
}

/* A word, if it is wanted. */
static __device__ __forceinline__ void woq_copy_word_if(woq_u32 to, const woq_u8 *from, bool wanted)
{
    asm volatile("{\n"
                 ".reg .pred wanted;\n"
                 "setp.ne.b32 wanted, %2, 0;\n"
                 "@wanted cp.async.ca.shared.global [%0], [%1], 4;\n"
                 "}" ::"r"(to), "l"(from), "r"((int)wanted)
                 : "memory");
}

/* Ends a group. */
static __device__ __forceinline__ void woq_copies_end()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Until at most `LEFT` groups of this thread are under way. */
template <int LEFT> static __device__ __forceinline__ void woq_copies_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

#endif
