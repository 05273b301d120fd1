/*
 * test_block.c: a decoder layer by itself, on WOQ_DEVICE or the reference: stage by stage it gives what a model gives,
 * bit for bit, with weights as FP16 and with weights that are set.
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
#include <woq/quantize.h>

#include "model/block.h"
#include "model/model_impl.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/shared_data.h"
#include "support/tiny_model.h"

/* The tiny models' width; the most that stories260K has of any kind, and its vocabulary. */
enum { TOKENS = 80, HIDDEN = 48, MAX_HIDDEN = 64, WIDEST = 192, MAX_VOCABULARY = 512 };

static struct woq_device *dev;
static char directory[64];
static int32_t text[TOKENS];

static const struct tiny_model llama = {.architecture = "llama", .layers = 3, .hidden = HIDDEN, .heads = 6,
                                        .kv_heads = 2, .head_dim = 8, .intermediate = 40, .tied = true};

static struct woq_checkpoint *open_tiny(const struct tiny_model *m)
{
    struct woq_checkpoint *c = NULL;
    assert_true(tiny_write(m, NULL, directory));
    EXPECT_OK(woq_checkpoint_open(directory, NULL, &c));
    assert_non_null(c);
    return c;
}

static struct woqi_block *make_block(const struct woq_checkpoint *c)
{
    struct woqi_block *b = NULL;
    EXPECT_OK(woqi_block_create(dev, c, TOKENS, WOQ_MATH_DEFAULT, &b));
    test_expectations_met();
    return b;
}

/* Replaces the stage's weights by the checkpoint's, rounded to nearest in formats[part]. */
static void set_rounded(struct woqi_block *b, const struct woq_checkpoint *c, uint32_t layer, enum woqi_stage stage,
                        const struct woq_format formats[WOQI_STAGE_PARTS])
{
    struct woq_weights_source sources[WOQI_STAGE_PARTS];
    struct woqi_stage_info info;
    EXPECT_OK(woqi_stage_describe(woqi_block_config(b), layer, stage, &info));
    for (uint32_t i = 0; i < info.count; i++) {
        char name[160];
        snprintf(name, sizeof name, "%s.weight", info.names[i]);
        const struct woq_tensor *t = woq_checkpoint_find(c, name);
        float *w = malloc(info.rows[i] * info.columns * sizeof *w);
        assert_true(t && w);
        EXPECT_OK(woq_tensor_read(t, 0, info.rows[i], w));
        EXPECT_OK(woq_quantize_rtn(&formats[i], info.rows[i], info.columns, w, &sources[i]));
        free(w);
    }
    EXPECT_OK(woqi_block_set(b, stage, sources));
    for (uint32_t i = 0; i < info.count; i++)
        woq_source_release(&sources[i]);
    test_expectations_met();
}

/* h through the layer that is loaded. */
static void run_layer(struct woqi_block *b, uint32_t count, float *h)
{
    static uint16_t x[TOKENS * WIDEST], y[TOKENS * WIDEST];
    EXPECT_OK(woqi_block_input(b, WOQI_STAGE_QKV, count, h, x));
    EXPECT_OK(woqi_block_attention(b, count, x, y));
    EXPECT_OK(woqi_block_add(b, WOQI_STAGE_O, count, y, h));
    EXPECT_OK(woqi_block_input(b, WOQI_STAGE_GATE_UP, count, h, x));
    EXPECT_OK(woqi_block_gate_up(b, count, x, y));
    EXPECT_OK(woqi_block_add(b, WOQI_STAGE_DOWN, count, y, h));
    test_expectations_met();
}

/* Final hidden states of `text` by a model, and its logits. */
static void run_model(const struct woq_checkpoint *c, const struct woq_format *format, uint32_t count, float *h,
                      float *logits)
{
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_model *m = NULL;
    p.weights = format ? WOQ_MODEL_QUANTIZED : WOQ_MODEL_F16;
    if (format)
        p.format = *format;
    p.context = p.batch = TOKENS;
    EXPECT_OK(woq_model_create(dev, c, &p, &m));
    EXPECT_OK(woq_model_forward(m, text, count, logits, count));
    EXPECT_OK(woqi_host_enter(m));
    memcpy(h, woqi_rows(m, &m->h), count * m->h.row_bytes);
    EXPECT_OK(woqi_host_leave(m));
    woq_model_destroy(&m);
    test_expectations_met();
}

