/*
 * test_faults_opencl.c: OpenCL calls fail, one at a time, on every driver that is there. Each gives its
 * status and a message that names it; everything can be destroyed; nothing is left, neither memory nor
 * references to OpenCL's objects; and the next device works.
 *
 * The faults come from a layer, faults/fault_opencl.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dlfcn.h>

#include "faults/fault_life.h"
#include "faults/fault_opencl.h"
#include "faults/opencl_app.h"

static struct fault_control *(*get_control)(void);
static int64_t (*get_balance)(char *words, size_t size, unsigned *built);

static struct test_log_text {
    char text[16384]; /* errors and warnings, one after the other */
} logged;

static void keep_log(void *user, enum woq_log_level level, const char *message)
{
    struct test_log_text *to = user;
    const size_t used = strlen(to->text);
    if (level == WOQ_LOG_ERROR || level == WOQ_LOG_WARNING)
        snprintf(to->text + used, sizeof(to->text) - used, "%s\n", message);
}

static int64_t applications; /* references that the application holds */

static int64_t balance(char *words, size_t size)
{
    return get_balance(words, size, NULL) - applications;
}

static unsigned built(void)
{
    char words[256];
    unsigned count = 0;
    get_balance(words, sizeof(words), &count);
    return count;
}

static enum woq_status open_selector(void *user, const struct woq_device_params *params,
                                     struct woq_device **out)
{
    return woq_device_open(user, params, out);
}

/* A life on the device with an empty cache folder of its own. */
static void begin(const char *selector, char folder[64], struct fault_life *life)
{
    fault_life_create(life);
    snprintf(folder, 64, "/tmp/woq-faults-XXXXXX");
    assert_non_null(mkdtemp(folder));
    life->open = open_selector;
    life->user = (void *)(uintptr_t)selector;
    life->control = get_control();
    life->balance = balance;
    life->cache_dir = folder;
    life->log = keep_log;
    life->log_user = &logged;
    logged.text[0] = 0;
}

