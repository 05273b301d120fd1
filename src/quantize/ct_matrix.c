/*
 * ct_matrix.c: a linear layer as tensors of compressed-tensors' form `pack-quantized`.
 *
 * Of a layer NAME with N rows, K columns, G groups:
 *   NAME.weight_packed      int32 [N, ceil(K·bits/32)]: codes unsigned, along K, low bits first; that is our canonical
 *                           row of codes, padded by zeros to whole words
 *   NAME.weight_scale       [N, G]; [N, 1] for one scale a row; a tensor's scale is repeated for each row
 *   NAME.weight_zero_point  asymmetric only: int32 [ceil(N·bits/32), G], packed along N, low bits first
 *   NAME.weight_shape       int64 [2] = N, K
 */
#include "quantizer.h"

#include <stdio.h>
#include <string.h>

static unsigned bits_of(const struct woqi_ct_matrix *m)
{
    return m->format.code == WOQ_CODE_U4 ? 4 : 8;
}

/* Bytes of so many codes as whole words. */
static uint64_t padded(const struct woqi_ct_matrix *m, uint64_t count)
{
    return (count * bits_of(m) + 31) / 32 * 4;
}

enum woq_status woqi_ct_add(struct woqi_st_writer *w, const char *name, size_t size, const struct woq_format *format,
                            uint64_t n, uint64_t k, struct woqi_ct_matrix *out)
{
    const bool one = format->group == WOQ_GROUP_CHANNEL || format->group == WOQ_GROUP_TENSOR;
    char text[640];
    *out = (struct woqi_ct_matrix){.format = *format, .n = n, .k = k, .groups = one ? 1 : k / format->group};
    if (size >= sizeof text)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "the name of a layer has %zu bytes; must be < %zu", size,
                          sizeof text);
    memcpy(text, name, size);
    text[size] = 0;
    const uint64_t shapes[][2] = {{n, padded(out, k) / 4}, {n, out->groups}, {padded(out, n) / 4, out->groups}, {2, 1}};
    enum woq_status st = woqi_st_add(w, text, ".weight_packed", WOQI_ST_I32, 2, shapes[0], true, &out->packed);
    if (!st)
        st = woqi_st_add(w, text, ".weight_scale", woqi_st_type_of(format->scale), 2, shapes[1], false, &out->scale);
    if (!st && format->zero == WOQ_ZERO_POINT)
        st = woqi_st_add(w, text, ".weight_zero_point", WOQI_ST_I32, 2, shapes[2], false, &out->zero);
    if (!st)
        st = woqi_st_add(w, text, ".weight_shape", WOQI_ST_I64, 1, shapes[3], false, &out->shape);
    return st;
}

uint64_t woqi_ct_scratch(const struct woqi_ct_matrix *m, uint64_t rows)
{
    const uint64_t codes = rows * padded(m, m->k), zeros = padded(m, rows) * m->groups;
    const uint64_t scales = rows * woq_type_size(m->format.scale), most = codes > zeros ? codes : zeros;
    return most > scales ? most : scales;
}

static enum woq_status write_codes(struct woqi_st_writer *w, const struct woqi_ct_matrix *m, uint64_t first,
                                   const struct woq_weights_source *rows, uint8_t *scratch)
{
    const uint64_t bytes = (m->k * bits_of(m) + 7) / 8, whole = padded(m, m->k);
    const uint64_t stride = rows->row_stride ? rows->row_stride : bytes;
    const uint8_t *from = rows->codes;
    if (stride != whole) {
        for (uint64_t r = 0; r < rows->n; r++) {
            memcpy(scratch + r * whole, from + r * stride, bytes);
            memset(scratch + r * whole + bytes, 0, whole - bytes);
        }
        from = scratch;
    }
    return woqi_st_write(w, m->packed, first * whole, from, rows->n * whole);
}

static enum woq_status write_scales(struct woqi_st_writer *w, const struct woqi_ct_matrix *m, uint64_t first,
                                    const struct woq_weights_source *rows, uint8_t *scratch)
{
    const uint64_t size = woq_type_size(m->format.scale), row = m->groups * size;
    const void *from = rows->scales;
    if (m->format.group == WOQ_GROUP_TENSOR) {
        for (uint64_t r = 0; r < rows->n; r++)
            memcpy(scratch + r * size, rows->scales, size);
        from = scratch;
    }
    return woqi_st_write(w, m->scale, first * row, from, rows->n * row);
}

