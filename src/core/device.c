/* device.c: listing, opening and closing devices. */
#include "blocks.h"
#include "core.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "cache.h"
#include "check.h"
#include "emulate.h"
#include "registry.h"
#include "tuning.h"
#include "verdict.h"

static const struct woq_device_params default_params = WOQ_DEVICE_PARAMS_INIT;

static enum woq_status check_params(const struct woq_device_params **params)
{
    if (!*params)
        *params = &default_params;
    const struct woq_device_params *p = *params;
    enum woq_status st = WOQI_CHECK_STRUCT(NULL, p);
    if (st)
        return st;
    if ((unsigned)p->log_level > WOQ_LOG_DEBUG)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_device_params.log_level is %d; must be 0 or an enum woq_log_level",
                         (int)p->log_level);
    if (p->allocator && (!p->allocator->allocate || !p->allocator->release))
        return woqi_fail(
            NULL, WOQ_ERROR_INVALID_ARGUMENT,
            "woq_device_params.allocator: allocate or release is NULL; both are needed");
    return WOQ_OK;
}

/* ---- listing ---- */

/* Collects rows; `base` first, so that the backend's pointer is ours. */
struct collector {
    struct woqi_enumeration base;
    struct woq_device_entry *entries; /* NULL: only count */
    size_t capacity, count;
    int best_rank;
    enum woq_backend best_backend;
    uint32_t best_index;
};

/* Lower is better: GPUs by API, then CPUs through OpenCL, Vulkan and plain C. */
static int rank_of(const struct woq_device_entry *e)
{
    bool gpu = e->kind != WOQ_DEVICE_KIND_CPU && e->kind != WOQ_DEVICE_KIND_OTHER;
    switch (e->backend) {
    case WOQ_BACKEND_CUDA:
        return 0;
    case WOQ_BACKEND_VULKAN:
        return gpu ? 1 : 4;
    case WOQ_BACKEND_OPENCL:
        return gpu ? 2 : 3;
    case WOQ_BACKEND_REFERENCE:
        return 5;
    case WOQ_BACKEND_NONE:
        break;
    }
    return 6;
}

static void collect(struct woqi_enumeration *self, const struct woq_device_entry *entry)
{
    struct collector *c = (struct collector *)self;
    if (entry->usable && rank_of(entry) < c->best_rank) {
        c->best_rank = rank_of(entry);
        c->best_backend = entry->backend;
        c->best_index = entry->index;
    }
    if (c->entries && c->count < c->capacity)
        c->entries[c->count] = *entry;
    c->count++;
}

static enum woq_status enumerate_all(struct collector *c)
{
    c->base.emit = collect;
    c->best_rank = 100;
    for (size_t i = 0; woqi_backends[i]; i++) {
        enum woq_status st = woqi_backends[i]->enumerate(&c->base);
        if (st)
            return st;
    }
    static const enum woq_backend optional[] = {WOQ_BACKEND_CUDA, WOQ_BACKEND_VULKAN,
                                                WOQ_BACKEND_OPENCL};
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        if (woqi_backend_find(optional[i]))
            continue;
        struct woq_device_entry e = {.backend = optional[i]};
        snprintf(e.reason, sizeof e.reason, "this build has no %s backend",
                 woq_backend_name(optional[i]));
        collect(&c->base, &e);
    }
    return WOQ_OK;
}

/* ---- selectors ---- */

