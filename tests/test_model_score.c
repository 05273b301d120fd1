/*
 * test_model_score.c: scores of sequences after a prefix, against each alone through woq_model_forward and a
 * softmax in double, on WOQ_DEVICE or the reference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load_model.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/shared_data.h"
#include "support/tiny_model.h"

enum { CONTEXT = 320, BATCH = 64, MOST = 40, LONGEST = 100, CHOICES = 4, PREFIX = 200 };

static struct woq_device *dev;
static struct woq_model *tiny;

/* Sequences with their memory. */
struct task {
    uint32_t vocabulary, prefix_count, count;
    int32_t prefix[CONTEXT], tokens[MOST][CONTEXT], choices[MOST][CHOICES];
    double of_choices[MOST][CHOICES];
    struct woq_sequence sequences[MOST];
    struct woq_sequence_score scores[MOST];
};
static struct task task;

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(*seed >> 8) * below >> 24);
}

static void add(uint32_t *seed, uint32_t length, uint32_t scored, uint32_t choices)
{
    struct task *t = &task;
    const uint32_t i = t->count++;
    for (uint32_t j = 0; j < length; j++)
        t->tokens[i][j] = (int32_t)draw(seed, t->vocabulary);
    for (uint32_t j = 0; j < choices; j++)
        t->choices[i][j] = (int32_t)draw(seed, t->vocabulary);
    t->sequences[i] = (struct woq_sequence){t->tokens[i], length, scored, choices ? t->choices[i] : NULL, choices};
    t->scores[i] = (struct woq_sequence_score){NAN, false, choices ? t->of_choices[i] : NULL};
}

static void begin(uint32_t *seed, uint32_t vocabulary, uint32_t prefix_count)
{
    task.vocabulary = vocabulary;
    task.prefix_count = prefix_count;
    task.count = 0;
    for (uint32_t i = 0; i < prefix_count; i++)
        task.prefix[i] = (int32_t)draw(seed, vocabulary);
}

/* Of any length, now and then with none or all scored. */
static void add_any(uint32_t *seed, uint32_t longest)
{
    const uint32_t length = 1 + draw(seed, longest), most = task.prefix_count ? length : length - 1;
    const uint32_t kind = draw(seed, 4), choices = draw(seed, 3) ? 0 : 1 + draw(seed, CHOICES);
    add(seed, length, kind == 0 ? 0 : kind == 1 ? most : draw(seed, (most < 5 ? most : 5) + 1), choices);
}

/* Logits of a text, [count][vocabulary], a batch at a time. */
static void forward(struct woq_model *m, const int32_t *text, uint32_t count, float *logits)
{
    woq_model_reset(m);
    for (uint32_t done = 0, n; done < count; done += n) {
        n = count - done < BATCH ? count - done : BATCH;
        EXPECT_OK(woq_model_forward(m, text + done, n, logits + (size_t)done * task.vocabulary, n));
    }
}

static double log_probability(const float *logits, int32_t token)
{
    double sum = 0;
    for (uint32_t i = 0; i < task.vocabulary; i++)
        sum += exp((double)logits[i] - logits[token]);
    return -log(sum);
}

static bool likeliest(const float *logits, int32_t token)
{
    for (int32_t i = 0; i < (int32_t)task.vocabulary; i++)
        if (logits[i] > logits[token] || (i < token && logits[i] == logits[token]))
            return false;
    return true;
}

/* Whether sums in another order may change which is likeliest. */
static bool close_call(const float *logits)
{
    float first = -INFINITY, second = -INFINITY;
    for (uint32_t i = 0; i < task.vocabulary; i++)
        if (logits[i] > first) {
            second = first;
            first = logits[i];
        } else if (logits[i] > second) {
            second = logits[i];
        }
    return first - second < 1e-5f;
}

