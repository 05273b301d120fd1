/* activations.c: memory for activations, or a mapped file without a name. */
#include "activations.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static enum woq_status no_room(uint64_t bytes, const char *directory, int error)
{
    return woq_report(WOQ_ERROR_DRIVER, "a file of %" PRIu64 " bytes for activations in '%s': %s", bytes, directory,
                      strerror(error));
}

/* A file that nobody else can open, and that is gone with its descriptor; -1 and errno. */
static int open_unnamed(const char *directory)
{
    static const char name[] = "/woq-activations-XXXXXX";
    const size_t size = strlen(directory) + sizeof name;
    char *path = malloc(size);
    if (!path)
        return -1;
    snprintf(path, size, "%s%s", directory, name);
    const int fd = mkstemp(path);
    if (fd >= 0) {
        unlink(path);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
    free(path);
    return fd;
}

static enum woq_status map_file(const char *directory, struct woqi_activations *out)
{
    const int fd = open_unnamed(directory);
    if (fd < 0)
        return no_room(out->bytes, directory, errno);
    const int error = posix_fallocate(fd, 0, (off_t)out->bytes);
    if (error) {
        close(fd);
        return no_room(out->bytes, directory, error);
    }
    void *data = mmap(NULL, out->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const enum woq_status st = data == MAP_FAILED ? no_room(out->bytes, directory, errno) : WOQ_OK;
    close(fd); /* the mapping keeps the file */
    if (!st) {
        out->data = data;
        out->mapped = true;
    }
    return st;
}

enum woq_status woqi_activations_create(uint64_t rows, uint64_t row_bytes, uint64_t limit, const char *directory,
                                        struct woqi_activations *out)
{
    *out = (struct woqi_activations){0};
    if (!rows || !row_bytes)
        return WOQ_OK;
    enum woq_status st = WOQ_OK;
    const bool fits = row_bytes <= (SIZE_MAX >> 1) / rows;
    out->bytes = fits ? rows * row_bytes : 0;
    if (fits && out->bytes > limit)
        st = map_file(directory ? directory : "/tmp", out);
    else if (!fits || !(out->data = calloc(1, out->bytes)))
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY,
                        "no host memory for activations: %" PRIu64 " rows of %" PRIu64 " bytes", rows, row_bytes);
    if (st)
        *out = (struct woqi_activations){0};
    return st;
}

void woqi_activations_release(struct woqi_activations *a)
{
    if (a->mapped)
        munmap(a->data, a->bytes);
    else
        free(a->data);
    *a = (struct woqi_activations){0};
}
