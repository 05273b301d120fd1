/*
 * test_tokenizer.c: text to ids and back.
 *
 * The vectors of ../shared/data/tokenizers (or $WOQ_SHARED_DATA/tokenizers), vocabularies made here, and a mode for
 * tokenizer_compare.py:
 *
 *     test_tokenizer --encode FILE STRINGS [special]
 *
 * FILE: a GGUF or a tokenizer.json. STRINGS: each a little-endian 32-bit size and so many bytes. Per string, a line
 * of ids, a tab, and the text decoded from them, in hexadecimal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <math.h>
#include <woq/tokenizer.h>

#include "support/shared_data.h"
#include "tokenizer/tokenizer_impl.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* ---- Files ---- */

static char *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    char *text = NULL;
    *size = 0;
    for (size_t room = 1 << 16;; room *= 2) {
        char *grown = realloc(text, room + 1);
        if (!grown)
            break;
        text = grown;
        *size += fread(text + *size, 1, room - *size, file);
        if (*size < room)
            break;
    }
    fclose(file);
    if (text)
        text[*size] = 0;
    return text;
}

static enum woq_status open_tokenizer(const char *path, struct woq_tokenizer **out)
{
    size_t length = strlen(path), size = 0;
    *out = NULL;
    if (length > 5 && !strcmp(path + length - 5, ".json")) {
        char *text = read_file(path, &size);
        if (!text)
            return WOQ_ERROR_INVALID_ARGUMENT;
        enum woq_status st = woqi_tok_from_json(path, text, size, NULL, 0, -1, -1, out);
        free(text);
        return st;
    }
    struct woq_checkpoint *checkpoint = NULL;
    enum woq_status st = woq_checkpoint_open(path, NULL, &checkpoint);
    if (!st)
        st = woq_tokenizer_create(checkpoint, out);
    woq_checkpoint_close(&checkpoint);
    return st;
}

/* NULL, and the test skipped, where the file is absent. */
static struct woq_tokenizer *shared_tokenizer(const char *name)
{
    char path[4096], file[256];
    snprintf(file, sizeof file, "tokenizers/%s", name);
    if (!shared_data_path(file, path, sizeof path)) {
        skip();
        return NULL;
    }
    struct woq_tokenizer *t;
    if (open_tokenizer(path, &t))
        fail_msg("%s: %s", path, woq_last_message());
    return t;
}

/* ---- Checks ---- */

static void check_ids(const struct woq_tokenizer *t, const char *text, size_t size, uint32_t flags,
                      const int32_t *expected, size_t expected_count)
{
    int32_t *ids;
    size_t count;
    assert_int_equal(woq_tokenizer_encode(t, text, size, flags, &ids, &count), WOQ_OK);
    bool same = count == expected_count;
    for (size_t i = 0; same && i < count; i++)
        same = ids[i] == expected[i];
    if (!same) {
        fprintf(stderr, "\"%.*s\" gives", (int)size, text);
        for (size_t i = 0; i < count; i++)
            fprintf(stderr, " %d", (int)ids[i]);
        fprintf(stderr, ", not");
        for (size_t i = 0; i < expected_count; i++)
            fprintf(stderr, " %d", (int)expected[i]);
        fprintf(stderr, "\n");
        fail();
    }
    free(ids);
}

static void check_round_trip(const struct woq_tokenizer *t, const char *text, size_t size)
{
    int32_t *ids;
    size_t count, decoded_size;
    char *decoded;
    assert_int_equal(woq_tokenizer_encode(t, text, size, 0, &ids, &count), WOQ_OK);
    assert_int_equal(woq_tokenizer_decode(t, ids, count, &decoded, &decoded_size), WOQ_OK);
    assert_int_equal(decoded_size, size);
    assert_memory_equal(decoded, text, size);
    assert_int_equal(decoded[size], 0);
    free(ids);
    free(decoded);
}

