/*
 * blocks.h: how the work-groups of matrix kernels divide a product; each block is a path's for a range of M.
 *
 * WOQI_BLOCKS(B): B(ID, warps_n, warps_m, warps_k, strips, columns, math, staged, step4, step8, step16), of the kernel
 * mma
 *   warps_n, warps_m, warps_k   subgroups of a work-group along the rows of the weights, the rows of X
 *            and K; partial sums along K are added in the work-group
 *   strips   of 16 rows of the weights, of a subgroup; even, as gated weights alternate strips
 *   columns  of 8 rows of X, of a subgroup
 *   math     EXACT: scales are applied to sums; ROUNDED: to weights
 *   staged   X goes through shared memory, else straight to registers (CUDA, 8 rows of X: each lane's by way of it)
 *   step4, step8, step16   blocks of 64 columns of K in a step, by the bits of a weight: 1 or 2
 * Blocks …L and …R, which are not staged, are for devices whose compute units have a cache: the subgroups of a
 * work-group that share rows of X find there what one of them has loaded.
 * Accumulators take strips·columns·4 registers of a thread, twice that if EXACT; weights
 * 2·strips·step·bits. Whole loads of a thread: warps_m·columns·64·step pieces of X are a multiple of
 * 32·warps_n·warps_m if staged. Shared memory holds, one after the other, X if staged (2·warps_k·warps_m·
 * columns·step · 1024 bytes; with pooled scales 16·strips more for a thread), and 16 KiB of sums at most, or those of
 * 8 rows of X.
 *
 * WOQI_MMA_FEW(P), WOQI_MMA_MORE(P, S): P(block, path, max_m, fill) and S(block, path, max_m, fill, splits), before and
 * after the paths of gemv_frag, in order of preference: the first that takes M and the format wins.
 *   max_m    rows of X up to which the planner takes it; 0 = any
 *   fill     for weights that give a compute unit at most so many work-groups at max_m; 0 = any
 *   splits   parts of K that have work-groups of their own; a second kernel adds up their sums
 * The planner meets the rows P of WOQI_MMA_MORE twice: first for X that kernel xhalf makes FP16 before, BF16 or
 * gathered through perm; then, with S, for X as it is, which the kernel could gather, too, but slowly.
 * Few rows of X: bandwidth counts, that is, loads on their way; parts of K where there are few rows of weights.
 * Blocks of 224 rows: weights that give smaller ones more than a round of work-groups, but less than two, which leaves
 * units idle (H200, 132 units, 28672 × 8192, W4 g128, µs of 64 and 224 rows, M = 1, 38.3, 36.6; 28672 × 4096, 21.0, 19.4).
 * N32M8K4: steps of 64 columns, as Vulkan's kernel has fewer registers then, and units more work-groups (H200, Vulkan,
 * M = 1, µs of steps of 128 and 64 columns, 28672 × 8192, 43.2, 40.9; 28672 × 4096, 25.4, 23.3; with zero points 41.3,
 * 44.1 and 24.5, 24.9).
 * Many: products of one subgroup hide what the others load and decode, and X is shared by all of them. N256M64 in parts
 * is for devices without the shared memory of N128M64K2.
 */
#ifndef WOQI_BLOCKS_H
#define WOQI_BLOCKS_H

#include <woq/gemm.h>

