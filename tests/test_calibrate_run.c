/* test_calibrate_run.c: calibrated quantizations of a small model: how near they are, what is folded, kept and told. */
#include "calibrate_model.h"

#include <math.h>
#include <yyjson.h>

#include "calibrate/samples.h"
#include "calibrate/statistics.h"
#include "support/shared_data.h"

static const enum woq_method methods[] = {WOQ_METHOD_MSE, WOQ_METHOD_AWQ, WOQ_METHOD_GPTQ, WOQ_METHOD_AWQ_GPTQ};
enum { METHODS = sizeof methods / sizeof *methods };

static const struct {
    const char *name;
    uint32_t bits;
    uint64_t group;
    bool symmetric;
} forms[] = {{"W4 g32", 4, 32, true},
             {"W4 g32, zero points", 4, 32, false},
             {"W4 channel", 4, WOQ_GROUP_CHANNEL, true},
             {"W8 channel", 8, WOQ_GROUP_CHANNEL, true},
             {"W4 tensor", 4, WOQ_GROUP_TENSOR, true}};
enum { FORMS = sizeof forms / sizeof *forms };

static struct call call_in_form(enum woq_method method, size_t form)
{
    struct call call = call_of(method, forms[form].bits, forms[form].group);
    call.q.symmetric = forms[form].symmetric;
    call.q.allow_unloadable = !forms[form].symmetric;
    return call;
}

/* GPTQ sees by far the most: texts like the calibration's lie in a few directions. */
static void test_nearer(void **state)
{
    (void)state;
    for (size_t f = 0; f < FORMS; f++) {
        struct call call = call_in_form(WOQ_METHOD_MSE, f);
        must_round(&call, "rtn");
        const double rtn = distance("model", "rtn");
        for (size_t m = 0; m < METHODS; m++) {
            call = call_in_form(methods[m], f);
            must_calibrate(&call, "out");
            const double error = distance("model", "out"), most = methods[m] >= WOQ_METHOD_GPTQ ? rtn / 2 : rtn;
            if (!(error < most))
                fail_msg("%s, %s: %g; rounding to nearest has %g", forms[f].name, woq_method_name(methods[m]), error,
                         rtn);
            assert_true(call.steps > 0 && call.last > 0.999);
            assert_string_equal(call.logged, "");
            delete("out");
        }
        delete("rtn");
    }
}

/* ---- AWQ's scales ---- */

static void read_norm(const char *model, uint32_t layer, bool second, bool quantized, float *out)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.%u.%s.weight", layer,
             second ? "post_attention_layernorm" : "input_layernorm");
    struct woq_checkpoint *c = open_model(model);
    const struct woq_tensor *t = woq_checkpoint_find(c, name);
    assert_true(t && t->shape[0] == HIDDEN && (!quantized || t->type == WOQ_TENSOR_F16));
    assert_int_equal(woq_tensor_read(t, 0, 1, out), WOQ_OK);
    woq_checkpoint_close(&c);
}

/* Channels of very different sizes, so that there is something to scale. */
static void write_uneven_model(void)
{
    write_model("uneven", &tiny);
    for (uint32_t l = 0; l < LAYERS; l++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%u.input_layernorm.weight", l);
        scale_tensor("uneven", name, 5, 3, 6);
        snprintf(name, sizeof name, "model.layers.%u.post_attention_layernorm.weight", l);
        scale_tensor("uneven", name, 40, 2, 5);
        snprintf(name, sizeof name, "model.layers.%u.mlp.up_proj.weight", l);
        scale_tensor("uneven", name, 17 * HIDDEN, 2 * HIDDEN, 6);
    }
}

