/* test_checkpoint.c: files that lie, each refused with a message that names what is wrong; and
 * files that do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

#include "checkpoint/checkpoint_impl.h"
#include "support/expect.h"
#include "support/file_bytes.h"

static struct file_bytes file;

static enum woq_status try_open(enum woq_container container, struct woq_checkpoint **out)
{
    /* A copy of just this size lets AddressSanitizer see a byte too far. */
    uint8_t *bytes = malloc(file.size ? file.size : 1);
    struct woq_checkpoint *c = NULL;
    assert_non_null(bytes);
    memcpy(bytes, file.data, file.size);
    enum woq_status st = woqi_ckpt_open_memory(container, bytes, file.size, &c);
    assert_true(!st == !!c);
    woq_checkpoint_close(&c);
    free(bytes);
    if (out && !st)
        assert_int_equal(woqi_ckpt_open_memory(container, file.data, file.size, out), WOQ_OK);
    return st;
}

#define REFUSED_GGUF(mention)                                                                      \
    EXPECT(WOQ_ERROR_INVALID_DATA, mention, try_open(WOQ_CONTAINER_GGUF, NULL))
#define REFUSED_SAFETENSORS(mention)                                                               \
    EXPECT(WOQ_ERROR_INVALID_DATA, mention, try_open(WOQ_CONTAINER_SAFETENSORS, NULL))

/* ---- GGUF ---- */

/* Two F32 tensors of 2×8. */
static void two_tensors(const char *second, uint64_t offset, uint64_t rows, uint32_t type)
{
    gguf_begin(&file, 3, 2, 1);
    gguf_text(&file, "general.name", "x");
    gguf_tensor(&file, "a", 0, 2, 8, 0);
    gguf_tensor(&file, second, type, rows, 8, offset);
    file_pad(&file, 32);
    for (int i = 0; i < 128; i++)
        file_put_number(&file, (uint64_t)i, 1);
}

static void test_gguf_header(void **state)
{
    (void)state;
    two_tensors("b", 64, 2, 0);
    EXPECT_OK(try_open(WOQ_CONTAINER_GGUF, NULL));
    const size_t whole = file.size;
    for (file.size = 0; file.size < whole; file.size++)
        REFUSED_GGUF("");
    file.size = whole;
    file.data[0] = 'X';
    REFUSED_GGUF("GGUF");
    file.data[0] = 'G';
    file.data[4] = 9;
    EXPECT(WOQ_ERROR_UNSUPPORTED, "version is 9", try_open(WOQ_CONTAINER_GGUF, NULL));
    memcpy(file.data + 4, "\0\0\0\3", 4);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "big-endian", try_open(WOQ_CONTAINER_GGUF, NULL));
    gguf_begin(&file, 3, UINT64_MAX, 0);
    REFUSED_GGUF("18446744073709551615 tensors");
    gguf_begin(&file, 3, 0, UINT64_MAX / 8);
    REFUSED_GGUF("metadata keys");
    test_expectations_met();
}

static void test_gguf_tensors(void **state)
{
    (void)state;
    two_tensors("a", 64, 2, 0);
    REFUSED_GGUF("'a' is there twice");
    two_tensors("b", 32, 2, 0);
    REFUSED_GGUF("'a' and 'b' overlap");
    two_tensors("b", 60, 2, 0);
    REFUSED_GGUF("'b': offset 60");
    two_tensors("b", 96, 2, 0);
    REFUSED_GGUF("'b': 64 bytes at offset 96");
    two_tensors("b", UINT64_MAX - 31, 2, 0);
    REFUSED_GGUF("past the end of the file");
    two_tensors("b", 64, UINT64_C(1) << 62, 0);
    REFUSED_GGUF("exceeds 64 bits");
    two_tensors("b", 64, 0, 0);
    REFUSED_GGUF("dimension 1 is 0");
    two_tensors("b", 64, 2, 2);
    REFUSED_GGUF("block of 32");
    two_tensors("b", 64, 2, 77);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "'b': type number 77", try_open(WOQ_CONTAINER_GGUF, NULL));
    two_tensors("\033[2J", 64, 2, 0);
    REFUSED_GGUF("tensor 1's name");
    test_expectations_met();
}

