/* weights.c: weight objects: tiling by the device's limits, packing and upload. */
#include "alloc.h"
#include "check.h"
#include "pack_device.h"

#define DEVICE_BYTES (1ull << 20) /* of codes, from which on a device packs sooner than it takes to prepare */
#define CHUNK_BYTES (4ull << 20) /* of packed data on the host at a time: few new pages, and in the cache until sent */

/* Rows of output in a tile: all if they fit one binding and allocation, else as many as do. */
static enum woq_status choose_tile(const struct woqi_packer *p, uint64_t columns, uint64_t *count)
{
    const struct woq_device_info *info = &p->device->info;
    uint64_t limit = woqi_min(info->max_binding, info->max_allocation);
    uint64_t unit = woqi_layout_granule(p->layout); /* outputs of a granule (gated: of a pair) */
    uint64_t rows = p->gated ? 2 : 1;
    uint64_t low = 1, high = woqi_div_up(columns, unit), fits = 0;
    struct woqi_tile_shape shape;
    while (low <= high) { /* in units */
        uint64_t middle = low + (high - low) / 2;
        enum woq_status st = woqi_tile_shape(p->layout, &p->format, middle * unit * rows,
                                             p->k_packed, p->groups, p->perm != NULL, &shape);
        if (!st && shape.size <= limit) {
            fits = middle;
            low = middle + 1;
        } else {
            high = middle - 1;
        }
    }
    if (!fits)
        return woqi_fail(
            p->device, WOQ_ERROR_UNSUPPORTED,
            "woq_weights_create: %llu rows of %llu columns exceed %llu bytes, what %s can "
            "bind or allocate at once",
            (unsigned long long)(unit * rows), (unsigned long long)p->k_packed,
            (unsigned long long)limit, p->device->info.selector);
    *count = woqi_min(fits * unit, columns);
    return WOQ_OK;
}

/* Uploads `count` items of `item` bytes each to offset, in chunks written by one of the packers. */
static enum woq_status upload(struct woqi_packer *p, const struct woqi_tile *tile, uint64_t offset,
                              uint64_t count, uint64_t item, uint8_t *chunk, uint64_t chunk_size,
                              int part)
{
    uint64_t step = chunk_size / item;
    for (uint64_t i = 0; i < count; i += step) {
        uint64_t now = woqi_min(step, count - i);
        if (part == 0)
            woqi_pack_codes(p, tile, i, now, chunk);
        else if (part == 1)
            woqi_pack_scales(p, tile, i, now, chunk);
        else
            woqi_pack_zeros(p, tile, i, now, chunk);
        enum woq_status st = p->device->backend->buffer_write(tile->buffer, offset + i * item,
                                                              chunk, now * item);
        if (st)
            return st;
    }
    return WOQ_OK;
}

static enum woq_status fill_tile(struct woqi_packer *p, struct woqi_tile *tile)
{
    const struct woqi_tile_shape *s = &tile->shape;
    uint64_t scale = woq_type_size(p->format.scale);
    uint64_t zero = p->format.zero == WOQ_ZERO_POINT    ? 1
                    : p->format.zero == WOQ_ZERO_OFFSET ? scale
                                                        : 0;
    uint64_t item = s->codes_stride > s->rows * 4 ? s->codes_stride : s->rows * 4;
    uint64_t size = woqi_min(s->size > item ? s->size : item,
                             item > CHUNK_BYTES ? item : CHUNK_BYTES);
    uint8_t *chunk = woqi_alloc(p->device, size, 1);
    if (!chunk)
        return woqi_fail(p->device, WOQ_ERROR_OUT_OF_MEMORY,
                         "woq_weights_create: out of host memory");
    uint64_t granules = s->rows / woqi_layout_granule(p->layout);
    enum woq_status st = upload(p, tile, s->codes, granules, s->codes_stride, chunk, size, 0);
    if (!st && scale)
        st = upload(p, tile, s->scales, p->groups, s->rows * scale, chunk, size, 1);
    if (!st && zero)
        st = upload(p, tile, s->zeros, p->groups, s->rows * zero, chunk, size, 2);
    if (!st && p->perm)
        st = p->device->backend->buffer_write(tile->buffer, s->perm, p->perm, p->k_packed * 4);
    woqi_free(p->device, chunk);
    return st;
}

/* Buffers of all tiles, of `per_tile` output columns each. */
static enum woq_status make_tiles(struct woq_weights *w, const struct woqi_packer *p, uint64_t columns,
                                  uint64_t per_tile)
{
    uint64_t count = woqi_div_up(columns, per_tile);
    if (count > UINT32_MAX)
        return woqi_fail(w->device, WOQ_ERROR_OVERFLOW, "woq_weights_create: too many tiles");
    w->tiles = woqi_alloc(w->device, count, sizeof *w->tiles);
    if (!w->tiles)
        return woqi_fail(w->device, WOQ_ERROR_OUT_OF_MEMORY,
                         "woq_weights_create: out of host memory");
    enum woq_status st = WOQ_OK;
    for (uint64_t i = 0; i < count && !st; i++) {
        struct woqi_tile *tile = &w->tiles[i];
        tile->first = i * per_tile;
        tile->count = woqi_min(per_tile, columns - tile->first);
        uint64_t granule = woqi_layout_granule(p->layout);
        uint64_t rows = woqi_div_up(tile->count, granule) * granule * (w->gated ? 2 : 1);
        st = woqi_tile_shape(p->layout, &p->format, rows, p->k_packed, p->groups, p->perm != NULL,
                             &tile->shape);
        if (!st)
            st = woqi_buffer_create(w->device, tile->shape.size, 0, &tile->buffer);
        if (!st)
            w->tile_count++;
    }
    return st;
}

