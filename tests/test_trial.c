/*
 * test_trial.c: kernels that a driver may not survive are used after a trial alone. The reference backend stands for
 * such a driver: it is made to take the kernels for VNNI, and computes them well, wrongly, or not to the end. Then the
 * program's trials, on PoCL behind a layer (driver_layer.c) by which it is of an unknown version.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/backend.h"
#include "core/blocks.h"
#include "core/trial.h"
#include "support/device.h"

static char folder[64]; /* of the cache */

/* ---- the library ---- */

static enum { HONEST, LIES, ABORTS } conduct; /* with zero points in groups of 32 */
static unsigned products;

static bool takes_vnni(struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t size)
{
    if (woqi_kernel_is_fixed(key.id) && key.block == WOQI_BLOCK_VNNI && device->tried >> WOQ_DOT_VNNI & 1u)
        return true;
    return woqi_backend_reference.kernel_probe(device, key, reason, size);
}

static enum woq_status submit(struct woqi_sequence *sequence, uint32_t instance, const struct woqi_step *steps)
{
    struct woqi_step *copy = malloc(sequence->count * sizeof *copy);
    struct woqi_kernel fixed;
    assert_non_null(copy);
    memcpy(copy, steps, sequence->count * sizeof *copy);
    for (uint32_t i = 0; i < sequence->count; i++) {
        if (!copy[i].kernel || copy[i].kernel->key.block != WOQI_BLOCK_VNNI ||
            copy[i].kernel->key.id == WOQI_KERNEL_XFIXED)
            continue;
        products++;
        const bool bad = WOQ_FLAG_ZERO(copy[i].args.flags) == WOQ_ABI_ZERO_POINT && copy[i].args.group == 32;
        if (bad && conduct == ABORTS)
            _exit(3); /* whatever ends a process */
        copy[i].args.k -= bad && conduct == LIES ? 8 : 0;
        /* The reference has one of the three that give the same bits, and floor for X that is not prepared. */
        fixed = *copy[i].kernel;
        fixed.key.id = fixed.key.id == WOQI_KERNEL_FIXED_ROW ? WOQI_KERNEL_FLOOR : WOQI_KERNEL_FIXED;
        copy[i].kernel = &fixed;
    }
    const enum woq_status st = woqi_backend_reference.sequence_submit(sequence, instance, copy);
    free(copy);
    return st;
}

static struct woq_device *open_doubted(const char *cache, const char *driver)
{
    static struct woqi_backend backend;
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    params.cache_dir = cache;
    params.emulate = "";
    backend = woqi_backend_reference;
    backend.kernel_probe = takes_vnni;
    backend.sequence_submit = submit;
    assert_int_equal(woq_device_open("reference", &params, &device), WOQ_OK);
    device->backend = &backend;
    device->doubted = 1u << WOQ_DOT_VNNI | 1u << WOQ_DOT_AVX2;
    snprintf(device->doubted_key, sizeof device->doubted_key, "%s", driver);
    return device;
}

/* The verdict on VNNI as a device opened now has it; nothing is known of AVX2. */
static struct woq_trial verdict(const char *driver)
{
    struct woq_trial all[4];
    size_t count = 4, none = 0, number = 0;
    struct woq_device *device = open_doubted(folder, driver);
    assert_int_equal(woq_device_trials(device, NULL, &number), WOQ_OK);
    assert_int_equal(woq_device_trials(device, all, &none), WOQ_OK);
    assert_int_equal(woq_device_trials(device, all, &count), WOQ_OK);
    assert_true(number == 2 && none == 0 && count == 2);
    assert_string_equal(all[0].instructions, "VNNI");
    assert_string_equal(all[1].instructions, "AVX2");
    assert_int_equal(all[1].state, WOQ_TRIAL_NONE);
    assert_int_equal(woqi_trials_passed(device), all[0].state == WOQ_TRIAL_PASSED ? 1u << WOQ_DOT_VNNI : 0);
    assert_true(test_close(&device));
    return all[0];
}

