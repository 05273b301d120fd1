/* ref_backend.h: what the files of the reference backend share. */
#ifndef WOQI_REF_BACKEND_H
#define WOQI_REF_BACKEND_H

#include "../core/backend.h"

/* ref_buffer.c */
enum woq_status woqi_ref_buffer_create(struct woq_buffer *buffer);
void woqi_ref_buffer_destroy(struct woq_buffer *buffer);
enum woq_status woqi_ref_buffer_write(struct woq_buffer *buffer, uint64_t offset,
                                      const void *source, uint64_t size);
enum woq_status woqi_ref_buffer_read(struct woq_buffer *buffer, uint64_t offset, void *target,
                                     uint64_t size);
enum woq_status woqi_ref_buffer_map(struct woq_buffer *buffer, void **pointer);
enum woq_status woqi_ref_buffer_unmap(struct woq_buffer *buffer);

/* ref_kernel.c */
bool woqi_ref_kernel_probe(struct woq_device *device, enum woqi_kernel_id id, char *reason,
                           size_t size);
enum woq_status woqi_ref_kernel_create(struct woqi_kernel *kernel);
void woqi_ref_kernel_destroy(struct woqi_kernel *kernel);

/* The floor kernel: all m × n outputs of one step. bind: host addresses of the WOQ_BIND_… windows.
 */
void woqi_ref_floor(const struct woqi_args *args, uint8_t *const bind[WOQ_BIND_COUNT]);

/* ref_sequence.c */
enum woq_status woqi_ref_sequence_create(struct woqi_sequence *sequence,
                                         const struct woqi_step *steps);
enum woq_status woqi_ref_sequence_submit(struct woqi_sequence *sequence, uint32_t instance,
                                         const struct woqi_step *steps);
enum woq_status woqi_ref_sequence_wait(struct woqi_sequence *sequence, uint32_t instance,
                                       uint64_t timeout_ns);
enum woq_status woqi_ref_sequence_times(struct woqi_sequence *sequence, uint32_t instance,
                                        uint64_t *ns, size_t count);
void woqi_ref_sequence_destroy(struct woqi_sequence *sequence);

#endif
