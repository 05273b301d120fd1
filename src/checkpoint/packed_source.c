/*
 * packed_source.c: layers stored as compressed-tensors `pack-quantized`:
 *
 *   weight_packed      i32 [N][ceil(K·bits/32)]  codes along K, low bits first: value + 2^(bits−1)
 *   weight_scale       [N][G]
 *   weight_zero_point  i32 [ceil(N·bits/32)][G]  codes along N, likewise; if asymmetric
 *   weight_shape       i64 [2] = N, K
 *
 * Little-endian words make the codes' bytes those of woq/format.h already.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

struct packed {
    const struct woq_checkpoint *c;
    const char *name;
    const struct woq_tensor *codes, *scale, *zero, *shape;
    uint64_t n, k, groups;
    uint32_t bits;
};

static const struct woq_tensor *part(const struct woq_checkpoint *c, const char *name,
                                     const char *suffix)
{
    char text[WOQI_CKPT_MAX_NAME + 32];
    const int size = snprintf(text, sizeof text, "%s.%s", name, suffix);
    return size > 0 && (size_t)size < sizeof text ? woq_checkpoint_find(c, text) : NULL;
}

static uint64_t words(uint64_t count, uint32_t bits)
{
    const uint64_t per_word = 32 / bits;
    return count / per_word + (count % per_word != 0);
}

static enum woq_status refuse(const struct packed *p, const char *suffix, const char *what)
{
    return woqi_ckpt_fail(p->c, WOQ_ERROR_INVALID_DATA, "tensor '%s.%s' %s", p->name, suffix, what);
}

static uint64_t load(const struct woq_tensor *t, uint64_t index, unsigned bytes)
{
    const uint8_t *from = (const uint8_t *)t->data + index * bytes;
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

static enum woq_status find_parts(struct packed *p)
{
    p->codes = part(p->c, p->name, "weight_packed");
    p->scale = part(p->c, p->name, "weight_scale");
    p->zero = part(p->c, p->name, "weight_zero_point");
    p->shape = part(p->c, p->name, "weight_shape");
    if (!p->codes)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: no packed layer '%.200s'", p->c->path,
                          p->name);
    if (part(p->c, p->name, "weight_g_idx"))
        return woqi_ckpt_fail(
            p->c, WOQ_ERROR_UNSUPPORTED,
            "tensor '%s.weight_g_idx': activation order by group is not supported", p->name);
    if (!p->scale || p->scale->rank != 2)
        return refuse(p, "weight_scale", p->scale ? "must have rank 2" : "is missing");
    if (!p->shape || p->shape->type != WOQ_TENSOR_I64 || p->shape->rank != 1 ||
        p->shape->shape[0] != 2)
        return refuse(p, "weight_shape", p->shape ? "must be two I64" : "is missing");
    if (p->codes->type != WOQ_TENSOR_I32 || p->codes->rank != 2)
        return refuse(p, "weight_packed", "must be an I32 matrix");
    return WOQ_OK;
}

/* Codes of 4 or 8 bits: as config.json says, else what the number of words allows; 4 for a single word of up to four
 * codes, which can be either. */
static enum woq_status find_bits(struct packed *p, const struct woqi_ckpt_scheme *scheme)
{
    if (scheme->bits && scheme->bits != 4 && scheme->bits != 8)
        return woqi_ckpt_fail(p->c, WOQ_ERROR_UNSUPPORTED,
                              "config.json: layer '%s' has weights of %" PRIu32 " bits; only 4 and 8 are supported",
                              p->name, scheme->bits);
    p->bits = scheme->bits ? scheme->bits : p->codes->shape[1] == words(p->k, 4) ? 4 : 8;
    if (p->codes->shape[1] == words(p->k, p->bits))
        return WOQ_OK;
    if (!scheme->bits)
        return refuse(p, "weight_packed", "has too few or too many columns for 4 or 8 bits");
    return woqi_ckpt_fail(p->c, WOQ_ERROR_INVALID_DATA,
                          "tensor '%s.weight_packed' has %" PRIu64 " columns; must have %" PRIu64
                          " for the %" PRIu32 " bits that config.json says",
                          p->name, p->codes->shape[1], words(p->k, p->bits), p->bits);
}

