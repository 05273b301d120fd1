/*
 * backend.h: the table of functions behind every device, and the steps it executes.
 *
 * Division of labour: core validates arguments, plans, slices and resolves; a backend translates
 * resolved steps and never chooses or re-validates. It maps native codes to woq_status once, and logs
 * each native failure with the call's text and the code's name (woqi_fail in log.h).
 *
 * A backend is five files, <p>_loader, <p>_device, <p>_buffer, <p>_kernel, <p>_sequence, with
 * p = cl, vk, cu; ref needs no loader. Its one exported symbol is woqi_backend_<name>.
 *
 * Threading: core calls any slot from any thread; for one sequence, one at a time. A backend guards
 * what its objects share (queue, pools) with locks of its own.
 *
 * Every out parameter is filled only on WOQ_OK. destroy slots accept half-built objects (impl NULL).
 */
#ifndef WOQI_BACKEND_H
#define WOQI_BACKEND_H

#include "object.h"

/* Of WGMMA, behind those of WOQ_BIND_…, where its work-groups share tiles. */
#define WOQI_BIND_SUMS  WOQ_BIND_COUNT
#define WOQI_BIND_FLAGS (WOQ_BIND_COUNT + 1)
#define WOQI_MAX_BIND   (WOQ_BIND_COUNT + 2)

/* A window of a buffer. offset is a multiple of info.binding_alignment; size ≤ info.max_binding, a
 * multiple of 4 (it may reach up to 3 bytes beyond buffer->size: allocate, or import, multiples of 4). */
struct woqi_bind {
    struct woq_buffer *buffer;
    uint64_t offset, size;
};

enum woqi_step_kind {
    WOQI_STEP_OFF,       /* nothing this time; keeps its kernel, so that a replay can turn it on */
    WOQI_STEP_DISPATCH,
    WOQI_STEP_COPY,      /* bind[0] to bind[1], bind[0].size bytes; offsets multiples of 4 */
    WOQI_STEP_BARRIER,   /* all before it is visible to all after it */
    WOQI_STEP_TIMESTAMP  /* device time once all before it is done; a barrier too */
};

struct woqi_step {
    enum woqi_step_kind kind;
    struct woqi_kernel *kernel; /* DISPATCH and OFF */
    uint32_t groups[3];         /* work-groups, each ≥ 1 */
    uint32_t nbind;
    struct woqi_bind bind[WOQI_MAX_BIND]; /* order: WOQ_BIND_…; unused ones among them repeat another window */
    struct woqi_args args;
    bool fixed_weights; /* DISPATCH: no step writes the window WEIGHTS; it may be read before earlier steps end */
    uint32_t index; /* TIMESTAMP: 0 … WOQ_MAX_TIMESTAMPS-1, each at most once, in any order */
};

/* A native recording of a list of steps, replayed with new steps of the same skeleton: equal in
 * number, and for each step equal in kernel and in kind (OFF and DISPATCH count as equal). */
struct woqi_sequence {
    struct woq_device *device;
    uint32_t count;     /* steps */
    uint32_t instances; /* runs that may be in flight; each has its own arguments */
    void *impl;
};

/* Receives rows of woq_devices_list; copies `entry`. */
struct woqi_enumeration {
    void (*emit)(struct woqi_enumeration *self, const struct woq_device_entry *entry);
};

/*
 * The slots. Each is a named function type, which the table and the functions of every backend share;
 * the name of a slot is that of its type without woqi_ and _fn.
 */

/* Emits a row for each device, in the order of its index, and one (usable = false, index 0) with the
 * reason if there is none or a driver was refused. Fails only for want of host memory. */
typedef enum woq_status woqi_enumerate_fn(struct woqi_enumeration *out);

/* Opens device `index`, or the guest's own if `guest` (woq_<api>_params) is not NULL. On entry core has
 * set backend, allocator, log, cache and info.index; the backend sets info (struct_size, backend and
 * selector excepted), its index if the guest's is another one, and impl. On failure it leaves nothing
 * behind. */
typedef enum woq_status woqi_open_fn(struct woq_device *device, uint32_t index, const void *guest);
/* Waits for the device's work first. */
typedef void woqi_close_fn(struct woq_device *device);
/* Both in bytes. */
typedef enum woq_status woqi_memory_fn(struct woq_device *device, uint64_t *total,
                                       uint64_t *available);

/* device, size and flags are set. */
typedef enum woq_status woqi_buffer_create_fn(struct woq_buffer *buffer);
/* Imported: drops only what import took. */
typedef void woqi_buffer_destroy_fn(struct woq_buffer *buffer);
/* Blocking, after all work submitted before. */
typedef enum woq_status woqi_buffer_write_fn(struct woq_buffer *buffer, uint64_t offset,
                                             const void *source, uint64_t size);
typedef enum woq_status woqi_buffer_read_fn(struct woq_buffer *buffer, uint64_t offset, void *target,
                                            uint64_t size);
/* Writes bytes at … at+size-1 of what is uploaded. */
typedef void woqi_fill_fn(const void *user, uint64_t at, uint64_t size, uint8_t *out);
/* A write of `size` bytes that fill makes, piece after piece, in memory of the backend's choice; all of them when this
 * returns. They reach the buffer after all work submitted before, and before all that is submitted later. */
