/* cache.c: compiled kernels on disk, one file an entry. */
#include "cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "log.h"
#include "object.h"

#define MAGIC     "woqcache"
#define MAX_ENTRY (256u << 20) /* bytes; anything larger is no entry of ours */
#define MAX_KEY   4096u        /* likewise */

struct woqi_cache {
    char folder[512];
    atomic_uint serial; /* of temporary files of this process */
};

/* At the head of an entry; key bytes and data follow. Native byte order: caches are not moved. */
struct header {
    char magic[8];
    uint32_t version;
    uint32_t key_size;
    uint64_t data_size;
    uint64_t checksum; /* of key and data */
};

/* FNV-1a, 64 bit (Fowler, Noll, Vo). */
static uint64_t hash(uint64_t seed, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

void woqi_hash_text(const void *data, size_t size, char out[17])
{
    snprintf(out, 17, "%016llx", (unsigned long long)hash(0, data, size));
}

bool woqi_make_folder(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        int failed = mkdir(path, 0700) && errno != EEXIST;
        *p = '/';
        if (failed)
            return false;
    }
    return !mkdir(path, 0700) || errno == EEXIST;
}

bool woqi_cache_folder(const char *cache_dir, char *out, size_t size)
{
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length = -1;
    *out = 0;
    if (cache_dir && *cache_dir)
        length = snprintf(out, size, "%s", cache_dir);
    else if (!cache_dir && base && *base == '/')
        length = snprintf(out, size, "%s/woq", base);
    else if (!cache_dir && home && *home == '/')
        length = snprintf(out, size, "%s/.cache/woq", home);
    return length > 0 && (size_t)length + 64 < size; /* with room for a file's name */
}

struct woqi_cache *woqi_cache_open(struct woq_device *device, const char *folder)
{
    if (folder && !*folder)
        return NULL;
    struct woqi_cache *cache = woqi_alloc(device, 1, sizeof *cache);
    if (!cache)
        return NULL;
    if (woqi_cache_folder(folder, cache->folder, sizeof cache->folder) && woqi_make_folder(cache->folder))
        return cache;
    woqi_log(device, WOQ_LOG_DEBUG, "cache: off, no folder can be made at '%s'", cache->folder);
    woqi_free(device, cache);
    return NULL;
}

void woqi_cache_close(struct woq_device *device, struct woqi_cache *cache)
{
    woqi_free(device, cache);
}

static void entry_path(const struct woqi_cache *cache, const char *key, char *out, size_t size)
{
    size_t length = strlen(key);
    snprintf(out, size, "%s/%016llx%016llx", cache->folder,
             (unsigned long long)hash(0, key, length),
             (unsigned long long)hash(0x9e3779b97f4a7c15u, key, length));
}

