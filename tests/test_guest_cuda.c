/*
 * test_guest_cuda.c: woq/cuda.h on an application's own context, streams and memory: what it refuses, what it records,
 * in which order, and that what was current before is current again.
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

#include "faults/cuda_app.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/product.h"

/* A product whose M changes, and one for tensor maps of X. */
static const char *const lines[] = {
    "code=u4,zero=point,group=16,n=33,k=64,m=9,max_m=16,x=f16,y=f16,bias=f32,residual=own,data=random,y_pad=3",
    "code=u4,scale=f16,group=128,n=256,k=1024,m=130,max_m=200,x=f16,y=f16,data=integers",
};

static struct woq_device *open_guest(const struct cuda_app *app, CUstream stream)
{
    const struct woq_device_params params = test_params();
    const struct woq_cuda_params guest = {sizeof guest, app->context, stream};
    struct woq_device *device = NULL;
    assert_true(test_ok(woq_cuda_device_open(&guest, &params, &device), "woq_cuda_device_open"));
    return device;
}

/* ---- a product on the application's memory ---- */

struct rig {
    struct product p;
    struct woq_gemm *gemm;
    struct woq_commands *commands;
    struct woq_binding bindings[5];
    size_t count;
    CUdeviceptr x, y;
    enum woq_math math;
};

/* Puts memory of the application, larger than needed, in the place of the region's buffer, from byte 256 on. */
static CUdeviceptr import_region(struct cuda_app *app, struct woq_device *device, struct test_region *r)
{
    const CUdeviceptr memory = cuda_app_memory(app, r->size + 1024);
    woq_buffer_destroy(&r->buffer);
    EXPECT_OK(woq_cuda_buffer_import(device, memory + 256, r->size, &r->buffer));
    assert_int_equal(woq_buffer_size(r->buffer), r->size);
    assert_int_equal(woq_cuda_buffer(r->buffer), memory + 256);
    r->view.buffer = r->buffer;
    assert_true(region_reset(r));
    return memory;
}

static void rig_create(struct cuda_app *app, struct woq_device *device, const char *line, struct rig *r)
{
    struct test_case c;
    struct woq_explain e = {.struct_size = sizeof e};
    *r = (struct rig){.gemm = NULL};
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &r->p));
    r->x = import_region(app, device, &r->p.x);
    r->y = import_region(app, device, &r->p.y);
    assert_true(product_gemm(&r->p, NULL, &r->gemm));
    EXPECT_OK(woq_commands_create(device, NULL, &r->commands));
    assert_true(product_record(&r->p, r->gemm, r->commands, r->bindings, &r->count));
    EXPECT_OK(woq_commands_end(r->commands));
    EXPECT_OK(woq_gemm_explain(r->gemm, (uint32_t)c.m, &e));
    r->math = e.math;
}

static void rig_destroy(struct cuda_app *app, struct rig *r)
{
    woq_commands_destroy(&r->commands);
    woq_gemm_destroy(&r->gemm);
    product_destroy(&r->p);
    cuda_app_free(app, r->x);
    cuda_app_free(app, r->y);
}

static void run_once(struct rig *r)
{
    uint64_t ticket = 0;
    assert_true(region_reset(&r->p.y));
    EXPECT_OK(woq_commands_run(r->commands, r->bindings, r->count, &ticket));
    EXPECT_OK(woq_commands_wait(r->commands, ticket, WOQ_FOREVER));
    assert_true(product_check(&r->p, r->math));
}

/* X comes behind the zeros that are there, and the product behind it, all in the application's stream; nothing is done
 * before the application waits. */