static void test_gguf_metadata(void **state)
{
    (void)state;
    gguf_begin(&file, 3, 0, 2);
    gguf_uint(&file, "k", 1);
    gguf_uint(&file, "k", 2);
    REFUSED_GGUF("'k' is there twice");
    gguf_begin(&file, 3, 0, 1);
    gguf_uint(&file, "general.alignment", 24);
    REFUSED_GGUF("power of two");
    gguf_begin(&file, 3, 0, 1);
    file_put_string(&file, "k");
    file_put_number(&file, 99, 4);
    file_put_number(&file, 0, 8);
    REFUSED_GGUF("unknown type 99");
    gguf_begin(&file, 3, 0, 1);
    file_put_string(&file, "k");
    file_put_number(&file, 9, 4);
    file_put_number(&file, 8, 4);
    file_put_number(&file, UINT64_C(1) << 60, 8);
    REFUSED_GGUF("array elements do not fit");
    gguf_begin(&file, 3, 0, 1);
    file_put_string(&file, "k");
    file_put_number(&file, 9, 4);
    for (int i = 0; i < 100; i++) {
        file_put_number(&file, 9, 4);
        file_put_number(&file, 1, 8);
    }
    REFUSED_GGUF("nests arrays deeper");
    gguf_begin(&file, 3, 0, 1);
    file_put_string(&file, "k");
    file_put_number(&file, 7, 4);
    file_put_number(&file, 2, 1);
    REFUSED_GGUF("boolean of value 2");
    test_expectations_met();
}

static void test_gguf_values(void **state)
{
    struct woq_checkpoint *c = NULL;
    const struct woq_text *strings;
    const int32_t *ints;
    const char *text, *key, *value;
    size_t size;
    uint64_t u;
    double d;
    (void)state;
    gguf_begin(&file, 2, 0, 5);
    gguf_uint(&file, "u", 7);
    gguf_text(&file, "s", "a\033b");
    gguf_float(&file, "f", 0.5f);
    file_put_string(&file, "strings");
    file_put_number(&file, 9, 4);
    file_put_number(&file, 8, 4);
    file_put_number(&file, 2, 8);
    file_put_string(&file, "x");
    file_put_string(&file, "yz");
    file_put_string(&file, "bytes");
    file_put_number(&file, 9, 4);
    file_put_number(&file, 1, 4); /* i8 */
    file_put_number(&file, 2, 8);
    file_put_number(&file, 0xff05, 2);
    assert_int_equal(try_open(WOQ_CONTAINER_GGUF, &c), WOQ_OK);
    assert_true(woq_checkpoint_get_uint(c, "u", &u) && u == 7);
    assert_true(woq_checkpoint_get_float(c, "u", &d) && d == 7);
    assert_true(woq_checkpoint_get_float(c, "f", &d) && d == 0.5);
    assert_false(woq_checkpoint_get_uint(c, "s", &u));
    assert_false(woq_checkpoint_get_uint(c, "none", &u));
    assert_true(woq_checkpoint_get_string(c, "s", &text, &size) && size == 3 &&
                !memcmp(text, "a\033b", 3));
    assert_true(woq_checkpoint_get_strings(c, "strings", &strings, &size) && size == 2);
    assert_true(strings[1].size == 2 && !memcmp(strings[1].text, "yz", 2));
    assert_true(woq_checkpoint_get_ints(c, "bytes", &ints, &size) && size == 2 && ints[0] == 5 &&
                ints[1] == -1);
    assert_int_equal(woq_checkpoint_meta(c, 1, &key, &value), WOQ_OK);
    assert_string_equal(value, "a\xef\xbf\xbd"
                               "b");
    assert_int_equal(woq_checkpoint_meta(c, 5, &key, &value), WOQ_ERROR_INVALID_ARGUMENT);
    woq_checkpoint_close(&c);
}