/* Scales go into norms and up's rows, and out of the weights again: at 8 bits nothing else is left of them. */
static void test_folding(void **state)
{
    (void)state;
    write_uneven_model();
    struct call call = call_of(WOQ_METHOD_AWQ, 8, WOQ_GROUP_CHANNEL);
    call.model = "uneven";
    must_round(&call, "rtn");
    must_calibrate(&call, "out");
    const double rtn = distance("uneven", "rtn"), awq = distance("uneven", "out");
    if (!(awq < 1.2 * rtn))
        fail_msg("8 bits: awq %g, rtn %g", awq, rtn);
    unsigned changed = 0;
    for (uint32_t l = 0; l < LAYERS; l++)
        for (int second = 0; second < 2; second++) {
            float before[HIDDEN], after[HIDDEN];
            read_norm("uneven", l, second, false, before);
            read_norm("out", l, second, true, after);
            changed += memcmp(before, after, sizeof before) != 0;
        }
    assert_true(changed > LAYERS); /* a stage may be best without */
    delete("out");
    delete("rtn");
    /* At 4 bits it pays. */
    call.q.bits = 4;
    must_round(&call, "rtn");
    must_calibrate(&call, "out");
    const double coarse = distance("uneven", "rtn"), scaled = distance("uneven", "out");
    if (!(scaled < 0.8 * coarse))
        fail_msg("4 bits: awq %g, rtn %g", scaled, coarse);
    assert_false(strstr(call.logged, "no channel scales"));
    /* A group whose FP16 scale is the least there is, in a row whose channel is scaled up: down goes without. */
    call.q.group = 32;
    scale_tensor("uneven", "model.layers.0.mlp.up_proj.weight", 17 * HIDDEN, 32, 3e-7f);
    scale_tensor("uneven", "model.layers.0.mlp.up_proj.weight", 17 * HIDDEN + 32, 32, 20);
    must_calibrate(&call, "out");
    assert_logged(&call, "model.layers.0.mlp.down_proj: no channel scales");
    delete("out");
    delete("rtn");
}

/* ---- What is told ---- */

/* Of the calibration's text, what layer 0's q/k/v take: norm(embedding), rounded to FP16. */
struct inputs {
    uint64_t rows;
    float *x; /* [rows][HIDDEN] */
};

static void make_inputs(const char *model, const struct woq_calibrate_params *p, struct inputs *out)
{
    struct woq_checkpoint *c = open_model(model);
    struct woq_tokenizer *tokenizer = NULL;
    struct woqi_samples samples;
    float norm[HIDDEN], row[HIDDEN];
    EXPECT_OK(woq_tokenizer_create(c, &tokenizer));
    EXPECT_OK(woqi_samples_read(tokenizer, p->text, p->samples, p->window, p->seed, &samples));
    test_expectations_met();
    out->rows = (uint64_t)p->samples * p->window;
    out->x = malloc(out->rows * HIDDEN * sizeof *out->x);
    read_norm(model, 0, false, false, norm);
    const struct woq_tensor *embeddings = woq_checkpoint_find(c, "model.embed_tokens.weight");
    for (uint64_t r = 0; r < out->rows; r++) {
        double sum = 0;
        assert_int_equal(woq_tensor_read(embeddings, (uint64_t)samples.tokens[r], 1, row), WOQ_OK);
        for (int i = 0; i < HIDDEN; i++)
            sum += (double)row[i] * row[i];
        for (int i = 0; i < HIDDEN; i++)
            out->x[r * HIDDEN + i] =
                woq_f16_to_f32(woq_f32_to_f16((float)(row[i] / sqrt(sum / HIDDEN + 1e-5) * norm[i])));
    }
    woqi_samples_release(&samples);
    woq_tokenizer_destroy(&tokenizer);
    woq_checkpoint_close(&c);
}

/* Sums over rows and inputs of (x·wᵀ)² and of what the difference of w and v makes. */
static double relative_error(const struct inputs *in, uint64_t n, const float *w, const float *v)
{
    double energy = 0, error = 0;
    for (uint64_t r = 0; r < in->rows; r++)
        for (uint64_t o = 0; o < n; o++) {
            double y = 0, e = 0;
            for (int i = 0; i < HIDDEN; i++) {
                y += (double)in->x[r * HIDDEN + i] * w[o * HIDDEN + i];
                e += (double)in->x[r * HIDDEN + i] * ((double)w[o * HIDDEN + i] - v[o * HIDDEN + i]);
            }
            energy += y * y;
            error += e * e;
        }
    return sqrt(error / energy);
}

