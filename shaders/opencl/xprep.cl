/*
 * xprep.cl: X to FP32 in the workspace (binding Y), gathered through perm, for gemm.
 *
 *   invocation (i, j) converts blocks of 16 columns i, i + get_global_size(0), … of rows
 *   j, j + get_num_groups(1), …
 *   y[r][k] = x[r][k], or x[r][perm[k]], or 0 where perm is WOQ_PERM_NONE;  k < args.k
 */
__kernel void woq_xprep(WOQ_PARAMETERS)
{
    const uint type = WOQ_FLAG_X(args.flags), size = woq_size(type);
    const bool gather = WOQ_FLAG_PERM(args.flags);
    __global const uint *perm = (__global const uint *)(WOQ_WINDOW(weights) + args.perm_off);
    for (ulong r = get_group_id(1); r < args.m; r += get_num_groups(1)) {
        woq_in from = WOQ_WINDOW(x) + args.x_off + r * args.x_stride;
        __global float *to = (__global float *)(WOQ_WINDOW(y) + args.y_off + r * args.y_stride);
        for (ulong k = 16ul * get_global_id(0); k < args.k; k += 16ul * get_global_size(0)) {
            if (!gather && k + 16 <= args.k) {
                vstore16(woq_load16(from + k * size, type), 0, to + k);
                continue;
            }
            const ulong end = min(k + 16ul, (ulong)args.k);
            for (ulong i = k; i < end; i++) {
                const uint column = gather ? perm[i] : (uint)i;
                const bool real = column != WOQ_PERM_NONE;
                to[i] = real ? woq_load(from + (ulong)column * size, type) : 0.0f;
            }
        }
    }
}
