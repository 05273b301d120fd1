/*
 * safetensors.c: u64 bytes of the header, the header (a JSON object), data. Each member of the
 * header but "__metadata__" is a tensor: {"dtype": "F16", "shape": [rows, columns], "data_offsets":
 * [begin, end]} with offsets into the data, which the tensors cover without gaps.
 */
#include <inttypes.h>
#include <string.h>
#include <yyjson.h>

#include "checkpoint/checkpoint_impl.h"

enum { MAX_HEADER_BYTES = 100000000 }; /* as the reference implementation has it */

static const struct woqi_ckpt_type types[] = {
    {"F32", WOQ_TENSOR_F32, 1, 4},       {"F16", WOQ_TENSOR_F16, 1, 2},
    {"BF16", WOQ_TENSOR_BF16, 1, 2},     {"I32", WOQ_TENSOR_I32, 1, 4},
    {"I64", WOQ_TENSOR_I64, 1, 8},       {"U8", WOQ_TENSOR_U8, 1, 1},
    {"I8", WOQ_TENSOR_OTHER, 1, 1},      {"I16", WOQ_TENSOR_OTHER, 1, 2},
    {"U16", WOQ_TENSOR_OTHER, 1, 2},     {"U32", WOQ_TENSOR_OTHER, 1, 4},
    {"U64", WOQ_TENSOR_OTHER, 1, 8},     {"F64", WOQ_TENSOR_OTHER, 1, 8},
    {"BOOL", WOQ_TENSOR_OTHER, 1, 1},    {"C64", WOQ_TENSOR_OTHER, 1, 8},
    {"F8_E4M3", WOQ_TENSOR_OTHER, 1, 1}, {"F8_E5M2", WOQ_TENSOR_OTHER, 1, 1},
    {"F8_E8M0", WOQ_TENSOR_OTHER, 1, 1},
};

struct reading {
    struct woq_checkpoint *c;
    const struct woqi_ckpt_map *map;
    const uint8_t *data;
    uint64_t size; /* bytes of data */
};

static enum woq_status refuse(const struct reading *in, const struct woq_tensor *t,
                              const char *what)
{
    return woq_report(WOQ_ERROR_INVALID_DATA, "%s: tensor '%s': %s", in->map->path, t->file_name,
                      what);
}

static enum woq_status read_shape(const struct reading *in, struct woq_tensor *t, yyjson_val *shape)
{
    if (!yyjson_is_arr(shape))
        return refuse(in, t, "shape is missing; must be an array of integers");
    const size_t rank = yyjson_arr_size(shape);
    if (rank > WOQ_TENSOR_MAX_RANK)
        return woq_report(WOQ_ERROR_UNSUPPORTED, "%s: tensor '%s' has rank %zu; must be at most %d",
                          in->map->path, t->file_name, rank, WOQ_TENSOR_MAX_RANK);
    t->rank = (uint32_t)rank;
    for (size_t i = 0; i < WOQ_TENSOR_MAX_RANK; i++)
        t->shape[i] = 1;
    size_t index, count;
    yyjson_val *extent;
    yyjson_arr_foreach(shape, index, count, extent)
    {
        if (!yyjson_is_uint(extent))
            return refuse(in, t, "shape holds something else than integers >= 0");
        t->shape[index] = yyjson_get_uint(extent);
    }
    return WOQ_OK;
}

static enum woq_status read_tensor(const struct reading *in, yyjson_val *from, struct woq_tensor *t)
{
    yyjson_val *dtype = yyjson_obj_get(from, "dtype"),
               *offsets = yyjson_obj_get(from, "data_offsets");
    yyjson_val *begin = yyjson_arr_get(offsets, 0), *end = yyjson_arr_get(offsets, 1);
    const struct woqi_ckpt_type *type = NULL;
    t->checkpoint = in->c;
    if (!yyjson_is_obj(from) || yyjson_obj_size(from) != 3)
        return refuse(in, t, "its description must be an object of dtype, shape and data_offsets");
    if (!yyjson_is_str(dtype))
        return refuse(in, t, "dtype is missing; must be a string");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (yyjson_equals_str(dtype, types[i].name))
            type = &types[i];
    if (!type)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "%s: tensor '%s': dtype '%.40s' is unknown; must be F32, F16, BF16 or "
                          "another of safetensors'",
                          in->map->path, t->file_name, yyjson_get_str(dtype));
    enum woq_status st = read_shape(in, t, yyjson_obj_get(from, "shape"));
    if (st || (st = woqi_ckpt_tensor_size(in->c, t, type->block, type->bytes)))
        return st;
    t->type = type->type;
    t->type_name = type->name;
    if (yyjson_arr_size(offsets) != 2 || !yyjson_is_uint(begin) || !yyjson_is_uint(end))
        return refuse(in, t, "data_offsets must be two integers >= 0");
    const uint64_t from_byte = yyjson_get_uint(begin), to_byte = yyjson_get_uint(end);
    if (from_byte > to_byte || to_byte > in->size)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: tensor '%s': data_offsets are %" PRIu64 " and %" PRIu64
                          "; must rise and be at most %" PRIu64 ", the bytes of data in the file",
                          in->map->path, t->file_name, from_byte, to_byte, in->size);
    if (to_byte - from_byte != t->bytes)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: tensor '%s': data_offsets span %" PRIu64
                          " bytes; its dtype and shape take %" PRIu64,
                          in->map->path, t->file_name, to_byte - from_byte, t->bytes);
    t->data = in->data + from_byte;
    return WOQ_OK;
}

