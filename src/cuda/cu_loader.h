/*
 * cu_loader.h: libcuda.so.1, loaded at run time. Only types come from the toolkit's headers.
 *
 * WOQI_CU_FUNCTIONS(F): F(member, symbol, type). symbol is the name in the library, whose suffix
 * _v2 belongs to the type of that version (cudaTypedefs.h; the number is the CUDA release that
 * brought it). The newest is of CUDA 12.0, which is therefore the oldest driver that serves; those of
 * WOQI_CU_OPTIONAL are NULL where the driver, or the toolkit that this was built with, is older than they are.
 */
#ifndef WOQI_CU_LOADER_H
#define WOQI_CU_LOADER_H

#include <cuda.h>
#include <cudaTypedefs.h>

#define WOQI_CU_FUNCTIONS(F)                                                                       \
    F(init, "cuInit", PFN_cuInit_v2000)                                                            \
    F(driver_get_version, "cuDriverGetVersion", PFN_cuDriverGetVersion_v2020)                      \
    F(get_error_name, "cuGetErrorName", PFN_cuGetErrorName_v6000)                                  \
    F(get_error_string, "cuGetErrorString", PFN_cuGetErrorString_v6000)                            \
    F(device_get_count, "cuDeviceGetCount", PFN_cuDeviceGetCount_v2000)                            \
    F(device_get, "cuDeviceGet", PFN_cuDeviceGet_v2000)                                            \
    F(device_get_name, "cuDeviceGetName", PFN_cuDeviceGetName_v2000)                               \
    F(device_get_attribute, "cuDeviceGetAttribute", PFN_cuDeviceGetAttribute_v2000)                \
    F(device_total_mem, "cuDeviceTotalMem_v2", PFN_cuDeviceTotalMem_v3020)                         \
    F(primary_ctx_retain, "cuDevicePrimaryCtxRetain", PFN_cuDevicePrimaryCtxRetain_v7000)          \
    F(primary_ctx_release, "cuDevicePrimaryCtxRelease_v2", PFN_cuDevicePrimaryCtxRelease_v11000)   \
    F(ctx_get_current, "cuCtxGetCurrent", PFN_cuCtxGetCurrent_v4000)                               \
    F(ctx_get_device, "cuCtxGetDevice", PFN_cuCtxGetDevice_v2000)                                  \
    F(ctx_push_current, "cuCtxPushCurrent_v2", PFN_cuCtxPushCurrent_v4000)                         \
    F(ctx_pop_current, "cuCtxPopCurrent_v2", PFN_cuCtxPopCurrent_v4000)                            \
    F(stream_create, "cuStreamCreate", PFN_cuStreamCreate_v2000)                                   \
    F(stream_destroy, "cuStreamDestroy_v2", PFN_cuStreamDestroy_v4000)                             \
    F(stream_synchronize, "cuStreamSynchronize", PFN_cuStreamSynchronize_v2000)                    \
    F(stream_get_ctx, "cuStreamGetCtx", PFN_cuStreamGetCtx_v9020)                                  \
    F(stream_is_capturing, "cuStreamIsCapturing", PFN_cuStreamIsCapturing_v10000)                  \
    F(event_create, "cuEventCreate", PFN_cuEventCreate_v2000)                                      \
    F(event_destroy, "cuEventDestroy_v2", PFN_cuEventDestroy_v4000)                                \
    F(event_record, "cuEventRecord", PFN_cuEventRecord_v2000)                                      \
    F(event_query, "cuEventQuery", PFN_cuEventQuery_v2000)                                         \
    F(event_synchronize, "cuEventSynchronize", PFN_cuEventSynchronize_v2000)                       \
    F(event_elapsed_time, "cuEventElapsedTime", PFN_cuEventElapsedTime_v2000)                      \
    F(mem_alloc, "cuMemAlloc_v2", PFN_cuMemAlloc_v3020)                                            \
    F(mem_free, "cuMemFree_v2", PFN_cuMemFree_v3020)                                               \
    F(mem_get_info, "cuMemGetInfo_v2", PFN_cuMemGetInfo_v3020)                                     \
    F(mem_alloc_host, "cuMemAllocHost_v2", PFN_cuMemAllocHost_v3020)                               \
    F(mem_free_host, "cuMemFreeHost", PFN_cuMemFreeHost_v2000)                                     \
    F(memcpy_h_to_d_async, "cuMemcpyHtoDAsync_v2", PFN_cuMemcpyHtoDAsync_v3020)                    \
    F(memcpy_d_to_h_async, "cuMemcpyDtoHAsync_v2", PFN_cuMemcpyDtoHAsync_v3020)                    \
    F(memcpy_d_to_d_async, "cuMemcpyDtoDAsync_v2", PFN_cuMemcpyDtoDAsync_v3020)                    \
    F(pointer_get_attributes, "cuPointerGetAttributes", PFN_cuPointerGetAttributes_v7000)          \
    F(module_load_data_ex, "cuModuleLoadDataEx", PFN_cuModuleLoadDataEx_v2010)                     \
    F(module_unload, "cuModuleUnload", PFN_cuModuleUnload_v2000)                                   \
    F(module_get_function, "cuModuleGetFunction", PFN_cuModuleGetFunction_v2000)                   \
    F(func_get_attribute, "cuFuncGetAttribute", PFN_cuFuncGetAttribute_v2020)                      \
    F(func_set_attribute, "cuFuncSetAttribute", PFN_cuFuncSetAttribute_v9000)                      \
    F(tensor_map_encode, "cuTensorMapEncodeTiled", PFN_cuTensorMapEncodeTiled_v12000)              \
    F(launch_kernel, "cuLaunchKernelEx", PFN_cuLaunchKernelEx_v11060)                              \
    F(graph_create, "cuGraphCreate", PFN_cuGraphCreate_v10000)                                     \
    F(graph_destroy, "cuGraphDestroy", PFN_cuGraphDestroy_v10000)                                  \
    F(graph_add_kernel_node, "cuGraphAddKernelNode_v2", PFN_cuGraphAddKernelNode_v12000)           \
    F(graph_kernel_node_set_attribute, "cuGraphKernelNodeSetAttribute", PFN_cuGraphKernelNodeSetAttribute_v11000)  \
    F(graph_add_memcpy_node, "cuGraphAddMemcpyNode", PFN_cuGraphAddMemcpyNode_v10000)              \
    F(graph_add_event_node, "cuGraphAddEventRecordNode", PFN_cuGraphAddEventRecordNode_v11010)     \
    F(graph_add_empty_node, "cuGraphAddEmptyNode", PFN_cuGraphAddEmptyNode_v10000)                 \
    F(graph_instantiate, "cuGraphInstantiateWithFlags", PFN_cuGraphInstantiateWithFlags_v11040)    \
    F(graph_upload, "cuGraphUpload", PFN_cuGraphUpload_v11010)                                     \
    F(graph_launch, "cuGraphLaunch", PFN_cuGraphLaunch_v10000)                                     \
    F(graph_exec_destroy, "cuGraphExecDestroy", PFN_cuGraphExecDestroy_v10000)                     \
    F(graph_node_set_enabled, "cuGraphNodeSetEnabled", PFN_cuGraphNodeSetEnabled_v11060)           \
    F(graph_exec_set_kernel, "cuGraphExecKernelNodeSetParams_v2",                                  \
      PFN_cuGraphExecKernelNodeSetParams_v12000)                                                   \
    F(graph_exec_set_memcpy, "cuGraphExecMemcpyNodeSetParams",                                     \
      PFN_cuGraphExecMemcpyNodeSetParams_v10020)

#if CUDA_VERSION >= 12030
#define WOQI_CU_OPTIONAL(F) F(graph_add_edges, "cuGraphAddDependencies_v2", PFN_cuGraphAddDependencies_v12030)
#define WOQI_CU_HAS_EDGES(api) ((api)->graph_add_edges != NULL) /* then also in what a stream captures */
#else
#define WOQI_CU_OPTIONAL(F)
#define WOQI_CU_HAS_EDGES(api) false
#endif

struct woqi_cu_api {
#define WOQI_CU_MEMBER(member, symbol, type) type member;
    WOQI_CU_FUNCTIONS(WOQI_CU_MEMBER)
    WOQI_CU_OPTIONAL(WOQI_CU_MEMBER)
#undef WOQI_CU_MEMBER
};

/* The table, after cuInit; NULL with the cause in *reason (static storage). Loads on the first
 * call, once for the process. */
const struct woqi_cu_api *woqi_cu_load(const char **reason);

#endif