static void test_gguf_config(void **state)
{
    struct woq_checkpoint *c = NULL;
    struct woq_model_config config;
    (void)state;
    gguf_begin(&file, 3, 1, 8);
    gguf_text(&file, "general.architecture", "llama");
    gguf_uint(&file, "llama.block_count", 1);
    gguf_uint(&file, "llama.embedding_length", 8);
    gguf_uint(&file, "llama.feed_forward_length", 8);
    gguf_uint(&file, "llama.context_length", 8);
    gguf_uint(&file, "llama.attention.head_count", 2);
    gguf_float(&file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    gguf_uint(&file, "llama.vocab_size", 2);
    gguf_tensor(&file, "token_embd.weight", 0, 2, 8, 0);
    file_pad(&file, 32);
    file.size += 64;
    assert_int_equal(try_open(WOQ_CONTAINER_GGUF, &c), WOQ_OK);
    EXPECT(WOQ_ERROR_INVALID_DATA, "'model.norm.weight' is missing",
           woq_checkpoint_config(c, &config));
    assert_int_equal(config.layers, 0);
    woq_checkpoint_close(&c);
    gguf_begin(&file, 3, 0, 1);
    gguf_text(&file, "general.architecture", "mamba");
    assert_int_equal(try_open(WOQ_CONTAINER_GGUF, &c), WOQ_OK);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "'mamba'", woq_checkpoint_config(c, &config));
    woq_checkpoint_close(&c);
    test_expectations_met();
}

/* ---- safetensors ---- */

static void test_safetensors(void **state)
{
    static const struct {
        const char *header, *mention;
        size_t data;
    } bad[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", "no valid JSON", 8},
        {"[]", "no JSON object", 0},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "at most 4", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "span 4 bytes", 4},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "must rise", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "shape holds", 8},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "must cover all", 12},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}",
         "exceeds 64 bits", 8},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[6],\"data_offsets\":[0,6]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
         "'a' and 'b' overlap", 8},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
         "2 bytes before tensor 'b'", 8},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
         "'a' is there twice", 8},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4]}}", "dtype, shape and data_offsets", 4},
        {"{\"a\":{\"type\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", "dtype is missing", 4},
        {"{\"a\":{\"dtype\":\"U8\",\"size\":[4],\"data_offsets\":[0,4]}}", "shape is missing", 4},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0]}}", "must be two integers", 4},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[-4,0]}}", "two integers >= 0", 4},
        {"{\"\\u001b\":{}}", "tensor 0's name has 1 bytes or control characters", 0},
        {"{\"__metadata__\":3}", "__metadata__ is no object", 0},
        {"{\"__metadata__\":{\"k\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[{}]]]]]]]]]]]]]]]]]]]]]]]]]]]"
         "]]]]]]]]}}",
         "nested deeper", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        safetensors_make(&file, bad[i].header, bad[i].data);
        REFUSED_SAFETENSORS(bad[i].mention);
    }
    safetensors_make(
        &file, "{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,4],\"data_offsets\":[0,4]}}", 4);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "'a' has rank 5; must be at most 4",
           try_open(WOQ_CONTAINER_SAFETENSORS, NULL));
    safetensors_make(&file, "{\"a\":{\"dtype\":\"Q3\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "'Q3' is unknown", try_open(WOQ_CONTAINER_SAFETENSORS, NULL));
    safetensors_make(&file, "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    EXPECT_OK(try_open(WOQ_CONTAINER_SAFETENSORS, NULL));
    const size_t whole = file.size;
    for (file.size = 0; file.size < whole; file.size++)
        REFUSED_SAFETENSORS("");
    file.size = whole;
    memset(file.data, 0xff, 8);
    REFUSED_SAFETENSORS("the header has");
    test_expectations_met();
}

/* 33 rows of 16 columns in two groups, with zero points: more than one word of each along N. */
static void test_packed(void **state)
{
    enum { N = 33, K = 16, G = 2 };
    struct woq_checkpoint *c = NULL;
    struct woq_weights_source s;
    float row[K];
    (void)state;
    safetensors_make(
        &file,
        "{\"l.weight_packed\":{\"dtype\":\"I32\",\"shape\":[33,2],\"data_offsets\":[0,264]},"
        "\"l.weight_scale\":{\"dtype\":\"F32\",\"shape\":[33,2],\"data_offsets\":[264,528]},"
        "\"l.weight_zero_point\":{\"dtype\":\"I32\",\"shape\":[5,2],\"data_offsets\":[528,568]},"
        "\"l.weight_shape\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[568,584]}}",
        0);
    for (unsigned i = 0; i < N * K;
         i += 2) /* code of element i is i mod 16, and so is that of column i mod 16 */
        file_put_number(&file, (i % 16) | (i + 1) % 16 << 4, 1);
    for (unsigned i = 0; i < N * G; i++)
        file_put_number(&file, UINT64_C(0x40000000), 4); /* 2.0f */
    for (unsigned word = 0; word < 5; word++)
        for (unsigned g = 0; g < G; g++)
            file_put_number(&file, UINT64_C(0x76543210) + g * UINT64_C(0x11111111),
                            4); /* row n: n mod 8 + g */
    file_put_number(&file, N, 8);
    file_put_number(&file, K, 8);
    assert_int_equal(try_open(WOQ_CONTAINER_SAFETENSORS, &c), WOQ_OK);
    assert_int_equal(woq_checkpoint_packed_source(c, "l", &s), WOQ_OK);
    assert_int_equal(s.n, N);
    assert_int_equal(s.format.group, 8);
    for (unsigned n = 0; n < N; n++) {
        assert_int_equal(
            woq_format_decode_row(&s.format, s.n, s.k, s.codes, 0, s.scales, s.zeros, NULL, n, row),
            WOQ_OK);
        for (unsigned k = 0; k < K; k++)
            assert_true(row[k] == 2.0f * ((float)k - (float)(n % 8 + k / 8)));
    }
    woq_source_release(&s);
    EXPECT(WOQ_ERROR_INVALID_ARGUMENT, "'m'", woq_checkpoint_packed_source(c, "m", &s));
    woq_checkpoint_close(&c);
    file.data[file.size - 16] = 34;
    assert_int_equal(try_open(WOQ_CONTAINER_SAFETENSORS, &c), WOQ_OK);
    EXPECT(WOQ_ERROR_INVALID_DATA, "'l.weight_shape'", woq_checkpoint_packed_source(c, "l", &s));
    woq_checkpoint_close(&c);
    test_expectations_met();
}

/* ---- Host memory that runs out ---- */

/* Counts down to the allocation that fails; the linker puts these in front of the library's. */
static long countdown = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
    return countdown >= 0 && !countdown-- ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return countdown >= 0 && !countdown-- ? NULL : __real_calloc(count, size);
}

