/*
 * test_model.c: models against the same in double, on WOQ_DEVICE or the reference: architectures, rotary
 * scalings, formats, ways to cut a text; perplexity, continuation, and what is refused.
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

#include "model/model_impl.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/tiny_model.h"

enum { TOKENS = 80 };

static struct woq_device *dev;
static char directory[64];
static int32_t text[TOKENS];

static const struct tiny_model llama = {.architecture = "llama", .layers = 2, .hidden = 48, .heads = 6,
                                        .kv_heads = 2, .head_dim = 8, .intermediate = 40, .tied = true};

static struct woq_checkpoint *open_tiny(const struct tiny_model *m, const struct tiny_faults *faults)
{
    struct woq_checkpoint *c = NULL;
    char path[96];
    assert_true(tiny_write(m, faults, directory));
    snprintf(path, sizeof path, "%s%s", directory, m->stored ? "/model.gguf" : "");
    EXPECT_OK(woq_checkpoint_open(path, NULL, &c));
    return c;
}

static struct woq_model *make(const struct tiny_model *m, const struct woq_model_params *given)
{
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_model *model = NULL;
    struct woq_checkpoint *c = open_tiny(m, NULL);
    EXPECT_OK(woq_model_create(dev, c, given ? given : &p, &model));
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    test_expectations_met();
    return model;
}

/* The largest difference as a share of the largest logit. */
static double difference(const float *got, const double *want, size_t count)
{
    double most = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        const double d = fabs(got[i] - want[i]);
        most = d > most || d != d ? d : most;
        largest = fabs(want[i]) > largest ? fabs(want[i]) : largest;
    }
    return most / largest;
}

/* Rounding a value to T costs 2^-24, 2^-11 or 2^-8 of it; a token's way has some tens of roundings, and sums of
 * `hidden` terms. */
static double tolerance(enum woq_type x, uint32_t hidden)
{
    return (x == WOQ_F32 ? 5e-6 : x == WOQ_F16 ? 5e-3 : 4e-2) * sqrt(hidden / 48.0);
}

static void check_model(const char *what, const struct tiny_model *m, const struct woq_model_params *p)
{
    static float got[TOKENS * TINY_VOCABULARY];
    static double want[TOKENS * TINY_VOCABULARY];
    struct woq_model *model = make(m, p);
    const bool quantized = p->weights == WOQ_MODEL_QUANTIZED;
    assert_true(tiny_logits(m, quantized ? &p->format : NULL, text, TOKENS, want));
    EXPECT_OK(woq_model_forward(model, text, TOKENS, got, TOKENS));
    const double d = difference(got, want, TOKENS * TINY_VOCABULARY);
    const enum woq_type x = p->x_type ? p->x_type : WOQ_F16;
    printf("%-28s x %-4s  %.2g of the largest logit\n", what, woq_type_name(x), d);
    assert_true(d <= tolerance(x, m->hidden));
    woq_model_destroy(&model);
    test_expectations_met();
}

static void test_architectures(void **state)
{
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct tiny_model m = llama;
    (void)state;
    check_model("llama, F16", &m, &p);
    p.x_type = WOQ_BF16;
    check_model("llama, BF16", &m, &p);
    p.x_type = WOQ_F32;
    check_model("llama", &m, &p);
    m.tied = false;
    check_model("llama, head of its own", &m, &p);
    m.kv_heads = m.heads;
    check_model("llama, all kv heads", &m, &p);
    m.kv_heads = 1;
    m.head_dim = 18;
    check_model("llama, one kv head of 18", &m, &p);
    m.architecture = "qwen2";
    m.bias = true;
    m.head_dim = 8;
    check_model("qwen2, biases", &m, &p);
    m.architecture = "qwen3";
    m.bias = false;
    m.qk_norm = true;
    m.head_dim = 20;
    m.kv_heads = 2;
    check_model("qwen3, q and k norms", &m, &p);
}

static void test_rope(void **state)
{
    static const char *const variants[] = {"linear", "llama3", "yarn"};
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    (void)state;
    p.x_type = WOQ_F32;
    for (int i = 0; i < 3; i++) {
        struct tiny_model m = llama;
        m.head_dim = 32;
        m.rope = variants[i];
        check_model(variants[i], &m, &p);
    }
}

