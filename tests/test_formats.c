/* test_formats.c: docs/formats.md, type conversions, sizes and names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <woq/format.h>

#include "support/data.h"
#include "support/make_format.h"
#include "support/oracle.h"

/* ---- docs/formats.md ---- */

static void test_worked_example(void **state)
{
    static const uint8_t codes[32] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe,
                                      0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe,
                                      0xcf, 0x69, 0x03, 0xad, 0x47, 0xe1, 0x8b, 0x25,
                                      0xcf, 0x69, 0x03, 0xad, 0x47, 0xe1, 0x8b, 0x25};
    static const union {
        uint8_t bytes[8];
        uint16_t aligned[4];
    } scales = {{0x00, 0x38, 0x00, 0x34, 0x00, 0xbe, 0x00, 0x30}};
    static const uint8_t zeros[4] = {0x08, 0x00, 0x0f, 0x03};
    static const float expected[2][32] = {
        {-4,   -3.5f, -3,   -2.5f, -2,   -1.5f, -1,    -0.5f, 0,     0.5f, 1,
         1.5f, 2,     2.5f, 3,     3.5f, 0,     0.25f, 0.5f,  0.75f, 1,    1.25f,
         1.5f, 1.75f, 2,    2.25f, 2.5f, 2.75f, 3,     3.25f, 3.5f,  3.75f},
        {0,     4.5f,   9,     13.5f,  18,     22.5f,  3,      7.5f,   12,     16.5f,  21,
         1.5f,  6,      10.5f, 15,     19.5f,  1.5f,   1.125f, 0.75f,  0.375f, 0,      -0.375f,
         1.25f, 0.875f, 0.5f,  0.125f, -0.25f, 1.375f, 1,      0.625f, 0.25f,  -0.125f}};
    const struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 16);
    (void)state;
    struct woq_format_sizes sizes;
    assert_int_equal(woq_format_get_sizes(&f, 2, 32, &sizes), WOQ_OK);
    assert_int_equal(sizes.row_bytes, 16);
    assert_int_equal(sizes.groups, 2);
    assert_int_equal(sizes.codes, sizeof(codes));
    assert_int_equal(sizes.scales, sizeof(scales));
    assert_int_equal(sizes.zeros, sizeof(zeros));
    assert_int_equal(sizes.g_idx, 0);
    for (uint64_t row = 0; row < 2; row++) {
        float w[32];
        assert_int_equal(
            woq_format_decode_row(&f, 2, 32, codes, 0, scales.bytes, zeros, NULL, row, w), WOQ_OK);
        for (int k = 0; k < 32; k++)
            assert_true(w[k] == expected[row][k]);
    }
}

/* ---- conversions ---- */

static uint32_t float_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return bits;
}

static void test_all_halves(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        const uint16_t bits = (uint16_t)i;
        const double half = oracle_decode(&bits, WOQ_F16, 0),
                     brain = oracle_decode(&bits, WOQ_BF16, 0);
        const float h = woq_f16_to_f32(bits), b = woq_bf16_to_f32(bits);
        if (isnan(half))
            assert_true(isnan(h) && isnan(woq_f16_to_f32(woq_f32_to_f16(h))));
        else
            assert_true(h == half && !signbit(h) == !signbit(half) && woq_f32_to_f16(h) == bits);
        if (isnan(brain))
            assert_true(isnan(b) && isnan(woq_bf16_to_f32(woq_f32_to_bf16(b))));
        else
            assert_true(float_bits(b) == i << 16 && woq_f32_to_bf16(b) == bits);
    }
}

