/*
 * test_calibrate_sensitivity.c: the search of a budget against all choices; what units of a tiny model do to its
 * output, on WOQ_DEVICE or the reference; a checkpoint under a budget.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <woq/calibrate.h>
#include <yyjson.h>

#include "calibrate/budget.h"
#include "calibrate/calibration.h"
#include "calibrate/sensitivity.h"
#include "model/block.h"
#include "model/head.h"
#include "quantize/results.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/tiny_model.h"

static struct woq_device *dev;
static char root[] = "/tmp/woq-sensitivity-XXXXXX";

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static float uniform(uint64_t *state)
{
    return (float)next(state) / (float)(UINT64_C(1) << 31);
}

/* ---- The search ---- */

enum { UNITS = 7 };

static void make_units(struct woqi_budget_unit *u, uint64_t grain, uint64_t *seed)
{
    for (int i = 0; i < UNITS; i++) {
        const uint64_t weights = (1 + next(seed) % 5) * grain;
        u[i] = (struct woqi_budget_unit){.count = 1 + (uint32_t)(next(seed) % 4 ? 2 : next(seed) % 2)};
        double kl = (double)uniform(seed);
        kl *= kl * kl;
        for (uint32_t c = 0; c < u[i].count; c++) {
            u[i].bits[c] = weights * (c == 0 ? 17 : c == 1 ? 33 : 64) / 4;
            u[i].kl[c] = c == 2 || (c == 1 && u[i].count == 2) ? 0 : kl / (c ? 200 : 1);
        }
    }
}

static double best_of_all(const struct woqi_budget_unit *u, uint64_t budget)
{
    double best = INFINITY;
    uint32_t choice[UNITS] = {0};
    for (;;) {
        uint64_t bits = 0;
        double kl = 0;
        for (int i = 0; i < UNITS; i++) {
            bits += u[i].bits[choice[i]];
            kl += u[i].kl[choice[i]];
        }
        if (bits <= budget && kl < best)
            best = kl;
        int at = 0;
        while (at < UNITS && ++choice[at] == u[at].count)
            choice[at++] = 0;
        if (at == UNITS)
            return best;
    }
}

static double search(const struct woqi_budget_unit *u, uint32_t count, uint64_t budget)
{
    uint8_t choice[512], again[512];
    uint64_t bits = 0;
    double kl = 0;
    EXPECT_OK(woqi_budget_search(u, count, budget, choice));
    if (count <= UNITS)
        EXPECT_OK(woqi_budget_search(u, count, budget, again));
    test_expectations_met();
    if (count <= UNITS)
        assert_memory_equal(choice, again, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_true(choice[i] < u[i].count);
        bits += u[i].bits[choice[i]];
        kl += u[i].kl[choice[i]];
    }
    assert_true(bits <= budget);
    return kl;
}

static void test_search(void **state)
{
    struct woqi_budget_unit u[UNITS];
    uint64_t seed = 7;
    (void)state;
    for (int round = 0; round < 40; round++) {
        uint64_t fewest = 0, most = 0;
        double least = 0; /* of all with the most bits */
        make_units(u, 4096, &seed);
        for (int i = 0; i < UNITS; i++) {
            least += u[i].kl[u[i].count - 1];
            fewest += u[i].bits[0];
            most += u[i].bits[u[i].count - 1];
        }
        double last = INFINITY;
        for (int step = 0; step <= 20; step++) {
            const uint64_t budget = fewest + (most - fewest) * (uint64_t)step / 20;
            const double got = search(u, UNITS, budget), want = best_of_all(u, budget);
            assert_true(fabs(got - want) <= 1e-12 * (1 + want)); /* the sum's order differs */
            assert_true(got <= last);
            last = got;
        }
        assert_true(fabs(last - least) <= 1e-12);
        uint8_t choice[UNITS];
        EXPECT(WOQ_ERROR_INVALID_ARGUMENT, NULL, woqi_budget_search(u, UNITS, fewest - 1, choice));
    }
    test_expectations_met();
}