#define WOQI_BLOCKS(B)                                                                             \
    B(N32M8K16, 1, 1, 16, 2, 1, EXACT, 0, 2, 1, 1)                                                 \
    B(N32M8K8, 1, 1, 8, 2, 1, EXACT, 0, 2, 1, 1)                                                   \
    B(N32M8K4, 1, 1, 4, 2, 1, EXACT, 0, 1, 1, 1)                                                   \
    B(N32M16K8, 1, 1, 8, 2, 2, EXACT, 0, 2, 1, 1)                                                  \
    B(N64M8K4L, 2, 1, 4, 2, 1, EXACT, 0, 2, 1, 1)                                                  \
    B(N224M8K2L, 7, 1, 2, 2, 1, EXACT, 0, 2, 1, 1)                                                 \
    B(N64M16K4L, 2, 1, 4, 2, 2, EXACT, 0, 2, 1, 1)                                                 \
    B(N224M16K2L, 7, 1, 2, 2, 2, EXACT, 0, 2, 1, 1)                                                \
    B(N128M16K2L, 4, 1, 2, 2, 2, EXACT, 0, 2, 1, 1)                                                \
    B(N32M32K8R, 1, 1, 8, 2, 4, ROUNDED, 0, 1, 1, 1)                                               \
    B(N64M32K4R, 2, 1, 4, 2, 4, ROUNDED, 0, 1, 1, 1)                                               \
    B(N128M32K2R, 4, 1, 2, 2, 4, ROUNDED, 0, 1, 1, 1)                                              \
    B(N64M16K4, 1, 1, 4, 4, 2, EXACT, 0, 2, 1, 1)                                                  \
    B(N64M16K2, 1, 1, 2, 4, 2, EXACT, 0, 2, 1, 1)                                                  \
    B(N32M16K4, 1, 1, 4, 2, 2, EXACT, 0, 2, 1, 1)                                                  \
    B(N32M32K8, 1, 1, 8, 2, 4, EXACT, 0, 1, 1, 1)                                                  \
    B(N256M32K2, 8, 1, 2, 2, 4, ROUNDED, 1, 2, 1, 1)                                               \
    B(N256M32K2E, 4, 1, 2, 4, 4, EXACT, 1, 1, 1, 1)                                                \
    B(N64M32K4, 2, 1, 4, 2, 4, ROUNDED, 1, 1, 1, 1)                                                \
    B(N128M64K2, 4, 1, 2, 2, 8, ROUNDED, 1, 1, 1, 1)                                               \
    B(N256M64, 8, 1, 1, 2, 8, ROUNDED, 1, 2, 2, 2)                                                 \
    B(N128M64E, 4, 2, 1, 2, 4, EXACT, 1, 1, 1, 1)

#define WOQI_MMA_FEW(P)                                                                            \
    P(N32M8K16, "skinny", 8, 1)                                                                    \
    P(N32M8K8, "skinny", 8, 4)                                                                     \
    P(N224M8K2L, "skinny", 8, 1)                                                                   \
    P(N64M8K4L, "skinny", 8, 0)                                                                    \
    P(N32M8K4, "skinny", 8, 0)

#define WOQI_MMA_MORE(P, S)                                                                        \
    P(N32M16K8, "skinny", 16, 2)                                                                   \
    P(N64M16K4L, "skinny", 16, 2)                                                                  \
    P(N224M16K2L, "skinny", 16, 1)                                                                 \
    P(N128M16K2L, "skinny", 16, 0)                                                                 \
    P(N64M16K4, "skinny", 16, 2)                                                                   \
    P(N64M16K2, "skinny", 16, 0)                                                                   \
    P(N32M16K4, "skinny", 16, 0)                                                                   \
    S(N32M32K8, "skinny", 32, 1, 2)                                                                \
    P(N32M32K8, "skinny", 32, 2)                                                                   \
    S(N32M32K8R, "skinny", 32, 1, 2)                                                               \
    P(N32M32K8R, "skinny", 32, 2)                                                                  \
    P(N64M32K4R, "skinny", 32, 2)                                                                  \
    P(N128M32K2R, "skinny", 32, 0)                                                                 \
    P(N256M32K2, "skinny", 32, 0)                                                                  \
    P(N256M32K2E, "skinny", 32, 0)                                                                 \
    S(N128M64K2, "skinny", 64, 1, 8)                                                               \
    S(N128M64K2, "skinny", 64, 1, 4)                                                               \
    P(N64M32K4, "skinny", 64, 1)                                                                   \
    S(N128M64K2, "skinny", 64, 1, 2)                                                               \
    P(N128M64K2, "skinny", 64, 1)                                                                  \
    S(N128M64K2, "gemm", 128, 1, 4)                                                                \
    S(N128M64K2, "gemm", 128, 1, 2)                                                                \
    P(N128M64K2, "gemm", 128, 1)                                                                   \
    S(N128M64K2, "gemm", 256, 1, 2)                                                                \
    P(N128M64K2, "gemm", 256, 1)                                                                   \
    S(N256M64, "gemm", 64, 1, 8)                                                                   \
    S(N256M64, "gemm", 128, 1, 4)                                                                  \
    S(N256M64, "gemm", 256, 1, 2)                                                                  \
    P(N256M64, "gemm", 0, 0)                                                                       \
    P(N128M64E, "gemm", 0, 0)

