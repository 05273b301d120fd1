/* step.h: what the paths' steps have in common. */
#ifndef WOQI_STEP_H
#define WOQI_STEP_H

#include "paths.h"

/* Fills all but X, flags and groups: rows first … first+rows−1 (rows 0: off) of the tile's product. */
void woqi_step_product(const struct woq_gemm *gemm, struct woqi_kernel *kernel,
                       const struct woqi_operands *operands, uint64_t first, uint32_t rows,
                       const struct woqi_tile *tile, struct woqi_step *out);
/* X as the caller bound it. */
void woqi_step_bind_x(const struct woq_gemm *gemm, const struct woqi_operands *operands,
                      uint64_t first, uint32_t rows, struct woqi_step *out);
/* args.flags; x_type and perm as the kernel sees X. */
uint32_t woqi_step_flags(const struct woq_gemm *gemm, const struct woqi_range *range,
                         enum woq_type x_type, bool perm);
/* The same for weights of another format; round: to what they are rounded, NONE = they are not. */
uint32_t woqi_step_flags_of(const struct woq_gemm *gemm, const struct woq_format *format, enum woq_type round,
                            enum woq_type x_type, bool perm);
/* All but groups of the one step of a path whose kernel takes X as the caller bound it. */
void woqi_step_direct(const struct woq_gemm *gemm, const struct woqi_range *range,
                      const struct woqi_operands *operands, uint64_t first, uint32_t rows,
                      const struct woqi_tile *tile, struct woqi_step *out);
/* Work-groups of the path's block for `rows` rows of weights and the step's rows of X. */
void woqi_step_blocks(const struct woqi_path *path, uint64_t rows, struct woqi_step *out);
/* The one step of a path with a block whose kernel takes X as the caller bound it. */
woqi_step_fn woqi_block_product_step;
/* At most what the device launches along the axis. */
uint32_t woqi_step_groups(const struct woq_gemm *gemm, uint64_t groups, int axis);
/* Are the weights packed so? If not, why the path needs it. */
bool woqi_layout_fits(const struct woq_gemm *gemm, enum woqi_layout layout, char *reason, size_t size);
/* Is X BF16, and multiplied as such: do the device's matrix units take it, and is BF16 able to hold the weights? */
bool woqi_matrix_bf16(const struct woq_gemm *gemm);
/* Bytes of the workspace that one window can hold; and of X that a path prepares there at a time. */
uint64_t woqi_window_bytes(const struct woq_gemm *gemm);
uint64_t woqi_prepared_bytes(const struct woq_gemm *gemm);
/* Compute units of the device, or a guess if it does not tell. */
uint64_t woqi_gpu_units(const struct woq_gemm *gemm);

/* ---- paths_cpu.c ---- */

woqi_accepts_fn woqi_panels_accept;
woqi_step_fn woqi_panel_gemv_step;
woqi_accepts_fn woqi_panel_gemm_accepts;
woqi_accepts_fn woqi_fixed_accepts;
woqi_accepts_fn woqi_fixed_row_accepts;
woqi_step_fn woqi_fixed_row_step;
woqi_workspace_fn woqi_panel_gemm_workspace;
woqi_slice_limit_fn woqi_panel_gemm_slice;
woqi_step_fn woqi_panel_gemm_step;

/* ---- paths_matrix.c ---- */

/* CPUs are faster without; they take matrices where a test asks for them. */
bool woqi_matrix_kind_fits(const struct woq_gemm *gemm, char *reason, size_t size);
/* What kernels for matrix units of FP16 ask of the weights, and of X, too. */
bool woqi_matrix_weights_fit(const struct woq_gemm *gemm, char *reason, size_t size);
bool woqi_matrix_operands_fit(const struct woq_gemm *gemm, char *reason, size_t size);
/* Is the path's block meant for so many rows of weights in a step, and can the device launch them? */
bool woqi_matrix_block_fits(const struct woq_gemm *gemm, const struct woqi_path *path, uint64_t rows,
                            char *reason, size_t size);
