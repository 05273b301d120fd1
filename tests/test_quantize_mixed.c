/* test_quantize_mixed.c: checkpoints whose layers have formats of their own. */
#include "quantize_model.h"

#define GROUPS "quantization_config.config_groups."

enum { Q = 1, K_PROJ, V, O, GATE, UP, DOWN };

static const struct woq_quantize_override overrides[] = {{"self_attn", 16, 0, true},
                                                         {"o_proj$", 8, 32, true},
                                                         {"down_proj", 8, WOQ_GROUP_CHANNEL, true},
                                                         {"up_proj", 4, WOQ_GROUP_CHANNEL, true}};

/* What overrides make of each tensor of the model: bits and group; 16: it stays. */
static const struct {
    int tensor;
    uint32_t bits;
    uint64_t group;
} wanted[] = {{Q, 16, 0}, {K_PROJ, 16, 0}, {V, 16, 0}, {O, 8, 32}, {GATE, 4, WOQ_GROUP_CHANNEL},
              {UP, 4, WOQ_GROUP_CHANNEL}, {DOWN, 8, WOQ_GROUP_CHANNEL}};
enum { WANTED = sizeof wanted / sizeof *wanted };

static struct woq_quantize_params mixed(size_t count)
{
    struct woq_quantize_params p = with(4, 64);
    p.overrides = overrides;
    p.override_count = count;
    return p;
}

static enum woq_status quantize(const char *name, const struct woq_quantize_params *p)
{
    struct woq_checkpoint *c = open_model("model");
    enum woq_status st = woq_quantize_checkpoint(c, in_root(name), p);
    woq_checkpoint_close(&c);
    return st;
}

static void test_formats(void **state)
{
    struct woq_quantize_params p = mixed(4);
    (void)state;
    for (uint32_t jobs = 1; jobs < 4; jobs += 2) {
        p.jobs = jobs;
        if (quantize("out", &p))
            fail_msg("%s", woq_last_message());
        struct woq_checkpoint *out = open_model("out");
        for (int i = 0; i < WANTED; i++) {
            const int t = wanted[i].tensor;
            const bool kept = wanted[i].bits == 16;
            assert_int_equal(woq_quantize_keeps(&p, tensors[t].name), kept);
            assert_int_equal(woq_checkpoint_find(out, tensors[t].name) != NULL, kept);
            if (!kept)
                check_packed(out, t, wanted[i].bits, wanted[i].group, true);
        }
        woq_checkpoint_close(&out);
        delete("out");
    }
}

/* Zero points in one layer, a tensor's scale in another, 4 bits in groups in the third. */
static void test_zero_and_tensor(void **state)
{
    static const struct woq_quantize_override forms[] = {{"mlp", 4, 32, false},
                                                         {"o_proj", 8, WOQ_GROUP_TENSOR, true},
                                                         {"down_proj", 4, 32, true}};
    struct woq_quantize_params p = with(8, WOQ_GROUP_CHANNEL);
    (void)state;
    p.overrides = forms;
    p.override_count = 3;
    p.allow_unloadable = true;
    assert_int_equal(quantize("out", &p), WOQ_OK);
    struct woq_checkpoint *out = open_model("out");
    check_packed(out, GATE, 4, 32, false);
    check_packed(out, UP, 4, 32, false);
    check_packed(out, DOWN, 4, 32, true);
    check_packed(out, O, 8, WOQ_GROUP_TENSOR, true);
    check_packed(out, V, 8, WOQ_GROUP_CHANNEL, true);
    /* A tensor's scale is written as rows' are, so there are three groups, not four. */
    assert_non_null(woq_checkpoint_find(out, LAYER "self_attn.o_proj.weight_scale"));
    uint64_t bits;
    assert_true(woq_checkpoint_get_uint(out, GROUPS "group_2.weights.num_bits", &bits));
    assert_false(woq_checkpoint_get_uint(out, GROUPS "group_3.weights.num_bits", &bits));
    woq_checkpoint_close(&out);
    delete("out");
}

static void assert_texts(const struct woq_checkpoint *c, const char *key, size_t count, const char *const *texts)
{
    const struct woq_text *found;
    size_t have;
    if (!woq_checkpoint_get_strings(c, key, &found, &have))
        fail_msg("there is no %s", key);
    assert_int_equal(have, count);
    for (size_t i = 0; i < count; i++)
        if (found[i].size != strlen(texts[i]) || memcmp(found[i].text, texts[i], found[i].size))
            fail_msg("%s[%zu] is not %s", key, i, texts[i]);
}

