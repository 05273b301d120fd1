/* format.c: what formats are valid, how large their arrays are, and their decoding. */
#include <math.h>
#include <stdio.h>

#include "alloc.h"
#include "check.h"
#include "core.h"

#define MAX_GROUP (1ull << 31)

static bool is_plain(enum woq_code code)
{
    return code == WOQ_CODE_F16 || code == WOQ_CODE_BF16;
}

static enum woq_status fail_format(const char *field, int value, const char *right)
{
    return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "format.%s is %d; must be %s", field, value,
                     right);
}

enum woq_status woqi_format_check(const struct woq_format *f)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, f);
    if (!st)
        st = WOQI_CHECK_STRUCT(NULL, f);
    if (st)
        return st;
    if (is_plain(f->code)) {
        if (f->zero != WOQ_ZERO_NONE)
            return fail_format("zero", (int)f->zero, "WOQ_ZERO_NONE for plain weights");
        if (f->scale != WOQ_TYPE_NONE)
            return fail_format("scale", (int)f->scale, "WOQ_TYPE_NONE for plain weights");
        if (f->group || f->g_idx)
            return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                             "format.group and format.g_idx must be 0 and false for plain weights");
        return WOQ_OK;
    }
    if (f->code != WOQ_CODE_U4 && f->code != WOQ_CODE_U8)
        return fail_format("code", (int)f->code, "an enum woq_code but NONE");
    if (f->zero != WOQ_ZERO_SYMMETRIC && f->zero != WOQ_ZERO_POINT && f->zero != WOQ_ZERO_OFFSET)
        return fail_format("zero", (int)f->zero, "SYMMETRIC, POINT or OFFSET for U4 and U8");
    if (!woqi_is_type(f->scale))
        return fail_format("scale", (int)f->scale, "WOQ_F32, WOQ_F16 or WOQ_BF16");
    bool columns = f->group != WOQ_GROUP_CHANNEL && f->group != WOQ_GROUP_TENSOR;
    if (columns && f->group > MAX_GROUP)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "format.group is %llu; must be 1 … 2^31, WOQ_GROUP_CHANNEL or "
                         "WOQ_GROUP_TENSOR",
                         (unsigned long long)f->group);
    if (f->g_idx && !columns)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "format.g_idx needs format.group to be a number of columns");
    return WOQ_OK;
}

enum woq_status woq_format_get_sizes(const struct woq_format *format, uint64_t n, uint64_t k,
                                     struct woq_format_sizes *out)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (st)
        return st;
    memset(out, 0, sizeof *out);
    st = woqi_format_check(format);
    if (st)
        return st;
    if (!n || !k)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "n is %llu and k is %llu; both must be >= 1", (unsigned long long)n,
                         (unsigned long long)k);
    bool over = false;
    struct woq_format_sizes s = {0};
    bool plain = is_plain(format->code), tensor = format->group == WOQ_GROUP_TENSOR;
    s.row_bytes = format->code == WOQ_CODE_U4   ? woqi_div_up(k, 2)
                  : format->code == WOQ_CODE_U8 ? k
                                                : woqi_mul(k, 2, &over);
    s.codes = woqi_mul(s.row_bytes, n, &over);
    if (!plain) {
        bool one = tensor || format->group == WOQ_GROUP_CHANNEL;
        s.groups = one ? 1 : woqi_div_up(k, format->group);
        uint64_t count = tensor ? 1 : woqi_mul(n, s.groups, &over);
        uint64_t size = woq_type_size(format->scale);
        s.scales = woqi_mul(count, size, &over);
        if (format->zero == WOQ_ZERO_POINT)
            s.zeros = count;
        else if (format->zero == WOQ_ZERO_OFFSET)
            s.zeros = s.scales;
        if (format->g_idx)
            s.g_idx = woqi_mul(k, 4, &over);
    }
    if (over || s.codes > SIZE_MAX)
        return woqi_fail(NULL, WOQ_ERROR_OVERFLOW,
                         "a %llu×%llu matrix has more bytes than 64 bits hold",
                         (unsigned long long)n, (unsigned long long)k);
    *out = s;
    return WOQ_OK;
}

