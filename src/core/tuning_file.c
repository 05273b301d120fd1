/* tuning_file.c: where tuning records come from, and how a file gets more of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc.h"
#include "cache.h"
#include "check.h"
#include "tuning.h"

#define PATH_SIZE 600

extern const unsigned char woqi_tuning_records[]; /* tuning_records.txt */
extern const size_t woqi_tuning_records_size;

/* ---- reading ---- */

/* The name of the file that is asked, "" for none; *named: somebody named it, so that it should be there. */
static void find_file(const char *where, const char *cache_dir, char out[PATH_SIZE], bool *named)
{
    const char *environment = getenv("WOQ_TUNING");
    if (!where && environment && *environment)
        where = environment;
    out[0] = 0;
    *named = where != NULL;
    if (where && (!*where || !strcmp(where, "off")))
        return;
    if (where) {
        const int length = snprintf(out, PATH_SIZE, "%s", where);
        if (length < 0 || length >= PATH_SIZE - 32)
            out[0] = 0;
        return;
    }
    char folder[PATH_SIZE - 32];
    if (woqi_cache_folder(cache_dir, folder, sizeof folder))
        snprintf(out, PATH_SIZE, "%s/tuning.txt", folder);
}

/* The whole of a file; to be freed. Returns 0 or an errno. */
static int load(const struct woq_allocator *allocator, const char *path, char **text, size_t *size)
{
    struct stat info;
    int error = 0;
    *text = NULL;
    *size = 0;
    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0 || fstat(file, &info))
        error = errno;
    else if (!S_ISREG(info.st_mode) || info.st_size > (off_t)WOQI_TUNING_SIZE)
        error = S_ISREG(info.st_mode) ? EFBIG : EINVAL;
    const size_t whole = error ? 0 : (size_t)info.st_size;
    if (!error && !(*text = woqi_alloc_with(allocator, whole + 1, 1)))
        error = ENOMEM;
    while (!error && *size < whole) {
        const ssize_t got = read(file, *text + *size, whole - *size);
        if (got < 0 && errno != EINTR)
            error = errno;
        if (!got)
            break;
        *size += got > 0 ? (size_t)got : 0;
    }
    if (file >= 0)
        close(file);
    if (error) {
        woqi_free_with(allocator, *text);
        *text = NULL;
    }
    return error;
}

static enum woq_status out_of_memory(struct woq_device *device)
{
    return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "tuning records: out of host memory");
}

static enum woq_status read_set(struct woq_device *device, const char *source, const char *text, size_t size,
                                struct woqi_tuning *out)
{
    char why[512];
    if (woqi_tuning_parse(&device->allocator, source, text, size, out, why, sizeof why))
        return WOQ_OK;
    woqi_tuning_free(&device->allocator, out);
    if (!*why)
        return out_of_memory(device);
    woqi_log(device, WOQ_LOG_WARNING, "tuning records are not used: %s", why);
    return WOQ_OK;
}

enum woq_status woqi_tuning_open(struct woq_device *device, const char *where, const char *cache_dir, bool emulated)
{
    char path[PATH_SIZE], *text;
    size_t size;
    bool named;
    find_file(where, cache_dir, path, &named);
    if ((named && !*path) || (emulated && !named))
        return WOQ_OK;
    const int error = *path ? load(&device->allocator, path, &text, &size) : ENOENT;
    enum woq_status st = WOQ_OK;
    if (error == ENOMEM)
        return out_of_memory(device);
    if (error && (named || error != ENOENT))
        woqi_log(device, WOQ_LOG_WARNING, "tuning records are not used: %s: %s", path, strerror(error));
    if (!error) {
        st = read_set(device, path, text, size, &device->tuning[0]);
        woqi_free(device, text);
    }
    if (!st && !emulated)
        st = read_set(device, "tuning_records.txt of the library", (const char *)woqi_tuning_records,
                      woqi_tuning_records_size, &device->tuning[1]);
    if (st)
        woqi_tuning_close(device);
    return st;
}

void woqi_tuning_close(struct woq_device *device)
{
    for (size_t i = 0; i < WOQI_TUNING_SETS; i++)
        woqi_tuning_free(&device->allocator, &device->tuning[i]);
}

enum woq_status woq_tuning_file(const struct woq_device_params *params, char *out, size_t size)
{
    char path[PATH_SIZE];
    bool named;
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (st)
        return st;
    if (size)
        out[0] = 0;
    if (params && (st = WOQI_CHECK_STRUCT(NULL, params)))
        return st;
    find_file(params ? params->tuning : NULL, params ? params->cache_dir : NULL, path, &named);
    if (!*path)
        return woqi_fail(NULL, WOQ_ERROR_UNSUPPORTED, "woq_tuning_file: no file of tuning records is read; %s",
                         named ? "WOQ_TUNING or woq_device_params.tuning turns them off, or is too long"
                               : "there is no folder for a cache: set HOME");
    if (strlen(path) >= size)
        return woqi_fail(NULL, WOQ_ERROR_UNSUPPORTED, "woq_tuning_file: size is %zu; %zu bytes are needed", size,
                         strlen(path) + 1);
    memcpy(out, path, strlen(path) + 1);
    return WOQ_OK;
}