/* How far the scores of sequence i are from those of it alone; flags that differ fail. */
static double difference(struct woq_model *m, uint32_t i, uint32_t *greedy)
{
    const struct woq_sequence *s = &task.sequences[i];
    const struct woq_sequence_score *got = &task.scores[i];
    const uint32_t p = task.prefix_count;
    float *logits = malloc((size_t)CONTEXT * task.vocabulary * sizeof *logits);
    int32_t text[CONTEXT];
    double want = 0, most;
    bool all = true, unsure = false;
    assert_non_null(logits);
    memcpy(text, task.prefix, p * sizeof *text);
    memcpy(text + p, s->tokens, s->count * sizeof *text);
    forward(m, text, p + s->count, logits);
    for (uint32_t t = p + s->count - s->scored; t < p + s->count; t++) {
        const float *row = logits + (size_t)(t - 1) * task.vocabulary;
        want += log_probability(row, text[t]);
        all = all && likeliest(row, text[t]);
        unsure = unsure || close_call(row);
    }
    most = fabs(got->log_probability - want) / (s->scored + 1);
    assert_true(unsure || got->greedy == all);
    *greedy += all && s->scored;
    for (uint32_t c = 0; c < s->choice_count; c++) {
        const float *row = logits + (size_t)(p + s->count - 1) * task.vocabulary;
        const double d = fabs(got->choices[c] - log_probability(row, s->choices[c]));
        most = d > most || d != d ? d : most;
    }
    free(logits);
    return most;
}

/* How many are greedy. */
static uint32_t check_task(struct woq_model *m, const char *what)
{
    uint32_t greedy = 0;
    double most = 0;
    EXPECT_OK(woq_model_forward(m, task.tokens[0], 1, NULL, 0)); /* something to be gone */
    EXPECT_OK(woq_model_score(m, task.prefix, task.prefix_count, task.sequences, task.count, task.scores));
    assert_int_equal(woq_model_position(m), 0);
    for (uint32_t i = 0; i < task.count; i++) {
        const double d = difference(m, i, &greedy);
        /* Sums in another order: last bits, of which a trained model's activations make tens of times as much. */
        if (!(d <= (m == tiny ? 1e-5 : 3e-5)))
            fail_msg("%s, prefix of %u: sequence %u of %u tokens, %u scored, %u choices: off by %g a token", what,
                     task.prefix_count, i, task.sequences[i].count, task.sequences[i].scored,
                     task.sequences[i].choice_count, d);
        most = d > most ? d : most;
    }
    woq_model_reset(m);
    printf("%-12s prefix of %3u, %2u sequences: within %.2g, %u greedy\n", what, task.prefix_count, task.count, most,
           greedy);
    test_expectations_met();
    return greedy;
}

static void test_lengths(void **state)
{
    static const uint32_t prefixes[] = {0, 1, 15, 16, 17, BATCH, PREFIX};
    uint32_t seed = 1;
    (void)state;
    for (size_t p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
        begin(&seed, TINY_VOCABULARY, prefixes[p]);
        while (task.count < (prefixes[p] < BATCH ? 7 : 3))
            add_any(&seed, LONGEST);
        check_task(tiny, "any length");
    }
}

/* Many in a forward; one in many; what needs no forward of its own, or none at all. */
static void test_extremes(void **state)
{
    uint32_t seed = 2;
    (void)state;
    begin(&seed, TINY_VOCABULARY, 3);
    while (task.count < MOST)
        add(&seed, 1 + task.count % 3, 1, task.count % 2);
    check_task(tiny, "short");
    begin(&seed, TINY_VOCABULARY, CONTEXT - 1);
    while (task.count < 2)
        add(&seed, 1, 1, 0);
    check_task(tiny, "one token");
    begin(&seed, TINY_VOCABULARY, CONTEXT - 1);
    while (task.count < 2)
        add(&seed, 1, 1, CHOICES);
    check_task(tiny, "full");
    begin(&seed, TINY_VOCABULARY, 0);
    for (uint32_t i = 0; i < 2; i++)
        add(&seed, CONTEXT, i ? CONTEXT - 1 : 3, i);
    check_task(tiny, "long");
    begin(&seed, TINY_VOCABULARY, 17);
    add(&seed, CONTEXT - 17, CONTEXT - 17, 1);
    add(&seed, 1, 0, 0);
    add(&seed, CONTEXT - 17, 1, 0);
    add(&seed, 5, 5, 1);
    check_task(tiny, "mixed");
    begin(&seed, TINY_VOCABULARY, 0);
    add(&seed, 1, 0, 0);
    add(&seed, 9, 0, 0);
    check_task(tiny, "nothing");
    assert_true(task.scores[0].log_probability == 0 && task.scores[0].greedy);
}