/* Sizes without a common divisor: rounded up to a quantum, as the header says; still within it, and monotone. */
static void test_search_rounds(void **state)
{
    enum { MANY = 320 };
    static struct woqi_budget_unit u[MANY];
    uint64_t seed = 3, fewest = 0, most = 0, all = 0;
    (void)state;
    for (int i = 0; i < MANY; i++) {
        const uint64_t weights = 1000003 + next(&seed) % 9999991;
        u[i] = (struct woqi_budget_unit){3, {weights * 17 / 4, weights * 8 + 1, weights * 16}, {0}};
        u[i].kl[0] = pow((double)uniform(&seed), 4);
        u[i].kl[1] = u[i].kl[0] / 256;
        fewest += u[i].bits[0];
        most += u[i].bits[2];
        all = u[i].bits[2] > all ? u[i].bits[2] : all;
    }
    double last = INFINITY;
    for (int step = 0; step <= 3; step++) {
        const double got = search(u, MANY, fewest + (most - fewest) / 3 * (uint64_t)step);
        assert_true(got <= last && (!step || got < last || got == 0));
        last = got;
    }
    /* What rounding can cost: the best of a budget that is a quantum less for each unit. */
    const uint64_t quantum = (most - fewest) / ((1u << 26) / MANY) + 1, budget = fewest + (most - fewest) / 4;
    assert_true(search(u, MANY, budget) <= search(u, MANY, budget - MANY * quantum) &&
                MANY * quantum < (most - fewest) / 500);
}

/* ---- A tiny model ---- */

enum { LAYERS = 3, WINDOW = 24, SAMPLES = 2 };
static const struct tiny_model llama = {.architecture = "llama", .layers = LAYERS, .hidden = 64, .heads = 4,
                                        .kv_heads = 2, .head_dim = 16, .intermediate = 96, .tied = true};
static int32_t tokens[SAMPLES * WINDOW];
static const struct woqi_samples samples = {SAMPLES, WINDOW, tokens, SAMPLES};