typedef enum woq_status woqi_buffer_upload_fn(struct woq_buffer *buffer, uint64_t offset, uint64_t size,
                                              woqi_fill_fn *fill, const void *user);
typedef enum woq_status woqi_buffer_map_fn(struct woq_buffer *buffer, void **pointer);
typedef enum woq_status woqi_buffer_unmap_fn(struct woq_buffer *buffer);

/* The layout that all kernels of this device read for such weights. */
typedef enum woqi_layout woqi_layout_fn(struct woq_device *device, const struct woq_format *format);

/* Can this device run the kernel at all? If not, writes why (a phrase, no full stop). Builds nothing.
 * Judges by device->info, which emulation may have lowered. */
typedef bool woqi_kernel_probe_fn(struct woq_device *device, struct woqi_kernel_key key,
                                  char *reason, size_t reason_size);
/* device, key, entry, name and local_x are set; local_x of COOP and NV2 is set here. What takes the driver long may
 * wait for the first recording that needs the kernel. */
typedef enum woq_status woqi_kernel_create_fn(struct woqi_kernel *kernel);
typedef void woqi_kernel_destroy_fn(struct woqi_kernel *kernel);

/* Makes a recording with the skeleton of `steps`; allocates all that its runs will need. */
typedef enum woq_status woqi_sequence_create_fn(struct woqi_sequence *sequence,
                                                const struct woqi_step *steps);
/* Submits the steps through `instance`, which is not in flight; allocates nothing. Runs of a device
 * execute in the order of submission; each sees what earlier ones wrote. */
typedef enum woq_status woqi_sequence_submit_fn(struct woqi_sequence *sequence, uint32_t instance,
                                                const struct woqi_step *steps);
/* WOQ_OK when the last submission through `instance` is done, else WOQ_ERROR_TIMEOUT after timeout_ns;
 * UINT64_MAX = for ever, 0 = ask. After OUT_OF_MEMORY it may still run; after any other failure it has
 * ended. */
typedef enum woq_status woqi_sequence_wait_fn(struct woqi_sequence *sequence, uint32_t instance,
                                              uint64_t timeout_ns);
/* ns[i] of timestamp index i, for all i < count; 0 where none was recorded. The instance is done. */
typedef enum woq_status woqi_sequence_times_fn(struct woqi_sequence *sequence, uint32_t instance,
                                               uint64_t *ns, size_t count);
/* Nothing is in flight any more. */
typedef void woqi_sequence_destroy_fn(struct woqi_sequence *sequence);

/* Translates steps into the caller's recording (struct woqi_<p>_target of the backend). What must live
 * as long as that recording goes to *keep, and back through record_release. */
typedef enum woq_status woqi_record_fn(struct woq_device *device, const struct woqi_step *steps,
                                       uint32_t count, const void *target, void **keep);
typedef void woqi_record_release_fn(struct woq_device *device, void *keep);

struct woqi_backend {
    enum woq_backend id;
    woqi_enumerate_fn *enumerate;
    woqi_open_fn *open;
    woqi_close_fn *close;
    woqi_memory_fn *memory;
    woqi_buffer_create_fn *buffer_create;
    woqi_buffer_destroy_fn *buffer_destroy;
    woqi_buffer_write_fn *buffer_write;
    woqi_buffer_read_fn *buffer_read;
    woqi_buffer_upload_fn *buffer_upload; /* (optional) NULL: weights are packed on the host */
    woqi_buffer_map_fn *buffer_map;     /* (optional) NULL: no HOST_MEMORY feature */
    woqi_buffer_unmap_fn *buffer_unmap; /* (optional) likewise */
    woqi_layout_fn *layout;
    woqi_kernel_probe_fn *kernel_probe;
    woqi_kernel_create_fn *kernel_create;
    woqi_kernel_destroy_fn *kernel_destroy;
    woqi_sequence_create_fn *sequence_create;
    woqi_sequence_submit_fn *sequence_submit;
    woqi_sequence_wait_fn *sequence_wait;
    woqi_sequence_times_fn *sequence_times; /* (optional) NULL: no TIMESTAMPS feature */
    woqi_sequence_destroy_fn *sequence_destroy;
    woqi_record_fn *record;
    woqi_record_release_fn *record_release;
};

extern const struct woqi_backend woqi_backend_reference;
extern const struct woqi_backend woqi_backend_opencl;
extern const struct woqi_backend woqi_backend_vulkan;
extern const struct woqi_backend woqi_backend_cuda;

/* ---- What core offers to a backend's guest functions (woq_<api>_… of the public headers) ---- */

/* The whole of opening: allocates, applies params, calls backend->open. */
enum woq_status woqi_device_open(const struct woqi_backend *backend, uint32_t index, const void *guest,
                                 const struct woq_device_params *params, struct woq_device **out);

/* A buffer object for imported memory with impl set to `impl`; the caller keeps impl on failure. */
enum woq_status woqi_buffer_adopt(struct woq_device *device, uint64_t size, void *impl,
                                  struct woq_buffer **out);

/* Resolves bindings and passes the steps to backend->record with `target`. */
enum woq_status woqi_commands_record(struct woq_commands *commands,
                                     const struct woq_binding *bindings, size_t count,
                                     const struct woqi_backend *backend, const void *target);

#endif