/* Between each two neighbours: just below, at and just above the middle. */
static void test_rounding(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 0x7c00; i++) {
        const uint16_t low = (uint16_t)i, high = (uint16_t)(i + 1);
        const double top = high == 0x7c00 ? 65536.0 : oracle_decode(&high, WOQ_F16, 0);
        const float middle = (float)((oracle_decode(&low, WOQ_F16, 0) + top) / 2);
        const uint16_t even = i % 2 ? high : low;
        assert_int_equal(woq_f32_to_f16(middle), even);
        assert_int_equal(woq_f32_to_f16(-middle), even | 0x8000);
        assert_int_equal(woq_f32_to_f16(nextafterf(middle, 0)), low);
        assert_int_equal(woq_f32_to_f16(nextafterf(middle, INFINITY)), high);
    }
    for (uint32_t i = 0; i < 0x7f80; i++) {
        const uint32_t middle = i << 16 | 0x8000, below = middle - 1, above = middle + 1;
        float f[3];
        memcpy(&f[0], &below, 4);
        memcpy(&f[1], &middle, 4);
        memcpy(&f[2], &above, 4);
        assert_int_equal(woq_f32_to_bf16(f[0]), i);
        assert_int_equal(woq_f32_to_bf16(f[1]), i + i % 2);
        assert_int_equal(woq_f32_to_bf16(-f[1]), (i + i % 2) | 0x8000);
        assert_int_equal(woq_f32_to_bf16(f[2]), i + 1);
    }
}

/* Any binary32, NaN with payloads only in the lower half among them. */
static void test_random_conversions(void **state)
{
    struct test_random r = {7};
    (void)state;
    for (int i = 0; i < 500000; i++) {
        const uint32_t bits = i < 1000 ? 0x7f800001u + (uint32_t)i : (uint32_t)random_bits(&r);
        float v;
        memcpy(&v, &bits, 4);
        const uint16_t h = woq_f32_to_f16(v), b = woq_f32_to_bf16(v);
        if (isnan(v)) {
            assert_true(isnan(woq_f16_to_f32(h)) && isnan(woq_bf16_to_f32(b)));
            continue;
        }
        uint16_t want;
        oracle_encode(&want, WOQ_F16, 0, v);
        assert_int_equal(h, want);
        oracle_encode(&want, WOQ_BF16, 0, v);
        assert_int_equal(b, want);
    }
}

static void test_types(void **state)
{
    (void)state;
    assert_int_equal(woq_type_size(WOQ_F32), 4);
    assert_int_equal(woq_type_size(WOQ_F16), 2);
    assert_int_equal(woq_type_size(WOQ_BF16), 2);
    assert_int_equal(woq_type_size(WOQ_TYPE_NONE), 0);
    assert_int_equal(woq_type_size((enum woq_type)99), 0);
    assert_string_equal(woq_type_name(WOQ_F32), "f32");
    assert_string_equal(woq_type_name(WOQ_F16), "f16");
    assert_string_equal(woq_type_name(WOQ_BF16), "bf16");
    assert_string_equal(woq_type_name((enum woq_type)99), "none");
}

/* ---- sizes, names, decoding of every combination ---- */

static const uint64_t groups[] = {1, 7, 16, 32, 128, WOQ_GROUP_CHANNEL, WOQ_GROUP_TENSOR};

static void check_format(const struct test_case *c)
{
    struct test_data d;
    struct woq_format_sizes sizes;
    float row[300];
    char name[64], again[8];
    assert_true(data_create(c, &d));
    const struct woq_weights_source *s = &d.sources[0];
    const uint64_t bits = s->format.code == WOQ_CODE_U4   ? 4
                          : s->format.code == WOQ_CODE_U8 ? 8
                                                          : 16;
    const uint64_t count =
        (c->group == WOQ_GROUP_TENSOR ? 1 : c->n) * oracle_groups(&s->format, c->k);
    assert_int_equal(woq_format_get_sizes(&s->format, c->n, c->k, &sizes), WOQ_OK);
    assert_int_equal(sizes.row_bytes, (c->k * bits + 7) / 8);
    assert_int_equal(sizes.codes, c->n * sizes.row_bytes);
    assert_int_equal(sizes.groups, oracle_groups(&s->format, c->k));
    assert_int_equal(sizes.scales,
                     bits == 16 ? 0 : count * oracle_type_size((enum woq_type)c->scale));
    assert_int_equal(sizes.zeros, c->zero == WOQ_ZERO_POINT    ? count
                                  : c->zero == WOQ_ZERO_OFFSET ? sizes.scales
                                                               : 0);
    assert_int_equal(sizes.g_idx, s->g_idx ? 4 * c->k : 0);
    for (uint64_t n = 0; n < c->n; n++) {
        assert_int_equal(woq_format_decode_row(&s->format, c->n, c->k, s->codes, s->row_stride,
                                               s->scales, s->zeros, s->g_idx, n, row),
                         WOQ_OK);
        for (uint64_t k = 0; k < c->k; k++)
            assert_true(row[k] == (float)oracle_weight(s, n, k, NULL));
    }
    const size_t length = woq_format_name(&s->format, name, sizeof(name));
    assert_int_equal(length, strlen(name));
    assert_true(length >= 4);
    assert_int_equal(woq_format_name(&s->format, NULL, 0), length);
    memset(again, 'x', sizeof(again));
    assert_int_equal(woq_format_name(&s->format, again, 4), length);
    assert_memory_equal(again, name, 3);
    assert_memory_equal(again + 3, "\0xxxx", 5);
    data_destroy(&d);
}