/*
 * WOQI_COOP_BLOCKS(B): B(ID, rows_w, rows_x, subgroups_n, subgroups_m, subgroups_k), of the kernel coop, whatever
 * the device's matrices and subgroups measure; which of them fit, the backend's probe tells.
 *   rows_w, rows_x   rows of the weights (whole pairs of strips) and of X in a work-group
 *   subgroups_n, subgroups_m   divide them; each takes whole matrices
 *   subgroups_k      parts of K, each with tiles of its own in shared memory
 * Shared memory: subgroups_k · (rows_w + rows_x) · 160 bytes, later the sums of one row of matrices of
 * each subgroup.
 *
 * WOQI_COOP_PATHS(P): P(block, path, max_m) in order of preference, as above; math is ROUNDED. Few rows of X: small
 * tiles and parts of K, as there are few work-groups. Up to 128: 128 × 128 would leave most units idle. Blocks …S are
 * for narrow subgroups and small matrices, of which one before would take too many registers. The last of a name is
 * for little shared memory, small work-groups and matrices of 8 × 8.
 */
#define WOQI_COOP_BLOCKS(B)                                                                        \
    B(C32X16K4, 32, 16, 2, 1, 4)                                                                   \
    B(C32X16K4S, 32, 16, 4, 1, 4)                                                                  \
    B(C32X32K4, 32, 32, 2, 1, 4)                                                                   \
    B(C128X128, 128, 128, 2, 4, 1)                                                                 \
    B(C64X64, 64, 64, 2, 2, 1)                                                                     \
    B(C64X64S, 64, 64, 4, 4, 1)                                                                    \
    B(C32X32, 32, 32, 2, 2, 1)

#define WOQI_COOP_PATHS(P)                                                                         \
    P(C32X16K4, "skinny", 16)                                                                      \
    P(C32X16K4S, "skinny", 16)                                                                     \
    P(C32X32K4, "skinny", 32)                                                                      \
    P(C32X32, "skinny", 32)                                                                        \
    P(C64X64, "gemm", 128)                                                                         \
    P(C64X64S, "gemm", 128)                                                                        \
    P(C128X128, "gemm", 0)                                                                         \
    P(C64X64, "gemm", 0)                                                                           \
    P(C64X64S, "gemm", 0)                                                                          \
    P(C32X32, "gemm", 0)

/*
 * WOQI_NV2_BLOCKS(B): B(ID, rows_w, rows_x, subgroups_n, subgroups_m), of the kernel nv2.
 *   rows_w, rows_x   rows of the weights (whole pairs of strips) and of X in a work-group
 *   subgroups_n, subgroups_m   of a work-group; they divide both where matrices are a subgroup's
 * Shared memory: sums of 16 rows of X, 64 · (rows_w + 8) bytes; where matrices are a subgroup's, 160 · rows_w bytes
 * of weights before.
 *
 * WOQI_NV2_PATHS(P): P(block, path, max_m) in order of preference, as above; math is ROUNDED. The last is for little
 * shared memory and small work-groups.
 */
