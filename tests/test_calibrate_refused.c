/* test_calibrate_refused.c: what calibrated quantization refuses, survives or cannot write. */
#include "calibrate_model.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* The status, what the message names, and that nothing was left behind. */
static void refused(struct call *call, enum woq_status status, const char *mention)
{
    const unsigned before = count_entries();
    EXPECT(status, mention, calibrate(call, "out"));
    test_expectations_met();
    assert_int_equal(count_entries(), before);
}

static void test_parameters(void **state)
{
    struct call call = call_of(WOQ_METHOD_GPTQ, 4, 32);
    const struct call good = call;
    (void)state;
#define REFUSED(mention, assignment)                                                                                   \
    call = good, assignment, refused(&call, WOQ_ERROR_INVALID_ARGUMENT, mention), assert_int_equal(call.steps, 0)
    REFUSED("text is NULL", call.c.text = NULL);
    REFUSED("No such file", call.c.text = in_root("none.txt"));
    REFUSED("samples must be 1", call.c.samples = 0);
    REFUSED("samples must be 1", call.c.samples = (1u << 20) + 1);
    REFUSED("window must be 2", call.c.window = 1);
    REFUSED("window is 97; the model's context ends at 96", call.c.window = TINY_CONTEXT + 1);
    REFUSED("damping must be", call.c.damping = 0);
    REFUSED("damping must be", call.c.damping = 1.5f);
    REFUSED("damping must be", call.c.damping = -0.0f / 0.0f);
    REFUSED("residual_share must be 0 to 1", call.c.input_share = 1.01f);
    REFUSED("residual_share must be 0 to 1", call.c.residual_share = -0.01f);
    REFUSED("method must be", call.c.method = 0);
    REFUSED("method must be", call.c.method = WOQ_METHOD_AWQ_GPTQ + 1);
    REFUSED("calibration.struct_size", call.c.struct_size--);
    REFUSED("params.struct_size", call.q.struct_size--);
    call = good, call.q.group = 128;
    refused(&call, WOQ_ERROR_UNSUPPORTED, "its 64 columns are no multiple of the group of 128");
    struct woq_checkpoint *c = open_model("model");
    EXPECT_BAD("device is NULL", woq_quantize_calibrated(NULL, c, in_root("out"), &good.q, &good.c));
    EXPECT_BAD("checkpoint is NULL", woq_quantize_calibrated(device, NULL, in_root("out"), &good.q, &good.c));
    EXPECT_BAD("directory is NULL", woq_quantize_calibrated(device, c, NULL, &good.q, &good.c));
    EXPECT_BAD("params is NULL", woq_quantize_calibrated(device, c, in_root("out"), NULL, &good.c));
    EXPECT_BAD("calibration is NULL", woq_quantize_calibrated(device, c, in_root("out"), &good.q, NULL));
    EXPECT_BAD("statistics is NULL", woq_calibrate_statistics(device, c, &good.c));
    EXPECT_BAD("checkpoint is NULL", woq_calibrate_statistics(device, NULL, &good.c));
    test_expectations_met();
    woq_checkpoint_close(&c);
}

static void test_texts(void **state)
{
    struct call call = call_of(WOQ_METHOD_MSE, 4, 32);
    (void)state;
    write_text("short.txt", 2, 100);
    call.c.text = in_root("short.txt");
    refused(&call, WOQ_ERROR_INVALID_DATA, "100 tokens, but 8 samples of 24 need 192");
    call.c.samples = 5;
    refused(&call, WOQ_ERROR_INVALID_DATA, "100 tokens, but 5 samples of 24 need 120");
    call.c.samples = 4;
    must_calibrate(&call, "out");
    delete("out");
    /* Without a tokenizer there are no tokens. */
    char path[160];
    write_model("mute", &tiny);
    snprintf(path, sizeof path, "%s/tokenizer.json", in_root("mute"));
    assert_int_equal(unlink(path), 0);
    call.model = "mute";
    refused(&call, WOQ_ERROR_INVALID_DATA, "tokenizer");
    delete("mute");
    delete("short.txt");
}

