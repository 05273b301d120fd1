/*
 * test_bad_input.c: models that lie in one place: GGUF metadata and tensors, files of Hugging Face directories,
 * weights that are not finite. Each is refused by a message that names the place and what would be right.
 * test_checkpoint.c has what is broken within a container.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <woq/model.h>

#include "checkpoint/checkpoint_impl.h"
#include "support/expect.h"
#include "support/file_bytes.h"

enum { WIDTH = 32, WORDS = 6, F32 = 0, F16 = 1, Q8_0 = 8, IQ4_NL = 20 };

static struct file_bytes file;

/* ---- A GGUF file of one layer, with a lie ---- */

static const struct {
    const char *name, *text; /* text: NULL for a number */
    uint32_t value;
} keys[] = {{"general.architecture", "llama", 0},       {"llama.block_count", NULL, 1},
            {"llama.embedding_length", NULL, WIDTH},    {"llama.feed_forward_length", NULL, WIDTH},
            {"llama.context_length", NULL, 64},         {"llama.attention.head_count", NULL, 2},
            {"llama.attention.head_count_kv", NULL, 2}, {"tokenizer.ggml.bos_token_id", NULL, 1}};
enum { KEYS = sizeof keys / sizeof *keys };

static const struct {
    const char *name;
    uint64_t rows; /* 0: a vector */
} tensors[] = {{"token_embd.weight", WORDS},   {"output_norm.weight", 0},           {"blk.0.attn_norm.weight", 0},
               {"blk.0.ffn_norm.weight", 0},   {"blk.0.attn_q.weight", WIDTH},      {"blk.0.attn_k.weight", WIDTH},
               {"blk.0.attn_v.weight", WIDTH}, {"blk.0.attn_output.weight", WIDTH}, {"blk.0.ffn_gate.weight", WIDTH},
               {"blk.0.ffn_up.weight", WIDTH}, {"blk.0.ffn_down.weight", WIDTH}};
enum { TENSORS = sizeof tensors / sizeof *tensors };

struct lie {
    enum { NOTHING, KEY, NEW_KEY, NO_KEY, TENSOR, NO_TENSOR } what;
    const char *name;
    uint32_t value;   /* of the key; type of the tensor */
    const char *text; /* a key's value as text instead */
    uint64_t rows;    /* of the tensor, if not 0 */
    uint16_t scale;   /* of all blocks of the tensor */
};

/* A tensor as the lie has it. */
struct placed {
    const char *name;
    uint64_t rows, bytes;
    uint32_t type;
    uint16_t scale;
};

static struct placed place(const struct lie *lie, size_t i)
{
    const bool lies = lie->what == TENSOR && !strcmp(lie->name, tensors[i].name);
    struct placed t = {tensors[i].name, tensors[i].rows, 0, tensors[i].rows ? F16 : F32, 0};
    if (lies) {
        t.rows = lie->rows ? lie->rows : t.rows;
        t.type = lie->value;
        t.scale = lie->scale;
    }
    const uint64_t elements = (t.rows ? t.rows : 1) * WIDTH;
    t.bytes = t.type == F32 ? elements * 4 : t.type == F16 ? elements * 2 : elements / 32 * (t.type == Q8_0 ? 34 : 18);
    return t;
}

static void put_key(const char *name, const char *text, uint32_t value)
{
    if (text)
        gguf_text(&file, name, text);
    else
        gguf_uint(&file, name, value);
}

static void put_keys(const struct lie *lie)
{
    gguf_float(&file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < KEYS; i++) {
        const bool lies = (lie->what == KEY || lie->what == NO_KEY) && !strcmp(lie->name, keys[i].name);
        if (!lies)
            put_key(keys[i].name, keys[i].text, keys[i].value);
        else if (lie->what == KEY)
            put_key(lie->name, lie->text, lie->value);
    }
    if (lie->what == NEW_KEY)
        put_key(lie->name, lie->text, lie->value);
}

