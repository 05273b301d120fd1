/*
 * gguf.c: GGUF versions 2 and 3, little-endian.
 *
 *   "GGUF", u32 version, u64 tensors, u64 keys
 *   key-value pairs                        gguf_meta.c
 *   for each tensor: string name, u32 rank, u64 shape[rank] (fastest first), u32 type, u64 offset
 *   padding to general.alignment (32)
 *   data; offsets count from here and are multiples of the alignment
 */
#include <inttypes.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

enum { DEFAULT_ALIGNMENT = 32, MAX_ALIGNMENT = 1 << 20, TENSOR_MIN_BYTES = 8 + 1 + 4 + 8 + 4 + 8 };

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t load64(const uint8_t *p)
{
    return (uint64_t)load32(p) | (uint64_t)load32(p + 4) << 32;
}

static enum woq_status cut(const struct woq_checkpoint *c, uint64_t index)
{
    return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                          "tensor %" PRIu64
                          "'s description runs past the end of the file (%zu bytes)",
                          index, c->maps[0].size);
}

/* Name, shape and type; *offset is not checked yet. */
static enum woq_status read_tensor(struct woq_checkpoint *c, uint64_t index, const uint8_t **at,
                                   const uint8_t *end, uint64_t *offset)
{
    struct woq_tensor *t = &c->tensors[index];
    const uint8_t *p = *at;
    if (end - p < 8)
        return cut(c, index);
    const uint64_t size = load64(p);
    p += 8;
    if (size > (uint64_t)(end - p))
        return cut(c, index);
    if (!size || size > WOQI_CKPT_MAX_NAME || !woqi_ckpt_is_name((const char *)p, (size_t)size))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor %" PRIu64 "'s name has %" PRIu64
                              " bytes or control characters; must be 1 to %d bytes of UTF-8",
                              index, size, WOQI_CKPT_MAX_NAME);
    t->checkpoint = c;
    if (!(t->file_name = woqi_ckpt_copy(&c->arena, (const char *)p, (size_t)size)))
        return woqi_ckpt_no_memory(c);
    p += size;
    if (end - p < 4)
        return cut(c, index);
    t->rank = load32(p);
    p += 4;
    if (!t->rank || t->rank > WOQ_TENSOR_MAX_RANK)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor '%s': rank is %" PRIu32 "; must be 1 to %d", t->file_name,
                              t->rank, WOQ_TENSOR_MAX_RANK);
    if (end - p < 8 * (ptrdiff_t)t->rank + 12)
        return cut(c, index);
    for (uint32_t i = 0; i < WOQ_TENSOR_MAX_RANK; i++)
        t->shape[i] = 1;
    for (uint32_t i = 0; i < t->rank; i++, p += 8) {
        const uint64_t extent = load64(p);
        if (!extent)
            return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                                  "tensor '%s': dimension %" PRIu32 " is 0; must be >= 1",
                                  t->file_name, i);
        t->shape[t->rank - 1 - i] = extent;
    }
    const uint32_t number = load32(p);
    const struct woqi_ckpt_type *type = woqi_ckpt_gguf_type(number);
    if (!type)
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "tensor '%s': type number %" PRIu32
                              " is unknown; must be F32 (0), F16 (1), BF16 (30) or a block type",
                              t->file_name, number);
    *offset = load64(p + 4);
    *at = p + 12;
    t->type = type->type;
    t->type_name = type->name;
    enum woq_status st = woqi_ckpt_tensor_size(c, t, type->block, type->bytes);
    return st ? st : woqi_ckpt_gguf_name(c, t);
}

static enum woq_status read_alignment(const struct woq_checkpoint *c, uint64_t *out)
{
    static const char key[] = "general.alignment";
    *out = DEFAULT_ALIGNMENT;
    if (!woqi_ckpt_meta_find(c, key))
        return WOQ_OK;
    if (!woq_checkpoint_get_uint(c, key, out) || !*out || *out > MAX_ALIGNMENT ||
        (*out & (*out - 1)))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "%s must be a power of two up to %d", key,
                              MAX_ALIGNMENT);
    return WOQ_OK;
}

static enum woq_status place(struct woq_checkpoint *c, struct woq_tensor *t, uint64_t offset,
                             uint64_t alignment, uint64_t start)
{
    const uint64_t size = c->maps[0].size;
    if (offset % alignment)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor '%s': offset %" PRIu64
                              " is no multiple of the alignment, %" PRIu64,
                              t->file_name, offset, alignment);
    if (start > size || offset > size - start || t->bytes > size - start - offset)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "tensor '%s': %" PRIu64 " bytes at offset %" PRIu64
                              " of the data, which begins at %" PRIu64
                              ", run past the end of the file (%" PRIu64 " bytes); was it cut?",
                              t->file_name, t->bytes, offset, start, size);
    t->data = c->maps[0].data + start + offset;
    return WOQ_OK;
}

static enum woq_status read_tensors(struct woq_checkpoint *c, uint64_t count, const uint8_t *at,
                                    const uint8_t *end)
{
    uint64_t alignment;
    enum woq_status st = read_alignment(c, &alignment);
    if (st)
        return st;
    uint64_t *offsets = woqi_ckpt_alloc(&c->arena, (size_t)count, sizeof *offsets);
    c->tensors = woqi_ckpt_alloc(&c->arena, (size_t)count, sizeof *c->tensors);
    if (!offsets || !c->tensors)
        return woqi_ckpt_no_memory(c);
    for (uint64_t i = 0; i < count; i++)
        if ((st = read_tensor(c, i, &at, end, &offsets[i])))
            return st;
    c->tensor_count = (size_t)count;
    const uint64_t head = (uint64_t)(at - c->maps[0].data);
    const uint64_t start = (head + alignment - 1) / alignment * alignment;
    for (uint64_t i = 0; i < count; i++)
        if ((st = place(c, &c->tensors[i], offsets[i], alignment, start)))
            return st;
    return woqi_ckpt_check_layout(c, 0, c->tensor_count, c->maps[0].data, c->maps[0].size, false);
}

enum woq_status woqi_ckpt_read_gguf(struct woq_checkpoint *c)
{
    const struct woqi_ckpt_map *map = &c->maps[0];
    if (map->size < 24 || memcmp(map->data, "GGUF", 4))
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA, "is no GGUF file: %s",
                              map->size < 24 ? "shorter than its header"
                                             : "does not begin with 'GGUF'");
    const uint8_t *at = map->data + 24, *end = map->data + map->size;
    const uint32_t version = load32(map->data + 4);
    const uint64_t tensors = load64(map->data + 8), keys = load64(map->data + 16);
    if (version && !(version & 0xffff))
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "GGUF is big-endian; must be little-endian");
    if (version < 2 || version > 3)
        return woqi_ckpt_fail(c, WOQ_ERROR_UNSUPPORTED,
                              "GGUF version is %" PRIu32 "; must be 2 or 3", version);
    if (tensors > WOQI_CKPT_MAX_TENSORS || tensors > map->size / TENSOR_MIN_BYTES)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "%" PRIu64
                              " tensors do not fit in %zu bytes (and must be at most %d)",
                              tensors, map->size, WOQI_CKPT_MAX_TENSORS);
    enum woq_status st = woqi_ckpt_read_gguf_meta(c, &at, end, keys);
    return st ? st : read_tensors(c, tensors, at, end);
}
