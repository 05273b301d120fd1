/* test_tokenizer_files.c: tokenizers out of GGUF metadata and Hugging Face directories, through the public functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <woq/tokenizer.h>

#include "checkpoint/checkpoint_impl.h"

/* ---- GGUF files of metadata alone ---- */

enum { UINT32 = 4, FLOAT32 = 6, BOOL = 7, STRING = 8, ARRAY = 9, INT32 = 5 }; /* GGUF's value types */

struct file {
    uint8_t bytes[4096];
    size_t size;
    uint64_t keys;
};

static void put(struct file *f, const void *bytes, size_t size)
{
    assert_true(f->size + size <= sizeof f->bytes);
    memcpy(f->bytes + f->size, bytes, size);
    f->size += size;
}

static void put_number(struct file *f, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    put(f, bytes, size);
}

static void put_text(struct file *f, const char *text)
{
    put_number(f, strlen(text), 8);
    put(f, text, strlen(text));
}

static void put_key(struct file *f, const char *name, uint32_t type)
{
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    put_text(f, key);
    put_number(f, type, 4);
    f->keys++;
}

static void put_string(struct file *f, const char *name, const char *text)
{
    put_key(f, name, STRING);
    put_text(f, text);
}

static void put_strings(struct file *f, const char *name, const char *const *texts, size_t count)
{
    put_key(f, name, ARRAY);
    put_number(f, STRING, 4);
    put_number(f, count, 8);
    for (size_t i = 0; i < count; i++)
        put_text(f, texts[i]);
}

static void put_uint(struct file *f, const char *name, uint32_t value)
{
    put_key(f, name, UINT32);
    put_number(f, value, 4);
}

static void put_scores(struct file *f, const float *scores, size_t count)
{
    put_key(f, "scores", ARRAY);
    put_number(f, FLOAT32, 4);
    put_number(f, count, 8);
    put(f, scores, count * 4);
}

static void put_types(struct file *f, const int32_t *types, size_t count)
{
    put_key(f, "token_type", ARRAY);
    put_number(f, INT32, 4);
    put_number(f, count, 8);
    for (size_t i = 0; i < count; i++)
        put_number(f, (uint32_t)types[i], 4);
}

static void begin(struct file *f)
{
    memset(f, 0, sizeof *f);
    put(f, "GGUF", 4);
    put_number(f, 3, 4);
    put_number(f, 0, 8);
    put_number(f, 0, 8); /* of keys, set by make */
}

static enum woq_status make(struct file *f, struct woq_tokenizer **out)
{
    struct woq_checkpoint *c;
    struct file whole = *f;
    for (size_t i = 0; i < 8; i++)
        whole.bytes[16 + i] = (uint8_t)(f->keys >> 8 * i);
    while (whole.size % 32)
        whole.size++;
    if (woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, whole.bytes, whole.size, &c))
        fail_msg("%s", woq_last_message());
    enum woq_status st = woq_tokenizer_create(c, out);
    woq_checkpoint_close(&c);
    return st;
}

static void refused(struct file *f, enum woq_status status, const char *word)
{
    struct woq_tokenizer *t;
    assert_int_equal(make(f, &t), status);
    assert_null(t);
    if (!strstr(woq_last_message(), word))
        fail_msg("\"%s\" does not name \"%s\"", woq_last_message(), word);
}

static void check_ids(const struct woq_tokenizer *t, const char *text, uint32_t flags, const char *expected)
{
    int32_t *ids;
    size_t count;
    char line[256] = "";
    assert_int_equal(woq_tokenizer_encode(t, text, strlen(text), flags, &ids, &count), WOQ_OK);
    for (size_t i = 0; i < count; i++)
        snprintf(line + strlen(line), sizeof line - strlen(line), i ? " %d" : "%d", (int)ids[i]);
    assert_string_equal(line, expected);
    free(ids);
}

static const char *const tokens[] = {"a", "b", "ab", "1", "11", "\xc4\xa0", "<end>"};
static const char *const merges[] = {"a b", "1 1"};
static const int32_t types[] = {1, 1, 1, 1, 1, 1, 3};

static void begin_bytes(struct file *f, const char *pre)
{
    begin(f);
    put_string(f, "model", "gpt2");
    if (pre)
        put_string(f, "pre", pre);
}

static void test_gguf_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *pre, *ids;
        bool adds_bos;
    } cases[] = {{"gpt-2", "2 5 4 3", false}, {"smollm", "2 5 3 3 3", false}, {"llama-bpe", "2 5 4 3", true},
                 {"llama3", "2 5 4 3", true}, {"qwen2", "2 5 3 3 3", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct file f;
        struct woq_tokenizer *t;
        begin_bytes(&f, cases[i].pre);
        put_strings(&f, "tokens", tokens, 7);
        put_types(&f, types, 7);
        put_strings(&f, "merges", merges, 2);
        put_uint(&f, "bos_token_id", 6);
        put_uint(&f, "eos_token_id", UINT32_MAX);
        if (make(&f, &t))
            fail_msg("%s", woq_last_message());
        assert_int_equal(woq_tokenizer_bos(t), 6);
        assert_int_equal(woq_tokenizer_eos(t), -1);
        assert_int_equal(woq_tokenizer_adds_bos(t), cases[i].adds_bos);
        check_ids(t, "ab 111", 0, cases[i].ids);
        check_ids(t, "a<end>b", WOQ_ENCODE_SPECIAL, "0 6 1");
        woq_tokenizer_destroy(&t);
    }
}

