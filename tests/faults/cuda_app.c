/* cuda_app.c: an application of CUDA, on the driver of host_cuda/. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <dlfcn.h>

#include "cuda_app.h"
#include "support/device.h"

static int64_t applications; /* objects of theirs */
static int64_t (*driver_balance)(char *words, size_t size);

static void *find_symbol(const char *name)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), *address = driver ? dlsym(driver, name) : NULL;
    if (address)
        return address;
    printf("skipped: not on the driver of tests/host_cuda: no %s\n", name);
    exit(TEST_SKIPPED);
}

/* The application's own call: no fault is for it. */
#define QUIETLY(app, call)                                                                         \
    do {                                                                                           \
        CUcontext popped;                                                                          \
        const int64_t countdown = (app)->control->countdown;                                       \
        fault_disarm((app)->control);                                                              \
        assert_int_equal((app)->api->ctx_push_current((app)->context), CUDA_SUCCESS);              \
        assert_int_equal(call, CUDA_SUCCESS);                                                      \
        assert_int_equal((app)->api->ctx_pop_current(&popped), CUDA_SUCCESS);                      \
        (app)->control->countdown = countdown;                                                     \
    } while (0)

struct cuda_app cuda_app_create(int device)
{
    struct cuda_app app = {.device = device};
    struct fault_control *(*get_control)(void);
    const char *reason;
    void *address = find_symbol("host_cuda_control");
    memcpy(&get_control, &address, sizeof address);
    address = find_symbol("host_cuda_balance");
    memcpy(&driver_balance, &address, sizeof address);
    app.control = get_control();
    fault_disarm(app.control);
    app.api = woqi_cu_load(&reason);
    assert_non_null(app.api);
    assert_int_equal(app.api->primary_ctx_retain(&app.context, device), CUDA_SUCCESS);
    QUIETLY(&app, app.api->stream_create(&app.stream, CU_STREAM_NON_BLOCKING));
    applications += 2;
    return app;
}

void cuda_app_destroy(struct cuda_app *app)
{
    cuda_app_end_stream(app, app->stream);
    assert_int_equal(app->api->primary_ctx_release(app->device), CUDA_SUCCESS);
    applications--;
}

int64_t cuda_app_balance(char *words, size_t size)
{
    return driver_balance(words, size) - applications;
}

CUdeviceptr cuda_app_memory(struct cuda_app *app, size_t bytes)
{
    CUdeviceptr at = 0;
    QUIETLY(app, app->api->mem_alloc(&at, bytes));
    applications++;
    return at;
}

void cuda_app_free(struct cuda_app *app, CUdeviceptr at)
{
    QUIETLY(app, app->api->mem_free(at));
    applications--;
}

CUstream cuda_app_stream(struct cuda_app *app)
{
    CUstream stream = NULL;
    QUIETLY(app, app->api->stream_create(&stream, CU_STREAM_NON_BLOCKING));
    applications++;
    return stream;
}

void cuda_app_end_stream(struct cuda_app *app, CUstream stream)
{
    QUIETLY(app, app->api->stream_destroy(stream));
    applications--;
}

void cuda_app_synchronize(struct cuda_app *app, CUstream stream)
{
    QUIETLY(app, app->api->stream_synchronize(stream));
}
