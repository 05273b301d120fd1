/*
 * test_guest_opencl.c: woq/opencl.h on an application's own context, queues and buffers, on every OpenCL
 * device that is there: what it refuses, what it records, and that the application's objects come back
 * as they were.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "faults/opencl_app.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/product.h"

static const char line[] = "code=u4,zero=point,group=16,n=33,k=64,m=9,max_m=16,x=f16,y=f16,bias=f32,"
                           "residual=own,data=random,y_pad=3";

static struct woq_device *open_guest(const struct woq_opencl_params *guest)
{
    const struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    assert_true(test_ok(woq_opencl_device_open(guest, &params, &device), "woq_opencl_device_open"));
    return device;
}

/* ---- a product on the application's buffers ---- */

struct rig {
    struct product p;
    struct woq_gemm *gemm;
    struct woq_commands *commands;
    struct woq_binding bindings[5];
    size_t count;
    cl_mem x, y;
    enum woq_math math;
};

/* Puts a cl_mem of the application, larger than needed, in the place of the region's buffer. */
static cl_mem import_region(const struct opencl_app *app, struct woq_device *device, struct test_region *r,
                            uint64_t size)
{
    cl_mem memory = opencl_app_memory(app, r->size + 64);
    woq_buffer_destroy(&r->buffer);
    EXPECT_OK(woq_opencl_buffer_import(device, memory, size, &r->buffer));
    assert_int_equal(woq_buffer_size(r->buffer), size ? size : r->size + 64);
    assert_ptr_equal(woq_opencl_buffer(r->buffer), memory);
    r->view.buffer = r->buffer;
    assert_true(region_reset(r));
    return memory;
}

static void rig_create(const struct opencl_app *app, struct woq_device *device, struct rig *r)
{
    struct test_case c;
    struct woq_explain e = {.struct_size = sizeof(e)};
    *r = (struct rig){.gemm = NULL};
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &r->p));
    r->x = import_region(app, device, &r->p.x, r->p.x.size);
    r->y = import_region(app, device, &r->p.y, 0);
    assert_true(product_gemm(&r->p, NULL, &r->gemm));
    assert_true(test_ok(woq_commands_create(device, NULL, &r->commands), "woq_commands_create"));
    assert_true(product_record(&r->p, r->gemm, r->commands, r->bindings, &r->count));
    assert_true(test_ok(woq_commands_end(r->commands), "woq_commands_end"));
    EXPECT_OK(woq_gemm_explain(r->gemm, (uint32_t)c.m, &e));
    r->math = e.math;
}

/* The woq objects alone. */
static void rig_destroy(struct rig *r)
{
    woq_commands_destroy(&r->commands);
    woq_gemm_destroy(&r->gemm);
    product_destroy(&r->p);
}

static void release_memory(struct rig *r)
{
    assert_int_equal(clReleaseMemObject(r->x), CL_SUCCESS);
    assert_int_equal(clReleaseMemObject(r->y), CL_SUCCESS);
}

static void run_once(struct rig *r)
{
    uint64_t ticket = 0;
    assert_true(region_reset(&r->p.y));
    EXPECT_OK(woq_commands_run(r->commands, r->bindings, r->count, &ticket));
    EXPECT_OK(woq_commands_wait(r->commands, ticket, WOQ_FOREVER));
    assert_true(product_check(&r->p, r->math));
}

static void record_once(struct rig *r, cl_command_queue queue)
{
    assert_true(region_reset(&r->p.y));
    EXPECT_OK(woq_opencl_record(r->commands, r->bindings, r->count, queue, 0, NULL, NULL));
    assert_int_equal(clFinish(queue), CL_SUCCESS);
    assert_true(product_check(&r->p, r->math));
}

/* ---- what works ---- */

