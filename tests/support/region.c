/* region.c: matrices among canaries. */
#include "region.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANARY_BYTES 64

bool test_ok(enum woq_status st, const char *call)
{
    if (st)
        fprintf(stderr, "%s: %s: %s\n", call, woq_status_string(st), woq_last_message());
    return st == WOQ_OK;
}

bool region_create(struct woq_device *device, uint64_t rows, uint64_t row_bytes,
                   const void *content, uint64_t lead, uint64_t pad, struct test_region *out)
{
    const uint64_t stride = row_bytes + pad;
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    *out = (struct test_region){.rows = rows, .row_bytes = row_bytes};
    out->size = params.size = CANARY_BYTES + lead + rows * stride + CANARY_BYTES;
    out->image = malloc(out->size);
    out->actual = malloc(out->size);
    if (!out->image || !out->actual ||
        !test_ok(woq_buffer_create(device, &params, &out->buffer), "woq_buffer_create")) {
        region_destroy(out);
        return false;
    }
    out->view = (struct woq_view){out->buffer, CANARY_BYTES + lead, pad ? stride : 0};
    for (uint64_t i = 0; i < out->size; i++)
        out->image[i] = (uint8_t)(0xa0 + i % 23);
    for (uint64_t row = 0; row < rows; row++) {
        uint8_t *p = out->image + out->view.offset + row * stride;
        if (content)
            memcpy(p, (const uint8_t *)content + row * row_bytes, row_bytes);
        else
            memset(p, 0xff, row_bytes);
    }
    if (!region_reset(out)) {
        region_destroy(out);
        return false;
    }
    return true;
}

void region_destroy(struct test_region *region)
{
    woq_buffer_destroy(&region->buffer);
    free(region->image);
    free(region->actual);
    *region = (struct test_region){0};
}

bool region_reset(struct test_region *region)
{
    return test_ok(woq_buffer_write(region->buffer, 0, region->image, region->size),
                   "woq_buffer_write");
}

static uint64_t row_start(const struct test_region *region, uint64_t row)
{
    const uint64_t stride = region->view.row_stride ? region->view.row_stride : region->row_bytes;
    return region->view.offset + row * stride;
}

const uint8_t *region_row(const struct test_region *region, uint64_t row)
{
    return region->actual + row_start(region, row);
}

static bool same_bytes(const struct test_region *region, const char *name, uint64_t begin,
                       uint64_t end)
{
    for (uint64_t i = begin; i < end; i++) {
        if (region->image[i] != region->actual[i]) {
            fprintf(stderr, "%s: byte %llu (view begins at %llu) became 0x%02x, was 0x%02x\n", name,
                    (unsigned long long)i, (unsigned long long)region->view.offset,
                    region->actual[i], region->image[i]);
            return false;
        }
    }
    return true;
}

static bool fetch(struct test_region *region)
{
    memset(region->actual, 0x5a, region->size);
    return test_ok(woq_buffer_read(region->buffer, 0, region->actual, region->size),
                   "woq_buffer_read");
}

bool region_read(struct test_region *region, const char *name)
{
    uint64_t begin = 0;
    if (!fetch(region))
        return false;
    for (uint64_t row = 0; row < region->rows; row++) {
        if (!same_bytes(region, name, begin, row_start(region, row)))
            return false;
        begin = row_start(region, row) + region->row_bytes;
    }
    return same_bytes(region, name, begin, region->size);
}

bool region_unchanged(struct test_region *region, const char *name)
{
    return fetch(region) && same_bytes(region, name, 0, region->size);
}