static void record_once(struct cuda_app *app, struct rig *r, CUstream stream)
{
    const size_t bytes = (size_t)r->p.x.size;
    uint8_t *zeros = calloc(bytes, 1), *before = malloc((size_t)r->p.y.size), *after = malloc((size_t)r->p.y.size);
    CUcontext popped;
    assert_true(zeros && before && after);
    assert_true(region_reset(&r->p.y));
    EXPECT_OK(woq_buffer_write(r->p.x.buffer, 0, zeros, bytes));
    EXPECT_OK(woq_buffer_read(r->p.y.buffer, 0, before, r->p.y.size));
    assert_int_equal(app->api->ctx_push_current(app->context), CUDA_SUCCESS);
    assert_int_equal(app->api->memcpy_h_to_d_async(r->x + 256, r->p.x.image, bytes, stream), CUDA_SUCCESS);
    EXPECT_OK(woq_cuda_record(r->commands, r->bindings, r->count, stream));
    assert_int_equal(app->api->ctx_pop_current(&popped), CUDA_SUCCESS);
    EXPECT_OK(woq_buffer_read(r->p.y.buffer, 0, after, r->p.y.size));
    assert_memory_equal(before, after, r->p.y.size); /* recorded, and no more */
    cuda_app_synchronize(app, stream);
    assert_true(product_check(&r->p, r->math));
    free(zeros);
    free(before);
    free(after);
}

static void test_products(void **state)
{
    struct cuda_app app = cuda_app_create(0);
    CUstream other = cuda_app_stream(&app);
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct woq_device *device = open_guest(&app, own ? NULL : app.stream);
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            struct rig r;
            rig_create(&app, device, lines[i], &r);
            run_once(&r);
            record_once(&app, &r, other);
            run_once(&r);
            rig_destroy(&app, &r);
        }
        assert_true(test_close(&device));
    }
    cuda_app_end_stream(&app, other);
    cuda_app_destroy(&app);
    test_expectations_met();
}

/* Of two devices, in turns; what is one's the other refuses. */
static void test_two_contexts(void **state)
{
    struct cuda_app apps[2] = {cuda_app_create(0), cuda_app_create(1)};
    struct woq_device *devices[2];
    struct rig rigs[2];
    struct woq_buffer *none = NULL;
    (void)state;
    for (int i = 0; i < 2; i++) {
        devices[i] = open_guest(&apps[i], NULL);
        assert_int_equal(woq_device_get_info(devices[i])->index, i);
        assert_string_equal(woq_device_get_info(devices[i])->selector, i ? "cuda:1" : "cuda:0");
        rig_create(&apps[i], devices[i], lines[0], &rigs[i]);
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 2; i++) {
            run_once(&rigs[i]);
            record_once(&apps[i], &rigs[i], apps[i].stream);
        }
    test_expect_errors(true);
    EXPECT_BAD("another context", woq_cuda_buffer_import(devices[0], rigs[1].x, 256, &none));
    EXPECT_BAD("stream is not one of the device's context",
               woq_cuda_record(rigs[0].commands, rigs[0].bindings, rigs[0].count, apps[1].stream));
    test_expect_errors(false);
    for (int i = 0; i < 2; i++) {
        rig_destroy(&apps[i], &rigs[i]);
        woq_device_destroy(&devices[i]);
        cuda_app_destroy(&apps[i]);
    }
    assert_int_equal(test_heap_balance(test_main_heap()), 0);
    test_expectations_met();
}

static CUcontext current(const struct cuda_app *app)
{
    CUcontext context = NULL;
    assert_int_equal(app->api->ctx_get_current(&context), CUDA_SUCCESS);
    return context;
}

