/* tensor_source.c: tensors as weights for a device, without requantizing. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/gguf_blocks.h"

void woq_source_release(struct woq_weights_source *source)
{
    if (!source)
        return;
    free((void *)(uintptr_t)source->codes);
    free((void *)(uintptr_t)source->scales);
    free((void *)(uintptr_t)source->zeros);
    free((void *)(uintptr_t)source->g_idx);
    *source = (struct woq_weights_source)WOQ_WEIGHTS_SOURCE_INIT;
}

struct target {
    uint8_t *codes, *scales, *zeros;
    uint64_t row_bytes, groups;
};

static void store_u16(uint8_t *to, unsigned bits)
{
    const uint16_t value = (uint16_t)bits;
    memcpy(to, &value, 2);
}

static void store_codes(enum woq_code code, const uint8_t *from, uint32_t count, uint8_t *to)
{
    if (code == WOQ_CODE_U8) {
        memcpy(to, from, count);
        return;
    }
    for (uint32_t i = 0; i < count; i += 2)
        to[i / 2] = (uint8_t)(from[i] | from[i + 1] << 4);
}

static void store_row(const struct woq_tensor *t, const struct woqi_ckpt_form *form, uint64_t row,
                      const struct target *to)
{
    const uint32_t size = woq_tensor_block_elements(t->type),
                   bytes = woq_tensor_block_bytes(t->type);
    const uint32_t groups = size / form->group;
    const uint8_t *from = woq_tensor_row(t, row);
    uint8_t *codes = to->codes + row * to->row_bytes;
    struct woqi_ckpt_block block;
    uint64_t group = row * to->groups;
    for (uint64_t k = 0; k < t->shape[1]; k += size, from += bytes) {
        woqi_ckpt_unpack_block(t->type, from, &block);
        store_codes(form->code, block.codes, size, codes);
        codes += form->code == WOQ_CODE_U4 ? size / 2 : size;
        for (uint32_t g = 0; g < groups; g++, group++) {
            if (form->scale == WOQ_F16) {
                store_u16(to->scales + 2 * group, block.scale_bits);
                if (form->zero == WOQ_ZERO_OFFSET)
                    store_u16(to->zeros + 2 * group, block.offset_bits);
            } else {
                memcpy(to->scales + 4 * group, &block.scale[g], 4);
                if (form->zero == WOQ_ZERO_OFFSET)
                    memcpy(to->zeros + 4 * group, &block.offset[g], 4);
            }
            if (form->zero == WOQ_ZERO_POINT)
                to->zeros[group] = (uint8_t)form->zero_point;
        }
    }
}

static void *allocate(uint64_t bytes)
{
    return bytes <= SIZE_MAX ? malloc((size_t)bytes) : NULL;
}

enum woq_status woq_tensor_source(const struct woq_tensor *tensor, struct woq_weights_source *out)
{
    if (!tensor || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", __func__,
                          tensor ? "out" : "tensor");
    *out = (struct woq_weights_source)WOQ_WEIGHTS_SOURCE_INIT;
    const struct woqi_ckpt_form *form = woqi_ckpt_block_form(tensor->type);
    const bool plain = tensor->type == WOQ_TENSOR_F16 || tensor->type == WOQ_TENSOR_BF16;
    if (tensor->rank != 2 || (!form && !plain) || !tensor->bytes)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%s: '%s' is of type %s and rank %" PRIu32
                          "; must be a matrix of blocks, F16 or BF16",
                          tensor->checkpoint->path, tensor->name, tensor->type_name, tensor->rank);
    struct woq_weights_source s = WOQ_WEIGHTS_SOURCE_INIT;
    s.n = tensor->shape[0];
    s.k = tensor->shape[1];
    s.format.code = form                             ? form->code
                    : tensor->type == WOQ_TENSOR_F16 ? WOQ_CODE_F16
                                                     : WOQ_CODE_BF16;
    if (form) {
        s.format.zero = form->zero;
        s.format.scale = form->scale;
        s.format.group = form->group;
    }
    struct woq_format_sizes sizes;
    enum woq_status st = woq_format_get_sizes(&s.format, s.n, s.k, &sizes);
    if (st)
        return st;
    const struct target to = {allocate(sizes.codes), sizes.scales ? allocate(sizes.scales) : NULL,
                              sizes.zeros ? allocate(sizes.zeros) : NULL, sizes.row_bytes,
                              sizes.groups};
    s.codes = to.codes;
    s.scales = to.scales;
    s.zeros = to.zeros;
    if (!to.codes || (sizes.scales && !to.scales) || (sizes.zeros && !to.zeros)) {
        woq_source_release(&s);
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "%s: no host memory for '%s'", __func__,
                          tensor->name);
    }
    for (uint64_t row = 0; row < s.n; row++) {
        if (form)
            store_row(tensor, form, row, &to);
        else
            memcpy(to.codes + row * to.row_bytes, woq_tensor_row(tensor, row),
                   (size_t)to.row_bytes);
    }
    *out = s;
    return WOQ_OK;
}
