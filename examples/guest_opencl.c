/*
 * guest_opencl.c: an application with its own OpenCL context, queue and buffers lets woq work
 * between its own commands.
 *
 *     write staging → copy to X → woq's product → copy Y out → read  one queue, one wait at the end
 *
 * usage: guest_opencl [device]
 * Counted over all platforms; else that of WOQ_DEVICE=opencl:<number>, else 0.
 * Exits with 77 if there is no such OpenCL device.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <stdlib.h>
#include <woq/opencl.h>

#include "guest_product.h"

enum { PLATFORMS = 16, DEVICES = 16 };

struct app {
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    cl_mem staging, x, y, out;
};

static cl_device_id find_device(unsigned long index)
{
    cl_platform_id platforms[PLATFORMS];
    cl_device_id devices[DEVICES];
    cl_uint platform_count = 0, count;
    if (clGetPlatformIDs(PLATFORMS, platforms, &platform_count))
        return NULL;
    for (cl_uint p = 0; p < platform_count && p < PLATFORMS; p++) {
        if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, DEVICES, devices, &count))
            continue;
        count = count < DEVICES ? count : DEVICES;
        if (index < count)
            return devices[index];
        index -= count;
    }
    return NULL;
}

static cl_int app_open(struct app *a)
{
    const size_t x_bytes = sizeof((struct guest_product *)0)->x;
    const size_t y_bytes = sizeof((struct guest_product *)0)->y;
    cl_int error;
    a->context = clCreateContext(NULL, 1, &a->device, NULL, NULL, &error);
    if (!error)
        a->queue = clCreateCommandQueue(a->context, a->device, 0, &error);
    if (!error)
        a->staging = clCreateBuffer(a->context, CL_MEM_READ_ONLY, x_bytes, NULL, &error);
    if (!error)
        a->x = clCreateBuffer(a->context, CL_MEM_READ_WRITE, x_bytes, NULL, &error);
    if (!error)
        a->y = clCreateBuffer(a->context, CL_MEM_READ_WRITE, y_bytes, NULL, &error);
    if (!error)
        a->out = clCreateBuffer(a->context, CL_MEM_WRITE_ONLY, y_bytes, NULL, &error);
    return error;
}

static void app_close(struct app *a)
{
    cl_mem buffers[] = {a->staging, a->x, a->y, a->out};
    for (int i = 0; i < 4; i++)
        if (buffers[i])
            clReleaseMemObject(buffers[i]);
    if (a->queue)
        clReleaseCommandQueue(a->queue);
    if (a->context)
        clReleaseContext(a->context);
}

/* Everything into one queue: what the application does before, woq's part, what it does after. */
static enum woq_status frame(struct app *a, struct guest_product *p, struct woq_commands *commands,
                             const struct woq_binding *bindings, cl_int *error)
{
    cl_event product = NULL;
    enum woq_status st = WOQ_OK;
    *error = clEnqueueWriteBuffer(a->queue, a->staging, CL_FALSE, 0, sizeof p->x, p->x, 0, NULL,
                                  NULL);
    if (!*error)
        *error = clEnqueueCopyBuffer(a->queue, a->staging, a->x, 0, 0, sizeof p->x, 0, NULL, NULL);
    if (!*error)
        st = woq_opencl_record(commands, bindings, 3, a->queue, 0, NULL, &product);
    if (!*error && !st)
        *error = clEnqueueCopyBuffer(a->queue, a->y, a->out, 0, 0, sizeof p->y, 1, &product, NULL);
    if (!*error && !st)
        *error =
            clEnqueueReadBuffer(a->queue, a->out, CL_TRUE, 0, sizeof p->y, p->y, 0, NULL, NULL);
    if (product)
        clReleaseEvent(product);
    return st;
}

static int report(enum woq_status st, cl_int error, const struct guest_product *p)
{
    if (error) {
        fprintf(stderr, "guest_opencl: OpenCL error %d\n", (int)error);
        return 1;
    }
    if (st) {
        fprintf(stderr, "guest_opencl: %s: %s\n", woq_status_string(st), woq_last_message());
        return 1;
    }
    int wrong = guest_check(p);
    if (wrong)
        printf("WRONG: %d of %d outputs\n", wrong, GUEST_M * GUEST_N);
    else
        printf("ok: %d outputs equal\n", GUEST_M * GUEST_N);
    return wrong != 0;
}

int main(int argc, char **argv)
{
    const char *selector = getenv("WOQ_DEVICE");
    unsigned long index = 0;
    if (argc > 1)
        index = strtoul(argv[1], NULL, 10);
    else if (selector && !strncmp(selector, "opencl:", 7))
        index = strtoul(selector + 7, NULL, 10);
    struct app app = {.device = find_device(index)};
    if (!app.device) {
        printf("guest_opencl: no OpenCL device %lu here; skipped\n", index);
        return 77;
    }

    static struct guest_product product;
    struct woq_device *device = NULL;
    struct woq_weights *weights = NULL;
    struct woq_gemm *gemm = NULL;
    struct woq_buffer *x = NULL, *y = NULL;
    struct woq_commands *commands = NULL;
    uint32_t slot[3];
    enum woq_status st = WOQ_OK;
    guest_fill(&product);
    cl_int error = app_open(&app);
    if (!error) {
        struct woq_opencl_params guest = WOQ_OPENCL_PARAMS_INIT;
        guest.context = app.context;
        guest.device = app.device;
        guest.queue = app.queue;
        st = woq_opencl_device_open(&guest, NULL, &device);
        if (!st)
            printf("%s: ", woq_device_get_info(device)->name);
        if (!st)
            st = guest_gemm(device, &product, &weights, &gemm);
        if (!st)
            st = guest_record(device, gemm, slot, &commands);
        if (!st)
            st = woq_opencl_buffer_import(device, app.x, 0, &x);
        if (!st)
            st = woq_opencl_buffer_import(device, app.y, 0, &y);
    }
    if (!error && !st) {
        const struct woq_binding bindings[3] = {
            {slot[0], GUEST_M, {NULL, 0, 0}}, {slot[1], 0, {x, 0, 0}}, {slot[2], 0, {y, 0, 0}}};
        st = frame(&app, &product, commands, bindings, &error);
    }
    int result = report(st, error, &product);
    woq_commands_destroy(&commands);
    woq_gemm_destroy(&gemm);
    woq_weights_destroy(&weights);
    woq_buffer_destroy(&x);
    woq_buffer_destroy(&y);
    woq_device_destroy(&device);
    app_close(&app);
    return result;
}