static void test_gguf_chars(void **state)
{
    (void)state;
    static const char *const texts[] = {"<unk>", "<s>", "\xe2\x96\x81", "a", "\xe2\x96\x81" "a", "aa", "<0x0A>"};
    static const float scores[] = {0, 0, -4, -3, -1, -2, 0};
    struct file f;
    struct woq_tokenizer *t;
    begin(&f);
    put_string(&f, "model", "llama");
    put_strings(&f, "tokens", texts, 7);
    put_scores(&f, scores, 7);
    struct file no_prefix = f, short_scores = f;
    put_types(&f, (const int32_t[]){2, 3, 1, 1, 1, 1, 6}, 7);
    if (make(&f, &t))
        fail_msg("%s", woq_last_message());
    assert_true(!woq_tokenizer_adds_bos(t)); /* there is none */
    check_ids(t, "aaa\nb", 0, "4 5 6 0");
    woq_tokenizer_destroy(&t);
    put_uint(&no_prefix, "bos_token_id", 1);
    put_uint(&no_prefix, "unknown_token_id", 0);
    put_key(&no_prefix, "add_space_prefix", BOOL);
    put_number(&no_prefix, 0, 1);
    if (make(&no_prefix, &t)) /* no types: bytes are known by their names */
        fail_msg("%s", woq_last_message());
    assert_true(woq_tokenizer_adds_bos(t));
    check_ids(t, "aaa\nb", WOQ_ENCODE_BOS, "1 5 3 6 0");
    woq_tokenizer_destroy(&t);
    put_types(&short_scores, types, 6);
    refused(&short_scores, WOQ_ERROR_INVALID_DATA, "token_type has 6");
}

static void test_gguf_refused(void **state)
{
    (void)state;
    const enum woq_status data = WOQ_ERROR_INVALID_DATA, unsupported = WOQ_ERROR_UNSUPPORTED;
    struct file f, start;
    begin(&f);
    refused(&f, data, "tokenizer.ggml.model is missing");
    put_string(&f, "model", "bert");
    refused(&f, unsupported, "\"bert\"; known are gpt2, llama");
    begin_bytes(&f, NULL);
    refused(&f, unsupported, "tokenizer.ggml.pre is missing");
    begin_bytes(&f, "tekken");
    refused(&f, unsupported, "\"tekken\"; known are gpt-2, smollm, llama-bpe, qwen2");
    begin_bytes(&f, "gpt-2");
    refused(&f, data, "tokens is missing");
    put_strings(&f, "tokens", tokens, 7);
    start = f;
    refused(&f, data, "merges is missing");
    put_strings(&f, "merges", (const char *const[]){"ab"}, 1);
    refused(&f, data, "merges[0]");
    f = start;
    put_strings(&f, "merges", (const char *const[]){"a b", "b z"}, 2);
    refused(&f, data, "merge 1, \"b\" with \"z\": the right side is");
    f = start;
    put_strings(&f, "merges", merges, 2);
    put_uint(&f, "bos_token_id", 7);
    refused(&f, data, "begin-of-text token is 7");
    begin(&f);
    put_string(&f, "model", "llama");
    put_strings(&f, "tokens", tokens, 7);
    refused(&f, data, "scores is missing");
    put_scores(&f, (const float[]){1}, 1);
    refused(&f, data, "scores has 1 elements for 7");
}

/* ---- Directories ---- */

static void write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void test_directory(void **state)
{
    (void)state;
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
    static const char json[] = "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":"
                               "{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
    static const char config[] = "{\"bos_token\":\"a\",\"eos_token\":{\"content\":\"b\"},\"add_bos_token\":true}";
    char folder[] = "/tmp/woq_tokenizer_XXXXXX", path[3][128];
    struct file f = {.size = 0};
    struct woq_checkpoint *c;
    struct woq_tokenizer *t;
    assert_non_null(mkdtemp(folder));
    snprintf(path[0], sizeof path[0], "%s/model.safetensors", folder);
    snprintf(path[1], sizeof path[1], "%s/tokenizer.json", folder);
    snprintf(path[2], sizeof path[2], "%s/tokenizer_config.json", folder);
    put_number(&f, sizeof header - 1, 8);
    put(&f, header, sizeof header - 1);
    put_number(&f, 0, 4);
    write_file(path[0], f.bytes, f.size);
    if (woq_checkpoint_open(path[0], NULL, &c))
        fail_msg("%s", woq_last_message());
    assert_int_equal(woq_tokenizer_create(c, &t), WOQ_ERROR_INVALID_DATA);
    assert_non_null(strstr(woq_last_message(), "tokenizer.json: there is no such file"));
    write_file(path[1], json, sizeof json - 1);
    assert_int_equal(woq_tokenizer_create(c, &t), WOQ_OK);
    assert_int_equal(woq_tokenizer_bos(t), -1);
    woq_tokenizer_destroy(&t);
    write_file(path[2], config, sizeof config - 1);
    assert_int_equal(woq_tokenizer_create(c, &t), WOQ_OK);
    assert_int_equal(woq_tokenizer_bos(t), 0);
    assert_int_equal(woq_tokenizer_eos(t), 1);
    assert_true(woq_tokenizer_adds_bos(t));
    check_ids(t, "abab", 0, "2 2");
    woq_tokenizer_destroy(&t);
    write_file(path[2], "{", 1);
    assert_int_equal(woq_tokenizer_create(c, &t), WOQ_ERROR_INVALID_DATA);
    assert_non_null(strstr(woq_last_message(), "tokenizer_config.json"));
    woq_checkpoint_close(&c);
    for (int i = 0; i < 3; i++)
        unlink(path[i]);
    rmdir(folder);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_bytes),
        cmocka_unit_test(test_gguf_chars),
        cmocka_unit_test(test_gguf_refused),
        cmocka_unit_test(test_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
