/* opencl_app.h: an application that owns its OpenCL context and queue. Failures end the test. */
#ifndef TEST_OPENCL_APP_H
#define TEST_OPENCL_APP_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <woq/opencl.h>

/* All devices of all platforms. */
#define OPENCL_MAX_DEVICES 16
extern cl_device_id opencl_devices[OPENCL_MAX_DEVICES];
extern cl_uint opencl_device_count;
void opencl_find_devices(void);

struct opencl_app {
    cl_device_id device;
    cl_context context;
    cl_command_queue queue; /* in-order */
};
struct opencl_app opencl_app_create(cl_device_id device);
void opencl_app_destroy(struct opencl_app *app);
struct woq_opencl_params opencl_app_guest(const struct opencl_app *app);

cl_command_queue opencl_app_queue(cl_context context, cl_device_id device,
                                  cl_command_queue_properties properties);
cl_mem opencl_app_memory(const struct opencl_app *app, size_t size);

/* Reference counts. Drivers may hold on to what a command used until a thread of theirs has cleaned up:
 * `expect` waits for that. */
cl_uint opencl_memory_references(cl_mem memory);
cl_uint opencl_queue_references(cl_command_queue queue);
cl_uint opencl_context_references(cl_context context);
void opencl_expect_references(cl_mem memory, cl_uint want);
void opencl_expect_queue_references(cl_command_queue queue, cl_uint want);

#endif