static const char *in_root(const char *name)
{
    static char paths[4][128];
    static unsigned at;
    char *path = paths[at++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static struct woq_checkpoint *open_model(const char *path)
{
    struct woq_checkpoint *c = NULL;
    EXPECT_OK(woq_checkpoint_open(path, NULL, &c));
    test_expectations_met();
    return c;
}

static struct woq_quantize_params form(uint32_t bits, uint64_t group)
{
    struct woq_quantize_params q = WOQ_QUANTIZE_PARAMS_INIT;
    q.bits = bits;
    q.group = group;
    q.scale = WOQ_F16;
    q.jobs = 1;
    return q;
}

static bool count_steps(void *user, uint32_t layer, double done)
{
    double *last = user;
    assert_true(done >= *last && done <= 1 && layer < LAYERS);
    *last = done;
    return true;
}

static void measure(const struct woq_checkpoint *c, const struct woq_quantize_params *q, struct woqi_sensitivity *s)
{
    struct woq_calibrate_params p = WOQ_CALIBRATE_PARAMS_INIT;
    struct woqi_plan plan;
    double last = 0;
    EXPECT_OK(woqi_plan_make(c, q, &plan));
    EXPECT_OK(woqi_sensitivity_list(&plan, s));
    EXPECT_OK(woqi_sensitivity_measure(dev, &plan, &samples, &p, NULL, 1, count_steps, &last, s));
    test_expectations_met();
    assert_true(fabs(last - 1) < 1e-9);
    woqi_plan_free(&plan);
}

/* Logits of all samples by the head and blocks against those of a model. */
struct logits {
    float *out;
};

static void keep_logits(void *user, uint32_t first, uint32_t count, float *logits)
{
    const struct logits *l = user;
    memcpy(l->out + first * TINY_VOCABULARY, logits, count * TINY_VOCABULARY * sizeof *logits);
}

/* A sample through all layers; sources: what q/k/v of the first become, NULL = they stay. first: gets their inputs. */
static void run_blocks(struct woqi_block *b, struct woqi_head *head, const int32_t *sample,
                       const struct woq_weights_source *sources, uint16_t *first, float *out)
{
    static float h[WINDOW * 64];
    static uint16_t x[WINDOW * 96], y[WINDOW * 96];
    struct logits l = {out};
    EXPECT_OK(woqi_block_embed(b, sample, WINDOW, h));
    for (uint32_t i = 0; i < LAYERS; i++) {
        EXPECT_OK(woqi_block_load(b, i, true));
        if (sources && !i)
            EXPECT_OK(woqi_block_set(b, WOQI_STAGE_QKV, sources));
        EXPECT_OK(woqi_block_input(b, WOQI_STAGE_QKV, WINDOW, h, x));
        if (first && !i)
            memcpy(first, x, WINDOW * 64 * sizeof *x);
        EXPECT_OK(woqi_block_attention(b, WINDOW, x, y));
        EXPECT_OK(woqi_block_add(b, WOQI_STAGE_O, WINDOW, y, h));
        EXPECT_OK(woqi_block_input(b, WOQI_STAGE_GATE_UP, WINDOW, h, x));
        EXPECT_OK(woqi_block_gate_up(b, WINDOW, x, y));
        EXPECT_OK(woqi_block_add(b, WOQI_STAGE_DOWN, WINDOW, y, h));
    }
    EXPECT_OK(woqi_head_run(head, WINDOW, h, keep_logits, &l));
    test_expectations_met();
}

static void test_head(void **state)
{
    static float h[WINDOW * 64], got[WINDOW * TINY_VOCABULARY], want[WINDOW * TINY_VOCABULARY];
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct tiny_model m = llama;
        struct woqi_block *b = NULL;
        struct woqi_head *head = NULL;
        struct woq_model *model = NULL;
        struct logits l = {got};
        m.tied = tied;
        assert_true(tiny_write(&m, NULL, in_root("head")));
        struct woq_checkpoint *c = open_model(in_root("head"));
        p.weights = WOQ_MODEL_F16;
        p.context = p.batch = WINDOW;
        EXPECT_OK(woq_model_create(dev, c, &p, &model));
        EXPECT_OK(woq_model_forward(model, tokens, WINDOW, want, WINDOW));
        EXPECT_OK(woqi_block_create(dev, c, WINDOW, WOQ_MATH_DEFAULT, &b));
        EXPECT_OK(woqi_head_create(dev, c, WINDOW, WOQ_MATH_DEFAULT, &head));
        test_expectations_met();
        run_blocks(b, head, tokens, NULL, NULL, got);
        assert_memory_equal(got, want, sizeof got);
        EXPECT(WOQ_ERROR_INVALID_ARGUMENT, NULL, woqi_head_run(head, 0, h, keep_logits, &l));
        EXPECT(WOQ_ERROR_INVALID_ARGUMENT, NULL, woqi_head_run(head, WINDOW + 1, h, keep_logits, &l));
        woqi_head_destroy(&head);
        woqi_block_destroy(&b);
        woq_model_destroy(&model);
        woq_checkpoint_close(&c);
        tiny_remove(in_root("head"));
    }
    struct woqi_head *none = NULL;
    woqi_head_destroy(&none);
    test_expectations_met();
}

/* Σ p·(log p − log q) of one position. */
static double divergence(const float *p, const float *q)
{
    double sum_p = 0, sum_q = 0, sum = 0;
    for (int i = 0; i < TINY_VOCABULARY; i++) {
        sum_p += exp((double)p[i]);
        sum_q += exp((double)q[i]);
    }
    for (int i = 0; i < TINY_VOCABULARY; i++)
        sum += exp((double)p[i]) / sum_p * ((double)p[i] - log(sum_p) - (double)q[i] + log(sum_q));
    return sum;
}

/* q/k/v of layer 0 rounded by hand, with the logits of both models at each second position. */
static void test_divergence(void **state)
{
    static float reference[WINDOW * TINY_VOCABULARY], changed[WINDOW * TINY_VOCABULARY], floats[WINDOW * 64];
    static uint16_t x[WINDOW * 64];
    struct woq_calibrate_params p = WOQ_CALIBRATE_PARAMS_INIT;
    struct woq_checkpoint *c = open_model(in_root("model"));
    const struct woq_quantize_params q = form(4, WOQ_GROUP_CHANNEL);
    const struct woqi_stage_params params = {.calibration = &p, .jobs = 1};
    struct woq_weights_source sources[WOQI_STAGE_PARTS];
    struct woqi_sensitivity s;
    struct woqi_plan plan;
    struct woqi_stage_info info;
    struct woqi_stage_result result;
    struct woqi_moments moments;
    struct woqi_block *b = NULL;
    struct woqi_head *head = NULL;
    double kl = 0, reverse = 0, others = 0, energy = 0, error = 0;
    (void)state;
    measure(c, &q, &s);
    p.method = WOQ_METHOD_MSE;
    EXPECT_OK(woqi_plan_make(c, &q, &plan));
    EXPECT_OK(woqi_block_create(dev, c, WINDOW, WOQ_MATH_DEFAULT, &b));
    EXPECT_OK(woqi_head_create(dev, c, WINDOW, WOQ_MATH_DEFAULT, &head));
    EXPECT_OK(woqi_moments_create(64, 0, false, &moments));
    for (int i = 0; i < SAMPLES; i++) {
        run_blocks(b, head, tokens + i * WINDOW, NULL, x, reference);
        for (int j = 0; j < WINDOW * 64; j++)
            floats[j] = woq_f16_to_f32(x[j]);
        woqi_moments_add(&moments, WINDOW, floats, NULL, NULL);
    }
    EXPECT_OK(woqi_stage_describe(&plan.config, 0, WOQI_STAGE_QKV, &info));
    EXPECT_OK(woqi_stage_begin(&plan, &info, &result));
    EXPECT_OK(woqi_stage_quantize(&params, &moments, &result));
    for (uint32_t i = 0; i < result.count; i++) {
        sources[i] = result.part[i].source;
        energy += result.part[i].energy;
        error += result.part[i].error;
    }
    for (int i = 0; i < SAMPLES; i++) {
        run_blocks(b, head, tokens + i * WINDOW, NULL, NULL, reference);
        run_blocks(b, head, tokens + i * WINDOW, sources, NULL, changed);
        for (int j = 0; j < WINDOW; j++) {
            const float *one = reference + j * TINY_VOCABULARY, *other = changed + j * TINY_VOCABULARY;
            *(j % 2 ? &kl : &others) += divergence(one, other) / (SAMPLES * WINDOW / 2);
            reverse += j % 2 ? divergence(other, one) / (SAMPLES * WINDOW / 2) : 0;
        }
    }
    printf("divergence %g, measured %g; reverse %g, at other positions %g\n", kl, s.units[0].kl, reverse, others);
    assert_true(fabs(s.units[0].kl - kl) < 1e-4 * kl && fabs(s.units[0].relative_error - sqrt(error / energy)) < 1e-6);
    assert_true(fabs(reverse - kl) > 1e-3 * kl && fabs(others - kl) > 1e-3 * kl);
    woqi_head_destroy(&head);
    woqi_block_destroy(&b);
    woqi_moments_release(&moments);
    woqi_stage_release(&result);
    woqi_plan_free(&plan);
    woqi_sensitivity_release(&s);
    woq_checkpoint_close(&c);
}

static void test_units(void **state)
{
    struct woqi_sensitivity four, eight, wrecked, again;
    struct woq_checkpoint *c = open_model(in_root("model"));
    struct woq_quantize_params q = form(4, 32);
    const char *keep = "layers.1.mlp.down";
    (void)state;
    q.keep = &keep;
    q.keep_count = 1;
    measure(c, &q, &four);
    assert_int_equal(four.count, 4 * LAYERS);
    measure(c, &q, &again);
    for (uint32_t i = 0; i < four.count; i++) {
        const struct woqi_unit *u = &four.units[i];
        assert_int_equal(u->layer, i / 4);
        assert_int_equal(u->stage, i % 4);
        assert_true(u->kl == again.units[i].kl && u->relative_error == again.units[i].relative_error);
        if (u->layer == 1 && u->stage == WOQI_STAGE_DOWN)
            assert_true(u->kept && u->kl == 0 && u->relative_error == 0 && u->bits == 16 * u->weights);
        else
            assert_true(!u->kept && u->kl > 0 && u->relative_error > 0.005 && u->relative_error < 0.5 &&
                        u->bits * 2 == 9 * u->weights);
    }
    const struct woq_quantize_params q8 = form(8, WOQ_GROUP_CHANNEL);
    measure(c, &q8, &eight);
    double sum4 = 0, sum8 = 0;
    for (uint32_t i = 0; i < four.count; i++)
        if (!four.units[i].kept) {
            assert_true(eight.units[i].kl < four.units[i].kl &&
                        eight.units[i].relative_error < four.units[i].relative_error / 4);
            sum4 += four.units[i].kl;
            sum8 += eight.units[i].kl;
        }
    printf("8 bits: %g of the divergence of 4\n", sum8 / sum4);
    assert_true(sum8 > sum4 * WOQI_BUDGET_EIGHT / 8 && sum8 < sum4 * WOQI_BUDGET_EIGHT * 8);
    /* A unit alone has the same numbers: those before it were put back. */
    struct woqi_sensitivity alone;
    keep = "^(?!.*layers\\.2\\.self_attn\\.[qkv]_proj)";
    measure(c, &q, &alone);
    for (uint32_t i = 0; i < alone.count; i++)
        assert_true(i == 8 ? alone.units[i].kl == four.units[i].kl : alone.units[i].kept && alone.units[i].kl == 0);
    woqi_sensitivity_release(&alone);
    /* One scale for a whole matrix, where all others have 8 bits. */
    struct woq_quantize_params bad = form(8, WOQ_GROUP_CHANNEL);
    const struct woq_quantize_override coarse = {"layers.1.mlp.gate_proj", 4, WOQ_GROUP_TENSOR, true};
    bad.overrides = &coarse;
    bad.override_count = 1;
    measure(c, &bad, &wrecked);
    for (uint32_t i = 0; i < wrecked.count; i++)
        if (i != 4 + WOQI_STAGE_GATE_UP)
            assert_true(wrecked.units[i].kl < wrecked.units[4 + WOQI_STAGE_GATE_UP].kl / 4);
    woqi_sensitivity_release(&four);
    woqi_sensitivity_release(&eight);
    woqi_sensitivity_release(&wrecked);
    woqi_sensitivity_release(&again);
    woq_checkpoint_close(&c);
}

static bool stop_at_once(void *user, uint32_t layer, double done)
{
    (void)user, (void)layer, (void)done;
    return false;
}

static void test_stops(void **state)
{
    struct woq_calibrate_params p = WOQ_CALIBRATE_PARAMS_INIT;
    const struct woq_quantize_params q = form(4, 32);
    struct woq_checkpoint *c = open_model(in_root("model"));
    struct woqi_sensitivity s;
    struct woqi_plan plan;
    uint32_t count, rows;
    (void)state;
    EXPECT_OK(woqi_plan_make(c, &q, &plan));
    EXPECT_OK(woqi_sensitivity_list(&plan, &s));
    EXPECT(WOQ_ERROR_TIMEOUT, NULL,
           woqi_sensitivity_measure(dev, &plan, &samples, &p, NULL, 1, stop_at_once, NULL, &s));
    test_expectations_met();
    woqi_sensitivity_extent(&p, &samples, &count, &rows);
    assert_true(count == SAMPLES && rows == WINDOW);
    p.sensitivity_tokens = WINDOW + 1;
    woqi_sensitivity_extent(&p, &samples, &count, &rows);
    assert_true(count == 1 && rows == WINDOW);
    p.sensitivity_tokens = 5;
    woqi_sensitivity_extent(&p, &samples, &count, &rows);
    assert_true(count == 1 && rows == 5);
    woqi_sensitivity_release(&s);
    woqi_plan_free(&plan);
    woq_checkpoint_close(&c);
}

/* ---- A checkpoint under a budget ---- */

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* Letters are tokens 0 … 25, a space 26. */
static void write_tokenizer(const char *directory)
{
    char json[1024], vocabulary[512] = "", path[160];
    for (int i = 0; i < 26; i++)
        snprintf(vocabulary + strlen(vocabulary), sizeof vocabulary - strlen(vocabulary), "\"%c\":%d,", 'a' + i, i);
    snprintf(json, sizeof json,
             "{\"added_tokens\":[],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},\"model\":"
             "{\"type\":\"BPE\",\"vocab\":{%s\"\xc4\xa0\":26},\"merges\":[]}}",
             vocabulary);
    snprintf(path, sizeof path, "%s/tokenizer.json", directory);
    write_text(path, json);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", directory);
    write_text(path, "{}");
}

static void write_calibration_text(const char *path)
{
    static char text[2000];
    uint64_t seed = 11;
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = next(&seed) % 6 ? (char)('a' + next(&seed) % 26) : ' ';
    write_text(path, text);
}

/* What measures, and what stops a run behind it. */
struct watch {
    uint32_t measured;
    bool stop_behind;
    double last;
};

static bool watch(void *user, const char *what, uint32_t layer, uint32_t layers, double done)
{
    struct watch *w = user;
    const bool measuring = !strcmp(what, "sensitivity");
    (void)layer, (void)layers;
    assert_true(done >= w->last && done <= 1);
    w->last = done;
    w->measured += measuring;
    return measuring || !w->stop_behind;
}

static struct woq_calibrate_params calibration(float budget, struct watch *w)
{
    struct woq_calibrate_params p = WOQ_CALIBRATE_PARAMS_INIT;
    p.method = WOQ_METHOD_MSE;
    p.text = in_root("text");
    p.samples = SAMPLES;
    p.window = WINDOW;
    p.budget = budget;
    p.report = in_root("report.json");
    p.progress = watch;
    p.progress_user = w;
    *w = (struct watch){.measured = 0};
    return p;
}

/* The bits a weight of the decoder's layers in the checkpoint as it is written, and the largest unit's part of them. */
static double written_bits(const char *path, double *largest)
{
    struct woq_checkpoint *c = open_model(path);
    struct woq_model_config config = {.struct_size = sizeof config};
    double bits = 0, weights = 0, most = 0;
    EXPECT_OK(woq_checkpoint_config(c, &config));
    for (uint32_t l = 0; l < config.layers; l++)
        for (int stage = 0; stage < WOQI_STAGES; stage++) {
            struct woqi_stage_info info;
            double unit = 0;
            EXPECT_OK(woqi_stage_describe(&config, l, (enum woqi_stage)stage, &info));
            for (uint32_t i = 0; i < info.count; i++) {
                char name[160];
                snprintf(name, sizeof name, "%s.weight", info.names[i]);
                const struct woq_tensor *t = woq_checkpoint_find(c, name);
                snprintf(name, sizeof name, "%s.weight_packed", info.names[i]);
                const struct woq_tensor *packed = woq_checkpoint_find(c, name);
                snprintf(name, sizeof name, "%s.weight_scale", info.names[i]);
                const struct woq_tensor *scale = woq_checkpoint_find(c, name);
                assert_true(t || (packed && scale));
                bits += 8 * (double)(t ? t->bytes : packed->bytes + scale->bytes);
                unit += 16 * (double)(info.rows[i] * info.columns);
            }
            weights += unit / 16;
            most = unit > most ? unit : most;
        }
    woq_checkpoint_close(&c);
    *largest = most / weights;
    return bits / weights;
}

static yyjson_doc *read_report(void)
{
    yyjson_doc *doc = yyjson_read_file(in_root("report.json"), 0, NULL, NULL);
    assert_non_null(doc);
    return doc;
}

static void remove_output(void)
{
    char line[160];
    snprintf(line, sizeof line, "rm -rf '%s' '%s'", in_root("out"), in_root(".out.woq-work"));
    assert_int_equal(system(line), 0);
}

static void test_budget(void **state)
{
    static const float budgets[] = {4.5f, 5, 6.5f, 9, 13};
    struct woq_quantize_params q = form(4, 32);
    struct woq_checkpoint *c = open_model(in_root("model"));
    struct watch w;
    (void)state;
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        struct woq_calibrate_params p = calibration(budgets[i], &w);
        double unit, chosen = 0, weights = 0;
        p.method = i % 2 ? WOQ_METHOD_AWQ_GPTQ : WOQ_METHOD_MSE;
        EXPECT_OK(woq_quantize_calibrated(dev, c, in_root("out"), &q, &p));
        test_expectations_met();
        assert_true(w.measured > 0);
        const double bits = written_bits(in_root("out"), &unit), budget = (double)budgets[i];
        if (!(bits <= budget && bits > budget - unit))
            fail_msg("a budget of %g gave %g bits a weight; the largest unit has %g", budget, bits, unit);
        yyjson_doc *doc = read_report();
        yyjson_val *root_value = yyjson_doc_get_root(doc), *list = yyjson_obj_get(root_value, "sensitivity");
        assert_true(fabs(yyjson_get_num(yyjson_obj_get(root_value, "budget")) - budget) < 1e-6);
        assert_true(fabs(yyjson_get_num(yyjson_obj_get(root_value, "bits_per_weight")) - bits) < 1e-9);
        assert_int_equal(yyjson_arr_size(list), 4 * LAYERS);
        for (size_t j = 0; j < 4 * LAYERS; j++) {
            yyjson_val *u = yyjson_arr_get(list, j);
            const double size = yyjson_get_num(yyjson_obj_get(u, "weights"));
            chosen += yyjson_get_num(yyjson_obj_get(u, "bits")) * size;
            weights += size;
            assert_int_equal(yyjson_get_uint(yyjson_obj_get(u, "layer")), j / 4);
            assert_true(yyjson_get_num(yyjson_obj_get(u, "kl")) > 0);
        }
        assert_true(chosen / weights <= budget && chosen / weights > budget - unit - 0.5); /* without scales */
        yyjson_doc_free(doc);
        remove_output();
    }
    woq_checkpoint_close(&c);
}

