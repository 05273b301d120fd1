/*
 * kernels.h: the one list of device kernels. Selection, building, tests and benches expand it.
 *
 * WOQI_KERNELS(K): K(ID, name, path, local_x, what)
 *   name     of the entry point and of the source: shaders/<api>/<name>.{cl,comp,cu}
 *   path     that runs it, as explain and tests name it
 *   local_x  wanted work-group size (y = z = 1); the device's limit lowers it
 *
 * Contracts. All take woqi_args (shaders/abi.inc) and the bindings WOQ_BIND_….
 *
 * floor   Any device, any format, both layouts, any M, N, K ≥ 1. groups[0]·local_x invocations stride
 *         over the n columns of Y, groups[1] over the m rows: invocation (i, j) computes the columns
 *         i, i + groups[0]·local_x, … of the rows j, j + groups[1], ….
 *         Needs neither FP16, 8- or 16-bit storage, subgroups nor shared memory.
 * xprep   Converts X to FP32 [m][k] in the workspace, gathered through perm: binding Y is the
 *         workspace (type F32, y_stride = k·4 rounded up to 64); x_columns is the caller's K; columns
 *         whose perm is WOQ_PERM_NONE become 0. groups as in floor, with k in place of n.
 * gemv    CPU, layout PANEL16, m ≤ WOQI_GEMV_MAX_M. Work-group size 1; work-group i computes whole
 *         panels i, i + groups[0], … (gated: pairs of panels) for all m rows. X as bound by the caller.
 * gemm    CPU, layout PANEL16, X is the workspace of xprep (FP32, rows of k padded to 64 bytes).
 *         Work-group (i, j) of size 1 computes panel i (gated: pair) of part j of the rows, of equal parts of at
 *         most WOQI_GEMM_ROWS; both stride by the number of groups.
 * xfixed  X to integers of 16 bits in the workspace, binding Y, y_off 0: rows as abi.inc has them, gathered through
 *         perm, in blocks of WOQ_FIXED_BLOCK columns (woq/gemm.h, FIXED16). x_columns as in xprep. Built for one set of
 *         instructions (WOQI_FIXED_BLOCKS), for whose kernel fixed it orders the integers of 8 columns. Work-groups of
 *         size 1; groups[0] stride over the blocks of columns, groups[1] over the rows.
 * fixed   CPU, layout PANEL16, and the reference; weights quantized, groups of 8, 16, 32, 64, multiples of 128 columns,
 *         or all; math FIXED16. X is what xfixed made of it. Built for one kind of codes and one set of instructions.
 *         Work-groups as in gemm, of at most WOQI_FIXED_ROWS rows.
 * fixed_row  Both of them for m = 1 and k ≤ WOQI_FIXED_ROW_COLUMNS, on CPUs alone; gives the same bits. X as bound by
 *         the caller, gathered through perm. Work-groups of size 1; groups[0] stride over the panels.
 * fixed_tile  As fixed, on CPUs alone; gives the same bits. Not for WOQ_DOT_VBMI and WOQ_DOT_SDOT. WOQ_DOT_DPBF16: X is
 *         BF16, math EXACT, no float offsets; xfixed has copied X, and there is no kernel fixed. Work-group (i, j)
 *         of size 1 computes tiles i, i + groups[0], … of WOQI_FIXED_TILE_PANELS physical panels for equal parts
 *         j, j + groups[1], … of at most WOQI_FIXED_TILE_ROWS rows.
 *
 * mma     Subgroups of 32 whose matrix units hold an m16n8k16 product as PTX does, layout FRAG16B, X FP16, or BF16
 *         where they take it. Built for one kind of codes, one type of X and one block (blocks.h). Work-group (i, j)
 *         computes the rows i·(rows of the block) onwards of the weights for the rows j·(columns of the block) onwards
 *         of X; warps_k parts of K are summed in the work-group, in a fixed order. Work-groups (i, j, p) of
 *         groups[2] > 1: part p of K alone, as row p·m + j of Y; no residual then. row_scales_off other than 0: the
 *         sums of row j of X are multiplied by FP32 number j there, in X's binding.
 * xhalf   X, FP16 or BF16, any alignment, to [m][k] in the workspace, gathered through perm: binding Y is the
 *         workspace, y_off 0, y_stride a multiple of 16, zeros behind the k columns. Work-group i converts the rows
 *         i, i + groups[0], …. row_scales_off 0: the type stays; else BF16 becomes FP16: rows are divided by powers
 *         of two, which go there in Y's binding.
 * reduce  X is FP32, k parts of m rows each, part p of row j as row p·m + j, with an element for each row of the
 *         weights: sums of the parts, in order, to Y. groups as in floor.
 * gemv_frag  Layout FRAG16B, m ≤ rows of its key (1, 2, 4 or 8). Work-groups of 32·parts; work-group i computes
 *         whole strips i, i + groups[0], … (gated: pairs of strips) for all m rows; parts of K are summed in the
 *         work-group, in a fixed order. Needs shared memory (woqi_gemv_shared), and nothing else.
 *
 * coop    Any cooperative matrix FP16 → FP32, layout FRAG16B, X FP16, weights quantized or FP16, any group,
 *         math ROUNDED. Built for one kind of codes and one block (WOQI_COOP_BLOCKS). Work-group (i, j)
 *         computes the rows i·rows_w onwards of the weights for the rows j·rows_x onwards of X. Its size
 *         is the backend's: the block's subgroups times their size.
 * nv2     VK_NV_cooperative_matrix2, layout FRAG16B, X as xhalf makes it, with memory behind its rows up to a whole
 *         work-group's, weights quantized or FP16, any group, math ROUNDED. Built for one kind of codes and one
 *         block (WOQI_NV2_BLOCKS). Work-group (i, j), its size and row_scales_off as above.
 * tile    Layout FRAG16B, any format, group, type and order of X, both math modes, without matrix units. Built for
 *         one kind of codes, one type of X and one block (WOQI_TILE_BLOCKS). Work-group (i, j) computes the rows
 *         i·rows_w onwards of the weights for the rows j·rows_x onwards of X; parts of K are summed in the
 *         work-group, in a fixed order. Needs the block's threads and shared memory, and nothing else.
 *
 * wgmma   Layout FRAG16B, weights quantized or of X's type, groups of a multiple of 8 columns or all, math ROUNDED. X is
 *         what xtile made of it. Built for one kind of codes, one type of X and one block (WOQI_WGMMA_BLOCKS).
 *         groups[0] work-groups compute the tiles_w · tiles_x tiles of the product in parts
 *         (shaders/cuda/wgmma_parts.inc). With a block C they are launched in clusters, each of which counts as one
 *         there and takes a tile for each of its work-groups, side by side in the weights. Where they share tiles, no
 *         more than the device runs at once, bindings SUMS and FLAGS (backend.h) have a place for the sums of each, a
 *         tile of FP32, and 4 words, which are 0 before and after. Work-groups must begin in the order of their numbers.
 *         direct other than 0: X is as bound by the caller, columns in order, and scales are of its type; no offsets,
 *         and groups of a multiple of 32 columns or all.
 * xtile   X, FP16 or BF16, any alignment, gathered through perm, to the workspace, binding Y, y_off 0: for each block
 *         of 64 columns (K rounded up to 128), rows (M rounded up to 8) of 128 bytes in the order of wgmma's products.
 *         groups[0]·local_x invocations stride over rows and columns.
 *
 * expand  Layout FRAG16B, codes U4 or U8, any group. Writes n rows of the weights (whole strips, from codes_off,
 *         scales_off and zeros_off on) as plain FP16 weights of the same layout: binding Y, strips y_stride
 *         apart, and behind them perm, if X is gathered. Built for one kind of codes. groups[0]·local_x
 *         invocations stride over strips · blocks of 64 columns · 32.
 *
 * pack    Layout FRAG16B. Makes n rows of a tile, whole strips from row n_first on, out of a source's in canonical order
 *         (woq/format.h). Binding Y is the tile; binding X has what fills these rows, row n_first + i at
 *         x_off + i·x_stride; x_off and x_stride are multiples of 16, with memory up to the next one behind every row,
 *         whatever it holds; so it may under rows of the tile that are padding. Which are, m (output columns of the
 *         tile) and granule say.
 *         codes_stride other than 0: codes. Their strips begin at codes_off; k physical columns, perm at perm_off.
 *         Padding columns take their codes from the tile's zeros at zeros_off, which must be there already.
 *         codes_stride 0: a table of scales or zeros. group bytes an element; of the tile's k groups, group j goes to
 *         y_off + j·y_stride, and is the source's group j, or with perm the one that word j at perm_off in X's binding
 *         names; y_off is that of row n_first.
 *         groups[0]·local_x / 32 parties of 32 invocations stride over pieces of 2048 bytes.
 *
 * limit_…  k rounds of one thing and hardly anything else, in groups[0] work-groups. Work-group i writes how much a
 *         round of its does as word 2i of Y, and may write the word behind it, so that nothing can be left out:
 *         read    bytes of X; of its n pieces of 16 bytes all but a rest, each by one work-group
 *         fma     multiplications with an addition, of FP32 scalars
 *         matrix, wgmma   the same by matrix units, FP16 to FP32
 *         dot     the same of integers; built for one set of instructions (WOQI_FIXED_BLOCKS)
 *
 * y may alias residual element by element: read it before writing y. Nothing outside the m × n window
 * of Y may be written; Y must not be read (it may hold NaN). FP32 accumulation throughout.
 */