static enum woq_status parse_selector(const char *selector, enum woq_backend *backend,
                                      uint32_t *index)
{
    size_t length = strcspn(selector, ":");
    *backend = WOQ_BACKEND_NONE;
    *index = 0;
    for (int b = WOQ_BACKEND_REFERENCE; b <= WOQ_BACKEND_CUDA; b++) {
        const char *name = woq_backend_name((enum woq_backend)b);
        if (strlen(name) == length && !strncmp(name, selector, length))
            *backend = (enum woq_backend)b;
    }
    const char *digits = selector + length;
    bool number = true;
    if (*digits == ':') {
        digits++;
        number = isdigit((unsigned char)*digits) && strlen(digits) <= 5 &&
                 strspn(digits, "0123456789") == strlen(digits);
        *index = number ? (uint32_t)strtoul(digits, NULL, 10) : 0;
    }
    if (*backend == WOQ_BACKEND_NONE || !number)
        return woqi_fail(
            NULL, WOQ_ERROR_INVALID_ARGUMENT,
            "device selector '%s' is malformed; must be best, reference, opencl, vulkan "
            "or cuda, with an optional :INDEX, as in vulkan:1",
            selector);
    return WOQ_OK;
}

/* "best" or NULL are resolved by looking at what is there. */
static enum woq_status select_device(const char *selector, enum woq_backend *backend,
                                     uint32_t *index)
{
    if (!selector)
        selector = getenv("WOQ_DEVICE");
    if (selector && *selector && strcmp(selector, "best"))
        return parse_selector(selector, backend, index);
    struct collector c = {.entries = NULL};
    enum woq_status st = enumerate_all(&c);
    *backend = c.best_backend;
    *index = c.best_index;
    return st;
}

enum woq_status woq_devices_list(const struct woq_device_params *params,
                                 struct woq_device_entry *entries, size_t *count)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, count);
    if (st)
        return st;
    struct collector c = {.entries = entries, .capacity = *count};
    *count = 0;
    st = check_params(&params);
    if (!st)
        st = enumerate_all(&c);
    if (st)
        return st;
    *count = entries && c.count > c.capacity ? c.capacity : c.count;

    enum woq_backend backend = c.best_backend;
    uint32_t index = c.best_index;
    const char *chosen = getenv("WOQ_DEVICE");
    if (chosen && *chosen && strcmp(chosen, "best") && parse_selector(chosen, &backend, &index))
        backend = WOQ_BACKEND_NONE; /* malformed: opening the default would fail */
    for (size_t i = 0; entries && i < *count; i++)
        entries[i].is_default = entries[i].usable && entries[i].backend == backend &&
                                entries[i].index == index;
    return WOQ_OK;
}

/* ---- opening and closing ---- */

static void free_device(struct woq_device *dev)
{
    struct woq_allocator allocator = dev->allocator;
    pthread_mutex_destroy(&dev->lock);
    pthread_mutex_destroy(&dev->log.lock);
    pthread_mutex_destroy(&dev->selftest_lock);
    woqi_free_with(&allocator, dev);
}

enum woq_status woqi_device_open(const struct woqi_backend *backend, uint32_t index,
                                 const void *guest, const struct woq_device_params *params,
                                 struct woq_device **out)
{
    struct woqi_emulation emulation;
    *out = NULL;
    enum woq_status st = check_params(&params);
    if (!st)
        st = woqi_emulation_parse(params->emulate, &emulation);
    if (st)
        return st;
    struct woq_allocator allocator = params->allocator ? *params->allocator
                                                       : woqi_default_allocator;
    struct woq_device *dev = woqi_alloc_with(&allocator, 1, sizeof *dev);
    if (!dev)
        return woqi_fail(NULL, WOQ_ERROR_OUT_OF_MEMORY, "opening a device: out of host memory");
    dev->backend = backend;
    dev->allocator = allocator;
    dev->log.fn = params->log;
    dev->log.user = params->log_user;
    dev->log.level = params->log_level ? params->log_level : WOQ_LOG_WARNING;
    atomic_init(&dev->refs, 1);
    atomic_init(&dev->used, 0);
    dev->handle = true;
    dev->self_test = !params->skip_self_test;
    dev->software_matrix = emulation.software_matrix;
    dev->only_matrix = emulation.only_matrix;
    dev->host_pack = emulation.host_pack;
    dev->only_fixed = emulation.only_fixed;
    pthread_mutex_init(&dev->lock, NULL);
    pthread_mutex_init(&dev->log.lock, NULL);
    pthread_mutex_init(&dev->selftest_lock, NULL);
    dev->cache = woqi_cache_open(dev, params->cache_dir);

