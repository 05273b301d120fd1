/* paths_wgmma.h: of paths_wgmma.c, what paths_wgmma_cut.c builds on. */
#ifndef WOQI_PATHS_WGMMA_H
#define WOQI_PATHS_WGMMA_H

#include "step.h"

/* Work-groups of a tile at most, where the last one adds what the others have. */
#define WOQI_WGMMA_TILE_SHARES 4

/* Of 64 columns of K, in whole pairs. */
uint32_t woqi_wgmma_blocks(const struct woq_gemm *gemm);

/* Are scales of 16 bits, one for whole pairs of blocks? */
bool woqi_wgmma_has_pairs(const struct woq_gemm *gemm, char *reason, size_t size);

/* Bytes of sums, a tile for each compute unit. */
uint64_t woqi_wgmma_sums_bytes(const struct woq_gemm *gemm, const struct woqi_path *path);

/* May sums of parts of tiles go through the workspace? */
bool woqi_wgmma_may_share(const struct woq_gemm *gemm, const struct woqi_path *path);

/* They lie `sums` bytes into it. */
void woqi_wgmma_bind_sums(const struct woq_gemm *gemm, const struct woqi_path *path, const struct woqi_operands *o,
                          uint64_t sums, struct woqi_step *s);

#endif