static void test_quantized(void **state)
{
    static const struct {
        const char *name;
        enum woq_code code;
        enum woq_zero zero;
        uint64_t group;
    } formats[] = {{"w8", WOQ_CODE_U8, WOQ_ZERO_SYMMETRIC, WOQ_GROUP_CHANNEL},
                   {"w4g16", WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, 16},
                   {"w4g32z, ragged", WOQ_CODE_U4, WOQ_ZERO_POINT, 32},
                   {"w8t", WOQ_CODE_U8, WOQ_ZERO_SYMMETRIC, WOQ_GROUP_TENSOR}};
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
        p.weights = WOQ_MODEL_QUANTIZED;
        p.format.code = formats[i].code;
        p.format.zero = formats[i].zero;
        p.format.group = formats[i].group;
        p.format.scale = WOQ_F16;
        p.x_type = WOQ_F32;
        p.math = WOQ_MATH_EXACT;
        check_model(formats[i].name, &llama, &p);
    }
}

/* Files whose q, k and v, or gate and up, are of several types, which cannot all be one stack. */
static void test_mixed_types(void **state)
{
    static const struct {
        const char *name, *architecture;
        uint32_t width; /* 256 where types of super-blocks are */
        struct tiny_stored stored[6];
    } cases[] = {
        /* llama.cpp's Q4_K_M: half the layers have v and down as Q6_K. */
        {"q q v", "llama", 256, {{"0.self_attn.v_proj.weight", TINY_Q6_K}, {"0.mlp.down_proj.weight", TINY_Q6_K},
                                 {"o_proj.weight", TINY_Q8_0}, {"embed_tokens.weight", TINY_Q6_K},
                                 {"_proj.weight", TINY_Q4_K}, {NULL, 0}}},
        {"q q v, biases", "qwen2", 256, {{"v_proj.weight", TINY_Q6_K}, {"_proj.weight", TINY_Q4_0}, {NULL, 0}}},
        {"q k k, biases", "qwen2", 64, {{"q_proj.weight", TINY_Q4_1}, {"_proj.weight", TINY_Q8_0}, {NULL, 0}}},
        {"q k q, biases", "qwen2", 64, {{"k_proj.weight", TINY_Q4_1}, {"_proj.weight", TINY_Q8_0}, {NULL, 0}}},
        {"q k v", "llama", 64, {{"q_proj.weight", TINY_Q4_0}, {"k_proj.weight", TINY_F32},
                                {"_proj.weight", TINY_Q8_0}, {NULL, 0}}},
        {"gate, up", "llama", 256, {{"gate_proj.weight", TINY_Q4_K}, {"up_proj.weight", TINY_Q6_K},
                                    {"_proj.weight", TINY_Q8_0}, {NULL, 0}}},
    };
    struct tiny_model m = {.layers = 2, .heads = 4, .kv_heads = 2, .head_dim = 16, .tied = true};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
        struct woq_model_info info;
        p.x_type = WOQ_F32;
        p.math = WOQ_MATH_EXACT;
        m.hidden = m.intermediate = cases[i].width;
        m.architecture = cases[i].architecture;
        m.bias = !strcmp(m.architecture, "qwen2");
        m.stored = cases[i].stored;
        check_model(cases[i].name, &m, &p);
        struct woq_model *model = make(&m, &p);
        EXPECT_OK(woq_model_get_info(model, &info));
        assert_string_equal(info.format, "mixed");
        woq_model_destroy(&model);
        if (i)
            continue;
        p.weights = WOQ_MODEL_QUANTIZED;
        p.format = (struct woq_format){sizeof p.format, WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 64, false};
        check_model("  quantized again", &m, &p);
    }
}

