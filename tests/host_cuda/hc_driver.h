/*
 * hc_driver.h: a CUDA driver for tests, libcuda.so.1 with two devices of compute capability 9.0 that live in the host's
 * memory. What backend cuda asks of a driver, and no more.
 *
 * It does what an application may count on, and as little as possible beside: work is done when somebody waits for it,
 * not before; of a graph's nodes that could be next it takes the youngest; memory is filled with a pattern; a call
 * without a current context, an address outside an allocation of the context's device, a launch beyond a device's or a
 * function's limits fail as they do on a GPU. Kernels are those of shaders/cuda by name; what they compute is the
 * reference backend's business (hc_kernel.c).
 *
 * Calls fail when told, one at a time (tests/faults/faults.h). One lock for everything.
 */
#ifndef HC_DRIVER_H
#define HC_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/args.h"
#include "core/backend.h"
#include "cuda/cu_loader.h"
#include "faults/faults.h"

#define HC_DEVICES 2
#define HC_CAPABILITY 90
#define HC_SHARED 232448      /* bytes of a block at most */
#define HC_DEFAULT_SHARED 49152
#define HC_MEMORY (2ull << 30)
#define HC_MAX_NODES 4096     /* of a graph */
#define HC_QUERY_WORK 262144  /* multiplications that a question after an event waits for */

/* The functions by the names and types of cu_loader.h: host_<member>. */
#define HC_DECLARE(member, symbol, type)                                                           \
    __typeof__(*(type)0) host_##member __asm__(symbol) __attribute__((visibility("default")));
WOQI_CU_FUNCTIONS(HC_DECLARE)
WOQI_CU_OPTIONAL(HC_DECLARE)
#undef HC_DECLARE

/* Objects that are alive. */
enum hc_kind { HC_CONTEXT, HC_STREAM, HC_EVENT, HC_BLOCK, HC_PINNED, HC_MODULE, HC_GRAPH, HC_EXEC, HC_KINDS };

struct CUctx_st {
    int device;
    int retained;
};

/* What a launch copies: parameters in the order of cu_kernel.c. */
struct hc_parameters {
    CUdeviceptr bind[WOQI_MAX_BIND];
    struct woqi_args args;
    cuuint64_t map[16];
};

struct hc_launch {
    CUfunction function;
    unsigned grid[3], block[3], shared;
    struct hc_parameters parameters;
};

/* hc_kernel.c: the kernel that an entry point is; NONE: there is no such kernel. */
enum hc_entry { HC_NONE, HC_PRODUCT, HC_MMA, HC_WGMMA, HC_XHALF, HC_XTILE, HC_REDUCE, HC_EXPAND, HC_PACK };

struct CUfunc_st {
    char name[64];
    CUmodule module;
    enum hc_entry entry;
    int most_shared;
};

/* Work of a stream, or of a graph's node. */
struct hc_work {
    enum { HC_LAUNCH, HC_COPY, HC_RECORD, HC_EMPTY } kind;
    CUcontext context;
    struct hc_launch launch;
    CUdeviceptr to, from; /* COPY; either may be the host's */
    size_t bytes;
    void *owned; /* what `from` is, to be freed; or NULL */
    CUevent event; /* RECORD */
};

struct CUevent_st {
    CUcontext context;
    bool timed, recorded;
    unsigned pending; /* records that have not been done */
    uint64_t ns;
};

/* Everything below: under the lock. */
void hc_lock(void);
void hc_unlock(void);
/* 0: make the call; else what it returns. current: it needs a current context. */
CUresult hc_enter(const char *call, CUresult usual, bool current);
CUcontext hc_current(void);
void hc_count(enum hc_kind kind, int change);

/* Is this a part of one allocation of the context's device? */
bool hc_is_memory(CUcontext context, CUdeviceptr at, uint64_t bytes);
bool hc_is_pinned(const void *at, size_t bytes);

/* Would the device take the launch? */
CUresult hc_check_launch(const struct hc_launch *launch, unsigned cluster);
/* Copies parameters as a launch does. */
void hc_take_parameters(void *const *from, struct hc_parameters *to);

/* Adds work to a stream, NULL = the context's default one. Takes `owned`. */
CUresult hc_submit(CUstream stream, const struct hc_work *work);
/* Does all that streams have; of one, or NULL = of all. Returns what has gone wrong since the context was made. */
CUresult hc_run(CUstream stream);
/* Does a piece of work now. */
void hc_do(const struct hc_work *work);

/* The kernel of an entry point; and what it does: 0, or what went wrong. */
enum hc_entry hc_find_entry(const char *name);
CUresult hc_execute(CUcontext context, const struct hc_launch *launch);

/* For tests, by dlsym: the one control, and objects alive, with their kinds in words. */
struct fault_control *host_cuda_control(void) __attribute__((visibility("default")));
int64_t host_cuda_balance(char *words, size_t size) __attribute__((visibility("default")));

#endif