#define IDS(t, text, flags, ...)                                                                   \
    check_ids(t, text, sizeof(text) - 1, flags, (const int32_t[]){__VA_ARGS__},                    \
              COUNT(((const int32_t[]){__VA_ARGS__})))

/* ---- Vectors ---- */

static void run_vectors(const char *name)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    struct woq_tokenizer *t = shared_tokenizer(name);
    char path[4096], file[256];
    size_t size, unused, blocks = 0;
    snprintf(file, sizeof file, "tokenizers/%s.inp", name);
    assert_true(shared_data_path(file, path, sizeof path));
    char *input = read_file(path, &size);
    snprintf(file, sizeof file, "tokenizers/%s.out", name);
    assert_true(shared_data_path(file, path, sizeof path));
    char *output = read_file(path, &unused);
    assert_non_null(input);
    assert_non_null(output);
    char *line = output;
    for (char *text = input, *end; (end = strstr(text, separator)) != NULL;
         text = end + strlen(separator)) {
        int32_t expected[4096];
        size_t count = 0;
        char *line_end = strchr(line, '\n');
        assert_non_null(line_end);
        while (line + strspn(line, " ") < line_end && count < COUNT(expected))
            expected[count++] = (int32_t)strtol(line, &line, 10);
        line = line_end + 1;
        check_ids(t, text, (size_t)(end - text), 0, expected, count);
        if (woq_tokenizer_bos(t) != 1) /* SentencePiece's take U+2581 for a space */
            check_round_trip(t, text, (size_t)(end - text));
        blocks++;
    }
    assert_int_equal(blocks, 46);
    free(input);
    free(output);
    woq_tokenizer_destroy(&t);
    assert_null(t);
}

static void test_vectors_gpt2(void **state)
{
    (void)state;
    run_vectors("ggml-vocab-gpt-2.gguf");
}

static void test_vectors_llama(void **state)
{
    (void)state;
    run_vectors("ggml-vocab-llama-spm.gguf");
}

/* ---- Byte-level, GPT-2's vocabulary ---- */

static void test_gpt2(void **state)
{
    (void)state;
    struct woq_tokenizer *t = shared_tokenizer("ggml-vocab-gpt-2.gguf");
    size_t size;
    assert_int_equal(woq_tokenizer_vocabulary(t), 50257);
    assert_int_equal(woq_tokenizer_bos(t), 50256);
    assert_int_equal(woq_tokenizer_eos(t), 50256);
    assert_false(woq_tokenizer_adds_bos(t));
    IDS(t, "Hello", WOQ_ENCODE_BOS, 50256, 15496);
    IDS(t, "Hello<|endoftext|>Hello", WOQ_ENCODE_SPECIAL, 15496, 50256, 15496);
    IDS(t, "<|endoftext|>", 0, 27, 91, 437, 1659, 5239, 91, 29);
    IDS(t, "\xff", 0, 4210); /* U+FFFD */
    IDS(t, "a\xe2\x82", 0, 64, 6353); /* two of it, which merge */
    assert_memory_equal(woq_tokenizer_piece(t, 995, &size), " world", 6);
    assert_int_equal(size, 6);
    assert_memory_equal(woq_tokenizer_piece(t, 50256, &size), "<|endoftext|>", 13);
    assert_int_equal(size, 13);
    assert_null(woq_tokenizer_piece(t, 50257, &size));
    assert_int_equal(size, 0);
    assert_null(woq_tokenizer_piece(t, -1, NULL));
    char *text;
    const int32_t ids[] = {50256, 15496, 50256, 995};
    assert_int_equal(woq_tokenizer_decode(t, ids, 4, &text, &size), WOQ_OK);
    assert_string_equal(text, "Hello world");
    assert_int_equal(size, 11);
    free(text);
    woq_tokenizer_destroy(&t);
}

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static size_t put_code(char *to, uint32_t c)
{
    if (c < 0x80)
        return to[0] = (char)c, 1;
    if (c < 0x800)
        return to[0] = (char)(0xc0 | c >> 6), to[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return to[0] = (char)(0xe0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 63)),
               to[2] = (char)(0x80 | (c & 63)), 3;
    return to[0] = (char)(0xf0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 63)),
           to[2] = (char)(0x80 | (c >> 6 & 63)), to[3] = (char)(0x80 | (c & 63)), 4;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct woq_tokenizer *t = shared_tokenizer("ggml-vocab-gpt-2.gguf");
    uint32_t seed = 12345;
    for (int round = 0; round < 2000; round++) {
        char text[4 * 64];
        size_t size = 0, codes = next_random(&seed) % 64;
        for (size_t i = 0; i < codes; i++) {
            static const uint32_t limits[] = {0x80, 0x250, 0x3000, 0x110000};
            uint32_t code = next_random(&seed) % limits[next_random(&seed) % 4];
            size += put_code(text + size, code >= 0xd800 && code < 0xe000 ? ' ' : code);
        }
        check_round_trip(t, text, size);
    }
    woq_tokenizer_destroy(&t);
}