static void test_info(void **state)
{
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_model_info info;
    struct woq_model *m;
    (void)state;
    p.weights = WOQ_MODEL_QUANTIZED;
    p.format.code = WOQ_CODE_U4;
    p.format.zero = WOQ_ZERO_SYMMETRIC;
    p.format.scale = WOQ_F16;
    p.format.group = 8;
    m = make(&llama, &p);
    EXPECT_OK(woq_model_get_info(m, &info));
    assert_string_equal(info.format, "qb4w_g8_f16");
    assert_true(fabs(info.bits_per_weight - 6) < 1e-9); /* 4 and 16/8 */
    /* Embeddings; per layer q, k, v, o, gate, up, down and two norms; the last norm. */
    assert_int_equal(info.parameters, 67 * 48 + 2 * ((48 + 16 + 16 + 48 + 3 * 40) * 48 + 2 * 48) + 48);
    assert_int_equal(info.config.layers, 2);
    assert_true(*info.path && *info.math && *info.decode_path && *info.decode_math);
    EXPECT_BAD("model", woq_model_get_info(NULL, &info));
    EXPECT_BAD("out", woq_model_get_info(m, NULL));
    woq_model_destroy(&m);
    woq_model_destroy(&m);
    test_expectations_met();
}

/* The same text in pieces, after a reset, and with fewer logits. */
static void test_pieces(void **state)
{
    static const uint32_t pieces[][4] = {{80}, {1, 79}, {37, 3, 40}, {16, 16, 16, 32}};
    static double want[TOKENS * TINY_VOCABULARY];
    static float got[TOKENS * TINY_VOCABULARY];
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    (void)state;
    p.x_type = WOQ_F32;
    struct woq_model *m = make(&llama, &p);
    assert_true(tiny_logits(&llama, NULL, text, TOKENS, want));
    for (int i = 0; i < 4; i++) {
        uint32_t done = 0;
        woq_model_reset(m);
        for (int j = 0; j < 4 && pieces[i][j]; j++) {
            const uint32_t n = pieces[i][j], wanted = n / 2 + 1 < n ? n / 2 + 1 : n;
            EXPECT_OK(woq_model_forward(m, text + done, n, got, wanted));
            done += n;
            assert_int_equal(woq_model_position(m), done);
            assert_true(difference(got, want + (size_t)(done - wanted) * TINY_VOCABULARY,
                                   (size_t)wanted * TINY_VOCABULARY) < tolerance(WOQ_F32, llama.hidden));
        }
    }
    /* No logits at all, then one token at a time. */
    woq_model_reset(m);
    EXPECT_OK(woq_model_forward(m, text, 60, NULL, 0));
    for (uint32_t t = 60; t < TOKENS; t++) {
        EXPECT_OK(woq_model_forward(m, text + t, 1, got, 1));
        assert_true(difference(got, want + (size_t)t * TINY_VOCABULARY, TINY_VOCABULARY) <
                    tolerance(WOQ_F32, llama.hidden));
    }
    woq_model_destroy(&m);
    test_expectations_met();
}

static bool count_steps(void *user, uint64_t done, uint64_t total, double perplexity)
{
    uint64_t *steps = user;
    assert_true(total == 3 && done == *steps + 1 && perplexity > 1);
    *steps = done;
    return done < 2 || *steps != 2 || total != 3 || steps[1] != 1; /* steps[1]: stop at the second */
}

static enum woq_status perplexity_of(struct woq_model *m, const int32_t *tokens, size_t count, uint32_t window,
                                     uint32_t stride, int32_t bos, uint64_t most, uint64_t *steps,
                                     struct woq_perplexity *out)
{
    const struct woq_text_params params = {sizeof params, tokens, count, window, stride, bos, most,
                                           steps ? count_steps : NULL, steps};
    return woq_model_perplexity(m, &params, out);
}

/* Each window of `window` tokens from `from` on, whose last `scored` count: the mean by the model in double. */
static double plain_nll(const int32_t *from, uint32_t window, uint32_t scored, int32_t bos)
{
    static double logits[TINY_CONTEXT * TINY_VOCABULARY];
    int32_t input[TINY_CONTEXT];
    double mean = 0;
    memcpy(input, from, window * sizeof *input);
    input[0] = bos < 0 ? input[0] : bos;
    assert_true(tiny_logits(&llama, NULL, input, window, logits));
    for (uint32_t t = window - 1 - scored; t < window - 1; t++) {
        double total = 0;
        for (int i = 0; i < TINY_VOCABULARY; i++)
            total += exp(logits[t * TINY_VOCABULARY + (uint32_t)i]);
        mean += (log(total) - logits[t * TINY_VOCABULARY + (uint32_t)input[t + 1]]) / scored;
    }
    return mean;
}

