/*
 * cu_nvtx.h: named ranges of the host's time for NVIDIA's profilers (NVTX, domain "woq").
 *
 * A tool that wants them is named by NVTX_INJECTION64_PATH in the environment and is loaded by the first range of the
 * process; without one a range costs a comparison. Builds without nvtx3/nvToolsExt.h have none.
 */
#ifndef WOQI_CU_NVTX_H
#define WOQI_CU_NVTX_H

/* Opens a range of this thread, "<verb> <name>", e.g. "submit mma_u4_N32M8K16_f16_symmetric_pair". */
void woqi_cu_range_begin(const char *verb, const char *name);
void woqi_cu_range_end(void);

#endif
