/* test_calibrate_samples.c: windows drawn from texts, and room for activations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calibrate/activations.h"
#include "calibrate/samples.h"
#include "support/expect.h"
#include "tokenizer/tokenizer_impl.h"

enum { NEWLINE = 26, BOS = 28 };

static char directory[] = "/tmp/woq_test_samples.XXXXXX";
static struct woq_tokenizer *plain, *with_bos;

/* Letters are 0 … 25, a line's end is 26, a space 27; what is none of these is dropped. */
static struct woq_tokenizer *make_tokenizer(const char *config)
{
    struct woq_tokenizer *t = NULL;
    char json[1024], vocabulary[512] = "";
    for (int i = 0; i < 26; i++)
        snprintf(vocabulary + strlen(vocabulary), sizeof vocabulary - strlen(vocabulary), "\"%c\":%d,", 'a' + i, i);
    snprintf(json, sizeof json,
             "{\"added_tokens\":[{\"id\":28,\"content\":\"<s>\",\"special\":true}],\"pre_tokenizer\":{\"type\":"
             "\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{%s"
             "\"\xc4\x8a\":26,\"\xc4\xa0\":27},\"merges\":[]}}",
             vocabulary);
    EXPECT_OK(woqi_tok_from_json("letters", json, strlen(json), config, strlen(config), -1, -1, &t));
    test_expectations_met();
    return t;
}

/* A file in the directory; its path is static. */
static const char *write_file(const char *name, const char *text)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    return path;
}

/* Every machine, today and later, draws these. */
static void test_draw(void **state)
{
    static const struct {
        uint64_t available, seed;
        uint32_t count;
        uint64_t want[8];
    } cases[] = {{20, 0, 5, {0, 3, 5, 15, 17}},
                 {1000, 1, 8, {38, 55, 205, 242, 465, 582, 627, 781}},
                 {6, 3, 6, {0, 1, 2, 3, 4, 5}},
                 {100000, UINT64_C(0xdeadbeefcafe), 4, {29423, 86305, 91251, 93956}}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t *numbers = malloc(cases[i].available * sizeof *numbers);
        assert_non_null(numbers);
        woqi_samples_draw(numbers, cases[i].available, cases[i].count, cases[i].seed);
        for (uint32_t j = 0; j < cases[i].count; j++)
            assert_int_equal(numbers[j], cases[i].want[j]);
        free(numbers);
    }
}

/* Each window is as likely as another, and none comes twice. */
static void test_draw_is_even(void **state)
{
    enum { AVAILABLE = 12, COUNT = 5, DRAWS = 6000 };
    uint32_t hits[AVAILABLE] = {0};
    (void)state;
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        uint64_t numbers[AVAILABLE];
        woqi_samples_draw(numbers, AVAILABLE, COUNT, seed);
        for (int i = 0; i < COUNT; i++) {
            assert_true(numbers[i] < AVAILABLE && (!i || numbers[i] > numbers[i - 1]));
            hits[numbers[i]]++;
        }
    }
    /* 2500 each; the deviation of a count is sqrt(6000·5/12·7/12) = 38. */
    for (int i = 0; i < AVAILABLE; i++)
        assert_true(hits[i] > 2500 - 5 * 38 && hits[i] < 2500 + 5 * 38);
}

