/*
 * driver_layer.c: an OpenCL layer (cl_layer.h) that makes a driver one which the library does not know, and one of its
 * programs a bad one. The loader takes it from OPENCL_LAYERS. WOQ_TEST_DISGUISE says what is unknown: "version"
 * (default), "compiler", "cpu", or "none". WOQ_TEST_LAYER says what it does to programs whose options contain a text:
 * "abort:-DWOQ_DOT=2 -DWOQ_ZERO=2", "hang:…", "refuse:…", "lie:…" (zero points are taken for symmetric ones).
 */
#include <CL/cl_layer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct _cl_icd_dispatch *next;
static struct _cl_icd_dispatch own;

static int disguises(const char *what)
{
    const char *asked = getenv("WOQ_TEST_DISGUISE");
    return !strcmp(asked ? asked : "version", what);
}

static cl_int answer(const char *text, size_t size, void *value, size_t *size_out)
{
    const size_t bytes = strlen(text) + 1;
    if (size_out)
        *size_out = bytes;
    if (value && size < bytes)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, text, bytes);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL device_info(cl_device_id device, cl_device_info name, size_t size, void *value,
                                      size_t *size_out)
{
    if (name == CL_DRIVER_VERSION && disguises("version"))
        return answer("99.0", size, value, size_out);
    if (name == CL_DEVICE_NAME && disguises("cpu"))
        return answer("cpu-unknown", size, value, size_out);
    return next->clGetDeviceInfo(device, name, size, value, size_out);
}

static cl_int CL_API_CALL platform_info(cl_platform_id platform, cl_platform_info name, size_t size, void *value,
                                        size_t *size_out)
{
    if (name == CL_PLATFORM_VERSION && disguises("compiler"))
        return answer("OpenCL 3.0 PoCL 6.0 Linux, RELOC, LLVM 99.0.0, SLEEF", size, value, size_out);
    return next->clGetPlatformInfo(platform, name, size, value, size_out);
}

/* Does WOQ_TEST_LAYER ask for this fault in a program of these options? */
static int wants(const char *fault, const char *options)
{
    const char *asked = getenv("WOQ_TEST_LAYER");
    const size_t length = strlen(fault);
    return asked && options && !strncmp(asked, fault, length) && asked[length] == ':' &&
           strstr(options, asked + length + 1);
}

static cl_int CL_API_CALL build_program(cl_program program, cl_uint count, const cl_device_id *devices,
                                        const char *options, void(CL_CALLBACK *done)(cl_program, void *), void *user)
{
    char changed[512];
    if (wants("abort", options))
        abort();
    while (wants("hang", options))
        pause();
    if (wants("refuse", options))
        return CL_BUILD_PROGRAM_FAILURE;
    if (wants("lie", options)) {
        snprintf(changed, sizeof changed, "%s", options);
        strstr(changed, "-DWOQ_ZERO=2")[strlen("-DWOQ_ZERO=")] = '1';
        options = changed;
    }
    return next->clBuildProgram(program, count, devices, options, done, user);
}

CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info name, size_t size, void *value, size_t *size_out)
{
    static const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    static const char self[] = "woq test driver";
    const void *from = name == CL_LAYER_API_VERSION ? (const void *)&version : self;
    const size_t bytes = name == CL_LAYER_API_VERSION ? sizeof version : sizeof self;
    if (name != CL_LAYER_API_VERSION && name != CL_LAYER_NAME)
        return CL_INVALID_VALUE;
    if (size_out)
        *size_out = bytes;
    if (value && size < bytes)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, bytes);
    return CL_SUCCESS;
}

CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint count, const struct _cl_icd_dispatch *target, cl_uint *count_out,
                                            const struct _cl_icd_dispatch **out)
{
    const cl_uint have = sizeof own / sizeof own.clGetPlatformIDs;
    if (!target || !count_out || !out || count < have)
        return CL_INVALID_VALUE;
    next = target;
    own = *target;
    own.clGetDeviceInfo = device_info;
    own.clGetPlatformInfo = platform_info;
    own.clBuildProgram = build_program;
    *count_out = have;
    *out = &own;
    return CL_SUCCESS;
}
