/* opencl_app.c: what an OpenCL application has to do before it can be a guest's host. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#include "opencl_app.h"

cl_device_id opencl_devices[OPENCL_MAX_DEVICES];
cl_uint opencl_device_count;

void opencl_find_devices(void)
{
    cl_platform_id platforms[16];
    cl_uint platform_count = 0;
    if (clGetPlatformIDs(16, platforms, &platform_count))
        return;
    for (cl_uint p = 0; p < platform_count && p < 16; p++) {
        const cl_uint room = OPENCL_MAX_DEVICES - opencl_device_count;
        cl_uint count = 0;
        if (room && !clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, room,
                                    opencl_devices + opencl_device_count, &count))
            opencl_device_count += count < room ? count : room;
    }
}

cl_command_queue opencl_app_queue(cl_context context, cl_device_id device,
                                  cl_command_queue_properties properties)
{
    cl_int code = CL_SUCCESS;
    cl_command_queue queue = clCreateCommandQueue(context, device, properties, &code);
    assert_int_equal(code, CL_SUCCESS);
    return queue;
}

struct opencl_app opencl_app_create(cl_device_id device)
{
    cl_int code = CL_SUCCESS;
    struct opencl_app app = {.device = device};
    app.context = clCreateContext(NULL, 1, &app.device, NULL, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    app.queue = opencl_app_queue(app.context, app.device, 0);
    return app;
}

void opencl_app_destroy(struct opencl_app *app)
{
    assert_int_equal(clReleaseCommandQueue(app->queue), CL_SUCCESS);
    assert_int_equal(clReleaseContext(app->context), CL_SUCCESS);
}

cl_mem opencl_app_memory(const struct opencl_app *app, size_t size)
{
    cl_int code = CL_SUCCESS;
    cl_mem memory = clCreateBuffer(app->context, CL_MEM_READ_WRITE, size, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    return memory;
}

struct woq_opencl_params opencl_app_guest(const struct opencl_app *app)
{
    struct woq_opencl_params guest = WOQ_OPENCL_PARAMS_INIT;
    guest.context = app->context;
    guest.device = app->device;
    guest.queue = app->queue;
    return guest;
}

cl_uint opencl_memory_references(cl_mem memory)
{
    cl_uint count = 0;
    assert_int_equal(clGetMemObjectInfo(memory, CL_MEM_REFERENCE_COUNT, sizeof count, &count, NULL), 0);
    return count;
}

cl_uint opencl_queue_references(cl_command_queue queue)
{
    cl_uint count = 0;
    assert_int_equal(clGetCommandQueueInfo(queue, CL_QUEUE_REFERENCE_COUNT, sizeof count, &count, NULL),
                     0);
    return count;
}

cl_uint opencl_context_references(cl_context context)
{
    cl_uint count = 0;
    assert_int_equal(clGetContextInfo(context, CL_CONTEXT_REFERENCE_COUNT, sizeof count, &count, NULL),
                     0);
    return count;
}

/* Drivers may hold on to what a command used until a thread of theirs has cleaned up. */
static const struct timespec pause = {0, 1000000};

void opencl_expect_references(cl_mem memory, cl_uint want)
{
    for (int i = 0; i < 2000 && opencl_memory_references(memory) != want; i++)
        nanosleep(&pause, NULL);
    assert_int_equal(opencl_memory_references(memory), want);
}

void opencl_expect_queue_references(cl_command_queue queue, cl_uint want)
{
    for (int i = 0; i < 2000 && opencl_queue_references(queue) != want; i++)
        nanosleep(&pause, NULL);
    assert_int_equal(opencl_queue_references(queue), want);
}
