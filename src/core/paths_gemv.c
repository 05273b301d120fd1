/* paths_gemv.c: few rows on GPUs, layout FRAG16B. */
#include "alloc.h"
#include "step.h"

#define MOST_PARTS   16
#define UNIT_WORKERS 64 /* of 32 threads that a GPU's compute unit should have in flight */

uint32_t woqi_gemv_threads(const struct woqi_kernel_key *key)
{
    return key->parts * 32;
}

uint32_t woqi_gemv_shared(const struct woqi_kernel_key *key)
{
    return key->rows * (key->parts * 256 + 64);
}

/* Strips, or pairs of them, of a tile. */
static uint64_t strips(const struct woqi_tile *tile)
{
    return woqi_div_up(tile->count, 16);
}

/* 1, 4 or 16 parts of K: about as many workers as fill the device, where K and its limits allow. */
static uint32_t choose_parts(const struct woq_gemm *gemm, const struct woqi_kernel_key *key)
{
    const struct woq_device_info *info = &gemm->device->info;
    struct woqi_kernel_key k = *key;
    uint64_t workers = woqi_gpu_units(gemm) * (info->kind == WOQ_DEVICE_KIND_CPU ? 1 : UNIT_WORKERS);
    uint64_t blocks = woqi_div_up(gemm->weights->k_packed, WOQI_FRAG_COLUMNS);
    for (k.parts = 1; k.parts < MOST_PARTS; k.parts *= 4)
        if (strips(&gemm->weights->tiles[0]) * k.parts * 2 > workers)
            break;
    while (k.parts > 1 && (k.parts > blocks || woqi_gemv_threads(&k) > info->max_workgroup ||
                           woqi_gemv_shared(&k) > info->shared_memory))
        k.parts /= 4;
    return k.parts;
}

struct woqi_kernel_key woqi_gemv_key(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    const struct woq_weights *w = gemm->weights;
    struct woqi_kernel_key key = {.id = WOQI_KERNEL_GEMV_FRAG,
                                  .code = (uint32_t)w->format.code,
                                  .rows = path->max_m,
                                  .x = (uint32_t)gemm->params.x_type};
    key.fine = w->group < w->k_packed && w->group % WOQI_FRAG_COLUMNS != 0;
    key.weighted = w->group && (gemm->params.math == WOQ_MATH_ROUNDED ||
                                w->format.zero == WOQ_ZERO_OFFSET);
    key.parts = choose_parts(gemm, &key);
    return key;
}

bool woqi_gemv_accepts(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason,
                       size_t size)
{
    (void)path;
    return woqi_layout_fits(gemm, WOQI_LAYOUT_FRAG16B, reason, size);
}

bool woqi_gemv_step(const struct woq_gemm *gemm, const struct woqi_range *range,
                    const struct woqi_operands *o, uint32_t stage, uint64_t first, uint32_t rows,
                    const struct woqi_tile *tile, struct woqi_step *s)
{
    (void)stage;
    woqi_step_direct(gemm, range, o, first, rows, tile, s);
    s->groups[0] = woqi_step_groups(gemm, strips(tile), 0);
    s->groups[1] = s->groups[2] = 1;
    return true;
}
