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

/* Parameters of every kernel: the windows in the order of WOQ_BIND_…, then the argument block, and what it wants more.
 * Its body begins with WOQ_WINDOWS. Y may be the residual, so nothing is declared __restrict__.
 *
 * OPENCL, from the build: as NVIDIA's OpenCL launches them. A window is a buffer and an offset into it; the last
 * parameter, which nothing reads, has it set dynamic shared memory aside. */
#if OPENCL
#define WOQ_WINDOW(name) woq_u8 *name##_memory, unsigned long long name##_from
#define WOQ_PARAMETERS                                                                             \
    WOQ_WINDOW(weights), WOQ_WINDOW(x), WOQ_WINDOW(y), WOQ_WINDOW(bias), WOQ_WINDOW(residual),     \
        const __grid_constant__ woq_args a, unsigned long long shared
#define WOQ_WINDOWS                                                                                \
    [[maybe_unused]] const woq_u8 *weights = weights_memory + weights_from, *x = x_memory + x_from; \
    [[maybe_unused]] const woq_u8 *bias = bias_memory + bias_from;                                 \
    [[maybe_unused]] const woq_u8 *residual = residual_memory + residual_from;                     \
    [[maybe_unused]] woq_u8 *y = y_memory + y_from;
#else
#define WOQ_PARAMETERS                                                                             \
    const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias, const woq_u8 *residual, \
        const __grid_constant__ woq_args a
#define WOQ_WINDOWS
#endif

/* A kernel may begin while the one before it in a list of steps ends (programmatic dependent launch; PTX ISA,
 * griddepcontrol). Until this returns it touches nothing but weights, which no other step writes; then all that other
 * steps wrote is visible. Every thread calls it, also one that has nothing to do, so that a kernel ends after the one
 * before it. What other steps may have written is loaded by plain loads: a non-coherent one takes its data for constant
 * since the kernel began. */
static __device__ __forceinline__ void woq_await_steps()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* After that: the next kernel may begin, once all blocks have said so. Of one that does not, blocks say so as they
 * end. */
static __device__ __forceinline__ void woq_admit_next()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

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

static __device__ __forceinline__ woq_u32 woq_type_size(woq_u32 type)
{
    return type == WOQ_ABI_F32 ? 4u : 2u;
}

/* Two 16-bit values in a word, as FP32. */
static __device__ __forceinline__ float woq_low(woq_u32 type, woq_u32 pair)
{
    const float half = woq_from_f16((woq_u16)pair); /* before the question, or it becomes a branch */
    return type == WOQ_ABI_BF16 ? __uint_as_float(pair << 16) : half;
}

static __device__ __forceinline__ float woq_high(woq_u32 type, woq_u32 pair)
{
    const float half = woq_from_f16((woq_u16)(pair >> 16));
    return type == WOQ_ABI_BF16 ? __uint_as_float(pair & 0xffff0000u) : half;
}

/* Of X and of the workspace. */
static __device__ __forceinline__ woq_u32 woq_plain_word(const woq_u8 *window, woq_u32 offset)
{
    return *(const woq_u32 *)(window + offset);
}

static __device__ __forceinline__ woq_u32 woq_plain_half(const woq_u8 *window, woq_u32 offset)
{
    return *(const woq_u16 *)(window + offset);
}

static __device__ __forceinline__ uint4 woq_plain_vector(const woq_u8 *window, woq_u32 offset)
{
    return *(const uint4 *)(window + offset);
}

/* Of weights. */
static __device__ __forceinline__ woq_u32 woq_word(const woq_u8 *window, woq_u32 offset)
{
    return __ldg((const woq_u32 *)(window + offset));
}

static __device__ __forceinline__ woq_u32 woq_half(const woq_u8 *window, woq_u32 offset)
{
    return __ldg((const woq_u16 *)(window + offset));
}

/* The same for what is read once: it does not displace others from the cache of the multiprocessor. */
static __device__ __forceinline__ uint4 woq_stream(const woq_u8 *window, woq_u32 offset)
{
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(window + offset));
    return v;
}

/* Likewise to a vector that stays as it is unless `wanted`. */
static __device__ __forceinline__ void woq_stream_if(bool wanted, uint4 &to, const woq_u8 *window, woq_u32 offset)
{
    asm("{.reg .pred p; setp.ne.u32 p, %5, 0; @p ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];}"
        : "+r"(to.x), "+r"(to.y), "+r"(to.z), "+r"(to.w)
        : "l"(window + offset), "r"((woq_u32)wanted));
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
