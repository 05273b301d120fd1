/* test_gguf_dequant.c: random blocks of each type, decoded bit by bit in double, against the
 * reader's two ways; plain types; the order of rows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "checkpoint/checkpoint_impl.h"
#include "support/data.h"
#include "support/expect.h"
#include "support/file_bytes.h"

enum { ROWS = 8, COLUMNS = 512 };

static double half(const uint8_t *p)
{
    const unsigned bits = (unsigned)p[0] | (unsigned)p[1] << 8;
    const int exponent = (int)(bits >> 10 & 31);
    const double fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

/* Bits `first` … first + count − 1 of a little-endian field. */
static unsigned bits_at(const uint8_t *field, unsigned first, unsigned count)
{
    unsigned value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (unsigned)(field[(first + i) / 8] >> (first + i) % 8 & 1) << i;
    return value;
}

static double block32(enum woq_tensor_type type, const uint8_t *b, unsigned e)
{
    const unsigned at = 8 * (e % 16) + (e < 16 ? 0 : 4);
    switch (type) {
    case WOQ_TENSOR_Q4_0:
        return half(b) * ((int)bits_at(b + 2, at, 4) - 8);
    case WOQ_TENSOR_Q4_1:
        return half(b) * bits_at(b + 4, at, 4) + half(b + 2);
    case WOQ_TENSOR_Q5_0:
        return half(b) * ((int)(bits_at(b + 6, at, 4) + 16 * bits_at(b + 2, e, 1)) - 16);
    case WOQ_TENSOR_Q5_1:
        return half(b) * (bits_at(b + 8, at, 4) + 16 * bits_at(b + 4, e, 1)) + half(b + 2);
    default:
        return half(b) * (int8_t)b[2 + e];
    }
}

static double block256(enum woq_tensor_type type, const uint8_t *b, unsigned e)
{
    if (type == WOQ_TENSOR_Q6_K) {
        const unsigned h = e / 128, l = e % 32, q = e / 32 % 4;
        const unsigned low = bits_at(b + 64 * h + 32 * (q & 1), 8 * l + 4 * (q >> 1), 4);
        const unsigned high = bits_at(b + 128 + 32 * h, 8 * l + 2 * q, 2);
        return half(b + 208) * (int8_t)b[192 + e / 16] * ((int)(low + 16 * high) - 32);
    }
    const uint8_t *s = b + 4, *codes = type == WOQ_TENSOR_Q5_K ? b + 48 : b + 16;
    const unsigned g = e / 32;
    const unsigned scale = g < 4 ? bits_at(s, 8 * g, 6)
                                 : bits_at(s, 8 * (g + 4), 4) + 16 * bits_at(s, 8 * (g - 4) + 6, 2);
    const unsigned least = g < 4 ? bits_at(s, 8 * (g + 4), 6)
                                 : bits_at(s, 8 * (g + 4) + 4, 4) + 16 * bits_at(s, 8 * g + 6, 2);
    unsigned code = bits_at(codes + 32 * (g / 2), 8 * (e % 32) + 4 * (g % 2), 4);
    if (type == WOQ_TENSOR_Q5_K)
        code += 16 * bits_at(b + 16, 8 * (e % 32) + g, 1);
    return half(b) * scale * code - half(b + 2) * least;
}

/* Terms lie between 2^-24 and 2^28, so that double holds them and their sum exactly: the only
 * rounding is here. */
static float expected(enum woq_tensor_type type, const uint8_t *row, unsigned column)
{
    const uint32_t size = woq_tensor_block_elements(type);
    const uint8_t *block = row + (size_t)(column / size) * woq_tensor_block_bytes(type);
    return (float)(size == 32 ? block32(type, block, column % 32)
                              : block256(type, block, column % 256));
}

