/* alloc.h: host memory through the device's allocator, and checked size arithmetic. */
#ifndef WOQI_ALLOC_H
#define WOQI_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct woq_device;
struct woq_allocator;

/* Zeroed; NULL if there is no memory or count·size overflows. */
void *woqi_alloc(struct woq_device *device, size_t count, size_t size);
void woqi_free(struct woq_device *device, void *pointer); /* accepts NULL */

/* As above, before there is a device. */
void *woqi_alloc_with(const struct woq_allocator *allocator, size_t count, size_t size);
void woqi_free_with(const struct woq_allocator *allocator, void *pointer);
extern const struct woq_allocator woqi_default_allocator;

/* Grows *array (of *capacity elements) to at least `need`, keeping its content; new elements zeroed. */
/* array: the address of the pointer to the array. */
bool woqi_grow(struct woq_device *device, void *array, size_t *capacity, size_t need, size_t size);

/* Sticky overflow: the result is 0 and *overflow true once anything overflowed. */
uint64_t woqi_mul(uint64_t a, uint64_t b, bool *overflow);
uint64_t woqi_add(uint64_t a, uint64_t b, bool *overflow);
uint64_t woqi_align_up(uint64_t a, uint64_t alignment, bool *overflow);

static inline uint64_t woqi_div_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

static inline uint64_t woqi_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
