/* test_quantize.c: rounding to nearest, and directories that are written whole or not at all. */
#include "quantize_model.h"

#include "checkpoint/checkpoint_impl.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- Rounding ---- */

/* What the header says, element by element, as the weight that must come out. */
static float expected(const struct woq_format *f, const float *w, uint64_t n, uint64_t k, uint64_t row, uint64_t col)
{
    float low = 0, high = 0, top = f->code == WOQ_CODE_U4 ? 15 : 255, half = f->code == WOQ_CODE_U4 ? 7 : 127;
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < k; c++) {
            bool mine = f->group == WOQ_GROUP_TENSOR ||
                        (r == row && (f->group == WOQ_GROUP_CHANNEL || c / f->group == col / f->group));
            low = mine ? fminf(low, w[r * k + c]) : low;
            high = mine ? fmaxf(high, w[r * k + c]) : high;
        }
    float v = w[row * k + col];
    if (f->zero == WOQ_ZERO_SYMMETRIC) {
        float s = rounded(f->scale, fmaxf(-low, high) / half);
        return s > 0 ? s * fminf(fmaxf(rintf(v / s), -half), half) : 0;
    }
    float s = rounded(f->scale, (high - low) / top);
    float zero = s > 0 ? fminf(rintf(-low / s), top) : 0;
    return s > 0 ? s * (fminf(fmaxf(rintf(v / s) + zero, 0), top) - zero) : 0;
}

static void test_rtn(void **state)
{
    enum { N = 5, K = 45 };
    static const uint64_t groups[] = {1, 7, 16, 45, 64, WOQ_GROUP_CHANNEL, WOQ_GROUP_TENSOR};
    static const enum woq_type types[] = {WOQ_F32, WOQ_F16, WOQ_BF16};
    float w[N * K], row[K];
    (void)state;
    for (int i = 0; i < N * K; i++)
        w[i] = i / K == 2 ? 0 : weight(1, (uint64_t)i) * (i % 11 == 3 ? 1e-7f : 1);
    for (size_t i = 0; i < sizeof groups / sizeof *groups * 12; i++) {
        struct woq_format f = make_format(i % 2 ? WOQ_CODE_U4 : WOQ_CODE_U8, i / 2 % 2 ? WOQ_ZERO_POINT : WOQ_ZERO_SYMMETRIC,
                                   types[i / 4 % 3], groups[i / 12]);
        struct woq_weights_source s;
        assert_int_equal(woq_quantize_rtn(&f, N, K, w, &s), WOQ_OK);
        for (uint64_t r = 0; r < N; r++) {
            assert_int_equal(
                woq_format_decode_row(&s.format, s.n, s.k, s.codes, s.row_stride, s.scales, s.zeros, NULL, r, row), 0);
            for (uint64_t c = 0; c < K; c++)
                if (row[c] != expected(&f, w, N, K, r, c))
                    fail_msg("format %zu, row %d, column %d: %a", i, (int)r, (int)c, (double)row[c]);
        }
        woq_source_release(&s);
    }
}

static void test_rtn_refusals(void **state)
{
    float w[4 * 32];
    struct woq_weights_source s;
    struct woq_format f = make_format(WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, 16);
    (void)state;
    for (int i = 0; i < 128; i++)
        w[i] = weight(2, (uint64_t)i);
    w[2 * 32 + 17] = NAN;
    w[3 * 32 + 1] = INFINITY;
    assert_int_equal(woq_quantize_rtn(&f, 4, 32, w, &s), WOQ_ERROR_INVALID_DATA);
    assert_says("row 2, column 17 is not a number");
    assert_null(s.codes);
    w[2 * 32 + 17] = 1e30f;
    w[3 * 32 + 1] = 0;
    assert_int_equal(woq_quantize_rtn(&f, 4, 32, w, &s), WOQ_ERROR_INVALID_DATA);
    assert_says("row 2, column 16");
    f.zero = WOQ_ZERO_OFFSET;
    assert_int_equal(woq_quantize_rtn(&f, 4, 32, w, &s), WOQ_ERROR_INVALID_ARGUMENT);
    f = make_format(WOQ_CODE_F16, WOQ_ZERO_NONE, WOQ_TYPE_NONE, 0);
    assert_int_equal(woq_quantize_rtn(&f, 4, 32, w, &s), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_quantize_rtn(NULL, 4, 32, w, &s), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_quantize_rtn(&f, 4, 32, NULL, &s), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_quantize_rtn(&f, 4, 32, w, NULL), WOQ_ERROR_INVALID_ARGUMENT);
}

static enum woq_status quantize(const char *name, const struct woq_quantize_params *p, uint64_t shard)
{
    struct woq_checkpoint *c = open_model("model");
    enum woq_status st = woqi_quantize_checkpoint(c, in_root(name), p, shard);
    woq_checkpoint_close(&c);
    return st;
}

