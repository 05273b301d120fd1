/*
 * activations.h: rows of activations of all samples, in memory, or beyond a limit in a mapped file.
 */
#ifndef WOQI_ACTIVATIONS_H
#define WOQI_ACTIVATIONS_H

#include <woq/base.h>

struct woqi_activations {
    void *data;       /* [rows] of row_bytes, zeroed */
    uint64_t bytes;
    bool mapped;      /* of an unlinked file */
};

/*
 * directory: where a file would lie ("/tmp" if NULL); limit: bytes that may be memory; 0 rows or bytes: nothing, which
 * is fine. *out is released by woqi_activations_release, and zeroed after a failure.
 * Returns WOQ_OK; OUT_OF_MEMORY; DRIVER (no room for the file: the message has bytes, directory and the system's words;
 * blocks are allocated at once, so that a full disk is an error here and no signal later).
 */
enum woq_status woqi_activations_create(uint64_t rows, uint64_t row_bytes, uint64_t limit, const char *directory,
                                        struct woqi_activations *out);
void woqi_activations_release(struct woqi_activations *a); /* accepts a zeroed one */

#endif
