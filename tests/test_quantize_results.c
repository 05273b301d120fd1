/* test_quantize_results.c: layers that a long run keeps on the disk, and checkpoints made of them. */
#include "quantize_model.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "quantize/results.h"

#define WORK ".run.woq-work"

static char logged[1024];

static void remember(void *user, enum woq_log_level level, const char *message)
{
    (void)user;
    assert_int_equal(level, WOQ_LOG_WARNING);
    snprintf(logged, sizeof logged, "%s", message);
}

static struct woqi_results *open_results(const char *name, const char *identity, uint32_t want)
{
    struct woqi_results *r = NULL;
    uint32_t done = UINT32_MAX;
    *logged = 0;
    if (woqi_results_open(in_root(name), identity, remember, NULL, &r, &done))
        fail_msg("%s", woq_last_message());
    assert_int_equal(done, want);
    return r;
}

static struct woq_weights_source rtn(const struct woq_format *f, uint64_t n, uint64_t k, uint64_t seed)
{
    struct woq_weights_source s;
    float *w = malloc(n * k * sizeof *w);
    for (uint64_t i = 0; i < n * k; i++)
        w[i] = weight(seed, i);
    assert_int_equal(woq_quantize_rtn(f, n, k, w, &s), WOQ_OK);
    free(w);
    return s;
}

/* Another matrix in each layer, so that they cannot be taken for each other. */
static void put_layer(struct woqi_results *r, uint32_t layer)
{
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 32);
    struct woq_weights_source s = rtn(&f, 64, 64, layer);
    char report[32];
    const struct woqi_result t = {.name = "w", .matrix = &s};
    snprintf(report, sizeof report, "{\"layer\": %u}", (unsigned)layer);
    if (woqi_results_put(r, layer, &t, 1, report))
        fail_msg("%s", woq_last_message());
    woq_source_release(&s);
}

static void check_layer(struct woqi_results *r, uint32_t layer)
{
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 32);
    struct woq_weights_source a = rtn(&f, 64, 64, layer), b;
    const struct woq_checkpoint *c;
    char *text, report[32];
    assert_int_equal(woqi_results_layer(r, layer, &c), WOQ_OK);
    assert_int_equal(woq_checkpoint_packed_source(c, "w", &b), WOQ_OK);
    assert_memory_equal(a.codes, b.codes, 64 * 32);
    assert_memory_equal(a.scales, b.scales, 64 * 2 * 2);
    woq_source_release(&a);
    woq_source_release(&b);
    snprintf(report, sizeof report, "{\"layer\": %u}", (unsigned)layer);
    assert_int_equal(woqi_results_report(r, layer, &text), WOQ_OK);
    assert_string_equal(text, report);
    free(text);
}

/* ---- What goes in comes out ---- */

static void check_round_trip(struct woqi_results *r, struct woq_format f, uint64_t n, uint64_t k, uint64_t pad)
{
    struct woq_weights_source a = rtn(&f, n, k, 5), b, padded = a;
    struct woq_format_sizes sizes;
    const struct woq_checkpoint *c;
    assert_int_equal(woq_format_get_sizes(&f, n, k, &sizes), WOQ_OK);
    uint8_t *rows = malloc(n * (sizes.row_bytes + pad));
    memset(rows, 0xee, n * (sizes.row_bytes + pad));
    for (uint64_t i = 0; i < n; i++)
        memcpy(rows + i * (sizes.row_bytes + pad), (const uint8_t *)a.codes + i * sizes.row_bytes, sizes.row_bytes);
    padded.codes = rows;
    padded.row_stride = pad ? sizes.row_bytes + pad : 0;
    const struct woqi_result t = {.name = "model.layers.3.mlp.up_proj", .matrix = &padded};
    if (woqi_results_put(r, 3, &t, 1, "{}"))
        fail_msg("%s", woq_last_message());
    free(rows);
    assert_int_equal(woqi_results_layer(r, 3, &c), WOQ_OK);
    if (woq_checkpoint_packed_source(c, t.name, &b))
        fail_msg("%s", woq_last_message());
    assert_int_equal(b.format.code, f.code);
    assert_int_equal(b.format.zero, f.zero);
    assert_int_equal(b.format.scale, f.scale);
    assert_memory_equal(a.codes, b.codes, sizes.codes);
    if (f.group != WOQ_GROUP_TENSOR) {
        assert_int_equal(b.format.group, f.group);
        assert_memory_equal(a.scales, b.scales, sizes.scales);
        if (f.zero == WOQ_ZERO_POINT)
            assert_memory_equal(a.zeros, b.zeros, sizes.zeros);
    }
    for (uint64_t i = 0; i < n && f.group == WOQ_GROUP_TENSOR; i++) {
        const size_t size = woq_type_size(f.scale);
        assert_memory_equal(a.scales, (const uint8_t *)b.scales + i * size, size);
        if (f.zero == WOQ_ZERO_POINT)
            assert_memory_equal(a.zeros, (const uint8_t *)b.zeros + i, 1);
    }
    woq_source_release(&a);
    woq_source_release(&b);
}