/* ---- merging ---- */

static bool same_product(const struct woqi_tuning_record *a, const struct woqi_tuning_record *b)
{
    return !strcmp(a->head, b->head) && !strcmp(a->product, b->product);
}

/* Is the record one that a later one, of the same text or of `other`, takes the place of? */
static bool is_replaced(const struct woqi_tuning *in, size_t i, const struct woqi_tuning *other)
{
    for (size_t j = i + 1; j < in->count; j++)
        if (same_product(&in->records[i], &in->records[j]))
            return true;
    for (size_t j = 0; other && j < other->count; j++)
        if (same_product(&in->records[i], &other->records[j]))
            return true;
    return false;
}

/* The records of one section out of both texts. */
static void write_section(FILE *out, const char *head, const struct woqi_tuning sets[2])
{
    bool begun = false;
    for (size_t set = 0; set < 2; set++)
        for (size_t i = 0; i < sets[set].count; i++) {
            const struct woqi_tuning_record *r = &sets[set].records[i];
            if (strcmp(r->head, head) || is_replaced(&sets[set], i, set ? NULL : &sets[1]))
                continue;
            if (!begun)
                fprintf(out, "\n%s\n", head);
            begun = true;
            fprintf(out, "%s%s%s%s%s\n", r->product, *r->ways ? " " : "", r->ways, *r->comment ? " # " : "",
                    r->comment);
        }
}

/* Has a record before number i of the set, or of the set before, the same head? */
static bool is_known(const struct woqi_tuning sets[2], size_t set, size_t i)
{
    const char *head = sets[set].records[i].head;
    for (size_t s = 0; s <= set; s++)
        for (size_t j = 0; j < (s < set ? sets[s].count : i); j++)
            if (!strcmp(sets[s].records[j].head, head))
                return true;
    return false;
}

static bool write_sets(FILE *out, const struct woqi_tuning sets[2])
{
    fprintf(out, "woq-tuning 1\n# What products run on. Written by woq tune; the format is in woq/tuning.h.\n");
    for (size_t set = 0; set < 2; set++)
        for (size_t i = 0; i < sets[set].count; i++)
            if (!is_known(sets, set, i))
                write_section(out, sets[set].records[i].head, sets);
    return !ferror(out);
}

static enum woq_status fail_file(const char *verb, const char *file, int error)
{
    return woqi_fail(NULL, error == ENOMEM ? WOQ_ERROR_OUT_OF_MEMORY : WOQ_ERROR_DRIVER,
                     "woq_tuning_merge: cannot %s '%s': %s", verb, file, strerror(error));
}

/* Written aside and renamed. */
static enum woq_status store(const char *file, const struct woqi_tuning sets[2])
{
    char folder[PATH_SIZE], aside[PATH_SIZE + 32];
    if (strlen(file) >= PATH_SIZE)
        return fail_file("write", file, ENAMETOOLONG);
    snprintf(folder, sizeof folder, "%s", file);
    char *slash = strrchr(folder, '/');
    if (slash && slash != folder) {
        *slash = 0;
        (void)woqi_make_folder(folder); /* or opening the file says why not */
    }
    snprintf(aside, sizeof aside, "%s.XXXXXX", file);
    const int descriptor = mkstemp(aside);
    FILE *out = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    int error = out ? 0 : errno;
    if (out) {
        error = write_sets(out, sets) ? 0 : errno ? errno : EIO;
        if (fclose(out) && !error)
            error = errno;
        if (!error && rename(aside, file))
            error = errno;
    } else if (descriptor >= 0) {
        close(descriptor);
    }
    if (error && descriptor >= 0)
        unlink(aside);
    return error ? fail_file("write", file, error) : WOQ_OK;
}

enum woq_status woq_tuning_merge(const char *file, const char *text)
{
    const struct woq_allocator *allocator = &woqi_default_allocator;
    struct woqi_tuning sets[2] = {{0}, {0}};
    char why[512] = "", *old = NULL;
    size_t size = 0;
    enum woq_status st = WOQI_CHECK_NULL(NULL, file);
    if (!st)
        st = WOQI_CHECK_NULL(NULL, text);
    if (st)
        return st;
    const int error = load(allocator, file, &old, &size);
    if (error && error != ENOENT)
        return fail_file("read", file, error);
    if (!error && !woqi_tuning_parse(allocator, file, old, size, &sets[0], why, sizeof why))
        st = *why ? woqi_fail(NULL, WOQ_ERROR_INVALID_DATA, "woq_tuning_merge: %s", why) : out_of_memory(NULL);
    if (!st && !woqi_tuning_parse(allocator, "text", text, strlen(text), &sets[1], why, sizeof why))
        st = *why ? woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT, "woq_tuning_merge: %s", why) : out_of_memory(NULL);
    if (!st)
        st = store(file, sets);
    for (size_t i = 0; i < 2; i++)
        woqi_tuning_free(allocator, &sets[i]);
    woqi_free_with(allocator, old);
    return st;
}