static const struct {
    enum woq_tensor_type type;
    uint32_t number;
    const char *format;
    unsigned halves[2]; /* where a block's scales lie, in bytes */
} types[] = {
    {WOQ_TENSOR_Q4_0, 2, "qb4w_g32_f16", {0, 0}},
    {WOQ_TENSOR_Q4_1, 3, "qb4ow_g32_f16", {0, 2}},
    {WOQ_TENSOR_Q5_0, 6, "qb8zw_g32_f16", {0, 0}},
    {WOQ_TENSOR_Q5_1, 7, "qb8ow_g32_f16", {0, 2}},
    {WOQ_TENSOR_Q8_0, 8, "qb8w_g32_f16", {0, 0}},
    {WOQ_TENSOR_Q4_K, 12, "qb4ow_g32_f32", {0, 2}},
    {WOQ_TENSOR_Q5_K, 13, "qb8ow_g32_f32", {0, 2}},
    {WOQ_TENSOR_Q6_K, 14, "qb8zw_g16_f32", {208, 208}},
};
enum { TYPES = sizeof types / sizeof *types };

/* Random bytes whose scales are finite. */
static void make_file(struct file_bytes *f, size_t i, const char *name, struct test_random *random)
{
    const uint32_t size = woq_tensor_block_bytes(types[i].type);
    const unsigned blocks = ROWS * COLUMNS / woq_tensor_block_elements(types[i].type);
    gguf_begin(f, 3, 1, 3);
    gguf_text(f, "general.architecture", "llama");
    gguf_uint(f, "llama.attention.head_count", 2);
    gguf_uint(f, "llama.attention.head_count_kv", 1);
    gguf_tensor(f, name, types[i].number, ROWS, COLUMNS, 0);
    file_pad(f, 32);
    for (unsigned b = 0; b < blocks; b++) {
        uint8_t *block = f->data + f->size;
        for (uint32_t j = 0; j < size; j++)
            file_put_number(f, random_bits(random) & 255, 1);
        for (unsigned h = 0; h < 2; h++)
            if ((block[types[i].halves[h] + 1] & 0x7c) == 0x7c)
                block[types[i].halves[h] + 1] &= 0xbf;
    }
}

/* heads 0: rows as they are. Otherwise the model's row p of a head of `half` pairs is row 2·(p
 * mod half) + p / half. */
static unsigned file_row(unsigned row, unsigned heads)
{
    if (!heads)
        return row;
    const unsigned size = ROWS / heads, p = row % size;
    return row - p + 2 * (p % (size / 2)) + p / (size / 2);
}

static void check_type(size_t i, const char *name, const char *hf_name, unsigned heads)
{
    static struct file_bytes f;
    struct test_random random = {i + 1};
    struct woq_checkpoint *c = NULL;
    struct woq_weights_source source;
    float read[COLUMNS], decoded[COLUMNS];
    char format[40];
    make_file(&f, i, name, &random);
    assert_int_equal(woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, f.data, f.size, &c), WOQ_OK);
    const struct woq_tensor *t = woq_checkpoint_find(c, hf_name);
    assert_non_null(t);
    assert_int_equal(t->type, types[i].type);
    assert_int_equal(woq_tensor_source(t, &source), WOQ_OK);
    woq_format_name(&source.format, format, sizeof format);
    assert_string_equal(format, types[i].format);
    for (unsigned row = 0; row < ROWS; row++) {
        const uint8_t *stored = (const uint8_t *)t->data + file_row(row, heads) * t->row_bytes;
        assert_ptr_equal(woq_tensor_row(t, row), stored);
        assert_int_equal(woq_tensor_read(t, row, 1, read), WOQ_OK);
        assert_int_equal(woq_format_decode_row(&source.format, source.n, source.k, source.codes, 0,
                                               source.scales, source.zeros, NULL, row, decoded),
                         WOQ_OK);
        assert_memory_equal(read, decoded, sizeof read);
        for (unsigned k = 0; k < COLUMNS; k++)
            if (read[k] != expected(t->type, stored, k))
                fail_msg("%s row %u column %u is %a, must be %a", woq_tensor_type_name(t->type),
                         row, k, (double)read[k], (double)expected(t->type, stored, k));
    }
    woq_source_release(&source);
    assert_null(source.codes);
    woq_checkpoint_close(&c);
    assert_null(c);
}