static void test_round_trip(void **state)
{
    static const uint64_t groups[] = {32, 5, WOQ_GROUP_CHANNEL, WOQ_GROUP_TENSOR};
    static const enum woq_type types[] = {WOQ_F16, WOQ_BF16, WOQ_F32};
    (void)state;
    struct woqi_results *r = open_results("run", "a", 0);
    for (size_t i = 0; i < 48; i++) {
        struct woq_format f = make_format(i % 2 ? WOQ_CODE_U4 : WOQ_CODE_U8, i / 2 % 2 ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC,
                                   types[i / 16], groups[i / 4 % 4]);
        check_round_trip(r, f, 37, f.group == 5 ? 35 : 96, i % 3);
        check_round_trip(r, f, 1100, f.group == 5 ? 10 : 64, 0); /* several blocks of rows */
    }
    woqi_results_close(&r, true);
    assert_false(exists(WORK));
}

static void test_plain(void **state)
{
    static const char report[] = "{\"layer\": 7, \"name\": \"\\\"ü\\n\\\"\"}";
    float norm[5] = {1, -2.5f, 1e-3f, 0, 7}, got[6];
    uint16_t half[6] = {0x3c00, 0x4000, 0xbc00, 0, 0x7bff, 1};
    const struct woqi_result plain[] = {{.name = "a.weight", .columns = 5, .type = WOQ_F32, .data = norm},
                                        {.name = "b.weight", .rows = 2, .columns = 3, .type = WOQ_F16, .data = half}};
    const struct woq_checkpoint *c;
    char *text;
    (void)state;
    struct woqi_results *r = open_results("run", "a", 0);
    assert_int_equal(woqi_results_put(r, 7, plain, 2, report), WOQ_OK);
    assert_int_equal(woqi_results_layer(r, 7, &c), WOQ_OK);
    const struct woq_tensor *a = woq_checkpoint_find(c, "a.weight"), *b = woq_checkpoint_find(c, "b.weight");
    assert_true(a && a->rank == 1 && a->shape[0] == 5 && a->type == WOQ_TENSOR_F32);
    assert_int_equal(woq_tensor_read(a, 0, 1, got), WOQ_OK);
    assert_memory_equal(got, norm, sizeof norm);
    assert_true(b && b->rank == 2 && b->shape[0] == 2 && b->type == WOQ_TENSOR_F16);
    assert_memory_equal(b->data, half, sizeof half);
    assert_int_equal(woqi_results_report(r, 7, &text), WOQ_OK);
    assert_string_equal(text, report);
    free(text);
    assert_int_equal(woqi_results_layer(r, 6, &c), WOQ_ERROR_INVALID_ARGUMENT);
    assert_says("layer-00006.safetensors: cannot be opened");
    assert_null(c);
    woqi_results_close(&r, true);
}

