/* cl_program.c: programs from binaries, and what the compiler says, for kernels of OpenCL C and of PTX alike. */
#include "cl_backend.h"

char *woqi_cl_build_log(struct woq_device *device, cl_program program)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    size_t size = 0;
    if (dev->api->clGetProgramBuildInfo(program, dev->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) ||
        size <= 1)
        return NULL;
    char *text = woqi_alloc(device, size + 1, 1);
    if (text &&
        dev->api->clGetProgramBuildInfo(program, dev->id, CL_PROGRAM_BUILD_LOG, size, text, NULL)) {
        woqi_free(device, text);
        text = NULL;
    }
    return text;
}

cl_int woqi_cl_build_binary(struct woq_device *device, const void *binary, size_t size, const char *options,
                            cl_program *out, const char **call)
{
    struct woqi_cl_device *dev = woqi_cl_of(device);
    const unsigned char *bytes = binary;
    cl_int code = CL_SUCCESS, status = CL_SUCCESS;
    *call = "clCreateProgramWithBinary";
    *out = dev->api->clCreateProgramWithBinary(dev->context, 1, &dev->id, &size, &bytes, &status, &code);
    code = code ? code : status;
    if (!*out || code)
        return code ? code : CL_INVALID_BINARY;
    *call = "clBuildProgram";
    return dev->api->clBuildProgram(*out, 1, &dev->id, options, NULL, NULL);
}
