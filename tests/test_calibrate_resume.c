/* test_calibrate_resume.c: calibrated quantizations that are stopped or killed, and go on. */
#include "calibrate_model.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "quantize/results.h"

#define WORK ".out.woq-work"

/* With and without the original beside the quantized model; what AWQ leaves in norms and up; formats that come back
 * from the disk as others: a tensor's scale as rows'. */
static const struct {
    enum woq_method method;
    uint32_t bits;
    uint64_t group;
    bool symmetric;
} runs[] = {{WOQ_METHOD_AWQ_GPTQ, 4, 32, true},
            {WOQ_METHOD_AWQ, 4, 32, false},
            {WOQ_METHOD_GPTQ, 8, WOQ_GROUP_TENSOR, true},
            {WOQ_METHOD_MSE, 8, WOQ_GROUP_CHANNEL, true}};
enum { RUNS = sizeof runs / sizeof *runs };

/* Report and statistics are `name`.json and .stats beside the output. */
static struct call run_of(int run, const char *name)
{
    struct call call = call_of(runs[run].method, runs[run].bits, runs[run].group);
    char file[96];
    call.model = "deep";
    call.c.samples = SAMPLES / 2;
    call.q.symmetric = runs[run].symmetric;
    call.q.allow_unloadable = true;
    snprintf(file, sizeof file, "%s.json", name);
    call.c.report = in_root(file);
    snprintf(file, sizeof file, "%s.stats", name);
    call.c.statistics = in_root(file);
    return call;
}

static void remove_run(const char *name)
{
    char file[96];
    delete(name);
    snprintf(file, sizeof file, "%s.json", name);
    delete(file);
    snprintf(file, sizeof file, "%s.stats", name);
    delete(file);
    snprintf(file, sizeof file, ".%s.woq-work", name);
    delete(file);
}

/* Lines of a report that tell of time are emptied. */
static char *read_timeless(const char *path)
{
    size_t size;
    char *text = read_all(path, &size);
    for (char *at = text; (at = strstr(at, "\"seconds\":"));)
        for (; *at && *at != '\n'; at++)
            *at = ' ';
    return text;
}

static void assert_same_run(const struct call *a, const char *name_a, const struct call *b, const char *name_b)
{
    char *reports[] = {read_timeless(a->c.report), read_timeless(b->c.report)};
    char *at[] = {reports[0], reports[1]};
    assert_same_directory(name_a, name_b);
    assert_true(equal_files(a->c.statistics, b->c.statistics));
    /* Blanks are as many as the digits of the times were. */
    for (;;) {
        for (int i = 0; i < 2; i++)
            at[i] += strspn(at[i], " \n");
        if (*at[0] != *at[1])
            fail_msg("reports differ: '%.40s', '%.40s'", at[0], at[1]);
        if (!*at[0])
            break;
        at[0]++;
        at[1]++;
    }
    free(reports[0]);
    free(reports[1]);
}

static void must_stop(struct call *call, double at)
{
    call->stop = at;
    if (calibrate(call, "out") != WOQ_ERROR_TIMEOUT || !strstr(woq_last_message(), "stopped"))
        fail_msg("stopped at %g: %s", at, woq_last_message());
    call->stop = 0;
    assert_false(exists("out") || exists("out.json") || exists("out.stats"));
}

static void test_stopped(void **state)
{
    (void)state;
    for (int run = 0; run < RUNS; run++) {
        struct call whole = run_of(run, "whole"), call = run_of(run, "out");
        must_calibrate(&whole, "whole");
        must_stop(&call, 0.01); /* before any layer was finished, nothing stays */
        assert_false(exists(WORK));
        for (double at = 0.4; at < 0.9; at += 0.3) {
            must_stop(&call, at);
            assert_true(exists(WORK "/run.json") && exists(WORK "/layer-00000.safetensors"));
        }
        must_calibrate(&call, "out");
        assert_logged(&call, "going on behind");
        assert_same_run(&whole, "whole", &call, "out");
        remove_run("whole");
        remove_run("out");
    }
}

