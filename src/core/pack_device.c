/*
 * pack_device.c: uploads of sources, and the kernel that packs them.
 *
 * Rows of the sources are gathered, in the order of the tile, into a buffer of the device, a chunk at a time; what one
 * step of kernel PACK has read, the next upload overwrites. Both are queued, and the device keeps their order; so while
 * it packs one chunk the host copies the next one. Zeros go first: padding columns take their codes from them.
 */
#include "pack_device.h"

#include <string.h>

#include "alloc.h"
#include "log.h"

#define CHUNK_BYTES (8ull << 20) /* of source codes: work enough for a device */
#define INSTANCES   2            /* steps that may be in flight */
#define VECTOR      16           /* bytes that the kernel loads at once */
#define PARTY       32           /* invocations, and */
#define PIECE       2048         /* bytes that they pack at once: of codes 16 rows, of a table 64 × 32 bytes */
#define TABLE_ROWS  64
#define TABLE_BYTES 32

/* One kind of what sources hold. */
enum part { CODES, SCALES, ZEROS };

struct woqi_pack_device {
    const struct woqi_packer *packer;
    struct woq_device *device;
    struct woqi_kernel *kernel;
    struct woq_buffer *staging;
    struct woqi_sequence sequence;
    struct woqi_step steps[3]; /* the kernel's is steps[stamped], between two timestamps if the device has them */
    bool stamped;
    uint32_t next;             /* instance */
    bool flying[INSTANCES];
    uint64_t ns;
};

/* ---- what is uploaded ---- */

static uint64_t element_size(const struct woqi_packer *p, enum part part)
{
    return part == ZEROS && p->format.zero == WOQ_ZERO_POINT ? 1 : woq_type_size(p->format.scale);
}

/* Bytes of a row of a source; 0: it has none. */
static uint64_t row_bytes(const struct woqi_packer *p, enum part part)
{
    const bool stored = p->format.zero == WOQ_ZERO_POINT || p->format.zero == WOQ_ZERO_OFFSET;
    if (part == CODES)
        return p->sizes.row_bytes;
    return part == ZEROS && !stored ? 0 : p->sizes.groups * element_size(p, part); /* plain: no groups */
}

/* Bytes from one row to the next as the kernel gets them. */
static uint64_t row_pitch(const struct woqi_packer *p, enum part part)
{
    return woqi_div_up(row_bytes(p, part), VECTOR) * VECTOR;
}

/* Before rows of tables with g_idx: the canonical group of each physical one. */
static uint64_t map_bytes(const struct woqi_packer *p)
{
    return p->canonical_group ? woqi_div_up(p->groups * 4, VECTOR) * VECTOR : 0;
}

/* Rows of a part, from row `first` of a tile on, as the staging buffer is to hold them. */
struct image {
    const struct woqi_packer *packer;
    const struct woqi_tile *tile;
    enum part part;
    uint64_t first, bytes, pitch;
};

/* Rows that follow each other in a source and in the tile; first is NULL for padding. */
struct run {
    const uint8_t *first;
    uint64_t stride, count;
};

static struct run find_run(const struct image *image, uint64_t r)
{
    const struct woqi_packer *p = image->packer;
    const struct woqi_pack_line line = woqi_pack_line(p, image->tile, r);
    struct run run = {line.codes, image->bytes, line.run};
    if (!line.source)
        return run;
    if (image->part == CODES) {
        run.stride = line.source->row_stride ? line.source->row_stride : image->bytes;
        return run;
    }
    run.first = image->part == SCALES ? line.source->scales : line.source->zeros;
    if (p->format.group == WOQ_GROUP_TENSOR)
        run.stride = 0;
    run.first += line.row * run.stride;
    return run;
}

/* Of padding, rows or ends of rows, nothing is written. */
static void fill_rows(const void *user, uint64_t at, uint64_t size, uint8_t *out)
{
    const struct image *image = user;
    const uint64_t pitch = image->pitch, bytes = image->bytes;
    uint64_t r = image->first + at / pitch, from = at % pitch; /* from: bytes of row r that are done */
    while (size) {
        const struct run run = find_run(image, r);
        const bool whole = run.stride == pitch; /* then all rows are one piece */
        const uint64_t end = (whole ? (run.count - 1) * pitch : 0) + bytes;
        for (uint64_t i = 0; size && i < run.count; i += whole ? run.count : 1) {
            const uint64_t now = woqi_min((whole ? run.count : 1) * pitch - from, size);
            if (run.first && from < end)
                memcpy(out, run.first + i * run.stride + from, woqi_min(end - from, now));
            out += now;
            size -= now;
            from = 0;
        }
        r += run.count;
    }
}

static void fill_bytes(const void *user, uint64_t at, uint64_t size, uint8_t *out)
{
    memcpy(out, (const uint8_t *)user + at, size);
}

