/*
 * common.glsl: bindings, arguments and element access shared by all kernels.
 *
 * Descriptor set 0: bindings 0 … 4 are the storage buffers WOQ_BIND_…, binding 5 is the argument
 * block of abi.inc as a uniform buffer. Every buffer is an array of 32-bit words; 8- and 16-bit
 * elements are cut out of words by shifts, so that no device feature is needed for reading.
 *
 * Macros, set on the compiler's command line:
 *   STORAGE16 1   16-bit elements of Y are stored through a 16-bit view of the binding; needs the
 *                 feature storageBuffer16BitAccess
 *   STORAGE16 0   they are merged into their word by atomics, because the other half belongs to
 *                 another invocation, or to the caller
 *
 * Specialization constant 0: local_size_x (default 64).
 */
#include "abi.inc"

layout(local_size_x_id = 0, local_size_x = 64) in;

layout(set = 0, binding = WOQ_BIND_WEIGHTS) readonly buffer Weights { uint w_words[]; };
layout(set = 0, binding = WOQ_BIND_X) readonly buffer X { uint x_words[]; };
layout(set = 0, binding = WOQ_BIND_Y) buffer Y { uint y_words[]; };
layout(set = 0, binding = WOQ_BIND_BIAS) readonly buffer Bias { uint bias_words[]; };
layout(set = 0, binding = WOQ_BIND_RESIDUAL) readonly buffer Residual { uint residual_words[]; };
#if STORAGE16
layout(set = 0, binding = WOQ_BIND_Y) writeonly buffer Y16 { uint16_t y_halves[]; };
#endif

#define ARG_MEMBER(name) uint name;
layout(set = 0, binding = WOQ_BIND_COUNT, std140) uniform Args { WOQ_ARGS(ARG_MEMBER) } args;

uint type_size(uint type)
{
    return type == WOQ_ABI_F32 ? 4u : 2u;
}

/* binary16 to binary32, exactly: exponents move from bias 15 to 127, and a subnormal is fraction · 2^-24 as
 * (2^-14 + fraction · 2^-24) − 2^-14. Operands and results are normal: a driver may neither flush a subnormal nor lose
 * a NaN. */
float f16_decode(uint bits)
{
    uint rest = (bits & 0x7fffu) << 13;
    bool subnormal = rest < 0x00800000u;
    uint up = subnormal ? 0x38800000u : rest >= 0x0f800000u ? 0x70000000u : 0x38000000u;
    float magnitude = uintBitsToFloat(rest + up) - (subnormal ? 6.103515625e-5 : 0.0);
    return uintBitsToFloat(floatBitsToUint(magnitude) | (bits & 0x8000u) << 16);
}

/* binary32 to binary16: to nearest, ties to even. packHalf2x16 may round either way. */
uint f16_encode(float value)
{
    uint bits = floatBitsToUint(value);
    uint sign = (bits >> 16) & 0x8000u;
    bits &= 0x7fffffffu;
    if (bits > 0x7f800000u) /* NaN: its upper fraction, made quiet */
        return sign | 0x7e00u | ((bits >> 13) & 0x3ffu);
    if (bits >= 0x47800000u) /* 2^16 and above */
        return sign | 0x7c00u;
    if (bits < 0x38800000u) { /* below 2^-14: a multiple of 2^-24 */
        if (bits <= 0x33000000u) /* up to 2^-25, the tie that goes to 0 */
            return sign;
        uint shift = 126u - (bits >> 23);
        uint fraction = (bits & 0x7fffffu) | 0x800000u;
        uint rest = fraction & ((1u << shift) - 1u);
        uint tie = 1u << (shift - 1u);
        fraction >>= shift;
        if (rest > tie || (rest == tie && (fraction & 1u) != 0u))
            fraction++;
        return sign | fraction;
    }
    bits += 0xfffu + ((bits >> 13) & 1u); /* a carry may run into the exponent, up to infinity */
    return sign | ((bits - 0x38000000u) >> 13);
}

/* 16 bits at place i of the 8 of a vector. */
uvec4 half_of_vector(uint i, uint bits)
{
    bits <<= (i & 1u) << 4;
    return uvec4(i < 2u ? bits : 0u, i / 2u == 1u ? bits : 0u, i / 2u == 2u ? bits : 0u, i >= 6u ? bits : 0u);
}

uint bf16_encode(float value)
{
    uint bits = floatBitsToUint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (bits >> 16) | 0x40u;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

/* The element at byte offset `at` of a buffer, given the word that holds it. */
float element_decode(uint word, uint at, uint type)
{
    if (type == WOQ_ABI_F32)
        return uintBitsToFloat(word);
    uint bits = (at & 2u) != 0u ? word >> 16 : word & 0xffffu;
    return type == WOQ_ABI_F16 ? f16_decode(bits) : uintBitsToFloat(bits << 16);
}

/* value rounded to `type`, still as binary32. */
float round_to(float value, uint type)
{
    if (type == WOQ_ABI_F16)
        return f16_decode(f16_encode(value));
    if (type == WOQ_ABI_BF16)
        return uintBitsToFloat(bf16_encode(value) << 16);
    return value;
}

float x_load(uint at, uint type)
{
    return element_decode(x_words[at >> 2], at, type);
}

/* Stores value as the element at byte offset `at` of Y. */
void y_store(uint at, uint type, float value)
{
    if (type == WOQ_ABI_F32) {
        y_words[at >> 2] = floatBitsToUint(value);
        return;
    }
    uint bits = type == WOQ_ABI_F16 ? f16_encode(value) : bf16_encode(value);
#if STORAGE16
    y_halves[at >> 1] = uint16_t(bits);
#else
    /* Flips the bits that differ rather than clearing the half first: where residual is Y itself,
     * the one change of memory then depends on what was read, and cannot be moved ahead of that. */
    uint shift = (at & 2u) << 3;
    uint before = atomicOr(y_words[at >> 2], 0u) >> shift;
    atomicXor(y_words[at >> 2], ((before ^ bits) & 0xffffu) << shift);
#endif
}