static enum woq_status reserve(struct woq_checkpoint *c, size_t more)
{
    struct woq_tensor *grown = woqi_ckpt_alloc(&c->arena, c->tensor_count + more, sizeof *grown);
    if (!grown)
        return woqi_ckpt_no_memory(c);
    if (c->tensor_count)
        memcpy(grown, c->tensors, c->tensor_count * sizeof *grown);
    c->tensors = grown;
    return WOQ_OK;
}

static enum woq_status read_header(const struct reading *in, yyjson_val *root, bool meta)
{
    struct woq_checkpoint *c = in->c;
    if (!yyjson_is_obj(root))
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: the header is no JSON object",
                          in->map->path);
    const size_t first = c->tensor_count;
    if (first + yyjson_obj_size(root) > WOQI_CKPT_MAX_TENSORS)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: more than %d tensors", in->map->path,
                          WOQI_CKPT_MAX_TENSORS);
    enum woq_status st = reserve(c, yyjson_obj_size(root));
    if (st)
        return st;
    size_t index, count;
    yyjson_val *key, *value;
    yyjson_obj_foreach(root, index, count, key, value)
    {
        const char *name = yyjson_get_str(key);
        const size_t size = yyjson_get_len(key);
        if (yyjson_equals_str(key, "__metadata__")) {
            if (!yyjson_is_obj(value))
                return woq_report(WOQ_ERROR_INVALID_DATA, "%s: __metadata__ is no object",
                                  in->map->path);
            if (meta && (st = woqi_ckpt_json_flatten(c, "__metadata__", value)))
                return st;
            continue;
        }
        if (!size || size > WOQI_CKPT_MAX_NAME || !woqi_ckpt_is_name(name, size))
            return woq_report(
                WOQ_ERROR_INVALID_DATA,
                "%s: tensor %zu's name has %zu bytes or control characters; must be 1 to %d bytes",
                in->map->path, index, size, WOQI_CKPT_MAX_NAME);
        struct woq_tensor *t = &c->tensors[c->tensor_count];
        if (!(t->name = woqi_ckpt_copy(&c->arena, name, size)))
            return woqi_ckpt_no_memory(c);
        t->file_name = t->name;
        if ((st = read_tensor(in, value, t)))
            return st;
        c->tensor_count++;
    }
    return woqi_ckpt_check_layout(c, first, c->tensor_count - first, in->data, in->size, true);
}

enum woq_status woqi_ckpt_read_safetensors(struct woq_checkpoint *c,
                                           const struct woqi_ckpt_map *map, bool meta)
{
    uint64_t header = 0;
    if (map->size < 10)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: is no safetensors file: shorter than its header", map->path);
    for (unsigned i = 0; i < 8; i++)
        header |= (uint64_t)map->data[i] << 8 * i;
    if (header > MAX_HEADER_BYTES || header > map->size - 8)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s: the header has %" PRIu64
                          " bytes; must be at most %d and fit in the file's %zu",
                          map->path, header, MAX_HEADER_BYTES, map->size);
    struct yyjson_doc *doc = NULL;
    enum woq_status st = woqi_ckpt_json_text(c, "safetensors header", map->data + 8, (size_t)header,
                                             &doc);
    if (st)
        return st;
    const struct reading in = {c, map, map->data + 8 + header, map->size - 8 - header};
    st = read_header(&in, yyjson_doc_get_root(doc), meta);
    yyjson_doc_free(doc);
    return st;
}