static void read_packed(const char *model, const char *name, uint64_t n, float *out)
{
    struct woq_checkpoint *c = open_model(model);
    struct woq_weights_source s;
    if (woq_checkpoint_packed_source(c, name, &s))
        fail_msg("%s", woq_last_message());
    for (uint64_t r = 0; r < n; r++)
        assert_int_equal(woq_format_decode_row(&s.format, n, s.k, s.codes, s.row_stride, s.scales, s.zeros, s.g_idx, r,
                                               out + r * s.k), WOQ_OK);
    woq_source_release(&s);
    woq_checkpoint_close(&c);
}

static double real_of(yyjson_val *object, const char *key)
{
    yyjson_val *v = yyjson_obj_get(object, key);
    if (!yyjson_is_num(v))
        fail_msg("%s is no number", key);
    return yyjson_get_num(v);
}

static void near(const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fabs(want)))
        fail_msg("%s is %.9g; must be %.9g", what, got, want);
}

static uint64_t sum_of(yyjson_val *list)
{
    uint64_t sum = 0;
    assert_int_equal(yyjson_arr_size(list), 48);
    for (size_t i = 0; i < 48; i++)
        sum += yyjson_get_uint(yyjson_arr_get(list, i));
    return sum;
}

static void check_head(yyjson_val *report, const struct call *call)
{
    assert_string_equal(yyjson_get_str(yyjson_obj_get(report, "method")), woq_method_name(call->c.method));
    assert_string_equal(yyjson_get_str(yyjson_obj_get(report, "text")), call->c.text);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(report, "samples")), SAMPLES);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(report, "window")), WINDOW);
    assert_true(yyjson_equals_str(yyjson_obj_get(report, "math"), woq_math_name(call->c.math)));
    assert_true(yyjson_is_true(yyjson_obj_get(report, "natural_order")));
    near("bits_per_weight", real_of(report, "bits_per_weight"), 4 + 16.0 / 32, 1e-9);
    assert_true(real_of(report, "seconds") > 0);
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(report, "layers")), LAYERS);
}

/* q of layer 0, whose inputs are those of the original model by any method. */
static void check_report(enum woq_method method)
{
    static const char name[] = "model.layers.0.self_attn.q_proj";
    enum { N = 64 };
    static float w[N * HIDDEN], v[N * HIDDEN];
    struct call call = call_of(method, 4, 32);
    struct inputs in;
    float before[HIDDEN], after[HIDDEN];
    call.model = "uneven";
    call.c.report = in_root("report.json");
    call.c.natural_order = true;
    call.c.math = WOQ_MATH_ROUNDED;
    must_round(&call, "rtn");
    must_calibrate(&call, "out");
    yyjson_doc *doc = yyjson_read_file(call.c.report, 0, NULL, NULL);
    yyjson_val *report = yyjson_doc_get_root(doc);
    check_head(report, &call);
    yyjson_val *layer = yyjson_arr_get(yyjson_obj_get(report, "layers"), 0);
    yyjson_val *stage = yyjson_arr_get(yyjson_obj_get(layer, "stages"), 0);
    yyjson_val *q = yyjson_arr_get(yyjson_obj_get(stage, "matrices"), 0);
    assert_string_equal(yyjson_get_str(yyjson_obj_get(q, "name")), name);
    assert_int_equal(yyjson_get_uint(yyjson_obj_get(stage, "tokens")), SAMPLES * WINDOW);
    assert_int_equal(sum_of(yyjson_obj_get(q, "weight_histogram")), N * HIDDEN);
    assert_int_equal(sum_of(yyjson_obj_get(q, "scale_histogram")), N * HIDDEN / 32);
    assert_int_equal(yyjson_is_null(yyjson_obj_get(stage, "awq_exponent")),
                     method == WOQ_METHOD_MSE || method == WOQ_METHOD_GPTQ);

    make_inputs("uneven", &call.c, &in);
    struct woq_checkpoint *c = open_model("uneven");
    assert_int_equal(woq_tensor_read(woq_checkpoint_find(c, "model.layers.0.self_attn.q_proj.weight"), 0, N, w),
                     WOQ_OK);
    woq_checkpoint_close(&c);
    read_packed("rtn", name, N, v);
    const double rtn = relative_error(&in, N, w, v);
    near("relative_error_rtn", real_of(q, "relative_error_rtn"), rtn, 1e-3);
    read_packed("out", name, N, v);
    read_norm("uneven", 0, false, false, before);
    read_norm("out", 0, false, true, after);
    for (int i = 0; i < N * HIDDEN; i++) /* as if the norm had not been changed */
        v[i] *= after[i % HIDDEN] / before[i % HIDDEN];
    const double error = relative_error(&in, N, w, v);
    near("relative_error", real_of(q, "relative_error"), error, 0.02);
    near("snr_db", real_of(q, "snr_db"), -20 * log10(error), 0.01);
    assert_true(error < rtn);
    free(in.x);
    yyjson_doc_free(doc);
    delete("report.json");
    delete("rtn");
    delete("out");
}

