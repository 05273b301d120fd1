/* test_gguf_config.c: a model's shape from GGUF metadata: rotary scaling, special tokens, values of every type, and
 * files that end anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "checkpoint/checkpoint_impl.h"
#include "support/expect.h"
#include "support/file_bytes.h"

enum { HEAD = 64, PAIRS = HEAD / 2, SHAPE_KEYS = 7 };

static struct file_bytes file;

static void begin(uint64_t tensors, uint64_t more_keys)
{
    gguf_begin(&file, 3, tensors, SHAPE_KEYS + more_keys);
    gguf_text(&file, "general.architecture", "llama");
    gguf_uint(&file, "llama.block_count", 2);
    gguf_uint(&file, "llama.embedding_length", 2 * HEAD);
    gguf_uint(&file, "llama.feed_forward_length", 96);
    gguf_uint(&file, "llama.context_length", 4096);
    gguf_uint(&file, "llama.attention.head_count", 2);
    gguf_float(&file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

/* Without woq_checkpoint_config's look at the tensors, which are not there. */
static enum woq_status read_config(struct woq_model_config *m)
{
    struct woq_checkpoint *c = NULL;
    *m = (struct woq_model_config){.struct_size = sizeof *m, .rope_theta = 10000, .bos = -1, .eos = -1};
    file_pad(&file, 32);
    enum woq_status st = woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, file.data, file.size, &c);
    if (!st)
        st = woqi_ckpt_gguf_config(c, m);
    woq_checkpoint_close(&c);
    return st;
}

static void test_shape(void **state)
{
    struct woq_model_config m;
    (void)state;
    begin(0, 0);
    EXPECT_OK(read_config(&m));
    assert_string_equal(m.architecture, "llama");
    assert_true(m.layers == 2 && m.hidden == 128 && m.intermediate == 96 && m.context == 4096 && m.heads == 2);
    assert_true(m.kv_heads == 2 && m.head_dim == HEAD && m.norm_epsilon == 1e-5f && m.tied_embeddings);
    assert_true(m.rope_theta == 10000 && m.rope_scaling == WOQ_ROPE_NONE && m.bos == -1 && !m.add_bos);
    begin(0, 3);
    gguf_uint(&file, "llama.attention.head_count_kv", 1);
    gguf_uint(&file, "llama.attention.key_length", 96);
    gguf_uint(&file, "llama.attention.value_length", 96);
    EXPECT_OK(read_config(&m));
    assert_true(m.kv_heads == 1 && m.head_dim == 96);
    test_expectations_met();
}

static void test_tokens(void **state)
{
    struct woq_model_config m;
    (void)state;
    begin(0, 1);
    gguf_text(&file, "tokenizer.ggml.model", "llama");
    EXPECT_OK(read_config(&m));
    assert_true(m.bos == 1 && m.eos == 2 && m.add_bos);
    begin(0, 3);
    gguf_text(&file, "tokenizer.ggml.pre", "llama-bpe");
    gguf_uint(&file, "tokenizer.ggml.bos_token_id", 7);
    gguf_uint(&file, "tokenizer.ggml.eos_token_id", UINT32_MAX); /* none */
    EXPECT_OK(read_config(&m));
    assert_true(m.bos == 7 && m.eos == -1 && m.add_bos);
    test_expectations_met();
}

static void test_scaling(void **state)
{
    struct woq_model_config m;
    (void)state;
    begin(0, 3);
    gguf_text(&file, "llama.rope.scaling.type", "linear");
    gguf_float(&file, "llama.rope.scaling.factor", 4);
    gguf_float(&file, "llama.rope.freq_base", 5e5f);
    EXPECT_OK(read_config(&m));
    assert_true(m.rope_scaling == WOQ_ROPE_LINEAR && m.rope_factor == 4 && m.rope_theta == 5e5f);
    begin(0, 1);
    gguf_float(&file, "llama.rope.scale_linear", 2);
    EXPECT_OK(read_config(&m));
    assert_true(m.rope_scaling == WOQ_ROPE_LINEAR && m.rope_factor == 2);
    begin(0, 2);
    gguf_text(&file, "llama.rope.scaling.type", "none");
    gguf_float(&file, "llama.rope.scaling.factor", 4);
    EXPECT_OK(read_config(&m));
    assert_true(m.rope_scaling == WOQ_ROPE_NONE);
    for (uint64_t given = 0; given < 2; given++) {
        begin(0, 2 + given);
        gguf_text(&file, "llama.rope.scaling.type", "yarn");
        gguf_float(&file, "llama.rope.scaling.factor", 8);
        if (given)
            gguf_uint(&file, "llama.rope.scaling.original_context_length", 512);
        EXPECT_OK(read_config(&m));
        assert_true(m.rope_scaling == WOQ_ROPE_YARN && m.rope_factor == 8);
        assert_int_equal(m.rope_original_context, given ? 512 : 4096);
    }
    begin(0, 1);
    gguf_text(&file, "llama.rope.scaling.type", "yarn");
    EXPECT(WOQ_ERROR_INVALID_DATA, "llama.rope.scaling.factor is missing; must be a number > 0", read_config(&m));
    begin(0, 1);
    gguf_text(&file, "llama.rope.scaling.type", "longrope");
    EXPECT(WOQ_ERROR_UNSUPPORTED, "'longrope'; must be none, linear or yarn", read_config(&m));
    test_expectations_met();
}

