/*
 * region.h: a matrix in a buffer of its own, with canary bytes before, between and after its rows.
 *
 * The host keeps an image of what every byte of the buffer must be.
 */
#ifndef TEST_REGION_H
#define TEST_REGION_H

#include <woq/buffer.h>

struct test_region {
    struct woq_buffer *buffer;
    struct woq_view view;
    uint64_t size, rows, row_bytes;
    uint8_t *image;  /* [size] */
    uint8_t *actual; /* [size], as last read */
};

/* rows × row_bytes of `content` (dense; NULL = bytes 0xff, a NaN in every type), the first `lead`
 * bytes beyond a canary, rows `pad` bytes apart. Prints what fails and returns false. */
bool region_create(struct woq_device *device, uint64_t rows, uint64_t row_bytes,
                   const void *content, uint64_t lead, uint64_t pad, struct test_region *out);
void region_destroy(struct test_region *region);

/* Writes the image to the buffer. */
bool region_reset(struct test_region *region);

/* Reads the buffer, and checks the bytes outside the rows against the image, or all bytes. */
bool region_read(struct test_region *region, const char *name);
bool region_unchanged(struct test_region *region, const char *name);

/* Row r as last read. */
const uint8_t *region_row(const struct test_region *region, uint64_t row);

/* Prints what a call said if st is not WOQ_OK; returns whether it is. */
bool test_ok(enum woq_status st, const char *call);

#endif