    dev->info.index = index;
    st = backend->open(dev, index, guest);
    if (st) {
        woqi_cache_close(dev, dev->cache);
        free_device(dev);
        return st;
    }
    dev->info.struct_size = sizeof dev->info;
    dev->info.backend = backend->id;
    snprintf(dev->info.selector, sizeof dev->info.selector, "%s:%u", woq_backend_name(backend->id),
             dev->info.index);
    woqi_emulation_apply(&emulation, &dev->info);
    static const struct woqi_emulation nothing;
    st = woqi_tuning_open(dev, params->tuning, params->cache_dir, memcmp(&emulation, &nothing, sizeof nothing) != 0);
    if (st) {
        backend->close(dev);
        woqi_cache_close(dev, dev->cache);
        free_device(dev);
        return st;
    }
    *out = dev;
    return WOQ_OK;
}

enum woq_status woq_device_open_index(enum woq_backend backend, uint32_t index,
                                      const struct woq_device_params *params,
                                      struct woq_device **out)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (st)
        return st;
    *out = NULL;
    if (backend < WOQ_BACKEND_REFERENCE || backend > WOQ_BACKEND_CUDA)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: backend is %d; must be one of enum woq_backend but NONE", __func__,
                         (int)backend);
    const struct woqi_backend *table = woqi_backend_find(backend);
    if (!table)
        return woqi_fail(NULL, WOQ_ERROR_NO_DEVICE, "%s: this build has no %s backend", __func__,
                         woq_backend_name(backend));
    return woqi_device_open(table, index, NULL, params, out);
}

enum woq_status woq_device_open(const char *selector, const struct woq_device_params *params,
                                struct woq_device **out)
{
    enum woq_backend backend;
    uint32_t index;
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (st)
        return st;
    *out = NULL;
    st = select_device(selector, &backend, &index);
    return st ? st : woq_device_open_index(backend, index, params, out);
}

void woqi_device_ref(struct woq_device *device)
{
    atomic_fetch_add(&device->refs, 1);
}

void woqi_device_unref(struct woq_device *device)
{
    if (atomic_fetch_sub(&device->refs, 1) != 1)
        return;
    for (struct woqi_kernel *kernel = device->kernels, *next; kernel; kernel = next) {
        next = kernel->next;
        device->backend->kernel_destroy(kernel);
        woqi_free(device, kernel);
    }
    woqi_verdict_clear(device);
    woqi_tuning_close(device);
    device->backend->close(device);
    woqi_cache_close(device, device->cache);
    free_device(device);
}

void woq_device_destroy(struct woq_device **device)
{
    if (!device || !*device)
        return;
    struct woq_device *dev = *device;
    *device = NULL;
    pthread_mutex_lock(&dev->lock);
    dev->handle = false; /* from now on destroying commands waits for them */
    void (*drain)(struct woq_device *) = dev->drain;
    pthread_mutex_unlock(&dev->lock);
    if (drain)
        drain(dev);
    woqi_device_unref(dev);
}

static const struct {
    const char *entry;
    uint32_t local_x;
} kernel_list[WOQI_KERNEL_COUNT] = {
#define KERNEL_ENTRY(ID, name, path, local_x, what) [WOQI_KERNEL_##ID] = {#name, local_x},
    WOQI_KERNELS(KERNEL_ENTRY)
#undef KERNEL_ENTRY
};

const char *woqi_kernel_entry(enum woqi_kernel_id id)
{
    return kernel_list[id].entry;
}

