/*
 * test_evaluate_run.c: predictions of benchmark tasks, against each example alone through woq_model_forward and a
 * softmax in double; prompts are put together here again. On WOQ_DEVICE or the reference: a small model of random
 * weights, and stories260K, whose vocabulary has not all of the letters that MMLU needs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "evaluate_questions.h"
#include "load_model.h"
#include "support/device.h"
#include "support/shared_data.h"
#include "support/tiny_model.h"
#include "tokenizer/tokenizer_impl.h"

enum { CONTEXT = 360, BATCH = 48, TEXT = 8192 };

static struct woq_device *dev;
static struct woq_model *model; /* the one at hand, and its tokenizer */
static struct woq_tokenizer *tokenizer;
static uint32_t vocabulary;
static struct woq_model *tiny;
static struct woq_tokenizer *tiny_tokenizer;

/* ---- The oracle ---- */

struct ids {
    int32_t *at;
    size_t count;
};

static struct ids encode(const char *text)
{
    struct ids ids;
    EXPECT_OK(woq_tokenizer_encode(tokenizer, text, strlen(text), WOQ_ENCODE_BOS, &ids.at, &ids.count));
    test_expectations_met();
    return ids;
}

static float *forward(const struct ids *ids)
{
    float *logits = malloc(ids->count * vocabulary * sizeof *logits);
    assert_non_null(logits);
    woq_model_reset(model);
    for (size_t done = 0; done < ids->count; done += BATCH) {
        const uint32_t n = (uint32_t)(ids->count - done < BATCH ? ids->count - done : BATCH);
        EXPECT_OK(woq_model_forward(model, ids->at + done, n, logits + done * vocabulary, n));
    }
    test_expectations_met();
    return logits;
}

static double log_probability(const float *logits, int32_t token)
{
    double sum = 0;
    for (uint32_t i = 0; i < vocabulary; i++)
        sum += exp((double)logits[i] - logits[token]);
    return -log(sum);
}

static bool likeliest(const float *logits, int32_t token)
{
    for (uint32_t i = 0; i < vocabulary; i++)
        if (logits[i] > logits[token])
            return false;
    return true;
}

/* ln p of the text's tokens behind the first `prompt` ones, after tokens were dropped so that `room` is kept. */
static double score(const char *text, size_t prompt, size_t room, bool *greedy, uint32_t *dropped)
{
    struct ids ids = encode(text);
    double sum = 0;
    *greedy = true;
    *dropped = ids.count > room ? (uint32_t)(ids.count - room) : 0;
    if (*dropped) {
        memmove(ids.at + 1, ids.at + 1 + *dropped, (room - 1) * sizeof *ids.at);
        ids.count = room;
        prompt -= *dropped;
    }
    float *logits = forward(&ids);
    for (size_t i = prompt; i < ids.count; i++) {
        sum += log_probability(logits + (i - 1) * vocabulary, ids.at[i]);
        *greedy = *greedy && likeliest(logits + (i - 1) * vocabulary, ids.at[i]);
    }
    free(logits);
    free(ids.at);
    return sum;
}

static void add_question(char *out, const struct question *q)
{
    const size_t begin = strspn(q->text, " \t");
    size_t end = strlen(q->text);
    while (q->text[end - 1] == ' ' || q->text[end - 1] == '\t')
        end--;
    snprintf(out + strlen(out), TEXT - strlen(out), "%.*s\nA. %s\nB. %s\nC. %s\nD. %s\nAnswer:", (int)(end - begin),
             q->text + begin, q->choices[0], q->choices[1], q->choices[2], q->choices[3]);
}

static void write_prompt(char *out, const char *subject, int skip, const struct question *q)
{
    snprintf(out, TEXT, "The following are multiple choice questions (with answers) about %s.\n\n", subject);
    for (int i = skip; i < SHOTS; i++) {
        add_question(out, &dev_questions[i]);
        snprintf(out + strlen(out), TEXT - strlen(out), " %c\n\n", 'A' + dev_questions[i].answer);
    }
    add_question(out, q);
}

static size_t count_ids(const char *text)
{
    struct ids ids = encode(text);
    free(ids.at);
    return ids.count;
}