/* All of root/name, read back by our own reader. */
static void check_output(const char *name, const struct woq_quantize_params *p)
{
    struct woq_checkpoint *out = open_model(name);
    struct woq_model_config m = {.struct_size = sizeof m};
    float row[INNER];
    assert_int_equal(woq_checkpoint_config(out, &m), WOQ_OK);
    for (int i = 0; i < TENSORS; i++) {
        const struct woq_tensor *t = woq_checkpoint_find(out, tensors[i].name);
        if (!woq_quantize_keeps(p, tensors[i].name)) {
            assert_null(t);
            check_packed(out, i, p->bits, p->group, p->symmetric);
            continue;
        }
        assert_non_null(t);
        assert_int_equal(t->type, WOQ_TENSOR_BF16);
        for (uint64_t r = 0; r < tensors[i].n; r++) {
            assert_int_equal(woq_tensor_read(t, r, 1, row), WOQ_OK);
            for (uint64_t c = 0; c < tensors[i].k; c++)
                assert_true(row[c] == rounded(WOQ_BF16, weight((uint64_t)i, r * tensors[i].k + c)));
        }
    }
    woq_checkpoint_close(&out);
}

static void test_directory(void **state)
{
    static const struct {
        uint32_t bits;
        uint64_t group, shard;
        bool symmetric;
    } cases[] = {{4, 32, UINT64_MAX, true},   {8, WOQ_GROUP_CHANNEL, UINT64_MAX, true},
                 {4, WOQ_GROUP_TENSOR, UINT64_MAX, true}, {4, 32, UINT64_MAX, false},
                 {4, WOQ_GROUP_CHANNEL, 4096, true},      {8, 32, 1, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_quantize_params p = with(cases[i].bits, cases[i].group);
        p.symmetric = cases[i].symmetric;
        p.allow_unloadable = !p.symmetric;
        p.jobs = (uint32_t)(i % 3);
        if (quantize("out", &p, cases[i].shard))
            fail_msg("%s", woq_last_message());
        assert_true(exists("out/model.safetensors.index.json") == (cases[i].shard != UINT64_MAX));
        check_output("out", &p);
        assert_false(exists(".out.woq-partial"));
        delete("out");
    }
}

/* Pages that were given back come again from the file; memory that is the caller's stays as it is. */
static void test_forget(void **state)
{
    struct woq_checkpoint *c = open_model("model"), *in_memory;
    uint8_t *copy = aligned_alloc(4096, 64 * 4096);
    FILE *file = fopen(in_root("model/model.safetensors"), "rb");
    float row[INNER];
    (void)state;
    assert_true(copy && file);
    const size_t size = fread(copy, 1, 64 * 4096, file);
    fclose(file);
    for (int pass = 0; pass < 3; pass++)
        for (int i = 0; i < TENSORS; i++) {
            const struct woq_tensor *t = woq_checkpoint_find(c, tensors[i].name);
            assert_int_equal(woq_tensor_read(t, tensors[i].n - 1, 1, row), WOQ_OK);
            for (uint64_t k = 0; k < tensors[i].k; k++)
                assert_true(row[k] == weight((uint64_t)i, (tensors[i].n - 1) * tensors[i].k + k));
            woqi_ckpt_forget(t);
        }
    woq_checkpoint_close(&c);
    uint8_t *before = malloc(size);
    memcpy(before, copy, size);
    assert_int_equal(woqi_ckpt_open_memory(WOQ_CONTAINER_SAFETENSORS, copy, size, &in_memory), WOQ_OK);
    for (size_t i = 0; i < woq_checkpoint_tensor_count(in_memory); i++)
        woqi_ckpt_forget(woq_checkpoint_tensor(in_memory, i));
    woq_checkpoint_close(&in_memory);
    assert_memory_equal(copy, before, size);
    free(before);
    free(copy);
}

static void test_keep(void **state)
{
    static const char *const patterns[] = {"k_proj$", "0\\.mlp\\.up"};
    struct woq_quantize_params p = with(4, 32);
    (void)state;
    p.keep = patterns;
    p.keep_count = 2;
    assert_true(woq_quantize_keeps(&p, LAYER "self_attn.q_proj.weight"));
    assert_true(woq_quantize_keeps(&p, LAYER "self_attn.v_proj"));
    assert_true(woq_quantize_keeps(&p, LAYER "mlp.gate_proj"));
    assert_false(woq_quantize_keeps(&p, LAYER "self_attn.o_proj"));
    assert_false(woq_quantize_keeps(&p, LAYER "mlp.down_proj.weight"));
    assert_true(woq_quantize_keeps(&p, "lm_head.weight"));
    assert_true(woq_quantize_keeps(&p, LAYER "mlp.down_proj.bias"));
    assert_int_equal(quantize("kept", &p, UINT64_MAX), WOQ_OK);
    check_output("kept", &p);
    delete("kept");
}

static void refused(struct woq_quantize_params p, enum woq_status status, const char *says)
{
    assert_int_equal(quantize("none", &p, UINT64_MAX), status);
    assert_says(says);
    assert_false(exists("none"));
    assert_false(exists(".none.woq-partial"));
}

static void test_refusals(void **state)
{
    static const char *const broken[] = {"("}, *const slip[] = {"layers.9"}, *const all[] = {"."};
    struct woq_quantize_params p = with(4, 64);
    (void)state;
    refused(p, WOQ_ERROR_UNSUPPORTED, LAYER "mlp.down_proj.weight: its 96 columns");
    refused(with(4, 48), WOQ_ERROR_UNSUPPORTED, "vLLM");
    refused(with(3, 32), WOQ_ERROR_INVALID_ARGUMENT, "bits is 3");
    p = with(4, 32);
    p.symmetric = false;
    refused(p, WOQ_ERROR_UNSUPPORTED, "transformers");
    p.bits = 8;
    p.allow_unloadable = true;
    refused(p, WOQ_ERROR_UNSUPPORTED, "8 bits");
    p = with(4, 32);
    p.scale = WOQ_F32;
    refused(p, WOQ_ERROR_UNSUPPORTED, "scales of type f32");
    p = with(4, 32);
    p.keep = broken;
    p.keep_count = 1;
    refused(p, WOQ_ERROR_INVALID_ARGUMENT, "regular expression");
    p.keep = slip;
    refused(p, WOQ_ERROR_INVALID_ARGUMENT, "'layers.9' matches no linear layer; must match a name like " LAYER);
    p.keep = all;
    refused(p, WOQ_ERROR_INVALID_ARGUMENT, "nothing to quantize");
    assert_int_equal(woq_quantize_checkpoint(NULL, "x", &p), WOQ_ERROR_INVALID_ARGUMENT);
}

static void test_not_finite(void **state)
{
    struct woq_quantize_params p = with(4, 32);
    (void)state;
    for (int i = 0; i < TENSORS; i += 5) {
        write_model("bad", i, tensors[i].n == 1 ? 9 : 3 * tensors[i].k + 9);
        struct woq_checkpoint *c = open_model("bad");
        assert_int_equal(woq_quantize_checkpoint(c, in_root("none"), &p), WOQ_ERROR_INVALID_DATA);
        woq_checkpoint_close(&c);
        assert_says("bad: ");
        assert_says(tensors[i].name);
        assert_says(tensors[i].n == 1 ? "row 0, column 9" : "row 3, column 9");
        assert_false(exists("none"));
        delete("bad");
    }
}

/* ---- Whole or absent ---- */

static void test_existing(void **state)
{
    struct woq_quantize_params p = with(4, 32);
    (void)state;
    assert_int_equal(quantize("old", &p, UINT64_MAX), WOQ_OK);
    assert_int_equal(quantize("old", &p, UINT64_MAX), WOQ_ERROR_INVALID_ARGUMENT);
    assert_says("exists");
    p = with(8, 32);
    p.force = true;
    assert_int_equal(quantize("old", &p, UINT64_MAX), WOQ_OK);
    check_output("old", &p);
    assert_false(exists(".old.woq-partial"));
    assert_int_equal(quantize("model", &p, UINT64_MAX), WOQ_ERROR_INVALID_ARGUMENT);
    assert_says("is where the model");
    assert_int_equal(mkdir(in_root("old/sub"), 0777), 0);
    assert_int_equal(quantize("old", &p, UINT64_MAX), WOQ_ERROR_INVALID_ARGUMENT);
    assert_says("even by force");
    assert_int_equal(quantize("absent/out", &p, UINT64_MAX), WOQ_ERROR_DRIVER);
    assert_says("No such file or directory");
    assert_int_equal(quantize("..", &p, UINT64_MAX), WOQ_ERROR_INVALID_ARGUMENT);
    delete("old");
}

static bool stop(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)what;
    assert_true(done <= total);
    if (user)
        raise(SIGKILL);
    return false;
}