static void test_report(void **state)
{
    (void)state;
    for (size_t m = 0; m < METHODS; m++)
        check_report(methods[m]);
}

static void check_statistics(const char *file, const struct woq_calibrate_params *p)
{
    struct woq_checkpoint *c = open_model("uneven");
    struct woqi_statistics s;
    struct inputs in;
    EXPECT_OK(woqi_statistics_read(file, c, &s));
    test_expectations_met();
    make_inputs("uneven", p, &in);
    assert_int_equal(s.count, 4 * LAYERS);
    assert_true(s.samples == SAMPLES && s.window == WINDOW && s.inputs[0].rows == in.rows && s.inputs[0].k == HIDDEN);
    assert_string_equal(s.inputs[0].name, "model.layers.0.self_attn.q_proj");
    assert_string_equal(s.text, "text.txt");
    uint64_t counted = 0;
    for (int b = 0; b < WOQI_STATISTICS_BINS; b++)
        counted += s.inputs[0].histogram[b];
    assert_int_equal(counted, in.rows * HIDDEN);
    for (int i = 0; i < HIDDEN; i++) {
        double top = 0, sum_abs = 0, squares = 0, sum = 0;
        for (uint64_t r = 0; r < in.rows; r++) {
            const double x = in.x[r * HIDDEN + (uint64_t)i];
            top = fmax(top, fabs(x));
            sum += x;
            sum_abs += fabs(x);
            squares += x * x;
        }
        near("absmax", s.inputs[0].absmax[i], top, 2e-3);
        near("mean_abs", s.inputs[0].sum_abs[i], sum_abs, 1e-3);
        near("second_moment", s.inputs[0].sum_squares[i], squares, 2e-3);
        assert_true(fabs(s.inputs[0].sum[i] - sum) <= 1e-3 * sum_abs);
    }
    free(in.x);
    woqi_statistics_release(&s);
    woq_checkpoint_close(&c);
}

/* The original's, whatever becomes of the layers. */
static void test_statistics(void **state)
{
    struct call call = call_of(WOQ_METHOD_MSE, 4, 32);
    (void)state;
    struct woq_checkpoint *c = open_model("uneven");
    call.c.statistics = in_root("alone.stats");
    EXPECT_OK(woq_calibrate_statistics(device, c, &call.c));
    test_expectations_met();
    woq_checkpoint_close(&c);
    check_statistics(call.c.statistics, &call.c);
    for (size_t m = 0; m < METHODS; m++) {
        call = call_of(methods[m], 4, 32);
        call.model = "uneven";
        call.c.statistics = in_root("with.stats");
        must_calibrate(&call, "out");
        assert_true(call.last > 0.999);
        assert_true(equal_files(in_root("alone.stats"), in_root("with.stats")));
        delete("out");
        delete("with.stats");
    }
    delete("alone.stats");
}

/* ---- Formats of layers ---- */