static void make_gguf(const struct lie *lie)
{
    struct placed made[TENSORS];
    size_t count = 0;
    uint64_t offset = 0;
    for (size_t i = 0; i < TENSORS; i++)
        if (lie->what != NO_TENSOR || strcmp(lie->name, tensors[i].name))
            made[count++] = place(lie, i);
    gguf_begin(&file, 3, count, KEYS + 1 + (lie->what == NEW_KEY) - (lie->what == NO_KEY));
    put_keys(lie);
    for (size_t i = 0; i < count; i++) {
        file_put_string(&file, made[i].name);
        file_put_number(&file, made[i].rows ? 2 : 1, 4);
        file_put_number(&file, WIDTH, 8);
        if (made[i].rows)
            file_put_number(&file, made[i].rows, 8);
        file_put_number(&file, made[i].type, 4);
        file_put_number(&file, offset, 8);
        offset += (made[i].bytes + 31) / 32 * 32;
    }
    for (size_t i = 0; i < count; i++) {
        file_pad(&file, 32);
        for (uint64_t b = 0; b < made[i].bytes; b++)
            file_put_number(&file, b % 34 < 2 ? made[i].scale >> 8 * (b % 34) & 255 : 0, 1);
    }
    file_pad(&file, 32);
}

static enum woq_status open_gguf(const struct lie *lie, struct woq_checkpoint **out)
{
    make_gguf(lie);
    return woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, file.data, file.size, out);
}

