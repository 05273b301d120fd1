/*
 * tuning.h: tuning records: which variant of which path a product of some rows runs on, as measured somewhere.
 *
 * Text, a record a line (woq/tuning.h has the format). Two sets of them are asked, one that a user's program wrote and
 * the one that is part of the library. Variants that a record names need not exist, and need not fit a product: the
 * planner decides, and goes on as without a record.
 *
 * Threading: a device's records do not change once it is open.
 */
#ifndef WOQI_TUNING_H
#define WOQI_TUNING_H

#include <woq/tuning.h>

#include "object.h"

#define WOQI_TUNING_SIZE (1u << 20) /* bytes of a text at most */

/* Texts belong to the set, words one blank apart. */
struct woqi_tuning_record {
    const char *head;    /* whose: device opencl "name" 2 "driver" */
    const char *product; /* of what: u4 symmetric g128 f16 default 4096x4096 */
    const char *ways;    /* 1-8 gemv/gemv 9-64 gemm/xprep+gemm */
    const char *comment; /* "" = none */
    uint64_t n, k;       /* of the product */
    uint32_t line;       /* in its source */
    const char *source;  /* a file's name */
};

/* False, and why (or "" for want of memory), if the text is not what woq/tuning.h says. Out: to be freed either way. */
bool woqi_tuning_parse(const struct woq_allocator *allocator, const char *source, const char *text, size_t size,
                       struct woqi_tuning *out, char *why, size_t why_size);
void woqi_tuning_free(const struct woq_allocator *allocator, struct woqi_tuning *tuning);

/* What records of the device begin with. */
void woqi_tuning_head(const struct woq_device *device, enum woq_tuning_scope scope, char out[WOQ_TUNING_LINE]);

/* The record for a product: of the device with this driver, of the device, of its architecture, of its vendor, in this
 * order; of several the one with the nearest shape; then the user's. N and K are at most twice or half the record's.
 * NULL: none. */
const struct woqi_tuning_record *woqi_tuning_find(const struct woq_device *device, const char *product, uint64_t n,
                                                  uint64_t k);

/* What a record says about m rows. */
struct woqi_tuning_way {
    char variant[WOQ_VARIANT_NAME]; /* "" = nothing */
    uint32_t last;                  /* rows up to which that holds */
};
void woqi_tuning_way(const struct woqi_tuning_record *record, uint32_t m, struct woqi_tuning_way *out);

/* Of a record, its comment aside. Never 0. */
uint64_t woqi_tuning_fingerprint(const struct woqi_tuning_record *record);

/* ---- tuning_file.c ---- */

/* The records that a device asks: where as woq_device_params.tuning. Text that cannot be read or understood is logged,
 * and counts as absent. Returns WOQ_OK; OUT_OF_MEMORY. */
enum woq_status woqi_tuning_open(struct woq_device *device, const char *where, const char *cache_dir, bool emulated);
void woqi_tuning_close(struct woq_device *device);

#endif