/* A prompt and what its letters have in common: nothing, or a token for the space. */
static struct ids encode_asked(const char *subject, int skip, const struct question *q)
{
    char text[TEXT];
    write_prompt(text, subject, skip, q);
    snprintf(text + strlen(text), sizeof text - strlen(text), " A");
    struct ids ids = encode(text);
    ids.count--;
    return ids;
}

/* Letters differ in their last token, and so each prompt tells all four; common: the tokens before it. */
static void check_choice(const char *subject, const struct question *q, size_t common, const struct woq_prediction *got)
{
    int skip = 0, best = 0;
    double want[4], before = 0;
    struct ids ids = encode_asked(subject, 0, q);
    const size_t all = ids.count;
    while (skip < SHOTS && ids.count > CONTEXT) {
        free(ids.at);
        ids = encode_asked(subject, ++skip, q);
    }
    if (ids.count > CONTEXT) {
        memmove(ids.at + 1, ids.at + 1 + ids.count - CONTEXT, (CONTEXT - 1) * sizeof *ids.at);
        ids.count = CONTEXT;
    }
    float *logits = forward(&ids);
    for (size_t i = ids.count - common; i < ids.count; i++)
        before += log_probability(logits + (i - 1) * vocabulary, ids.at[i]);
    for (int c = 0; c < 4; c++) {
        struct ids letter = encode((const char[]){' ', (char)('A' + c), 0});
        assert_int_equal(letter.count, common + 2); /* behind the begin-of-text token */
        want[c] = before + log_probability(logits + (ids.count - 1) * vocabulary, letter.at[common + 1]);
        assert_true(fabs(want[c] - got->choices[c]) < 1e-4);
        best = want[c] > want[best] ? c : best;
        free(letter.at);
    }
    assert_int_equal(got->answer, best);
    assert_int_equal(got->correct, best == q->answer);
    assert_true(got->log_probability == got->choices[q->answer]);
    assert_int_equal(got->truncated, all - ids.count);
    assert_int_equal(got->tokens, ids.count);
    free(logits);
    free(ids.at);
}

/* ---- Tests ---- */

static struct woq_task *open_questions(enum woq_task_kind kind, const char *path)
{
    struct woq_task_params p = params(kind, path);
    p.shots = SHOTS;
    return open_task(&p);
}

/* Returns how many are right. */
static uint32_t check_words(int first)
{
    struct woq_prediction got[WORDS];
    struct woq_task *task = open_questions(WOQ_TASK_LAMBADA, in_root("words.jsonl"));
    uint32_t hits = 0;
    EXPECT_OK(woq_task_run(task, model, tokenizer, (uint64_t)first, got, NULL, NULL));
    test_expectations_met();
    assert_int_equal(woq_model_position(model), 0);
    for (int i = first; i < WORDS; i++) {
        char whole[TEXT];
        bool greedy;
        uint32_t dropped;
        snprintf(whole, sizeof whole, "%s%s", words[i][0], words[i][1]);
        const size_t prompt = count_ids(words[i][0]);
        const double want = score(whole, prompt, CONTEXT, &greedy, &dropped);
        assert_true(fabs(want - got[i].log_probability) < 1e-4);
        assert_int_equal(got[i].answer, greedy);
        assert_int_equal(got[i].correct, greedy);
        assert_int_equal(got[i].truncated, dropped);
        assert_int_equal(got[i].tokens, count_ids(whole) - dropped);
        assert_int_equal(got[i].truncated > 0, i == 0);
        assert_true(got[i].choices[0] == 0);
        hits += greedy;
    }
    woq_task_close(&task);
    return hits;
}

static void test_lambada(void **state)
{
    (void)state;
    check_words(0);
}

static void test_stories(void **state)
{
    struct woq_prediction got[2 * QUESTIONS];
    char path[1024];
    (void)state;
    if (!shared_data_path("stories260K/stories260K.gguf", path, sizeof path))
        skip();
    assert_true(load_model(dev, path, CONTEXT, BATCH, &model, &tokenizer));
    vocabulary = (uint32_t)woq_tokenizer_vocabulary(tokenizer);
    const uint32_t hits = check_words(1);
    assert_true(hits > 0 && hits < WORDS - 1);
    struct woq_task *task = open_questions(WOQ_TASK_MMLU, root);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "does not spell the answers",
           woq_task_run(task, model, tokenizer, 0, got, NULL, NULL));
    test_expectations_met();
    woq_task_close(&task);
    woq_model_destroy(&model);
    woq_tokenizer_destroy(&tokenizer);
    model = tiny;
    tokenizer = tiny_tokenizer;
    vocabulary = TINY_VOCABULARY;
}