/* *packed: false where the device does not pack. */
static enum woq_status fill_on_device(struct woq_weights *w, const struct woqi_packer *p, bool *packed)
{
    struct woqi_pack_device *device = NULL;
    enum woq_status st = woqi_pack_device_create(p, w->tiles[0].shape.rows, &device); /* the first is the largest */
    *packed = device != NULL;
    for (uint32_t i = 0; device && !st && i < w->tile_count; i++)
        st = woqi_pack_device_tile(device, &w->tiles[i]);
    if (device && !st)
        st = woqi_pack_device_finish(device, &w->pack_ns);
    woqi_pack_device_destroy(device);
    return st;
}

static enum woq_status fill_tiles(struct woq_weights *w, struct woqi_packer *p)
{
    uint64_t codes = 0;
    for (uint32_t i = 0; i < w->tile_count; i++)
        codes += w->tiles[i].shape.scales;
    enum woq_status st = codes < DEVICE_BYTES ? WOQ_OK : fill_on_device(w, p, &w->device_packed);
    for (uint32_t i = 0; !w->device_packed && !st && i < w->tile_count; i++)
        st = fill_tile(p, &w->tiles[i]);
    return st;
}

static enum woq_status check_params(struct woq_device *device,
                                    const struct woq_weights_params *params)
{
    enum woq_status st;
    if ((st = WOQI_CHECK_NULL(NULL, device)) || (st = WOQI_CHECK_NULL(device, params)) ||
        (st = WOQI_CHECK_STRUCT(device, params)))
        return st;
    if (!params->sources || !params->count)
        return woqi_fail(
            device, WOQ_ERROR_INVALID_ARGUMENT,
            "woq_weights_create: sources is NULL or count is 0; at least one is needed");
    return WOQ_OK;
}

enum woq_status woq_weights_create(struct woq_device *device,
                                   const struct woq_weights_params *params,
                                   struct woq_weights **out)
{
    struct woqi_packer packer;
    enum woq_status st = WOQI_CHECK_NULL(device, out);
    if (st)
        return st;
    *out = NULL;
    if ((st = check_params(device, params)))
        return st;
    enum woqi_layout layout = device->backend->layout(device, &params->sources[0].format);
    st = woqi_packer_init(&packer, device, params, layout);
    if (st)
        return st;
    struct woq_weights *w = woqi_alloc(device, 1, sizeof *w);
    if (!w) {
        st = woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_weights_create: out of host memory");
        goto done;
    }
    w->device = device;
    woqi_device_ref(device);
    atomic_init(&w->refs, 1);
    w->format = packer.format;
    w->n = packer.n;
    w->k = packer.k;
    w->k_packed = packer.k_packed;
    w->group = packer.group;
    w->gated = packer.gated;
    w->perm = packer.perm != NULL;
    w->layout = layout;
    w->fp16_safe = woqi_packer_fp16_safe(&packer, device->info.features & WOQ_FEATURE_SUBNORMAL16);
    w->mild_scales = woqi_packer_mild_scales(&packer);
    for (uint32_t i = 0; i < params->count; i++) {
        struct woq_format_sizes sizes;
        woq_format_get_sizes(&packer.format, params->sources[i].n, packer.k, &sizes);
        w->payload_bytes += sizes.codes + sizes.scales + sizes.zeros;
    }
    uint64_t columns = w->gated ? w->n / 2 : w->n, per_tile = 0;
    st = choose_tile(&packer, columns, &per_tile);
    if (!st)
        st = make_tiles(w, &packer, columns, per_tile);
    if (!st)
        st = fill_tiles(w, &packer);
    if (st)
        woqi_weights_unref(w);
    else
        *out = w;
done:
    woqi_packer_clear(&packer);
    return st;
}

void woqi_weights_ref(struct woq_weights *weights)
{
    atomic_fetch_add(&weights->refs, 1);
}

void woqi_weights_unref(struct woq_weights *weights)
{
    if (!weights || atomic_fetch_sub(&weights->refs, 1) != 1)
        return;
    struct woq_device *device = weights->device;
    for (uint32_t i = 0; i < weights->tile_count; i++)
        woqi_buffer_unref(weights->tiles[i].buffer);
    woqi_free(device, weights->tiles);
    woqi_free(device, weights);
    woqi_device_unref(device);
}

void woq_weights_destroy(struct woq_weights **weights)
{
    if (!weights)
        return;
    woqi_weights_unref(*weights);
    *weights = NULL;
}

enum woq_status woq_weights_get_info(const struct woq_weights *weights,
                                     struct woq_weights_info *out)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (!st)
        st = WOQI_CHECK_STRUCT(NULL, out);
    if (st)
        return st;
    *out = (struct woq_weights_info){.struct_size = sizeof *out};
    if ((st = WOQI_CHECK_NULL(NULL, weights)))
        return st;
    out->format = weights->format;
    out->n = weights->n;
    out->k = weights->k;
    out->gated = weights->gated;
    out->payload_bytes = weights->payload_bytes;
    out->tiles = weights->tile_count;
    out->fp16_safe = weights->fp16_safe;
    out->device_packed = weights->device_packed;
    out->pack_ns = weights->pack_ns;
    for (uint32_t i = 0; i < weights->tile_count; i++)
        out->device_bytes += weights->tiles[i].buffer->size;
    return WOQ_OK;
}
