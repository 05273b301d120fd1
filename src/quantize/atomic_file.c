/*
 * atomic_file.c: a file that appears whole or not at all.
 *
 * It is written as the sibling ".NAME.woq-partial", which is locked (flock) while its writer lives, and which is
 * renamed at the end. A killed run leaves the sibling behind without a lock: the next run empties it and uses it.
 * Where a link leads to a file, that one is replaced. What is no regular file, as a pipe or a device, is written into.
 */
#define _GNU_SOURCE /* asprintf, flock */
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

/* What a link leads to, there or not; malloc'ed. NULL with errno. */
static char *follow(const char *path)
{
    char link[4096], *target = realpath(path, NULL);
    if (target || errno != ENOENT)
        return target;
    const ssize_t size = readlink(path, link, sizeof link);
    if (size <= 0)
        return strdup(path);
    const char *slash = strrchr(path, '/');
    const int parent = slash && *link != '/' ? (int)(slash - path) + 1 : 0;
    char *next = NULL;
    if (asprintf(&next, "%.*s%.*s", parent, path, (int)size, link) < 0)
        return NULL;
    target = follow(next);
    free(next);
    return target;
}

static bool is_link(const char *path)
{
    struct stat info;
    return !lstat(path, &info) && S_ISLNK(info.st_mode);
}

/* Neither a file nor nothing. */
static bool is_stream(const char *path)
{
    struct stat info;
    return !stat(path, &info) && !S_ISREG(info.st_mode);
}

static enum woq_status split(struct woqi_atomic_file *f, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "'%s' is no name of a file to write", path);
    f->name = strdup(name);
    f->dir.target = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    return f->name && f->dir.target
               ? WOQ_OK
               : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the name '%s'", path);
}

static enum woq_status begin_plain(struct woqi_atomic_file *f, const char *path)
{
    enum woq_status st = split(f, path);
    if (st)
        return st;
    const size_t size = strlen(f->name) + sizeof "..woq-partial";
    if (!(f->aside = malloc(size)))
        return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the name '%s'", path);
    snprintf(f->aside, size, ".%s.woq-partial", f->name);
    return open_aside(f);
}

enum woq_status woqi_atomic_file_begin(struct woqi_atomic_file *f, const char *path)
{
    *f = (struct woqi_atomic_file){.dir = {.fd = -1}, .fd = -1};
    if (is_stream(path)) {
        const enum woq_status st = split(f, path);
        if (!st)
            f->fd = open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
        return st || f->fd >= 0 ? st : fail_system("cannot write", f);
    }
    if (!is_link(path))
        return begin_plain(f, path);
    char *target = follow(path);
    const enum woq_status st = target ? begin_plain(f, target)
                                      : woq_report(errno == ENOMEM ? WOQ_ERROR_OUT_OF_MEMORY : WOQ_ERROR_DRIVER,
                                                   "cannot follow the link '%s': %s", path, strerror(errno));
    free(target);
    return st;
}

enum woq_status woqi_atomic_file_check(const char *path)
{
    struct woqi_atomic_file f;
    struct stat info;
    if (!stat(path, &info) && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) {
        if (!access(path, W_OK))
            return WOQ_OK;
        return woq_report(WOQ_ERROR_DRIVER, "cannot write '%s': %s", path, strerror(errno));
    }
    const enum woq_status st = woqi_atomic_file_begin(&f, path);
    woqi_atomic_file_end(&f);
    return st;
}

enum woq_status woqi_atomic_file_commit(struct woqi_atomic_file *f)
{
    if (f->aside && fsync(f->fd))
        return fail_system("writing", f);
    if (f->aside && renameat(f->dir.fd, f->aside, f->dir.fd, f->name))
        return fail_system("cannot create", f);
    const int fd = f->fd;
    f->fd = -1;
    if (close(fd) && !f->aside)
        return fail_system("writing", f);
    if (f->aside)
        fsync(f->dir.fd); /* the file is there: if this fails, a power cut may undo it */
    return WOQ_OK;
}

void woqi_atomic_file_end(struct woqi_atomic_file *f)
{
    if (f->fd >= 0) {
        if (f->aside)
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
