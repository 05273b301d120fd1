/*
 * guest_cuda.c: a product inside an application that owns its CUDA context, stream and memory.
 *
 * The application copies X to the device, has the library record Y = X·Wᵀ with 4-bit weights into
 * its stream, copies Y back behind it, and waits once. Prints "ok"; exits with 77 without a device.
 */
#include <cuda.h>
#include <math.h>
#include <stdio.h>
#include <woq/cuda.h>

enum { M = 4, N = 256, K = 512, GROUP = 128, GROUPS = K / GROUP };
static unsigned char codes[N * K / 2]; /* two codes a byte, the even column in the low nibble */
static float scales[N * GROUPS], host_x[M * K], host_y[M * N];

struct app {
    CUcontext context;
    CUstream stream;
    CUdeviceptr x, y;
};

static int native(CUresult result, const char *what)
{
    const char *name = NULL;
    if (!result)
        return 0;
    cuGetErrorName(result, &name);
    fprintf(stderr, "%s: %s\n", what, name ? name : "unknown error");
    return 1;
}

static int failed(enum woq_status st, const char *what)
{
    if (st)
        fprintf(stderr, "%s: %s: %s\n", what, woq_status_string(st), woq_last_message());
    return st != WOQ_OK;
}

static int start_app(struct app *app, CUdevice device)
{
    return native(cuDevicePrimaryCtxRetain(&app->context, device), "cuDevicePrimaryCtxRetain") ||
           native(cuCtxSetCurrent(app->context), "cuCtxSetCurrent") ||
           native(cuStreamCreate(&app->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate") ||
           native(cuMemAlloc(&app->x, sizeof(host_x)), "cuMemAlloc") ||
           native(cuMemAlloc(&app->y, sizeof(host_y)), "cuMemAlloc");
}

static void fill(void)
{
    for (int i = 0; i < N * K / 2; i++)
        codes[i] = (unsigned char)(i * 37 + i / 256);
    for (int i = 0; i < N * GROUPS; i++)
        scales[i] = 0.01f * (float)(1 + i % 7);
    for (int i = 0; i < M * K; i++)
        host_x[i] = (float)(i % 11 - 5) * 0.125f;
}

static int make_product(struct woq_device *dev, struct woq_weights **weights,
                        struct woq_gemm **gemm)
{
    struct woq_weights_source source = {
        .struct_size = sizeof(source),
        .format = {sizeof(source.format), WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F32, GROUP, false},
        .n = N, .k = K, .codes = codes, .scales = scales,
    };
    struct woq_weights_params wp = {sizeof(wp), &source, 1, false};
    if (failed(woq_weights_create(dev, &wp, weights), "woq_weights_create"))
        return 1;
    struct woq_gemm_params gp = WOQ_GEMM_PARAMS_INIT;
    gp.weights = *weights;
    gp.max_m = M;
    gp.x_type = gp.y_type = WOQ_F32;
    return failed(woq_gemm_create(dev, &gp, gemm), "woq_gemm_create");
}

/* The application's own work, with the product in its middle. */
static int submit(struct app *app, struct woq_commands *commands, const struct woq_binding *b)
{
    return native(cuMemcpyHtoDAsync(app->x, host_x, sizeof(host_x), app->stream), "copy of X") ||
           failed(woq_cuda_record(commands, b, 3, app->stream), "woq_cuda_record") ||
           native(cuMemcpyDtoHAsync(host_y, app->y, sizeof(host_y), app->stream), "copy of Y") ||
           native(cuStreamSynchronize(app->stream), "cuStreamSynchronize");
}

static int check(void)
{
    for (int i = 0; i < M * N; i++) {
        double sum = 0;
        for (int n = i % N, k = 0; k < K; k++) {
            int q = codes[(n * K + k) / 2] >> (k % 2 ? 4 : 0) & 15;
            sum += (double)host_x[i / N * K + k] * scales[n * GROUPS + k / GROUP] * (q - 8);
        }
        if (!(fabs(host_y[i] - sum) <= 1e-3)) {
            fprintf(stderr, "y[%d] is %g; must be %g\n", i, (double)host_y[i], sum);
            return 1;
        }
    }
    return 0;
}

static int run(struct app *app)
{
    struct woq_device *dev = NULL;
    struct woq_weights *weights = NULL;
    struct woq_gemm *gemm = NULL;
    struct woq_buffer *x = NULL, *y = NULL;
    struct woq_commands *commands = NULL;
    uint32_t m = 0, sx = 0, sy = 0;
    struct woq_cuda_params guest = WOQ_CUDA_PARAMS_INIT;
    guest.context = app->context;
    int bad = failed(woq_cuda_device_open(&guest, NULL, &dev), "woq_cuda_device_open") ||
              make_product(dev, &weights, &gemm) ||
              failed(woq_cuda_buffer_import(dev, app->x, sizeof(host_x), &x), "import of X") ||
              failed(woq_cuda_buffer_import(dev, app->y, sizeof(host_y), &y), "import of Y") ||
              failed(woq_commands_create(dev, NULL, &commands), "woq_commands_create") ||
              failed(woq_commands_slot_m(commands, M, &m), "slot of M") ||
              failed(woq_commands_slot_view(commands, WOQ_ACCESS_READ, &sx), "slot of X") ||
              failed(woq_commands_slot_view(commands, WOQ_ACCESS_WRITE, &sy), "slot of Y") ||
              failed(woq_commands_gemm(commands, gemm, m, sx, sy, WOQ_NO_SLOT, WOQ_NO_SLOT),
                     "woq_commands_gemm") ||
              failed(woq_commands_end(commands), "woq_commands_end");
    struct woq_binding bindings[] = {{m, M, {NULL, 0, 0}}, {sx, 0, {x, 0, 0}}, {sy, 0, {y, 0, 0}}};
    bad = bad || submit(app, commands, bindings) || check();
    woq_commands_destroy(&commands);
    woq_buffer_destroy(&y);
    woq_buffer_destroy(&x);
    woq_gemm_destroy(&gemm);
    woq_weights_destroy(&weights);
    woq_device_destroy(&dev);
    return bad;
}

int main(void)
{
    struct app app = {0};
    CUdevice device;
    if (cuInit(0) || cuDeviceGet(&device, 0)) {
        puts("skipped: no CUDA driver or device");
        return 77;
    }
    fill();
    int bad = start_app(&app, device) || run(&app);
    if (app.stream)
        cuStreamDestroy(app.stream);
    cuMemFree(app.x);
    cuMemFree(app.y);
    cuDevicePrimaryCtxRelease(device);
    puts(bad ? "failed" : "ok");
    return bad;
}