/* One begins each `stride` tokens. */
static void test_strided(void **state)
{
    enum { WINDOW = 24 };
    static const uint32_t strides[] = {1, 7, 12, WINDOW - 1};
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_perplexity got;
    (void)state;
    p.x_type = WOQ_F32;
    struct woq_model *m = make(&llama, &p);
    for (size_t s = 0; s < sizeof strides / sizeof *strides; s++)
        for (int32_t bos = -1; bos < 2; bos += 2) {
            const uint64_t most = strides[s] == 1 ? 5 : 0, all = (TOKENS - WINDOW) / strides[s] + 1;
            double sum = 0;
            EXPECT_OK(perplexity_of(m, text, TOKENS, WINDOW, strides[s], bos, most, NULL, &got));
            assert_int_equal(got.windows, most ? most : all);
            assert_int_equal(got.scored, got.windows * strides[s]);
            for (uint64_t w = 0; w < got.windows; w++) {
                const double want = plain_nll(text + w * strides[s], WINDOW, strides[s], bos);
                assert_true(fabs(got.window_nll[w] - want) < 1e-4);
                sum += want;
            }
            assert_true(fabs(log(got.perplexity) - sum / (double)got.windows) < 1e-4);
            free(got.window_nll);
        }
    woq_model_destroy(&m);
    test_expectations_met();
}

static void test_perplexity(void **state)
{
    enum { WINDOW = 24, WINDOWS = 3, SCORED = WINDOW - WINDOW / 2 - 1 };
    static double logits[WINDOW * TINY_VOCABULARY];
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_perplexity got;
    uint64_t steps[2] = {0, 0};
    double sum = 0, squares = 0;
    (void)state;
    p.x_type = WOQ_F32;
    struct woq_model *m = make(&llama, &p);
    EXPECT_OK(perplexity_of(m, text, TOKENS, WINDOW, 0, 1, 0, steps, &got));
    assert_int_equal(got.windows, WINDOWS);
    assert_int_equal(got.scored, WINDOWS * SCORED);
    for (int w = 0; w < WINDOWS; w++) {
        int32_t window[WINDOW];
        double mean = 0;
        memcpy(window, text + (size_t)w * WINDOW, sizeof window);
        window[0] = 1;
        assert_true(tiny_logits(&llama, NULL, window, WINDOW, logits));
        for (int t = WINDOW / 2; t < WINDOW - 1; t++) {
            double total = 0;
            for (int i = 0; i < TINY_VOCABULARY; i++)
                total += exp(logits[t * TINY_VOCABULARY + i]);
            const double nll = log(total) - logits[t * TINY_VOCABULARY + window[t + 1]];
            mean += nll / SCORED;
            sum += nll;
            squares += nll * nll;
        }
        assert_true(fabs(got.window_nll[w] - mean) < 1e-4);
    }
    const double n = WINDOWS * SCORED, variance = squares / n - sum / n * (sum / n);
    assert_true(fabs(got.perplexity / exp(sum / n) - 1) < 1e-4);
    assert_true(fabs(got.standard_error / (exp(sum / n) * sqrt(variance / (n - 1))) - 1) < 1e-3);
    free(got.window_nll);
    EXPECT_OK(perplexity_of(m, text, TOKENS, WINDOW, 0, -1, 1, NULL, &got));
    assert_int_equal(got.windows, 1);
    free(got.window_nll);
    steps[0] = 0;
    steps[1] = 1;
    EXPECT(WOQ_ERROR_TIMEOUT, "2 of 3",
           perplexity_of(m, text, TOKENS, WINDOW, 0, 1, 0, steps, &got));
    assert_null(got.window_nll);
#define PERPLEXITY(tokens, count, window, bos) perplexity_of(m, tokens, count, window, 0, bos, 0, NULL, &got)
    EXPECT_BAD("tokens", PERPLEXITY(NULL, TOKENS, WINDOW, -1));
    EXPECT_BAD("two windows", PERPLEXITY(text, 2 * WINDOW - 1, WINDOW, -1));
    EXPECT_BAD("even", PERPLEXITY(text, TOKENS, 25, -1));
    EXPECT_BAD("even", PERPLEXITY(text, TOKENS, 2, -1));
    EXPECT_BAD("96", PERPLEXITY(text, TOKENS, 98, -1));
    EXPECT_BAD("bos", PERPLEXITY(text, TOKENS, WINDOW, TINY_VOCABULARY));
    EXPECT_BAD("stride is 24", perplexity_of(m, text, TOKENS, WINDOW, WINDOW, -1, 0, NULL, &got));
    EXPECT_BAD("a window needs 24", perplexity_of(m, text, WINDOW - 1, WINDOW, 4, -1, 0, NULL, &got));
    EXPECT_BAD("model", perplexity_of(NULL, text, TOKENS, WINDOW, 0, 1, 0, NULL, &got));
    EXPECT_BAD("out", perplexity_of(m, text, TOKENS, WINDOW, 0, 1, 0, NULL, NULL));
    EXPECT_BAD("text is NULL", woq_model_perplexity(m, NULL, &got));
    EXPECT_BAD("WOQ_TEXT_PARAMS_INIT", woq_model_perplexity(m, &(struct woq_text_params){.tokens = text}, &got));
#undef PERPLEXITY
    woq_model_destroy(&m);
    test_expectations_met();
}