/* ---- steps ---- */

static enum woq_status land(struct woqi_pack_device *d, uint32_t instance)
{
    uint64_t ns[2] = {0, 0};
    if (!d->flying[instance])
        return WOQ_OK;
    d->flying[instance] = false;
    enum woq_status st = d->device->backend->sequence_wait(&d->sequence, instance, UINT64_MAX);
    if (!st && d->stamped)
        st = d->device->backend->sequence_times(&d->sequence, instance, ns, 2);
    d->ns += ns[1] - ns[0];
    return st;
}

static enum woq_status submit(struct woqi_pack_device *d, const struct woqi_tile *tile, const struct woqi_args *args,
                              uint64_t pieces)
{
    struct woqi_step *step = &d->steps[d->stamped];
    const uint32_t parties = d->kernel->local_x < PARTY ? 1 : d->kernel->local_x / PARTY;
    const uint32_t instance = d->next;
    enum woq_status st = land(d, instance);
    if (st)
        return st;
    for (int i = 0; i < WOQ_BIND_COUNT; i++)
        step->bind[i] = (struct woqi_bind){tile->buffer, 0, tile->shape.size};
    step->bind[WOQ_BIND_X] = (struct woqi_bind){d->staging, 0, d->staging->size};
    step->groups[0] = (uint32_t)woqi_min(woqi_div_up(pieces, parties), d->device->info.max_groups[0]);
    step->args = *args;
    st = d->device->backend->sequence_submit(&d->sequence, instance, d->steps);
    d->flying[instance] = !st;
    d->next = (instance + 1) % INSTANCES;
    return st;
}

/* Arguments for `rows` rows from row `first` on. */
static struct woqi_args step_args(const struct woqi_pack_device *d, const struct woqi_tile *tile, uint64_t first,
                                  uint64_t rows)
{
    const struct woqi_packer *p = d->packer;
    return (struct woqi_args){
        .m = (uint32_t)tile->count,
        .n = (uint32_t)rows,
        .n_first = (uint32_t)first,
        .flags = WOQ_FLAGS((uint32_t)p->format.code, (uint32_t)p->format.zero, (uint32_t)p->format.scale, 0, 0, 0, 0, 0,
                           (uint32_t)(p->perm != NULL), 0, (uint32_t)p->layout),
        .granule = p->gated ? woqi_layout_granule(p->layout) : 0,
    };
}

static enum woq_status pack_codes(struct woqi_pack_device *d, const struct woqi_tile *tile, uint64_t first,
                                  uint64_t rows, uint64_t pitch)
{
    const struct woqi_packer *p = d->packer;
    const struct woqi_tile_shape *s = &tile->shape;
    const uint64_t strip = woqi_layout_granule(p->layout);
    struct woqi_args args = step_args(d, tile, first, rows);
    args.k = (uint32_t)p->k_packed;
    args.group = (uint32_t)p->group;
    args.scale_stride = (uint32_t)s->rows;
    args.codes_off = (uint32_t)(s->codes + first / strip * s->codes_stride);
    args.codes_stride = (uint32_t)s->codes_stride;
    args.zeros_off = (uint32_t)s->zeros;
    args.perm_off = (uint32_t)s->perm;
    args.x_stride = (uint32_t)pitch;
    return submit(d, tile, &args, rows / strip * woqi_div_up(s->codes_stride, PIECE));
}

static enum woq_status pack_table(struct woqi_pack_device *d, const struct woqi_tile *tile, enum part part,
                                  uint64_t first, uint64_t rows, uint64_t pitch)
{
    const struct woqi_packer *p = d->packer;
    const struct woqi_tile_shape *s = &tile->shape;
    const uint64_t size = element_size(p, part);
    struct woqi_args args = step_args(d, tile, first, rows);
    args.k = (uint32_t)p->groups;
    args.group = (uint32_t)size;
    args.x_off = (uint32_t)map_bytes(p);
    args.x_stride = (uint32_t)pitch;
    args.y_off = (uint32_t)((part == SCALES ? s->scales : s->zeros) + first * size);
    args.y_stride = (uint32_t)(s->rows * size);
    return submit(d, tile, &args, woqi_div_up(rows, TABLE_ROWS) * woqi_div_up(p->groups * size, TABLE_BYTES));
}