/* Continuations that the model itself chose are greedy. */
static void test_greedy(void **state)
{
    uint32_t seed = 3;
    (void)state;
    begin(&seed, TINY_VOCABULARY, 16);
    while (task.count < 4) {
        int32_t text[64];
        size_t made = 0;
        add(&seed, 30, 5 + task.count % 4, 0);
        const uint32_t i = task.count - 1, given = 30 - task.sequences[i].scored;
        memcpy(text, task.prefix, 16 * sizeof *text);
        memcpy(text + 16, task.tokens[i], given * sizeof *text);
        woq_model_reset(tiny);
        EXPECT_OK(woq_model_generate(tiny, text, 16 + given, -1, task.tokens[i] + given, 30 - given, &made));
        assert_int_equal(made, 30 - given);
        if (i % 2) /* but for one */
            task.tokens[i][29 - i % 5] = (task.tokens[i][29 - i % 5] + 1) % TINY_VOCABULARY;
    }
    assert_int_equal(check_task(tiny, "greedy"), 2);
}

/* What comes after is as before. */
static void test_others_unchanged(void **state)
{
    static float before[BATCH * TINY_VOCABULARY], after[BATCH * TINY_VOCABULARY];
    struct woq_perplexity p, q;
    struct woq_text_params text = WOQ_TEXT_PARAMS_INIT;
    uint32_t seed = 4;
    (void)state;
    begin(&seed, TINY_VOCABULARY, PREFIX);
    while (task.count < 8)
        add_any(&seed, LONGEST);
    text.tokens = task.prefix;
    text.count = PREFIX;
    text.window = 32;
    text.bos = 1;
    woq_model_reset(tiny);
    EXPECT_OK(woq_model_forward(tiny, task.prefix, BATCH, before, BATCH));
    EXPECT_OK(woq_model_perplexity(tiny, &text, &p));
    EXPECT_OK(woq_model_score(tiny, task.prefix, PREFIX, task.sequences, task.count, task.scores));
    EXPECT_OK(woq_model_forward(tiny, task.prefix, BATCH, after, BATCH));
    EXPECT_OK(woq_model_perplexity(tiny, &text, &q));
    assert_memory_equal(before, after, sizeof before);
    assert_true(p.perplexity == q.perplexity);
    free(p.window_nll);
    free(q.window_nll);
    test_expectations_met();
}

static void test_stories(void **state)
{
    struct woq_model_info info = {.struct_size = sizeof info};
    struct woq_model *m = NULL;
    char path[4096];
    uint32_t seed = 5;
    (void)state;
    if (!shared_data_path("stories260K/stories260K.gguf", path, sizeof path))
        skip();
    assert_true(load_model(dev, path, CONTEXT, BATCH, &m, NULL));
    EXPECT_OK(woq_model_get_info(m, &info));
    begin(&seed, info.config.vocabulary, 17);
    add(&seed, 20, 2, 0);
    add(&seed, 9, 9, CHOICES);
    check_task(m, "stories260K");
    woq_model_destroy(&m);
    test_expectations_met();
}