/* Told before hours are spent. */
static void test_places(void **state)
{
    struct call call = call_of(WOQ_METHOD_GPTQ, 4, 32);
    (void)state;
    must_calibrate(&call, "out");
    refused(&call, WOQ_ERROR_INVALID_ARGUMENT, "out' exists; name another");
    assert_int_equal(call.steps, 0);
    call.q.force = true;
    call.c.seed = 1;
    assert_int_equal(calibrate(&call, "out"), WOQ_OK);
    delete("out");
    call.q.force = false;
    call.c.report = in_root("none/report.json");
    refused(&call, WOQ_ERROR_DRIVER, "none/report.json': No such file");
    assert_int_equal(call.steps, 0);
    call.c.report = NULL;
    call.c.statistics = in_root("none/all.stats");
    refused(&call, WOQ_ERROR_DRIVER, "none/all.stats': No such file");
    assert_int_equal(call.steps, 0);
    struct woq_checkpoint *c = open_model("model");
    EXPECT(WOQ_ERROR_DRIVER, "none/all.stats': No such file", woq_calibrate_statistics(device, c, &call.c));
    call.c.statistics = NULL;
    EXPECT_BAD("is where the model", woq_quantize_calibrated(device, c, in_root("model"), &call.q, &call.c));
    EXPECT(WOQ_ERROR_DRIVER, "No such file",
           woq_quantize_calibrated(device, c, in_root("none/out"), &call.q, &call.c));
    woq_checkpoint_close(&c);
    call.c.spill = in_root("none");
    call.c.memory = 0;
    refused(&call, WOQ_ERROR_DRIVER, "bytes for activations in '");
}

/* A folder that another run works in. */
static void test_two_at_once(void **state)
{
    struct call call = call_of(WOQ_METHOD_GPTQ, 4, 32);
    (void)state;
    call.stop = 0.6;
    assert_int_equal(calibrate(&call, "out"), WOQ_ERROR_TIMEOUT);
    call.stop = 0;
    const int fd = open(in_root(".out.woq-work"), O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB));
    refused(&call, WOQ_ERROR_INVALID_STATE, "another process is writing");
    close(fd);
    must_calibrate(&call, "out");
    assert_logged(&call, "going on behind 1 layer ");
    delete("out");
}

/* ---- Models that are hard ---- */

static const enum woq_method methods[] = {WOQ_METHOD_MSE, WOQ_METHOD_AWQ, WOQ_METHOD_GPTQ, WOQ_METHOD_AWQ_GPTQ};

static void test_dead_channel(void **state)
{
    (void)state;
    write_model("dead", &tiny);
    scale_tensor("dead", "model.layers.1.input_layernorm.weight", 11, 2, 0);
    for (size_t m = 0; m < 4; m++) {
        struct call call = call_of(methods[m], 4, 32);
        call.model = "dead";
        must_round(&call, "rtn");
        must_calibrate(&call, "out");
        assert_logged(&call, "model.layers.1.self_attn.q_proj: 2 of 64 channels of its input were always 0");
        assert_true(distance("dead", "out") < distance("dead", "rtn"));
        delete("rtn");
        delete("out");
    }
    delete("dead");
}

/* 3 tokens for 64 and 96 columns: only damping makes the Hessian positive definite. */
static void test_few_tokens(void **state)
{
    (void)state;
    for (size_t m = 0; m < 4; m++) {
        struct call call = call_of(methods[m], 4, 32);
        call.c.samples = 1;
        call.c.window = 3;
        must_calibrate(&call, "out");
        assert_true(distance("model", "out") < 1);
        delete("out");
    }
}

static void test_not_finite(void **state)
{
    (void)state;
    write_model("hot", &tiny);
    scale_tensor("hot", "model.layers.1.mlp.up_proj.weight", 0, 4 * HIDDEN, 30000);
    scale_tensor("hot", "model.layers.1.mlp.gate_proj.weight", 0, 4 * HIDDEN, 30000);
    for (size_t m = 0; m < 4; m++) {
        struct call call = call_of(methods[m], 4, 32);
        call.model = "hot";
        EXPECT(WOQ_ERROR_INVALID_DATA, "model.layers.1.mlp.down_proj", calibrate(&call, "out"));
        test_expectations_met();
        assert_false(exists("out"));
        assert_true(exists(".out.woq-work/layer-00000.safetensors")); /* for other parameters of a later one */
        delete(".out.woq-work");
    }
    struct call call = call_of(WOQ_METHOD_MSE, 4, 32);
    struct woq_checkpoint *c = open_model("hot");
    call.c.statistics = in_root("hot.stats");
    const unsigned before = count_entries();
    EXPECT(WOQ_ERROR_INVALID_DATA, "model.layers.1.mlp.down_proj", woq_calibrate_statistics(device, c, &call.c));
    test_expectations_met();
    assert_int_equal(count_entries(), before);
    woq_checkpoint_close(&c);
    delete("hot");
}