/* A part of all rows. */
static enum woq_status pack_part(struct woqi_pack_device *d, const struct woqi_tile *tile, enum part part)
{
    const struct woqi_packer *p = d->packer;
    struct image image = {p, tile, part, 0, row_bytes(p, part), row_pitch(p, part)};
    const uint64_t map = part == CODES ? 0 : map_bytes(p), strip = woqi_layout_granule(p->layout);
    const uint64_t all = tile->shape.rows;
    if (!image.bytes)
        return WOQ_OK;
    const uint64_t chunk = (d->staging->size - map) / image.pitch / strip * strip; /* rows, >= strip */
    enum woq_status st = WOQ_OK;
    if (map)
        st = d->device->backend->buffer_upload(d->staging, 0, p->groups * 4, fill_bytes, p->canonical_group);
    for (uint64_t rows; !st && image.first < all; image.first += rows) {
        rows = woqi_min(chunk, all - image.first);
        st = d->device->backend->buffer_upload(d->staging, map, rows * image.pitch, fill_rows, &image);
        if (st)
            break;
        st = part == CODES ? pack_codes(d, tile, image.first, rows, image.pitch)
                           : pack_table(d, tile, part, image.first, rows, image.pitch);
    }
    return st;
}

enum woq_status woqi_pack_device_tile(struct woqi_pack_device *d, const struct woqi_tile *tile)
{
    const struct woqi_packer *p = d->packer;
    enum woq_status st = WOQ_OK;
    if (p->perm)
        st = d->device->backend->buffer_upload(tile->buffer, tile->shape.perm, p->k_packed * 4, fill_bytes, p->perm);
    if (!st)
        st = pack_part(d, tile, ZEROS);
    if (!st)
        st = pack_part(d, tile, SCALES);
    return st ? st : pack_part(d, tile, CODES);
}

enum woq_status woqi_pack_device_finish(struct woqi_pack_device *d, uint64_t *ns)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < INSTANCES; i++) {
        const enum woq_status landed = land(d, i);
        st = st ? st : landed;
    }
    *ns = d->ns;
    return st;
}

/* ---- creation ---- */

/* Bytes of the staging buffer: a chunk, but a strip of each part at least, and no more than all rows of the largest
 * part. A tile has as much of each; so what fits it fits this. */
static uint64_t staging_bytes(const struct woqi_packer *p, uint64_t rows)
{
    const uint64_t strip = woqi_layout_granule(p->layout);
    uint64_t least = 0, all = 0;
    for (int part = CODES; part <= ZEROS; part++) {
        const uint64_t pitch = row_pitch(p, (enum part)part), map = part == CODES ? 0 : map_bytes(p);
        least = pitch * strip + map > least ? pitch * strip + map : least;
        all = pitch * rows + map > all ? pitch * rows + map : all;
    }
    return woqi_min(all, CHUNK_BYTES > least ? CHUNK_BYTES : least);
}

static enum woq_status make_sequence(struct woqi_pack_device *d)
{
    const struct woqi_backend *backend = d->device->backend;
    struct woqi_step *step = d->steps;
    d->stamped = backend->sequence_times && (d->device->info.features & WOQ_FEATURE_TIMESTAMPS);
    if (d->stamped)
        *step++ = (struct woqi_step){.kind = WOQI_STEP_TIMESTAMP, .index = 0};
    *step++ = (struct woqi_step){
        .kind = WOQI_STEP_DISPATCH, .kernel = d->kernel, .groups = {1, 1, 1}, .nbind = WOQ_BIND_COUNT};
    if (d->stamped)
        *step++ = (struct woqi_step){.kind = WOQI_STEP_TIMESTAMP, .index = 1};
    d->sequence = (struct woqi_sequence){d->device, (uint32_t)(step - d->steps), INSTANCES, NULL};
    return backend->sequence_create(&d->sequence, d->steps);
}

enum woq_status woqi_pack_device_create(const struct woqi_packer *packer, uint64_t rows,
                                        struct woqi_pack_device **out)
{
    struct woq_device *device = packer->device;
    const struct woqi_kernel_key key = {.id = WOQI_KERNEL_PACK};
    char reason[128];
    *out = NULL;
    if (packer->layout != WOQI_LAYOUT_FRAG16B || device->host_pack || !device->backend->buffer_upload ||
        !device->backend->kernel_probe(device, key, reason, sizeof reason))
        return WOQ_OK;
    struct woqi_pack_device *d = woqi_alloc(device, 1, sizeof *d);
    if (!d)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_weights_create: out of host memory");
    d->packer = packer;
    d->device = device;
    enum woq_status st = woqi_device_kernel(device, key, &d->kernel);
    if (!st)
        st = woqi_buffer_create(device, staging_bytes(packer, rows), 0, &d->staging);
    if (!st)
        st = make_sequence(d);
    if (st)
        woqi_pack_device_destroy(d);
    else
        *out = d;
    return st;
}

void woqi_pack_device_destroy(struct woqi_pack_device *d)
{
    uint64_t ns;
    if (!d)
        return;
    (void)woqi_pack_device_finish(d, &ns);
    if (d->sequence.impl)
        d->device->backend->sequence_destroy(&d->sequence);
    woqi_buffer_unref(d->staging);
    woqi_free(d->device, d);
}