static bool is_packed(const struct woq_checkpoint *c, uint32_t layer, const char *part, uint32_t bits, uint64_t group)
{
    struct woq_weights_source s;
    char name[96];
    snprintf(name, sizeof name, "model.layers.%u.%s", layer, part);
    if (woq_checkpoint_packed_source(c, name, &s))
        fail_msg("%s", woq_last_message());
    const bool packed = s.format.code == (bits == 4 ? WOQ_CODE_U4 : WOQ_CODE_U8) && s.format.group == group;
    woq_source_release(&s);
    return packed;
}

static bool is_kept(const struct woq_checkpoint *c, uint32_t layer, const char *part)
{
    char name[96];
    snprintf(name, sizeof name, "model.layers.%u.%s.weight", layer, part);
    return woq_checkpoint_find(c, name) != NULL;
}

static void test_keep_and_overrides(void **state)
{
    static const char *const keep[] = {"layers\\.0\\.", "layers\\.1\\.mlp\\.up_proj"};
    static const struct woq_quantize_override overrides[] = {{"o_proj", 8, WOQ_GROUP_CHANNEL, true},
                                                             {"down_proj", 4, 16, false}};
    (void)state;
    for (size_t m = 0; m < METHODS; m++) {
        struct call call = call_of(methods[m], 4, 32);
        call.q.keep = keep;
        call.q.keep_count = 2;
        call.q.overrides = overrides;
        call.q.override_count = 2;
        call.q.allow_unloadable = true;
        call.c.report = in_root("report.json");
        must_round(&call, "rtn");
        must_calibrate(&call, "out");
        struct woq_checkpoint *c = open_model("out");
        assert_true(is_kept(c, 0, "self_attn.q_proj") && is_kept(c, 0, "mlp.down_proj"));
        assert_true(is_kept(c, 1, "mlp.gate_proj") && is_kept(c, 1, "mlp.up_proj"));
        assert_true(is_packed(c, 1, "self_attn.k_proj", 4, 32));
        assert_true(is_packed(c, 1, "self_attn.o_proj", 8, WOQ_GROUP_CHANNEL));
        assert_true(is_packed(c, 1, "mlp.down_proj", 4, 16));
        woq_checkpoint_close(&c);
        const double rtn = distance("model", "rtn"), made = distance("model", "out");
        if (!(made < rtn))
            fail_msg("%s: %g, rtn %g", woq_method_name(methods[m]), made, rtn);
        delete("out");
        delete("rtn");
    }
    delete("report.json");
}

/* ---- What the bytes depend on ---- */

static void vary(struct call *call, int what)
{
    switch (what) {
    case 0: call->c.natural_order = true; break;
    case 1: call->c.damping = 0.1f; break;
    case 2: call->c.seed = 7; break;
    case 3: call->c.input_share = 0.25f; break;
    case 4: call->c.residual_share = 1; break;
    case 5: call->c.samples--; break;
    case 6: call->c.window--; break;
    case 7: call->c.method = WOQ_METHOD_AWQ_GPTQ; break;
    case 8: call->c.input_share = call->c.residual_share = 0; break;
    }
}

static void test_parameters_count(void **state)
{
    struct call call = call_of(WOQ_METHOD_GPTQ, 4, 32);
    (void)state;
    must_calibrate(&call, "first");
    for (int what = 0; what <= 8; what++) {
        call = call_of(WOQ_METHOD_GPTQ, 4, 32);
        vary(&call, what);
        must_calibrate(&call, "out");
        if (equal_weights("first", "out"))
            fail_msg("parameter %d changes nothing", what);
        /* Once more, the same: with as few activations in memory as can be. */
        call.c.memory = what % 2 ? call.c.memory : 0;
        must_calibrate(&call, "again");
        assert_same_directory("out", "again");
        delete("out");
        delete("again");
    }
    delete("first");
}

