/*
 * woq/device.h: finding, opening and describing devices.
 *
 *     struct woq_device *dev = NULL;
 *     struct woq_device_params params = WOQ_DEVICE_PARAMS_INIT;
 *     params.log = my_log;
 *     enum woq_status st = woq_device_open("vulkan:0", &params, &dev);
 *     if (st) ...
 *     printf("%s\n", woq_device_get_info(dev)->name);
 *     woq_device_destroy(&dev);
 *
 * Drivers are loaded at run time; without any, the reference backend (plain C on the host) is left.
 * To work on objects that the application owns see woq/opencl.h, woq/vulkan.h and woq/cuda.h.
 *
 * Threading: all functions may be called from any thread; one device may be used by several threads.
 */
#ifndef WOQ_DEVICE_H
#define WOQ_DEVICE_H

#include <woq/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_device;

enum woq_backend {
    WOQ_BACKEND_NONE = 0,
    WOQ_BACKEND_REFERENCE,
    WOQ_BACKEND_OPENCL,
    WOQ_BACKEND_VULKAN,
    WOQ_BACKEND_CUDA
};

enum woq_device_kind {
    WOQ_DEVICE_KIND_OTHER = 0,
    WOQ_DEVICE_KIND_CPU,
    WOQ_DEVICE_KIND_INTEGRATED_GPU,
    WOQ_DEVICE_KIND_DISCRETE_GPU,
    WOQ_DEVICE_KIND_ACCELERATOR
};

/* Feature bits of woq_device_info.features. The names in brackets are those of WOQ_EMULATE, which can
 * take a feature away ("no_fp16") but never add one. */
enum woq_feature {
    WOQ_FEATURE_FP16 = 1u << 0,       /* [fp16] arithmetic on binary16 in kernels */
    WOQ_FEATURE_STORAGE16 = 1u << 1,  /* [storage16] 16-bit loads and stores in buffers */
    WOQ_FEATURE_STORAGE8 = 1u << 2,   /* [storage8] 8-bit loads and stores in buffers */
    WOQ_FEATURE_SUBGROUPS = 1u << 3,  /* [subgroups] subgroup operations in kernels */
    WOQ_FEATURE_MATRIX = 1u << 4,     /* [matrix] matrix units reachable (cooperative matrices, MMA) */
    WOQ_FEATURE_HOST_MEMORY = 1u << 5, /* [host_memory] buffers can be mapped without a copy */
    WOQ_FEATURE_TIMESTAMPS = 1u << 6, /* [timestamps] woq_commands_timestamp works */
    WOQ_FEATURE_REPLAY = 1u << 7,     /* [replay] recordings are replayed natively, not re-recorded */
    WOQ_FEATURE_MATRIX_BF16 = 1u << 8, /* [matrix_bf16] matrix units take BF16, too */
    WOQ_FEATURE_SUBNORMAL16 = 1u << 9 /* [subnormal16] kernels and matrix units keep subnormal binary16 numbers */
};

/* What a device is and what it can do, after WOQ_EMULATE was applied. Sizes in bytes. */
struct woq_device_info {
    size_t struct_size; /* size of the struct that this library fills */
    enum woq_backend backend;
    enum woq_device_kind kind;
    uint32_t index;            /* within its backend, as woq_device_open_index takes it */
    char name[128];            /* as the driver tells it */
    char vendor[64];           /* driver or platform vendor */
    char driver[128];          /* driver name and version */
    char selector[16];         /* "vulkan:0": what woq_device_open takes */
    uint32_t features;         /* enum woq_feature, or-ed */
    uint32_t compute_units;    /* multiprocessors, cores, …; 0 = not told */
    uint32_t subgroup_size;    /* default width; 0 = no subgroups or not told */
    uint32_t max_workgroup;    /* invocations of one work-group */
    uint32_t max_groups[3];    /* work-groups of one dispatch in x, y, z */
    uint64_t max_allocation;   /* largest single buffer */
    uint64_t max_binding;      /* largest window of a buffer that one kernel binding may see */
    uint32_t binding_alignment; /* of such a window's offset; a power of two */
    uint32_t shared_memory;    /* work-group local memory */
    uint64_t memory;           /* device memory in all */
    double timestamp_period;   /* ns a tick; 0 = no timestamps */
    char architecture[32];     /* what devices have in common that run the same code: "sm_90", "gfx1100",
                                * "x86-64 vnni"; "" = not told */
};

