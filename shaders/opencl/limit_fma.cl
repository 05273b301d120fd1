/*
 * limit_fma.cl: FP32 multiplications with an addition, of vectors of 16. See limit_… of core/kernels.h.
 *
 * Work-groups of size 1. CHAINS sums do not wait for each other: more than a CPU has multiplications under way, and few
 * enough for 32 registers.
 */
#define CHAINS 12
#define STEPS  64u /* of a round */

__kernel void woq_limit_fma(WOQ_PARAMETERS)
{
    /* sum = sum / 2 + 1, which stays near 2. */
    const float16 half_ = (float16)(as_float(0x3f000000u + args.opaque_zero));
    const float16 one = (float16)(as_float(0x3f800000u + args.opaque_zero));
    float16 sum[CHAINS];
#pragma unroll
    for (uint i = 0; i < CHAINS; i++)
        sum[i] = (float16)(0.1f * i);
    for (uint round = 0; round < args.k; round++)
        for (uint step = 0; step < STEPS; step++) {
#pragma unroll
            for (uint i = 0; i < CHAINS; i++)
                sum[i] = fma(sum[i], half_, one);
        }
#pragma unroll
    for (uint i = 1; i < CHAINS; i++)
        sum[0] += sum[i];
    const float8 s = sum[0].lo + sum[0].hi;
    __global uint *said = (__global uint *)WOQ_WINDOW(y) + 2u * get_group_id(0);
    said[0] = CHAINS * STEPS * 16u;
    said[1] = as_uint(s.s0 + s.s1 + s.s2 + s.s3 + s.s4 + s.s5 + s.s6 + s.s7);
}
