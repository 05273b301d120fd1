/* paths.c: the list of paths, and the path that takes everything. */
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "step.h"

static bool accepts_any(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                        size_t size)
{
    (void)gemm, (void)path, (void)reason, (void)size;
    return true;
}

static uint64_t no_workspace(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m)
{
    (void)gemm, (void)path, (void)m;
    return 0;
}

static uint32_t no_limit(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    (void)gemm, (void)path;
    return 0;
}

static bool floor_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                       const struct woqi_operands *o, uint32_t stage, uint64_t first, uint32_t rows,
                       const struct woqi_tile *tile, struct woqi_step *s)
{
    (void)stage;
    woqi_step_direct(gemm, range, o, first, rows, tile, s);
    s->groups[0] = woqi_step_groups(gemm, woqi_div_up(tile->count, s->kernel->local_x), 0);
    s->groups[1] = woqi_step_groups(gemm, s->args.m, 1);
    s->groups[2] = 1;
    return true;
}

/* Math of the blocks of mma. */
enum {
#define BLOCK_MATH(id, warps_n, warps_m, warps_k, strips, columns, math, ...) MATH_OF_##id = WOQ_MATH_##math,
    WOQI_BLOCKS(BLOCK_MATH)
#undef BLOCK_MATH
};

const struct woqi_path woqi_paths[] = {
#define FIXED_ROW_PATH(id)                                                                         \
    {"gemv", 0, 1, 1, {WOQI_KERNEL_FIXED_ROW}, WOQI_BLOCK_##id, 0, 0, WOQ_MATH_FIXED16,            \
     woqi_fixed_row_accepts, no_workspace, no_limit, 0, woqi_fixed_row_step, NULL},
    WOQI_FIXED_ROW_PATHS(FIXED_ROW_PATH)
#undef FIXED_ROW_PATH
#define PANEL_GEMV_PATH(rows)                                                                      \
    {"gemv", 0, rows, 1, {WOQI_KERNEL_GEMV}, WOQI_BLOCK_NONE, 0, 0, WOQ_MATH_DEFAULT,              \
     woqi_panels_accept, no_workspace, no_limit, 0, woqi_panel_gemv_step, NULL}
    PANEL_GEMV_PATH(WOQI_DPBF16_ROWS - 1),
#define XFIXED_PATH(kernel, id, min_m, max_m, math)                                                \
    {"gemm", min_m, max_m, 2, {WOQI_KERNEL_XFIXED, WOQI_KERNEL_##kernel}, WOQI_BLOCK_##id, 0, 0, WOQ_MATH_##math, \
     woqi_fixed_accepts, woqi_panel_gemm_workspace, woqi_panel_gemm_slice, 2, woqi_panel_gemm_step, NULL},
    XFIXED_PATH(FIXED_TILE, DPBF16, WOQI_DPBF16_ROWS, 0, EXACT)
    PANEL_GEMV_PATH(WOQI_GEMV_MAX_M),
#undef PANEL_GEMV_PATH
    {"gemm", 0, 0, 2, {WOQI_KERNEL_XPREP, WOQI_KERNEL_GEMM}, WOQI_BLOCK_NONE, 0, 0, WOQ_MATH_DEFAULT,
     woqi_panel_gemm_accepts, woqi_panel_gemm_workspace, woqi_panel_gemm_slice, 2,
     woqi_panel_gemm_step, NULL},
#define MMA_PATH(id, path, max_m, fill)                                                            \
    {path, 0, max_m, 1, {WOQI_KERNEL_MMA}, WOQI_BLOCK_##id, fill, 0, (enum woq_math)MATH_OF_##id,     \
     woqi_mma_accepts, no_workspace, woqi_mma_slice, 0, woqi_block_product_step, NULL},
#define SPLIT_PATH(id, path, max_m, fill, splits)                                                  \
    {path, 0, max_m, 2, {WOQI_KERNEL_MMA, WOQI_KERNEL_REDUCE}, WOQI_BLOCK_##id, fill, splits,         \
     (enum woq_math)MATH_OF_##id, woqi_split_accepts, woqi_split_workspace, woqi_split_slice, 2,   \
     woqi_split_step, NULL},
    WOQI_MMA_FEW(MMA_PATH)
#define WGMMA_PATH(id, min_m, max_m, use)                                                          \
    {"gemm", min_m, max_m, 2, {WOQI_KERNEL_XTILE, WOQI_KERNEL_WGMMA}, WOQI_BLOCK_##id, 0, 0,        \
     WOQ_MATH_ROUNDED, woqi_wgmma_##use##_accepts, woqi_wgmma_workspace, woqi_wgmma_slice, 2, woqi_wgmma_step, NULL},
#define DIRECT_PATH(id, min_m, max_m, use)                                                         \
    {"gemm", min_m, max_m, 1, {WOQI_KERNEL_WGMMA}, WOQI_BLOCK_##id, 0, 0, WOQ_MATH_ROUNDED,        \
     woqi_wgmma_direct_##use##_accepts, woqi_wgmma_direct_workspace, woqi_wgmma_direct_slice, 1,   \
     woqi_wgmma_direct_step, NULL},
#define CUT_PATH(id, min_m, max_m, use)                                                            \
    {"gemm", min_m, max_m, 1, {WOQI_KERNEL_WGMMA}, WOQI_BLOCK_##id, 0, 0, WOQ_MATH_ROUNDED,        \
     woqi_wgmma_##use##_accepts, woqi_wgmma_cut_workspace, woqi_wgmma_direct_slice, 1, woqi_wgmma_cut_step, NULL},
    WOQI_WGMMA_PATHS(WGMMA_PATH, DIRECT_PATH, CUT_PATH)
#undef CUT_PATH
#undef DIRECT_PATH
#undef WGMMA_PATH
#define GEMV_PATH(rows)                                                                            \
    {"gemv", 0, rows, 1, {WOQI_KERNEL_GEMV_FRAG}, WOQI_BLOCK_NONE, 0, 0, WOQ_MATH_DEFAULT,                  \
     woqi_gemv_accepts, no_workspace, no_limit, 0, woqi_gemv_step, NULL}
    GEMV_PATH(1), GEMV_PATH(2), GEMV_PATH(4), GEMV_PATH(WOQI_GEMV_MAX_M),
#undef GEMV_PATH
#define HALF_PATH(id, path, max_m, fill)                                                           \
    {path, 0, max_m, 2, {WOQI_KERNEL_XHALF, WOQI_KERNEL_MMA}, WOQI_BLOCK_##id, fill, 0,            \
     (enum woq_math)MATH_OF_##id, woqi_half_accepts, woqi_half_workspace, woqi_half_slice, 2,      \
     woqi_half_step, NULL},
#define NO_PATH(...)
    WOQI_MMA_MORE(HALF_PATH, NO_PATH)
#undef NO_PATH
#undef HALF_PATH
#define EXPAND_PATH(kernel, id, min_m, max_m, use)                                                 \
    {"expand", min_m, max_m, 2, {WOQI_KERNEL_EXPAND, WOQI_KERNEL_##kernel}, WOQI_BLOCK_##id, 0, 0, \
     WOQ_MATH_ROUNDED, woqi_expand_##use##_accepts, woqi_expand_workspace, woqi_coop_slice, 0,     \
     woqi_expand_step, woqi_expand_pieces}
    EXPAND_PATH(MMA, N256M64, 2048, 0, fine), /* scales are what mma takes longest for then */
    WOQI_MMA_MORE(MMA_PATH, SPLIT_PATH)
#undef SPLIT_PATH
#undef MMA_PATH
#define NV2_PATH(id, path, max_m)                                                                  \
    {path, 0, max_m, 2, {WOQI_KERNEL_XHALF, WOQI_KERNEL_NV2}, WOQI_BLOCK_##id, 0, 0, WOQ_MATH_ROUNDED, \
     woqi_nv2_accepts, woqi_half_workspace, woqi_half_slice, 2, woqi_half_step, NULL},
    WOQI_NV2_PATHS(NV2_PATH)
#undef NV2_PATH
#define COOP_PATH(id, path, max_m)                                                                 \
    {path, 0, max_m, 1, {WOQI_KERNEL_COOP}, WOQI_BLOCK_##id, 0, 0, WOQ_MATH_ROUNDED,                  \
     woqi_coop_accepts, no_workspace, woqi_coop_slice, 0, woqi_block_product_step, NULL},
    WOQI_COOP_PATHS(COOP_PATH)
#undef COOP_PATH
#define TILE_PATH(id, path, max_m, use)                                                            \
    {path, 0, max_m, 1, {WOQI_KERNEL_TILE}, WOQI_BLOCK_##id, 0, 0, WOQ_MATH_DEFAULT,                  \
     woqi_tile_##use##_accepts, no_workspace, woqi_tile_slice, 0, woqi_block_product_step, NULL},
    WOQI_TILE_PATHS(TILE_PATH)
#undef TILE_PATH
    EXPAND_PATH(MMA, N256M64, 0, 0, any), EXPAND_PATH(COOP, C64X64, 0, 128, any),
    EXPAND_PATH(COOP, C128X128, 0, 0, any), EXPAND_PATH(COOP, C64X64, 0, 0, any),
    EXPAND_PATH(COOP, C32X32, 0, 0, any),
#undef EXPAND_PATH
#define FIXED_PATH(kernel, id, min_m, max_m) XFIXED_PATH(kernel, id, min_m, max_m, FIXED16)
    WOQI_FIXED_PATHS(FIXED_PATH)
#undef FIXED_PATH
#undef XFIXED_PATH
    {"floor", 0, 0, 1, {WOQI_KERNEL_FLOOR}, WOQI_BLOCK_NONE, 0, 0, WOQ_MATH_DEFAULT, accepts_any,
     no_workspace, no_limit, 0, floor_step, NULL},
};
const uint32_t woqi_path_total = sizeof woqi_paths / sizeof *woqi_paths;

/* How the kernel's loops see the groups of columns; step: of MMA, and WGMMA without XTILE, blocks of 64 columns; else
 * 0. */
static uint32_t groups_of(const struct woq_weights *w, uint32_t step)
{
    const bool whole = w->group >= w->k_packed;
    if (!w->group)
        return WOQI_GROUPS_BLOCK;
    if (step == 2 && (whole || w->group % (2 * WOQI_FRAG_COLUMNS) == 0))
        return WOQI_GROUPS_PAIR;
    if (step && !whole && w->group % WOQI_FRAG_COLUMNS == WOQI_FRAG_COLUMNS / 2)
        return WOQI_GROUPS_UNIT;
    return whole || w->group % WOQI_FRAG_COLUMNS == 0 ? WOQI_GROUPS_BLOCK
           : w->group % WOQI_FRAG_PIECE == 0          ? WOQI_GROUPS_PIECE
                                                      : WOQI_GROUPS_ANY;
}

static uint32_t spans_of(const struct woq_weights *w, uint32_t fine, uint32_t step)
{
    if (!w->group)
        return WOQI_SPANS_ANY;
    if (w->group >= w->k_packed)
        return WOQI_SPANS_ONE;
    return w->group == woqi_mma_span(fine) && w->k_packed % (step * WOQI_FRAG_COLUMNS) == 0 ? WOQI_SPANS_EACH
                                                                                           : WOQI_SPANS_ANY;
}

struct woqi_kernel_key woqi_path_key(const struct woq_gemm *gemm, const struct woqi_path *path,
                                     uint32_t i)
{
    const struct woq_weights *w = gemm->weights;
    struct woqi_kernel_key key = {.id = path->kernels[i]};
    const bool expanded = i && path->kernels[0] == WOQI_KERNEL_EXPAND;
    uint32_t step = 0;
    if (key.id == WOQI_KERNEL_GEMV_FRAG)
        return woqi_gemv_key(gemm, path);
    if (key.id == WOQI_KERNEL_TILE)
        return woqi_tile_key(gemm, path);
    if (woqi_kernel_is_matrix(key.id) || woqi_kernel_is_fixed(key.id))
        key.block = path->block;
    if (key.id == WOQI_KERNEL_XFIXED)
        return key;
    if ((key.id == WOQI_KERNEL_MMA || key.id == WOQI_KERNEL_WGMMA) && woqi_matrix_bf16(gemm))
        key.x = WOQ_ABI_BF16;
    if (!key.block && key.id != WOQI_KERNEL_EXPAND)
        return key;
    key.code = expanded ? WOQ_ABI_WF16 : (uint32_t)w->format.code;
    if (expanded)
        return key;
    if (key.id == WOQI_KERNEL_MMA)
        step = woqi_block_depth(woqi_block(path->block), woqi_code_bits(w->format.code));
    if (key.id == WOQI_KERNEL_MMA || key.id == WOQI_KERNEL_NV2 || key.id == WOQI_KERNEL_WGMMA) {
        key.scale = (uint32_t)w->format.scale;
        key.zero = w->group ? (uint32_t)w->format.zero : 0;
    }
    if (woqi_kernel_is_fixed(key.id))
        return key;
    if (key.id == WOQI_KERNEL_WGMMA && (woqi_block_is_direct(path->block) || woqi_block_is_small(path->block)))
        step = 2;
    key.fine = groups_of(w, step);
    if (key.id == WOQI_KERNEL_MMA && woqi_block(path->block)->staged)
        key.spans = spans_of(w, key.fine, step);
    return key;
}

/* <path>/<kernels in the order of their stages>, with what the main one is built for. */
void woqi_path_variant(const struct woqi_path *path, char out[WOQ_VARIANT_NAME])
{
    size_t used = (size_t)snprintf(out, WOQ_VARIANT_NAME, "%s/", path->name);
    for (uint32_t i = 0; i < path->kernel_count && used < WOQ_VARIANT_NAME; i++) {
        const enum woqi_kernel_id id = path->kernels[i];
        const bool divided = woqi_kernel_is_matrix(id) || id == WOQI_KERNEL_TILE ||
                             (woqi_kernel_is_fixed(id) && id != WOQI_KERNEL_XFIXED);
        char rows[16] = "", splits[16] = "";
        if (id == WOQI_KERNEL_GEMV_FRAG)
            snprintf(rows, sizeof rows, "_M%u", path->max_m);
        if (divided && path->splits)
            snprintf(splits, sizeof splits, "_S%u", path->splits);
        used += (size_t)snprintf(out + used, WOQ_VARIANT_NAME - used, "%s%s%s%s%s%s", i ? "+" : "",
                                 woqi_kernel_entry(id), divided ? "_" : "",
                                 divided ? woqi_block_name(path->block) : "", rows, splits);
    }
}

/* Is this the first path of its name? */
static bool names_itself(uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (!strcmp(woqi_paths[i].name, woqi_paths[index].name))
            return false;
    return true;
}

uint32_t woq_path_count(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < woqi_path_total; i++)
        count += names_itself(i);
    return count;
}

const char *woq_path_name(uint32_t index)
{
    for (uint32_t i = 0; i < woqi_path_total; i++)
        if (names_itself(i) && !index--)
            return woqi_paths[i].name;
    return NULL;
}

/* Is this the first row of its variant? */
static bool is_variant(uint32_t index, char out[WOQ_VARIANT_NAME])
{
    char other[WOQ_VARIANT_NAME];
    woqi_path_variant(&woqi_paths[index], out);
    for (uint32_t i = 0; i < index; i++) {
        woqi_path_variant(&woqi_paths[i], other);
        if (!strcmp(other, out))
            return false;
    }
    return true;
}

uint32_t woq_variant_count(void)
{
    char name[WOQ_VARIANT_NAME];
    uint32_t count = 0;
    for (uint32_t i = 0; i < woqi_path_total; i++)
        count += is_variant(i, name);
    return count;
}

bool woq_variant_name(uint32_t index, char out[WOQ_VARIANT_NAME])
{
    for (uint32_t i = 0; out && i < woqi_path_total; i++)
        if (is_variant(i, out) && !index--)
            return true;
    if (out)
        out[0] = 0;
    return false;
}
