/* alloc.c: host memory through the device's allocator, and checked size arithmetic. */
#include "alloc.h"

#include <stdlib.h>
#include <string.h>

#include "object.h"

static void *default_allocate(void *user, size_t bytes)
{
    (void)user;
    return malloc(bytes);
}

static void default_release(void *user, void *pointer)
{
    (void)user;
    free(pointer);
}

const struct woq_allocator woqi_default_allocator = {default_allocate, default_release, NULL};

void *woqi_alloc_with(const struct woq_allocator *allocator, size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size)
        return NULL;
    size_t bytes = count && size ? count * size : 1;
    void *pointer = allocator->allocate(allocator->user, bytes);
    if (pointer)
        memset(pointer, 0, bytes);
    return pointer;
}

void woqi_free_with(const struct woq_allocator *allocator, void *pointer)
{
    if (pointer)
        allocator->release(allocator->user, pointer);
}

void *woqi_alloc(struct woq_device *device, size_t count, size_t size)
{
    return woqi_alloc_with(&device->allocator, count, size);
}

void woqi_free(struct woq_device *device, void *pointer)
{
    woqi_free_with(&device->allocator, pointer);
}

bool woqi_grow(struct woq_device *device, void *array, size_t *capacity, size_t need, size_t size)
{
    void **slot = array;
    if (need <= *capacity)
        return true;
    size_t wanted = *capacity ? *capacity : 4;
    while (wanted < need) {
        if (wanted > SIZE_MAX / 2)
            return false;
        wanted *= 2;
    }
    void *grown = woqi_alloc(device, wanted, size);
    if (!grown)
        return false;
    if (*slot)
        memcpy(grown, *slot, *capacity * size);
    woqi_free(device, *slot);
    *slot = grown;
    *capacity = wanted;
    return true;
}

uint64_t woqi_mul(uint64_t a, uint64_t b, bool *overflow)
{
    if (*overflow || (a && b > UINT64_MAX / a)) {
        *overflow = true;
        return 0;
    }
    return a * b;
}

uint64_t woqi_add(uint64_t a, uint64_t b, bool *overflow)
{
    if (*overflow || b > UINT64_MAX - a) {
        *overflow = true;
        return 0;
    }
    return a + b;
}

uint64_t woqi_align_up(uint64_t a, uint64_t alignment, bool *overflow)
{
    uint64_t sum = woqi_add(a, alignment - 1, overflow);
    return sum / alignment * alignment;
}
