/*
 * cuda_app.h: for tests of backend cuda on the driver of host_cuda/: its control, and an application with a context, a
 * stream and memory of its own.
 */
#ifndef TEST_CUDA_APP_H
#define TEST_CUDA_APP_H

#include "cuda/cu_loader.h"
#include "faults.h"

struct cuda_app {
    const struct woqi_cu_api *api;
    struct fault_control *control;
    CUdevice device;
    CUcontext context;
    CUstream stream;
};

/* Prints why and exits with TEST_SKIPPED if another driver is loaded, or none. */
struct cuda_app cuda_app_create(int device);
void cuda_app_destroy(struct cuda_app *app);

/* The driver's objects that are alive, but for the applications'; a function of fault_life.h. */
int64_t cuda_app_balance(char *words, size_t size);

/* Calls for the application, which never fail, whatever is armed. */
CUdeviceptr cuda_app_memory(struct cuda_app *app, size_t bytes);
void cuda_app_free(struct cuda_app *app, CUdeviceptr at);
CUstream cuda_app_stream(struct cuda_app *app);
void cuda_app_end_stream(struct cuda_app *app, CUstream stream);
void cuda_app_synchronize(struct cuda_app *app, CUstream stream);

#endif