static void test_generate(void **state)
{
    static double logits[TINY_CONTEXT * TINY_VOCABULARY];
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    int32_t all[TINY_CONTEXT], out[TINY_CONTEXT];
    size_t made = 7;
    (void)state;
    p.x_type = WOQ_F32;
    p.batch = 8; /* the prompt takes several */
    struct woq_model *m = make(&llama, &p);
    memcpy(all, text, 20 * sizeof *all);
    for (uint32_t n = 20; n < 40; n++) {
        assert_true(tiny_logits(&llama, NULL, all, n, logits));
        const double *last = logits + (size_t)(n - 1) * TINY_VOCABULARY;
        all[n] = 0;
        for (int32_t i = 1; i < TINY_VOCABULARY; i++)
            all[n] = last[i] > last[all[n]] ? i : all[n];
    }
    EXPECT_OK(woq_model_generate(m, text, 20, -1, out, 20, &made));
    assert_int_equal(made, 20);
    assert_memory_equal(out, all + 20, 20 * sizeof *out);
    woq_model_reset(m);
    EXPECT_OK(woq_model_generate(m, text, 20, all[25], out, 20, &made));
    assert_int_equal(out[made - 1], all[25]);
    assert_true(made <= 6);
    /* It ends with the context. */
    woq_model_reset(m);
    EXPECT_OK(woq_model_generate(m, text, 20, -1, out, TINY_CONTEXT, &made));
    assert_int_equal(made, TINY_CONTEXT - 20 + 1);
    EXPECT_BAD("0 have room", woq_model_generate(m, text, 1, -1, out, 1, &made));
    assert_int_equal(made, 0);
    EXPECT_BAD("prompt", woq_model_generate(m, NULL, 1, -1, out, 1, &made));
    EXPECT_BAD("made", woq_model_generate(m, text, 1, -1, out, 1, NULL));
    EXPECT_BAD("model", woq_model_generate(NULL, text, 1, -1, out, 1, &made));
    woq_model_destroy(&m);
    test_expectations_met();
}

