/*
 * paths.h: the ways to compute a product, and their expansion into steps.
 *
 * A path cuts M into slices, so that every window of X, Y and residual fits one binding, and runs over
 * the tiles of the weights. Its steps come in stages: those of one stage are independent of each
 * other, a stage needs the one before. The planner picks a path for each range of M; nothing else in
 * the library knows how a path works.
 */
#ifndef WOQI_PATHS_H
#define WOQI_PATHS_H

#include "blocks.h"
#include "core.h"

#define WOQI_MAX_RANGES 24   /* enough for any order of preference, behind those of tuning records */
#define WOQI_TUNED_RANGES 12 /* the first ones, that records may decide */
#define WOQI_PATH_KERNELS 2
#define WOQI_REASON_SIZE 160

/* What a range of M runs on, and why not on the paths before. */
struct woqi_range {
    uint32_t min_m, max_m;
    const struct woqi_path *path;
    char variant[WOQ_VARIANT_NAME]; /* of the path */
    char decided[512];  /* by what: as woq_explain.decided */
    uint64_t tuning;    /* fingerprint of the tuning record that decided; 0 = none */
    enum woq_math math; /* resolved */
    struct woqi_kernel *kernels[WOQI_PATH_KERNELS]; /* as path->kernels */
    uint32_t rejected_count;
    struct {
        const char *path;
        char reason[WOQI_REASON_SIZE];
        bool distrusted; /* by the self-test; told whatever is chosen in the end */
    } rejected[WOQ_EXPLAIN_MAX_REJECTED];
};

struct woq_gemm {
    struct woq_device *device;
    struct woq_weights *weights;
    struct woq_gemm_params params; /* path is NULL or a static string */
    uint64_t n;                    /* columns of Y */
    bool single;                   /* built for one path, whatever the planner prefers */
    bool told;                     /* while planning: a way is asked for, whatever the planner prefers */
    uint64_t workspace;            /* maximum over 1 … max_m */
    uint64_t flags;                /* bytes that are 0 before the first step; steps leave them so */
    uint32_t range_count;
    struct woqi_range *ranges;
    size_t range_capacity;
    atomic_int refs;
};

/* Does it matter which path is the better one? Not for one that is built alone, as self-tests do, nor for one that is
 * asked for, nor where WOQ_EMULATE leaves one kernel. */
static inline bool woqi_gemm_chooses(const struct woq_gemm *gemm)
{
    return !gemm->single && !gemm->told && !gemm->device->only_matrix;
}

/* Views with their strides resolved (never 0). bias and residual have buffer NULL where unused. */
struct woqi_operands {
    struct woq_view x, y, bias, residual;
    struct woq_view workspace; /* buffer NULL if the path needs none */
    struct woq_view flags;     /* likewise */
};

/* Bytes of flags that kernel WGMMA needs (paths_wgmma.c). */
uint64_t woqi_wgmma_flags(const struct woq_gemm *gemm);

/* How m rows are cut. */
struct woqi_slicing {
    uint32_t rows;   /* of a slice */
    uint32_t count;  /* slices, those that are switched off included */
    uint32_t stages;
};

/* What a path does, as named function types that its table and its functions share. */

/* Beyond max_m, math and the kernels' probes: can it do this product? If not, writes why. */
typedef bool woqi_accepts_fn(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                             size_t size);
/* Bytes; rises with m. */
typedef uint64_t woqi_workspace_fn(const struct woq_gemm *gemm, const struct woqi_path *path, uint32_t m);
/* Rows of a slice beyond which the path's own needs forbid to go; 0 = any. */
typedef uint32_t woqi_slice_limit_fn(const struct woq_gemm *gemm, const struct woqi_path *path);
/* The step of a slice (rows first … first+rows−1; rows 0 = off) and tile in a stage; false if the
 * stage has none for this tile. */
