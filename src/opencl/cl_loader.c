/* cl_loader.c: the ICD loader at run time, and OpenCL's codes as woq_status. */
#include "cl_backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static const char *const library_names[] = {"libOpenCL.so.1", "libOpenCL.so"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct woqi_cl_api table;
static bool loaded;
static char failure[192];

static void load(void)
{
    static const struct {
        const char *name;
        size_t offset;
    } members[] = {
#define MEMBER(name) {#name, offsetof(struct woqi_cl_api, name)},
        WOQI_CL_FUNCTIONS(MEMBER)
#undef MEMBER
    };
    /* Never closed: drivers keep threads and exit handlers that do not survive unloading. */
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof library_names / sizeof *library_names; i++)
        library = dlopen(library_names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(failure, sizeof failure, "no OpenCL loader: %s cannot be opened",
                 library_names[0]);
        return;
    }
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        void *symbol = dlsym(library, members[i].name);
        if (!symbol) {
            snprintf(failure, sizeof failure, "the OpenCL loader is older than 1.2: it lacks %s",
                     members[i].name);
            dlclose(library);
            return;
        }
        /* ISO C has no conversion from an object pointer to a function pointer; POSIX gives both
         * the same representation. */
        memcpy((char *)&table + members[i].offset, &symbol, sizeof symbol);
    }
    loaded = true;
}

const struct woqi_cl_api *woqi_cl_load(const char **reason)
{
    pthread_once(&once, load);
    *reason = loaded ? NULL : failure;
    return loaded ? &table : NULL;
}

#define CODES(C)                                                                                   \
    C(CL_DEVICE_NOT_FOUND) C(CL_DEVICE_NOT_AVAILABLE) C(CL_COMPILER_NOT_AVAILABLE)                 \
    C(CL_MEM_OBJECT_ALLOCATION_FAILURE) C(CL_OUT_OF_RESOURCES) C(CL_OUT_OF_HOST_MEMORY)            \
    C(CL_PROFILING_INFO_NOT_AVAILABLE) C(CL_MEM_COPY_OVERLAP) C(CL_BUILD_PROGRAM_FAILURE)          \
    C(CL_MAP_FAILURE) C(CL_MISALIGNED_SUB_BUFFER_OFFSET)                                           \
    C(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST) C(CL_COMPILE_PROGRAM_FAILURE)                  \
    C(CL_LINKER_NOT_AVAILABLE) C(CL_LINK_PROGRAM_FAILURE) C(CL_INVALID_VALUE)                      \
    C(CL_INVALID_DEVICE_TYPE) C(CL_INVALID_PLATFORM) C(CL_INVALID_DEVICE) C(CL_INVALID_CONTEXT)    \
    C(CL_INVALID_QUEUE_PROPERTIES) C(CL_INVALID_COMMAND_QUEUE) C(CL_INVALID_HOST_PTR)              \
    C(CL_INVALID_MEM_OBJECT) C(CL_INVALID_BINARY) C(CL_INVALID_BUILD_OPTIONS)                      \
    C(CL_INVALID_PROGRAM) C(CL_INVALID_PROGRAM_EXECUTABLE) C(CL_INVALID_KERNEL_NAME)               \
    C(CL_INVALID_KERNEL_DEFINITION) C(CL_INVALID_KERNEL) C(CL_INVALID_ARG_INDEX)                   \
    C(CL_INVALID_ARG_VALUE) C(CL_INVALID_ARG_SIZE) C(CL_INVALID_KERNEL_ARGS)                       \
    C(CL_INVALID_WORK_DIMENSION) C(CL_INVALID_WORK_GROUP_SIZE) C(CL_INVALID_WORK_ITEM_SIZE)        \
    C(CL_INVALID_GLOBAL_OFFSET) C(CL_INVALID_EVENT_WAIT_LIST) C(CL_INVALID_EVENT)                  \
    C(CL_INVALID_OPERATION) C(CL_INVALID_BUFFER_SIZE) C(CL_INVALID_GLOBAL_WORK_SIZE)               \
    C(CL_INVALID_PROPERTY) C(CL_INVALID_COMPILER_OPTIONS)

const char *woqi_cl_code_name(cl_int code, char spare[24])
{
    switch (code) {
#define CASE(name)                                                                                 \
    case name:                                                                                     \
        return #name;
        CODES(CASE)
#undef CASE
    case -1001: /* cl_khr_icd */
        return "CL_PLATFORM_NOT_FOUND_KHR";
    default:
        snprintf(spare, 24, "error %d", (int)code);
        return spare;
    }
}

static enum woq_status map_code(cl_int code)
{
    switch (code) {
    case CL_SUCCESS:
        return WOQ_OK;
    case CL_DEVICE_NOT_AVAILABLE:
        return WOQ_ERROR_DEVICE_LOST;
    case CL_OUT_OF_HOST_MEMORY:
        return WOQ_ERROR_OUT_OF_MEMORY;
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_RESOURCES:
        return WOQ_ERROR_OUT_OF_DEVICE_MEMORY;
    case CL_BUILD_PROGRAM_FAILURE:
    case CL_COMPILE_PROGRAM_FAILURE:
    case CL_LINK_PROGRAM_FAILURE:
    case CL_COMPILER_NOT_AVAILABLE:
        return WOQ_ERROR_COMPILE;
    default:
        return WOQ_ERROR_DRIVER;
    }
}

static enum woq_status report(struct woq_device *device, enum woq_status status, cl_int code,
                              const char *call)
{
    char spare[24];
    return woqi_fail(device, status, "%s: %s", call, woqi_cl_code_name(code, spare));
}

enum woq_status woqi_cl_fail(struct woq_device *device, cl_int code, const char *call)
{
    return report(device, map_code(code), code, call);
}

enum woq_status woqi_cl_fail_run(struct woq_device *device, cl_int code, const char *call)
{
    enum woq_status st = map_code(code);
    /* OpenCL has no code for a lost device. After a fault NVIDIA's driver gives -9999 or
     * CL_OUT_OF_RESOURCES for the work and refuses the queue from then on. */
    if (code == CL_OUT_OF_RESOURCES || code == CL_INVALID_COMMAND_QUEUE || code == -9999)
        st = WOQ_ERROR_DEVICE_LOST;
    return report(device, st, code, call);
}