static void check_questions(size_t common)
{
    struct woq_prediction got[2 * QUESTIONS];
    struct woq_task *task = open_questions(WOQ_TASK_MMLU, root);
    uint32_t kinds = 0;
    EXPECT_OK(woq_task_run(task, model, tokenizer, 0, got, NULL, NULL));
    test_expectations_met();
    for (int i = 0; i < 2 * QUESTIONS; i++) {
        char want[TEXT];
        char *text = NULL;
        size_t size;
        const char *subject = i < QUESTIONS ? "high school physics" : "made up";
        const struct question *q = &test_questions[i % QUESTIONS];
        write_prompt(want, subject, 0, q);
        EXPECT_OK(woq_task_prompt(task, (uint64_t)i, &text, &size));
        assert_string_equal(text, want);
        assert_int_equal(size, strlen(want));
        free(text);
        check_choice(subject, q, common, &got[i]);
        kinds |= 1u << (got[i].truncated == 0 ? 0 : got[i].tokens < CONTEXT ? 1 : 2);
    }
    assert_int_equal(kinds, 7); /* whole, with shots gone, with tokens gone */
    woq_task_close(&task);
}

static struct woq_tokenizer *make_tokenizer(bool whole);

/* Letters of one token, and of two: the space counts, too. */
static void test_mmlu(void **state)
{
    (void)state;
    check_questions(0);
    tokenizer = make_tokenizer(false);
    check_questions(1);
    woq_tokenizer_destroy(&tokenizer);
    tokenizer = tiny_tokenizer;
}

struct stopping {
    uint64_t calls, at, done;
};

static bool stop(void *user, uint64_t done, uint64_t total)
{
    struct stopping *s = user;
    assert_true(done > s->done && done <= total);
    s->done = done;
    return ++s->calls != s->at;
}

/* Stopped after the first piece, and going on from there or from the middle of one. */
static void test_resume(void **state)
{
    struct woq_prediction all[2 * QUESTIONS], parts[2 * QUESTIONS];
    struct woq_task *task = open_questions(WOQ_TASK_MMLU, root);
    struct stopping stopping = {0, 1, 0}, counting = {0, 0, 0};
    (void)state;
    EXPECT_OK(woq_task_run(task, model, tokenizer, 0, all, stop, &counting));
    assert_true(counting.calls >= 2 && counting.done == 2 * QUESTIONS);
    memset(parts, 0x5a, sizeof parts);
    EXPECT(WOQ_ERROR_TIMEOUT, "stopped after", woq_task_run(task, model, tokenizer, 0, parts, stop, &stopping));
    test_expectations_met();
    assert_true(stopping.done < 2 * QUESTIONS);
    assert_memory_equal(parts, all, (size_t)stopping.done * sizeof *parts);
    assert_int_equal(((uint8_t *)&parts[stopping.done])[3], 0x5a);
    counting = (struct stopping){0, 0, stopping.done};
    EXPECT_OK(woq_task_run(task, model, tokenizer, stopping.done, parts, stop, &counting));
    assert_memory_equal(parts, all, sizeof parts);
    /* From the middle of a piece. */
    memset(parts + 7, 0, (2 * QUESTIONS - 7) * sizeof *parts);
    EXPECT_OK(woq_task_run(task, model, tokenizer, 7, parts, NULL, NULL));
    for (int i = 0; i < 2 * QUESTIONS; i++) {
        assert_true(fabs(parts[i].log_probability - all[i].log_probability) < 1e-4);
        assert_int_equal(parts[i].answer, all[i].answer);
        assert_int_equal(parts[i].tokens, all[i].tokens);
    }
    /* The last call of progress cannot stop what is done. */
    stopping = (struct stopping){0, 1, 0};
    EXPECT_OK(woq_task_run(task, model, tokenizer, 2 * QUESTIONS - 1, parts, stop, &stopping));
    test_expectations_met();
    woq_task_close(&task);
}