static void end(char folder[64], struct fault_life *life)
{
    char command[128];
    fault_arm(life->control, NULL, 0, -1);
    assert_int_equal(fault_life_run(life), WOQ_OK); /* the next device works */
    fault_life_destroy(life);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* ---- sweeps ---- */

/* Calls whose failure costs a fact or a cached binary, at times the device, but not always. */
static bool is_query(const char *name)
{
    static const char *const names[] = {"clGetPlatformIDs", "clGetPlatformInfo", "clGetDeviceIDs",
                                        "clGetDeviceInfo"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!strcmp(name, names[i]))
            return true;
    return false;
}

/* Calls that the library does without. */
static bool is_spare(const struct fault_life *life)
{
    static const char *const names[] = {"clCreateProgramWithBinary", "clGetProgramInfo",
                                        "clGetProgramBuildInfo", "clFinish"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (!strcmp(life->control->failed, names[i]))
            return true;
    return false;
}

static bool names_call(const struct fault_life *life)
{
    return strstr(life->message, life->control->failed) != NULL;
}

static bool judge_usual(const struct fault_life *life)
{
    const enum woq_status st = life->first;
    if (is_query(life->control->failed))
        return !st || st == WOQ_ERROR_NO_DEVICE ||
               ((st == WOQ_ERROR_OUT_OF_DEVICE_MEMORY || st == WOQ_ERROR_DRIVER) && names_call(life));
    if (is_spare(life))
        return !st;
    static const struct {
        const char *name;
        enum woq_status status;
    } table[] = {{"clCreateContext", WOQ_ERROR_OUT_OF_MEMORY},
                 {"clCreateCommandQueue", WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
                 {"clGetCommandQueueInfo", WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
                 {"clCreateBuffer", WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
                 {"clCreateProgramWithSource", WOQ_ERROR_OUT_OF_MEMORY},
                 {"clCreateKernel", WOQ_ERROR_DRIVER},
                 {"clSetKernelArg", WOQ_ERROR_DRIVER},
                 {"clGetEventProfilingInfo", WOQ_ERROR_DRIVER},
                 {"clEnqueueReadBuffer", WOQ_ERROR_DEVICE_LOST},
                 {"clEnqueueWriteBuffer", WOQ_ERROR_DEVICE_LOST},
                 {"clEnqueueCopyBuffer", WOQ_ERROR_DEVICE_LOST},
                 {"clEnqueueNDRangeKernel", WOQ_ERROR_DEVICE_LOST},
                 {"clEnqueueMarkerWithWaitList", WOQ_ERROR_DEVICE_LOST},
                 {"clFlush", WOQ_ERROR_DEVICE_LOST},
                 {"clWaitForEvents", WOQ_ERROR_DEVICE_LOST},
                 {"clGetEventInfo", WOQ_ERROR_DEVICE_LOST}};
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (!strcmp(life->control->failed, table[i].name))
            return st == table[i].status && names_call(life);
    /* A binary that the driver took and then refuses to build is made anew from source. */
    return !strcmp(life->control->failed, "clBuildProgram") && !st;
}

static bool judge_memory(const struct fault_life *life)
{
    const enum woq_status st = life->first;
    if (is_query(life->control->failed))
        return !st || st == WOQ_ERROR_NO_DEVICE ||
               ((st == WOQ_ERROR_OUT_OF_MEMORY || st == WOQ_ERROR_DRIVER) && names_call(life));
    if (is_spare(life) || !strcmp(life->control->failed, "clBuildProgram") ||
        !strcmp(life->control->failed, "clWaitForEvents"))
        return !st;
    return st == WOQ_ERROR_OUT_OF_MEMORY && names_call(life);
}

static void test_sweep(void **state)
{
    struct fault_life life;
    char folder[64];
    begin(*state, folder, &life);
    fault_arm(life.control, NULL, 0, -1);
    assert_int_equal(fault_life_run(&life), WOQ_OK); /* fills the cache */
    assert_true(fault_life_sweep(&life, 0, judge_usual) > 50);
    end(folder, &life);
}

static void test_sweep_memory(void **state)
{
    struct fault_life life;
    char folder[64];
    begin(*state, folder, &life);
    fault_arm(life.control, NULL, 0, -1);
    assert_int_equal(fault_life_run(&life), WOQ_OK);
    life.retry = true;
    fault_life_sweep(&life, CL_OUT_OF_HOST_MEMORY, judge_memory);
    end(folder, &life);
}

/* ---- guest mode ---- */

static enum woq_status open_guest(void *user, const struct woq_device_params *params,
                                  struct woq_device **out)
{
    const struct woq_opencl_params guest = opencl_app_guest(user);
    return woq_opencl_device_open(&guest, params, out);
}

/* With X imported once more, and an event for the end. The application's own calls do not fail. */
static enum woq_status record_guest(struct fault_life *life, const struct woq_binding *bindings,
                                    size_t count)
{
    const struct opencl_app *app = life->user;
    struct woq_buffer *x = NULL;
    struct woq_binding b[6];
    cl_event done = NULL;
    assert_int_equal(count, 6);
    memcpy(b, bindings, sizeof(b));
    enum woq_status st = woq_opencl_buffer_import(life->o.device, woq_opencl_buffer(life->o.x), 0, &x);
    if (st)
        return st;
    b[1].view.buffer = x;
    st = woq_opencl_record(life->o.commands, b, count, app->queue, 0, NULL, &done);
    woq_buffer_destroy(&x);
    assert_true((done != NULL) == (st == WOQ_OK));
    const int64_t countdown = life->control->countdown;
    fault_disarm(life->control);
    assert_int_equal(clFinish(app->queue), CL_SUCCESS);
    if (done)
        assert_int_equal(clReleaseEvent(done), CL_SUCCESS);
    life->control->countdown = countdown;
    return st;
}

/* An application on the device with this selector. */
static struct opencl_app create_app(const char *selector)
{
    struct woq_device *device = NULL;
    struct woq_buffer *buffer = NULL;
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    char words[256];
    cl_context context = NULL;
    cl_device_id id = NULL;
    params.size = 64;
    assert_int_equal(woq_device_open(selector, NULL, &device), WOQ_OK);
    assert_int_equal(woq_buffer_create(device, &params, &buffer), WOQ_OK);
    clGetMemObjectInfo(woq_opencl_buffer(buffer), CL_MEM_CONTEXT, sizeof context, &context, NULL);
    clGetContextInfo(context, CL_CONTEXT_DEVICES, sizeof id, &id, NULL);
    woq_buffer_destroy(&buffer);
    woq_device_destroy(&device);
    const struct opencl_app app = opencl_app_create(id);
    applications = get_balance(words, sizeof(words), NULL);
    return app;
}

static bool judge_guest(const struct fault_life *life)
{
    static const struct {
        const char *name;
        enum woq_status status;
    } table[] = {{"clRetainContext", WOQ_ERROR_OUT_OF_MEMORY},
                 {"clRetainDevice", WOQ_ERROR_OUT_OF_MEMORY},
                 {"clRetainCommandQueue", WOQ_ERROR_OUT_OF_MEMORY},
                 {"clRetainMemObject", WOQ_ERROR_OUT_OF_MEMORY},
                 {"clGetContextInfo", WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
                 {"clGetMemObjectInfo", WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
                 {"clEnqueueBarrierWithWaitList", WOQ_ERROR_DEVICE_LOST}};
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (!strcmp(life->control->failed, table[i].name))
            return life->first == table[i].status && names_call(life);
    return judge_usual(life);
}

static void test_sweep_guest(void **state)
{
    struct fault_life life;
    char folder[64];
    struct opencl_app app = create_app(*state);
    begin(*state, folder, &life);
    life.open = open_guest;
    life.record = record_guest;
    life.user = &app;
    fault_arm(life.control, NULL, 0, -1);
    assert_int_equal(fault_life_run(&life), WOQ_OK);
    assert_true(fault_life_sweep(&life, 0, judge_guest) > 50);
    end(folder, &life);
    opencl_app_destroy(&app);
    applications = 0;
}

static void test_list(void **state)
{
    (void)state;
    fault_list_sweep(get_control(), balance);
}

/* ---- single calls ---- */

static void test_build(void **state)
{
    struct fault_life life;
    char folder[64];
    begin(*state, folder, &life);
    fault_life_expect(&life, "clBuildProgram", 0, 0, WOQ_ERROR_COMPILE, "CL_BUILD_PROGRAM_FAILURE");
    assert_non_null(strstr(life.message, "clBuildProgram"));
    assert_non_null(strstr(logged.text, "woq_no_such_type")); /* the compiler's own words */

    /* The failure is remembered, with its log, until the folder is cleared. */
    const unsigned before = built();
    logged.text[0] = 0;
    fault_arm(life.control, NULL, 0, -1);
    assert_int_equal(fault_life_run(&life), WOQ_ERROR_COMPILE);
    assert_non_null(strstr(life.message, "known to refuse"));
    assert_non_null(strstr(logged.text, "woq_no_such_type"));
    assert_int_equal(built(), before);
    life.cache_dir = "";
    assert_int_equal(fault_life_run(&life), WOQ_OK);
    fault_life_expect(&life, "clBuildProgram", 0, 0, WOQ_ERROR_COMPILE, "clBuildProgram");
    assert_int_equal(fault_life_run(&life), WOQ_OK); /* nothing was remembered */
    end(folder, &life);
}

/* Other failures of a build are of the moment, and not remembered. */
static void test_build_again(void **state)
{
    struct fault_life life;
    char folder[64];
    begin(*state, folder, &life);
    fault_life_expect(&life, "clBuildProgram", CL_OUT_OF_HOST_MEMORY, 0, WOQ_ERROR_OUT_OF_MEMORY,
                      "clBuildProgram");
    fault_life_expect(&life, "clBuildProgram", CL_OUT_OF_RESOURCES, 0,
                      WOQ_ERROR_OUT_OF_DEVICE_MEMORY, "clBuildProgram");
    fault_life_expect(&life, "clCreateProgramWithSource", 0, 0, WOQ_ERROR_OUT_OF_MEMORY,
                      "clCreateProgramWithSource");
    fault_life_expect(&life, "clGetProgramBuildInfo", 0, 0, WOQ_OK, NULL);
    end(folder, &life);
}

/* A cached binary that the driver refuses is dropped, and the program is built again. */
static void test_binary(void **state)
{
    struct fault_life life;
    char folder[64];
    begin(*state, folder, &life);
    fault_arm(life.control, NULL, 0, -1);
    assert_int_equal(fault_life_run(&life), WOQ_OK);
    unsigned before = built();
    assert_true(before > 0);
    assert_int_equal(fault_life_run(&life), WOQ_OK);
    assert_int_equal(built(), before); /* all from binaries */
    fault_life_expect(&life, "clCreateProgramWithBinary", 0, 0, WOQ_OK, NULL);
    assert_int_equal(built(), before + 1);
    fault_life_expect(&life, "clBuildProgram", CL_INVALID_BINARY, 0, WOQ_OK, NULL);
    assert_int_equal(built(), before + 2);
    fault_arm(life.control, NULL, 0, -1);
    assert_int_equal(fault_life_run(&life), WOQ_OK);
    assert_int_equal(built(), before + 2); /* stored anew */
    end(folder, &life);
}

/* A driver that says it is NVIDIA's and takes no PTX: other kernels run. */
static void test_ptx(void **state)
{
    struct fault_life life;
    char folder[64];
    begin(*state, folder, &life);
    fault_arm(life.control, NULL, 0, -1);
    life.control->nvidia = true;
    assert_int_equal(fault_life_run(&life), WOQ_OK);
#if WOQ_HAVE_CUDA /* which compiles it */
    assert_non_null(strstr(logged.text, "clCreateProgramWithBinary(PTX)"));
    assert_non_null(strstr(logged.text, "matrix units are not used"));
#endif
    end(folder, &life);
}

static void test_memory(void **state)
{
    struct fault_life life;
    char folder[64];
    begin(*state, folder, &life);
    static const struct {
        const char *name;
        int code;
        enum woq_status want;
    } cases[] = {
        {"clCreateBuffer", CL_MEM_OBJECT_ALLOCATION_FAILURE, WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
        {"clCreateBuffer", CL_OUT_OF_HOST_MEMORY, WOQ_ERROR_OUT_OF_MEMORY},
        {"clCreateBuffer", CL_INVALID_BUFFER_SIZE, WOQ_ERROR_DRIVER},
        {"clCreateContext", CL_DEVICE_NOT_AVAILABLE, WOQ_ERROR_DEVICE_LOST},
        {"clCreateKernel", CL_OUT_OF_RESOURCES, WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
        {"clEnqueueWriteBuffer", CL_MEM_OBJECT_ALLOCATION_FAILURE, WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
        {"clEnqueueNDRangeKernel", CL_MEM_OBJECT_ALLOCATION_FAILURE, WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
        {"clEnqueueNDRangeKernel", CL_INVALID_WORK_GROUP_SIZE, WOQ_ERROR_DRIVER},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        fault_life_expect(&life, cases[i].name, cases[i].code, 0, cases[i].want, cases[i].name);
    end(folder, &life);
}

/* Work that fails on the device, and a device that answers no more. */
static void test_lost(void **state)
{
    struct fault_life life;
    char folder[64];
    begin(*state, folder, &life);
    fault_life_expect(&life, "clEnqueueNDRangeKernel", CL_OUT_OF_RESOURCES, 0, WOQ_ERROR_DEVICE_LOST,
                      "clEnqueueNDRangeKernel: CL_OUT_OF_RESOURCES");
    fault_life_expect(&life, "clEnqueueNDRangeKernel", -9999, 0, WOQ_ERROR_DEVICE_LOST, "error -9999");
    fault_life_expect(&life, "clFlush", CL_INVALID_COMMAND_QUEUE, 0, WOQ_ERROR_DEVICE_LOST, "clFlush");
    fault_life_expect(&life, "clWaitForEvents", CL_OUT_OF_RESOURCES, 0, WOQ_ERROR_DEVICE_LOST,
                      "clWaitForEvents");
    fault_life_expect(&life, FAULT_EVENT_STATUS, CL_OUT_OF_RESOURCES, 0, WOQ_ERROR_DEVICE_LOST,
                      "CL_OUT_OF_RESOURCES");
    fault_life_expect(&life, FAULT_EVENT_STATUS, CL_MEM_OBJECT_ALLOCATION_FAILURE, 0,
                      WOQ_ERROR_OUT_OF_DEVICE_MEMORY, "CL_MEM_OBJECT_ALLOCATION_FAILURE");
    fault_life_expect(&life, FAULT_EVENT_STATUS, -5000, 0, WOQ_ERROR_DRIVER, "error -5000");

    /* Not the library's wait, but the work: it is over, and asking again does not help. */
    fault_arm(life.control, FAULT_EVENT_STATUS, CL_OUT_OF_HOST_MEMORY, 0);
    life.control->sticky = true;
    assert_int_equal(fault_life_run(&life), WOQ_ERROR_DRIVER);

    /* Every call fails from then on, as after a fault on a GPU. */
    static const char *const first[] = {"clEnqueueNDRangeKernel", "clWaitForEvents", "clFlush"};
    for (size_t i = 0; i < sizeof(first) / sizeof(*first); i++) {
        fault_arm(life.control, first[i], CL_OUT_OF_RESOURCES, 0);
        life.control->sticky = true;
        assert_int_equal(fault_life_run(&life), WOQ_ERROR_DEVICE_LOST);
        fault_disarm(life.control);
    }
    end(folder, &life);
}

static void test_timeouts(void **state)
{
    const struct woq_device_params params = test_params();
    struct woq_device *device = test_try_open(*state, &params);
    assert_non_null(device);
    fault_timeouts(device);
    assert_true(test_close(&device));
}

/* ---- the program ---- */

static bool find_layer(void)
{
    void *layer = dlopen(WOQ_FAULT_LAYER, RTLD_NOW | RTLD_LOCAL);
    void *symbols[2] = {NULL, NULL};
    if (layer) {
        symbols[0] = dlsym(layer, "fault_opencl_control");
        symbols[1] = dlsym(layer, "fault_opencl_balance");
    }
    if (!symbols[0] || !symbols[1]) {
        fprintf(stderr, "FAILED: %s\n", dlerror());
        return false;
    }
    memcpy(&get_control, &symbols[0], sizeof(get_control));
    memcpy(&get_balance, &symbols[1], sizeof(get_balance));
    return true;
}

/* ocl-icd before 2.3 and other old loaders know no layers. */
static bool layer_works(const char *selector)
{
    struct woq_device *device = NULL;
    fault_arm(get_control(), "clCreateContext", 0, 0);
    const enum woq_status st = woq_device_open(selector, NULL, &device);
    fault_disarm(get_control());
    woq_device_destroy(&device);
    return st == WOQ_ERROR_OUT_OF_MEMORY;
}

struct devices {
    unsigned all, done, failures;
};

static void count_device(const char *selector, void *user)
{
    ((struct devices *)user)->all += !strncmp(selector, "opencl", 6);
}

/* Sweeps take long with some drivers, and are mostly of the library: two of them see one driver each. */
static void run_device(const char *selector, void *user)
{
    struct devices *d = user;
    void *state = (void *)(uintptr_t)selector;
    if (strncmp(selector, "opencl", 6))
        return;
    d->done++;
    if (!layer_works(selector)) {
        printf("FAILED: %s: the layer was not called\n", selector);
        d->failures++;
        return;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_sweep, state),
        cmocka_unit_test_prestate(test_list, state),
        cmocka_unit_test_prestate(test_build, state),
        cmocka_unit_test_prestate(test_build_again, state),
        cmocka_unit_test_prestate(test_binary, state),
        cmocka_unit_test_prestate(test_ptx, state),
        cmocka_unit_test_prestate(test_memory, state),
        cmocka_unit_test_prestate(test_lost, state),
        cmocka_unit_test_prestate(test_timeouts, state),
    };
    const struct CMUnitTest memory[] = {cmocka_unit_test_prestate(test_sweep_memory, state)};
    const struct CMUnitTest guest[] = {cmocka_unit_test_prestate(test_sweep_guest, state)};
    d->failures += (unsigned)cmocka_run_group_tests_name(selector, tests, NULL, NULL);
    if (d->done == 1)
        d->failures += (unsigned)cmocka_run_group_tests_name(selector, memory, NULL, NULL);
    if (d->done == d->all)
        d->failures += (unsigned)cmocka_run_group_tests_name(selector, guest, NULL, NULL);
}

int main(int argc, char **argv)
{
    struct devices d = {0, 0, 0};
    setvbuf(stdout, NULL, _IOLBF, 0);
    setenv("OPENCL_LAYERS", WOQ_FAULT_LAYER, 1); /* loaders read it at the first call */
    if (!find_layer())
        return 1;
    if (argc > 1) {
        d.all = 1;
        run_device(argv[1], &d);
    } else {
        test_each_selector(count_device, &d);
        test_each_selector(run_device, &d);
    }
    if (!d.done) {
        const char *required = getenv("WOQ_REQUIRE_BACKENDS");
        printf("SKIPPED: no OpenCL device\n");
        return required && strstr(required, "opencl") ? 1 : TEST_SKIPPED;
    }
    return d.failures != 0 || test_error_count() != 0;
}