#define WOQI_NV2_BLOCKS(B)                                                                         \
    B(V128X256, 128, 256, 2, 4)                                                                    \
    B(V128X128, 128, 128, 2, 4)                                                                    \
    B(V64X64, 64, 64, 2, 2)                                                                        \
    B(V32X32, 32, 32, 2, 2)

#define WOQI_NV2_PATHS(P)                                                                          \
    P(V64X64, "gemm", 64)                                                                          \
    P(V128X128, "gemm", 128)                                                                       \
    P(V128X256, "gemm", 0)                                                                         \
    P(V128X128, "gemm", 0)                                                                         \
    P(V64X64, "gemm", 0)                                                                           \
    P(V32X32, "gemm", 0)

/*
 * WOQI_WGMMA_BLOCKS(B): B(ID, rows_w, rows_x, direct, cluster, cut), of the kernel wgmma
 *   rows_w, rows_x   rows of the weights and of X in a tile
 *   direct    X is taken as it is bound, else kernel xtile puts it in order
 *   cluster   so many neighbouring work-groups take tiles side by side, of the same rows of X, which they fetch once
 *             (blocks …C)
 *   cut       parts of K that a tile has, each a work-group's, which has no other (…K2, …K4); 1: a work-group has one
 *             whole tile; 0: work-groups take tiles, and what is left of them, one after the other
 * S128X64 is for work-groups of 48 KiB of shared memory at most; there, and in D192X128, groups are whole pairs of
 * blocks, and K is.
 *
 * WOQI_WGMMA_PATHS(P, D, K): P(block, min_m, max_m, use), D for direct ones, and K for those of one part a work-group,
 * in order of preference, as above; math is ROUNDED. Below min_m mma is faster; use: for any weights; for wide ones,
 * which have more than 32 rows for each compute unit; for those that keep each busy with tall tiles for long; for a
 * short product, of which smaller tiles leave fewer sums to be added; for a long one; for one whose tiles, or parts of
 * them, are as many as there are compute units, or not many fewer (full); for one with few tiles, whose parts keep most
 * units busy (cut), if K is long (deep), or less long but with many groups (fine).
 */
#define WOQI_WGMMA_BLOCKS(B)                                                                       \
    B(G192X64, 192, 64, false, 1, 0)                                                               \
    B(G128X64, 128, 64, false, 1, 0)                                                               \
    B(G192X128, 192, 128, false, 1, 0)                                                             \
    B(G128X128, 128, 128, false, 1, 0)                                                             \
    B(G128X256, 128, 256, false, 1, 0)                                                             \
    B(D256X32, 256, 32, true, 1, 0)                                                                \
    B(D128X64, 128, 64, true, 1, 0)                                                                \
    B(D128X128, 128, 128, true, 1, 0)                                                              \
    B(D128X256, 128, 256, true, 1, 0)                                                              \
    B(G128X256C, 128, 256, false, 2, 0)                                                            \
    B(D128X256C, 128, 256, true, 2, 0)                                                             \
    B(D192X128, 192, 128, true, 1, 1)                                                              \
    B(D192X128K2, 192, 128, true, 1, 2)                                                            \
    B(D128X64K4, 128, 64, true, 1, 4)                                                              \
    B(D128X64K2, 128, 64, true, 1, 2)                                                              \
    B(D128X128K4, 128, 128, true, 1, 4)                                                            \
    B(D128X128K2, 128, 128, true, 1, 2)                                                            \
    B(D128X256K4, 128, 256, true, 1, 4)                                                            \
    B(D128X256K2, 128, 256, true, 1, 2)                                                            \
    B(S128X64, 128, 64, false, 1, 0)

