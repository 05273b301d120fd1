/*
 * object.h: the structs behind the public handles, as core and backends share them.
 *
 * Core owns every field but `impl`, which is the backend's. Objects are reference counted: the
 * caller's handle is one reference, each object that needs another holds one, and so does each run in
 * flight.
 */
#ifndef WOQI_OBJECT_H
#define WOQI_OBJECT_H

#include <pthread.h>
#include <stdatomic.h>
#include <woq/command.h>

#include "args.h"
#include "kernels.h"
#include "layout.h"

#define WOQI_TUNING_SETS 2

struct woqi_backend;
struct woqi_cache;
struct woqi_tuning_record;

/* A text of tuning records, read (tuning.h). */
struct woqi_tuning {
    char *text;
    char *source; /* a file's name */
    struct woqi_tuning_record *records;
    size_t count;
};
struct woqi_verdict;

struct woqi_log {
    woq_log_fn *fn;
    void *user;
    enum woq_log_level level;
    pthread_mutex_t lock;
};

struct woqi_kernel {
    struct woq_device *device;
    struct woqi_kernel *next; /* of the device */
    struct woqi_kernel_key key;
    const char *entry;        /* name of the source and of the entry point */
    char name[56];            /* entry, and what it is built for */
    uint32_t local_x;  /* work-group size in x; y = z = 1 */
    void *impl;
};

struct woq_device {
    const struct woqi_backend *backend;
    struct woq_device_info info; /* set by the backend's open, then lowered by emulation */
    struct woq_allocator allocator;
    struct woqi_log log;
    struct woqi_cache *cache; /* NULL = off */
    atomic_int refs;
    bool handle;              /* the caller's handle is alive; guarded by lock */
    pthread_mutex_t lock;     /* kernels, retired; backends may not take it */
    struct woqi_kernel *kernels;                    /* built on first need */
    struct woq_commands *retired;                   /* destroyed while in flight */
    uint32_t software_matrix; /* WOQ_EMULATE: kernels do without matrix units, OpenCL's in sub-groups of 8 or 16 */
    enum woqi_kernel_id only_matrix;                /* WOQ_EMULATE: of the kernels for matrix units; 0 = any */
    bool host_pack;                                 /* WOQ_EMULATE: weights are packed on the host */
    uint32_t only_fixed;                            /* WOQ_EMULATE: of the blocks of FIXED; 0 = any */
    bool self_test;                                 /* else kernels are trusted untested */
    pthread_mutex_t selftest_lock;                  /* verdicts; held while a kernel is tested */
    struct woqi_verdict *verdicts;                  /* on kernels */
    struct woqi_tuning tuning[WOQI_TUNING_SETS];    /* the user's records, and the library's */
    uint32_t doubted;         /* bits WOQ_DOT_…: the CPU has them, its driver may not survive them; set by open */
    char doubted_key[17];     /* hash of driver and CPU, for verdicts on them; set by open */
    uint32_t tried;           /* of them, the one under trial in this process (trial.h) */
    void (*drain)(struct woq_device *device);       /* waits for the retired; set with the first */
    atomic_uint_least64_t used;                     /* bytes in buffers */
    void *impl;
};

struct woq_buffer {
    struct woq_device *device;
    uint64_t size;      /* bytes the caller may use; the backend may round its own up */
    uint32_t flags;
    bool imported;
    bool mapped;
    atomic_int refs;
    void *impl;
};

#endif
