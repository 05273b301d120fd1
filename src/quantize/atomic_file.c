/*
 * atomic_file.c: a file that appears whole or not at all.
 *
 * It is written as the sibling ".NAME.woq-partial", which is locked (flock) while its writer lives, and which is
 * renamed at the end. A killed run leaves the sibling behind without a lock: the next run empties it and uses it.
 */
#define _GNU_SOURCE /* flock */
#include "quantizer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum woq_status fail_system(const char *what, const struct woqi_atomic_file *f)
{
    return woq_report(WOQ_ERROR_DRIVER, "%s '%s/%s': %s", what, f->dir.target, f->name, strerror(errno));
}

/* Whether the sibling's name still stands for what is open and locked. */
static bool is_ours(const struct woqi_atomic_file *f)
{
    struct stat opened, named;
    return !fstat(f->fd, &opened) && !fstatat(f->dir.fd, f->aside, &named, AT_SYMLINK_NOFOLLOW) &&
           opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

static enum woq_status open_aside(struct woqi_atomic_file *f)
{
    f->dir.fd = open(f->dir.target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f->dir.fd >= 0)
        f->fd = openat(f->dir.fd, f->aside, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (f->fd < 0)
        return fail_system("cannot create", f);
    if (flock(f->fd, LOCK_EX | LOCK_NB) || !is_ours(f)) {
        close(f->fd);
        f->fd = -1;
        return woq_report(WOQ_ERROR_INVALID_STATE, "another process is writing '%s/%s'", f->dir.target, f->name);
    }
    return ftruncate(f->fd, 0) ? fail_system("cannot empty what is aside for", f) : WOQ_OK;
}

enum woq_status woqi_atomic_file_begin(struct woqi_atomic_file *f, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    *f = (struct woqi_atomic_file){.dir = {.fd = -1}, .fd = -1};
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "'%s' is no name of a file to write", path);
    const size_t size = strlen(name) + sizeof "..woq-partial";
    f->name = strdup(name);
    f->aside = malloc(size);
    f->dir.target = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!f->name || !f->aside || !f->dir.target)
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the name '%s'", path);
    snprintf(f->aside, size, ".%s.woq-partial", name);
    return open_aside(f);
}

enum woq_status woqi_atomic_file_commit(struct woqi_atomic_file *f)
{
    if (fsync(f->fd))
        return fail_system("writing", f);
    if (renameat(f->dir.fd, f->aside, f->dir.fd, f->name))
        return fail_system("cannot create", f);
    close(f->fd);
    f->fd = -1;
    fsync(f->dir.fd); /* the file is there: if this fails, a power cut may undo it */
    return WOQ_OK;
}

void woqi_atomic_file_end(struct woqi_atomic_file *f)
{
    if (f->fd >= 0) {
        unlinkat(f->dir.fd, f->aside, 0);
        close(f->fd);
    }
    if (f->dir.fd >= 0)
        close(f->dir.fd);
    free(f->name);
    free(f->aside);
    free(f->dir.target);
    *f = (struct woqi_atomic_file){.dir = {.fd = -1}, .fd = -1};
}