/* The final norm and the head in double. */
static void check_logits(const struct woq_checkpoint *c, const struct woq_model_config *config, const float *h,
                         uint32_t count, const float *logits)
{
    static float norm[MAX_HIDDEN], head[MAX_VOCABULARY * MAX_HIDDEN];
    const uint32_t width = config->hidden;
    const char *name = config->tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    double most = 0, largest = 0;
    EXPECT_OK(woq_tensor_read(woq_checkpoint_find(c, "model.norm.weight"), 0, 1, norm));
    EXPECT_OK(woq_tensor_read(woq_checkpoint_find(c, name), 0, config->vocabulary, head));
    for (uint32_t r = 0; r < count; r++) {
        double squares = 0;
        for (uint32_t i = 0; i < width; i++)
            squares += (double)h[r * width + i] * (double)h[r * width + i];
        const double factor = 1 / sqrt(squares / width + (double)config->norm_epsilon);
        for (uint32_t v = 0; v < config->vocabulary; v++) {
            double want = 0;
            for (uint32_t i = 0; i < width; i++)
                want += (double)h[r * width + i] * factor * (double)norm[i] * (double)head[v * width + i];
            most = fmax(most, fabs(want - (double)logits[r * config->vocabulary + v]));
            largest = fmax(largest, fabs(want));
        }
    }
    /* x and the head are rounded to FP16: 2^-11 each of a sum's terms. */
    assert_true(largest > 0.1 && most < 2e-3 * largest);
}

static void check_equal(const float *got, const float *want, uint32_t count, const char *what)
{
    if (memcmp(got, want, count * sizeof *got))
        for (uint32_t i = 0; i < count; i++)
            if (memcmp(got + i, want + i, sizeof *got))
                fail_msg("%s: element %u is %a; must be %a", what, i, (double)got[i], (double)want[i]);
}

static float h[TOKENS * MAX_HIDDEN], want[TOKENS * MAX_HIDDEN], logits[TOKENS * MAX_VOCABULARY];

/* Texts of several lengths through all layers, as a model has it. */
static void check_layers(const char *what, const struct woq_checkpoint *c)
{
    static const uint32_t counts[] = {TOKENS, 1, 33};
    struct woqi_block *b = make_block(c);
    const struct woq_model_config *config = woqi_block_config(b);
    assert_true(config->hidden <= MAX_HIDDEN && config->vocabulary <= MAX_VOCABULARY);
    for (int i = 0; i < 3; i++) {
        run_model(c, NULL, counts[i], want, logits);
        EXPECT_OK(woqi_block_embed(b, text, counts[i], h));
        for (uint32_t l = 0; l < config->layers; l++) {
            EXPECT_OK(woqi_block_load(b, l, true));
            run_layer(b, counts[i], h);
        }
        check_equal(h, want, counts[i] * config->hidden, what);
        check_logits(c, config, h, counts[i], logits);
    }
    woqi_block_destroy(&b);
    test_expectations_met();
}

static void check_model(const char *what, const struct tiny_model *m)
{
    struct woq_checkpoint *c = open_tiny(m);
    check_layers(what, c);
    woq_checkpoint_close(&c);
    tiny_remove(directory);
}

/* A GGUF that was trained, where it is at hand. */
static void test_stories(void **state)
{
    struct woq_checkpoint *c = NULL;
    char path[4096];
    (void)state;
    if (!shared_data_path("stories260K/stories260K.gguf", path, sizeof path))
        skip();
    EXPECT_OK(woq_checkpoint_open(path, NULL, &c));
    check_layers("stories260K", c);
    woq_checkpoint_close(&c);
}

static void test_layers(void **state)
{
    struct tiny_model m = llama;
    (void)state;
    check_model("llama", &m);
    m.tied = false;
    m.rope = "llama3";
    check_model("llama, rotary scaling", &m);
    m.architecture = "qwen2";
    m.rope = NULL;
    m.bias = true;
    check_model("qwen2, biases", &m);
    m.architecture = "qwen3";
    m.bias = false;
    m.qk_norm = true;
    m.head_dim = 20;
    check_model("qwen3, q and k norms", &m);
}

static const struct woq_format w4g8 = {sizeof w4g8, WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 8, false};
static const struct woq_format w4g16z = {sizeof w4g16z, WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 16, false};
static const struct woq_format w8 = {sizeof w8, WOQ_CODE_U8, WOQ_ZERO_SYMMETRIC, WOQ_F16, WOQ_GROUP_CHANNEL, false};