/* Fails the first allocation, the second, …, until there are no more. */
static void sweep_open(enum woq_container container)
{
    struct woq_checkpoint *c = NULL;
    for (long i = 0;; i++) {
        countdown = i;
        const enum woq_status st = woqi_ckpt_open_memory(container, file.data, file.size, &c);
        const bool done = countdown >= 0;
        countdown = -1;
        assert_int_equal(st, done ? WOQ_OK : WOQ_ERROR_OUT_OF_MEMORY);
        if (done) {
            assert_true(i > 2);
            break;
        }
        assert_null(c);
    }
    woq_checkpoint_close(&c);
}

static void test_allocation(void **state)
{
    struct woq_checkpoint *c = NULL;
    struct woq_weights_source s;
    (void)state;
    gguf_begin(&file, 3, 200, 2);
    gguf_text(&file, "general.architecture", "qwen2");
    gguf_uint(&file, "k", 1);
    for (unsigned i = 0; i < 200; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.attn_q.weight", i);
        gguf_tensor(&file, name, 3, 1, 32, 32 * i);
    }
    file_pad(&file, 32);
    for (unsigned i = 0; i < 200 * 32; i++)
        file_put_number(&file, 1, 1);
    sweep_open(WOQ_CONTAINER_GGUF);
    assert_int_equal(try_open(WOQ_CONTAINER_GGUF, &c), WOQ_OK);
    for (long i = 0; i < 3; i++) {
        countdown = i;
        assert_int_equal(woq_tensor_source(woq_checkpoint_tensor(c, 0), &s),
                         WOQ_ERROR_OUT_OF_MEMORY);
        countdown = -1;
        assert_null(s.codes);
    }
    woq_checkpoint_close(&c);
    safetensors_make(&file,
                     "{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_"
                     "offsets\":[0,4]}}",
                     4);
    sweep_open(WOQ_CONTAINER_SAFETENSORS);
}