#define WOQI_WGMMA_PATHS(P, D, K)                                                                  \
    D(D256X32, 17, 32, wide)                                                                       \
    P(G192X64, 17, 64, tall)                                                                       \
    K(D128X64K4, 17, 32, fine)                                                                     \
    K(D128X64K4, 33, 64, cut)                                                                      \
    K(D128X64K2, 33, 64, cut)                                                                      \
    D(D128X64, 17, 32, wide)                                                                       \
    P(G128X64, 17, 32, wide)                                                                       \
    D(D128X64, 33, 64, any)                                                                        \
    P(G128X64, 33, 64, any)                                                                        \
    K(D128X128K2, 65, 128, full)                                                                   \
    P(G192X128, 33, 128, tall)                                                                     \
    K(D128X128K4, 65, 128, cut)                                                                    \
    K(D128X128K2, 65, 128, cut)                                                                    \
    D(D128X128, 33, 128, any)                                                                      \
    P(G128X128, 33, 128, any)                                                                      \
    K(D192X128K2, 129, 256, full)                                                                  \
    K(D128X256K4, 129, 256, deep)                                                                  \
    K(D128X128K2, 129, 256, cut)                                                                   \
    K(D128X256K2, 129, 256, cut)                                                                   \
    K(D192X128, 257, 512, full)                                                                    \
    K(D128X256K2, 257, 512, cut)                                                                   \
    D(D128X128, 129, 256, short)                                                                   \
    D(D128X256C, 2049, 0, long)                                                                    \
    D(D128X256C, 1025, 2048, long)                                                                 \
    D(D128X256C, 513, 1024, long)                                                                  \
    D(D128X256C, 257, 512, long)                                                                   \
    D(D128X256, 33, 0, any)                                                                        \
    P(G128X256C, 2049, 0, long)                                                                    \
    P(G128X256C, 1025, 2048, long)                                                                 \
    P(G128X256C, 513, 1024, long)                                                                  \
    P(G128X256C, 257, 512, long)                                                                   \
    P(G128X256, 33, 0, any)                                                                        \
    P(S128X64, 17, 0, pairs)

/*
 * WOQI_TILE_BLOCKS(B): B(ID, rows_w, rows_x, thread_w, thread_x, parts, buffers), of the kernel tile, which has no
 * matrix units.
 *   rows_w, rows_x       rows of the weights (whole pairs of strips) and of X in a work-group
 *   thread_w, thread_x   of them, a thread's: 4 or 8
 *   parts                of K, each of rows_w/thread_w · rows_x/thread_x threads, a multiple of 32
 *   buffers              tiles in shared memory: 1, or 2, one stored while the other is multiplied
 * Shared memory: parts · buffers · (rows_w + rows_x + 16) · 64 bytes.
 *
 * WOQI_TILE_PATHS(P): P(block, path, max_m, use) in order of preference, as above; use: for any device; for a CPU,
 * whose cores run a subgroup's threads in vector registers: many sums a thread, and no parts of K; or for
 * weights that are full, with rows for a work-group on every second compute unit. The last of a name is for
 * 16 KiB of shared memory and work-groups of 64.
 */
#define WOQI_TILE_BLOCKS(B)                                                                        \
    B(T32X16K4, 32, 16, 4, 4, 4, 1)                                                                \
    B(T32X32K4, 32, 32, 4, 4, 4, 1)                                                                \
    B(T32X32, 32, 32, 4, 4, 1, 1)                                                                  \
    B(T64X16, 64, 16, 8, 4, 1, 1)                                                                  \
    B(T64X32, 64, 32, 8, 8, 1, 1)                                                                  \
    B(T64X64, 64, 64, 8, 4, 1, 2)                                                                  \
    B(T128X64, 128, 64, 8, 8, 1, 1)                                                                \
    B(T128X128, 128, 128, 8, 8, 1, 1)

