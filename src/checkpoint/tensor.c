/* tensor.c: sizes, order, names and rows of tensors. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

enum woq_status woqi_ckpt_tensor_size(const struct woq_checkpoint *c, struct woq_tensor *t,
                                      uint32_t block, uint32_t block_bytes)
{
    const uint64_t columns = t->rank ? t->shape[t->rank - 1] : 1;
    if (columns % block)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor '%s': rows of %" PRIu64
                              " elements; must be a multiple of its type's block of %" PRIu32,
                              t->file_name, columns, block);
    uint64_t bytes = columns / block;
    bool overflow = bytes > UINT64_MAX / block_bytes;
    bytes *= block_bytes;
    t->row_bytes = bytes;
    for (uint32_t i = 0; i + 1 < t->rank; i++) {
        overflow = overflow || (t->shape[i] && bytes > UINT64_MAX / t->shape[i]);
        bytes *= t->shape[i];
    }
    if (overflow)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor '%s': its shape's size exceeds 64 bits", t->file_name);
    t->bytes = bytes;
    return WOQ_OK;
}

/* ---- Layout ---- */

struct extent {
    uint64_t begin, end;
    const struct woq_tensor *tensor;
};

static int by_begin(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

enum woq_status woqi_ckpt_check_layout(struct woq_checkpoint *c, size_t first, size_t count,
                                       const uint8_t *base, uint64_t size, bool dense)
{
    if (!count)
        return WOQ_OK;
    enum woq_status st = WOQ_OK;
    struct extent *extents = calloc(count, sizeof *extents);
    if (!extents)
        return woqi_ckpt_no_memory(c);
    for (size_t i = 0; i < count; i++) {
        const struct woq_tensor *t = &c->tensors[first + i];
        const uint64_t begin = (uint64_t)((const uint8_t *)t->data - base);
        extents[i] = (struct extent){begin, begin + t->bytes, t};
    }
    qsort(extents, count, sizeof *extents, by_begin);
    for (size_t i = 0; i + 1 < count; i++) {
        if (extents[i].end > extents[i + 1].begin) {
            st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                                "tensors '%s' and '%s' overlap: one ends at byte %" PRIu64
                                ", the other begins at byte %" PRIu64,
                                extents[i].tensor->file_name, extents[i + 1].tensor->file_name,
                                extents[i].end, extents[i + 1].begin);
            goto done;
        }
        if (dense && extents[i].end != extents[i + 1].begin) {
            st = woqi_ckpt_fail(
                c, WOQ_ERROR_INVALID_DATA, "%" PRIu64 " bytes before tensor '%s' belong to none",
                extents[i + 1].begin - extents[i].end, extents[i + 1].tensor->file_name);
            goto done;
        }
    }
    if (dense && (extents[0].begin || extents[count - 1].end != size))
        st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                            "tensors cover bytes %" PRIu64 " to %" PRIu64
                            " of the data; must cover all %" PRIu64,
                            extents[0].begin, extents[count - 1].end, size);
done:
    free(extents);
    return st;
}

/* ---- Names ---- */

struct named {
    const char *name;
    uint32_t index;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

enum woq_status woqi_ckpt_tensors_finish(struct woq_checkpoint *c)
{
    if (!c->tensor_count)
        return WOQ_OK;
    enum woq_status st = WOQ_OK;
    struct named *names = calloc(c->tensor_count, sizeof *names);
    c->tensor_order = woqi_ckpt_alloc(&c->arena, c->tensor_count, sizeof *c->tensor_order);
    if (!names || !c->tensor_order) {
        st = woqi_ckpt_no_memory(c);
        goto done;
    }
    for (size_t i = 0; i < c->tensor_count; i++)
        names[i] = (struct named){c->tensors[i].name, (uint32_t)i};
    qsort(names, c->tensor_count, sizeof *names, by_name);
    for (size_t i = 0; i < c->tensor_count; i++) {
        c->tensor_order[i] = names[i].index;
        if (i && !strcmp(names[i - 1].name, names[i].name)) {
            st = woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "tensor '%s' is there twice",
                                names[i].name);
            goto done;
        }
    }
done:
    free(names);
    return st;
}