static void test_products(void **state)
{
    struct opencl_app app = opencl_app_create(*state);
    struct woq_opencl_params guest = opencl_app_guest(&app);
    cl_command_queue other = opencl_app_queue(app.context, app.device, 0);
    cl_command_queue timed = opencl_app_queue(app.context, app.device, CL_QUEUE_PROFILING_ENABLE);
    struct rig r;
    struct woq_device *device = open_guest(&guest);
    assert_false(woq_device_get_info(device)->features & WOQ_FEATURE_TIMESTAMPS);
    rig_create(&app, device, &r);
    run_once(&r);
    record_once(&r, app.queue);
    record_once(&r, other);
    rig_destroy(&r);
    release_memory(&r);
    assert_true(test_close(&device));

    guest.queue = timed; /* a profiling queue brings timestamps; no queue, one of the library's own */
    device = open_guest(&guest);
    assert_true(woq_device_get_info(device)->features & WOQ_FEATURE_TIMESTAMPS);
    assert_true(test_close(&device));
    guest.queue = NULL;
    device = open_guest(&guest);
    rig_create(&app, device, &r);
    run_once(&r);
    record_once(&r, app.queue);
    rig_destroy(&r);
    release_memory(&r);
    assert_true(test_close(&device));
    clReleaseCommandQueue(other);
    clReleaseCommandQueue(timed);
    opencl_app_destroy(&app);
    test_expectations_met();
}

/* X is written once the gate opens, and the product waits for that; Y is read after its event. */
static void gated_record(const struct opencl_app *app, struct rig *r, cl_command_queue queue)
{
    const uint32_t zero = 0;
    cl_int code = CL_SUCCESS;
    cl_event gate = clCreateUserEvent(app->context, &code), written = NULL, done = NULL, read = NULL;
    assert_int_equal(code, CL_SUCCESS);
    assert_true(region_reset(&r->p.y));
    for (uint64_t at = 0; at + sizeof zero <= r->p.x.size; at += sizeof zero)
        assert_int_equal(clEnqueueWriteBuffer(app->queue, r->x, CL_FALSE, at, sizeof zero, &zero, 0,
                                              NULL, NULL), CL_SUCCESS);
    assert_int_equal(clFinish(app->queue), CL_SUCCESS);
    assert_int_equal(clEnqueueWriteBuffer(queue, r->x, CL_FALSE, 0, r->p.x.size, r->p.x.image, 1, &gate,
                                          &written), CL_SUCCESS);
    EXPECT_OK(woq_opencl_record(r->commands, r->bindings, r->count, queue, 1,
                                (struct _cl_event *const *)&written, &done));
    assert_non_null(done);
    uint8_t *y = malloc(r->p.y.size);
    assert_non_null(y);
    assert_int_equal(clEnqueueReadBuffer(queue, r->y, CL_FALSE, 0, r->p.y.size, y, 1, &done, &read),
                     CL_SUCCESS);
    assert_int_equal(clFlush(queue), CL_SUCCESS);
    assert_int_equal(clSetUserEventStatus(gate, CL_COMPLETE), CL_SUCCESS);
    assert_int_equal(clWaitForEvents(1, &read), CL_SUCCESS);
    assert_int_equal(clFinish(queue), CL_SUCCESS);
    assert_true(product_check(&r->p, r->math));
    assert_memory_equal(y, r->p.y.actual, r->p.y.size);
    free(y);
    clReleaseEvent(gate);
    clReleaseEvent(written);
    clReleaseEvent(done);
    clReleaseEvent(read);
}