#define WOQI_TILE_PATHS(P)                                                                         \
    P(T64X16, "skinny", 16, cpu)                                                                   \
    P(T32X16K4, "skinny", 16, any)                                                                 \
    P(T64X32, "skinny", 32, cpu)                                                                   \
    P(T32X32K4, "skinny", 32, any)                                                                 \
    P(T32X32, "skinny", 32, any)                                                                   \
    P(T128X64, "gemm", 64, cpu)                                                                    \
    P(T128X128, "gemm", 0, cpu)                                                                    \
    P(T64X64, "gemm", 128, any)                                                                    \
    P(T128X128, "gemm", 0, full)                                                                  \
    P(T64X64, "gemm", 512, any)                                                                    \
    P(T128X128, "gemm", 0, any)                                                                    \
    P(T64X64, "gemm", 0, any)                                                                      \
    P(T32X32, "gemm", 0, any)

/*
 * WOQI_FIXED_BLOCKS(B): B(ID, dot) of the kernels xfixed, fixed and fixed_tile: one for each set of instructions, best
 * first; dot is its number in shaders/abi.inc.
 *   VBMI     AVX-512 with VNNI and VBMI
 *   VNNI     AVX-512 with VNNI
 *   AVX512   AVX-512 (F, BW, VL)
 *   AVX2
 *   SDOT     ARMv8.2 with dot products
 *   DPBF16   AVX-512 with BF16: fixed_tile alone, X BF16, math EXACT
 *   PLAIN    what any compiler makes of vectors
 *
 * WOQI_FIXED_PATHS(P): P(kernel, block, min_m, max_m) in order of preference, as above. fixed decodes codes once for 6
 * rows, fixed_tile for 256, which is worth it from the next row on; but bytes of VBMI are decoded at little cost.
 * DPBF16 is worth it from WOQI_DPBF16_ROWS rows on, where gemv reads X of them more than once.
 */
#define WOQI_FIXED_BLOCKS(B)                                                                       \
    B(VBMI, WOQ_DOT_VBMI)                                                                          \
    B(VNNI, WOQ_DOT_VNNI)                                                                          \
    B(AVX512, WOQ_DOT_AVX512)                                                                      \
    B(AVX2, WOQ_DOT_AVX2)                                                                          \
    B(SDOT, WOQ_DOT_SDOT)                                                                          \
    B(DPBF16, WOQ_DOT_DPBF16)                                                                      \
    B(PLAIN, WOQ_DOT_PLAIN)

#define WOQI_DPBF16_ROWS 2
/* Those of kernel fixed_row; PLAIN is for drivers of which it is not known that private memory is global. */
#define WOQI_FIXED_ROW_PATHS(P) P(VBMI) P(VNNI) P(AVX512) P(AVX2) P(SDOT)
#define WOQI_FIXED_PATHS(P)                                                                        \
    P(FIXED, VBMI, 0, 64)                                                                          \
    P(FIXED_TILE, VNNI, 7, 0)                                                                      \
    P(FIXED, VBMI, 0, 0)                                                                           \
    P(FIXED, VNNI, 0, 0)                                                                           \
    P(FIXED_TILE, AVX512, 7, 0)                                                                    \
    P(FIXED, AVX512, 0, 0)                                                                         \
    P(FIXED_TILE, AVX2, 7, 0)                                                                      \
    P(FIXED, AVX2, 0, 0)                                                                           \
    P(FIXED, SDOT, 0, 0)                                                                           \
    P(FIXED, PLAIN, 0, 0)

/* Numbers of the tables' blocks. */
enum woqi_block_id {
    WOQI_BLOCK_NONE,
#define WOQI_BLOCK_ENUM(id, ...) WOQI_BLOCK_##id,
    WOQI_BLOCKS(WOQI_BLOCK_ENUM) WOQI_COOP_BLOCKS(WOQI_BLOCK_ENUM) WOQI_NV2_BLOCKS(WOQI_BLOCK_ENUM)
    WOQI_WGMMA_BLOCKS(WOQI_BLOCK_ENUM) WOQI_TILE_BLOCKS(WOQI_BLOCK_ENUM) WOQI_FIXED_BLOCKS(WOQI_BLOCK_ENUM)
#undef WOQI_BLOCK_ENUM
        WOQI_BLOCK_COUNT
};