static void test_blocks(void **state)
{
    (void)state;
    for (size_t i = 0; i < TYPES; i++)
        check_type(i, "some.tensor", "some.tensor", 0);
}

static void test_rope_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < TYPES; i++) {
        check_type(i, "blk.7.attn_q.weight", "model.layers.7.self_attn.q_proj.weight", 2);
        check_type(i, "blk.7.attn_k.weight", "model.layers.7.self_attn.k_proj.weight", 1);
        check_type(i, "blk.7.attn_v.weight", "model.layers.7.self_attn.v_proj.weight", 0);
    }
}

/* The value of a stored F32, F16 or BF16. */
static float plain(uint32_t number, const uint8_t *p)
{
    float value;
    uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8;
    if (number == 1)
        return (float)half(p);
    bits = number == 30 ? bits << 16 : bits | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    memcpy(&value, &bits, 4);
    return value;
}

static void test_plain(void **state)
{
    static struct file_bytes f;
    static const struct {
        enum woq_tensor_type type;
        uint32_t number, bytes;
    } plains[] = {{WOQ_TENSOR_F32, 0, 4}, {WOQ_TENSOR_F16, 1, 2}, {WOQ_TENSOR_BF16, 30, 2}};
    struct test_random random = {1};
    float read[COLUMNS];
    (void)state;
    for (size_t i = 0; i < sizeof plains / sizeof *plains; i++) {
        const uint32_t bytes = plains[i].bytes;
        struct woq_checkpoint *c = NULL;
        gguf_begin(&f, 3, 1, 0);
        gguf_tensor(&f, "t", plains[i].number, ROWS, COLUMNS, 0);
        file_pad(&f, 32);
        for (unsigned e = 0; e < ROWS * COLUMNS * bytes; e++)
            file_put_number(&f, random_bits(&random) & ((e + 1) % bytes ? 255 : 0xbb), 1);
        assert_int_equal(woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, f.data, f.size, &c), WOQ_OK);
        const struct woq_tensor *t = woq_checkpoint_find(c, "t");
        assert_int_equal(t->type, plains[i].type);
        for (unsigned row = 0; row < ROWS; row++) {
            const uint8_t *stored = woq_tensor_row(t, row);
            assert_int_equal(woq_tensor_read(t, row, 1, read), WOQ_OK);
            for (unsigned k = 0; k < COLUMNS; k++) {
                const float wanted = plain(plains[i].number, stored + (size_t)k * bytes);
                assert_memory_equal(&read[k], &wanted, sizeof wanted);
            }
        }
        woq_checkpoint_close(&c);
    }
}

/* A bias of q is reordered by elements. */
static void test_rope_bias(void **state)
{
    static struct file_bytes f;
    struct woq_checkpoint *c = NULL;
    float read[ROWS];
    (void)state;
    gguf_begin(&f, 3, 1, 2);
    gguf_text(&f, "general.architecture", "llama");
    gguf_uint(&f, "llama.attention.head_count", 2);
    file_put_string(&f, "blk.0.attn_q.bias");
    file_put_number(&f, 1, 4);
    file_put_number(&f, ROWS, 8);
    file_put_number(&f, 0, 4);
    file_put_number(&f, 0, 8);
    file_pad(&f, 32);
    for (unsigned i = 0; i < ROWS; i++) {
        const float value = (float)i;
        file_put(&f, &value, sizeof value);
    }
    assert_int_equal(woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, f.data, f.size, &c), WOQ_OK);
    const struct woq_tensor *t = woq_checkpoint_find(c, "model.layers.0.self_attn.q_proj.bias");
    assert_non_null(t);
    assert_int_equal(woq_tensor_read(t, 0, 1, read), WOQ_OK);
    for (unsigned i = 0; i < ROWS; i++)
        assert_true(read[i] == (float)file_row(i, 2));
    woq_checkpoint_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks), cmocka_unit_test(test_rope_order),
        cmocka_unit_test(test_plain), cmocka_unit_test(test_rope_bias)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