static void assert_uint(const struct woq_checkpoint *c, const char *key, uint64_t value)
{
    uint64_t found = UINT64_MAX;
    if (!woq_checkpoint_get_uint(c, key, &found) || found != value)
        fail_msg("%s is %llu", key, (unsigned long long)found);
}

static void test_config(void **state)
{
    static const char *const o[] = {LAYER "self_attn.o_proj"}, *const down[] = {LAYER "mlp.down_proj"},
                     *const both[] = {LAYER "mlp.gate_proj", LAYER "mlp.up_proj"},
                     *const stay[] = {"lm_head", LAYER "self_attn.q_proj", LAYER "self_attn.k_proj",
                                      LAYER "self_attn.v_proj"},
                     *const all[] = {"Linear"};
    struct woq_quantize_params p = mixed(4);
    uint64_t none;
    (void)state;
    assert_int_equal(quantize("out", &p), WOQ_OK);
    struct woq_checkpoint *out = open_model("out");
    assert_texts(out, GROUPS "group_0.targets", 1, o);
    assert_texts(out, GROUPS "group_1.targets", 2, both);
    assert_texts(out, GROUPS "group_2.targets", 1, down);
    assert_uint(out, GROUPS "group_0.weights.num_bits", 8);
    assert_uint(out, GROUPS "group_0.weights.group_size", 32);
    assert_uint(out, GROUPS "group_1.weights.num_bits", 4);
    assert_uint(out, GROUPS "group_2.weights.num_bits", 8);
    assert_false(woq_checkpoint_get_uint(out, GROUPS "group_1.weights.group_size", &none));
    assert_texts(out, "quantization_config.ignore", 4, stay);
    woq_checkpoint_close(&out);
    delete("out");
    /* A lone format, though by override, is that of the class. */
    static const struct woq_quantize_override one[] = {{".", 8, 32, true}};
    p.overrides = one;
    p.override_count = 1;
    assert_int_equal(quantize("out", &p), WOQ_OK);
    out = open_model("out");
    assert_texts(out, GROUPS "group_0.targets", 1, all);
    assert_uint(out, GROUPS "group_0.weights.num_bits", 8);
    assert_false(woq_checkpoint_get_uint(out, GROUPS "group_1.weights.num_bits", &none));
    woq_checkpoint_close(&out);
    delete("out");
}

static void refused(const struct woq_quantize_override *form, enum woq_status status, const char *says)
{
    struct woq_quantize_params p = with(4, 32);
    p.overrides = form;
    p.override_count = 1;
    assert_int_equal(quantize("none", &p), status);
    assert_says(says);
    assert_false(exists("none"));
}

static void test_refusals(void **state)
{
    static const char *const keep[] = {"down_proj"};
    struct woq_quantize_override form = {"down_proj", 3, 32, true};
    (void)state;
    refused(&form, WOQ_ERROR_INVALID_ARGUMENT, "override 'down_proj': bits is 3; must be 4, 8 or 16");
    form.bits = 4;
    form.group = 64;
    refused(&form, WOQ_ERROR_UNSUPPORTED, LAYER "mlp.down_proj.weight: its 96 columns are no multiple of the group");
    form.group = 16;
    refused(&form, WOQ_ERROR_UNSUPPORTED, "override 'down_proj': groups of 16 columns: vLLM");
    form.group = 32;
    form.symmetric = false;
    refused(&form, WOQ_ERROR_UNSUPPORTED, "override 'down_proj': asymmetric weights: transformers");
    form.bits = 8;
    refused(&form, WOQ_ERROR_UNSUPPORTED, "override 'down_proj': asymmetric weights of 8 bits");
    form = (struct woq_quantize_override){"(", 8, 32, true};
    refused(&form, WOQ_ERROR_INVALID_ARGUMENT, "pattern '(' is no regular expression");
    form.pattern = "layers.9";
    refused(&form, WOQ_ERROR_INVALID_ARGUMENT, "pattern 'layers.9' matches no linear layer; must match a name like");
    form.pattern = NULL;
    refused(&form, WOQ_ERROR_INVALID_ARGUMENT, "params.overrides[0].pattern is NULL");
    form = (struct woq_quantize_override){".", 16, 0, true};
    refused(&form, WOQ_ERROR_INVALID_ARGUMENT, "nothing to quantize");
    refused(NULL, WOQ_ERROR_INVALID_ARGUMENT, "params.overrides[0].pattern is NULL");
    /* A layer that is kept stays, whatever an override says. */
    struct woq_quantize_params p = with(4, 32);
    form = (struct woq_quantize_override){"mlp", 8, 32, true};
    p.overrides = &form;
    p.override_count = 1;
    p.keep = keep;
    p.keep_count = 1;
    assert_true(woq_quantize_keeps(&p, LAYER "mlp.down_proj"));
    assert_false(woq_quantize_keeps(&p, LAYER "mlp.up_proj"));
}