struct woqi_block {
    uint32_t warps_n, warps_m, warps_k, strips, columns;
    enum woq_math math;
    bool staged;
    uint32_t step4, step8, step16;
};

struct woqi_coop_block {
    uint32_t rows_w, rows_x, subgroups_n, subgroups_m, subgroups_k;
};

struct woqi_nv2_block {
    uint32_t rows_w, rows_x, subgroups_n, subgroups_m;
};

struct woqi_tile_block {
    uint32_t rows_w, rows_x, thread_w, thread_x, parts, buffers;
};

/* block: of this table. */
const struct woqi_block *woqi_block(enum woqi_block_id block);
/* Of a work-group: rows of X, threads. */
uint32_t woqi_block_columns(const struct woqi_block *block);
uint32_t woqi_block_threads(const struct woqi_block *block);
/* Weights of `bits` bits: blocks of 64 columns in a step, bytes of shared memory (pooled: scales and zeros, too, go
 * through it), registers of a thread for codes. */
uint32_t woqi_block_depth(const struct woqi_block *block, uint32_t bits);
uint32_t woqi_block_shared(const struct woqi_block *block, uint32_t bits, bool pooled);
uint32_t woqi_block_codes(const struct woqi_block *block, uint32_t bits);

/* block: of WOQI_COOP_BLOCKS. */
const struct woqi_coop_block *woqi_coop_block(enum woqi_block_id block);
/* Subgroups of a work-group. */
uint32_t woqi_coop_block_subgroups(const struct woqi_coop_block *block);
/* Bytes of shared memory with matrices of `matrix_m` rows of X. */
uint32_t woqi_coop_block_shared(const struct woqi_coop_block *block, uint32_t matrix_m);

/* block: of WOQI_NV2_BLOCKS. */
const struct woqi_nv2_block *woqi_nv2_block(enum woqi_block_id block);
/* Subgroups of a work-group. */
uint32_t woqi_nv2_block_subgroups(const struct woqi_nv2_block *block);
/* Bytes of shared memory; staged: weights go through it. */
uint32_t woqi_nv2_block_shared(const struct woqi_nv2_block *block, bool staged);

/* block: of WOQI_TILE_BLOCKS. */
const struct woqi_tile_block *woqi_tile_block(enum woqi_block_id block);
/* Threads of a work-group. */
uint32_t woqi_tile_block_threads(const struct woqi_tile_block *block);
/* Bytes of shared memory. */
uint32_t woqi_tile_block_shared(const struct woqi_tile_block *block);

/* block: of any table. Is it one of WOQI_WGMMA_BLOCKS that takes X as it is bound? */
bool woqi_block_is_direct(enum woqi_block_id block);

/* block: of WOQI_WGMMA_BLOCKS. Work-groups that share tiles of X; a multiple of them is to be launched. */
uint32_t woqi_block_cluster(enum woqi_block_id block);

/* Likewise: parts of a tile's K, as at WOQI_WGMMA_BLOCKS. */
uint32_t woqi_block_cut(enum woqi_block_id block);

/* Likewise: must groups of columns be whole pairs of blocks of 64, and K? */
bool woqi_block_wants_pairs(enum woqi_block_id block);

/* Likewise: one for little shared memory? */
static inline bool woqi_block_is_small(enum woqi_block_id block)
{
    return block == WOQI_BLOCK_S128X64;
}

/* block: of any table. Its name; rows of the weights and of X in a work-group. */
const char *woqi_block_name(enum woqi_block_id block);
void woqi_block_tile(enum woqi_block_id block, uint32_t *rows, uint32_t *columns);

#endif