static void test_refused(void **state)
{
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_checkpoint *c = open_tiny(&llama, NULL);
    struct woq_model *m = NULL;
    float logits[TINY_VOCABULARY];
    int32_t bad = TINY_VOCABULARY;
    (void)state;
    EXPECT_BAD("device", woq_model_create(NULL, c, &p, &m));
    EXPECT_BAD("checkpoint", woq_model_create(dev, NULL, &p, &m));
    EXPECT_BAD("out", woq_model_create(dev, c, &p, NULL));
    p.struct_size = 8;
    EXPECT_BAD("struct_size", woq_model_create(dev, c, &p, &m));
    p = (struct woq_model_params)WOQ_MODEL_PARAMS_INIT;
    p.weights = (enum woq_model_weights)7;
    EXPECT_BAD("weights", woq_model_create(dev, c, &p, &m));
    p.weights = WOQ_MODEL_QUANTIZED;
    EXPECT_BAD("format.code", woq_model_create(dev, c, &p, &m));
    p.format.code = WOQ_CODE_U4;
    p.format.zero = WOQ_ZERO_OFFSET;
    EXPECT_BAD("format.zero", woq_model_create(dev, c, &p, &m));
    p = (struct woq_model_params)WOQ_MODEL_PARAMS_INIT;
    p.x_type = (enum woq_type)9;
    EXPECT_BAD("x_type", woq_model_create(dev, c, &p, &m));
    p.x_type = WOQ_F16;
    p.context = 10;
    p.batch = 11;
    EXPECT_BAD("batch", woq_model_create(dev, c, &p, &m));
    assert_null(m);
    p.batch = 6;
    EXPECT_OK(woq_model_create(dev, c, &p, &m));
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    EXPECT_BAD("1 to 6", woq_model_forward(m, text, 7, logits, 1));
    EXPECT_BAD("1 to 6", woq_model_forward(m, text, 0, logits, 0));
    EXPECT_BAD("wanted", woq_model_forward(m, text, 1, logits, 2));
    EXPECT_BAD("0 to 66", woq_model_forward(m, &bad, 1, logits, 1));
    EXPECT_BAD("logits", woq_model_forward(m, text, 1, NULL, 1));
    EXPECT_BAD("tokens", woq_model_forward(m, NULL, 1, logits, 1));
    EXPECT_BAD("model", woq_model_forward(NULL, text, 1, logits, 1));
    EXPECT_OK(woq_model_forward(m, text, 6, logits, 1));
    EXPECT_BAD("context of 10", woq_model_forward(m, text, 5, logits, 1));
    EXPECT_OK(woq_model_forward(m, text, 4, logits, 1));
    woq_model_destroy(&m);
    test_expectations_met();
}

