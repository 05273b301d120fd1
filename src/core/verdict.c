/* verdict.c: verdicts on kernels, in a list of the device and in its cache; those against one are its quarantine. */
#include "verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "cache.h"
#include "check.h"
#include "log.h"

/* kernel "": what the keys of all kernels begin with. */
static void cache_key(const struct woq_device *device, const char *kernel, char *out, size_t size)
{
    const char *how = device->software_matrix == 8    ? ", software_matrix=8"
                      : device->software_matrix == 16 ? ", software_matrix"
                                                      : "";
    snprintf(out, size, "self-test 2 | %s | %s | %s | woq %s%s | %s",
             woq_backend_name(device->info.backend), device->info.name, device->info.driver,
             woq_version_string(), how, kernel);
}

/* On disk: a byte, 1 = passed, and what a failed kernel gave. False: no verdict. */
static bool parse(const char *kernel, const void *data, size_t size, struct woqi_verdict *out)
{
    const uint8_t *bytes = data;
    if (!size || bytes[0] > 1)
        return false;
    out->passed = bytes[0];
    snprintf(out->what.kernel, sizeof out->what.kernel, "%s", kernel);
    snprintf(out->what.found, sizeof out->what.found, "%.*s", (int)woqi_min(size - 1, 1024),
             (const char *)bytes + 1);
    return true;
}

static struct woqi_verdict *remember(struct woq_device *device, const struct woqi_verdict *verdict)
{
    struct woqi_verdict *v = woqi_alloc(device, 1, sizeof *v);
    if (!v)
        return NULL;
    *v = *verdict;
    v->next = device->verdicts;
    device->verdicts = v;
    if (!v->passed)
        woqi_log(device, WOQ_LOG_WARNING, "kernel %s gives wrong results on %s, and is not used: %s",
                 v->what.kernel, device->info.selector, v->what.found);
    return v;
}

/* NULL: this process knows of none. */
static const struct woqi_verdict *find_known(const struct woq_device *device, const char *kernel)
{
    const struct woqi_verdict *v = device->verdicts;
    while (v && strcmp(v->what.kernel, kernel))
        v = v->next;
    return v;
}

const struct woqi_verdict *woqi_verdict_find(struct woq_device *device, const char *kernel)
{
    const struct woqi_verdict *known = find_known(device, kernel);
    struct woqi_verdict read;
    char key[512];
    void *data = NULL;
    size_t size = 0;
    if (known)
        return known;
    cache_key(device, kernel, key, sizeof key);
    if (!woqi_cache_load(device, key, &data, &size))
        return NULL;
    const bool whole = parse(kernel, data, size, &read);
    woqi_free(device, data);
    return whole ? remember(device, &read) : NULL;
}

void woqi_verdict_store(struct woq_device *device, const char *kernel, const char *found)
{
    struct woqi_verdict verdict = {.passed = !*found};
    char data[1 + sizeof verdict.what.found], key[512];
    snprintf(verdict.what.kernel, sizeof verdict.what.kernel, "%s", kernel);
    snprintf(verdict.what.found, sizeof verdict.what.found, "%s", found);
    data[0] = verdict.passed;
    memcpy(data + 1, verdict.what.found, sizeof verdict.what.found);
    cache_key(device, kernel, key, sizeof key);
    woqi_cache_store(device, key, data, 1 + strlen(data + 1));
    remember(device, &verdict);
}

/* ---- the quarantine ---- */

struct listing {
    struct woq_device *device;
    struct woq_quarantined *entries; /* NULL: only count */
    size_t capacity, count;
};

static void list(struct listing *l, const struct woqi_verdict *v)
{
    if (v->passed)
        return;
    if (l->entries && l->count < l->capacity)
        l->entries[l->count] = v->what;
    l->count++;
}

static void list_cached(void *user, const char *kernel, const void *data, size_t size)
{
    struct listing *l = user;
    struct woqi_verdict v;
    if (parse(kernel, data, size, &v) && !find_known(l->device, kernel))
        list(l, &v);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct woq_quarantined *)a)->kernel, ((const struct woq_quarantined *)b)->kernel);
}

enum woq_status woq_device_quarantine(struct woq_device *device, struct woq_quarantined *entries,
                                      size_t *count)
{
    enum woq_status st = WOQI_CHECK_NULL(device, count);
    if (st)
        return st;
    struct listing l = {device, entries, *count, 0};
    char key[512];
    *count = 0;
    if ((st = WOQI_CHECK_NULL(NULL, device)))
        return st;
    pthread_mutex_lock(&device->selftest_lock);
    for (const struct woqi_verdict *v = device->verdicts; v; v = v->next)
        list(&l, v);
    cache_key(device, "", key, sizeof key);
    woqi_cache_each(device, key, list_cached, &l);
    pthread_mutex_unlock(&device->selftest_lock);
    *count = entries && l.count > l.capacity ? l.capacity : l.count;
    if (entries)
        qsort(entries, *count, sizeof *entries, by_name);
    return WOQ_OK;
}

uint64_t woqi_verdict_fingerprint(struct woq_device *device)
{
    uint64_t all = 0;
    pthread_mutex_lock(&device->selftest_lock);
    for (const struct woqi_verdict *v = device->verdicts; v; v = v->next) {
        uint64_t hash = 14695981039346656037u; /* FNV-1a */
        for (const char *c = v->what.kernel; *c && !v->passed; c++)
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