static struct woq_trial try_here(void)
{
    struct woq_trial trial;
    struct woq_device *device = open_doubted(folder, "driver 1");
    assert_int_equal(woq_device_try(device, "VNNI", &trial), WOQ_OK);
    assert_int_equal(device->tried, 0);
    assert_true(test_close(&device));
    const struct woq_trial kept = verdict("driver 1");
    assert_int_equal(kept.state, trial.state);
    assert_string_equal(kept.found, trial.found);
    return trial;
}

static void test_liar(void **state)
{
    (void)state;
    assert_int_equal(verdict("driver 1").state, WOQ_TRIAL_NONE);
    conduct = LIES;
    const struct woq_trial trial = try_here();
    assert_int_equal(trial.state, WOQ_TRIAL_FAILED);
    assert_int_equal(strncmp(trial.found, "fixed_row_u4_VNNI_f32_point_unit: y[", 36), 0);
    assert_non_null(strstr(trial.found, ", must be "));
}

static void test_honest(void **state)
{
    (void)state;
    conduct = HONEST;
    products = 0;
    assert_int_equal(try_here().state, WOQ_TRIAL_PASSED);
    /* 2 codes, 3 zeros, 3 scales, 3 sizes of groups: fixed_row, fixed with one row and many, fixed_tile with many */
    assert_int_equal(products, 2 * 3 * 3 * 3 * 4);
    assert_int_equal(verdict("driver 2").state, WOQ_TRIAL_NONE);
}

/* The verdict is there although nobody was left to write it. */
static void test_end(void **state)
{
    int status = 0;
    (void)state;
    conduct = ABORTS;
    const pid_t child = fork();
    if (!child) {
        struct woq_device *device = open_doubted(folder, "driver 1");
        woq_device_try(device, "VNNI", NULL);
        _exit(0);
    }
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    const struct woq_trial trial = verdict("driver 1");
    assert_int_equal(trial.state, WOQ_TRIAL_FAILED);
    assert_string_equal(trial.found, "fixed_row_u4_VNNI_f32_point_unit: ended the process, or did not end");
}