/* Whatever was current is so again; without a context the current one is taken. */
static void test_current(void **state)
{
    struct cuda_app apps[2] = {cuda_app_create(0), cuda_app_create(1)};
    const struct woq_device_params params = test_params();
    const struct woq_cuda_params guest = WOQ_CUDA_PARAMS_INIT;
    struct woq_device *device = NULL;
    struct rig r;
    CUcontext popped;
    (void)state;
    assert_null(current(&apps[0]));
    test_expect_errors(true);
    EXPECT_BAD("none is current", woq_cuda_device_open(&guest, &params, &device));
    test_expect_errors(false);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(apps[i].api->ctx_push_current(apps[i].context), CUDA_SUCCESS);
        EXPECT_OK(woq_cuda_device_open(&guest, &params, &device));
        rig_create(&apps[i], device, lines[0], &r);
        run_once(&r);
        assert_ptr_equal(current(&apps[i]), apps[i].context);
        assert_int_equal(apps[i].api->ctx_pop_current(&popped), CUDA_SUCCESS);
        assert_null(current(&apps[i]));
        run_once(&r); /* nor does it need one */
        assert_int_equal(apps[i].api->ctx_push_current(apps[1 - i].context), CUDA_SUCCESS);
        run_once(&r);
        record_once(&apps[i], &r, apps[i].stream);
        assert_ptr_equal(current(&apps[i]), apps[1 - i].context);
        rig_destroy(&apps[i], &r);
        assert_true(test_close(&device));
        assert_ptr_equal(current(&apps[i]), apps[1 - i].context);
        assert_int_equal(apps[i].api->ctx_pop_current(&popped), CUDA_SUCCESS);
    }
    for (int i = 0; i < 2; i++)
        cuda_app_destroy(&apps[i]);
    test_expectations_met();
}

/* ---- what is refused ---- */

static void test_open_refusals(void **state)
{
    struct cuda_app app = cuda_app_create(0), second = cuda_app_create(1);
    const struct woq_cuda_params good = {sizeof good, app.context, app.stream};
    struct woq_cuda_params guest = good;
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    int nothing = 0;
    (void)state;
    test_expect_errors(true);
    EXPECT_BAD("guest", woq_cuda_device_open(NULL, &params, &device));
    EXPECT_BAD("out", woq_cuda_device_open(&guest, &params, NULL));
    guest.struct_size += 8;
    EXPECT_BAD("struct_size", woq_cuda_device_open(&guest, &params, &device));
    guest = good;
    params.struct_size++;
    EXPECT_BAD("struct_size", woq_cuda_device_open(&guest, &params, &device));
    params = test_params();
    guest.stream = second.stream;
    EXPECT_BAD("stream is not one of the context", woq_cuda_device_open(&guest, &params, &device));
    guest = good;
    guest.context = (struct CUctx_st *)(void *)&nothing;
    EXPECT_BAD("not a valid CUDA context", woq_cuda_device_open(&guest, &params, &device));
    test_expect_errors(false);
    assert_null(device);
    cuda_app_destroy(&app);
    cuda_app_destroy(&second);
    test_expectations_met();
}

static void test_import_refusals(void **state)
{
    struct cuda_app app = cuda_app_create(0);
    struct woq_device *device = open_guest(&app, NULL), *reference = test_open("reference");
    const CUdeviceptr memory = cuda_app_memory(&app, 1024);
    struct woq_buffer *buffer = NULL;
    void *pinned = NULL;
    CUcontext popped;
    (void)state;
    assert_int_equal(app.api->ctx_push_current(app.context), CUDA_SUCCESS);
    assert_int_equal(app.api->mem_alloc_host(&pinned, 512), CUDA_SUCCESS);
    test_expect_errors(true);
    EXPECT_BAD("device", woq_cuda_buffer_import(NULL, memory, 64, &buffer));
    EXPECT_BAD("out", woq_cuda_buffer_import(device, memory, 64, NULL));
    EXPECT_BAD("must be cuda", woq_cuda_buffer_import(reference, memory, 64, &buffer));
    EXPECT_BAD("multiple of 256", woq_cuda_buffer_import(device, 0, 64, &buffer));
    EXPECT_BAD("multiple of 256", woq_cuda_buffer_import(device, memory + 16, 64, &buffer));
    EXPECT_BAD("size is 0", woq_cuda_buffer_import(device, memory, 0, &buffer));
    EXPECT_BAD("ends 1024 bytes after", woq_cuda_buffer_import(device, memory, 1025, &buffer));
    EXPECT_BAD("ends 512 bytes after", woq_cuda_buffer_import(device, memory + 512, 513, &buffer));
    EXPECT_BAD("does not know", woq_cuda_buffer_import(device, 4096, 64, &buffer));
    EXPECT_BAD("not device memory", woq_cuda_buffer_import(device, (uintptr_t)pinned, 64, &buffer));
    test_expect_errors(false);
    assert_null(buffer);
    EXPECT_OK(woq_cuda_buffer_import(device, memory, 1024, &buffer));
    assert_int_equal(woq_cuda_buffer(NULL), 0);
    woq_buffer_destroy(&buffer);
    assert_int_equal(app.api->mem_free_host(pinned), CUDA_SUCCESS);
    assert_int_equal(app.api->ctx_pop_current(&popped), CUDA_SUCCESS);
    cuda_app_free(&app, memory); /* which is still the application's */
    woq_device_destroy(&reference);
    assert_true(test_close(&device));
    cuda_app_destroy(&app);
    test_expectations_met();
}