/* All weights set: as a model that rounds them while loading. */
static void test_set(void **state)
{
    const struct woq_format *formats[] = {&w4g8, &w4g16z, &w8};
    struct tiny_model m = llama;
    (void)state;
    m.architecture = "qwen2";
    m.bias = true;
    struct woq_checkpoint *c = open_tiny(&m);
    struct woqi_block *b = make_block(c);
    for (int i = 0; i < 3; i++) {
        const struct woq_format same[] = {*formats[i], *formats[i], *formats[i]};
        run_model(c, formats[i], TOKENS, want, logits);
        EXPECT_OK(woqi_block_embed(b, text, TOKENS, h));
        for (uint32_t l = 0; l < m.layers; l++) {
            EXPECT_OK(woqi_block_load(b, l, i & 1)); /* over FP16, and where there was nothing */
            for (int s = 0; s < WOQI_STAGES; s++)
                set_rounded(b, c, l, (enum woqi_stage)s, same);
            run_layer(b, TOKENS, h);
        }
        check_equal(h, want, TOKENS * HIDDEN, "rounded");
    }
    woqi_block_destroy(&b);
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    test_expectations_met();
}

/*
 * q, k and v of several formats: a and the keys of one matrix alone say what each part gives, so a stage whose parts
 * are each of another format equals, in what depends on a part, the stage that has all in that part's format. Values
 * reach a only through v when all queries see one key: the first row.
 */
static void test_mixed(void **state)
{
    static uint16_t x[TOKENS * WIDEST], mixed[TOKENS * WIDEST], alone[TOKENS * WIDEST];
    static const struct woq_format sets[][WOQI_STAGE_PARTS] = {
        {w4g8, w4g8, w8}, {w8, w4g16z, w4g16z}, {w4g8, w4g16z, w8}, {w4g8, w8, w4g8}};
    const uint32_t width = llama.heads * llama.head_dim;
    struct tiny_model m = llama;
    (void)state;
    m.architecture = "qwen2";
    m.bias = true;
    struct woq_checkpoint *c = open_tiny(&m);
    struct woqi_block *b = make_block(c);
    EXPECT_OK(woqi_block_load(b, 1, false));
    EXPECT_OK(woqi_block_embed(b, text, TOKENS, h));
    EXPECT_OK(woqi_block_input(b, WOQI_STAGE_QKV, TOKENS, h, x));
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        const struct woq_format v[] = {sets[i][2], sets[i][2], sets[i][2]};
        set_rounded(b, c, 1, WOQI_STAGE_QKV, v);
        EXPECT_OK(woqi_block_attention(b, TOKENS, x, alone));
        set_rounded(b, c, 1, WOQI_STAGE_QKV, sets[i]);
        EXPECT_OK(woqi_block_attention(b, TOKENS, x, mixed));
        assert_memory_equal(mixed, alone, width * sizeof *mixed);
        assert_memory_not_equal(mixed, alone, TOKENS * width * sizeof *mixed);
        double most = 0, largest = 0;
        for (uint32_t j = 0; j < TOKENS * width; j++) {
            most = fmax(most, fabs((double)woq_f16_to_f32(mixed[j]) - (double)woq_f16_to_f32(alone[j])));
            largest = fmax(largest, fabs((double)woq_f16_to_f32(alone[j])));
        }
        assert_true(most < 0.3 * largest); /* rounding of q and k moves probabilities a little */
    }
    /* Gate and up must be alike. */
    const struct woq_format unlike[] = {w4g8, w8, w8}, like[] = {w8, w8, w8};
    set_rounded(b, c, 1, WOQI_STAGE_GATE_UP, like);
    EXPECT_OK(woqi_block_gate_up(b, TOKENS, x, alone));
    struct woq_weights_source sources[2];
    static float w[40 * HIDDEN];
    for (int i = 0; i < 2; i++)
        EXPECT_OK(woq_quantize_rtn(&unlike[i], 40, HIDDEN, w, &sources[i]));
    test_expect_errors(true);
    EXPECT_BAD("gate_proj", woqi_block_set(b, WOQI_STAGE_GATE_UP, sources));
    test_expect_errors(false);
    for (int i = 0; i < 2; i++)
        woq_source_release(&sources[i]);
    EXPECT_OK(woqi_block_gate_up(b, TOKENS, x, mixed)); /* still there */
    assert_memory_equal(mixed, alone, (size_t)TOKENS * 40 * sizeof *mixed);
    woqi_block_destroy(&b);
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    test_expectations_met();
}

