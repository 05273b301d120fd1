/* types.c: names, versions and element types. */
#include <string.h>
#include <woq/base.h>
#include <woq/device.h>
#include <woq/gemm.h>

#include "half_value.h"

#define STRINGIFY(x)          #x
#define VERSION_TEXT(a, b, c) STRINGIFY(a) "." STRINGIFY(b) "." STRINGIFY(c)

const char *woq_version_string(void)
{
    return VERSION_TEXT(WOQ_VERSION_MAJOR, WOQ_VERSION_MINOR, WOQ_VERSION_PATCH);
}

const char *woq_status_string(enum woq_status status)
{
    switch (status) {
    case WOQ_OK:
        return "ok";
    case WOQ_ERROR_INVALID_ARGUMENT:
        return "invalid argument";
    case WOQ_ERROR_INVALID_DATA:
        return "invalid data";
    case WOQ_ERROR_INVALID_STATE:
        return "call out of order";
    case WOQ_ERROR_OVERFLOW:
        return "size overflow";
    case WOQ_ERROR_UNSUPPORTED:
        return "unsupported";
    case WOQ_ERROR_NO_DEVICE:
        return "no such device";
    case WOQ_ERROR_OUT_OF_MEMORY:
        return "out of host memory";
    case WOQ_ERROR_OUT_OF_DEVICE_MEMORY:
        return "out of device memory";
    case WOQ_ERROR_DEVICE_LOST:
        return "device lost";
    case WOQ_ERROR_TIMEOUT:
        return "time-out";
    case WOQ_ERROR_BUSY:
        return "busy";
    case WOQ_ERROR_COMPILE:
        return "kernel does not compile";
    case WOQ_ERROR_DRIVER:
        return "driver error";
    case WOQ_STATUS_COUNT:
        break;
    }
    return "unknown status";
}

size_t woq_type_size(enum woq_type type)
{
    switch (type) {
    case WOQ_F32:
        return 4;
    case WOQ_F16:
    case WOQ_BF16:
        return 2;
    case WOQ_TYPE_NONE:
        break;
    }
    return 0;
}

const char *woq_type_name(enum woq_type type)
{
    switch (type) {
    case WOQ_F32:
        return "f32";
    case WOQ_F16:
        return "f16";
    case WOQ_BF16:
        return "bf16";
    case WOQ_TYPE_NONE:
        break;
    }
    return "none";
}

const char *woq_backend_name(enum woq_backend backend)
{
    switch (backend) {
    case WOQ_BACKEND_REFERENCE:
        return "reference";
    case WOQ_BACKEND_OPENCL:
        return "opencl";
    case WOQ_BACKEND_VULKAN:
        return "vulkan";
    case WOQ_BACKEND_CUDA:
        return "cuda";
    case WOQ_BACKEND_NONE:
        break;
    }
    return "none";
}

const char *woq_feature_name(uint32_t feature)
{
    switch (feature) {
    case WOQ_FEATURE_FP16:
        return "fp16";
    case WOQ_FEATURE_STORAGE16:
        return "storage16";
    case WOQ_FEATURE_STORAGE8:
        return "storage8";
    case WOQ_FEATURE_SUBGROUPS:
        return "subgroups";
    case WOQ_FEATURE_MATRIX:
        return "matrix";
    case WOQ_FEATURE_HOST_MEMORY:
        return "host_memory";
    case WOQ_FEATURE_TIMESTAMPS:
        return "timestamps";
    case WOQ_FEATURE_REPLAY:
        return "replay";
    case WOQ_FEATURE_MATRIX_BF16:
        return "matrix_bf16";
    case WOQ_FEATURE_SUBNORMAL16:
        return "subnormal16";
    default:
        return NULL;
    }
}

const char *woq_activation_name(enum woq_activation activation)
{
    switch (activation) {
    case WOQ_ACTIVATION_NONE:
        return "none";
    case WOQ_ACTIVATION_RELU:
        return "relu";
    case WOQ_ACTIVATION_GELU_TANH:
        return "gelu_tanh";
    case WOQ_ACTIVATION_GELU_ERF:
        return "gelu_erf";
    case WOQ_ACTIVATION_SILU:
        return "silu";
    case WOQ_ACTIVATION_SILU_MUL:
        return "silu_mul";
    }
    return "unknown";
}

const char *woq_math_name(enum woq_math math)
{
    switch (math) {
    case WOQ_MATH_DEFAULT:
        return "default";
    case WOQ_MATH_EXACT:
        return "exact";
    case WOQ_MATH_ROUNDED:
        return "rounded";
    case WOQ_MATH_FIXED16:
        return "fixed16";
    }
    return "unknown";
}

static uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float bits_float(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

uint16_t woq_f32_to_f16(float value)
{
    uint32_t bits = float_bits(value);
    uint32_t sign = bits >> 16 & 0x8000;
    uint32_t magnitude = bits & 0x7fffffff;

    if (magnitude > 0x7f800000) /* NaN: keep the upper payload, force quiet */
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude >= 0x38800000) { /* normal: rebias 127 to 15, round the 13 bits dropped */
        uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
        return (uint16_t)(sign | ((rounded - 0x38000000) >> 13));
    }
    if (magnitude < 0x33000000) /* below half of the smallest subnormal, 2^-25 */
        return (uint16_t)sign;
    uint32_t shift = 126 - (magnitude >> 23); /* subnormal: unit 2^-24 */
    uint32_t mantissa = (magnitude & 0x7fffff) | 0x800000;
    uint32_t half = 1u << (shift - 1);
    uint32_t result = mantissa >> shift;
    uint32_t rest = mantissa & ((1u << shift) - 1);
    if (rest > half || (rest == half && (result & 1)))
        result++;
    return (uint16_t)(sign | result);
}

float woq_f16_to_f32(uint16_t bits)
{
    return woqi_half_value(bits);
}

uint16_t woq_f32_to_bf16(float value)
{
    uint32_t bits = float_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float woq_bf16_to_f32(uint16_t bits)
{
    return bits_float((uint32_t)bits << 16);
}