/* ---- config.json ---- */

#define SHAPE                                                                                      \
    "\"num_hidden_layers\":2,\"hidden_size\":64,\"intermediate_size\":96,\"vocab_size\":10,"       \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"max_position_embeddings\":1024,"        \
    "\"rms_norm_eps\":1e-5"
#define BASE SHAPE ",\"bos_token_id\":1,\"eos_token_id\":[2,3]"

static enum woq_status read_config(const char *text, struct woq_model_config *out)
{
    struct woq_checkpoint c = {.container = WOQ_CONTAINER_SAFETENSORS, .path = "config.json"};
    struct yyjson_doc *doc = NULL;
    memset(out, 0, sizeof *out);
    out->bos = out->eos = -1;
    out->rope_theta = 10000;
    enum woq_status st = woqi_ckpt_json_text(&c, "config.json", text, strlen(text), &doc);
    if (!st)
        st = woqi_ckpt_json_flatten(&c, "", yyjson_doc_get_root(doc));
    if (!st)
        st = woqi_ckpt_meta_finish(&c);
    if (!st)
        st = woqi_ckpt_hf_config(&c, out);
    yyjson_doc_free(doc);
    woqi_ckpt_arena_free(&c.arena);
    return st;
}

static void test_config(void **state)
{
    struct woq_model_config m;
    (void)state;
    EXPECT_OK(read_config(
        "{\"model_type\":\"llama\"," BASE ",\"tie_word_embeddings\":true,\"rope_theta\":500000,"
        "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":32,\"low_freq_factor\":1,"
        "\"high_freq_factor\":4,\"original_max_position_embeddings\":512}}",
        &m));
    assert_string_equal(m.architecture, "llama");
    assert_true(m.layers == 2 && m.hidden == 64 && m.intermediate == 96 && m.vocabulary == 10 &&
                m.heads == 4);
    assert_true(m.kv_heads == 2 && m.head_dim == 16 && m.context == 1024 && m.bos == 1 &&
                m.eos == 2);
    assert_true(m.tied_embeddings && m.rope_theta == 500000 && m.norm_epsilon == 1e-5f);
    assert_true(m.rope_scaling == WOQ_ROPE_LLAMA3 && m.rope_factor == 32 &&
                m.rope_original_context == 512);
    assert_true(m.rope_low_freq_factor == 1 && m.rope_high_freq_factor == 4);
    EXPECT_OK(read_config(
        "{\"model_type\":\"mistral\"," BASE ",\"sliding_window\":256,\"head_dim\":32}", &m));
    assert_true(m.context == 256 && m.head_dim == 32 && !m.tied_embeddings &&
                m.rope_scaling == WOQ_ROPE_NONE);
    EXPECT_OK(read_config("{\"model_type\":\"qwen2\"," BASE
                          ",\"sliding_window\":256,\"use_sliding_window\":false,"
                          "\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0}}",
                          &m));
    assert_true(m.context == 1024 && m.rope_scaling == WOQ_ROPE_YARN &&
                m.rope_original_context == 1024);
    EXPECT_OK(read_config("{\"model_type\":\"qwen3\"," BASE
                          ",\"rope_scaling\":null,\"rope_parameters\":"
                          "{\"rope_type\":\"linear\",\"factor\":2,\"rope_theta\":1e6}}",
                          &m));
    assert_true(m.head_dim == 128 && m.rope_theta == 1e6f && m.rope_scaling == WOQ_ROPE_LINEAR &&
                m.rope_factor == 2);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "'gemma'",
           read_config("{\"model_type\":\"gemma\"," BASE "}", &m));
    EXPECT(WOQ_ERROR_UNSUPPORTED, "hidden_act",
           read_config("{\"model_type\":\"llama\"," BASE ",\"hidden_act\":\"gelu\"}", &m));
    EXPECT(WOQ_ERROR_UNSUPPORTED, "'dynamic'",
           read_config(
               "{\"model_type\":\"llama\"," BASE ",\"rope_scaling\":{\"type\":\"dynamic\"}}", &m));
    EXPECT(WOQ_ERROR_INVALID_DATA, "bos_token_id is -1; must be a token id",
           read_config("{\"model_type\":\"llama\"," SHAPE ",\"bos_token_id\":-1}", &m));
    EXPECT(WOQ_ERROR_UNSUPPORTED, "partial_rotary_factor",
           read_config("{\"model_type\":\"llama\"," BASE ",\"partial_rotary_factor\":0.5}", &m));
    EXPECT(WOQ_ERROR_UNSUPPORTED, "rope_scaling.beta_fast is 16; only 32 is supported",
           read_config("{\"model_type\":\"qwen2\"," BASE ",\"rope_scaling\":"
                       "{\"type\":\"yarn\",\"factor\":4,\"beta_fast\":16}}",
                       &m));
    EXPECT(WOQ_ERROR_INVALID_DATA, "high_freq_factor must exceed low_freq_factor",
           read_config("{\"model_type\":\"llama\"," BASE ",\"rope_scaling\":"
                       "{\"type\":\"llama3\",\"factor\":4,\"low_freq_factor\":4,"
                       "\"high_freq_factor\":1,\"original_max_position_embeddings\":64}}",
                       &m));
    EXPECT(WOQ_ERROR_INVALID_DATA, "rope_scaling.factor",
           read_config("{\"model_type\":\"llama\"," BASE ",\"rope_scaling\":{\"type\":\"linear\"}}",
                       &m));
    EXPECT(WOQ_ERROR_INVALID_DATA, "num_hidden_layers",
           read_config("{\"model_type\":\"llama\"}", &m));
    test_expectations_met();
}

