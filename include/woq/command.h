/*
 * woq/command.h: recording work once and running it many times.
 *
 *     uint32_t m, x, y; uint64_t ticket;
 *     woq_commands_create(dev, NULL, &cmds);
 *     woq_commands_slot_m(cmds, 64, &m);
 *     woq_commands_slot_view(cmds, WOQ_ACCESS_READ, &x);
 *     woq_commands_slot_view(cmds, WOQ_ACCESS_WRITE, &y);
 *     woq_commands_gemm(cmds, gemm, m, x, y, WOQ_NO_SLOT, WOQ_NO_SLOT);
 *     woq_commands_end(cmds);
 *     struct woq_binding b[] = {{m, 7, {0}}, {x, 0, {xbuf, 0, 0}}, {y, 0, {ybuf, 0, 0}}};
 *     woq_commands_run(cmds, b, 3, &ticket);
 *     woq_commands_wait(cmds, ticket, WOQ_FOREVER);
 *
 * M and the matrices are slots, bound at each run; the caller never records again. What a slot was
 * bound to stays bound for later runs.
 *
 * Order: runs of one device execute in the order of submission and each sees what earlier ones wrote.
 * Inside a recording, work between two barriers is independent and may overlap or be reordered; a
 * barrier makes all that was recorded before it visible to all that follows.
 *
 * Allocation: the first run of a path class (the kernels that the bound values of M select) may
 * allocate and compile; later runs of it allocate nothing. woq_commands_prepare builds all classes of
 * dense views beforehand.
 *
 * Threading: one commands object must not be used by two threads at once; different ones may.
 */
#ifndef WOQ_COMMAND_H
#define WOQ_COMMAND_H

#include <woq/buffer.h>
#include <woq/gemm.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_commands;

#define WOQ_NO_SLOT UINT32_MAX
#define WOQ_FOREVER UINT64_MAX
#define WOQ_MAX_IN_FLIGHT 8
#define WOQ_MAX_TIMESTAMPS 256

enum woq_access { WOQ_ACCESS_READ = 1, WOQ_ACCESS_WRITE = 2, WOQ_ACCESS_READ_WRITE = 3 };

struct woq_commands_params {
    size_t struct_size;
    uint32_t in_flight;        /* runs that may be pending at once, 1 … WOQ_MAX_IN_FLIGHT; 0 = 2 */
    struct woq_view workspace; /* buffer NULL = the library allocates; else offset a multiple of 256,
                                  row_stride ignored, everything to the buffer's end may be used */
};
#define WOQ_COMMANDS_PARAMS_INIT {sizeof(struct woq_commands_params), 0, {NULL, 0, 0}}

struct woq_binding {
    uint32_t slot;
    uint32_t m;           /* for M slots: 0 … the slot's max_m; 0 = the products do nothing */
    struct woq_view view; /* for view slots */
};

/* Ownership: *out is the caller's. params NULL = defaults.
 * Returns WOQ_OK; INVALID_ARGUMENT; OUT_OF_MEMORY; DEVICE_LOST; DRIVER. */
WOQ_API enum woq_status woq_commands_create(struct woq_device *device,
                                            const struct woq_commands_params *params,
                                            struct woq_commands **out);

/* Writes NULL; accepts NULL. Runs in flight go on; what they use is released when they are done. */
WOQ_API void woq_commands_destroy(struct woq_commands **commands);

/* Declares a slot. Slots may be used by several recorded operations.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_STATE (ended); OUT_OF_MEMORY. */
WOQ_API enum woq_status woq_commands_slot_m(struct woq_commands *commands, uint32_t max_m,
                                            uint32_t *slot);
WOQ_API enum woq_status woq_commands_slot_view(struct woq_commands *commands, enum woq_access access,
                                               uint32_t *slot);

/* Records a product. x, bias, residual need read access, y write access; bias and residual are
 * WOQ_NO_SLOT exactly where the GEMM has none. residual may be y's slot, or be bound to y's view;
 * every other overlap of y with an input is refused at the run.
 * Returns WOQ_OK; INVALID_ARGUMENT (slot of the wrong kind or access, m slot's max_m > the GEMM's,
 * GEMM of another device); INVALID_STATE (ended); OUT_OF_MEMORY; OVERFLOW. */