/* What mma asks of the weights. */
bool woqi_mma_weights_fit(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                          size_t size);
woqi_accepts_fn woqi_mma_accepts;
woqi_slice_limit_fn woqi_mma_slice;
woqi_accepts_fn woqi_coop_accepts;
woqi_slice_limit_fn woqi_coop_slice;

/* ---- paths_split.c ---- */

woqi_accepts_fn woqi_split_accepts;
woqi_workspace_fn woqi_split_workspace;
woqi_slice_limit_fn woqi_split_slice;
woqi_step_fn woqi_split_step;
/* Columns of the weights from which on it is worth a second kernel. */
uint64_t woqi_split_columns(const struct woqi_path *path);

/* ---- paths_half.c ---- */

/* Kernel mma; kernel nv2. */
woqi_accepts_fn woqi_half_accepts;
woqi_accepts_fn woqi_nv2_accepts;
woqi_workspace_fn woqi_half_workspace;
woqi_slice_limit_fn woqi_half_slice;
woqi_step_fn woqi_half_step;

/* ---- paths_wgmma.c ---- */

/* Any weights; those with more than 32 rows for each compute unit. */
woqi_accepts_fn woqi_wgmma_any_accepts;
woqi_accepts_fn woqi_wgmma_wide_accepts;
woqi_accepts_fn woqi_wgmma_tall_accepts;
woqi_accepts_fn woqi_wgmma_pairs_accepts;
woqi_accepts_fn woqi_wgmma_long_accepts;
woqi_accepts_fn woqi_wgmma_direct_long_accepts;
woqi_accepts_fn woqi_wgmma_direct_any_accepts;
woqi_accepts_fn woqi_wgmma_direct_wide_accepts;
woqi_accepts_fn woqi_wgmma_direct_short_accepts;
woqi_slice_limit_fn woqi_wgmma_direct_slice;
woqi_workspace_fn woqi_wgmma_direct_workspace;
woqi_step_fn woqi_wgmma_direct_step;
woqi_accepts_fn woqi_wgmma_full_accepts;
woqi_accepts_fn woqi_wgmma_cut_accepts;
woqi_accepts_fn woqi_wgmma_deep_accepts;
woqi_accepts_fn woqi_wgmma_fine_accepts;
woqi_workspace_fn woqi_wgmma_cut_workspace;
woqi_step_fn woqi_wgmma_cut_step;
woqi_workspace_fn woqi_wgmma_workspace;
woqi_slice_limit_fn woqi_wgmma_slice;
woqi_step_fn woqi_wgmma_step;
/* How `groups` work-groups take tiles of `blocks` blocks of K, see shaders/cuda/wgmma_parts.inc. units: what the device
 * runs at once; alone: no tile is shared. */
struct woqi_shares {
    uint32_t groups, rounds, share;
};
struct woqi_shares woqi_wgmma_shares(uint64_t tiles, uint32_t blocks, uint64_t units, bool alone);

/* ---- paths_expand.c ---- */

/* Any weights; those whose groups have fewer than 64 columns. */
woqi_accepts_fn woqi_expand_any_accepts;
woqi_accepts_fn woqi_expand_fine_accepts;
woqi_workspace_fn woqi_expand_workspace;
woqi_pieces_fn woqi_expand_pieces;
woqi_step_fn woqi_expand_step;

/* ---- paths_gemv.c ---- */

woqi_accepts_fn woqi_gemv_accepts;
woqi_step_fn woqi_gemv_step;
/* Key of the path's one kernel, for as many rows as the path's max_m. */
struct woqi_kernel_key woqi_gemv_key(const struct woq_gemm *gemm, const struct woqi_path *path);

/* ---- paths_tile.c ---- */

/* Any device; CPUs; weights that give half of the compute units a work-group. */
woqi_accepts_fn woqi_tile_any_accepts;
woqi_accepts_fn woqi_tile_cpu_accepts;
woqi_accepts_fn woqi_tile_full_accepts;
woqi_slice_limit_fn woqi_tile_slice;
/* Key of the path's one kernel. */
struct woqi_kernel_key woqi_tile_key(const struct woq_gemm *gemm, const struct woqi_path *path);

#endif