/* One row of woq_devices_list: a device, or a backend or driver that was refused. */
struct woq_device_entry {
    enum woq_backend backend;
    uint32_t index;
    bool usable;         /* false: `reason` says why */
    bool is_default;     /* what woq_device_open(NULL, …) would take */
    enum woq_device_kind kind;
    char name[128];
    char driver[128];
    char reason[256];    /* empty if usable */
};

struct woq_device_params {
    size_t struct_size; /* sizeof(struct woq_device_params); WOQ_DEVICE_PARAMS_INIT sets it */
    woq_log_fn *log;    /* NULL = silent */
    void *log_user;
    enum woq_log_level log_level; /* least important level delivered; 0 = WOQ_LOG_WARNING */
    /* Lowered limits, e.g. "max_binding=1M,no_fp16"; NULL = the environment's WOQ_EMULATE, "" = none.
     * Keys: max_binding, max_allocation, shared_memory (bytes, suffix K, M, G), max_workgroup,
     * max_groups; no_<feature> with the names at enum woq_feature. A value above the device's own
     * changes nothing. software_matrix: kernels for matrix units (Vulkan's mma, OpenCL's coop) run without any,
     * slowly, so that they can be tested anywhere; =8 or =16 (default): coop as in sub-groups of so many.
     * matrix=<kernel>: of the kernels for matrix units (mma, coop, nv2, wgmma) none but this one, whatever the number
     * of rows, and that on CPUs, too. gpu: products are planned as for a GPU, for the same reason. host_pack: no
     * weights are packed by the device. */
    const char *emulate;
    /* Folder of the on-disk cache of compiled kernels; NULL = $XDG_CACHE_HOME/woq, else
     * $HOME/.cache/woq; "" = no cache. Safe against concurrent processes and kills. */
    const char *cache_dir;
    const struct woq_allocator *allocator; /* NULL = malloc and free; copied */
    /* Trust kernels for matrix units untested. Else each is tested before woq_gemm_create first chooses
     * it on a device and driver (some milliseconds of work on the device; the verdict is kept in the
     * cache), and passed over if its results are wrong; woq_gemm_explain says so. */
    bool skip_self_test;
    /* File of tuning records (woq/tuning.h) to be asked before the library's own; "off" or "" = neither. NULL = the
     * environment's WOQ_TUNING, which is like this, or if that is unset or empty tuning.txt in the folder of the
     * cache; but a device that `emulate` changes is not the one that was measured, and asks records of neither kind
     * then. A file that is not in the format is logged as a warning, and not asked. */
    const char *tuning;
};
#define WOQ_DEVICE_PARAMS_INIT                                                                     \
    {sizeof(struct woq_device_params), NULL, NULL, (enum woq_log_level)0, NULL, NULL, NULL, false, NULL}

/* A kernel that gave wrong numbers in its self-test on a device and driver, and is not used there. */
struct woq_quarantined {
    char kernel[48]; /* its name, as in woq_explain.kernel */
    char found[96];  /* the first wrong number: "y[3][5] is 4, must be 7" */
};

/* Bytes of device memory. */
struct woq_memory_budget {
    uint64_t total;     /* of the device */
    uint64_t available; /* what this process may still allocate, as the driver tells; else total - used */
    uint64_t used;      /* held by buffers of this woq_device */
};

/*
 * Lists every device of every backend built in, and a row for each backend or driver that could not
 * be used, with the reason. entries == NULL: *count becomes the number of rows. Otherwise *count is
 * the array's capacity before and the number of rows written after; more rows are left out silently,
 * so call twice. params may be NULL.
 * Returns WOQ_OK; INVALID_ARGUMENT (count NULL, params invalid); OUT_OF_MEMORY.
 */
WOQ_API enum woq_status woq_devices_list(const struct woq_device_params *params,
                                         struct woq_device_entry *entries, size_t *count);