static void test_refusals(void **state)
{
    const uint32_t index[32] = {0};
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 16);
    struct woq_weights_source s = rtn(&f, 4, 32, 1), bad = s;
    struct woqi_result t = {.name = "w", .matrix = &bad};
    (void)state;
    struct woqi_results *r = open_results("run", "a", 0);
    bad.format.group = 24;
    assert_int_equal(woqi_results_put(r, 2, &t, 1, "{}"), WOQ_ERROR_INVALID_ARGUMENT);
    assert_says("layer 2: w: its 32 columns are no multiple of the group of 24");
    bad = s;
    bad.format.g_idx = true;
    bad.g_idx = index;
    assert_int_equal(woqi_results_put(r, 2, &t, 1, "{}"), WOQ_ERROR_INVALID_ARGUMENT);
    bad = s;
    bad.format.zero = WOQ_ZERO_OFFSET;
    assert_int_equal(woqi_results_put(r, 2, &t, 1, "{}"), WOQ_ERROR_INVALID_ARGUMENT);
    assert_says("must be U4 or U8");
    assert_false(exists(WORK "/unfinished"));
    woqi_results_close(&r, true);
    woq_source_release(&s);
    struct woqi_results *none;
    uint32_t done;
    assert_int_equal(woqi_results_open(in_root("absent/run"), "a", NULL, NULL, &none, &done), WOQ_ERROR_DRIVER);
    assert_says("No such file or directory");
    assert_null(none);
}

/* ---- A run that goes on ---- */

static void test_goes_on(void **state)
{
    (void)state;
    struct woqi_results *r = open_results("run", "one", 0);
    for (uint32_t i = 0; i < 4; i++)
        put_layer(r, i);
    woqi_results_close(&r, false);
    r = open_results("run//", "one", 4);
    for (uint32_t i = 0; i < 4; i++)
        check_layer(r, i);
    put_layer(r, 2); /* again, while it is open */
    check_layer(r, 2);
    woqi_results_close(&r, false);
    assert_string_equal(logged, "");

    /* A file that is cut, although renaming should not allow it. */
    assert_int_equal(truncate(in_root(WORK "/layer-00001.safetensors"), 700), 0);
    r = open_results("run", "one", 1);
    assert_non_null(strstr(logged, "layer 1 is made again: "));
    assert_non_null(strstr(logged, "layer-00001.safetensors"));
    check_layer(r, 0);
    put_layer(r, 1);
    check_layer(r, 1);
    woqi_results_close(&r, false);
    r = open_results("run", "one", 4); /* those behind it were kept */
    check_layer(r, 3);
    woqi_results_close(&r, false);

    /* Another run has other layers. */
    r = open_results("run", "two", 0);
    assert_non_null(strstr(logged, WORK "' is of another run; its layers are removed"));
    assert_false(exists(WORK "/layer-00003.safetensors"));
    woqi_results_close(&r, false);
    r = open_results("run", "two", 0);
    assert_string_equal(logged, "");
    put_layer(r, 0);
    woqi_results_close(&r, false);
    /* As if a run had been killed while it emptied the folder. */
    assert_int_equal(unlink(in_root(WORK "/run.json")), 0);
    r = open_results("run", "two", 0);
    assert_false(exists(WORK "/layer-00000.safetensors"));
    woqi_results_close(&r, true);
    assert_false(exists(WORK));
}