#ifndef WOQI_KERNELS_H
#define WOQI_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#define WOQI_GEMV_MAX_M 8
#define WOQI_GEMM_ROWS 64
#define WOQI_FIXED_ROWS 64
#define WOQI_FIXED_ROW_COLUMNS 2048
#define WOQI_FIXED_TILE_ROWS 256
#define WOQI_FIXED_TILE_PANELS 4

#define WOQI_KERNELS(K)                                                                            \
    K(FLOOR, floor, "floor", 64, "any device, any format")                                         \
    K(XPREP, xprep, "gemm", 64, "X to FP32, gathered")                                             \
    K(GEMV, gemv, "gemv", 1, "CPU, few rows")                                                      \
    K(GEMM, gemm, "gemm", 1, "CPU, many rows")                                                     \
    K(XFIXED, xfixed, "gemm", 1, "X to integers of 16 bits")                                       \
    K(FIXED, fixed, "gemm", 1, "CPU, integer products")                                            \
    K(FIXED_ROW, fixed_row, "gemv", 1, "CPU, integer products, one row")                            \
    K(FIXED_TILE, fixed_tile, "gemm", 1, "CPU, integer products, many rows")                       \
    K(REDUCE, reduce, "skinny, gemm", 64, "sums of parts of K")                                    \
    K(XHALF, xhalf, "skinny, gemm", 256, "X aligned, gathered, or as FP16")                                    \
    K(MMA, mma, "skinny, gemm", 32, "matrix units, weights straight to registers")                 \
    K(COOP, coop, "skinny, gemm", 32, "matrix units of any kind, through shared memory")           \
    K(NV2, nv2, "gemm", 32, "matrices of a work-group, VK_NV_cooperative_matrix2")                 \
    K(XTILE, xtile, "gemm", 256, "X to tiles of WGMMA")                                            \
    K(WGMMA, wgmma, "gemm", 384, "matrix units of a warpgroup, sm_90a")                            \
    K(GEMV_FRAG, gemv_frag, "gemv", 32, "GPU, few rows")                                           \
    K(EXPAND, expand, "expand", 256, "weights to FP16 in the workspace")                          \
    K(PACK, pack, "(weights)", 256, "canonical weights to FRAG16B")                                 \
    K(TILE, tile, "skinny, gemm", 64, "GPU without matrix units")                                  \
    K(LIMIT_READ, limit_read, "(limits)", 256, "reads memory")                                     \
    K(LIMIT_FMA, limit_fma, "(limits)", 256, "FP32 multiply-adds")                                 \
    K(LIMIT_MATRIX, limit_matrix, "(limits)", 128, "matrix units of a subgroup")                   \
    K(LIMIT_WGMMA, limit_wgmma, "(limits)", 256, "matrix units of a warpgroup")                    \
    K(LIMIT_DOT, limit_dot, "(limits)", 1, "integer products of a CPU")