/*
 * Opens a device. selector: "reference", "opencl", "vulkan:1", "cuda:0", … (no index = 0), or "best";
 * NULL = the environment's WOQ_DEVICE, or "best" if that is unset or empty. "best" prefers a GPU
 * through CUDA, Vulkan, OpenCL, then a CPU through OpenCL, Vulkan, then the reference. Blocks (drivers
 * load).
 * Ownership: *out is the caller's, to be given to woq_device_destroy.
 * Returns WOQ_OK; INVALID_ARGUMENT (selector or emulate malformed, struct_size unknown); NO_DEVICE;
 * OUT_OF_MEMORY; OUT_OF_DEVICE_MEMORY; DEVICE_LOST; COMPILE; DRIVER.
 */
WOQ_API enum woq_status woq_device_open(const char *selector, const struct woq_device_params *params,
                                        struct woq_device **out);

/* As woq_device_open, by backend and index. */
WOQ_API enum woq_status woq_device_open_index(enum woq_backend backend, uint32_t index,
                                              const struct woq_device_params *params,
                                              struct woq_device **out);

/* Releases the caller's hold, writes NULL; accepts NULL and a pointer to NULL. Objects made from the
 * device stay valid: the device closes with the last of them. Blocks until the runs of commands that
 * were destroyed while in flight are done. */
WOQ_API void woq_device_destroy(struct woq_device **device);

/* Never NULL for a valid device; valid as long as the device. */
WOQ_API const struct woq_device_info *woq_device_get_info(const struct woq_device *device);

/* Returns WOQ_OK; INVALID_ARGUMENT; DEVICE_LOST; DRIVER. */
WOQ_API enum woq_status woq_device_memory(struct woq_device *device, struct woq_memory_budget *out);

/*
 * Kernels in quarantine on this device and driver, in the order of their names: those that failed in
 * this process or, by the cache, in another one. Tests nothing: what has not been needed yet is not
 * known. entries and *count as in woq_devices_list. Blocks while a kernel is tested.
 * Returns WOQ_OK; INVALID_ARGUMENT (device or count NULL).
 */
WOQ_API enum woq_status woq_device_quarantine(struct woq_device *device,
                                              struct woq_quarantined *entries, size_t *count);

/* What is known of kernels for a set of a CPU's instructions where the driver is not one that they were written with.
 * Such drivers (PoCL of other versions) may compile them to wrong code, or end the process. */
enum woq_trial_state {
    WOQ_TRIAL_NONE = 0, /* not tried yet: not used */
    WOQ_TRIAL_PASSED,   /* used by devices opened since */
    WOQ_TRIAL_FAILED    /* not used */
};
struct woq_trial {
    char instructions[16]; /* "VNNI": as names of kernels have it, and WOQ_EMULATE=fixed= */
    enum woq_trial_state state;
    char found[160];       /* FAILED: the program, and its first wrong number or what became of it; else empty */
};

/*
 * The sets of instructions that are in doubt on this device, and their verdicts by its cache; most devices have none.
 * entries and *count as in woq_devices_list.
 * Returns WOQ_OK; INVALID_ARGUMENT (device or count NULL).
 */
WOQ_API enum woq_status woq_device_trials(struct woq_device *device, struct woq_trial *entries, size_t *count);

/*
 * Compiles and runs every program for one of these sets on problems with known answers, and keeps the verdict in the
 * cache, by driver, CPU and version of this library. MAY END THE PROCESS, OR NEVER RETURN: for a child process that
 * has opened the device for nothing else, with a limit of time; the verdict is then FAILED already. `woq devices --try`
 * does so. Takes about a minute, if the driver has to compile all programs.
 * Returns WOQ_OK (verdict: see *out, which may be NULL); INVALID_ARGUMENT (device or instructions NULL, none in doubt
 * of this name); UNSUPPORTED (the device has no cache).
 */
WOQ_API enum woq_status woq_device_try(struct woq_device *device, const char *instructions, struct woq_trial *out);

/* "reference", "opencl", "vulkan", "cuda"; "none" for other values. Static storage. */
WOQ_API const char *woq_backend_name(enum woq_backend backend);

/* "fp16", "storage16", … for a single feature bit; NULL for other values. Static storage. */
WOQ_API const char *woq_feature_name(uint32_t feature);

#ifdef __cplusplus
}
#endif
#endif