/* Work must grow with a word's length, not with its square: these would take minutes. */
static void run_long(const char *name, const char *unit)
{
    struct woq_tokenizer *t = shared_tokenizer(name);
    size_t unit_size = strlen(unit), size = (1u << 20) / unit_size * unit_size;
    char *text = malloc(size);
    assert_non_null(text);
    for (size_t i = 0; i < size; i += unit_size)
        memcpy(text + i, unit, unit_size);
    clock_t begin = clock();
    check_round_trip(t, text, size);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    printf("1 MiB of \"%s\": %.2f s\n", unit, seconds);
    assert_true(seconds < 30);
    free(text);
    woq_tokenizer_destroy(&t);
}

static void test_long_words(void **state)
{
    (void)state;
    run_long("ggml-vocab-gpt-2.gguf", "a");
    run_long("ggml-vocab-gpt-2.gguf", "the");
    run_long("ggml-vocab-gpt-2.gguf", " ");
    run_long("ggml-vocab-gpt-2.gguf", "<");
    run_long("ggml-vocab-llama-spm.gguf", "abc ");
    run_long("ggml-vocab-llama-spm.gguf", " ");
}

/* ---- SentencePiece-style, Llama 2's vocabulary ---- */

static void test_llama(void **state)
{
    (void)state;
    struct woq_tokenizer *t = shared_tokenizer("ggml-vocab-llama-spm.gguf");
    size_t size;
    char *text;
    assert_int_equal(woq_tokenizer_vocabulary(t), 32000);
    assert_int_equal(woq_tokenizer_bos(t), 1);
    assert_int_equal(woq_tokenizer_eos(t), 2);
    assert_true(woq_tokenizer_adds_bos(t));
    IDS(t, "Hello", WOQ_ENCODE_BOS, 1, 15043);
    IDS(t, "Hello</s>Hello", WOQ_ENCODE_SPECIAL, 15043, 2, 15043);
    IDS(t, "</s>", 0, 1533, 29879, 29958);
    IDS(t, "\x01", 0, 29871, 4);
    IDS(t, "\xff", 0, 29871, 30140);
    assert_memory_equal(woq_tokenizer_piece(t, 15043, &size), " Hello", 6);
    assert_int_equal(size, 6);
    assert_memory_equal(woq_tokenizer_piece(t, 4, &size), "\x01", 1);
    assert_int_equal(size, 1);
    assert_memory_equal(woq_tokenizer_piece(t, 1, &size), "<s>", 3);
    const int32_t ids[] = {1, 15043, 3186, 4, 0, 2};
    assert_int_equal(woq_tokenizer_decode(t, ids, COUNT(ids), &text, &size), WOQ_OK);
    assert_string_equal(text, "Hello world\x01");
    free(text);
    check_round_trip(t, " two  spaces\n", 13);
    woq_tokenizer_destroy(&t);
}

/* ---- Vocabularies of our own ---- */

static enum woq_status from_json(const char *json, const char *config, struct woq_tokenizer **out)
{
    return woqi_tok_from_json("tokenizer.json", json, strlen(json), config,
                              config ? strlen(config) : 0, -1, -1, out);
}

