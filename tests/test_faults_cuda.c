/*
 * test_faults_cuda.c: calls of the CUDA driver fail, one at a time. Each gives its status and a message that names it;
 * everything can be destroyed; nothing is left, neither memory nor the driver's objects; and the next device works.
 *
 * On the driver of tests/host_cuda alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <woq/cuda.h>

#include "cuda/cu_backend.h"
#include "faults/cuda_app.h"
#include "faults/fault_life.h"

static enum woq_status open_own(void *user, const struct woq_device_params *params, struct woq_device **out)
{
    (void)user;
    return woq_device_open("cuda:0", params, out);
}

static enum woq_status open_guest(void *user, const struct woq_device_params *params, struct woq_device **out)
{
    struct woq_cuda_params guest = WOQ_CUDA_PARAMS_INIT;
    guest.context = ((const struct cuda_app *)user)->context;
    return woq_cuda_device_open(&guest, params, out);
}

/* With X imported once more. */
static enum woq_status record_guest(struct fault_life *life, const struct woq_binding *bindings, size_t count)
{
    struct cuda_app *app = life->user;
    struct woq_buffer *x = NULL;
    struct woq_binding b[6];
    assert_int_equal(count, 6);
    memcpy(b, bindings, sizeof b);
    enum woq_status st =
        woq_cuda_buffer_import(life->o.device, woq_cuda_buffer(life->o.x), LIFE_M * LIFE_K * 2, &x);
    if (st)
        return st;
    b[1].view.buffer = x;
    st = woq_cuda_record(life->o.commands, b, count, app->stream);
    cuda_app_synchronize(app, app->stream);
    woq_buffer_destroy(&x);
    return st;
}

static void begin(struct cuda_app *app, bool guest, struct fault_life *life)
{
    *app = cuda_app_create(0);
    fault_life_create(life);
    life->open = guest ? open_guest : open_own;
    life->record = guest ? record_guest : NULL;
    life->user = app;
    life->control = app->control;
    life->balance = cuda_app_balance;
    life->cache_dir = "";
    test_expect_errors(true);
    assert_int_equal(fault_life_run(life), WOQ_OK);
}

static void end(struct cuda_app *app, struct fault_life *life)
{
    fault_arm(life->control, NULL, 0, -1);
    test_expect_errors(false);
    assert_int_equal(fault_life_run(life), WOQ_OK); /* the next device works */
    fault_life_destroy(life);
    cuda_app_destroy(app);
}

/* ---- sweeps ---- */

/* What the library says in words of its own. */
static bool is_in_words(const struct fault_life *life)
{
    static const struct {
        const char *name, *words;
        enum woq_status status; /* OK: the usual one */
    } table[] = {
        {"cuEventSynchronize", "waiting for a run", WOQ_OK},
        {"cuEventQuery", "waiting for a run", WOQ_OK},
        {"cuStreamGetCtx", "stream is not one of the context", WOQ_ERROR_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(life->control->failed, table[i].name) && strstr(life->message, table[i].words))
            return life->first == (table[i].status ? table[i].status : woqi_cu_status(life->control->failed_code));
    return false;
}

/* Calls that tell of the device, or check what the next call checks, too: the library does without. */
static bool is_spare(const char *name)
{
    static const char *const names[] = {"cuDeviceGetAttribute", "cuDeviceGetCount", "cuDeviceGet", "cuStreamGetCtx"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

static bool judge(const struct fault_life *life)
{
    const struct fault_control *f = life->control;
    const char *name = NULL;
    const struct woqi_cu_api *api = ((const struct cuda_app *)life->user)->api;
    if (is_spare(f->failed) && !life->first)
        return true;
    if (!strcmp(f->failed, "cuDeviceGetAttribute") && strstr(life->message, "compute capability is"))
        return life->first == WOQ_ERROR_NO_DEVICE || life->first == WOQ_ERROR_UNSUPPORTED;
    if (is_in_words(life))
        return true;
    api->get_error_name((CUresult)f->failed_code, &name);
    return life->first == woqi_cu_status((CUresult)f->failed_code) && strstr(life->message, f->failed) && name &&
           strstr(life->message, name);
}

static void sweep(bool guest, int code, bool retry)
{
    struct cuda_app app;
    struct fault_life life;
    begin(&app, guest, &life);
    life.retry = retry;
    life.final = "cuEventSynchronize cuEventQuery"; /* they tell of work that has failed */
    assert_true(fault_life_sweep(&life, code, judge) > 50);
    life.retry = false;
    end(&app, &life);
}

static void test_sweep(void **state)
{
    (void)state;
    sweep(false, 0, false);
}

static void test_sweep_memory(void **state)
{
    (void)state;
    sweep(false, CUDA_ERROR_OUT_OF_MEMORY, true);
}

static void test_sweep_guest(void **state)
{
    (void)state;
    sweep(true, 0, false);
}

static void test_sweep_lost(void **state)
{
    (void)state;
    sweep(true, CUDA_ERROR_ILLEGAL_ADDRESS, false);
}

static void test_list(void **state)
{
    (void)state;
    struct cuda_app app = cuda_app_create(0);
    fault_list_sweep(app.control, cuda_app_balance);
    cuda_app_destroy(&app);
}

/* ---- single calls ---- */

/* The call fails from then on, as after a fault on a GPU. */
static void test_lost(void **state)
{
    static const char *const first[] = {"cuGraphLaunch", "cuEventRecord", "cuEventSynchronize",
                                        "cuGraphExecKernelNodeSetParams", "cuMemcpyHtoDAsync"};
    struct cuda_app app;
    struct fault_life life;
    (void)state;
    begin(&app, false, &life);
    for (size_t i = 0; i < sizeof first / sizeof *first; i++) {
        fault_arm(life.control, first[i], CUDA_ERROR_ILLEGAL_ADDRESS, 0);
        life.control->sticky = true;
        const enum woq_status st = fault_life_run(&life);
        if (st != WOQ_ERROR_DEVICE_LOST)
            fail_msg("%s: %s, %s", first[i], woq_status_string(st), life.message);
        assert_non_null(life.control->failed);
        fault_disarm(life.control);
    }
    end(&app, &life);
}

static void test_timeouts(void **state)
{
    struct cuda_app app = cuda_app_create(0);
    const struct woq_device_params params = test_params();
    struct woq_device *device = test_try_open("cuda:0", &params);
    (void)state;
    assert_non_null(device);
    fault_timeouts(device);
    assert_true(test_close(&device));
    cuda_app_destroy(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep),      cmocka_unit_test(test_sweep_memory), cmocka_unit_test(test_sweep_guest),
        cmocka_unit_test(test_sweep_lost), cmocka_unit_test(test_list),         cmocka_unit_test(test_lost),
        cmocka_unit_test(test_timeouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