/* ---- Disks without room ---- */

struct shortage {
    const char *what, *mention;
    rlim_t limit;
    bool mapped, few, statistics, report; /* few: matrices are quantized, so that layers' files are small */
};
/* Sizes here: activations 48 KiB and more, a layer 20 (few: 3), statistics 17, the report 60, the model 60. */
static const struct shortage shortages[] = {
    {"activations", "bytes for activations in '", 16384, true, false, true, true},
    {"results", "layer 0: writing '", 4096, false, false, true, true},
    {"statistics", "statistics.big", 8192, false, true, true, true},
    {"report", "report.json", 36000, false, false, true, true},
    {"output", "model.safetensors", 36000, false, false, true, false},
};

static struct call call_in(const struct shortage *s)
{
    static const char *const keep[] = {"mlp", "q_proj"};
    struct call call = call_of(WOQ_METHOD_GPTQ, 4, 32);
    call.q.keep = keep;
    call.q.keep_count = s->few ? 2 : 0;
    call.c.memory = s->mapped ? 0 : call.c.memory;
    call.c.statistics = s->statistics ? in_root("statistics.big") : NULL;
    call.c.report = s->report ? in_root("report.json") : NULL;
    return call;
}

/* This program by itself: a limit cannot be raised again. */
static int be_child(const char *folder, const char *number)
{
    const struct shortage *s = &shortages[atoi(number)];
    const struct rlimit limit = {s->limit, s->limit};
    snprintf(root, sizeof root, "%s", folder);
    device = test_open(NULL);
    struct call call = call_in(s);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
    const enum woq_status st = calibrate(&call, "out");
    const char *says = woq_last_message();
    const bool good = st == WOQ_ERROR_DRIVER && strstr(says, s->mention) && strstr(says, "File too large");
    if (!good)
        fprintf(stderr, "%s: status %d, '%s'\n", s->what, st, says);
    return test_close(&device) && good ? 7 : 1;
}

static void test_no_room(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shortages / sizeof *shortages; i++) {
        const struct shortage *s = &shortages[i];
        const char number[] = {(char)('0' + i), 0};
        const unsigned before = count_entries();
        struct call call = call_in(s);
        int status;
        must_calibrate(&call, "whole");
        delete("statistics.big");
        delete("report.json");
        const pid_t child = fork();
        if (!child) {
            execl("/proc/self/exe", "test_calibrate_refused", root, number, (char *)NULL);
            _exit(127);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
            fail_msg("%s: status %d", s->what, status);
        assert_false(exists("out"));
        assert_false(exists(".out.woq-partial") || exists(".report.json.woq-partial") ||
                     exists(".statistics.big.woq-partial"));
        if (i < 2) /* nothing was finished */
            assert_int_equal(count_entries(), before + 1);
        must_calibrate(&call, "out");
        if (i >= 2)
            assert_logged(&call, "going on behind 2 layers");
        assert_same_directory("whole", "out");
        delete("out");
        delete("whole");
        delete("statistics.big");
        delete("report.json");
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parameters),  cmocka_unit_test(test_texts),        cmocka_unit_test(test_places),
        cmocka_unit_test(test_two_at_once), cmocka_unit_test(test_dead_channel), cmocka_unit_test(test_few_tokens),
        cmocka_unit_test(test_not_finite),  cmocka_unit_test(test_no_room)};
    if (!WOQ_HAVE_CALIBRATION) {
        puts("skip: this build has no calibration");
        return TEST_SKIPPED;
    }
    if (argc == 3)
        return be_child(argv[1], argv[2]);
    return cmocka_run_group_tests(tests, begin, end);
}
