/*
 * limit_dot.cl: multiplications with an addition, of integers: woq_dot2 of dot16.clh, or woq_dot4 of dot8.clh where
 * codes stay bytes. See limit_… of core/kernels.h.
 *
 * Work-groups of size 1; CHAINS as in limit_fma.cl.
 */
#define CHAINS 12
#define STEPS  64u /* of a round */
#if WOQ_BYTES
#define DOT woq_dot4
#define PRODUCTS 64u /* of 16 lanes */
#else
#define DOT woq_dot2
#define PRODUCTS 32u
#endif

/* Not inlined: see docs/architecture.md, integer products on CPUs. */
static __attribute__((noinline)) uint run(uint rounds, int seed)
{
    const int16 factor = (int16)(0x05060708 + seed);
    int16 sum[CHAINS];
#pragma unroll
    for (uint i = 0; i < CHAINS; i++)
        sum[i] = (int16)((int)i + 1);
    for (uint round = 0; round < rounds; round++)
        for (uint step = 0; step < STEPS; step++) {
#pragma unroll
            for (uint i = 0; i < CHAINS; i++)
                sum[i] = DOT(sum[i], sum[i], factor); /* a product that did not change would be made but once */
        }
#pragma unroll
    for (uint i = 1; i < CHAINS; i++)
        sum[0] ^= sum[i];
    const int8 s = sum[0].lo ^ sum[0].hi;
    return as_uint(s.s0 ^ s.s1 ^ s.s2 ^ s.s3 ^ s.s4 ^ s.s5 ^ s.s6 ^ s.s7);
}

__kernel void woq_limit_dot(WOQ_PARAMETERS)
{
    __global uint *said = (__global uint *)WOQ_WINDOW(y) + 2u * get_group_id(0);
    said[0] = CHAINS * STEPS * PRODUCTS;
    said[1] = run(args.k, (int)args.opaque_zero);
}