static bool read_all(int file, void *to, size_t size)
{
    uint8_t *p = to;
    while (size) {
        ssize_t got = read(file, p, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        p += got;
        size -= (size_t)got;
    }
    return true;
}

static bool write_all(int file, const void *from, size_t size)
{
    const uint8_t *p = from;
    while (size) {
        ssize_t put = write(file, p, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        p += put;
        size -= (size_t)put;
    }
    return true;
}

enum entry { ENTRY_WHOLE, ENTRY_CORRUPT, ENTRY_UNREAD };

/* The entry's key and data in one block, if its key begins with `prefix`. CORRUPT: not whole or not
 * ours; UNREAD: no memory for it. */
static enum entry read_entry(struct woq_device *device, int file, const char *prefix, struct header *h,
                             uint8_t **out)
{
    struct stat info;
    size_t prefix_size = strlen(prefix);
    if (fstat(file, &info) || !read_all(file, h, sizeof *h) ||
        memcmp(h->magic, MAGIC, sizeof h->magic) || h->version != 1 || h->key_size < prefix_size ||
        h->key_size > MAX_KEY || h->data_size > MAX_ENTRY ||
        (uint64_t)info.st_size != sizeof *h + h->key_size + h->data_size)
        return ENTRY_CORRUPT;
    size_t size = h->key_size + (size_t)h->data_size;
    uint8_t *block = woqi_alloc(device, size, 1);
    if (!block)
        return ENTRY_UNREAD;
    if (read_all(file, block, prefix_size) && !memcmp(block, prefix, prefix_size) &&
        read_all(file, block + prefix_size, size - prefix_size) &&
        hash(1, block, size) == h->checksum) {
        *out = block;
        return ENTRY_WHOLE;
    }
    woqi_free(device, block);
    return ENTRY_CORRUPT;
}

bool woqi_cache_load(struct woq_device *device, const char *key, void **data, size_t *size)
{
    char path[600];
    struct header h;
    *data = NULL;
    *size = 0;
    if (!device->cache)
        return false;
    entry_path(device->cache, key, path, sizeof path);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return false;
    uint8_t *block = NULL;
    enum entry entry = read_entry(device, file, key, &h, &block);
    close(file);
    if (entry == ENTRY_WHOLE && h.key_size != strlen(key)) { /* as good as foreign */
        woqi_free(device, block);
        entry = ENTRY_CORRUPT;
    }
    if (entry == ENTRY_CORRUPT) {
        woqi_log(device, WOQ_LOG_INFO, "cache: %s is corrupt or foreign, deleted", path);
        unlink(path);
    }
    if (entry != ENTRY_WHOLE)
        return false;
    memmove(block, block + h.key_size, (size_t)h.data_size);
    *data = block;
    *size = (size_t)h.data_size;
    return true;
}

void woqi_cache_store(struct woq_device *device, const char *key, const void *data, size_t size)
{
    char path[600], aside[640];
    struct woqi_cache *cache = device->cache;
    size_t key_size = strlen(key);
    if (!cache || size > MAX_ENTRY)
        return;
    uint8_t *block = woqi_alloc(device, key_size + size, 1);
    if (!block)
        return;
    memcpy(block, key, key_size);
    if (size)
        memcpy(block + key_size, data, size);
    struct header h = {{0}, 1, (uint32_t)key_size, size, hash(1, block, key_size + size)};
    memcpy(h.magic, MAGIC, sizeof h.magic);
    entry_path(cache, key, path, sizeof path);
    snprintf(aside, sizeof aside, "%s.%ld.%u", path, (long)getpid(),
             atomic_fetch_add(&cache->serial, 1));
    int file = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool stored = file >= 0 && write_all(file, &h, sizeof h) &&
                  write_all(file, block, key_size + size);
    if (file >= 0)
        stored = !close(file) && stored;
    if (!stored || rename(aside, path)) {
        woqi_log(device, WOQ_LOG_DEBUG, "cache: cannot write %s: %s", path, strerror(errno));
        unlink(aside);
    }
    woqi_free(device, block);
}

void woqi_cache_each(struct woq_device *device, const char *prefix, woqi_cache_found_fn *found,
                     void *user)
{
    const size_t prefix_size = strlen(prefix);
    DIR *folder = device->cache ? opendir(device->cache->folder) : NULL;
    for (struct dirent *e; folder && (e = readdir(folder));) {
        char rest[MAX_KEY + 1];
        struct header h;
        uint8_t *block = NULL;
        int file = openat(dirfd(folder), e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (file < 0)
            continue;
        if (read_entry(device, file, prefix, &h, &block) == ENTRY_WHOLE) {
            const size_t rest_size = h.key_size - prefix_size;
            memcpy(rest, block + prefix_size, rest_size);
            rest[rest_size] = 0;
            found(user, rest, block + h.key_size, (size_t)h.data_size);
        }
        close(file);
        woqi_free(device, block);
    }
    if (folder)
        closedir(folder);
}

void woqi_cache_drop(struct woq_device *device, const char *key)
{
    char path[600];
    if (!device->cache)
        return;
    entry_path(device->cache, key, path, sizeof path);
    unlink(path);
}
