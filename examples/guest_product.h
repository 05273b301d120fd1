/*
 * guest_product.h: the product that the guest examples compute, and its check by a plain loop.
 *
 * 8-bit weights, one scale a row; X of small integers and scales of powers of two, so that every
 * sum is exact in FP32 and the result can be compared for equality.
 */
#ifndef GUEST_PRODUCT_H
#define GUEST_PRODUCT_H

#include <stdio.h>
#include <string.h>
#include <woq/command.h>

enum { GUEST_M = 5, GUEST_N = 83, GUEST_K = 160 };

struct guest_product {
    uint8_t codes[GUEST_N * GUEST_K];
    float scales[GUEST_N];
    float x[GUEST_M * GUEST_K], y[GUEST_M * GUEST_N];
};

static inline void guest_fill(struct guest_product *p)
{
    for (int i = 0; i < GUEST_N * GUEST_K; i++)
        p->codes[i] = (uint8_t)(i * 37 + i / GUEST_K * 11);
    for (int n = 0; n < GUEST_N; n++)
        p->scales[n] = n % 3 ? 0.5f : 0.25f;
    for (int i = 0; i < GUEST_M * GUEST_K; i++)
        p->x[i] = (float)(i * 7 % 15 - 7);
    memset(p->y, 0xff, sizeof p->y); /* NaN, where nothing is written */
}

static inline enum woq_status guest_gemm(struct woq_device *device, const struct guest_product *p,
                                         struct woq_weights **weights, struct woq_gemm **gemm)
{
    struct woq_weights_source source = WOQ_WEIGHTS_SOURCE_INIT;
    source.format.code = WOQ_CODE_U8;
    source.format.zero = WOQ_ZERO_SYMMETRIC;
    source.format.scale = WOQ_F32;
    source.format.group = WOQ_GROUP_CHANNEL;
    source.n = GUEST_N;
    source.k = GUEST_K;
    source.codes = p->codes;
    source.scales = p->scales;
    struct woq_weights_params params = {sizeof params, &source, 1, false};
    enum woq_status st = woq_weights_create(device, &params, weights);
    struct woq_gemm_params product = WOQ_GEMM_PARAMS_INIT;
    product.weights = *weights;
    product.max_m = GUEST_M;
    product.x_type = product.y_type = WOQ_F32;
    return st ? st : woq_gemm_create(device, &product, gemm);
}

/* One product with slots m, x and y, in this order in slot[]. */
static inline enum woq_status guest_record(struct woq_device *device, struct woq_gemm *gemm,
                                           uint32_t slot[3], struct woq_commands **commands)
{
    enum woq_status st = woq_commands_create(device, NULL, commands);
    if (!st)
        st = woq_commands_slot_m(*commands, GUEST_M, &slot[0]);
    if (!st)
        st = woq_commands_slot_view(*commands, WOQ_ACCESS_READ, &slot[1]);
    if (!st)
        st = woq_commands_slot_view(*commands, WOQ_ACCESS_WRITE, &slot[2]);
    if (!st)
        st = woq_commands_gemm(*commands, gemm, slot[0], slot[1], slot[2], WOQ_NO_SLOT,
                               WOQ_NO_SLOT);
    return st ? st : woq_commands_end(*commands);
}

/* Outputs that are not what a plain loop computes. */
static inline int guest_check(const struct guest_product *p)
{
    int wrong = 0;
    for (int m = 0; m < GUEST_M; m++) {
        for (int n = 0; n < GUEST_N; n++) {
            float sum = 0;
            for (int k = 0; k < GUEST_K; k++)
                sum += p->x[m * GUEST_K + k] * p->scales[n] *
                       ((float)p->codes[n * GUEST_K + k] - 128);
            wrong += !(p->y[m * GUEST_N + n] == sum);
        }
    }
    return wrong;
}

#endif