static void test_stop_and_kill(void **state)
{
    struct woq_quantize_params p = with(4, 32);
    int status;
    (void)state;
    p.jobs = 1;
    p.progress = stop;
    refused(p, WOQ_ERROR_TIMEOUT, "stopped");
    pid_t child = fork();
    if (!child) {
        p.progress_user = &p;
        quantize("killed", &p, UINT64_MAX);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_false(exists("killed"));
    assert_true(exists(".killed.woq-partial"));
    p.progress = NULL;
    assert_int_equal(quantize("killed", &p, UINT64_MAX), WOQ_OK);
    check_output("killed", &p);
    assert_false(exists(".killed.woq-partial"));
    delete("killed");
}

static void test_no_room(void **state)
{
    struct woq_quantize_params p = with(4, 32);
    int status;
    (void)state;
    p.jobs = 1;
    pid_t child = fork();
    if (!child) {
        const struct rlimit limit = {8192, 8192};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        enum woq_status st = quantize("full", &p, UINT64_MAX);
        _exit(st == WOQ_ERROR_DRIVER && strstr(woq_last_message(), "model.safetensors': File too large") ? 7 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_false(exists("full"));
    assert_false(exists(".full.woq-partial"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rtn),       cmocka_unit_test(test_rtn_refusals), cmocka_unit_test(test_directory),
        cmocka_unit_test(test_forget),    cmocka_unit_test(test_keep),      cmocka_unit_test(test_refusals),     cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_existing),  cmocka_unit_test(test_stop_and_kill), cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