/* All layers were done, and then there was no room or time. */
static void test_stopped_while_writing(void **state)
{
    (void)state;
    for (int run = 0; run < 2; run++) {
        struct call whole = run_of(run, "whole"), call = run_of(run, "out");
        must_calibrate(&whole, "whole");
        call.c.statistics = call.folder = in_root("folder"); /* cannot be replaced by a file */
        assert_int_not_equal(calibrate(&call, "out"), WOQ_OK);
        call.folder = NULL;
        assert_true(exists(WORK "/layer-00003.safetensors"));
        assert_false(exists("out"));
        delete("folder");
        call.c.statistics = in_root("out.stats");
        must_calibrate(&call, "out");
        assert_logged(&call, "going on behind 4 layers");
        assert_same_run(&whole, "whole", &call, "out");
        remove_run("whole");
        remove_run("out");
    }
}

static void test_other_parameters(void **state)
{
    struct call whole = run_of(0, "whole"), call = run_of(0, "out");
    (void)state;
    must_calibrate(&whole, "whole");
    for (int what = 0; what < 5; what++) {
        static const char *const keep[] = {"layers\\.3\\."};
        struct call other = run_of(0, "out");
        switch (what) {
        case 0: other.c.seed = 3; break;
        case 1: other.c.damping = 0.05f; break;
        case 2: other.c.natural_order = true; break;
        case 3: other.q.keep = keep, other.q.keep_count = 1; break;
        case 4: other.q.group = 16; break;
        }
        must_stop(&other, 0.6);
        must_calibrate(&call, "out");
        assert_logged(&call, WORK "' is of another run; its layers are removed");
        assert_same_run(&whole, "whole", &call, "out");
        remove_run("out");
    }
    remove_run("whole");
}

/* config.json was wrong, which no tensor shows. */
static void test_other_configuration(void **state)
{
    struct call whole = run_of(0, "whole"), call = run_of(0, "out");
    char line[512];
    (void)state;
    must_stop(&call, 0.6);
    snprintf(line, sizeof line, "sed -i 's/\"rope_theta\": 10000/\"rope_theta\": 500/' '%s/config.json'",
             in_root("deep"));
    assert_int_equal(system(line), 0);
    must_calibrate(&whole, "whole");
    must_calibrate(&call, "out");
    assert_logged(&call, "is of another run");
    assert_same_run(&whole, "whole", &call, "out");
    snprintf(line, sizeof line, "sed -i 's/\"rope_theta\": 500/\"rope_theta\": 10000/' '%s/config.json'",
             in_root("deep"));
    assert_int_equal(system(line), 0);
    remove_run("whole");
    remove_run("out");
}

/* A layer that is not whole is made again. */
static void test_broken_layer(void **state)
{
    struct call whole = run_of(1, "whole"), call = run_of(1, "out");
    (void)state;
    must_calibrate(&whole, "whole");
    must_stop(&call, 0.75);
    assert_true(exists(WORK "/layer-00001.safetensors"));
    assert_int_equal(truncate(in_root(WORK "/layer-00001.safetensors"), 100), 0);
    must_calibrate(&call, "out");
    assert_logged(&call, "layer 1 is made again");
    assert_logged(&call, "going on behind 1 layer ");
    assert_same_run(&whole, "whole", &call, "out");
    remove_run("whole");
    remove_run("out");
}

/* ---- Killed ---- */

/* This program by itself, so that no thread of the parent is missed in the child. */
static pid_t start_child(const char *run)
{
    const pid_t child = fork();
    if (!child) {
        execl("/proc/self/exe", "test_calibrate_resume", root, run, (char *)NULL);
        _exit(127);
    }
    return child;
}

static bool killed_behind_output; /* this process, before it tidies up */

void __real_woqi_results_close(struct woqi_results **results, bool remove);
void __wrap_woqi_results_close(struct woqi_results **results, bool remove);

void __wrap_woqi_results_close(struct woqi_results **results, bool remove)
{
    if (killed_behind_output)
        raise(SIGKILL);
    __real_woqi_results_close(results, remove);
}