static void test_refused(void **state)
{
    struct woq_prediction got[2 * QUESTIONS];
    struct woq_task_params p = WOQ_TASK_PARAMS_INIT;
    struct woq_task *task = open_questions(WOQ_TASK_MMLU, root), *chat = NULL;
    (void)state;
    EXPECT_BAD("task is NULL", woq_task_run(NULL, model, tokenizer, 0, got, NULL, NULL));
    EXPECT_BAD("model is NULL", woq_task_run(task, NULL, tokenizer, 0, got, NULL, NULL));
    EXPECT_BAD("tokenizer is NULL", woq_task_run(task, model, NULL, 0, got, NULL, NULL));
    EXPECT_BAD("predictions is NULL", woq_task_run(task, model, tokenizer, 0, NULL, NULL, NULL));
    EXPECT_BAD("first is 11; the task has 10 examples", woq_task_run(task, model, tokenizer, 11, got, NULL, NULL));
    p.path = in_root("words.jsonl");
    p.chat = "chatml";
    EXPECT_OK(woq_task_open(&p, &chat));
    EXPECT(WOQ_ERROR_UNSUPPORTED, "chatml needs the token <|im_start|>",
           woq_task_run(chat, model, tokenizer, 0, got, NULL, NULL));
    test_expectations_met();
    woq_task_close(&chat);
    woq_task_close(&task);
}

/* Byte-level: what prompts have of letters and signs, " A" … " D" if `whole`, else as " " and "A", and a begin-of-text
 * token; other bytes are dropped. As many as the model has. */
static struct woq_tokenizer *make_tokenizer(bool whole)
{
    static const char merges[] = "\"\xc4\xa0 A\",\"\xc4\xa0 B\",\"\xc4\xa0 C\",\"\xc4\xa0 D\"";
    static const char config[] = "{\"bos_token\":\"<s>\",\"add_bos_token\":true}";
    static const char signs[] = ".,?:()2468aABCDTWLH";
    struct woq_tokenizer *t = NULL;
    char list[1024] = "", json[2048];
    int n = 0;
    for (char c = 'b'; c <= 'z'; c++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "\"%c\":%d,", c, n++);
    for (const char *c = signs; *c; c++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "\"%c\":%d,", *c, n++);
    for (char c = 'A'; c <= 'D'; c++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "\"\xc4\xa0%c\":%d,", c, n++);
    snprintf(list + strlen(list), sizeof list - strlen(list), "\"\xc4\xa0\":%d,\"\xc4\x8a\":%d", n, n + 1);
    snprintf(json, sizeof json,
             "{\"added_tokens\":[{\"id\":%d,\"content\":\"<s>\",\"special\":true}],\"pre_tokenizer\":{\"type\":"
             "\"ByteLevel\",\"add_prefix_space\":false},\"model\":{\"type\":\"BPE\",\"vocab\":{%s},\"merges\":[%s]}}",
             n + 2, list, whole ? merges : "");
    EXPECT_OK(woqi_tok_from_json("letters", json, strlen(json), config, strlen(config), -1, -1, &t));
    test_expectations_met();
    assert_in_range(woq_tokenizer_vocabulary(t), 1, TINY_VOCABULARY);
    return t;
}

static bool make_model(void)
{
    static const struct tiny_model shape = {.architecture = "llama", .layers = 2, .hidden = 48, .heads = 6,
                                            .kv_heads = 2, .head_dim = 8, .intermediate = 40, .tied = true};
    return tiny_write(&shape, NULL, in_root("model")) &&
           load_model(dev, in_root("model"), CONTEXT, BATCH, &tiny, NULL);
}

static int set_up(void **state)
{
    dev = test_open(NULL);
    if (make_folders(state) || !make_model())
        return -1;
    model = tiny;
    tokenizer = tiny_tokenizer = make_tokenizer(true);
    vocabulary = TINY_VOCABULARY;
    write_questions();
    write_words();
    return 0;
}

static int tear_down(void **state)
{
    remove_folders(state);
    woq_tokenizer_destroy(&tiny_tokenizer);
    woq_model_destroy(&tiny);
    return test_close(&dev) && !test_error_count() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lambada), cmocka_unit_test(test_stories),
                                       cmocka_unit_test(test_mmlu), cmocka_unit_test(test_resume),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
