/* device.c: opening devices for tests. */
#include "device.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_heap {
    atomic_uint_least64_t count;
    atomic_int_least64_t balance;
    atomic_int_least64_t countdown; /* allocations until the one that fails; < 0 = none does */
};

static struct test_heap main_heap = {.countdown = -1};
static atomic_bool expecting;
static atomic_uint errors;

struct test_heap *test_heap_create(void)
{
    struct test_heap *heap = calloc(1, sizeof(*heap));
    if (heap)
        atomic_store(&heap->countdown, -1);
    return heap;
}

void test_heap_destroy(struct test_heap *heap)
{
    free(heap);
}

static void *heap_allocate(void *user, size_t bytes)
{
    struct test_heap *heap = user;
    if (atomic_load(&heap->countdown) >= 0 && atomic_fetch_sub(&heap->countdown, 1) == 0)
        return NULL;
    void *p = malloc(bytes ? bytes : 1);
    if (p) {
        memset(p, 0xcd, bytes);
        atomic_fetch_add(&heap->count, 1);
        atomic_fetch_add(&heap->balance, 1);
    }
    return p;
}

static void heap_release(void *user, void *pointer)
{
    struct test_heap *heap = user;
    if (pointer)
        atomic_fetch_sub(&heap->balance, 1);
    free(pointer);
}

struct woq_allocator test_heap_allocator(struct test_heap *heap)
{
    return (struct woq_allocator){heap_allocate, heap_release, heap};
}

uint64_t test_heap_count(const struct test_heap *heap)
{
    return atomic_load(&heap->count);
}

int64_t test_heap_balance(const struct test_heap *heap)
{
    return atomic_load(&heap->balance);
}

void test_heap_fail_at(struct test_heap *heap, int64_t n)
{
    atomic_store(&heap->countdown, n);
}

struct test_heap *test_main_heap(void)
{
    return &main_heap;
}

void test_log(void *user, enum woq_log_level level, const char *message)
{
    (void)user;
    if (level != WOQ_LOG_ERROR)
        return;
    if (atomic_load(&expecting) && !strstr(message, "VUID") && !strstr(message, "Validation"))
        return;
    atomic_fetch_add(&errors, 1);
    fprintf(stderr, "logged error: %s\n", message);
}

void test_expect_errors(bool expected)
{
    atomic_store(&expecting, expected);
}

unsigned test_error_count(void)
{
    return atomic_load(&errors);
}

struct woq_device_params test_params(void)
{
    static struct woq_allocator allocator;
    allocator = test_heap_allocator(&main_heap);
    struct woq_device_params params = WOQ_DEVICE_PARAMS_INIT;
    params.log = test_log;
    params.allocator = &allocator;
    params.tuning = "off"; /* what someone measured here is not to change what tests see */
    return params;
}

bool test_is_required(const char *selector)
{
    const char *list = getenv("WOQ_REQUIRE_BACKENDS");
    const size_t length = strcspn(selector, ":");
    while (list && *list) {
        const size_t item = strcspn(list, ",");
        if (item == length && !strncmp(list, selector, item))
            return true;
        list += item + (list[item] == ',');
    }
    return false;
}

bool test_cpu_has_avx2(void)
{
#ifdef __x86_64__
    return __builtin_cpu_supports("avx2");
#else
    return false;
#endif
}

struct woq_device *test_try_open(const char *selector, const struct woq_device_params *params)
{
    struct woq_device *device = NULL;
    test_expect_errors(true);
    const enum woq_status st = woq_device_open(selector, params, &device);
    test_expect_errors(false);
    if (!st)
        return device;
    if (st != WOQ_ERROR_NO_DEVICE || test_is_required(selector)) {
        fprintf(stderr, "FAILED: %s: %s: %s\n", selector, woq_status_string(st),
                woq_last_message());
        exit(1);
    }
    printf("SKIPPED: %s: %s\n", selector, woq_last_message());
    return NULL;
}

struct woq_device *test_open(const char *selector)
{
    const struct woq_device_params params = test_params();
    if (!selector)
        selector = getenv("WOQ_DEVICE");
    if (!selector || !*selector)
        selector = "reference";
    struct woq_device *device = test_try_open(selector, &params);
    if (!device)
        exit(TEST_SKIPPED);
    const struct woq_device_info *info = woq_device_get_info(device);
    printf("%s: %s (%s)\n", info->selector, info->name, info->driver);
    return device;
}

bool test_close(struct woq_device **device)
{
    woq_device_destroy(device);
    const int64_t left = test_heap_balance(&main_heap);
    if (left)
        fprintf(stderr, "FAILED: %lld blocks not released\n", (long long)left);
    return left == 0;
}

/* Whether each backend that must be there has a usable row. */
static bool required_are_there(const struct woq_device_entry *entries, size_t count)
{
    bool all = true;
    for (int backend = WOQ_BACKEND_REFERENCE; backend <= WOQ_BACKEND_CUDA; backend++) {
        const char *name = woq_backend_name((enum woq_backend)backend);
        bool there = false;
        for (size_t i = 0; i < count; i++)
            there = there || (entries[i].usable && entries[i].backend == (enum woq_backend)backend);
        if (there || !test_is_required(name))
            continue;
        fprintf(stderr, "FAILED: %s is required, but absent\n", name);
        all = false;
    }
    return all;
}

unsigned test_each_selector(void (*fn)(const char *selector, void *user), void *user)
{
    struct woq_device_entry entries[32];
    size_t count = sizeof(entries) / sizeof(entries[0]);
    unsigned usable = 0;
    if (woq_devices_list(NULL, entries, &count) || !required_are_there(entries, count))
        return 0;
    for (size_t i = 0; i < count; i++) {
        char selector[32];
        snprintf(selector, sizeof(selector), "%s:%u", woq_backend_name(entries[i].backend),
                 (unsigned)entries[i].index);
        if (!entries[i].usable) {
            printf("SKIPPED: %s: %s\n", selector, entries[i].reason);
            continue;
        }
        usable++;
        fn(selector, user);
    }
    return usable;
}

int test_main_each(int argc, char **argv, void (*fn)(const char *selector, void *failed))
{
    int failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1)
        fn(argv[1], &failed);
    else if (test_each_selector(fn, &failed) == 0)
        failed = 1;
    return failed != 0 || test_error_count() != 0;
}