/* What a child does; its exit status, or minus the signal that ended it. */
static int in_child(void (*work)(void))
{
    int status;
    pid_t child = fork();
    if (!child) {
        work();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static struct woq_weights_source waiting; /* made before the child is: threads of OpenMP do not come along */

static void put_too_much(void)
{
    const struct rlimit limit = {2000, 2000}, none = {0, 0};
    struct woqi_results *r = NULL;
    uint32_t done;
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &limit);
    if (woqi_results_open(in_root("run"), "one", NULL, NULL, &r, &done) || done != 1)
        _exit(1);
    const struct woqi_result t = {.name = "w", .matrix = &waiting};
    enum woq_status st = woqi_results_put(r, 1, &t, 1, "{}");
    if (st != WOQ_ERROR_DRIVER || !strstr(woq_last_message(), "layer 1: writing '") ||
        !strstr(woq_last_message(), "File too large"))
        _exit(2);
    if (exists(WORK "/unfinished"))
        _exit(3);
    woqi_results_close(&r, false);
    _exit(7);
}

static void put_without_message(void)
{
    signal(SIGXFSZ, SIG_IGN);
    put_too_much();
}

static void open_second(void)
{
    struct woqi_results *r = NULL;
    uint32_t done;
    enum woq_status st = woqi_results_open(in_root("run"), "two", NULL, NULL, &r, &done);
    _exit(st == WOQ_ERROR_INVALID_STATE && !r && strstr(woq_last_message(), "another process is writing '") ? 7 : 1);
}

static void test_interrupted(void **state)
{
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 32);
    (void)state;
    waiting = rtn(&f, 64, 64, 1);
    struct woqi_results *r = open_results("run", "one", 0);
    put_layer(r, 0);
    assert_int_equal(in_child(open_second), 7);
    check_layer(r, 0); /* nothing was emptied */
    woqi_results_close(&r, false);
    /* The disk is full. */
    assert_int_equal(in_child(put_without_message), 7);
    r = open_results("run", "one", 1);
    check_layer(r, 0);
    woqi_results_close(&r, false);
    /* Killed in the middle of a file. */
    assert_int_equal(in_child(put_too_much), -SIGXFSZ);
    assert_true(exists(WORK "/unfinished"));
    r = open_results("run", "one", 1);
    assert_false(exists(WORK "/unfinished"));
    check_layer(r, 0);
    put_layer(r, 1);
    woqi_results_close(&r, false);
    r = open_results("run", "one", 2);
    check_layer(r, 1);
    woqi_results_close(&r, true);
    woq_source_release(&waiting);
}

/* ---- A checkpoint of results ---- */

/* Layer 0 of the plan, rounded to nearest; norm: in place of input_layernorm's, NULL = not there. skip: this layer's
 * index in `tensors` is left out. */
static void fill(struct woqi_results *r, const struct woqi_plan *plan, const float *norm, int skip)
{
    struct woqi_result made[TENSORS + 1];
    struct woq_weights_source sources[TENSORS];
    char names[TENSORS][64];
    uint32_t count = 0, matrices = 0;
    for (int i = 0; i < TENSORS; i++) {
        size_t size = woqi_linear_name(tensors[i].name);
        if (plan->use[i] != WOQI_USE_QUANTIZE || i == skip)
            continue;
        snprintf(names[count], sizeof names[0], "%.*s", (int)size, tensors[i].name);
        sources[count] = rtn(&plan->formats[i], tensors[i].n, tensors[i].k, (uint64_t)i);
        made[count] = (struct woqi_result){.name = names[count], .matrix = &sources[count]};
        count++;
    }
    matrices = count;
    if (norm)
        made[count++] = (struct woqi_result){
            .name = LAYER "input_layernorm.weight", .columns = HIDDEN, .type = WOQ_F32, .data = norm};
    if (woqi_results_put(r, 0, made, count, "{}"))
        fail_msg("%s", woq_last_message());
    for (uint32_t i = 0; i < matrices; i++)
        woq_source_release(&sources[i]);
}

static bool same_folders(const char *a, const char *b)
{
    char line[400];
    snprintf(line, sizeof line, "diff -r '%s' '%s' >/dev/null", in_root(a), in_root(b));
    return system(line) == 0;
}

static bool advance(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    assert_true(done <= total);
    *(uint64_t *)user = total - done;
    return true;
}