size_t woq_checkpoint_tensor_count(const struct woq_checkpoint *checkpoint)
{
    return checkpoint ? checkpoint->tensor_count : 0;
}

const struct woq_tensor *woq_checkpoint_tensor(const struct woq_checkpoint *checkpoint,
                                               size_t index)
{
    return checkpoint && index < checkpoint->tensor_count ? &checkpoint->tensors[index] : NULL;
}

const struct woq_tensor *woq_checkpoint_find(const struct woq_checkpoint *checkpoint,
                                             const char *name)
{
    if (!checkpoint || !name)
        return NULL;
    size_t low = 0, high = checkpoint->tensor_order ? checkpoint->tensor_count : 0;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct woq_tensor *t = &checkpoint->tensors[checkpoint->tensor_order[middle]];
        const int order = strcmp(name, t->name);
        if (!order)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- Rows ---- */

static uint64_t row_count(const struct woq_tensor *t)
{
    uint64_t rows = 1;
    for (uint32_t i = 0; i + 1 < t->rank; i++)
        rows *= t->shape[i];
    return rows;
}

/* Where the model's row `row` of `rows` lies in the file; see gguf_names.c. */
static uint64_t file_row(const struct woq_tensor *t, uint64_t rows, uint64_t row)
{
    if (!t->rope_heads)
        return row;
    const uint64_t size = rows / t->rope_heads, half = size / 2, in_head = row % size;
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

const void *woq_tensor_row(const struct woq_tensor *tensor, uint64_t row)
{
    if (!tensor || !tensor->data || row >= row_count(tensor))
        return NULL;
    if (tensor->rank > 1)
        row = file_row(tensor, tensor->shape[0], row);
    return (const uint8_t *)tensor->data + row * tensor->row_bytes;
}

/* A bias of q or k: the elements are what is reordered. */
static void read_reordered_vector(const struct woq_tensor *t, float *out)
{
    const uint32_t bytes = woq_tensor_block_bytes(t->type);
    for (uint64_t i = 0; i < t->shape[0]; i++)
        woqi_ckpt_dequantize(
            t->type, (const uint8_t *)t->data + file_row(t, t->shape[0], i) * bytes, 1, out + i);
}

enum woq_status woq_tensor_read(const struct woq_tensor *tensor, uint64_t first, uint64_t count,
                                float *out)
{
    if (!tensor || (!out && count))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", __func__,
                          tensor ? "out" : "tensor");
    const uint64_t rows = row_count(tensor);
    if (first > rows || count > rows - first)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "%s: rows %" PRIu64 " to %" PRIu64 "+%" PRIu64
                          " of '%s'; it has %" PRIu64,
                          __func__, first, first, count, tensor->name, rows);
    if (tensor->type >= WOQ_TENSOR_I32)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%s: '%s' is of type %s, which is not supported; must be F32, F16, BF16, "
                          "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
                          tensor->checkpoint->path, tensor->name, tensor->type_name);
    const uint64_t columns = tensor->rank ? tensor->shape[tensor->rank - 1] : 1;
    if (tensor->rank == 1 && tensor->rope_heads && count) {
        if (woq_tensor_block_elements(tensor->type) > 1)
            return woq_report(WOQ_ERROR_UNSUPPORTED, "%s: '%s' is a reordered vector of blocks",
                              __func__, tensor->name);
        read_reordered_vector(tensor, out);
        return WOQ_OK;
    }
    for (uint64_t i = 0; i < count && columns; i++)
        woqi_ckpt_dequantize(tensor->type, woq_tensor_row(tensor, first + i), columns,
                             out + i * columns);
    return WOQ_OK;
}