static void test_arguments(void **state)
{
    size_t count = 3;
    (void)state;
    struct woq_device *device = open_doubted("", "driver 1");
    test_expect_errors(true);
    assert_int_equal(woq_device_trials(NULL, NULL, &count), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(count, 0);
    assert_int_equal(woq_device_trials(device, NULL, NULL), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_device_try(NULL, "VNNI", NULL), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_device_try(device, NULL, NULL), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_device_try(device, "VBMI", NULL), WOQ_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(woq_last_message(), "'VBMI'"));
    assert_int_equal(woq_device_try(device, "VNNI", NULL), WOQ_ERROR_UNSUPPORTED);
    assert_non_null(strstr(woq_last_message(), "no cache"));
    test_expect_errors(false);
    assert_true(test_close(&device));
}

/* ---- the program ---- */

static char output[32768];

/* Runs `woq` with what the layer hides, this fault and its caches in `folder`/`caches`; false if it did not succeed. */
static bool run_disguised(const char *disguise, const char *caches, const char *fault, const char *arguments)
{
    char command[1200];
    snprintf(command, sizeof command,
             "OPENCL_LAYERS='%s' WOQ_TEST_DISGUISE=%s WOQ_TEST_LAYER='%s' POCL_CACHE_DIR=%s/pocl "
             "XDG_CACHE_HOME=%s/%s WOQ_EMULATE=fixed=avx2 VK_DRIVER_FILES=/none '%s' %s 2>&1",
             getenv("WOQ_DRIVER_LAYER"), disguise, fault, folder, folder, caches, getenv("WOQ_PROGRAM"), arguments);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    const size_t size = fread(output, 1, sizeof output - 1, out);
    output[size] = 0;
    return !pclose(out);
}

static bool run_program(const char *caches, const char *fault, const char *arguments)
{
    return run_disguised("version", caches, fault, arguments);
}

static void skip_without_pocl(void)
{
    if (getenv("WOQ_PROGRAM") && getenv("WOQ_DRIVER_LAYER") && run_program("none", "", "devices") &&
        strstr(output, "Portable Computing Language 99.0") && strstr(output, "in doubt    kernels for AVX2: not used"))
        return;
    if (getenv("WOQ_DRIVER_LAYER") && test_is_required("opencl") && test_cpu_has_avx2())
        fail_msg("no PoCL of an unknown version as opencl:1: %s", output);
    printf("SKIPPED: no PoCL as opencl:1, behind a loader with layers, on a CPU with AVX2\n");
    skip();
}

/* Version, compiler and CPU must each be known: a set that ran on one CPU can end the process on another. */
static void test_unknown(void **state)
{
    static const char *const disguises[] = {"version", "compiler", "cpu"};
    static const char explain[] = "explain --device opencl:1 --n 64 --k 128 --m 1 --format w4g128 --math fixed16";
    (void)state;
    skip_without_pocl();
    for (size_t i = 0; i < sizeof disguises / sizeof *disguises; i++) {
        assert_true(run_disguised(disguises[i], "none", "", "devices"));
        assert_non_null(strstr(output, "in doubt    kernels for AVX2: not used"));
        assert_false(run_disguised(disguises[i], "none", "", explain));
        assert_non_null(strstr(output, "has no AVX2"));
    }
    assert_true(run_disguised("none", "none", "", "devices"));
    if (!strstr(output, "cpu-haswell-") && !strstr(output, "cpu-skylake-avx512-"))
        return;
    assert_null(strstr(output, "in doubt"));
    assert_true(run_disguised("none", "none", "", explain));
    assert_non_null(strstr(output, "fixed_row_u4_AVX2"));
}

/* The trial's line ends so, and the product that follows is `planned` by these instructions. */
static void check_trial(const char *caches, const char *fault, const char *arguments, const char *line, bool planned)
{
    assert_true(run_program(caches, fault, arguments));
    if (!strstr(output, line)) {
        print_error("wanted '%s' in\n%s\n", line, output);
        fail();
    }
    const bool done = run_program(caches, "",
                                  "explain --device opencl:1 --n 64 --k 128 --m 1 --format w4g128 "
                                  "--math fixed16");
    assert_true(done == planned);
    assert_non_null(strstr(output, planned ? "fixed_row_u4_AVX2" : "has no AVX2"));
}

static void test_program(void **state)
{
    static const char tries[] = "opencl:1: trying kernels for AVX2: ";
    char line[200];
    (void)state;
    skip_without_pocl();
    snprintf(line, sizeof line, "%srefused: the driver or this program crashed: signal 6", tries);
    check_trial("own", "abort:-DWOQ_DOT=2 -DWOQ_ZERO=2", "devices --try", line, false);
    assert_true(run_program("own", "", "devices"));
    assert_non_null(strstr(output, "refused     kernels for AVX2: fixed_row_u4_AVX2_f32_point: ended the process"));
    snprintf(line, sizeof line, "%srefused: the driver did not come back in time", tries);
    check_trial("own", "hang:-DWOQ_DOT=2 -DWOQ_ZERO=2", "devices --try --seconds 20", line, false);
    if (TEST_LONG) { /* compiles all kernels, a minute and a half */
        snprintf(line, sizeof line, "%spassed", tries);
        check_trial("own", "", "devices --try", line, true);
    }
    snprintf(line, sizeof line, "%srefused: fixed_row_u4_AVX2_f32_point: y[", tries);
    check_trial("lies", "lie:-DWOQ_DOT=2 -DWOQ_ZERO=2", "devices --try --json", line, false);
    snprintf(line, sizeof line, "%srefused: fixed_row_u4_AVX2_f32_point: ", tries);
    check_trial("refuses", "refuse:-DWOQ_DOT=2 -DWOQ_ZERO=2", "devices --try", line, false);
    assert_true(run_program("refuses", "", "devices --json"));
    assert_non_null(strstr(output, "\"state\": \"failed\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_liar),    cmocka_unit_test(test_honest),
                                       cmocka_unit_test(test_end),     cmocka_unit_test(test_arguments),
                                       cmocka_unit_test(test_unknown), cmocka_unit_test(test_program)};
    char command[96];
    snprintf(folder, sizeof folder, "/tmp/woq-trial-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) || failed || test_error_count();
}