#define BYTE_LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"

static void test_json_bytes(void **state)
{
    (void)state;
    struct woq_tokenizer *t;
    static const char json[] =
        "{\"added_tokens\":[{\"id\":9,\"content\":\"<e>\",\"special\":true,\"lstrip\":true,"
        "\"rstrip\":true},{\"id\":10,\"content\":\"<user>\"},{\"id\":8,\"content\":\"<us\"}],"
        "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\","
        "\"individual_digits\":true},{\"type\":\"ByteLevel\",\"add_prefix_space\":false}]},"
        "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"\xc4\xa0\":2,\"ab\":3,"
        "\"\xc4\xa0"
        "ab\":4,\"1\":5,\"11\":6,\"abab\":7},\"merges\":[\"a b\",[\"\xc4\xa0\",\"ab\"],"
        "\"1 1\",\"ab ab\"]}}";
    if (from_json(json, "{\"bos_token\":{\"content\":\"<e>\"},\"eos_token\":\"<user>\"}", &t))
        fail_msg("%s", woq_last_message());
    assert_int_equal(woq_tokenizer_vocabulary(t), 11);
    assert_int_equal(woq_tokenizer_bos(t), 9);
    assert_int_equal(woq_tokenizer_eos(t), 10);
    assert_false(woq_tokenizer_adds_bos(t));
    IDS(t, "abab ab ba", 0, 7, 4, 2, 1, 0);
    IDS(t, "a11", 0, 0, 5, 5);
    IDS(t, "a \n<e>\t a", WOQ_ENCODE_SPECIAL | WOQ_ENCODE_BOS, 9, 0, 9, 0);
    IDS(t, "<user><us<u", 0, 10, 8);  /* the longest; bytes without token are dropped */
    IDS(t, "azb", 0, 3);
    woq_tokenizer_destroy(&t);
}

#define SPM                                                                                        \
    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"    \
    "\"\xe2\x96\x81\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":"          \
    "\"\xe2\x96\x81\"}]}"

static void test_json_chars(void **state)
{
    (void)state;
    struct woq_tokenizer *t;
    static const char json[] =
        "{\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":1,"
        "\"content\":\"<s>\",\"special\":true}]," SPM
        ",\"pre_tokenizer\":null,\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":"
        "[{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]},"
        "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":"
        "true,\"vocab\":{\"<unk>\":0,\"<s>\":1,\"\xe2\x96\x81\":2,\"a\":3,\"\xe2\x96\x81"
        "a\":4,\"<0x0A>\":5,\"aa\":6},\"merges\":[\"\xe2\x96\x81 a\",\"a a\"]}}";
    if (from_json(json, "{\"bos_token\":\"<s>\"}", &t))
        fail_msg("%s", woq_last_message());
    assert_true(woq_tokenizer_adds_bos(t));
    IDS(t, "aaa", WOQ_ENCODE_BOS, 1, 4, 6);
    IDS(t, "a<s>a", WOQ_ENCODE_SPECIAL, 4, 1, 4);
    IDS(t, "zz\nz", 0, 2, 0, 5, 0);
    IDS(t, "  a", 0, 2, 2, 4);
    woq_tokenizer_destroy(&t);
}

static void refused(const char *json, enum woq_status status, const char *word)
{
    struct woq_tokenizer *t;
    assert_int_equal(from_json(json, NULL, &t), status);
    assert_null(t);
    if (!strstr(woq_last_message(), word))
        fail_msg("\"%s\" does not name \"%s\"", woq_last_message(), word);
}

