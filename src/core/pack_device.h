/*
 * pack_device.h: weights packed by the device: the sources go there as they are, a chunk at a time, and kernel PACK
 * writes the same bytes to a tile as pack.h does.
 *
 * Threading: one thread at a time.
 */
#ifndef WOQI_PACK_DEVICE_H
#define WOQI_PACK_DEVICE_H

#include "pack.h"

struct woqi_pack_device;

/* For tiles of at most `rows` rows of a packer, which must outlive it. *out is NULL, with WOQ_OK, where the device does
 * not pack: it has no such kernel, no uploads, or another layout. */
enum woq_status woqi_pack_device_create(const struct woqi_packer *packer, uint64_t rows,
                                        struct woqi_pack_device **out);
/* Waits for the device. Accepts NULL. */
void woqi_pack_device_destroy(struct woqi_pack_device *self);

/* Queues all of a tile: codes, scales, zeros, perm. Its buffer must live until the device has been waited for. */
enum woq_status woqi_pack_device_tile(struct woqi_pack_device *self, const struct woqi_tile *tile);

/* Waits for the device. *ns: the time that the kernel took, by the device's clock; 0 if it has none. */
enum woq_status woqi_pack_device_finish(struct woqi_pack_device *self, uint64_t *ns);

#endif