typedef bool woqi_step_fn(const struct woq_gemm *gemm, const struct woqi_range *range,
                          const struct woqi_operands *operands, uint32_t stage, uint64_t first,
                          uint32_t rows, const struct woqi_tile *tile, struct woqi_step *out);
/* Pieces of the weights that a stage prepares and the next one uses, while it prepares the piece
 * after. `stage` of step is then 2·piece to prepare, asked for the first slice alone, and 2·piece + 1
 * to use. */
typedef uint32_t woqi_pieces_fn(const struct woq_gemm *gemm);

/* Several may have one name: then the first that can is meant. */
struct woqi_path {
    const char *name;
    uint32_t min_m, max_m; /* 0 = any */
    uint32_t kernel_count;
    enum woqi_kernel_id kernels[WOQI_PATH_KERNELS]; /* in the order of their stages */
    enum woqi_block_id block; /* of a matrix kernel or TILE, which is then built for it and the kind of codes */
    uint32_t fill; /* the block is for weights that give a compute unit so many work-groups at max_m; 0 = any */
    uint32_t splits;          /* parts of K, of work-groups of their own; 0 as 1 */
    enum woq_math math;       /* the only one it computes in; DEFAULT = EXACT or ROUNDED, as asked */
    woqi_accepts_fn *accepts;
    woqi_workspace_fn *workspace;
    woqi_slice_limit_fn *slice_limit;
    uint32_t stages_per_slice; /* 0: all slices in one stage */
    woqi_step_fn *step;
    woqi_pieces_fn *pieces; /* (optional) NULL: the weights as they are. stages_per_slice is 0 with it */
};

extern const struct woqi_path woqi_paths[]; /* in order of preference */
extern const uint32_t woqi_path_total;

/* The row's name, as woq_gemm_params.path takes it. Rows that differ only in when the planner prefers them have the
 * same one: then the first that can is meant. */
void woqi_path_variant(const struct woqi_path *path, char out[WOQ_VARIANT_NAME]);

/* Key of the path's kernel number i for this product. */
struct woqi_kernel_key woqi_path_key(const struct woq_gemm *gemm, const struct woqi_path *path,
                                     uint32_t i);

/* May this kernel of the path be used? If not, why. */
typedef bool woqi_trust_fn(struct woq_device *device, const struct woqi_path *path,
                           struct woqi_kernel_key key, char *reason, size_t size);

/* As woq_gemm_create. path: this one alone; NULL = any. trusts: asked about kernels for matrix units;
 * NULL = all are trusted. */
enum woq_status woqi_gemm_build(struct woq_device *device, const struct woq_gemm_params *params,
                                const struct woqi_path *path, woqi_trust_fn *trusts,
                                struct woq_gemm **out);

/* The range that m (≥ 1) falls into. */
const struct woqi_range *woqi_gemm_range(const struct woq_gemm *gemm, uint32_t m);

/* Cuts m rows (0 counts as 1, switched off) for these operands; at least as many slices as `max_m`
 * rows of dense views of the same range need, so that replays keep their skeleton.
 * WOQ_ERROR_UNSUPPORTED if one row exceeds the binding limit. */
enum woq_status woqi_gemm_slice(const struct woq_gemm *gemm, uint32_t m, uint32_t max_m,
                                const struct woqi_operands *operands, struct woqi_slicing *out);

/* Dense views without buffers. */
void woqi_gemm_dense(const struct woq_gemm *gemm, struct woqi_operands *out);

/* Receives steps in their order. */
struct woqi_emitter {
    enum woq_status (*emit)(struct woqi_emitter *self, const struct woqi_step *step);
};

/* Emits the steps of one stage of a product. */
enum woq_status woqi_gemm_expand(const struct woq_gemm *gemm, uint32_t m,
                                 const struct woqi_operands *operands,
                                 const struct woqi_slicing *slicing, uint32_t stage,
                                 struct woqi_emitter *emitter);

#endif