static void test_events(void **state)
{
    struct opencl_app app = opencl_app_create(*state);
    const struct woq_opencl_params guest = opencl_app_guest(&app);
    struct woq_device *device = open_guest(&guest);
    cl_command_queue in_order = opencl_app_queue(app.context, app.device, 0);
    cl_command_queue out_of_order =
        opencl_app_queue(app.context, app.device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    struct rig r;
    rig_create(&app, device, &r);
    for (int i = 0; i < 3; i++) {
        gated_record(&app, &r, in_order);
        gated_record(&app, &r, out_of_order);
    }
    rig_destroy(&r);
    release_memory(&r);
    assert_true(test_close(&device));
    clReleaseCommandQueue(in_order);
    clReleaseCommandQueue(out_of_order);
    opencl_app_destroy(&app);
    test_expectations_met();
}

/* Reference counts go up while woq holds the objects and come back; and woq keeps what it needs. */
static void test_references(void **state)
{
    struct opencl_app app = opencl_app_create(*state);
    const struct woq_opencl_params guest = opencl_app_guest(&app);
    const cl_uint context = opencl_context_references(app.context);
    const cl_uint queue = opencl_queue_references(app.queue);
    struct woq_device *device = open_guest(&guest);
    struct rig r;
    assert_true(opencl_context_references(app.context) > context);
    assert_int_equal(opencl_queue_references(app.queue), queue + 1);
    rig_create(&app, device, &r);
    assert_true(opencl_memory_references(r.x) >= 2);
    run_once(&r);
    rig_destroy(&r);
    assert_int_equal(clFinish(app.queue), CL_SUCCESS);
    opencl_expect_references(r.x, 1);
    opencl_expect_references(r.y, 1);
    release_memory(&r);

    /* The application lets go first. */
    rig_create(&app, device, &r);
    release_memory(&r);
    run_once(&r);
    EXPECT_OK(woq_opencl_record(r.commands, r.bindings, r.count, app.queue, 0, NULL, NULL));
    rig_destroy(&r);
    assert_int_equal(clFinish(app.queue), CL_SUCCESS);
    assert_true(test_close(&device));
    opencl_expect_queue_references(app.queue, queue);
    assert_true(opencl_context_references(app.context) <= context + 1); /* some drivers' queues count */
    opencl_app_destroy(&app);
    test_expectations_met();
}

static void test_two_contexts(void **state)
{
    struct opencl_app apps[2] = {opencl_app_create(*state), opencl_app_create(*state)};
    struct woq_device *guests[2];
    struct rig rigs[2];
    for (int i = 0; i < 2; i++) {
        const struct woq_opencl_params guest = opencl_app_guest(&apps[i]);
        guests[i] = open_guest(&guest);
        rig_create(&apps[i], guests[i], &rigs[i]);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 2; i++) {
            run_once(&rigs[i]);
            record_once(&rigs[i], apps[i].queue);
        }
    struct woq_buffer *none = NULL;
    test_expect_errors(true);
    EXPECT_BAD("mem", woq_opencl_buffer_import(guests[0], rigs[1].x, 0, &none)); /* a foreign cl_mem */
    EXPECT_BAD("queue", woq_opencl_record(rigs[0].commands, rigs[0].bindings, rigs[0].count,
                                          apps[1].queue, 0, NULL, NULL));
    test_expect_errors(false);
    for (int i = 0; i < 2; i++) {
        rig_destroy(&rigs[i]);
        release_memory(&rigs[i]);
        woq_device_destroy(&guests[i]);
        opencl_app_destroy(&apps[i]);
    }
    assert_int_equal(test_heap_balance(test_main_heap()), 0);
    test_expectations_met();
}

/* ---- what is refused ---- */

static void test_open_refusals(void **state)
{
    struct opencl_app app = opencl_app_create(*state), second = opencl_app_create(*state);
    const struct woq_opencl_params good = opencl_app_guest(&app);
    struct woq_opencl_params guest = good;
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    test_expect_errors(true);
    EXPECT_BAD("guest", woq_opencl_device_open(NULL, &params, &device));
    EXPECT_BAD("out", woq_opencl_device_open(&guest, &params, NULL));
    guest.struct_size += 8;
    EXPECT_BAD("struct_size", woq_opencl_device_open(&guest, &params, &device));
    guest = good;
    guest.context = NULL;
    EXPECT_BAD("context", woq_opencl_device_open(&guest, &params, &device));
    guest = good;
    guest.device = NULL;
    EXPECT_BAD("device", woq_opencl_device_open(&guest, &params, &device));
    guest = good;
    params.struct_size++;
    EXPECT_BAD("struct_size", woq_opencl_device_open(&guest, &params, &device));
    params = test_params();
    if (opencl_device_count > 1) {
        guest.device = opencl_devices[opencl_devices[0] == app.device];
        guest.queue = NULL;
        EXPECT_BAD("device", woq_opencl_device_open(&guest, &params, &device));
        guest = good;
    } else {
        printf("one OpenCL device only: a device of another context is not tried\n");
    }
    guest.queue = second.queue;
    EXPECT_BAD("queue", woq_opencl_device_open(&guest, &params, &device));
    guest.queue = opencl_app_queue(app.context, app.device, CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE);
    EXPECT_BAD("in-order", woq_opencl_device_open(&guest, &params, &device));
    clReleaseCommandQueue(guest.queue);
    test_expect_errors(false);
    assert_null(device);
    opencl_app_destroy(&app);
    opencl_app_destroy(&second);
    test_expectations_met();
}

/* A context of two devices, one part of the other, with a queue for each. */
static void test_queue_of_other_device(void **state)
{
    struct opencl_app app = opencl_app_create(*state);
    const cl_device_partition_property equally[] = {CL_DEVICE_PARTITION_EQUALLY, 1, 0};
    cl_device_id parts[OPENCL_MAX_DEVICES], both[2] = {app.device};
    cl_uint count = 0;
    cl_int code = clCreateSubDevices(app.device, equally, OPENCL_MAX_DEVICES, parts, &count);
    if (!code)
        both[1] = parts[0];
    cl_context context = code ? NULL : clCreateContext(NULL, 2, both, NULL, NULL, &code);
    if (!context) {
        printf("the device has no parts (%d): a queue of another device is not tried\n", (int)code);
    } else {
        struct woq_opencl_params guest = WOQ_OPENCL_PARAMS_INIT;
        const struct woq_device_params params = test_params();
        struct woq_device *device = NULL;
        guest.context = context;
        guest.device = app.device;
        guest.queue = opencl_app_queue(context, parts[0], 0);
        test_expect_errors(true);
        EXPECT_BAD("queue", woq_opencl_device_open(&guest, &params, &device));
        test_expect_errors(false);
        clReleaseCommandQueue(guest.queue);
        clReleaseContext(context);
    }
    for (cl_uint i = 0; !code && i < count; i++)
        clReleaseDevice(parts[i]);
    opencl_app_destroy(&app);
    test_expectations_met();
}

static void test_import_refusals(void **state)
{
    struct opencl_app app = opencl_app_create(*state);
    const struct woq_opencl_params guest = opencl_app_guest(&app);
    struct woq_device *device = open_guest(&guest), *host = test_open("reference");
    cl_mem memory = opencl_app_memory(&app, 256);
    struct woq_buffer *buffer = NULL, *plain = NULL;
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    test_expect_errors(true);
    EXPECT_BAD("device", woq_opencl_buffer_import(NULL, memory, 0, &buffer));
    EXPECT_BAD("mem", woq_opencl_buffer_import(device, NULL, 0, &buffer));
    EXPECT_BAD("out", woq_opencl_buffer_import(device, memory, 0, NULL));
    EXPECT_BAD("size", woq_opencl_buffer_import(device, memory, 257, &buffer));
    EXPECT_BAD("device", woq_opencl_buffer_import(host, memory, 0, &buffer));
    test_expect_errors(false);
    assert_null(buffer);
    assert_int_equal(opencl_memory_references(memory), 1);
    params.size = 64;
    EXPECT_OK(woq_buffer_create(host, &params, &plain));
    assert_null(woq_opencl_buffer(plain));
    assert_null(woq_opencl_buffer(NULL));
    woq_buffer_destroy(&plain);
    EXPECT_OK(woq_opencl_buffer_import(device, memory, 256, &buffer));
    woq_buffer_destroy(&buffer);
    clReleaseMemObject(memory);
    woq_device_destroy(&host);
    assert_true(test_close(&device));
    opencl_app_destroy(&app);
    test_expectations_met();
}

static void test_record_refusals(void **state)
{
    struct opencl_app app = opencl_app_create(*state);
    struct woq_opencl_params guest = opencl_app_guest(&app);
    guest.queue = opencl_app_queue(app.context, app.device, CL_QUEUE_PROFILING_ENABLE);
    struct woq_device *device = open_guest(&guest), *host = test_open("reference");
    struct woq_commands *commands = NULL, *stamped = NULL, *foreign = NULL;
    struct rig r;
    cl_event event = (cl_event)&event;
    uint32_t slot;
    rig_create(&app, device, &r);
    EXPECT_OK(woq_commands_create(device, NULL, &commands));
    EXPECT_OK(woq_commands_create(device, NULL, &stamped));
    EXPECT_OK(woq_commands_timestamp(stamped, 3));
    EXPECT_OK(woq_commands_end(stamped));
    EXPECT_OK(woq_commands_create(host, NULL, &foreign));
    EXPECT_OK(woq_commands_slot_m(foreign, 1, &slot));
    EXPECT_OK(woq_commands_end(foreign));
    test_expect_errors(true);
    EXPECT_BAD("commands", woq_opencl_record(NULL, NULL, 0, app.queue, 0, NULL, NULL));
    EXPECT_BAD("queue", woq_opencl_record(r.commands, r.bindings, r.count, NULL, 0, NULL, &event));
    assert_null(event);
    EXPECT_BAD("wait_list", woq_opencl_record(r.commands, r.bindings, r.count, app.queue, 1, NULL, NULL));
    EXPECT(WOQ_ERROR_INVALID_STATE, "ended", woq_opencl_record(commands, NULL, 0, app.queue, 0, NULL, NULL));
    EXPECT(WOQ_ERROR_UNSUPPORTED, "timestamp",
           woq_opencl_record(stamped, NULL, 0, app.queue, 0, NULL, NULL));
    EXPECT_BAD("reference", woq_opencl_record(foreign, NULL, 0, app.queue, 0, NULL, NULL));
    EXPECT_BAD("slot", woq_opencl_record(r.commands, r.bindings, r.count - 1, app.queue, 0, NULL, NULL));
    EXPECT_BAD("bindings", woq_opencl_record(r.commands, NULL, 2, app.queue, 0, NULL, NULL));
    test_expect_errors(false);
    record_once(&r, app.queue); /* none of it did harm */
    rig_destroy(&r);
    release_memory(&r);
    woq_commands_destroy(&commands);
    woq_commands_destroy(&stamped);
    woq_commands_destroy(&foreign);
    woq_device_destroy(&host);
    assert_true(test_close(&device));
    clReleaseCommandQueue(guest.queue);
    opencl_app_destroy(&app);
    test_expectations_met();
}

int main(void)
{
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    opencl_find_devices();
    for (cl_uint i = 0; i < opencl_device_count; i++) {
        char name[128] = "";
        const struct CMUnitTest tests[] = {
            cmocka_unit_test_prestate(test_products, opencl_devices[i]),
            cmocka_unit_test_prestate(test_events, opencl_devices[i]),
            cmocka_unit_test_prestate(test_references, opencl_devices[i]),
            cmocka_unit_test_prestate(test_two_contexts, opencl_devices[i]),
            cmocka_unit_test_prestate(test_open_refusals, opencl_devices[i]),
            cmocka_unit_test_prestate(test_queue_of_other_device, opencl_devices[i]),
            cmocka_unit_test_prestate(test_import_refusals, opencl_devices[i]),
            cmocka_unit_test_prestate(test_record_refusals, opencl_devices[i]),
        };
        clGetDeviceInfo(opencl_devices[i], CL_DEVICE_VERSION, sizeof name - 1, name, NULL);
        failed += cmocka_run_group_tests_name(name, tests, NULL, NULL);
    }
    if (!opencl_device_count) {
        const char *required = getenv("WOQ_REQUIRE_BACKENDS");
        printf("SKIPPED: no OpenCL device\n");
        return required && strstr(required, "opencl") ? 1 : TEST_SKIPPED;
    }
    return failed != 0 || test_error_count() != 0;
}