/* What is not done, or not of the kind that it should be, is not passed over. */
static void test_config_refused(void **state)
{
    static const struct {
        const char *members;
        enum woq_status status;
        const char *mention;
    } cases[] = {
        {"\"attention_bias\":true", WOQ_ERROR_INVALID_DATA,
         "attention_bias is true; there is no tensor 'model.layers.0.self_attn.q_proj.bias'"},
        {"\"attention_bias\":1", WOQ_ERROR_INVALID_DATA, "attention_bias is 1; must be true or false"},
        {"\"mlp_bias\":true", WOQ_ERROR_UNSUPPORTED, "mlp_bias is true; only false is supported"},
        {"\"rope_scaling\":7", WOQ_ERROR_INVALID_DATA, "rope_scaling is 7; must be an object"},
        {"\"rope_scaling\":\"yarn\"", WOQ_ERROR_INVALID_DATA, "rope_scaling is yarn; must be an object"},
        {"\"rope_parameters\":[1]", WOQ_ERROR_INVALID_DATA, "rope_parameters is [1: 1]; must be an object"},
        {"\"tie_word_embeddings\":\"x\"", WOQ_ERROR_INVALID_DATA,
         "config.json: tie_word_embeddings is 'x', a string; must be true or false"},
        {"\"use_sliding_window\":0", WOQ_ERROR_INVALID_DATA, "use_sliding_window is 0; must be true or false"},
        {"\"head_dim\":\"16\"", WOQ_ERROR_INVALID_DATA, "head_dim is '16', a string; must be 1 to 65536"},
        {"\"rope_theta\":\"1e4\"", WOQ_ERROR_INVALID_DATA, "rope_theta is '1e4', a string; must be a finite number"},
    };
    struct woq_model_config m;
    char text[1024];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"llama\"," BASE ",%s}", cases[i].members);
        EXPECT(cases[i].status, cases[i].mention, read_config(text, &m));
    }
    EXPECT_OK(read_config("{\"model_type\":\"llama\"," BASE ",\"attention_bias\":false,\"mlp_bias\":false,"
                          "\"rope_scaling\":{},\"tie_word_embeddings\":null}", &m));
    test_expectations_met();
}

