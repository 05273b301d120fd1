/* ref_backend.h: what the files of the reference backend share. */
#ifndef WOQI_REF_BACKEND_H
#define WOQI_REF_BACKEND_H

#include "../core/backend.h"

/* ref_buffer.c */
woqi_buffer_create_fn woqi_ref_buffer_create;
woqi_buffer_destroy_fn woqi_ref_buffer_destroy;
woqi_buffer_write_fn woqi_ref_buffer_write;
woqi_buffer_read_fn woqi_ref_buffer_read;
woqi_buffer_map_fn woqi_ref_buffer_map;
woqi_buffer_unmap_fn woqi_ref_buffer_unmap;

/* ref_kernel.c */
woqi_kernel_probe_fn woqi_ref_kernel_probe;
woqi_kernel_create_fn woqi_ref_kernel_create;
woqi_kernel_destroy_fn woqi_ref_kernel_destroy;

/* All m × n outputs of one step of the kernel floor, or of fixed. bind: host addresses of the WOQ_BIND_… windows. */
void woqi_ref_product(enum woqi_kernel_id kernel, const struct woqi_args *args, uint8_t *const bind[WOQ_BIND_COUNT]);

/* ref_fixed.c: the kernel xfixed. */
void woqi_ref_xfixed(const struct woqi_args *args, uint8_t *const bind[WOQ_BIND_COUNT]);

/* ref_sequence.c */
woqi_sequence_create_fn woqi_ref_sequence_create;
woqi_sequence_submit_fn woqi_ref_sequence_submit;
woqi_sequence_wait_fn woqi_ref_sequence_wait;
woqi_sequence_times_fn woqi_ref_sequence_times;
woqi_sequence_destroy_fn woqi_ref_sequence_destroy;

#endif
