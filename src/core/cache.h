/*
 * cache.h: compiled kernels on disk.
 *
 * An entry is one file named after a 128-bit hash of its key, written aside and renamed, so that a
 * reader sees a whole entry or none, whatever a second process or a kill does. It carries its key's
 * bytes and a checksum; a corrupt or foreign entry is deleted and counts as absent. Failures to write
 * are logged at debug level and otherwise ignored.
 */
#ifndef WOQI_CACHE_H
#define WOQI_CACHE_H

#include <stdbool.h>
#include <stddef.h>

struct woq_device;
struct woqi_cache;

/* The folder that woq_device_params.cache_dir means. False: none. Makes nothing. */
bool woqi_cache_folder(const char *cache_dir, char *out, size_t size);

/* mkdir -p with access for the user alone; path is written to, and back. */
bool woqi_make_folder(char *path);

/* folder as woq_device_params.cache_dir. NULL result: off, or no folder could be made. */
struct woqi_cache *woqi_cache_open(struct woq_device *device, const char *folder);
void woqi_cache_close(struct woq_device *device, struct woqi_cache *cache);

/* key: any text that identifies the content wholly (backend, driver version, options, source hash).
 * Found: true, *data (woqi_free) and *size; a negative entry has size 0. */
bool woqi_cache_load(struct woq_device *device, const char *key, void **data, size_t *size);

/* size 0 stores a negative entry: known to fail. */
void woqi_cache_store(struct woq_device *device, const char *key, const void *data, size_t size);

/* Calls `found` for each entry whose key begins with `prefix`, in no order; the key is told without it. */
typedef void woqi_cache_found_fn(void *user, const char *rest, const void *data, size_t size);
void woqi_cache_each(struct woq_device *device, const char *prefix, woqi_cache_found_fn *found,
                     void *user);

/* Forgets an entry that its driver refused. */
void woqi_cache_drop(struct woq_device *device, const char *key);

/* 16 hexadecimal digits of a hash, for keys made from long texts. */
void woqi_hash_text(const void *data, size_t size, char out[17]);

#endif
