/*
 * xfixed.cl: X to integers of 16 bits in the workspace (binding Y), gathered through perm, for fixed.
 *
 *   work-group (i, j) of size 1 converts blocks of 128 columns i, i + get_num_groups(0), … of rows
 *   j, j + get_num_groups(1), …, to rows as abi.inc has them
 *
 * A block's scale is the least power of two s with max|x| <= 32639·s, 2^-112 at least; its integers are rn(x/s). A NaN
 * or infinity makes the scale NaN and the integers 0. With DPBF16 X is BF16, and is copied.
 */

#define ROUND 0x1.8p23f /* added to a number below 2^22, leaves the nearest integer in its last bits */

/* Columns k … of a row, zeros behind them. */
WOQ_INLINE void load_block(float16 *v, woq_in weights, woq_in row, const struct woq_args *a, uint k)
{
    const uint type = WOQ_FLAG_X(a->flags), size = woq_size(type);
    const uint count = min(WOQ_FIXED_BLOCK, a->k - k);
    const bool gather = WOQ_FLAG_PERM(a->flags);
    __global const uint *perm = (__global const uint *)(weights + a->perm_off) + k;
    for (uint i = 0; i < WOQ_FIXED_BLOCK; i += 16u) {
        if (!gather && i + 16u <= count) {
            v[i / 16u] = woq_load16(row + (ulong)(k + i) * size, type);
            continue;
        }
        float lanes[16];
        for (uint l = 0; l < 16u; l++) {
            const uint column = i + l >= count ? WOQ_PERM_NONE : gather ? perm[i + l] : k + i + l;
            lanes[l] = column == WOQ_PERM_NONE ? 0.0f : woq_load(row + (ulong)column * size, type);
        }
        v[i / 16u] = vload16(0, lanes);
    }
}

/* The bits of the largest |x|; NaN is the largest of all. */
WOQ_INLINE uint largest_bits(const float16 *v)
{
    uint16 most = (uint16)(0);
    for (uint i = 0; i < WOQ_FIXED_BLOCK / 16u; i++)
        most = max(most, as_uint16(v[i]) & 0x7fffffffu);
    const uint8 m8 = max(most.lo, most.hi);
    const uint4 m4 = max(m8.lo, m8.hi);
    const uint2 m2 = max(m4.lo, m4.hi);
    return max(m2.x, m2.y);
}

/* Sixteen columns, to a multiple of 32 bytes: vstore16 of bytes would be stores of bytes. */
WOQ_INLINE void store_fixed(woq_out p, int16 v)
{
#if WOQ_DOT == WOQ_DOT_VBMI || WOQ_DOT == WOQ_DOT_SDOT
    const int16 low = v << 24 >> 24;
    const char16 l = convert_char16(low), h = convert_char16((v - low) >> 8);
    ((__global char16 *)p)[0] = (char16)(h.lo, l.lo);
    ((__global char16 *)p)[1] = (char16)(h.hi, l.hi);
#else
    *(__global short16 *)p = convert_short16(v);
#endif
}

WOQ_INLINE int sum8(int8 v)
{
    const int4 v4 = v.lo + v.hi;
    const int2 v2 = v4.lo + v4.hi;
    return v2.x + v2.y;
}

/* Of a segment's sum, as abi.inc has them. */
WOQ_INLINE void store_terms(__global int *terms, int sum, uint flags)
{
    const bool symmetric = WOQ_FLAG_ZERO(flags) == WOQ_ABI_ZERO_SYMMETRIC;
    if (symmetric) {
        terms[0] = sum * (WOQ_FLAG_CODE(flags) == WOQ_ABI_U4 ? -8 : -128);
        terms[1] = sum * -136; /* U4 */
    } else {
        terms[0] = sum;
        terms[1] = (-sum & 127) | -sum >> 7 << 16;
    }
}

/* One block; `terms`: of the segments. */
WOQ_INLINE void fix_block(const float16 *v, const struct woq_args *a, woq_out to, __global float *scale,
                          __global int *terms)
{
    const uint segment = WOQ_FIXED_SEGMENT(a->group);
    const uint bits = largest_bits(v);
    const bool finite = bits < 0x7f800000u;
    const int over = (bits & 0x7fffffu) > (WOQ_FIXED_MOST - (1u << 14)) << 9;
    const int exponent = max((int)(bits >> 23) - 127 - 14 + over, -(int)WOQ_FIXED_LEAST);
    const float inverse = as_float((uint)(127 - exponent) << 23);
    int pieces[WOQ_FIXED_BLOCK / 8u]; /* sums of 8 columns */
    *scale = finite ? as_float((uint)(127 + exponent) << 23) : NAN;
    for (uint i = 0; i < WOQ_FIXED_BLOCK / 16u; i++) {
        const int16 fixed = finite ? as_int16(v[i] * inverse + ROUND) - as_int(ROUND) : (int16)(0);
        store_fixed(to + 32u * i, fixed);
        pieces[2u * i] = sum8(fixed.lo);
        pieces[2u * i + 1u] = sum8(fixed.hi);
    }
    const uint count = WOQ_FIXED_BLOCK / segment, each = segment / 8u;
    for (uint s = 0; s < count; s++) {
        int sum = 0;
        for (uint i = 0; i < each; i++)
            sum += pieces[s * each + i];
        store_terms(terms + 2u * s, sum, a->flags);
    }
}

#if WOQ_DOT == WOQ_DOT_DPBF16
/* In place of fix_block. */
WOQ_INLINE void copy_block(const float16 *v, const struct woq_args *a, woq_out to, __global float *scale,
                           __global int *terms)
{
    *scale = 1.0f;
    for (uint i = 0; i < WOQ_FIXED_BLOCK / 16u; i++)
        ((__global ushort16 *)to)[i] = convert_ushort16(as_uint16(v[i]) >> 16);
}
#define fix_block copy_block
#endif

__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void woq_xfixed(WOQ_PARAMETERS)
{
    float16 v[WOQ_FIXED_BLOCK / 16u];
    const uint segments = WOQ_FIXED_SEGMENTS(args.group);
    for (ulong r = get_group_id(1); r < args.m; r += get_num_groups(1)) {
        woq_in from = WOQ_WINDOW(x) + args.x_off + r * args.x_stride;
        woq_out to = WOQ_WINDOW(y) + args.y_off + r * args.y_stride;
        for (uint b = get_group_id(0); b < WOQ_FIXED_BLOCKS(args.k); b += get_num_groups(0)) {
            load_block(v, WOQ_WINDOW(weights), from, &args, b * WOQ_FIXED_BLOCK);
            fix_block(v, &args, to + 2u * WOQ_FIXED_BLOCK * (ulong)b,
                      (__global float *)(to + WOQ_FIXED_SCALES(args.k)) + b,
                      (__global int *)(to + WOQ_FIXED_TERMS(args.k)) + 2u * segments * b);
        }
    }
}