/* A sequence gives the same after another, longer one, and the norm in front of a stage can be changed. */
static void test_sequences(void **state)
{
    enum { SHORT = 20 };
    static float first[SHORT * HIDDEN];
    struct woq_checkpoint *c = open_tiny(&llama);
    struct woqi_block *b = make_block(c);
    (void)state;
    EXPECT_OK(woqi_block_load(b, 2, true));
    EXPECT_OK(woqi_block_embed(b, text + 30, SHORT, first));
    run_layer(b, SHORT, first);
    EXPECT_OK(woqi_block_embed(b, text, TOKENS, h));
    h[7] = NAN; /* all of its rows, and the cache's */
    run_layer(b, TOKENS, h);
    assert_true(h[TOKENS * HIDDEN - 1] != h[TOKENS * HIDDEN - 1]);
    EXPECT_OK(woqi_block_embed(b, text + 30, SHORT, h));
    run_layer(b, SHORT, h);
    check_equal(h, first, SHORT * HIDDEN, "after another");

    static uint16_t x[SHORT * HIDDEN], doubled[SHORT * HIDDEN];
    EXPECT_OK(woqi_block_input(b, WOQI_STAGE_GATE_UP, SHORT, h, x));
    float *norm = woqi_block_norm(b, WOQI_STAGE_GATE_UP);
    assert_non_null(norm);
    for (int i = 0; i < HIDDEN; i++)
        norm[i] *= 2;
    EXPECT_OK(woqi_block_input(b, WOQI_STAGE_GATE_UP, SHORT, h, doubled));
    for (int i = 0; i < SHORT * HIDDEN; i++)
        assert_true(woq_f16_to_f32(doubled[i]) == 2 * woq_f16_to_f32(x[i]) || fabsf(woq_f16_to_f32(x[i])) < 0x1p-13f);
    EXPECT_OK(woqi_block_load(b, 2, false)); /* the checkpoint's again */
    EXPECT_OK(woqi_block_input(b, WOQI_STAGE_GATE_UP, SHORT, h, doubled));
    assert_memory_equal(x, doubled, sizeof x);
    woqi_block_destroy(&b);
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    test_expectations_met();
}

static void test_refused(void **state)
{
    static uint16_t x[TOKENS * WIDEST], y[TOKENS * WIDEST];
    struct woq_weights_source source = WOQ_WEIGHTS_SOURCE_INIT;
    struct woqi_stage_info info;
    const int32_t bad[] = {1, TINY_VOCABULARY};
    struct woq_checkpoint *c = open_tiny(&llama);
    struct woqi_block *b = NULL;
    (void)state;
    EXPECT_BAD("0 tokens", woqi_block_create(dev, c, 0, WOQ_MATH_DEFAULT, &b));
    assert_null(b);
    b = make_block(c);
    EXPECT(WOQ_ERROR_INVALID_STATE, "layer", woqi_block_input(b, WOQI_STAGE_QKV, 1, h, x));
    EXPECT(WOQ_ERROR_INVALID_STATE, "layer", woqi_block_attention(b, 1, x, y));
    EXPECT(WOQ_ERROR_INVALID_STATE, "layer", woqi_block_set(b, WOQI_STAGE_O, &source));
    assert_null(woqi_block_norm(b, WOQI_STAGE_QKV));
    EXPECT_BAD("layer 3", woqi_block_load(b, 3, true));
    EXPECT_OK(woqi_block_load(b, 0, false));
    EXPECT(WOQ_ERROR_INVALID_STATE, "no weights", woqi_block_attention(b, 1, x, y));
    EXPECT(WOQ_ERROR_INVALID_STATE, "no weights", woqi_block_add(b, WOQI_STAGE_DOWN, 1, x, h));
    EXPECT_OK(woqi_block_load(b, 0, true));
    EXPECT_BAD("0 tokens", woqi_block_attention(b, 0, x, y));
    EXPECT_BAD("1 to 80", woqi_block_gate_up(b, TOKENS + 1, x, y));
    EXPECT_BAD("O or DOWN", woqi_block_add(b, WOQI_STAGE_QKV, 1, x, h));
    EXPECT_BAD("QKV or GATE_UP", woqi_block_input(b, WOQI_STAGE_O, 1, h, x));
    EXPECT_BAD("0 to 66", woqi_block_embed(b, bad, 2, h));
    source.n = HIDDEN;
    source.k = HIDDEN - 1;
    EXPECT_BAD("layers.0.self_attn.o_proj' are 48 x 47", woqi_block_set(b, WOQI_STAGE_O, &source));
    EXPECT_BAD("layer 3", woqi_stage_describe(woqi_block_config(b), 3, WOQI_STAGE_O, &info));
    EXPECT_BAD("stage 4", woqi_stage_describe(woqi_block_config(b), 0, WOQI_STAGES, &info));
    EXPECT_OK(woqi_stage_describe(woqi_block_config(b), 2, WOQI_STAGE_QKV, &info));
    assert_string_equal(info.names[1], "model.layers.2.self_attn.k_proj");
    assert_string_equal(info.norm, "model.layers.2.input_layernorm.weight");
    assert_true(info.count == 3 && info.rows[0] == 48 && info.rows[2] == 16 && info.columns == HIDDEN);
    woqi_block_destroy(&b);
    woqi_block_destroy(&b);
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    test_expectations_met();
}

