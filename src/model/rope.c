/*
 * rope.c: rotary position embedding (Su et al., arXiv:2104.09864) in the half-split order of Hugging
 * Face's checkpoints: elements i and i + head_dim/2 turn by position·f(i), f(i) = theta^(−2i/head_dim).
 *
 * Scaling variants change f: linear divides it by the factor; llama3 divides long wavelengths, leaves
 * short ones and blends between; YaRN (Peng et al., arXiv:2309.00071) blends by the number of turns
 * within the original context, 32 to 1, and lengthens the vectors by 0.1·ln(factor) + 1.
 */
#include "model_impl.h"

#include <math.h>
#include <stdlib.h>

static const double pi = 3.14159265358979323846;

static double llama3_frequency(const struct woq_model_config *c, double f)
{
    const double original = c->rope_original_context;
    const double turns = original * f / (2 * pi); /* within the original context */
    if (turns < c->rope_low_freq_factor)
        return f / c->rope_factor;
    if (turns > c->rope_high_freq_factor)
        return f;
    const double blend = (turns - c->rope_low_freq_factor) /
                         ((double)c->rope_high_freq_factor - c->rope_low_freq_factor);
    return (1 - blend) * f / c->rope_factor + blend * f;
}

/* The element whose frequency turns so many times within the original context. */
static double yarn_element(const struct woq_model_config *c, double turns)
{
    return c->head_dim * log(c->rope_original_context / (turns * 2 * pi)) /
           (2 * log(c->rope_theta));
}

static double yarn_frequency(const struct woq_model_config *c, uint32_t i, double f)
{
    double low = floor(yarn_element(c, 32)), high = ceil(yarn_element(c, 1));
    low = low < 0 ? 0 : low;
    high = high > c->head_dim - 1.0 ? c->head_dim - 1.0 : high;
    if (high <= low)
        high = low + 0.001;
    double ramp = (i - low) / (high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    return f / c->rope_factor * ramp + f * (1 - ramp);
}

static double frequency(const struct woq_model_config *c, uint32_t i)
{
    const double f = pow(c->rope_theta, -2.0 * i / c->head_dim);
    switch (c->rope_scaling) {
    case WOQ_ROPE_LINEAR: return f / c->rope_factor;
    case WOQ_ROPE_LLAMA3: return llama3_frequency(c, f);
    case WOQ_ROPE_YARN: return yarn_frequency(c, i, f);
    case WOQ_ROPE_NONE: break;
    }
    return f;
}

enum woq_status woqi_rope_create(struct woq_model *model)
{
    struct woq_model_config *c = &model->config;
    const uint32_t half = c->head_dim / 2;
    if (c->rope_scaling != WOQ_ROPE_NONE && !(c->rope_factor >= 1))
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "woq_model_create: the rotary embedding's scaling factor is %g; it must be "
                          "1 or more",
                          (double)c->rope_factor);
    if (c->rope_scaling == WOQ_ROPE_LLAMA3 &&
        !(c->rope_low_freq_factor > 0 && c->rope_high_freq_factor > c->rope_low_freq_factor))
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "woq_model_create: the rotary embedding's low and high frequency factors "
                          "are %g and %g; they must be above 0 and rising",
                          (double)c->rope_low_freq_factor, (double)c->rope_high_freq_factor);
    if (!c->rope_original_context)
        c->rope_original_context = c->context;
    model->rope = calloc((size_t)model->context * half, 2 * sizeof *model->rope);
    if (!model->rope)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_model_create: no host memory for rotary "
                                                   "tables of %u positions",
                          model->context);
    const double length =
        c->rope_scaling == WOQ_ROPE_YARN ? 0.1 * log(c->rope_factor) + 1 : 1;
    for (uint32_t i = 0; i < half; i++) {
        const double f = frequency(c, i);
        for (uint32_t p = 0; p < model->context; p++) {
            float *pair = model->rope + ((size_t)p * half + i) * 2;
            pair[0] = (float)(cos(p * f) * length);
            pair[1] = (float)(sin(p * f) * length);
        }
    }
    return WOQ_OK;
}

void woqi_rope_rotate(float *x, const float *table, uint32_t head_dim)
{
    const uint32_t half = head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half], c = table[2 * i], s = table[2 * i + 1];
        x[i] = a * c - b * s;
        x[i + half] = b * c + a * s;
    }
}