/* run: its number; "!" behind it = killed when the output has been written. */
static int be_child(const char *folder, const char *run)
{
    killed_behind_output = strchr(run, '!') != NULL;
    snprintf(root, sizeof root, "%s", folder);
    device = test_open(NULL);
    struct call call = run_of(atoi(run), "out");
    const enum woq_status st = calibrate(&call, "out");
    if (st)
        fprintf(stderr, "%s\n", woq_last_message());
    return st || !test_close(&device) ? 1 : 0;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Kills it after random parts of what a whole run takes, then leaves it to end. */
static void test_killed(void **state)
{
    uint64_t random = 12345;
    (void)state;
    for (int run = 0; run < 2; run++) {
        const char name[] = {(char)('0' + run), 0};
        struct call whole = run_of(run, "whole"), call = run_of(run, "out");
        unsigned kills = 0;
        int status;
        must_calibrate(&whole, "whole");
        const double start = seconds();
        assert_int_equal(waitpid(start_child(name), &status, 0) > 0 && WIFEXITED(status) && !WEXITSTATUS(status), 1);
        const double takes = seconds() - start;
        assert_same_run(&whole, "whole", &call, "out");
        remove_run("out");
        for (int attempt = 0; attempt < 5; attempt++) {
            const pid_t child = start_child(name);
            random = random * 6364136223846793005u + 1442695040888963407u;
            const double wait = takes * (0.1 + 0.7 * (double)(random >> 40) / (1 << 24));
            const struct timespec t = {(time_t)wait, (long)((wait - (double)(time_t)wait) * 1e9)};
            nanosleep(&t, NULL);
            kill(child, SIGKILL);
            assert_int_equal(waitpid(child, &status, 0), child);
            kills += WIFSIGNALED(status) != 0;
            if (!WIFSIGNALED(status)) { /* it was faster than the first */
                assert_same_run(&whole, "whole", &call, "out");
                remove_run("out");
            }
        }
        printf("run %d: %u kills\n", run, kills);
        assert_true(kills > 0);
        must_calibrate(&call, "out");
        assert_same_run(&whole, "whole", &call, "out");
        remove_run("whole");
        remove_run("out");
    }
}

static void leave_output(void)
{
    int status;
    const pid_t child = start_child("0!");
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_true(exists("out/config.json") && exists("out.json") && exists("out.stats") && exists(WORK));
}

static void must_refuse(struct call *call)
{
    assert_int_equal(calibrate(call, "out"), WOQ_ERROR_INVALID_ARGUMENT);
    assert_says("out' exists; name another");
    assert_true(exists(WORK "/layer-00003.safetensors"));
}

/* The same run takes what is whole; others, and one that finds it changed, do not touch it. */
static void test_killed_behind_output(void **state)
{
    struct call whole = run_of(0, "whole"), call = run_of(0, "out"), other = run_of(0, "out");
    (void)state;
    must_calibrate(&whole, "whole");
    leave_output();
    other.c.seed = 3;
    must_refuse(&other);
    other = call;
    other.c.report = in_root("other.json"); /* which is not there */
    must_refuse(&other);
    assert_int_equal(calibrate(&call, "out"), WOQ_OK);
    assert_logged(&call, "out' is whole already");
    assert_int_equal(call.steps, 0);
    assert_false(exists(WORK));
    assert_same_run(&whole, "whole", &call, "out");
    remove_run("out");

    leave_output();
    FILE *f = fopen(in_root("out/more"), "wb");
    assert_true(f && !fclose(f));
    must_refuse(&call);
    call.q.force = true;
    assert_int_equal(calibrate(&call, "out"), WOQ_OK);
    assert_logged(&call, "going on behind 4 layers");
    assert_false(exists(WORK) || exists("out/more"));
    assert_same_run(&whole, "whole", &call, "out");
    remove_run("whole");
    remove_run("out");
}

static int begin_deep(void **state)
{
    struct tiny_model deep = tiny;
    const int failed = begin(state);
    deep.layers = 4;
    write_model("deep", &deep);
    for (uint32_t l = 0; l < deep.layers; l++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%u.input_layernorm.weight", l);
        scale_tensor("deep", name, 5, 3, 6);
        snprintf(name, sizeof name, "model.layers.%u.mlp.up_proj.weight", l);
        scale_tensor("deep", name, 17 * HIDDEN, 2 * HIDDEN, 6);
    }
    return failed;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopped),          cmocka_unit_test(test_stopped_while_writing),
        cmocka_unit_test(test_other_parameters), cmocka_unit_test(test_other_configuration),
        cmocka_unit_test(test_broken_layer),     cmocka_unit_test(test_killed),
        cmocka_unit_test(test_killed_behind_output)};
    if (!WOQ_HAVE_CALIBRATION) {
        puts("skip: this build has no calibration");
        return TEST_SKIPPED;
    }
    if (argc == 3)
        return be_child(argv[1], argv[2]);
    return cmocka_run_group_tests(tests, begin_deep, end);
}
