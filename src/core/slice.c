/* slice.c: cuts products so that every window fits one binding, and emits their steps. */
#include "alloc.h"
#include "check.h"
#include "paths.h"

const struct woqi_range *woqi_gemm_range(const struct woq_gemm *gemm, uint32_t m)
{
    uint32_t i = 0;
    while (i + 1 < gemm->range_count && m > gemm->ranges[i].max_m)
        i++;
    return &gemm->ranges[i];
}

/* Rows of `row` bytes, `stride` apart, that fit one binding wherever it begins; 0 if not even one. */
static uint64_t rows_that_fit(const struct woq_device *device, uint64_t stride, uint64_t row)
{
    uint64_t limit = device->info.max_binding;
    uint64_t lost = device->info.binding_alignment - 1u + 3u; /* alignment before, padding after */
    if (lost > limit || row > limit - lost)
        return 0;
    return (limit - lost - row) / stride + 1;
}

static enum woq_status fit(const struct woq_gemm *gemm, const char *what, uint64_t stride,
                           uint64_t row, uint64_t *rows)
{
    uint64_t fits = rows_that_fit(gemm->device, stride, row);
    if (!fits)
        return woqi_fail(gemm->device, WOQ_ERROR_UNSUPPORTED,
                         "one row of %s has %llu bytes, more than %s can bind at once (%llu)", what,
                         (unsigned long long)row, gemm->device->info.selector,
                         (unsigned long long)gemm->device->info.max_binding);
    *rows = woqi_min(*rows, fits);
    return WOQ_OK;
}

/* Rows of a slice for these strides. */
static enum woq_status slice_rows(const struct woq_gemm *gemm, const struct woqi_path *path,
                                  const struct woqi_operands *o, uint32_t *out)
{
    const struct woq_weights *w = gemm->weights;
    uint32_t own = path->slice_limit(gemm, path);
    uint64_t rows = own ? own : UINT32_MAX;
    uint64_t y_row = w->tiles[0].count * woq_type_size(gemm->params.y_type); /* the widest tile */
    uint64_t bias = woq_type_size(gemm->params.bias_type);
    uint64_t unused = UINT64_MAX;
    enum woq_status st = fit(gemm, "X", o->x.row_stride, w->k * woq_type_size(gemm->params.x_type),
                             &rows);
    if (!st)
        st = fit(gemm, "Y", o->y.row_stride, y_row, &rows);
    if (!st && gemm->params.residual)
        st = fit(gemm, "residual", o->residual.row_stride, y_row, &rows);
    if (!st && bias)
        st = fit(gemm, "bias", 1,
                 (w->gated ? gemm->n + w->tiles[0].count : w->tiles[0].count) * bias, &unused);
    *out = (uint32_t)rows;
    return st;
}

void woqi_gemm_dense(const struct woq_gemm *gemm, struct woqi_operands *out)
{
    memset(out, 0, sizeof *out);
    out->x.row_stride = gemm->weights->k * woq_type_size(gemm->params.x_type);
    out->y.row_stride = out->residual.row_stride = gemm->n * woq_type_size(gemm->params.y_type);
}

enum woq_status woqi_gemm_slice(const struct woq_gemm *gemm, uint32_t m, uint32_t max_m,
                                const struct woqi_operands *operands, struct woqi_slicing *out)
{
    const struct woqi_range *range = woqi_gemm_range(gemm, m ? m : 1);
    struct woqi_operands dense;
    uint32_t dense_rows;
    enum woq_status st = slice_rows(gemm, range->path, operands, &out->rows);
    if (st)
        return st;
    woqi_gemm_dense(gemm, &dense);
    st = slice_rows(gemm, range->path, &dense, &dense_rows);
    if (st)
        return st;
    uint32_t top = max_m < range->max_m ? max_m : range->max_m;
    uint32_t usual = (uint32_t)woqi_div_up(top, dense_rows);
    out->count = (uint32_t)woqi_div_up(m ? m : 1, out->rows);
    if (out->count < usual)
        out->count = usual;
    out->stages = range->path->pieces             ? range->path->pieces(gemm) + 1
                  : range->path->stages_per_slice ? range->path->stages_per_slice * out->count
                                                  : 1;
    return WOQ_OK;
}

/* A product that is being expanded. */
struct expansion {
    const struct woq_gemm *gemm;
    uint32_t m;
    const struct woqi_range *range;
    const struct woqi_operands *operands;
    uint32_t slice_rows;
    struct woqi_emitter *emitter;
};

/* Slices begin … end−1, in what the path calls `stage`. */
static enum woq_status emit_slices(const struct expansion *e, uint32_t stage, uint32_t begin, uint32_t end)
{
    const struct woq_weights *w = e->gemm->weights;
    struct woqi_step step;
    for (uint32_t slice = begin; slice < end; slice++) {
        uint64_t first = (uint64_t)slice * e->slice_rows;
        uint32_t rows = first < e->m ? (uint32_t)woqi_min(e->slice_rows, e->m - first) : 0;
        if (!rows)
            first = 0; /* an inactive step still names valid windows */
        for (uint32_t t = 0; t < w->tile_count; t++) {
            if (!e->range->path->step(e->gemm, e->range, e->operands, stage, first, rows, &w->tiles[t],
                                      &step))
                continue;
            enum woq_status st = e->emitter->emit(e->emitter, &step);
            if (st)
                return st;
        }
    }
    return WOQ_OK;
}

enum woq_status woqi_gemm_expand(const struct woq_gemm *gemm, uint32_t m,
                                 const struct woqi_operands *operands,
                                 const struct woqi_slicing *slicing, uint32_t stage,
                                 struct woqi_emitter *emitter)
{
    const struct woqi_range *range = woqi_gemm_range(gemm, m ? m : 1);
    const struct expansion e = {gemm, m, range, operands, slicing->rows, emitter};
    const uint32_t per_slice = range->path->stages_per_slice;
    if (per_slice)
        return emit_slices(&e, stage % per_slice, stage / per_slice, stage / per_slice + 1);
    if (!range->path->pieces)
        return emit_slices(&e, 0, 0, slicing->count);
    enum woq_status st = stage ? emit_slices(&e, 2 * stage - 1, 0, slicing->count) : WOQ_OK;
    if (!st && stage + 1 < slicing->stages)
        st = emit_slices(&e, 2 * stage, 0, 1);
    return st;
}