static void test_json_refused(void **state)
{
    (void)state;
    const enum woq_status data = WOQ_ERROR_INVALID_DATA, unsupported = WOQ_ERROR_UNSUPPORTED;
    refused("", data, "byte 0");
    refused("[]", data, "object");
    refused("{" BYTE_LEVEL "}", data, "model");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"Unigram\"}}", unsupported, "Unigram");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\"}}", data, "vocab");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", data, "merges");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}",
            data, "id");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":99999},\"merges\":[]}}",
            data, "99999");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},"
            "\"merges\":[]}}",
            data, "twice");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}}",
            data, "merges[0]");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":"
            "[\"a a\"]}}",
            data, "what they give");
    refused("{" BYTE_LEVEL ",\"model\":{\"type\":\"BPE\",\"dropout\":0.5,\"vocab\":{\"a\":0},"
            "\"merges\":[]}}",
            unsupported, "dropout");
    refused("{" BYTE_LEVEL ",\"added_tokens\":[{\"id\":0}],\"model\":{\"type\":\"BPE\",\"vocab\":"
            "{\"a\":0},\"merges\":[]}}",
            data, "content");
    refused("{" BYTE_LEVEL ",\"added_tokens\":[{\"id\":0,\"content\":\"a\",\"single_word\":true}],"
            "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}",
            unsupported, "single_word");
    refused("{\"normalizer\":{\"type\":\"Lowercase\"}}", unsupported, "Lowercase");
    refused("{\"pre_tokenizer\":{\"type\":\"Whitespace\"}}", unsupported, "Whitespace");
    refused("{\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":"
            "{\"Regex\":\"(a+)+b\"}}}",
            unsupported, "Split");
    refused("{\"pre_tokenizer\":{\"type\":\"ByteLevel\"}}", unsupported, "ByteLevel");
    refused("{\"pre_tokenizer\":null}", unsupported, "smollm");
    refused("{" SPM ",\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"<0x00>\":0},"
            "\"merges\":[]}}",
            data, "<0x01>");
    refused("{" SPM ",\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"<0x0z>\":0},"
            "\"merges\":[]}}",
            data, "of type byte");
}

static const struct woq_text three[] = {{"a", 1}, {"b", 1}, {"<unk>", 5}};
static const int32_t three_types[] = {1, 1, 2};

static void test_source_refused(void **state)
{
    (void)state;
    static const float scores[] = {0, 1, 2}, bad_scores[] = {0, NAN, 2};
    static const int32_t bad_types[] = {1, 1, 7};
    struct woqi_tok_source source = {.name = "test", .kind = WOQI_TOK_CHARS, .count = 3,
                                     .tokens = three, .types = three_types, .scores = scores,
                                     .bos = -1, .eos = -1, .unknown = -1};
    struct woq_tokenizer *t;
    assert_int_equal(woqi_tok_build(&source, &t), WOQ_OK);
    IDS(t, "aba\xc2\xb5", 0, 0, 1, 0, 2);
    woq_tokenizer_destroy(&t);
    source.scores = bad_scores;
    assert_int_equal(woqi_tok_build(&source, &t), WOQ_ERROR_INVALID_DATA);
    assert_non_null(strstr(woq_last_message(), "score of token 1"));
    source.scores = scores;
    source.types = bad_types;
    assert_int_equal(woqi_tok_build(&source, &t), WOQ_ERROR_INVALID_DATA);
    assert_non_null(strstr(woq_last_message(), "type 7"));
    source.types = three_types;
    source.eos = 3;
    assert_int_equal(woqi_tok_build(&source, &t), WOQ_ERROR_INVALID_DATA);
    assert_non_null(strstr(woq_last_message(), "end-of-text"));
    source.eos = -1;
    source.count = 0;
    assert_int_equal(woqi_tok_build(&source, &t), WOQ_ERROR_INVALID_DATA);
    source.count = 2; /* without "<unk>" */
    assert_int_equal(woqi_tok_build(&source, &t), WOQ_ERROR_INVALID_DATA);
    assert_non_null(strstr(woq_last_message(), "<0x00>"));
}

