/* verdict.c: verdicts on kernels, in a list of the device and in its cache. */
#include "verdict.h"

#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "cache.h"
#include "log.h"

static void cache_key(const struct woq_device *device, const char *kernel, char *out, size_t size)
{
    snprintf(out, size, "self-test 1 | %s | %s | %s | woq %s | %s%s",
             woq_backend_name(device->info.backend), device->info.name, device->info.driver,
             woq_version_string(), kernel, device->software_matrix ? ", software_matrix" : "");
}

static struct woqi_verdict *remember(struct woq_device *device, const char *kernel, bool passed)
{
    struct woqi_verdict *v = woqi_alloc(device, 1, sizeof *v);
    if (!v)
        return NULL;
    snprintf(v->kernel, sizeof v->kernel, "%s", kernel);
    v->passed = passed;
    v->next = device->verdicts;
    device->verdicts = v;
    if (!passed)
        woqi_log(device, WOQ_LOG_WARNING, "kernel %s gives wrong results on %s, and is not used",
                 kernel, device->info.selector);
    return v;
}

const struct woqi_verdict *woqi_verdict_find(struct woq_device *device, const char *kernel)
{
    char key[512];
    void *data = NULL;
    size_t size = 0;
    for (struct woqi_verdict *v = device->verdicts; v; v = v->next)
        if (!strcmp(v->kernel, kernel))
            return v;
    cache_key(device, kernel, key, sizeof key);
    if (!woqi_cache_load(device, key, &data, &size))
        return NULL;
    bool known = size == 1, passed = known && *(const uint8_t *)data == 1;
    woqi_free(device, data);
    return known ? remember(device, kernel, passed) : NULL;
}

void woqi_verdict_store(struct woq_device *device, const char *kernel, bool passed)
{
    const uint8_t byte = passed;
    char key[512];
    cache_key(device, kernel, key, sizeof key);
    woqi_cache_store(device, key, &byte, 1);
    remember(device, kernel, passed);
}

uint64_t woqi_verdict_fingerprint(struct woq_device *device)
{
    uint64_t all = 0;
    pthread_mutex_lock(&device->selftest_lock);
    for (const struct woqi_verdict *v = device->verdicts; v; v = v->next) {
        uint64_t hash = 14695981039346656037u; /* FNV-1a */
        for (const char *c = v->kernel; *c && !v->passed; c++)
            hash = (hash ^ (uint8_t)*c) * 1099511628211u;
        all ^= v->passed ? 0 : hash;
    }
    pthread_mutex_unlock(&device->selftest_lock);
    return all;
}

void woqi_verdict_clear(struct woq_device *device)
{
    while (device->verdicts) {
        struct woqi_verdict *v = device->verdicts;
        device->verdicts = v->next;
        woqi_free(device, v);
    }
}