static void test_budget_refused(void **state)
{
    static const float budgets[] = {3, 4.49f, 16.5f, -1, NAN, INFINITY};
    struct woq_quantize_params q = form(4, 32);
    struct woq_checkpoint *c = open_model(in_root("model"));
    struct watch w;
    (void)state;
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        struct woq_calibrate_params p = calibration(budgets[i], &w);
        EXPECT(WOQ_ERROR_INVALID_ARGUMENT, NULL, woq_quantize_calibrated(dev, c, in_root("out"), &q, &p));
        if (i < 3)
            assert_non_null(strstr(woq_last_message(), "must be 4.5000, which the format needs with its scales, to "));
        assert_int_equal(w.measured, 0);
    }
    struct woq_calibrate_params p = calibration(16, &w);
    EXPECT(WOQ_ERROR_INVALID_ARGUMENT, NULL, woq_quantize_calibrated(dev, c, in_root("out"), &q, &p));
    assert_non_null(strstr(woq_last_message(), "nothing to quantize"));
    p = calibration(5, &w);
    p.sensitivity_tokens = 1;
    EXPECT(WOQ_ERROR_INVALID_ARGUMENT, NULL, woq_quantize_calibrated(dev, c, in_root("out"), &q, &p));
    test_expectations_met();
    remove_output();
    woq_checkpoint_close(&c);
}