static void test_broken_files(void **state)
{
    static const struct {
        struct tiny_faults faults;
        const char *mention;
    } cases[] = {{{"model.layers.1.self_attn.o_proj.weight", NULL, NULL}, "layers.1.self_attn.o_proj"},
                 {{"model.layers.1.input_layernorm.weight", NULL, NULL}, "layers.1.input_layernorm"},
                 {{NULL, "model.layers.0.mlp.up_proj.weight", NULL}, "layers.0.mlp.up_proj"},
                 {{NULL, "model.layers.0.input_layernorm.weight", NULL}, "layers.0.input_layernorm"},
                 {{NULL, NULL, "model.layers.1.mlp.gate_proj.weight"}, "layers.1.mlp.gate_proj"},
                 {{NULL, NULL, "model.layers.1.post_attention_layernorm.weight"}, "layers.1.post_attention"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_checkpoint *c = open_tiny(&llama, &cases[i].faults);
        struct woq_model *m = NULL;
        EXPECT(WOQ_ERROR_INVALID_DATA, cases[i].mention, woq_model_create(dev, c, NULL, &m));
        assert_null(m);
        woq_checkpoint_close(&c);
        tiny_remove(directory);
    }
    test_expectations_met();
}

/* Each allocation of the device's in turn fails: while the model is made, and in its first forward. */
static void test_allocation_failure(void **state)
{
    const struct tiny_model small = {.architecture = "qwen2", .layers = 1, .hidden = 16, .heads = 2, .kv_heads = 1,
                                     .head_dim = 8, .intermediate = 16, .bias = true};
    struct woq_checkpoint *c = open_tiny(&small, NULL);
    struct test_heap *heap = test_main_heap();
    const int64_t before = test_heap_balance(heap);
    float logits[TINY_VOCABULARY];
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    int64_t n = 0;
    (void)state;
    test_expect_errors(true);
    for (; st && n < 5000; n++) {
        struct woq_model *m = NULL;
        test_heap_fail_at(heap, n);
        st = woq_model_create(dev, c, NULL, &m);
        if (!st)
            st = woq_model_forward(m, text, 5, logits, 1);
        test_heap_fail_at(heap, -1);
        if (st && st != WOQ_ERROR_OUT_OF_MEMORY)
            fail_msg("allocation %lld: %s: %s", (long long)n, woq_status_string(st), woq_last_message());
        /* A forward that failed leaves the model as it was. */
        if (st && m) {
            assert_int_equal(woq_model_position(m), 0);
            EXPECT_OK(woq_model_forward(m, text, 5, logits, 1));
        }
        woq_model_destroy(&m);
        assert_int_equal(test_heap_balance(heap), before);
    }
    test_expect_errors(false);
    printf("%lld allocations\n", (long long)n);
    assert_int_equal(st, WOQ_OK);
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    test_expectations_met();
}

/* What the host computes for itself. */
static void test_host_operators(void **state)
{
    enum { COUNT = 4096, WIDTH = 1003 };
    static float x[COUNT];
    static uint16_t y[COUNT];
    uint32_t bits = 0;
    (void)state;
    for (uint32_t round = 0; round < 256; round++) {
        for (uint32_t i = 0; i < COUNT; i++) {
            memcpy(&x[i], &bits, 4);
            bits += 4093; /* prime: all exponents, both signs, many ties */
        }
        woqi_convert(x, y, WOQ_F16, COUNT);
        for (uint32_t i = 0; i < COUNT; i++)
            if (x[i] == x[i] ? y[i] != woq_f32_to_f16(x[i]) : (y[i] & 0x7fff) <= 0x7c00)
                fail_msg("%a becomes %04x, not %04x", (double)x[i], y[i], woq_f32_to_f16(x[i]));
        bits += 0x00fffff0u;
    }
    static const float edges[] = {0.0f, -0.0f, INFINITY, -INFINITY, 65504, 65519.996f, 65520, 0x1p-14f,
                                  0x1.ffep-15f, 0x1p-24f, 0x1p-25f, 0x1.000002p-25f, 0x1p-149f, -0x1.8p-24f};
    woqi_convert(edges, y, WOQ_F16, sizeof edges / sizeof *edges);
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        assert_int_equal(y[i], woq_f32_to_f16(edges[i]));
    for (uint32_t i = 0; i < WIDTH; i++)
        x[i] = (float)((i * 7919u) % 2003) / 20 - 70;
    double sum = 0;
    for (uint32_t i = 0; i < WIDTH; i++)
        sum += exp(x[i]);
    assert_true(fabs(woqi_log_sum(x, WIDTH) - log(sum)) < 1e-6);
    for (uint32_t i = 0; i < WIDTH; i++)
        assert_true(x[i] <= x[woqi_largest(x, WIDTH)]);
    /* of equals the first, in every piece that it is looked for in */
    static float many[2003];
    for (uint32_t i = 0; i < 2003; i += 37) {
        for (uint32_t j = 0; j < 2003; j++)
            many[j] = j == i || j > i + 600 ? 3 : (float)(j % 31) / 11;
        assert_int_equal(woqi_largest(many, 2003), i);
        assert_int_equal(woqi_largest(many, i + 1), i);
    }
    x[5] = NAN;
    assert_true(woqi_log_sum(x, WIDTH) != woqi_log_sum(x, WIDTH));
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/woq_test_model.%ld", (long)getpid());
    for (uint32_t i = 0; i < TOKENS; i++)
        text[i] = (int32_t)((i * i * 29 + i * 7 + 3) % TINY_VOCABULARY);
    dev = test_open(NULL);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return test_close(&dev) && !test_error_count() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_host_operators), cmocka_unit_test(test_architectures),
        cmocka_unit_test(test_rope),           cmocka_unit_test(test_quantized),
        cmocka_unit_test(test_mixed_types),    cmocka_unit_test(test_info),           cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_perplexity),     cmocka_unit_test(test_strided),
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_broken_files),
        cmocka_unit_test(test_allocation_failure)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