/* ---- Directories ---- */

static char directory[] = "/tmp/woq-checkpoint-XXXXXX";

static void write_file(const char *name, const void *bytes, size_t size)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static void remove_file(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    unlink(path);
}

#define REFUSED_DIRECTORY(status, mention)                                                         \
    EXPECT(status, mention, woq_checkpoint_open(directory, NULL, &c))

static void test_directory(void **state)
{
    static const char index[] = "model.safetensors.index.json";
    struct woq_checkpoint *c = NULL;
    struct woq_model_config config;
    const int32_t *ints;
    size_t count;
    (void)state;
    assert_non_null(mkdtemp(directory));
    REFUSED_DIRECTORY(WOQ_ERROR_INVALID_ARGUMENT, "config.json");
    write_text("config.json", "{\"model_type\":\"llama\",\"n\":{\"eos\":[1,2]},\"hidden_size\":0}");
    REFUSED_DIRECTORY(WOQ_ERROR_INVALID_ARGUMENT, "has neither");
    write_text(index, "{\"metadata\":{}}");
    REFUSED_DIRECTORY(WOQ_ERROR_INVALID_DATA, "weight_map is missing or empty");
    write_text(index, "{\"weight_map\":{\"a\":\"../x\"}}");
    REFUSED_DIRECTORY(WOQ_ERROR_INVALID_DATA, "plain file name");
    write_text(index, "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}");
    safetensors_make(&file, "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    write_file("one.safetensors", file.data, file.size);
    REFUSED_DIRECTORY(WOQ_ERROR_INVALID_DATA, "names 'two.safetensors', which is missing");
    write_file("two.safetensors", file.data, file.size);
    REFUSED_DIRECTORY(WOQ_ERROR_INVALID_DATA, "'a' is there twice");
    safetensors_make(&file, "{\"c\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    write_file("two.safetensors", file.data, file.size);
    REFUSED_DIRECTORY(WOQ_ERROR_INVALID_DATA, "'b' is not in two.safetensors");
    safetensors_make(&file, "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    write_file("two.safetensors", file.data, file.size);
    EXPECT_OK(woq_checkpoint_open(directory, NULL, &c));
    assert_int_equal(woq_checkpoint_tensor_count(c), 2);
    assert_true(woq_checkpoint_get_ints(c, "n.eos", &ints, &count) && count == 2 && ints[1] == 2);
    EXPECT(WOQ_ERROR_INVALID_DATA, "num_hidden_layers", woq_checkpoint_config(c, &config));
    woq_checkpoint_close(&c);
    write_text("config.json", "{\"a\":1,\"a\":2}");
    REFUSED_DIRECTORY(WOQ_ERROR_INVALID_DATA, "'a' is there twice");
    remove_file("config.json");
    remove_file(index);
    remove_file("one.safetensors");
    remove_file("two.safetensors");
    rmdir(directory);
    test_expectations_met();
}

static void test_arguments(void **state)
{
    struct woq_checkpoint *c = NULL;
    (void)state;
    EXPECT_BAD("path", woq_checkpoint_open(NULL, NULL, &c));
    EXPECT_BAD("out", woq_checkpoint_open("x", NULL, NULL));
    EXPECT_BAD("/nonexistent", woq_checkpoint_open("/nonexistent", NULL, &c));
    EXPECT_BAD("regular", woq_checkpoint_open("/dev/null", NULL, &c));
    EXPECT_BAD("NULL", woq_tensor_read(NULL, 0, 1, NULL));
    assert_null(woq_checkpoint_find(NULL, "x"));
    woq_checkpoint_close(NULL);
    woq_checkpoint_close(&c);
    woq_source_release(NULL);
    test_expectations_met();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_header),   cmocka_unit_test(test_gguf_tensors),
        cmocka_unit_test(test_gguf_metadata), cmocka_unit_test(test_gguf_values),
        cmocka_unit_test(test_gguf_config),   cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_packed),        cmocka_unit_test(test_allocation),
        cmocka_unit_test(test_config),        cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_directory),     cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
