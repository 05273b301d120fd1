/*
 * limit_read.cl: how fast memory is read. See limit_… of core/kernels.h.
 *
 * Work-groups of size 1: group i reads the pieces of 256 bytes of its own i-th part of X, one after the other, as
 * kernels read panels, and asks for what is AHEAD of them where it can (woq_prefetch of dot16.clh).
 */
#define AHEAD 4096u /* bytes */

/* Not inlined: see docs/architecture.md, integer products on CPUs. */
static __attribute__((noinline)) uint run(woq_in from, ulong begin, ulong end, uint rounds)
{
    ulong8 a = (ulong8)(0), b = a, c = a, d = a;
    for (uint round = 0; round < rounds; round++) {
        for (ulong i = begin; i < end; i++) {
            woq_in at = from + 256u * i;
            __global const ulong *p = (__global const ulong *)at;
#pragma unroll
            for (uint line = 0; line < 4u; line++)
                woq_prefetch(at + AHEAD + 64u * line);
            a ^= vload8(0, p);
            b ^= vload8(1, p);
            c ^= vload8(2, p);
            d ^= vload8(3, p);
        }
    }
    a ^= b ^ c ^ d;
    const ulong all = a.s0 ^ a.s1 ^ a.s2 ^ a.s3 ^ a.s4 ^ a.s5 ^ a.s6 ^ a.s7;
    return (uint)all ^ (uint)(all >> 32);
}

__kernel void woq_limit_read(WOQ_PARAMETERS)
{
    const ulong pieces = args.n / 16u, groups = get_num_groups(0), group = get_group_id(0);
    const ulong begin = pieces * group / groups, end = pieces * (group + 1u) / groups;
    __global uint *said = (__global uint *)WOQ_WINDOW(y) + 2u * group;
    said[0] = (uint)(256u * (end - begin));
    said[1] = run(WOQ_WINDOW(x), begin, end, args.k);
}
