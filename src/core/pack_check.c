/* pack_check.c: checks weight sources and plans the order of packed columns. */
#include <math.h>
#include <string.h>

#include "alloc.h"
#include "check.h"
#include "pack.h"
#include "pack_unit.h"

#define MAX_K (1ull << 31) /* columns; kernels count them in 32 bits */

static bool aligned(const void *pointer, size_t alignment)
{
    return (uintptr_t)pointer % alignment == 0;
}

static enum woq_status fail_source(struct woq_device *device, uint32_t i, const char *what)
{
    return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "woq_weights_create: sources[%u].%s", i,
                     what);
}

static enum woq_status check_arrays(struct woq_device *device, const struct woq_weights_source *s,
                                    uint32_t i, const struct woq_format_sizes *sizes)
{
    if (!s->codes)
        return fail_source(device, i, "codes is NULL");
    if (sizes->scales && !s->scales)
        return fail_source(device, i, "scales is NULL; this format needs them");
    if (!sizes->scales && s->scales)
        return fail_source(device, i, "scales must be NULL for plain weights");
    if (sizes->zeros && !s->zeros)
        return fail_source(device, i, "zeros is NULL; this format needs them");
    if (!sizes->zeros && s->zeros)
        return fail_source(device, i, "zeros must be NULL: the format stores none");
    if (s->format.g_idx && !s->g_idx)
        return fail_source(device, i, "g_idx is NULL, but format.g_idx is set");
    if (!s->format.g_idx && s->g_idx)
        return fail_source(device, i, "g_idx must be NULL: format.g_idx is not set");
    size_t element = woq_type_size(s->format.scale);
    if (s->scales && !aligned(s->scales, element))
        return fail_source(device, i, "scales is misaligned; must be aligned to its element size");
    if (s->format.zero == WOQ_ZERO_OFFSET && !aligned(s->zeros, element))
        return fail_source(device, i, "zeros is misaligned; must be aligned to its element size");
    if (s->g_idx && !aligned(s->g_idx, 4))
        return fail_source(device, i, "g_idx is misaligned; must be aligned to 4 bytes");
    if (s->row_stride && s->row_stride < sizes->row_bytes)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_weights_create: sources[%u].row_stride is %llu; must be 0 or >= %llu",
                         i, (unsigned long long)s->row_stride,
                         (unsigned long long)sizes->row_bytes);
    return WOQ_OK;
}

static bool all_finite(enum woq_type type, const void *from, uint64_t count)
{
    uint32_t found = 0;
    if (type == WOQ_F32) {
        for (uint64_t i = 0; i < count; i++) {
            uint32_t bits;
            memcpy(&bits, (const uint8_t *)from + 4 * i, sizeof bits);
            found |= (bits & 0x7f800000) == 0x7f800000;
        }
    } else {
        uint16_t ones = type == WOQ_F16 ? 0x7c00 : 0x7f80; /* exponent of infinities and NaN */
        for (uint64_t i = 0; i < count; i++) {
            uint16_t bits;
            memcpy(&bits, (const uint8_t *)from + 2 * i, sizeof bits);
            found |= (bits & ones) == ones;
        }
    }
    return !found;
}

/* What check_content checks of scales, offsets and zero points, without telling where it fails. */
static bool content_is_right(const struct woq_weights_source *s, uint64_t count)
{
    const uint8_t *points = s->format.zero == WOQ_ZERO_POINT && s->format.code == WOQ_CODE_U4 ? s->zeros : NULL;
    unsigned found = 0;
    for (uint64_t i = 0; points && i < count; i++)
        found |= points[i];
    return found < 16 && all_finite(s->format.scale, s->scales, count) &&
           (s->format.zero != WOQ_ZERO_OFFSET || all_finite(s->format.scale, s->zeros, count));
}