static char *bytes_of(const char *path, size_t *size)
{
    struct stat info;
    FILE *f = fopen(path, "rb");
    assert_true(f && !stat(path, &info));
    char *bytes = malloc((size_t)info.st_size + 1);
    assert_non_null(bytes);
    *size = fread(bytes, 1, (size_t)info.st_size, f);
    fclose(f);
    return bytes;
}

/* What was measured before a kill is not measured again, and the end is the same. */
static void test_resumes(void **state)
{
    struct woq_quantize_params q = form(4, 32);
    struct woq_checkpoint *c = open_model(in_root("model"));
    struct watch w;
    size_t size, size_again;
    (void)state;
    struct woq_calibrate_params p = calibration(6, &w);
    EXPECT_OK(woq_quantize_calibrated(dev, c, in_root("out"), &q, &p));
    test_expectations_met();
    char *whole = bytes_of(in_root("out/model.safetensors"), &size);
    remove_output();
    p = calibration(6, &w);
    w.stop_behind = true;
    EXPECT(WOQ_ERROR_TIMEOUT, NULL, woq_quantize_calibrated(dev, c, in_root("out"), &q, &p));
    assert_true(w.measured > 0);
    p = calibration(6, &w);
    EXPECT_OK(woq_quantize_calibrated(dev, c, in_root("out"), &q, &p));
    test_expectations_met();
    assert_int_equal(w.measured, 0);
    char *again = bytes_of(in_root("out/model.safetensors"), &size_again);
    assert_int_equal(size, size_again);
    assert_memory_equal(whole, again, size);
    free(whole);
    free(again);
    remove_output();
    /* Without a budget, for the report alone. */
    p = calibration(0, &w);
    p.sensitivity = true;
    EXPECT_OK(woq_quantize_calibrated(dev, c, in_root("out"), &q, &p));
    test_expectations_met();
    yyjson_doc *doc = read_report();
    yyjson_val *value = yyjson_doc_get_root(doc);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(value, "sensitivity")), 4 * LAYERS);
    assert_null(yyjson_obj_get(value, "budget"));
    assert_true(yyjson_get_num(yyjson_obj_get(value, "bits_per_weight")) == 4.5);
    yyjson_doc_free(doc);
    remove_output();
    woq_checkpoint_close(&c);
}

static int begin(void **state)
{
    uint64_t seed = 5;
    (void)state;
    for (int i = 0; i < SAMPLES * WINDOW; i++)
        tokens[i] = (int32_t)(next(&seed) % TINY_VOCABULARY);
    omp_set_num_threads(1); /* of so little, threads would take turns waiting */
    dev = test_open(NULL);
    if (!mkdtemp(root) || !tiny_write(&llama, NULL, in_root("model")))
        return -1;
    write_tokenizer(in_root("model"));
    write_calibration_text(in_root("text"));
    return 0;
}

static int end(void **state)
{
    char line[128];
    (void)state;
    snprintf(line, sizeof line, "rm -rf '%s'", root);
    return system(line) || !test_close(&dev) || test_error_count() ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search), cmocka_unit_test(test_search_rounds), cmocka_unit_test(test_head),
        cmocka_unit_test(test_divergence), cmocka_unit_test(test_units), cmocka_unit_test(test_stops),
        cmocka_unit_test(test_budget), cmocka_unit_test(test_budget_refused), cmocka_unit_test(test_resumes)};
    return cmocka_run_group_tests(tests, begin, end);
}