void woqi_kernel_name(struct woqi_kernel_key key, char *out, size_t size)
{
    static const char *const codes[] = {"any", "u4", "u8", "f16", "bf16"};
    static const char *const groups[WOQI_GROUPS_COUNT] = {"", "_fine", "_any", "_pair", "_unit"};
    static const char *const spans[WOQI_SPANS_COUNT] = {"", "_each", "_one"};
    static const char *const zeros[] = {"", "_symmetric", "_point", "_offset"};
    static const char *const types[] = {"any", "f32", "f16", "bf16"};
    const char *entry = kernel_list[key.id].entry;
    if (key.rows)
        snprintf(out, size, "%s_%s_%s_M%uK%u%s%s", entry, codes[key.code], types[key.x], key.rows,
                 key.parts, key.fine ? "_fine" : "", key.weighted ? "_weighted" : "");
    else if (key.scale)
        snprintf(out, size, "%s_%s%s%s_%s_%s%s%s%s", entry, codes[key.code], key.x ? "_" : "",
                 key.x ? types[key.x] : "", woqi_block_name((enum woqi_block_id)key.block), types[key.scale],
                 zeros[key.zero], groups[key.fine], spans[key.spans]);
    else if (key.block)
        snprintf(out, size, "%s_%s%s%s_%s%s", entry, codes[key.code], key.x ? "_" : "",
                 key.x ? types[key.x] : "", woqi_block_name((enum woqi_block_id)key.block),
                 groups[key.fine]);
    else if (key.code)
        snprintf(out, size, "%s_%s%s", entry, codes[key.code], groups[key.fine]);
    else
        snprintf(out, size, "%s", entry);
}

static enum woq_status make_kernel(struct woq_device *device, struct woqi_kernel_key key,
                                   struct woqi_kernel **out)
{
    const char *entry = kernel_list[key.id].entry;
    struct woqi_kernel *kernel = woqi_alloc(device, 1, sizeof *kernel);
    if (!kernel)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "kernel %s: out of host memory", entry);
    kernel->device = device;
    kernel->key = key;
    kernel->entry = entry;
    kernel->local_x = (uint32_t)woqi_min(kernel_list[key.id].local_x, device->info.max_workgroup);
    if (key.id == WOQI_KERNEL_MMA)
        kernel->local_x = woqi_block_threads(woqi_block((enum woqi_block_id)key.block));
    if (key.rows)
        kernel->local_x = woqi_gemv_threads(&key);
    if (key.id == WOQI_KERNEL_TILE)
        kernel->local_x = woqi_tile_block_threads(woqi_tile_block((enum woqi_block_id)key.block));
    woqi_kernel_name(key, kernel->name, sizeof kernel->name);
    enum woq_status st = device->backend->kernel_create(kernel);
    if (st)
        woqi_free(device, kernel);
    else
        *out = kernel;
    return st;
}

enum woq_status woqi_device_kernel(struct woq_device *device, struct woqi_kernel_key key,
                                   struct woqi_kernel **out)
{
    enum woq_status st = WOQ_OK;
    pthread_mutex_lock(&device->lock);
    struct woqi_kernel *kernel = device->kernels;
    while (kernel && memcmp(&kernel->key, &key, sizeof key))
        kernel = kernel->next;
    if (!kernel) {
        st = make_kernel(device, key, &kernel);
        if (!st) {
            kernel->next = device->kernels;
            device->kernels = kernel;
        }
    }
    pthread_mutex_unlock(&device->lock);
    if (!st)
        *out = kernel;
    return st;
}

/* ---- queries ---- */

const struct woq_device_info *woq_device_get_info(const struct woq_device *device)
{
    return device ? &device->info : NULL;
}

enum woq_status woq_device_memory(struct woq_device *device, struct woq_memory_budget *out)
{
    enum woq_status st = WOQI_CHECK_NULL(device, out);
    if (st)
        return st;
    memset(out, 0, sizeof *out);
    st = WOQI_CHECK_NULL(NULL, device);
    if (!st)
        st = device->backend->memory(device, &out->total, &out->available);
    if (!st)
        out->used = atomic_load(&device->used);
    return st;
}