/* Scales, offsets, zero points and g_idx. */
static enum woq_status check_content(struct woq_device *device, const struct woq_weights_source *s,
                                     uint32_t i, const struct woq_format_sizes *sizes)
{
    uint64_t count = sizes->scales ? sizes->scales / woq_type_size(s->format.scale) : 0;
    unsigned top = s->format.code == WOQ_CODE_U4 ? 15 : 255;
    if (content_is_right(s, count))
        count = 0;
    for (uint64_t j = 0; j < count; j++) {
        if (!isfinite(woqi_element_load(s->format.scale, s->scales, j)))
            return woqi_fail(device, WOQ_ERROR_INVALID_DATA,
                             "woq_weights_create: sources[%u].scales[%llu] is not finite", i,
                             (unsigned long long)j);
        if (s->format.zero == WOQ_ZERO_OFFSET && !isfinite(woqi_element_load(s->format.scale, s->zeros, j)))
            return woqi_fail(device, WOQ_ERROR_INVALID_DATA,
                             "woq_weights_create: sources[%u].zeros[%llu] is not finite", i,
                             (unsigned long long)j);
        if (s->format.zero == WOQ_ZERO_POINT && ((const uint8_t *)s->zeros)[j] > top)
            return woqi_fail(device, WOQ_ERROR_INVALID_DATA,
                             "woq_weights_create: sources[%u].zeros[%llu] is %u; must be <= %u", i,
                             (unsigned long long)j, ((const uint8_t *)s->zeros)[j], top);
    }
    for (uint64_t k = 0; s->g_idx && k < s->k; k++)
        if (s->g_idx[k] >= sizes->groups)
            return woqi_fail(device, WOQ_ERROR_INVALID_DATA,
                             "woq_weights_create: sources[%u].g_idx[%llu] is %u; must be < %llu", i,
                             (unsigned long long)k, s->g_idx[k], (unsigned long long)sizes->groups);
    return WOQ_OK;
}

/* Stacked matrices agree with the first. */
static enum woq_status check_equal(struct woq_device *device,
                                   const struct woq_weights_source *first,
                                   const struct woq_weights_source *s, uint32_t i)
{
    const struct woq_format *a = &first->format, *b = &s->format;
    if (a->code != b->code || a->zero != b->zero || a->scale != b->scale || a->group != b->group ||
        a->g_idx != b->g_idx)
        return fail_source(device, i,
                           "format differs from sources[0].format; stacked weights share one");
    if (s->k != first->k)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_weights_create: sources[%u].k is %llu; must be sources[0].k = %llu",
                         i, (unsigned long long)s->k, (unsigned long long)first->k);
    if (s->g_idx && first->g_idx && memcmp(s->g_idx, first->g_idx, s->k * sizeof *s->g_idx))
        return fail_source(device, i,
                           "g_idx differs from sources[0].g_idx; stacked weights share one");
    return WOQ_OK;
}

static enum woq_status check_source(struct woqi_packer *p, uint32_t i)
{
    const struct woq_weights_source *s = &p->sources[i];
    struct woq_format_sizes sizes;
    enum woq_status st = WOQI_CHECK_STRUCT(p->device, s);
    if (!st)
        st = woq_format_get_sizes(&s->format, s->n, s->k, &sizes);
    if (!st && s->k > MAX_K)
        st = woqi_fail(p->device, WOQ_ERROR_UNSUPPORTED,
                       "woq_weights_create: sources[%u].k is %llu; must be <= 2^31", i,
                       (unsigned long long)s->k);
    if (!st)
        st = check_arrays(p->device, s, i, &sizes);
    if (!st && i)
        st = check_equal(p->device, &p->sources[0], s, i);
    if (!st)
        st = check_content(p->device, s, i, &sizes);
    if (st)
        return st;
    bool over = false;
    p->n = woqi_add(p->n, s->n, &over);
    if (over)
        return woqi_fail(p->device, WOQ_ERROR_OVERFLOW, "woq_weights_create: rows exceed 64 bits");
    if (!i)
        p->sizes = sizes;
    return WOQ_OK;
}

