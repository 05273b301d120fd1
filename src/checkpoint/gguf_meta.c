/*
 * gguf_meta.c: GGUF's key-value pairs: string key, u32 type, value. A string is u64 bytes and the
 * bytes; an array is u32 element type, u64 count and the elements.
 */
#include <inttypes.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

enum gguf_kind { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, KINDS };

/* Bytes of a value, or the fewest it can have. */
static const uint8_t kind_bytes[KINDS] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
enum { PAIR_MIN_BYTES = 8 + 1 + 4 + 1 };

struct cursor {
    struct woq_checkpoint *c;
    const uint8_t *at, *end;
    const char *key; /* for messages */
};

static enum woq_status cut(const struct cursor *in)
{
    return woqi_ckpt_fail(in->c, WOQ_ERROR_INVALID_DATA,
                          "metadata key '%s' runs past the end of the file (%zu bytes)", in->key,
                          in->c->maps[0].size);
}

static uint64_t load(const uint8_t *p, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)p[i] << 8 * i;
    return value;
}

static bool has(const struct cursor *in, uint64_t bytes)
{
    return bytes <= (uint64_t)(in->end - in->at);
}

static enum woq_status read_text(struct cursor *in, struct woq_text *out)
{
    if (!has(in, 8))
        return cut(in);
    const uint64_t size = load(in->at, 8);
    in->at += 8;
    if (!has(in, size))
        return cut(in);
    *out = (struct woq_text){(const char *)in->at, (size_t)size};
    in->at += size;
    return WOQ_OK;
}

static int64_t extend(uint64_t bits, unsigned bytes)
{
    const unsigned shift = 64 - 8 * bytes;
    uint64_t sign = (uint64_t)1 << (8 * bytes - 1);
    bits = bits << shift >> shift;
    return (int64_t)((bits ^ sign) - sign);
}

static bool is_signed(enum gguf_kind kind)
{
    return kind == I8 || kind == I16 || kind == I32 || kind == I64;
}

static double load_float(const uint8_t *p, enum gguf_kind kind)
{
    const uint64_t bits = load(p, kind_bytes[kind]);
    const uint32_t low = (uint32_t)bits;
    float single;
    double value;
    memcpy(&single, &low, 4);
    memcpy(&value, &bits, 8);
    return kind == F32 ? (double)single : value;
}

static enum woq_status read_scalar(struct cursor *in, enum gguf_kind kind,
                                   struct woqi_ckpt_value *v)
{
    const unsigned bytes = kind_bytes[kind];
    if (!has(in, bytes))
        return cut(in);
    const uint64_t bits = load(in->at, bytes);
    if (kind == F32 || kind == F64) {
        v->kind = WOQI_KIND_FLOAT;
        v->f = load_float(in->at, kind);
    } else if (kind == BOOL) {
        if (bits > 1)
            return woqi_ckpt_fail(in->c, WOQ_ERROR_INVALID_DATA,
                                  "metadata key '%s' is a boolean of value %" PRIu64
                                  "; must be 0 or 1",
                                  in->key, bits);
        v->kind = WOQI_KIND_BOOL;
        v->b = bits;
    } else if (is_signed(kind) && extend(bits, bytes) < 0) {
        v->kind = WOQI_KIND_INT;
        v->i = extend(bits, bytes);
    } else {
        v->kind = WOQI_KIND_UINT;
        v->u = bits;
    }
    in->at += bytes;
    return WOQ_OK;
}

static enum woq_status read_strings(struct cursor *in, uint64_t count, struct woqi_ckpt_value *v)
{
    struct woq_text *strings = woqi_ckpt_alloc(&in->c->arena, (size_t)count, sizeof *strings);
    if (!strings)
        return woqi_ckpt_no_memory(in->c);
    for (uint64_t i = 0; i < count; i++) {
        enum woq_status st = read_text(in, &strings[i]);
        if (st)
            return st;
    }
    v->kind = WOQI_KIND_STRINGS;
    v->strings = strings;
    v->count = (size_t)count;
    return WOQ_OK;
}