static void test_text(void **state)
{
    static const int windows[] = {1, 2, 6, 11}; /* of 13, by the seed 7 */
    const char *file = write_file("letters.txt", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabc");
    struct woqi_samples s;
    (void)state;
    for (int bos = 0; bos < 2; bos++) {
        EXPECT_OK(woqi_samples_read(bos ? with_bos : plain, file, 4, 4, 7, &s));
        test_expectations_met();
        assert_true(s.count == 4 && s.window == 4 && s.available == 13);
        for (int i = 0; i < 16; i++)
            assert_int_equal(s.tokens[i], bos && i % 4 == 0 ? BOS : (4 * windows[i / 4] + i % 4) % 26);
        woqi_samples_release(&s);
        assert_null(s.tokens);
        woqi_samples_release(&s);
    }
    /* Other seeds draw others. */
    struct woqi_samples other;
    EXPECT_OK(woqi_samples_read(plain, file, 4, 4, 7, &s));
    EXPECT_OK(woqi_samples_read(plain, file, 4, 4, 8, &other));
    assert_memory_not_equal(s.tokens, other.tokens, 16 * sizeof *s.tokens);
    woqi_samples_release(&s);
    woqi_samples_release(&other);
    /* What spells a special token is text. */
    static const int32_t spelled[] = {0, 1, 's' - 'a', 2, 3};
    EXPECT_OK(woqi_samples_read(plain, write_file("special.txt", "ab<s>cd"), 1, 5, 0, &s));
    assert_memory_equal(s.tokens, spelled, sizeof spelled);
    woqi_samples_release(&s);
    test_expectations_met();
}

static void test_json_lines(void **state)
{
    static const int32_t want[] = {0, 1, NEWLINE, NEWLINE, 2, 3, NEWLINE, NEWLINE, 4};
    struct woqi_samples s;
    (void)state;
    const char *file = write_file("some.jsonl", "{\"text\":\"ab\"}\r\n\n \t\n{\"id\": 3, \"text\": \"c\\u0064\"}\n"
                                                "{\"text\":\"e\"}");
    EXPECT_OK(woqi_samples_read(plain, file, 1, 9, 0, &s));
    test_expectations_met();
    assert_memory_equal(s.tokens, want, sizeof want);
    assert_int_equal(s.available, 1);
    woqi_samples_release(&s);
    /* The same bytes are text under another name. */
    EXPECT_OK(woqi_samples_read(plain, write_file("some.jsonl.txt", "{\"text\":\"ab\"}"), 1, 6, 0, &s));
    assert_int_equal(s.tokens[0], 't' - 'a');
    woqi_samples_release(&s);
    test_expectations_met();
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *mention;
    } lines[] = {{"{\"text\":\"ab\"}\n{\"text\":\"cd\"\n", "bad.jsonl:2: is no JSON"},
                 {"\n\n{\"txt\":\"ab\"}\n", "bad.jsonl:3: \"text\" is missing; must be an object with a member"},
                 {"{\"text\":7}", "bad.jsonl:1: \"text\" is no string"},
                 {"[\"text\"]", "bad.jsonl:1: \"text\" is missing"}};
    struct woqi_samples s;
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        EXPECT(WOQ_ERROR_INVALID_DATA, lines[i].mention,
               woqi_samples_read(plain, write_file("bad.jsonl", lines[i].text), 1, 1, 0, &s));
        assert_null(s.tokens);
    }
    const char *file = write_file("short.txt", "abcdefghij");
    EXPECT(WOQ_ERROR_INVALID_DATA, "10 tokens, but 4 samples of 3 need 12",
           woqi_samples_read(plain, file, 4, 3, 0, &s));
    EXPECT_BAD("above 0", woqi_samples_read(plain, file, 0, 3, 0, &s));
    EXPECT_BAD("above 0", woqi_samples_read(plain, file, 3, 0, 0, &s));
    EXPECT(WOQ_ERROR_INVALID_DATA, "0 tokens", woqi_samples_read(plain, write_file("empty.txt", ""), 1, 1, 0, &s));
    EXPECT_BAD("No such file", woqi_samples_read(plain, "/nowhere/at/all.txt", 1, 1, 0, &s));
    EXPECT_BAD("Is a directory", woqi_samples_read(plain, directory, 1, 1, 0, &s));
    test_expectations_met();
}

/* ---- Activations ---- */

static void check_zeroed_and_kept(struct woqi_activations *a, uint64_t bytes)
{
    unsigned char *data = a->data;
    assert_int_equal(a->bytes, bytes);
    for (uint64_t i = 0; i < bytes; i++)
        assert_int_equal(data[i], 0);
    memset(data, 0x5a, bytes);
    assert_true(data[0] == 0x5a && data[bytes - 1] == 0x5a);
    woqi_activations_release(a);
    assert_true(!a->data && !a->mapped && !a->bytes);
}

static void test_activations(void **state)
{
    struct woqi_activations a;
    (void)state;
    EXPECT_OK(woqi_activations_create(100, 300, 30000, NULL, &a));
    assert_false(a.mapped);
    check_zeroed_and_kept(&a, 30000);
    EXPECT_OK(woqi_activations_create(100, 300, 29999, directory, &a));
    assert_true(a.mapped);
    check_zeroed_and_kept(&a, 30000);
    EXPECT_OK(woqi_activations_create(1, 5000, 0, NULL, &a));
    assert_true(a.mapped);
    check_zeroed_and_kept(&a, 5000);
    EXPECT_OK(woqi_activations_create(0, 5000, 0, NULL, &a));
    woqi_activations_release(&a);
    EXPECT(WOQ_ERROR_OUT_OF_MEMORY, "rows", woqi_activations_create(UINT64_MAX, 3, UINT64_MAX, NULL, &a));
    EXPECT(WOQ_ERROR_DRIVER, "5000 bytes for activations in '/nowhere': No such file",
           woqi_activations_create(1, 5000, 0, "/nowhere", &a));
    assert_null(a.data);
    test_expectations_met();
    assert_int_equal(rmdir(directory), -1); /* the texts are there … */
    char command[128];
    snprintf(command, sizeof command, "test -z \"$(find %s -name 'woq-activations*')\"", directory);
    assert_int_equal(system(command), 0); /* … but no file of activations */
}

/* A disk without room, told at once. */
static void test_no_room(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    if (!child) {
        const struct rlimit limit = {8192, 8192};
        struct woqi_activations a;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        enum woq_status st = woqi_activations_create(3, 10000, 0, directory, &a);
        _exit(st == WOQ_ERROR_DRIVER && strstr(woq_last_message(), "30000 bytes") &&
                      strstr(woq_last_message(), "File too large")
                  ? 7
                  : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static int set_up(void **state)
{
    (void)state;
    plain = make_tokenizer("{}");
    with_bos = make_tokenizer("{\"bos_token\":\"<s>\",\"add_bos_token\":true}");
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    char command[128];
    (void)state;
    woq_tokenizer_destroy(&plain);
    woq_tokenizer_destroy(&with_bos);
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draw),       cmocka_unit_test(test_draw_is_even), cmocka_unit_test(test_text),
        cmocka_unit_test(test_json_lines), cmocka_unit_test(test_refused),      cmocka_unit_test(test_activations),
        cmocka_unit_test(test_no_room)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
