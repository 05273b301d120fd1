/*
 * epilogue.glsl: bias, activation, residual and store, in this order; all in binary32.
 *
 *     v = act(sum + bias), or gated: silu(sum + bias_g) · (up + bias_u)
 *     Y = rn_Y(v + residual)
 *
 * The errors allowed are those of woq/gemm.h. Vulkan's exp is good to 3 + 2·|x| ulp, its division to
 * 2.5 ulp (Vulkan specification, Precision and Operation of SPIR-V Instructions).
 */
#ifndef WOQ_EPILOGUE_GLSL
#define WOQ_EPILOGUE_GLSL

/* v < 0 ? 0 : v on the bits: a compiler that knows no NaN may make max(v, 0) of the comparison. */
float relu(float v)
{
    uint bits = floatBitsToUint(v);
    return bits > 0x80000000u && bits <= 0xff800000u ? 0.0 : v;
}

float silu(float v)
{
    return v / (1.0 + exp(-v));
}

/* 1 + tanh(u) = 2 / (1 + exp(−2u)), u = √(2/π)·(v + 0.044715·v³); 1.595769 = 2·√(2/π). */
float gelu_tanh(float v)
{
    return v / (1.0 + exp(-1.5957691216057308 * (v + 0.044715 * v * v * v)));
}

/* v·Φ(v) with Φ(−|v|) = erfc(|v|/√2) / 2, so that nothing cancels for v < 0. erfc by Abramowitz and
 * Stegun, Handbook of Mathematical Functions, 7.1.26: absolute error 1.5e-7. */
float gelu_erf(float v)
{
    float x = abs(v) * 0.70710678118654752;
    float t = 1.0 / (1.0 + 0.3275911 * x);
    float poly = fma(fma(1.061405429, t, -1.453152027), t, 1.421413741);
    poly = fma(fma(poly, t, -0.284496736), t, 0.254829592);
    float half_erfc = 0.5 * poly * t * exp(-x * x);
    return v * (v < 0.0 ? half_erfc : 1.0 - half_erfc);
}

float activate(float v)
{
    switch (WOQ_FLAG_ACT(args.flags)) {
    case WOQ_ABI_ACT_RELU:
        return relu(v);
    case WOQ_ABI_ACT_GELU_TANH:
        return gelu_tanh(v);
    case WOQ_ABI_ACT_GELU_ERF:
        return gelu_erf(v);
    case WOQ_ABI_ACT_SILU:
        return silu(v);
    }
    return v;
}

float bias_load(uint at)
{
    return element_decode(bias_words[at >> 2], at, WOQ_FLAG_BIAS(args.flags));
}

/* sum: of the column, or of its gate row; up: of its up row, 0 if not gated. row and column count
 * from the step's first. */
void epilogue(uint row, uint column, float sum, float up)
{
    uint type = WOQ_FLAG_Y(args.flags);
    uint bias_type = WOQ_FLAG_BIAS(args.flags);
    bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    if (bias_type != 0u) {
        uint at = args.bias_off + column * type_size(bias_type);
        sum += bias_load(at);
        if (gated)
            up += bias_load(at + args.bias_up);
    }
    float v = gated ? silu(sum) * up : activate(sum);
    uint in_row = column * type_size(type);
    if (WOQ_FLAG_RESIDUAL(args.flags) != 0u) {
        uint at = args.res_off + row * args.res_stride + in_row;
        v += element_decode(residual_words[at >> 2], at, type);
    }
    y_store(args.y_off + row * args.y_stride + in_row, type, v);
}

#endif