static void test_write(void **state)
{
    static const struct woq_quantize_override forms[] = {{"down_proj", 8, WOQ_GROUP_TENSOR, true},
                                                         {"o_proj", 16, 0, true},
                                                         {"up_proj", 4, 32, false}};
    float norm[HIDDEN], got[HIDDEN];
    uint64_t left = 1;
    (void)state;
    for (int i = 0; i < HIDDEN; i++)
        norm[i] = 1 + (float)i / 64; /* exact in bfloat16 */
    for (int i = 0; i < 4; i++) {
        const uint64_t shard = i % 2 ? 4096 : UINT64_MAX;
        struct woq_quantize_params p = with(4, 64);
        struct woqi_plan plan;
        p.overrides = forms;
        p.override_count = 3;
        p.allow_unloadable = true;
        p.jobs = i < 2 ? 1 : 3;
        p.progress = advance;
        p.progress_user = &left;
        struct woq_checkpoint *c = open_model("model");
        assert_int_equal(woqi_plan_make(c, &p, &plan), WOQ_OK);
        struct woqi_results *r = open_results("run", "a", 0);
        fill(r, &plan, NULL, -1);
        assert_int_equal(woqi_quantize_write(&plan, in_root("plain"), shard), WOQ_OK);
        plan.results = r;
        if (woqi_quantize_write(&plan, in_root("made"), shard))
            fail_msg("%s", woq_last_message());
        assert_int_equal(left, 0);
        assert_true(same_folders("plain", "made"));
        delete("made");
        fill(r, &plan, norm, -1);
        assert_int_equal(woqi_quantize_write(&plan, in_root("made"), shard), WOQ_OK);
        assert_false(same_folders("plain", "made"));
        struct woq_checkpoint *made = open_model("made");
        const struct woq_tensor *t = woq_checkpoint_find(made, LAYER "input_layernorm.weight");
        assert_true(t && t->type == WOQ_TENSOR_BF16);
        assert_int_equal(woq_tensor_read(t, 0, 1, got), WOQ_OK);
        assert_memory_equal(got, norm, sizeof norm);
        woq_checkpoint_close(&made);
        woqi_results_close(&r, true);
        woqi_plan_free(&plan);
        woq_checkpoint_close(&c);
        delete("plain");
        delete("made");
    }
}

static void test_write_refusals(void **state)
{
    struct woq_quantize_params p = with(4, 32);
    struct woqi_plan plan, other;
    float norm[HIDDEN] = {0};
    (void)state;
    struct woq_checkpoint *c = open_model("model");
    assert_int_equal(woqi_plan_make(c, &p, &plan), WOQ_OK);
    p.bits = 8;
    assert_int_equal(woqi_plan_make(c, &p, &other), WOQ_OK);
    struct woqi_results *r = open_results("run", "a", 0);
    plan.results = other.results = r;
    assert_int_equal(woqi_quantize_write(&plan, in_root("made"), UINT64_MAX), WOQ_ERROR_INVALID_ARGUMENT);
    assert_says("layer-00000.safetensors: cannot be opened");
    fill(r, &plan, NULL, 4);
    assert_int_equal(woqi_quantize_write(&plan, in_root("made"), UINT64_MAX), WOQ_ERROR_INVALID_DATA);
    assert_says("tensor '" LAYER "self_attn.o_proj.weight_packed' is missing");
    fill(r, &plan, NULL, -1);
    assert_int_equal(woqi_quantize_write(&other, in_root("made"), UINT64_MAX), WOQ_ERROR_INVALID_DATA);
    assert_says("has another type or shape than is to be written");
    norm[9] = NAN;
    fill(r, &plan, norm, -1);
    assert_int_equal(woqi_quantize_write(&plan, in_root("made"), UINT64_MAX), WOQ_ERROR_INVALID_DATA);
    assert_says("row 0, column 9 is not a number");
    const struct woqi_result t = {
        .name = LAYER "input_layernorm.weight", .columns = HIDDEN / 2, .type = WOQ_F32, .data = norm};
    assert_int_equal(woqi_results_put(r, 0, &t, 1, "{}"), WOQ_OK);
    plan.use[1] = plan.use[2] = plan.use[3] = plan.use[4] = plan.use[5] = plan.use[6] = plan.use[7] = WOQI_USE_KEEP;
    assert_int_equal(woqi_quantize_write(&plan, in_root("made"), UINT64_MAX), WOQ_ERROR_INVALID_DATA);
    assert_says("has another shape than in");
    assert_false(exists("made"));
    assert_false(exists(".made.woq-partial"));
    woqi_results_close(&r, true);
    woqi_plan_free(&plan);
    woqi_plan_free(&other);
    woq_checkpoint_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_plain),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_goes_on),    cmocka_unit_test(test_interrupted), cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_refusals),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