/* A layer whose tensors are broken leaves a block that loads another one. */
static void test_broken(void **state)
{
    static const struct tiny_faults cases[] = {{NULL, "model.layers.1.mlp.down_proj.weight", NULL},
                                               {NULL, "model.layers.1.post_attention_layernorm.weight", NULL},
                                               {NULL, "model.layers.1.self_attn.v_proj.weight", NULL}};
    static uint16_t x[HIDDEN];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_checkpoint *c = NULL;
        assert_true(tiny_write(&llama, &cases[i], directory));
        EXPECT_OK(woq_checkpoint_open(directory, NULL, &c));
        struct woqi_block *b = make_block(c);
        EXPECT(WOQ_ERROR_INVALID_DATA, "layers.1.", woqi_block_load(b, 1, true));
        EXPECT(WOQ_ERROR_INVALID_STATE, "layer", woqi_block_input(b, WOQI_STAGE_QKV, 1, h, x));
        EXPECT_OK(woqi_block_load(b, 0, true));
        EXPECT_OK(woqi_block_embed(b, text, TOKENS, h));
        run_layer(b, TOKENS, h);
        woqi_block_destroy(&b);
        woq_checkpoint_close(&c);
        tiny_remove(directory);
    }
    test_expectations_met();
}

/* Each allocation of the device's in turn fails; what was loaded before a failed set still runs. */
static void test_allocation_failure(void **state)
{
    const struct tiny_model small = {.architecture = "qwen2", .layers = 1, .hidden = 16, .heads = 2, .kv_heads = 1,
                                     .head_dim = 8, .intermediate = 16, .bias = true};
    static const uint16_t codes[16 * 16] = {0};
    struct woq_weights_source source = WOQ_WEIGHTS_SOURCE_INIT;
    static uint16_t x[3 * 16], y[3 * 16];
    struct woq_checkpoint *c = open_tiny(&small);
    struct test_heap *heap = test_main_heap();
    const int64_t before = test_heap_balance(heap);
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    int64_t n = 0;
    (void)state;
    source.format.code = WOQ_CODE_F16;
    source.format.zero = WOQ_ZERO_NONE;
    source.n = source.k = 16;
    source.codes = codes;
    test_expect_errors(true);
    for (; st && n < 5000; n++) {
        struct woqi_block *b = NULL;
        bool loaded = false;
        test_heap_fail_at(heap, n);
        st = woqi_block_create(dev, c, 3, WOQ_MATH_DEFAULT, &b);
        if (!st)
            st = woqi_block_load(b, 0, true);
        loaded = !st;
        if (!st)
            st = woqi_block_set(b, WOQI_STAGE_O, &source);
        if (!st)
            st = woqi_block_attention(b, 3, x, y);
        if (!st)
            st = woqi_block_add(b, WOQI_STAGE_O, 3, y, h);
        test_heap_fail_at(heap, -1);
        if (st && st != WOQ_ERROR_OUT_OF_MEMORY)
            fail_msg("allocation %lld: %s: %s", (long long)n, woq_status_string(st), woq_last_message());
        if (loaded)
            EXPECT_OK(woqi_block_add(b, WOQI_STAGE_O, 3, x, h));
        woqi_block_destroy(&b);
        assert_int_equal(test_heap_balance(heap), before);
    }
    test_expect_errors(false);
    printf("%lld allocations\n", (long long)n);
    assert_int_equal(st, WOQ_OK);
    woq_checkpoint_close(&c);
    tiny_remove(directory);
    test_expectations_met();
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/woq_test_block.%ld", (long)getpid());
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
        cmocka_unit_test(test_layers),    cmocka_unit_test(test_stories), cmocka_unit_test(test_set),
        cmocka_unit_test(test_mixed),     cmocka_unit_test(test_sequences), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken),    cmocka_unit_test(test_allocation_failure)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