enum woqi_kernel_id {
#define WOQI_KERNEL_ENUM(id, name, path, local_x, what) WOQI_KERNEL_##id,
    WOQI_KERNELS(WOQI_KERNEL_ENUM)
#undef WOQI_KERNEL_ENUM
        WOQI_KERNEL_COUNT
};

/* Columns that share a scale: blocks of 64, pieces of 8, fewer, pairs of blocks, or units of 32. */
enum woqi_groups {
    WOQI_GROUPS_BLOCK,
    WOQI_GROUPS_PIECE,
    WOQI_GROUPS_ANY,
    WOQI_GROUPS_PAIR, /* MMA, in steps of a pair; WGMMA without XTILE */
    WOQI_GROUPS_UNIT, /* likewise, in any steps */
    WOQI_GROUPS_COUNT
};

/* Of MMA, whose steps are spans of 32, 64 or 128 columns that share a scale: to which group a span belongs. mma.comp
 * knows these numbers. */
enum woqi_spans {
    WOQI_SPANS_ANY,  /* has to be counted */
    WOQI_SPANS_EACH, /* one of its own, and K is whole steps */
    WOQI_SPANS_ONE,  /* there is one for all columns */
    WOQI_SPANS_COUNT
};

/* For matrix units, of one block? */
static inline bool woqi_kernel_is_matrix(enum woqi_kernel_id id)
{
    return id == WOQI_KERNEL_MMA || id == WOQI_KERNEL_COOP || id == WOQI_KERNEL_NV2 || id == WOQI_KERNEL_WGMMA;
}

