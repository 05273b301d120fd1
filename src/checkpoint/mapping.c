/* mapping.c: files as read-only memory. */
#define _DEFAULT_SOURCE /* madvise */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint/checkpoint_impl.h"

enum woq_status woqi_ckpt_map_file(struct woq_checkpoint *c, const char *path,
                                   enum woq_status missing)
{
    struct woqi_ckpt_map *map = &c->maps[c->map_count];
    struct stat info;
    enum woq_status st = WOQ_OK;
    /* Without O_NONBLOCK a named pipe would hang here. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return woq_report(errno == ENOENT ? missing : WOQ_ERROR_INVALID_ARGUMENT,
                          "%s: cannot be opened: %s", path, strerror(errno));
    if (fstat(fd, &info)) {
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s", path, strerror(errno));
        goto done;
    }
    if (!S_ISREG(info.st_mode)) {
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: is no regular file", path);
        goto done;
    }
    if ((uintmax_t)info.st_size > SIZE_MAX / 2) {
        st = woq_report(WOQ_ERROR_UNSUPPORTED, "%s: too large to be mapped", path);
        goto done;
    }
    if (!(map->path = woqi_ckpt_copy(&c->arena, path, strlen(path)))) {
        st = woqi_ckpt_no_memory(c);
        goto done;
    }
    map->size = (size_t)info.st_size;
    if (map->size) {
        void *data = mmap(NULL, map->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            st = woq_report(errno == ENOMEM ? WOQ_ERROR_OUT_OF_MEMORY : WOQ_ERROR_INVALID_ARGUMENT,
                            "%s: cannot be mapped: %s", path, strerror(errno));
            goto done;
        }
        map->data = data;
    }
    c->map_count++;
done:
    close(fd);
    return st;
}

enum woq_status woqi_ckpt_map_memory(struct woq_checkpoint *c, const void *data, size_t size)
{
    struct woqi_ckpt_map *map = &c->maps[c->map_count++];
    map->data = size ? data : NULL;
    map->size = size;
    map->path = c->path;
    map->borrowed = true;
    return WOQ_OK;
}

void woqi_ckpt_unmap(struct woqi_ckpt_map *map)
{
    if (map->data && !map->borrowed)
        munmap((void *)(uintptr_t)map->data, map->size);
    map->data = NULL;
}

void woqi_ckpt_forget(const struct woq_tensor *t)
{
#ifdef MADV_DONTNEED
    const struct woq_checkpoint *c = t->checkpoint;
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < c->map_count; i++) {
        const struct woqi_ckpt_map *map = &c->maps[i];
        const uint8_t *data = t->data;
        if (map->borrowed || !map->data || data < map->data || data >= map->data + map->size)
            continue;
        const uint64_t at = (uint64_t)(data - map->data), begin = at / page * page;
        madvise((void *)(uintptr_t)(map->data + begin), (size_t)(at + t->bytes - begin), MADV_DONTNEED);
        return;
    }
#else
    (void)t;
#endif
}