/* Of numbers that fit; integers beyond 32 bits leave the value untyped. The bytes are there. */
static enum woq_status read_numbers(struct cursor *in, enum gguf_kind kind, uint64_t count,
                                    struct woqi_ckpt_value *v)
{
    const unsigned bytes = kind_bytes[kind];
    const uint8_t *at = in->at;
    in->at += count * bytes;
    if (kind == F32 || kind == F64) {
        float *floats = woqi_ckpt_alloc(&in->c->arena, (size_t)count, sizeof *floats);
        if (!floats)
            return woqi_ckpt_no_memory(in->c);
        for (uint64_t i = 0; i < count; i++)
            floats[i] = (float)load_float(at + i * bytes, kind);
        v->kind = WOQI_KIND_FLOATS;
        v->floats = floats;
        v->count = (size_t)count;
        return WOQ_OK;
    }
    int32_t *ints = woqi_ckpt_alloc(&in->c->arena, (size_t)count, sizeof *ints);
    if (!ints)
        return woqi_ckpt_no_memory(in->c);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t bits = load(at + i * bytes, bytes);
        const int64_t value = is_signed(kind) ? extend(bits, bytes) : (int64_t)bits;
        const bool wraps = value < 0 && !is_signed(kind);
        if (wraps || value < INT32_MIN || value > INT32_MAX) {
            v->text = "[integers beyond 32 bits]";
            return WOQ_OK;
        }
        ints[i] = (int32_t)value;
    }
    v->kind = WOQI_KIND_INTS;
    v->ints = ints;
    v->count = (size_t)count;
    return WOQ_OK;
}

/* `v` is NULL within an array of arrays, which is only stepped over. */
static enum woq_status read_array(struct cursor *in, unsigned depth, struct woqi_ckpt_value *v)
{
    if (depth > WOQI_CKPT_MAX_DEPTH)
        return woqi_ckpt_fail(in->c, WOQ_ERROR_INVALID_DATA,
                              "metadata key '%s' nests arrays deeper than %d", in->key,
                              WOQI_CKPT_MAX_DEPTH);
    if (!has(in, 12))
        return cut(in);
    const uint32_t kind = (uint32_t)load(in->at, 4);
    const uint64_t count = load(in->at + 4, 8);
    in->at += 12;
    if (kind >= KINDS)
        return woqi_ckpt_fail(in->c, WOQ_ERROR_INVALID_DATA,
                              "metadata key '%s' is an array of the unknown type %" PRIu32, in->key,
                              kind);
    if (count > (uint64_t)(in->end - in->at) / kind_bytes[kind])
        return woqi_ckpt_fail(in->c, WOQ_ERROR_INVALID_DATA,
                              "metadata key '%s': %" PRIu64
                              " array elements do not fit in the %td bytes left",
                              in->key, count, in->end - in->at);
    if (kind == STRING && v)
        return read_strings(in, count, v);
    if (kind != STRING && kind != ARRAY) {
        if (v)
            return read_numbers(in, kind, count, v);
        in->at += count * kind_bytes[kind];
        return WOQ_OK;
    }
    if (v)
        v->text = "[arrays]";
    for (uint64_t i = 0; i < count; i++) {
        struct woq_text skipped;
        enum woq_status st = kind == STRING ? read_text(in, &skipped)
                                            : read_array(in, depth + 1, NULL);
        if (st)
            return st;
    }
    return WOQ_OK;
}

static enum woq_status read_pair(struct cursor *in)
{
    struct woq_text key = {NULL, 0};
    enum woq_status st = read_text(in, &key);
    if (st)
        return st;
    struct woqi_ckpt_value *v = woqi_ckpt_meta_add(in->c, key.text, key.size, &st);
    if (!v)
        return st;
    in->key = v->key;
    if (!has(in, 4))
        return cut(in);
    const uint32_t kind = (uint32_t)load(in->at, 4);
    in->at += 4;
    if (kind >= KINDS)
        return woqi_ckpt_fail(in->c, WOQ_ERROR_INVALID_DATA,
                              "metadata key '%s' has the unknown type %" PRIu32, in->key, kind);
    if (kind == STRING) {
        v->kind = WOQI_KIND_STRING;
        st = read_text(in, &v->string);
    } else if (kind == ARRAY) {
        st = read_array(in, 0, v);
    } else {
        st = read_scalar(in, kind, v);
    }
    return st ? st : woqi_ckpt_meta_text(in->c, v);
}

enum woq_status woqi_ckpt_read_gguf_meta(struct woq_checkpoint *c, const uint8_t **at,
                                         const uint8_t *end, uint64_t count)
{
    struct cursor in = {c, *at, end, "(first)"};
    if (count > WOQI_CKPT_MAX_META || count > (uint64_t)(end - *at) / PAIR_MIN_BYTES)
        return woqi_ckpt_fail(c, WOQ_ERROR_INVALID_DATA,
                              "%" PRIu64
                              " metadata keys do not fit in %td bytes (and must be at most %d)",
                              count, end - *at, WOQI_CKPT_MAX_META);
    for (uint64_t i = 0; i < count; i++) {
        enum woq_status st = read_pair(&in);
        if (st)
            return st;
    }
    *at = in.at;
    return woqi_ckpt_meta_finish(c);
}