/* Llama 3's divisors of a factor, one for each pair; `off` is added to pair 20. */
static enum woq_status read_divisors(double factor, uint32_t type, uint64_t count, float off,
                                     struct woq_model_config *m)
{
    begin(1, 1);
    gguf_float(&file, "llama.rope.freq_base", 5e5f);
    file_put_string(&file, "rope_freqs.weight");
    file_put_number(&file, 1, 4);
    file_put_number(&file, count, 8);
    file_put_number(&file, type, 4);
    file_put_number(&file, 0, 8);
    file_pad(&file, 32);
    for (unsigned i = 0; i < PAIRS; i++) {
        const double wave = 2 * acos(-1) * pow(5e5, 2.0 * i / HEAD);
        const double share = (8192 / wave - 1) / 3, bound = share < 0 ? 0 : share > 1 ? 1 : share;
        const float divisor = (float)(1 / ((1 - bound) / factor + bound)) + (i == 20 ? off : 0);
        file_put(&file, &divisor, sizeof divisor);
    }
    return read_config(m);
}

static void test_llama3(void **state)
{
    struct woq_model_config m;
    (void)state;
    EXPECT_OK(read_divisors(32, 0, PAIRS, 0, &m));
    assert_true(m.rope_scaling == WOQ_ROPE_LLAMA3 && m.rope_factor == 32 && m.rope_original_context == 8192);
    assert_true(m.rope_low_freq_factor == 1 && m.rope_high_freq_factor == 4);
    EXPECT_OK(read_divisors(1, 0, PAIRS, 0, &m));
    assert_true(m.rope_scaling == WOQ_ROPE_NONE);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "divisor 20 is", read_divisors(32, 0, PAIRS, -0.5f, &m));
    EXPECT(WOQ_ERROR_INVALID_DATA, "must be 32 of F32", read_divisors(32, 0, PAIRS - 1, 0, &m));
    EXPECT(WOQ_ERROR_INVALID_DATA, "must be 32 of F32", read_divisors(32, 1, PAIRS, 0, &m));
    test_expectations_met();
}

/* ---- Values ---- */

static void put_kind(const char *key, uint32_t kind, uint64_t value, unsigned bytes)
{
    file_put_string(&file, key);
    file_put_number(&file, kind, 4);
    file_put_number(&file, value, bytes);
}

static void put_array(const char *key, uint32_t kind, uint64_t count)
{
    put_kind(key, 9, kind, 4);
    file_put_number(&file, count, 8);
}

static void make_values(void)
{
    const double half = 0.5;
    uint64_t bits;
    memcpy(&bits, &half, 8);
    gguf_begin(&file, 3, 0, 11);
    put_kind("i8", 1, 0xff, 1);
    put_kind("i16", 3, 0x8000, 2);
    put_kind("u64", 10, UINT64_MAX, 8);
    put_kind("i64", 11, UINT64_MAX, 8);
    put_kind("f64", 12, bits, 8);
    put_kind("bool", 7, 1, 1);
    gguf_text(&file, "text", "abc");
    put_array("large", 10, 1);
    file_put_number(&file, UINT64_MAX, 8);
    put_array("doubles", 12, 1);
    file_put_number(&file, bits, 8);
    put_array("nested", 9, 2);
    for (int i = 0; i < 2; i++) {
        file_put_number(&file, i ? 8 : 4, 4);
        file_put_number(&file, 1, 8);
        if (i)
            file_put_string(&file, "x");
        else
            file_put_number(&file, 1, 4);
    }
    put_array("strings", 8, 1);
    file_put_string(&file, "yz");
}

static void test_values(void **state)
{
    static const char *const shown[] = {"-1", "-32768", "18446744073709551615", "-1", "0.5", "true", "abc",
                                        "[integers beyond 32 bits]", "[1: 0.5]", "[arrays]", "[1: \"yz\"]"};
    struct woq_checkpoint *c = NULL;
    const char *key, *value;
    bool flag = false;
    double real;
    (void)state;
    make_values();
    EXPECT_OK(woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, file.data, file.size, &c));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        EXPECT_OK(woq_checkpoint_meta(c, i, &key, &value));
        assert_string_equal(value, shown[i]);
    }
    assert_true(woq_checkpoint_get_float(c, "i64", &real) && real == -1);
    assert_true(woq_checkpoint_get_bool(c, "bool", &flag) && flag);
    woq_checkpoint_close(&c);
    test_expectations_met();
}

/* Each prefix, in a copy of just its size. */
static void test_cut(void **state)
{
    (void)state;
    make_values();
    for (size_t size = 0; size < file.size; size++) {
        struct woq_checkpoint *c = NULL;
        uint8_t *copy = malloc(size ? size : 1);
        assert_non_null(copy);
        memcpy(copy, file.data, size);
        EXPECT(WOQ_ERROR_INVALID_DATA, "", woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, copy, size, &c));
        free(copy);
    }
    test_expectations_met();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),  cmocka_unit_test(test_tokens), cmocka_unit_test(test_scaling),
        cmocka_unit_test(test_llama3), cmocka_unit_test(test_values), cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
