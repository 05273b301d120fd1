/*
 * sdot_test.cl: the kernels xfixed, fixed and fixed_row with WOQ_DOT_SDOT as a program of its own, run by an emulator of
 * ARMv8.2 (check_sdot.sh): every element of Y has the bits of the same operations, written out.
 *
 * Behind builtins.clh, abi.inc, the files of the kernels, xfixed.cl, fixed.cl and fixed_row.cl. Codes and zeros by -D as
 * always; scales are FP32.
 */
#define N 37u
#define K 299u
#define M 8u
#define PANELS ((N + 15u) / 16u)
#define ROWS_PADDED (16u * PANELS)
#define STRIDE ((K * WOQ_COLUMN + 63u) / 64u * 64u) /* of a panel */
#define GROUPS 40u                                  /* at most */

static __global uchar weights[PANELS * STRIDE + 256u + 2u * GROUPS * ROWS_PADDED * 4u] __attribute__((aligned(256)));
static __global uchar prepared[M * 2048u] __attribute__((aligned(64)));
static __global float x[M][K], y[M][N];

static uint mix(uint a, uint b)
{
    uint v = a * 2654435761u ^ (b + 77u) * 2246822519u;
    v ^= v >> 15;
    v *= 3266489917u;
    return v >> 16;
}

static int code_of(uint n, uint k)
{
    return (int)(mix(n, k) & (WOQ_CODE == WOQ_ABI_U4 ? 15u : 255u));
}

static int zero_of(uint n, uint group)
{
    return WOQ_ZERO == WOQ_ABI_ZERO_SYMMETRIC ? (WOQ_CODE == WOQ_ABI_U4 ? 8 : 128)
           : WOQ_ZERO == WOQ_ABI_ZERO_POINT   ? code_of(n + 5000u, group)
                                              : 0;
}

static float scale_of(uint n, uint group)
{
    return (float)(mix(n + 9000u, group) % 1000u + 1u) * 0x1p-8f;
}

static float offset_of(uint n, uint group)
{
    return (float)((int)(mix(n + 7000u, group) % 2001u) - 1000) * 0x1p-6f;
}

/* As src/core/layout.h has PANEL16; rows behind N stay 0. */
static void pack(struct woq_args *a)
{
    const uint groups = (K + a->group - 1u) / a->group;
    a->codes_stride = STRIDE;
    a->scales_off = PANELS * STRIDE;
    a->zeros_off = a->scales_off + groups * ROWS_PADDED * 4u;
    a->scale_stride = ROWS_PADDED;
    for (uint i = 0; i < sizeof weights; i++)
        weights[i] = 0;
    for (uint n = 0; n < N; n++) {
        for (uint k = 0; k < K; k++) {
            __global uchar *column = weights + n / 16u * STRIDE + k * WOQ_COLUMN;
            if (WOQ_CODE == WOQ_ABI_U4)
                column[n % 8u] |= (uchar)(code_of(n, k) << (n % 16u / 8u * 4u));
            else
                column[n % 16u] = (uchar)code_of(n, k);
        }
        for (uint g = 0; g < groups; g++) {
            const uint at = g * ROWS_PADDED + n;
            ((__global float *)(weights + a->scales_off))[at] = scale_of(n, g);
            if (WOQ_ZERO == WOQ_ABI_ZERO_OFFSET)
                ((__global float *)(weights + a->zeros_off))[at] = offset_of(n, g);
            else if (WOQ_ZERO == WOQ_ABI_ZERO_POINT)
                weights[a->zeros_off + at] = (uchar)zero_of(n, g);
        }
    }
}

/* x holds integers of which every block has one of the largest, so that scales are 1. */
static float expected(uint m, uint n, uint group)
{
    const uint segment = WOQ_FIXED_SEGMENT(group);
    float total = 0.0f;
    for (uint first = 0; first < K; first += segment) {
        const uint g = first / group, end = min(first + segment, K);
        int dot = 0, sum = 0;
        for (uint k = first; k < end; k++) {
            dot += (int)x[m][k] * (code_of(n, k) - zero_of(n, g));
            sum += (int)x[m][k];
        }
        total = __builtin_fmaf(scale_of(n, g), (float)dot, total);
        if (WOQ_ZERO == WOQ_ABI_ZERO_OFFSET)
            total = __builtin_fmaf(offset_of(n, g), (float)sum, total);
    }
    return total;
}

/* m 0: one row, by fixed_row. */
static bool product(uint m, uint group)
{
    const bool row = m == 0;
    m = row ? 1u : m;
    struct woq_args a = {.m = m, .n = N, .k = K, .group = group, .x_columns = K};
    pack(&a);
    a.flags = WOQ_FLAGS(WOQ_CODE, WOQ_ZERO, WOQ_ABI_F32, WOQ_ABI_F32, WOQ_ABI_F32, 0u, 0u, 0u, 0u, 0u, WOQ_ABI_PANEL16);
    for (uint i = 0; i < M; i++)
        for (uint k = 0; k < K; k++)
            x[i][k] = k % 128u == i ? 32639.0f : (float)((int)(mix(i + 1000u, k) % 65279u) - 32639);
    a.x_stride = sizeof x[0];
    a.y_stride = 2048u;
    groups_x = groups_y = 1, group_x = group_y = 0;
    woq_xfixed(weights, 0, (__global uchar *)x, 0, prepared, 0, prepared, 0, prepared, 0, a);
    a.x_stride = 2048u;
    a.y_stride = sizeof y[0];
    a.x_stride = row ? 0u : a.x_stride;
    for (uint i = 0; i < N; i++)
        y[0][i] = NAN;
    for (groups_x = 2, group_x = 0; group_x < groups_x; group_x++) {
        __global uchar *to = (__global uchar *)y;
        if (row)
            woq_fixed_row(weights, 0, (__global uchar *)x, 0, to, 0, to, 0, to, 0, a);
        else
            woq_fixed(weights, 0, prepared, 0, to, 0, to, 0, to, 0, a);
    }
    for (uint i = 0; i < m; i++)
        for (uint n = 0; n < N; n++)
            if (as_uint(y[i][n]) != as_uint(expected(i, n, group)))
                return false;
    return true;
}

static void leave(int status)
{
    /* exit of Linux is its call 93 */
    __asm__ volatile("mov x0, %0\n\tmov x8, 93\n\tsvc 0" : : "r"((long)status) : "x0", "x8", "memory");
    __builtin_unreachable();
}

/* Exit status: 0, or the number of the first product that is wrong. */
void _start(void)
{
    static const __constant uint groups[] = {8u, 32u, 64u, 128u, 256u, K};
    int number = 1;
    for (uint g = 0; g < sizeof groups / sizeof *groups; g++)
        for (uint m = 0; m <= M; m++, number++)
            if (!product(m, groups[g]))
                leave(number);
    leave(0);
}

/* What compilers make calls of; there is no C library. */
void *memset(void *to, int value, unsigned long size)
{
    for (unsigned long i = 0; i < size; i++)
        ((volatile uchar *)to)[i] = (uchar)value;
    return to;
}

void *memcpy(void *to, const void *from, unsigned long size)
{
    for (unsigned long i = 0; i < size; i++)
        ((volatile uchar *)to)[i] = ((const uchar *)from)[i];
    return to;
}