static unsigned code_at(enum woq_code code, const uint8_t *row, uint64_t k)
{
    if (code == WOQ_CODE_U8)
        return row[k];
    return k % 2 ? row[k / 2] >> 4 : row[k / 2] & 15;
}

float woqi_dequantize(const struct woq_format *f, unsigned code, const void *scales,
                      const void *zeros, uint64_t index)
{
    float scale = woqi_element_load(f->scale, scales, index);
    if (f->zero == WOQ_ZERO_OFFSET)
        return fmaf(scale, (float)code, woqi_element_load(f->scale, zeros, index));
    int zero = f->zero == WOQ_ZERO_POINT ? ((const uint8_t *)zeros)[index]
               : f->code == WOQ_CODE_U4  ? 8
                                         : 128;
    return scale * (float)((int)code - zero);
}

enum woq_status woq_format_decode_row(const struct woq_format *format, uint64_t n, uint64_t k,
                                      const void *codes, uint64_t row_stride, const void *scales,
                                      const void *zeros, const uint32_t *g_idx, uint64_t row,
                                      float *out)
{
    struct woq_format_sizes sizes;
    enum woq_status st = woq_format_get_sizes(format, n, k, &sizes);
    if (st)
        return st;
    if ((st = WOQI_CHECK_NULL(NULL, codes)) || (st = WOQI_CHECK_NULL(NULL, out)) ||
        (sizes.scales && (st = WOQI_CHECK_NULL(NULL, scales))) ||
        (sizes.zeros && (st = WOQI_CHECK_NULL(NULL, zeros))))
        return st;
    if (row >= n)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "%s: row is %llu; must be < n = %llu",
                         __func__, (unsigned long long)row, (unsigned long long)n);
    if (row_stride && row_stride < sizes.row_bytes)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: row_stride is %llu; must be 0 or >= %llu", __func__,
                         (unsigned long long)row_stride, (unsigned long long)sizes.row_bytes);
    const uint8_t *line = (const uint8_t *)codes +
                          row * (row_stride ? row_stride : sizes.row_bytes);
    const enum woq_type plain = format->code == WOQ_CODE_F16 ? WOQ_F16 : WOQ_BF16;
    for (uint64_t i = 0; i < k; i++) {
        if (is_plain(format->code)) {
            out[i] = woqi_element_load(plain, line, i);
            continue;
        }
        uint64_t group = g_idx ? g_idx[i] : sizes.groups == 1 ? 0 : i / format->group;
        if (group >= sizes.groups)
            return woqi_fail(NULL, WOQ_ERROR_INVALID_DATA, "g_idx[%llu] is %llu; must be < %llu",
                             (unsigned long long)i, (unsigned long long)group,
                             (unsigned long long)sizes.groups);
        uint64_t index = format->group == WOQ_GROUP_TENSOR ? 0 : row * sizes.groups + group;
        out[i] = woqi_dequantize(format, code_at(format->code, line, i), scales, zeros, index);
    }
    return WOQ_OK;
}

size_t woq_format_name(const struct woq_format *format, char *out, size_t size)
{
    if (out && size)
        *out = 0;
    if (woqi_format_check(format))
        return 0;
    if (is_plain(format->code))
        return (size_t)snprintf(out, size, "%s", format->code == WOQ_CODE_F16 ? "f16w" : "bf16w");
    char grain[32];
    if (format->group == WOQ_GROUP_CHANNEL || format->group == WOQ_GROUP_TENSOR)
        grain[0] = 0;
    else
        snprintf(grain, sizeof grain, "_g%llu", (unsigned long long)format->group);
    return (size_t)snprintf(out, size, "q%s%s%sw%s%s_%s",
                            format->group == WOQ_GROUP_CHANNEL  ? "c"
                            : format->group == WOQ_GROUP_TENSOR ? "t"
                                                                : "b",
                            format->code == WOQ_CODE_U4 ? "4" : "8",
                            format->zero == WOQ_ZERO_POINT    ? "z"
                            : format->zero == WOQ_ZERO_OFFSET ? "o"
                                                              : "",
                            format->g_idx ? "p" : "", grain, woq_type_name(format->scale));
}