static void test_refused(void **state)
{
    struct task *t = &task;
    uint32_t seed = 6;
    (void)state;
#define SCORE(prefix, length) woq_model_score(tiny, prefix, length, t->sequences, t->count, t->scores)
    begin(&seed, TINY_VOCABULARY, CONTEXT - 11);
    add(&seed, 10, 10, 0);
    add(&seed, 12, 2, 3);
    EXPECT_OK(woq_model_score(tiny, NULL, 0, NULL, 0, NULL));
    EXPECT_OK(woq_model_score(tiny, t->prefix, 20, NULL, 0, NULL));
    assert_int_equal(woq_model_position(tiny), 0);
    EXPECT_BAD("model", woq_model_score(NULL, t->prefix, 20, t->sequences, 2, t->scores));
    EXPECT_BAD("prefix is NULL", SCORE(NULL, 20));
    EXPECT_BAD("sequences", woq_model_score(tiny, t->prefix, 20, NULL, 2, t->scores));
    EXPECT_BAD("scores", woq_model_score(tiny, t->prefix, 20, t->sequences, 2, NULL));
    EXPECT_BAD("sequences[0].scored is 10; must be 0 to 9", SCORE(NULL, 0));
    t->prefix[19] = TINY_VOCABULARY;
    EXPECT_BAD("prefix[19] is 67; the vocabulary is 0 to 66", SCORE(t->prefix, 20));
    t->prefix[19] = 0;
    t->tokens[1][11] = -1;
    EXPECT_BAD("sequences[1].tokens[11] is -1; the vocabulary is 0 to 66", SCORE(t->prefix, 20));
    t->tokens[1][11] = 1;
    t->choices[1][2] = TINY_VOCABULARY;
    EXPECT_BAD("sequences[1].choices[2] is 67", SCORE(t->prefix, 20));
    t->choices[1][2] = 0;
    t->scores[1].choices = NULL;
    EXPECT_BAD("scores[1].choices", SCORE(t->prefix, 20));
    t->scores[1].choices = t->of_choices[1];
    t->sequences[1].choices = NULL;
    EXPECT_BAD("sequences[1] has 3 choices", SCORE(t->prefix, 20));
    t->sequences[1].choices = t->choices[1];
    t->sequences[1].choice_count = 0;
    EXPECT_BAD("sequences[1] has 0 choices", SCORE(t->prefix, 20));
    t->sequences[1].choice_count = 3;
    t->sequences[0].count = 0;
    EXPECT_BAD("sequences[0] has 0 tokens", SCORE(t->prefix, 20));
    t->sequences[0].count = 10;
    t->sequences[0].tokens = NULL;
    EXPECT_BAD("sequences[0] has tokens NULL", SCORE(t->prefix, 20));
    t->sequences[0].tokens = t->tokens[0];
    EXPECT_BAD("sequences[1] has 12 tokens after a prefix of 309, together more than the context of 320",
               SCORE(t->prefix, CONTEXT - 11));
    EXPECT_OK(SCORE(t->prefix, CONTEXT - 12));
#undef SCORE
    test_expectations_met();
}

static int set_up(void **state)
{
    static const struct tiny_model model = {.architecture = "llama", .layers = 2, .hidden = 32, .heads = 6,
                                            .kv_heads = 2, .head_dim = 4, .intermediate = 16, .tied = true};
    char directory[64];
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/woq_test_score.%ld", (long)getpid());
    dev = test_open(NULL);
    const bool made = tiny_write(&model, NULL, directory) &&
                      load_model(dev, directory, CONTEXT, BATCH, &tiny, NULL);
    tiny_remove(directory);
    return made ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    woq_model_destroy(&tiny);
    return test_close(&dev) && !test_error_count() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lengths),   cmocka_unit_test(test_extremes),
                                       cmocka_unit_test(test_greedy),    cmocka_unit_test(test_others_unchanged),
                                       cmocka_unit_test(test_stories),   cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