static enum woq_status write_zeros(struct woqi_st_writer *w, const struct woqi_ct_matrix *m, uint64_t first,
                                   const struct woq_weights_source *rows, uint8_t *scratch)
{
    const unsigned bits = bits_of(m), in_word = 32 / bits;
    const uint64_t bytes = padded(m, rows->n) * m->groups;
    const bool one = m->format.group == WOQ_GROUP_TENSOR;
    const uint8_t *zeros = rows->zeros;
    memset(scratch, 0, bytes);
    for (uint64_t r = 0; r < rows->n; r++)
        for (uint64_t g = 0; g < m->groups; g++) {
            const uint64_t bit = r % in_word * bits;
            uint8_t *byte = scratch + 4 * (r / in_word * m->groups + g) + bit / 8;
            *byte = (uint8_t)(*byte | zeros[one ? 0 : r * m->groups + g] << bit % 8);
        }
    return woqi_st_write(w, m->zero, 4 * (first / in_word) * m->groups, scratch, bytes);
}

enum woq_status woqi_ct_write_rows(struct woqi_st_writer *w, const struct woqi_ct_matrix *m, uint64_t first,
                                   const struct woq_weights_source *rows, uint8_t *scratch)
{
    enum woq_status st = write_codes(w, m, first, rows, scratch);
    if (!st)
        st = write_scales(w, m, first, rows, scratch);
    if (!st && m->format.zero == WOQ_ZERO_POINT)
        st = write_zeros(w, m, first, rows, scratch);
    return st;
}

enum woq_status woqi_ct_write_shape(struct woqi_st_writer *w, const struct woqi_ct_matrix *m)
{
    uint8_t shape[16];
    for (int b = 0; b < 16; b++)
        shape[b] = (uint8_t)((b < 8 ? m->n : m->k) >> 8 * (b % 8));
    return woqi_st_write(w, m->shape, 0, shape, sizeof shape);
}

/* ---- A layer that is in this form already ---- */

/* What the writer's tensor at `index` is in `from`. */
static enum woq_status find_part(const struct woqi_st_writer *w, size_t index, const struct woq_checkpoint *from,
                                 const struct woq_tensor **out)
{
    static const enum woq_tensor_type types[] = {[WOQI_ST_F16] = WOQ_TENSOR_F16, [WOQI_ST_BF16] = WOQ_TENSOR_BF16,
                                                 [WOQI_ST_F32] = WOQ_TENSOR_F32, [WOQI_ST_I32] = WOQ_TENSOR_I32,
                                                 [WOQI_ST_I64] = WOQ_TENSOR_I64};
    const struct woqi_st_tensor *t = &w->tensors[index];
    const struct woq_tensor *found = *out = woq_checkpoint_find(from, t->name);
    if (!found)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: tensor '%s' is missing", woq_checkpoint_path(from), t->name);
    bool same = found->type == types[t->type] && found->rank == t->rank;
    for (uint32_t i = 0; i < t->rank && same; i++)
        same = found->shape[i] == t->shape[i];
    if (same)
        return WOQ_OK;
    return woq_report(WOQ_ERROR_INVALID_DATA, "%s: tensor '%s' has another type or shape than is to be written",
                      woq_checkpoint_path(from), t->name);
}

enum woq_status woqi_ct_find(const struct woqi_st_writer *w, const struct woqi_ct_matrix *m,
                             const struct woq_checkpoint *from, struct woqi_ct_parts *out)
{
    *out = (struct woqi_ct_parts){0};
    enum woq_status st = find_part(w, m->packed, from, &out->packed);
    if (!st)
        st = find_part(w, m->scale, from, &out->scale);
    if (!st && m->format.zero == WOQ_ZERO_POINT)
        st = find_part(w, m->zero, from, &out->zero);
    return st;
}

/* Lines of a matrix in the file. */
static enum woq_status copy(struct woqi_st_writer *w, size_t index, const struct woq_tensor *from, uint64_t first,
                            uint64_t lines)
{
    const uint64_t at = first * from->row_bytes;
    return woqi_st_write(w, index, at, (const uint8_t *)from->data + at, lines * from->row_bytes);
}

enum woq_status woqi_ct_copy_rows(struct woqi_st_writer *w, const struct woqi_ct_matrix *m, uint64_t first,
                                  uint64_t rows, const struct woqi_ct_parts *from)
{
    const unsigned in_word = 32 / bits_of(m);
    enum woq_status st = copy(w, m->packed, from->packed, first, rows);
    if (!st)
        st = copy(w, m->scale, from->scale, first, rows);
    if (!st && from->zero)
        st = copy(w, m->zero, from->zero, first / in_word, (rows + in_word - 1) / in_word);
    return st;
}