static void test_gguf(void **state)
{
    static const struct {
        struct lie lie;
        enum woq_status status;
        const char *mention;
    } cases[] = {
        {{NOTHING, .name = ""}, WOQ_OK, NULL},
        {{KEY, "general.architecture", .text = "mamba"},
         WOQ_ERROR_UNSUPPORTED,
         "'mamba'; must be llama, qwen2 or qwen3"},
        {{NO_KEY, .name = "general.architecture"}, WOQ_ERROR_INVALID_DATA, "architecture is missing; must be llama"},
        {{KEY, "llama.block_count", .value = 0}, WOQ_ERROR_INVALID_DATA, "block_count is 0; must be 1 to 4096"},
        {{KEY, "llama.block_count", .value = UINT32_MAX}, WOQ_ERROR_INVALID_DATA, "is 4294967295; must be 1 to 4096"},
        {{KEY, "llama.block_count", .value = 2},
         WOQ_ERROR_INVALID_DATA,
         "'model.layers.1.input_layernorm.weight' is missing"},
        {{KEY, "llama.context_length", .text = "long"}, WOQ_ERROR_INVALID_DATA,
         "is 'long', a string; must be 1 to 2147483647"},
        {{NO_KEY, .name = "llama.context_length"}, WOQ_ERROR_INVALID_DATA, "context_length is missing; must be 1 to"},
        {{KEY, "llama.embedding_length", .value = 64},
         WOQ_ERROR_INVALID_DATA,
         "[6, 32] and rank 2; the configuration says"},
        {{KEY, "llama.attention.head_count_kv", .value = 3},
         WOQ_ERROR_INVALID_DATA,
         "head_count_kv = 3 heads of an even size"},
        {{NEW_KEY, "llama.rope.dimension_count", .value = 8},
         WOQ_ERROR_UNSUPPORTED,
         "8 rotated elements; all three must"},
        {{NEW_KEY, "llama.rope.scaling.factor", .text = "x"},
         WOQ_ERROR_INVALID_DATA,
         "factor is 'x', a string; must be a finite number"},
        {{NEW_KEY, "llama.rope.scaling.type", .text = "x"}, WOQ_ERROR_UNSUPPORTED, "'x'; must be none, linear or yarn"},
        {{KEY, "tokenizer.ggml.bos_token_id", .value = WORDS}, WOQ_ERROR_INVALID_DATA, "bos 6 or eos -1 is outside"},
        {{KEY, "tokenizer.ggml.bos_token_id", .text = "<s>"}, WOQ_ERROR_INVALID_DATA, "is <s>; must be a token id"},
        {{NO_TENSOR, .name = "blk.0.ffn_up.weight"}, WOQ_ERROR_INVALID_DATA, "mlp.up_proj.weight' is missing"},
        {{TENSOR, "blk.0.ffn_up.weight", F16, .rows = 31},
         WOQ_ERROR_INVALID_DATA,
         "[31, 32] and rank 2; the configuration"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_model_config config;
        struct woq_checkpoint *c = NULL;
        enum woq_status st = open_gguf(&cases[i].lie, &c);
        if (!st)
            st = woq_checkpoint_config(c, &config);
        EXPECT(cases[i].status, cases[i].mention, st);
        if (cases[i].status)
            assert_non_null(strstr(woq_last_message(), "(memory): "));
        woq_checkpoint_close(&c);
    }
    test_expectations_met();
}

/* ---- Weights that cannot be run ---- */

static void test_weights(void **state)
{
    static const struct {
        struct lie lie;
        enum woq_model_weights weights;
        enum woq_status status;
        const char *mention;
    } cases[] = {
        {{TENSOR, "blk.0.ffn_up.weight", Q8_0, .scale = 0x2c00}, WOQ_MODEL_AS_STORED, WOQ_OK, NULL},
        {{TENSOR, "blk.0.ffn_up.weight", Q8_0, .scale = 0x7e00}, WOQ_MODEL_AS_STORED, WOQ_ERROR_INVALID_DATA, "mlp."},
        {{TENSOR, "blk.0.attn_q.weight", Q8_0, .scale = 0x7c00},
         WOQ_MODEL_F16,
         WOQ_ERROR_INVALID_DATA,
         "q_proj' is not finite"},
        {{TENSOR, "blk.0.ffn_up.weight", .value = IQ4_NL},
         WOQ_MODEL_AS_STORED,
         WOQ_ERROR_UNSUPPORTED,
         "up_proj.weight' is of type IQ4_NL"},
        {{TENSOR, "blk.0.ffn_up.weight", .value = IQ4_NL},
         WOQ_MODEL_F16,
         WOQ_ERROR_UNSUPPORTED,
         "must be F32, F16, BF16, Q4_0"},
    };
    struct woq_device *device = NULL;
    (void)state;
    assert_int_equal(woq_device_open("reference", NULL, &device), WOQ_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
        struct woq_model *model = NULL;
        struct woq_checkpoint *c = NULL;
        assert_int_equal(open_gguf(&cases[i].lie, &c), WOQ_OK);
        p.weights = cases[i].weights;
        EXPECT(cases[i].status, cases[i].mention, woq_model_create(device, c, &p, &model));
        assert_true(!cases[i].status == !!model);
        woq_model_destroy(&model);
        woq_checkpoint_close(&c);
    }
    woq_device_destroy(&device);
    test_expectations_met();
}

/* ---- Packed layers ---- */

/* A layer of 2 × 8 at 4 bits; the tensors' order is that of their bytes. */
#define PART(name, type, shape, range)                                                                                 \
    "\"l.weight_" name "\":{\"dtype\":\"" type "\",\"shape\":[" shape "],\"data_offsets\":[" range "]}"
#define CODES PART("packed", "I32", "2,1", "0,8")
#define SCALE PART("scale", "F32", "2,1", "8,16")
#define EXTENT PART("shape", "I64", "2", "16,32")

static void test_packed(void **state)
{
    static const struct {
        const char *header;
        enum woq_status status;
        const char *mention;
        uint8_t rows, columns;
    } cases[] = {
        {"{" CODES "," SCALE "," EXTENT "}", WOQ_OK, NULL, 2, 8},
        {"{" CODES "," PART("scales", "F32", "2,1", "8,16") "," EXTENT "}", WOQ_ERROR_INVALID_DATA,
         "'l.weight_scale' is missing", 2, 8},
        {"{" CODES "," PART("scale", "F32", "2", "8,16") "," EXTENT "}", WOQ_ERROR_INVALID_DATA,
         "'l.weight_scale' must have rank 2", 2, 8},
        {"{" CODES "," PART("scale", "F32", "1,2", "8,16") "," EXTENT "}", WOQ_ERROR_INVALID_DATA,
         "'l.weight_scale' must have a row for each output", 2, 8},
        {"{" CODES "," PART("scale", "I32", "2,1", "8,16") "," EXTENT "}", WOQ_ERROR_INVALID_DATA,
         "'l.weight_scale' must be F32, F16 or BF16", 2, 8},
        {"{" CODES "," SCALE "," PART("size", "I64", "2", "16,32") "}", WOQ_ERROR_INVALID_DATA,
         "'l.weight_shape' is missing", 2, 8},
        {"{" CODES "," SCALE "," PART("shape", "I32", "4", "16,32") "}", WOQ_ERROR_INVALID_DATA,
         "'l.weight_shape' must be two I64", 2, 8},
        {"{" PART("packed", "F32", "2,1", "0,8") "," SCALE "," EXTENT "}", WOQ_ERROR_INVALID_DATA,
         "'l.weight_packed' must be an I32 matrix", 2, 8},
        {"{" CODES "," SCALE "," EXTENT "}", WOQ_ERROR_INVALID_DATA, "'l.weight_shape' does not fit", 3, 8},
        {"{" CODES "," SCALE "," EXTENT "}", WOQ_ERROR_INVALID_DATA, "'l.weight_packed' has too few or too many", 2, 9},
        {"{" CODES "," SCALE "," PART("g_idx", "U8", "0", "16,16") "," EXTENT "}", WOQ_ERROR_UNSUPPORTED,
         "'l.weight_g_idx': activation order", 2, 8},
        {"{" CODES "," SCALE "," PART("zero_point", "U8", "0", "16,16") "," EXTENT "}", WOQ_ERROR_INVALID_DATA,
         "'l.weight_zero_point' must be I32 of packed rows", 2, 8},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_checkpoint *c = NULL;
        struct woq_weights_source source;
        safetensors_make(&file, cases[i].header, 32);
        file.data[file.size - 16] = cases[i].rows;
        file.data[file.size - 8] = cases[i].columns;
        assert_int_equal(woqi_ckpt_open_memory(WOQ_CONTAINER_SAFETENSORS, file.data, file.size, &c), WOQ_OK);
        EXPECT(cases[i].status, cases[i].mention, woq_checkpoint_packed_source(c, "l", &source));
        woq_source_release(&source);
        woq_checkpoint_close(&c);
    }
    test_expectations_met();
}

/* ---- Directories ---- */

static char directory[] = "/tmp/woq-bad-input-XXXXXX";

static const char *in_directory(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_file(const char *name, const void *bytes, size_t size)
{
    FILE *out = fopen(in_directory(name), "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
}

#define SHAPE(hidden)                                                                                                  \
    "\"hidden_size\":" hidden ",\"intermediate_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"            \
    "\"vocab_size\":8,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5"

static void test_config_json(void **state)
{
    static const struct {
        const char *text;
        enum woq_status status;
        const char *mention;
    } cases[] = {
        {"", WOQ_ERROR_INVALID_DATA, "config.json: no valid JSON at byte 0"},
        {"{\"a\":1,}", WOQ_ERROR_INVALID_DATA, "config.json: no valid JSON at byte 6"},
        {"[1]", WOQ_ERROR_INVALID_DATA, "config.json is no JSON object"},
        {"{\"a\":1,\"a\":2}", WOQ_ERROR_INVALID_DATA, "config.json: metadata key 'a' is there twice"},
        {"{\"a\":\"\\ud800\"}", WOQ_ERROR_INVALID_DATA, "config.json: no valid JSON"},
        {"{\"\":1}", WOQ_ERROR_INVALID_DATA, "config.json: metadata key 0 has 0 bytes"},
        {"{" SHAPE("8") "}", WOQ_ERROR_INVALID_DATA, "config.json: model_type is missing; must be llama, mistral"},
        {"{\"model_type\":\"gemma\"," SHAPE("8") "}", WOQ_ERROR_UNSUPPORTED, "'gemma'; must be llama, mistral, qwen2"},
        {"{\"model_type\":\"llama\"," SHAPE("-8") "}", WOQ_ERROR_INVALID_DATA, "config.json: hidden_size is -8; must"},
        {"{\"model_type\":\"llama\"," SHAPE("8.5") "}", WOQ_ERROR_INVALID_DATA,
         "config.json: hidden_size is 8.5; must"},
        {"{\"model_type\":\"llama\"," SHAPE("1e99") "}", WOQ_ERROR_INVALID_DATA, "hidden_size is 1e+99; must be 1 to"},
        {"{\"model_type\":\"llama\"," SHAPE("[8]") "}", WOQ_ERROR_INVALID_DATA, "hidden_size is [1: 8]; must be 1 to"},
        {"{\"model_type\":\"llama\"," SHAPE("8") "}", WOQ_ERROR_INVALID_DATA, "'model.embed_tokens.weight' is missing"},
    };
    (void)state;
    assert_non_null(mkdtemp(directory));
    safetensors_make(&file, "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    write_file("model.safetensors", file.data, file.size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_model_config config;
        struct woq_checkpoint *c = NULL;
        write_file("config.json", cases[i].text, strlen(cases[i].text));
        enum woq_status st = woq_checkpoint_open(directory, NULL, &c);
        if (!st)
            st = woq_checkpoint_config(c, &config);
        EXPECT(cases[i].status, cases[i].mention, st);
        assert_non_null(strstr(woq_last_message(), directory));
        woq_checkpoint_close(&c);
    }
    unlink(in_directory("config.json"));
    unlink(in_directory("model.safetensors"));
    test_expectations_met();
}

static void test_deep(void **state)
{
    static char text[200008] = "{\"a\":";
    struct woq_checkpoint *c = NULL;
    (void)state;
    memset(text + 5, '[', 100000);
    memset(text + 100005, ']', 100000);
    text[200005] = '}';
    write_file("config.json", text, 200006);
    EXPECT(WOQ_ERROR_INVALID_DATA, "is nested deeper than 32", woq_checkpoint_open(directory, NULL, &c));
    assert_non_null(strstr(woq_last_message(), "config.json: 'a.0.0.0"));
    unlink(in_directory("config.json"));
    test_expectations_met();
}

/* ---- Messages ---- */

/* What a file says cannot reach the terminal as a command, nor as another line. */
static void test_controls(void **state)
{
    struct woq_checkpoint *c = NULL;
    (void)state;
    safetensors_make(&file,
                     "{\"a\":{\"dtype\":\"\\u001b[2J\\n\\u009b1m\\u007f\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "dtype '?[2J???1m?' is unknown",
           woqi_ckpt_open_memory(WOQ_CONTAINER_SAFETENSORS, file.data, file.size, &c));
    test_expectations_met();
}

/* ---- Size ---- */

/* 16 GiB, of which the headers alone are on the disk: mapped, not read. */
static void test_large(void **state)
{
    struct woq_checkpoint *c = NULL;
    struct rusage before, after;
    float row[WIDTH];
    (void)state;
    gguf_begin(&file, 3, 2, 0);
    gguf_tensor(&file, "a", F16, UINT64_C(1) << 27, WIDTH, 0);
    gguf_tensor(&file, "b", F16, UINT64_C(1) << 27, WIDTH, UINT64_C(1) << 33);
    file_pad(&file, 32);
    const off_t size = (off_t)file.size + ((off_t)1 << 34);
    write_file("large.gguf", file.data, file.size);
    if (truncate(in_directory("large.gguf"), size)) {
        print_message("no sparse files here\n");
    } else {
        getrusage(RUSAGE_SELF, &before);
        EXPECT_OK(woq_checkpoint_open(in_directory("large.gguf"), NULL, &c));
        const struct woq_tensor *b = woq_checkpoint_find(c, "b");
        EXPECT_OK(woq_tensor_read(b, (UINT64_C(1) << 27) - 1, 1, row));
        getrusage(RUSAGE_SELF, &after);
        assert_true(after.ru_maxrss - before.ru_maxrss < 8 << 10); /* KiB */
        woq_checkpoint_close(&c);
        assert_int_equal(truncate(in_directory("large.gguf"), size - 1), 0);
        EXPECT(WOQ_ERROR_INVALID_DATA, "'b': 8589934592 bytes at offset 8589934592",
               woq_checkpoint_open(in_directory("large.gguf"), NULL, &c));
    }
    unlink(in_directory("large.gguf"));
    rmdir(directory);
    test_expectations_met();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf), cmocka_unit_test(test_weights),  cmocka_unit_test(test_packed),
        cmocka_unit_test(test_config_json), cmocka_unit_test(test_deep), cmocka_unit_test(test_controls),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