/* Columns of such a span. */
static inline uint32_t woqi_mma_span(uint32_t fine)
{
    return fine == WOQI_GROUPS_PAIR ? 128 : fine == WOQI_GROUPS_BLOCK ? 64 : 32;
}

/* For one set of instructions of a CPU? */
static inline bool woqi_kernel_is_fixed(enum woqi_kernel_id id)
{
    return id == WOQI_KERNEL_XFIXED || id == WOQI_KERNEL_FIXED || id == WOQI_KERNEL_FIXED_ROW ||
           id == WOQI_KERNEL_FIXED_TILE;
}

/* Of woq/limits.h? Work-groups have the size that suits the device, as kernel_create sets it. */
static inline bool woqi_kernel_is_limit(enum woqi_kernel_id id)
{
    return id >= WOQI_KERNEL_LIMIT_READ && id <= WOQI_KERNEL_LIMIT_DOT;
}

/* Which kernel, and what it is built for where it is not built for everything. */
struct woqi_kernel_key {
    enum woqi_kernel_id id;
    uint32_t code;  /* WOQ_ABI_U4 …; 0 = any */
    uint32_t block; /* enum woqi_block_id; 0 = none */
    uint32_t fine;  /* with a block (not FIXED), EXPAND, and GEMV_FRAG (not ANY): enum woqi_groups */
    uint32_t x;     /* WOQ_ABI_F32 …, of X: GEMV_FRAG and TILE, and MMA and WGMMA if it is BF16; else 0 */
    /* MMA, NV2 and WGMMA with quantized weights, else 0. */
    uint32_t scale; /* WOQ_ABI_F32 …, of scales and offsets */
    uint32_t zero;  /* WOQ_ABI_ZERO_… */
    uint32_t spans; /* MMA with quantized weights, else 0: enum woqi_spans */
    /* GEMV_FRAG, else 0. */
    uint32_t rows;     /* of X at most: 1, 2, 4 or 8 */
    uint32_t parts;    /* of K, 32 threads each */
    uint32_t weighted; /* 1 = weights are scaled one by one: math ROUNDED, or float offsets */
};

/* Of GEMV_FRAG's work-group: threads, and bytes of shared memory. */
uint32_t woqi_gemv_threads(const struct woqi_kernel_key *key);
uint32_t woqi_gemv_shared(const struct woqi_kernel_key *key);

#endif