WOQ_API enum woq_status woq_commands_gemm(struct woq_commands *commands, struct woq_gemm *gemm,
                                          uint32_t m, uint32_t x, uint32_t y, uint32_t bias,
                                          uint32_t residual);

/* Records a copy of `size` bytes (a multiple of 4, as are the offsets of the views bound) from the
 * beginning of one view to the beginning of another; the two must not overlap. */
WOQ_API enum woq_status woq_commands_copy(struct woq_commands *commands, uint32_t source,
                                          uint32_t target, uint64_t size);

WOQ_API enum woq_status woq_commands_barrier(struct woq_commands *commands);

/* Records the device's time once everything recorded before is done. index < WOQ_MAX_TIMESTAMPS and
 * not used before in this recording; acts as a barrier.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_STATE; UNSUPPORTED (no WOQ_FEATURE_TIMESTAMPS). */
WOQ_API enum woq_status woq_commands_timestamp(struct woq_commands *commands, uint32_t index);

/* Ends the recording and allocates the workspace. Must be called once, before prepare and run.
 * Returns WOQ_OK; INVALID_STATE; INVALID_ARGUMENT (workspace given but too small: the message has the
 * bytes needed); OUT_OF_MEMORY; OUT_OF_DEVICE_MEMORY; DRIVER. */
WOQ_API enum woq_status woq_commands_end(struct woq_commands *commands);

/* Bytes of workspace the recording uses. Returns WOQ_OK; INVALID_ARGUMENT; INVALID_STATE (open). */
WOQ_API enum woq_status woq_commands_workspace(const struct woq_commands *commands, uint64_t *bytes);

/* Builds every path class that values of M can select for dense views.
 * Returns WOQ_OK; INVALID_STATE; UNSUPPORTED (more than 64 classes: they are then built when first
 * run); and what woq_commands_run returns. */
WOQ_API enum woq_status woq_commands_prepare(struct woq_commands *commands);

/*
 * Submits one run and returns at once. ticket may be NULL. Tickets count 1, 2, 3, … for each commands
 * object. On failure the bindings are as before the call and nothing was submitted; only when an
 * OpenCL driver fails in the middle of enqueueing may the steps before have run, and outputs are
 * undefined.
 * Returns WOQ_OK; INVALID_ARGUMENT (slot unbound or unknown, m > max_m, view outside its buffer or
 * misaligned, row stride too small, overlap, buffer of another device or mapped); INVALID_STATE (not
 * ended); BUSY (in_flight runs pending); UNSUPPORTED (one row of a view exceeds the binding limit);
 * OUT_OF_MEMORY; OUT_OF_DEVICE_MEMORY; COMPILE (first run of a class); DEVICE_LOST; DRIVER.
 */
WOQ_API enum woq_status woq_commands_run(struct woq_commands *commands,
                                         const struct woq_binding *bindings, size_t count,
                                         uint64_t *ticket);

/* Blocks until the run is done or timeout_ns (nanoseconds) have passed; 0 = ask only; WOQ_FOREVER.
 * Returns WOQ_OK; TIMEOUT; INVALID_ARGUMENT (no such ticket); OUT_OF_MEMORY (ask again); DEVICE_LOST;
 * DRIVER. */
WOQ_API enum woq_status woq_commands_wait(struct woq_commands *commands, uint64_t ticket,
                                          uint64_t timeout_ns);

/* Times recorded by a finished run, in ns since an arbitrary moment, by timestamp index, for indices
 * 0 … count-1; 0 where nothing was recorded. Valid until `in_flight` further runs were submitted.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_STATE (run not done, or too old); DRIVER. */
WOQ_API enum woq_status woq_commands_timestamps(struct woq_commands *commands, uint64_t ticket,
                                                uint64_t *ns, size_t count);

#ifdef __cplusplus
}
#endif
#endif