static void test_combinations(void **state)
{
    (void)state;
    for (uint64_t code = WOQ_CODE_U4; code <= WOQ_CODE_BF16; code++)
        for (uint64_t zero = WOQ_ZERO_SYMMETRIC; zero <= WOQ_ZERO_OFFSET; zero++)
            for (uint64_t scale = WOQ_F32; scale <= WOQ_BF16; scale++)
                for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
                    for (uint64_t order = 0; order <= CASE_UNEVEN_GROUPS; order++) {
                        struct test_case c = case_default();
                        c.code = code, c.zero = zero, c.scale = scale;
                        c.group = groups[g], c.order = order;
                        c.n = 3, c.k = 67 + order, c.code_pad = order;
                        c.data = code % 2 ? CASE_INTEGERS : CASE_RANDOM;
                        case_normalize(&c, UINT64_MAX);
                        check_format(&c);
                    }
}

static void test_names(void **state)
{
    static const struct {
        enum woq_code code;
        enum woq_zero zero;
        enum woq_type scale;
        uint64_t group;
        bool index;
        const char *name;
    } table[] = {
        {WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 128, false, "qb4w_g128_f16"},
        {WOQ_CODE_U8, WOQ_ZERO_SYMMETRIC, WOQ_BF16, WOQ_GROUP_CHANNEL, false, "qc8w_bf16"},
        {WOQ_CODE_U8, WOQ_ZERO_SYMMETRIC, WOQ_F32, WOQ_GROUP_TENSOR, false, "qt8w_f32"},
        {WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 64, false, "qb4zw_g64_f16"},
        {WOQ_CODE_U4, WOQ_ZERO_OFFSET, WOQ_F32, 32, false, "qb4ow_g32_f32"},
        {WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 32, true, "qb4zwp_g32_f16"},
        {WOQ_CODE_F16, WOQ_ZERO_NONE, WOQ_TYPE_NONE, 0, false, "f16w"},
        {WOQ_CODE_BF16, WOQ_ZERO_NONE, WOQ_TYPE_NONE, 0, false, "bf16w"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char name[64];
        struct woq_format f = make_format(table[i].code, table[i].zero, table[i].scale, table[i].group);
        f.g_idx = table[i].index;
        assert_int_equal(woq_format_name(&f, name, sizeof(name)), strlen(table[i].name));
        assert_string_equal(name, table[i].name);
    }
}

/* ---- what is refused ---- */

static void refused(struct woq_format f, const char *field)
{
    struct woq_format_sizes sizes;
    char name[64] = "x";
    memset(&sizes, 0xff, sizeof(sizes));
    assert_int_equal(woq_format_get_sizes(&f, 2, 32, &sizes), WOQ_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(woq_last_message(), field));
    assert_int_equal(sizes.codes, 0);
    assert_int_equal(woq_format_name(&f, name, sizeof(name)), 0);
    assert_string_equal(name, "");
}

static void test_refused(void **state)
{
    const struct woq_format good = make_format(WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 16);
    struct woq_format_sizes sizes;
    struct woq_format f;
    (void)state;
    refused(make_format(WOQ_CODE_NONE, WOQ_ZERO_POINT, WOQ_F16, 16), "code");
    refused(make_format((enum woq_code)77, WOQ_ZERO_POINT, WOQ_F16, 16), "code");
    refused(make_format(WOQ_CODE_U4, WOQ_ZERO_NONE, WOQ_F16, 16), "zero");
    refused(make_format(WOQ_CODE_U4, (enum woq_zero)77, WOQ_F16, 16), "zero");
    refused(make_format(WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_TYPE_NONE, 16), "scale");
    refused(make_format(WOQ_CODE_U4, WOQ_ZERO_POINT, (enum woq_type)77, 16), "scale");
    refused(make_format(WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, (UINT64_C(1) << 31) + 1), "group");
    refused(make_format(WOQ_CODE_F16, WOQ_ZERO_SYMMETRIC, WOQ_TYPE_NONE, 0), "zero");
    refused(make_format(WOQ_CODE_F16, WOQ_ZERO_NONE, WOQ_F16, 0), "scale");
    refused(make_format(WOQ_CODE_F16, WOQ_ZERO_NONE, WOQ_TYPE_NONE, 32), "group");
    f = make_format(WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, WOQ_GROUP_TENSOR);
    f.g_idx = true;
    refused(f, "g_idx");
    f = good;
    f.struct_size = 4;
    refused(f, "struct_size");
    f.struct_size = sizeof(f) + 8;
    refused(f, "struct_size");
    assert_int_equal(woq_format_get_sizes(&good, 0, 32, &sizes), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_format_get_sizes(&good, 2, 0, &sizes), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_format_get_sizes(NULL, 2, 32, &sizes), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_format_get_sizes(&good, 2, 32, NULL), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_format_get_sizes(&good, UINT64_MAX, UINT64_MAX, &sizes),
                     WOQ_ERROR_OVERFLOW);
    f = make_format(WOQ_CODE_F16, WOQ_ZERO_NONE, WOQ_TYPE_NONE, 0);
    assert_int_equal(woq_format_get_sizes(&f, 1, UINT64_C(1) << 63, &sizes), WOQ_ERROR_OVERFLOW);
    f = make_format(WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F32, 1); /* 2^62 groups of 4 bytes */
    assert_int_equal(woq_format_get_sizes(&f, 1, UINT64_C(1) << 62, &sizes), WOQ_ERROR_OVERFLOW);
}

static void test_decode_refused(void **state)
{
    struct test_case c = case_default();
    struct test_data d;
    float row[64];
    (void)state;
    c.n = 3, c.k = 64, c.zero = WOQ_ZERO_POINT, c.order = CASE_EQUAL_GROUPS;
    assert_true(data_create(&c, &d));
    const struct woq_weights_source *s = &d.sources[0];
    const struct woq_format *f = &s->format;
    const enum woq_status bad = WOQ_ERROR_INVALID_ARGUMENT;
    uint32_t index[64] = {0};
    index[63] = 2;
    assert_int_equal(
        woq_format_decode_row(f, 3, 64, NULL, 0, s->scales, s->zeros, s->g_idx, 0, row), bad);
    assert_int_equal(woq_format_decode_row(f, 3, 64, s->codes, 0, NULL, s->zeros, s->g_idx, 0, row),
                     bad);
    assert_int_equal(
        woq_format_decode_row(f, 3, 64, s->codes, 0, s->scales, NULL, s->g_idx, 0, row), bad);
    assert_int_equal(
        woq_format_decode_row(f, 3, 64, s->codes, 0, s->scales, s->zeros, s->g_idx, 0, NULL), bad);
    assert_int_equal(
        woq_format_decode_row(f, 3, 64, s->codes, 0, s->scales, s->zeros, s->g_idx, 3, row), bad);
    assert_int_equal(
        woq_format_decode_row(f, 3, 64, s->codes, 31, s->scales, s->zeros, s->g_idx, 0, row), bad);
    assert_int_equal(
        woq_format_decode_row(f, 3, 64, s->codes, 0, s->scales, s->zeros, index, 0, row),
        WOQ_ERROR_INVALID_DATA);
    data_destroy(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example),     cmocka_unit_test(test_all_halves),
        cmocka_unit_test(test_rounding),           cmocka_unit_test(test_random_conversions),
        cmocka_unit_test(test_types),              cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_names),              cmocka_unit_test(test_refused),
        cmocka_unit_test(test_decode_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