/* ---- Reading what others write ---- */

/* config.json of `out`, whose down_proj has 8 bits in groups of 32, with other config_groups. */
static void with_groups(const char *groups)
{
    FILE *f = fopen(in_root("out/config.json"), "w");
    assert_non_null(f);
    fprintf(f, "%.*s, \"quantization_config\": {\"config_groups\": {%s}}}", (int)sizeof config - 2, config, groups);
    assert_int_equal(fclose(f), 0);
}

#define GROUP(name, target, bits, rest)                                                                            \
    "\"" name "\": {\"targets\": [\"" target "\"], \"weights\": {\"num_bits\": " #bits rest "}}"

static enum woq_status read_layer(const char *groups, const char *name, enum woq_code *code)
{
    struct woq_weights_source s = WOQ_WEIGHTS_SOURCE_INIT;
    with_groups(groups);
    struct woq_checkpoint *out = open_model("out");
    enum woq_status st = woq_checkpoint_packed_source(out, name, &s);
    *code = s.format.code;
    woq_source_release(&s);
    woq_checkpoint_close(&out);
    return st;
}

static void test_targets(void **state)
{
    static const char down[] = LAYER "mlp.down_proj", up[] = LAYER "mlp.up_proj";
    static const struct woq_quantize_override eight[] = {{"down_proj", 8, 32, true}};
    struct woq_quantize_params p = with(4, 64);
    enum woq_code code;
    (void)state;
    p.overrides = eight;
    p.override_count = 1;
    assert_int_equal(quantize("out", &p), WOQ_OK);
    /* A name comes before an expression, an expression before the class, in any order. */
    static const char *const right[] = {
        GROUP("a", "Linear", 4, "") "," GROUP("b", "model.layers.0.mlp.down_proj", 8, ""),
        GROUP("b", "re:.*down_proj$", 8, ", \"group_size\": 32") "," GROUP("a", "Linear", 4, ""),
        GROUP("a", "Linear", 4, "") "," GROUP("b", "re:model.*down_proj$", 8, ", \"group_size\": 32"),
        GROUP("c", "re:.*", 4, "") "," GROUP("b", "model.layers.0.mlp.down_proj", 8, ""),
        GROUP("a", "re:(", 4, "") "," GROUP("b", "re:down", 4, "")};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        if (read_layer(right[i], down, &code))
            fail_msg("%zu: %s", i, woq_last_message());
        assert_int_equal(code, WOQ_CODE_U8);
        assert_int_equal(read_layer(right[i], up, &code), WOQ_OK);
        assert_int_equal(code, WOQ_CODE_U4);
    }
    assert_int_equal(read_layer(GROUP("a", "Linear", 4, ""), down, &code), WOQ_ERROR_INVALID_DATA);
    assert_says("must have 12 for the 4 bits that config.json says");
    assert_int_equal(read_layer(GROUP("a", "Linear", 8, ", \"group_size\": 48"), down, &code), WOQ_ERROR_INVALID_DATA);
    assert_says("has 3 columns, so groups of 32; config.json says 48");
    const char *asymmetric = GROUP("a", "Linear", 8, ", \"symmetric\": false");
    assert_int_equal(read_layer(asymmetric, down, &code), WOQ_ERROR_INVALID_DATA);
    assert_says("weight_zero_point' is missing, although");
    assert_int_equal(read_layer(GROUP("a", "Linear", 3, ""), down, &code), WOQ_ERROR_UNSUPPORTED);
    assert_says("has weights of 3 bits; only 4 and 8");
    delete("out");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formats), cmocka_unit_test(test_zero_and_tensor),
                                       cmocka_unit_test(test_config), cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_targets)};
    return cmocka_run_group_tests(tests, begin, end);
}
