/*
 * common.cuh: what every CUDA kernel includes: the argument block and element access.
 *
 * Arithmetic that must not be contracted is written with the _rn functions: nvcc fuses a·b + c by
 * default. Its other defaults are relied on: -ftz=false, -prec-div=true; never -use_fast_math.
 *
 * Conversions need nothing above sm_75: binary16 through cvt, which keeps subnormals, bfloat16 in
 * integer arithmetic. NaN stays NaN.
 */
#ifndef WOQ_COMMON_CUH
#define WOQ_COMMON_CUH

#include "../abi.inc"

typedef unsigned char woq_u8;
typedef unsigned short woq_u16;
typedef unsigned int woq_u32;

struct woq_args {
#define WOQ_ARG_MEMBER(name) woq_u32 name;
    WOQ_ARGS(WOQ_ARG_MEMBER)
#undef WOQ_ARG_MEMBER
};

static_assert(sizeof(woq_args) == 128, "the argument block is 128 bytes in every language");

static __device__ __forceinline__ float woq_from_f16(woq_u16 bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

/* To nearest, ties to even; too large becomes infinity. */
static __device__ __forceinline__ woq_u16 woq_to_f16(float value)
{
    woq_u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

static __device__ __forceinline__ float woq_from_bf16(woq_u16 bits)
{
    return __uint_as_float((woq_u32)bits << 16);
}

/* To nearest, ties to even: adds just under half of the last place kept, and 1 if that is odd. */
static __device__ __forceinline__ woq_u16 woq_to_bf16(float value)
{
    woq_u32 bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (woq_u16)(bits >> 16 | 0x40u);
    return (woq_u16)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* rn_T(value) as a float. */
static __device__ __forceinline__ float woq_round(woq_u32 type, float value)
{
    if (type == WOQ_ABI_F16)
        return woq_from_f16(woq_to_f16(value));
    if (type == WOQ_ABI_BF16)
        return woq_from_bf16(woq_to_bf16(value));
    return value;
}

/* Element `index` of an array of `type` that begins `offset` bytes into a window. */
static __device__ __forceinline__ float woq_load(const woq_u8 *window, woq_u32 type, woq_u32 offset,
                                                 woq_u32 index)
{
    if (type == WOQ_ABI_F32)
        return *(const float *)(window + (offset + index * 4u));
    woq_u16 bits = *(const woq_u16 *)(window + (offset + index * 2u));
    return type == WOQ_ABI_F16 ? woq_from_f16(bits) : woq_from_bf16(bits);
}

static __device__ __forceinline__ void woq_store(woq_u8 *window, woq_u32 type, woq_u32 offset,
                                                 woq_u32 index, float value)
{
    if (type == WOQ_ABI_F32)
        *(float *)(window + (offset + index * 4u)) = value;
    else
        *(woq_u16 *)(window + (offset + index * 2u)) =
            type == WOQ_ABI_F16 ? woq_to_f16(value) : woq_to_bf16(value);
}

#endif