static void test_arguments(void **state)
{
    (void)state;
    const enum woq_status invalid = WOQ_ERROR_INVALID_ARGUMENT;
    static const float scores[] = {0, 1, 2};
    struct woqi_tok_source source = {.name = "test", .kind = WOQI_TOK_CHARS, .count = 3,
                                     .tokens = three, .types = three_types, .scores = scores,
                                     .bos = -1, .eos = -1, .unknown = -1};
    struct woq_tokenizer *t;
    int32_t *ids, bad = 3;
    size_t count;
    char *text;
    assert_int_equal(woqi_tok_build(&source, &t), WOQ_OK);
    assert_int_equal(woq_tokenizer_encode(NULL, "", 0, 0, &ids, &count), invalid);
    assert_int_equal(woq_tokenizer_encode(t, NULL, 1, 0, &ids, &count), invalid);
    assert_int_equal(woq_tokenizer_encode(t, "", 0, 4, &ids, &count), invalid);
    assert_int_equal(woq_tokenizer_encode(t, "", 0, 0, NULL, &count), invalid);
    assert_int_equal(woq_tokenizer_encode(t, "", 0, 0, &ids, NULL), invalid);
    assert_int_equal(woq_tokenizer_encode(t, NULL, 0, 0, &ids, &count), WOQ_OK);
    assert_non_null(ids);
    assert_int_equal(count, 0);
    free(ids);
    assert_int_equal(woq_tokenizer_decode(t, &bad, 1, &text, &count), invalid);
    assert_null(text);
    assert_non_null(strstr(woq_last_message(), "ids[0] is 3"));
    assert_int_equal(woq_tokenizer_decode(t, NULL, 1, &text, &count), invalid);
    assert_int_equal(woq_tokenizer_decode(t, NULL, 0, &text, &count), WOQ_OK);
    assert_string_equal(text, "");
    free(text);
    woq_tokenizer_destroy(&t);
    woq_tokenizer_destroy(&t);
    woq_tokenizer_destroy(NULL);
    assert_int_equal(woq_tokenizer_create(NULL, &t), invalid);
    assert_int_equal(woq_tokenizer_bos(NULL), -1);
    assert_int_equal(woq_tokenizer_vocabulary(NULL), 0);
}

/* ---- For tokenizer_compare.py ---- */

static int encode_strings(const char *path, const char *strings, uint32_t flags)
{
    struct woq_tokenizer *t;
    size_t size = 0;
    char *all = read_file(strings, &size);
    if (!all || open_tokenizer(path, &t)) {
        fprintf(stderr, "%s\n", all ? woq_last_message() : "no strings");
        free(all);
        return 1;
    }
    for (size_t at = 0; at + 4 <= size;) {
        const uint8_t *p = (const uint8_t *)all + at;
        size_t length = p[0] | p[1] << 8 | p[2] << 16 | (size_t)p[3] << 24, count, text_size;
        int32_t *ids;
        char *text;
        at += 4;
        if (length > size - at || woq_tokenizer_encode(t, all + at, length, flags, &ids, &count) ||
            woq_tokenizer_decode(t, ids, count, &text, &text_size)) {
            fprintf(stderr, "%s\n", woq_last_message());
            return 1;
        }
        at += length;
        for (size_t i = 0; i < count; i++)
            printf(i ? " %d" : "%d", (int)ids[i]);
        putchar('\t');
        for (size_t i = 0; i < text_size; i++)
            printf("%02x", (unsigned)(uint8_t)text[i]);
        putchar('\n');
        free(ids);
        free(text);
    }
    woq_tokenizer_destroy(&t);
    free(all);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_gpt2), cmocka_unit_test(test_vectors_llama),
        cmocka_unit_test(test_gpt2),         cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_long_words),   cmocka_unit_test(test_llama),
        cmocka_unit_test(test_json_bytes),   cmocka_unit_test(test_json_chars),
        cmocka_unit_test(test_json_refused), cmocka_unit_test(test_source_refused),
        cmocka_unit_test(test_arguments),
    };
    if (argc >= 4 && !strcmp(argv[1], "--encode"))
        return encode_strings(argv[2], argv[3],
                              argc > 4 && !strcmp(argv[4], "special") ? WOQ_ENCODE_SPECIAL : 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