/* Sorts columns by group (stable) and pads each group to whole physical ones. */
static enum woq_status sort_columns(struct woqi_packer *p)
{
    const uint32_t *g_idx = p->sources[0].g_idx;
    uint64_t canonical = p->sizes.groups, *next = NULL;
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    uint64_t *members = woqi_alloc(p->device, canonical, sizeof *members);
    if (!members)
        goto fail;
    for (uint64_t k = 0; k < p->k; k++)
        members[g_idx[k]]++;
    p->groups = 0;
    for (uint64_t g = 0; g < canonical; g++)
        p->groups += woqi_div_up(members[g], p->group);
    p->k_packed = p->groups * p->group;
    if (p->k_packed > MAX_K) {
        st = woqi_fail(
            p->device, WOQ_ERROR_UNSUPPORTED,
            "woq_weights_create: g_idx pads K to %llu columns; at most 2^31 are possible",
            (unsigned long long)p->k_packed);
        goto done;
    }
    p->perm = woqi_alloc(p->device, p->k_packed, sizeof *p->perm);
    p->canonical_group = woqi_alloc(p->device, p->groups, sizeof *p->canonical_group);
    next = woqi_alloc(p->device, canonical, sizeof *next);
    if (!p->perm || !p->canonical_group || !next)
        goto fail;
    memset(p->perm, 0xff, p->k_packed * sizeof *p->perm);
    uint64_t physical = 0;
    for (uint64_t g = 0; g < canonical; g++) {
        next[g] = physical * p->group;
        for (uint64_t end = physical + woqi_div_up(members[g], p->group); physical < end;
             physical++)
            p->canonical_group[physical] = (uint32_t)g;
    }
    for (uint64_t k = 0; k < p->k; k++)
        p->perm[next[g_idx[k]]++] = (uint32_t)k;
    st = WOQ_OK;
    goto done;
fail:
    woqi_fail(p->device, st, "woq_weights_create: out of host memory");
done:
    woqi_free(p->device, members);
    woqi_free(p->device, next);
    return st;
}

static enum woq_status plan_columns(struct woqi_packer *p)
{
    p->k_packed = p->k;
    p->groups = p->sizes.groups;
    if (p->groups)
        p->group = p->groups == 1 && !p->format.g_idx ? p->k : p->format.group;
    enum woq_status st = p->format.g_idx ? sort_columns(p) : WOQ_OK;
    if (!st && p->perm) {
        uint64_t column = 2 * woqi_code_bits(p->format.code); /* bytes of 16 rows */
        p->panel = woqi_alloc(p->device, woqi_div_up(p->k, WOQI_UNIT_COLUMNS), WOQI_UNIT_COLUMNS * column);
        if (!p->panel)
            st = woqi_fail(p->device, WOQ_ERROR_OUT_OF_MEMORY,
                           "woq_weights_create: out of host memory");
    }
    return st;
}

enum woq_status woqi_packer_init(struct woqi_packer *p, struct woq_device *device,
                                 const struct woq_weights_params *params, enum woqi_layout layout)
{
    memset(p, 0, sizeof *p);
    p->device = device;
    p->sources = params->sources;
    p->count = params->count;
    p->gated = params->gated;
    p->layout = layout;
    p->format = params->sources[0].format;
    p->k = params->sources[0].k;
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < p->count && !st; i++)
        st = check_source(p, i);
    if (!st && p->gated && (p->count != 2 || p->sources[0].n != p->sources[1].n))
        st = woqi_fail(
            device, WOQ_ERROR_INVALID_ARGUMENT,
            "woq_weights_create: gated needs exactly two sources of equal n, gate and up");
    if (!st)
        st = plan_columns(p);
    if (st)
        woqi_packer_clear(p);
    return st;
}

void woqi_packer_clear(struct woqi_packer *p)
{
    woqi_free(p->device, p->perm);
    woqi_free(p->device, p->canonical_group);
    woqi_free(p->device, p->panel);
    p->perm = NULL;
    p->canonical_group = NULL;
    p->panel = NULL;
}