/* Half of the work, as progress tells it. */
static void test_shares_of_zero(void **state)
{
    struct call paired = call_of(WOQ_METHOD_GPTQ, 4, 32), alone = paired;
    (void)state;
    alone.c.input_share = alone.c.residual_share = 0;
    must_calibrate(&paired, "paired");
    must_calibrate(&alone, "alone");
    assert_int_equal(paired.steps, 2 * alone.steps);
    assert_true(distance("model", "paired") < distance("model", "alone"));
    delete("paired");
    delete("alone");
}

/* ---- A model that was trained ---- */

static void copy_part(const char *from, const char *name, long first, size_t size)
{
    char *bytes = malloc(size);
    FILE *in = fopen(from, "rb"), *out = fopen(in_root(name), "wb");
    assert_true(bytes && in && out && !fseek(in, first, SEEK_SET));
    assert_int_equal(fread(bytes, 1, size, in), size);
    assert_int_equal(fwrite(bytes, 1, size, out), size);
    fclose(in);
    assert_int_equal(fclose(out), 0);
    free(bytes);
}

static double perplexity(const char *model)
{
    enum { SIZE = 256 };
    struct woq_checkpoint *c = open_model(model);
    struct woq_tokenizer *tokenizer = NULL;
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct woq_model *m = NULL;
    struct woq_perplexity result = {.struct_size = sizeof result};
    struct woq_text_params params = WOQ_TEXT_PARAMS_INIT;
    int32_t *tokens;
    size_t size, count;
    char *text = read_all(in_root("probe.txt"), &size);
    p.context = p.batch = SIZE;
    EXPECT_OK(woq_tokenizer_create(c, &tokenizer));
    EXPECT_OK(woq_tokenizer_encode(tokenizer, text, size, 0, &tokens, &count));
    EXPECT_OK(woq_model_create(device, c, &p, &m));
    params.tokens = tokens;
    params.count = count;
    params.window = SIZE;
    params.bos = woq_tokenizer_bos(tokenizer);
    EXPECT_OK(woq_model_perplexity(m, &params, &result));
    test_expectations_met();
    free(result.window_nll);
    free(tokens);
    free(text);
    woq_model_destroy(&m);
    woq_tokenizer_destroy(&tokenizer);
    woq_checkpoint_close(&c);
    return result.perplexity;
}

static void test_stories(void **state)
{
    char model[4096], text[4096];
    double made[METHODS] = {0};
    (void)state;
    if (woq_device_get_info(device)->backend == WOQ_BACKEND_REFERENCE) {
        puts("skip: a trained model takes the reference minutes");
        skip();
    }
    if (!shared_data_path("stories260K/stories260K.gguf", model, sizeof model) ||
        !shared_data_path("tinystories/tinystories_sample_2MiB.txt", text, sizeof text))
        skip();
    copy_part(text, "stories.txt", 0, 200000);
    copy_part(text, "probe.txt", 1 << 20, 7000);
    const double whole = perplexity(model);
    struct call call = call_of(WOQ_METHOD_MSE, 4, WOQ_GROUP_CHANNEL);
    call.model = model;
    must_round(&call, "rtn");
    const double rtn = perplexity("rtn");
    printf("perplexity %.4f, rtn %.4f", whole, rtn);
    call.c.text = in_root("stories.txt");
    call.c.samples = 12;
    call.c.window = 128;
    for (size_t m = 0; m < METHODS - 1; m++) {
        call.c.method = methods[m];
        must_calibrate(&call, "out");
        made[m] = perplexity("out");
        printf(", %s %.4f", woq_method_name(methods[m]), made[m]);
        delete("out");
    }
    puts("");
    assert_true(rtn > made[0] && made[0] >= made[2] && rtn > made[1] && made[2] > whole);
    delete("rtn");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nearer),             cmocka_unit_test(test_folding),
        cmocka_unit_test(test_report),             cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_keep_and_overrides), cmocka_unit_test(test_parameters_count),
        cmocka_unit_test(test_shares_of_zero),     cmocka_unit_test(test_stories)};
    if (!WOQ_HAVE_CALIBRATION) {
        puts("skip: this build has no calibration");
        return TEST_SKIPPED;
    }
    return cmocka_run_group_tests(tests, begin, end);
}
