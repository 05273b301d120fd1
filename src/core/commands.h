/*
 * commands.h: the commands object, as recording (record.c), resolution (resolve.c) and running (run.c)
 * share it.
 *
 * A recording is a list of operations in phases; a barrier ends a phase. Resolving it for the bound
 * values gives a list of steps. Lists of equal skeleton (kinds and kernels, see woqi_sequence) form a
 * path class, which has one native sequence, made at its first run.
 */
#ifndef WOQI_COMMANDS_H
#define WOQI_COMMANDS_H

#include "core.h"
#include "paths.h"

enum woqi_slot_kind { WOQI_SLOT_M, WOQI_SLOT_VIEW };

struct woqi_slot {
    enum woqi_slot_kind kind;
    uint32_t max_m;         /* M slots */
    enum woq_access access; /* view slots */
    bool bound;
    uint32_t m;
    struct woq_view view;
};

enum woqi_op_kind { WOQI_OP_GEMM, WOQI_OP_COPY, WOQI_OP_BARRIER, WOQI_OP_TIMESTAMP };

struct woqi_op {
    enum woqi_op_kind kind;
    struct woq_gemm *gemm;
    uint32_t m, x, y, bias, residual; /* slots; COPY: from x to y */
    uint64_t size;                    /* COPY: bytes */
    uint32_t index;                   /* TIMESTAMP */
    uint64_t workspace, flags;        /* GEMM: offset of its part */
    /* While resolving: */
    struct woqi_operands operands;
    struct woqi_slicing slicing;
};

struct woqi_steps {
    struct woqi_step *list;
    size_t count, capacity;
};

struct woqi_class {
    struct woqi_class *next;
    struct woqi_sequence sequence;
    struct woqi_skeleton *skeleton; /* [sequence.count] */
};

struct woqi_skeleton {
    enum woqi_step_kind kind; /* OFF stands for DISPATCH too */
    struct woqi_kernel *kernel;
};

/* A run that may be in flight, with what it uses. */
struct woqi_flight {
    uint64_t ticket; /* 0 = never used */
    bool pending;
    struct woqi_class *path_class;
    struct woq_buffer **buffers; /* [slot_count], NULL for M slots */
};

struct woqi_record {
    struct woqi_record *next;
    void *keep;
    struct woq_buffer **buffers; /* [slot_count] */
};

struct woq_commands {
    struct woq_device *device;
    struct woq_commands *next_retired;
    bool ended;
    uint32_t in_flight;
    struct woq_view workspace; /* given by the caller, or ours from end on */
    bool own_workspace;
    uint64_t workspace_bytes;
    struct woq_buffer *flags;  /* of the products, 0 between runs; NULL if they have none */
    uint64_t flags_bytes;

    struct woqi_slot *slots, *trial; /* trial: the bindings of a run until it is accepted */
    size_t slot_count, slot_capacity;
    struct woqi_op *ops;
    size_t op_count, op_capacity;
    bool stamped[WOQ_MAX_TIMESTAMPS];

    struct woqi_steps steps;
    struct woqi_class *classes, *last;
    struct woqi_flight flights[WOQ_MAX_IN_FLIGHT];
    struct woqi_record *records;
    struct woq_buffer *placeholder; /* stands for unbound views in prepare */
    uint64_t ticket;                /* of the last run */
};

/* ---- resolve.c ---- */

/* Checks `slots` (each bound) and fills commands->steps. */
enum woq_status woqi_commands_resolve(struct woq_commands *commands, const struct woqi_slot *slots);

/* Copies the bindings over commands->slots into commands->trial, checked one by one. */
enum woq_status woqi_commands_bind(struct woq_commands *commands, const struct woq_binding *bindings,
                                   size_t count);

/* ---- run.c ---- */

/* Finds or makes the class of commands->steps. */
enum woq_status woqi_commands_class(struct woq_commands *commands, struct woqi_class **out);

#endif