/* The scales' columns tell the group; config.json must not tell another. */
static enum woq_status check_group(const struct packed *p, const struct woqi_ckpt_scheme *scheme)
{
    const uint64_t group = p->k / p->groups;
    if (scheme->group && scheme->group != group && (p->groups > 1 || scheme->group < p->k))
        return woqi_ckpt_fail(p->c, WOQ_ERROR_INVALID_DATA,
                              "tensor '%s.weight_scale' has %" PRIu64 " columns, so groups of %" PRIu64
                              "; config.json says %" PRIu64,
                              p->name, p->groups, group, scheme->group);
    if (scheme->said && !scheme->symmetric && !p->zero)
        return refuse(p, "weight_zero_point", "is missing, although config.json says that the layer is asymmetric");
    return WOQ_OK;
}

static enum woq_status find_shape(struct packed *p)
{
    p->n = load(p->shape, 0, 8);
    p->k = load(p->shape, 1, 8);
    if (!p->n || !p->k || p->n != p->codes->shape[0] || p->k > UINT64_MAX / 8)
        return refuse(p, "weight_shape",
                      "does not fit weight_packed: must be its rows, and columns > 0");
    const struct woqi_ckpt_scheme scheme = woqi_ckpt_packed_scheme(p->c, p->name);
    enum woq_status st = find_bits(p, &scheme);
    if (st)
        return st;
    p->groups = p->scale->shape[1];
    if (p->scale->shape[0] != p->n || !p->groups || p->k % p->groups)
        return refuse(p, "weight_scale",
                      "must have a row for each output, and columns that divide the inputs");
    if (p->scale->type != WOQ_TENSOR_F32 && p->scale->type != WOQ_TENSOR_F16 &&
        p->scale->type != WOQ_TENSOR_BF16)
        return refuse(p, "weight_scale", "must be F32, F16 or BF16");
    if (p->zero && (p->zero->type != WOQ_TENSOR_I32 || p->zero->rank != 2 ||
                    p->zero->shape[0] != words(p->n, p->bits) || p->zero->shape[1] != p->groups))
        return refuse(p, "weight_zero_point",
                      "must be I32 of packed rows and the columns of weight_scale");
    return check_group(p, &scheme);
}

static void unpack_zeros(const struct packed *p, uint8_t *out)
{
    const uint64_t per_word = 32 / p->bits;
    for (uint64_t n = 0; n < p->n; n++) {
        const unsigned shift = (unsigned)(n % per_word) * p->bits;
        for (uint64_t g = 0; g < p->groups; g++) {
            const uint64_t word = load(p->zero, n / per_word * p->groups + g, 4);
            out[n * p->groups + g] = (uint8_t)(word >> shift & ((1u << p->bits) - 1));
        }
    }
}

enum woq_status woq_checkpoint_packed_source(const struct woq_checkpoint *checkpoint,
                                             const char *name, struct woq_weights_source *out)
{
    if (!checkpoint || !name || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: an argument is NULL", __func__);
    *out = (struct woq_weights_source)WOQ_WEIGHTS_SOURCE_INIT;
    struct packed p = {.c = checkpoint, .name = name};
    enum woq_status st = find_parts(&p);
    if (st || (st = find_shape(&p)))
        return st;
    struct woq_weights_source s = WOQ_WEIGHTS_SOURCE_INIT;
    struct woq_format_sizes sizes;
    s.n = p.n;
    s.k = p.k;
    s.format.code = p.bits == 4 ? WOQ_CODE_U4 : WOQ_CODE_U8;
    s.format.zero = p.zero ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC;
    s.format.scale = p.scale->type == WOQ_TENSOR_F32   ? WOQ_F32
                     : p.scale->type == WOQ_TENSOR_F16 ? WOQ_F16
                                                       : WOQ_BF16;
    s.format.group = p.groups == 1 ? WOQ_GROUP_CHANNEL : p.k / p.groups;
    if ((st = woq_format_get_sizes(&s.format, s.n, s.k, &sizes)))
        return st;
    uint8_t *codes = malloc((size_t)sizes.codes), *scales = malloc((size_t)sizes.scales);
    uint8_t *zeros = p.zero ? malloc((size_t)sizes.zeros) : NULL;
    s.codes = codes;
    s.scales = scales;
    s.zeros = zeros;
    if (!codes || !scales || (p.zero && !zeros)) {
        woq_source_release(&s);
        return woqi_ckpt_fail(checkpoint, WOQ_ERROR_OUT_OF_MEMORY,
                              "no host memory for layer '%.200s'", name);
    }
    for (uint64_t row = 0; row < p.n; row++)
        memcpy(codes + row * sizes.row_bytes,
               (const uint8_t *)p.codes->data + row * p.codes->row_bytes, (size_t)sizes.row_bytes);
    memcpy(scales, p.scale->data, (size_t)sizes.scales);
    if (zeros)
        unpack_zeros(&p, zeros);
    *out = s;
    return WOQ_OK;
}