/* Recorded again and again with the same buffers, or with a few sets of them, it keeps no more than these. */
static void test_many_records(void **state)
{
    enum { SETS = 2, TIMES = 50 };
    struct cuda_app app = cuda_app_create(0);
    struct woq_device *device = open_guest(&app, NULL);
    struct rig r;
    struct woq_buffer *x[SETS] = {NULL};
    int64_t before = 0;
    (void)state;
    rig_create(&app, device, lines[0], &r);
    for (int i = 0; i < SETS; i++)
        EXPECT_OK(woq_cuda_buffer_import(device, r.x + 256, r.p.x.size, &x[i]));
    for (int i = 0; i < SETS * TIMES; i++) {
        r.bindings[1].view.buffer = x[i % SETS];
        EXPECT_OK(woq_cuda_record(r.commands, r.bindings, r.count, app.stream));
        if (i == SETS - 1)
            before = test_heap_balance(test_main_heap());
    }
    assert_int_equal(test_heap_balance(test_main_heap()), before);
    cuda_app_synchronize(&app, app.stream);
    for (int i = 0; i < SETS; i++)
        woq_buffer_destroy(&x[i]);
    rig_destroy(&app, &r);
    assert_true(test_close(&device));
    cuda_app_destroy(&app);
    test_expectations_met();
}

/* Timestamps are the application's own business in its stream. */
static void test_record_refusals(void **state)
{
    struct cuda_app app = cuda_app_create(0);
    struct woq_device *device = open_guest(&app, NULL);
    struct woq_commands *commands = NULL;
    (void)state;
    EXPECT_OK(woq_commands_create(device, NULL, &commands));
    EXPECT_OK(woq_commands_timestamp(commands, 0));
    EXPECT_OK(woq_commands_end(commands));
    test_expect_errors(true);
    EXPECT(WOQ_ERROR_UNSUPPORTED, "timestamp 0", woq_cuda_record(commands, NULL, 0, app.stream));
    EXPECT_BAD("commands", woq_cuda_record(NULL, NULL, 0, app.stream));
    test_expect_errors(false);
    woq_commands_destroy(&commands);
    assert_true(test_close(&device));
    cuda_app_destroy(&app);
    test_expectations_met();
}

/* Of the driver's objects, after all of it. */
static void test_nothing_left(void **state)
{
    struct cuda_app app = cuda_app_create(0);
    char words[256];
    (void)state;
    const int64_t left = cuda_app_balance(words, sizeof words);
    if (left)
        fail_msg("left:%s", words);
    cuda_app_destroy(&app);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),        cmocka_unit_test(test_two_contexts),
        cmocka_unit_test(test_current),         cmocka_unit_test(test_open_refusals),
        cmocka_unit_test(test_import_refusals), cmocka_unit_test(test_many_records),
        cmocka_unit_test(test_record_refusals),
        cmocka_unit_test(test_nothing_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
