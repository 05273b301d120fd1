/*
 * atomic_dir.c: a directory that appears whole or not at all.
 *
 * Files are written into the sibling ".NAME.woq-partial", which is locked (flock) while its writer lives, and which
 * is renamed at the end. A killed run leaves the sibling behind without a lock: the next run empties it and uses it.
 * An existing directory is exchanged with the sibling in one step where the system can (renameat2), else by two
 * renames with ".NAME.woq-old" between them, which the next run puts back if it finds no NAME.
 */
#define _GNU_SOURCE /* renameat2, flock */
#include "quantizer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yyjson.h>

static enum woq_status fail_system(const char *what, const char *path, const char *name)
{
    return woq_report(WOQ_ERROR_DRIVER, "%s '%s%s%s': %s", what, path, name ? "/" : "", name ? name : "",
                      strerror(errno));
}

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the output directory's name");
}

char *woqi_sibling_path(const char *target, const char *suffix)
{
    const char *slash = strrchr(target, '/');
    size_t parent = slash ? (size_t)(slash - target) + 1 : 0;
    size_t size = strlen(target) + strlen(suffix) + 2;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%.*s.%s%s", (int)parent, target, target + parent, suffix);
    return path;
}

/* Visits every entry but . and ..: removes regular files and links if `remove`, else only looks. False if there is a
 * directory or what cannot be removed; *config tells of a config.json. Takes fd over. */
static bool each_entry(int fd, bool remove, bool *empty, bool *config)
{
    DIR *dir = fdopendir(fd);
    bool fine = true;
    *empty = true;
    *config = false;
    if (!dir) {
        close(fd);
        return false;
    }
    for (struct dirent *e; fine && (e = readdir(dir));) {
        struct stat info;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        *empty = false;
        *config |= !strcmp(e->d_name, "config.json");
        fine = !fstatat(fd, e->d_name, &info, AT_SYMLINK_NOFOLLOW) && !S_ISDIR(info.st_mode);
        if (fine && remove)
            fine = !unlinkat(fd, e->d_name, 0);
    }
    closedir(dir);
    return fine;
}

bool woqi_remove_folder(const char *path)
{
    bool empty, config;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && each_entry(fd, true, &empty, &config) && !rmdir(path);
}

static bool same_place(const struct stat *target, const char *source)
{
    struct stat info;
    if (!source || stat(source, &info))
        return false;
    if (info.st_dev == target->st_dev && info.st_ino == target->st_ino)
        return true;
    const char *slash = strrchr(source, '/');
    char *parent = slash ? strndup(source, slash == source ? 1 : (size_t)(slash - source)) : strdup(".");
    bool same = parent && !S_ISDIR(info.st_mode) && !stat(parent, &info) && info.st_dev == target->st_dev &&
                info.st_ino == target->st_ino;
    free(parent);
    return same;
}

static enum woq_status check_target(const char *target, const char *source, bool force)
{
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "the output directory is '%s'; must be a path that ends with the name of a new directory",
                          target);
    struct stat info;
    if (lstat(target, &info))
        return errno == ENOENT ? WOQ_OK : fail_system("cannot look at", target, NULL);
    if (same_place(&info, source))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "the output directory '%s' is where the model '%s' lies", target,
                          source);
    if (!force)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "'%s' exists; name another, or replace it by --force", target);
    bool empty = false, config = false;
    int fd = open(target, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || !each_entry(fd, false, &empty, &config) || !(empty || config))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "'%s' exists and is no model's directory (files only, config.json among them): it is not "
                          "replaced even by force",
                          target);
    return WOQ_OK;
}

enum woq_status woqi_lock_folder(const char *path, const char *target, int *out)
{
    struct stat opened, named;
    if (mkdir(path, 0777) && errno != EEXIST)
        return fail_system("cannot create", target, NULL);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return fail_system("cannot open", path, NULL);
    if (flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &opened) || lstat(path, &named) || opened.st_ino != named.st_ino ||
        opened.st_dev != named.st_dev) {
        close(fd);
        return woq_report(WOQ_ERROR_INVALID_STATE, "another process is writing '%s'", target);
    }
    *out = fd;
    return WOQ_OK;
}

enum woq_status woqi_empty_folder(const char *path)
{
    bool empty, config;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && each_entry(fd, true, &empty, &config))
        return WOQ_OK;
    return woq_report(WOQ_ERROR_DRIVER, "cannot empty '%s', which an interrupted run left; remove it by hand", path);
}

/* Opens and locks the sibling, emptied. */
static enum woq_status open_aside(struct woqi_atomic_dir *dir)
{
    enum woq_status st = woqi_lock_folder(dir->aside, dir->target, &dir->fd);
    if (!st && (st = woqi_empty_folder(dir->aside))) {
        close(dir->fd);
        dir->fd = -1;
    }
    return st;
}

enum woq_status woqi_atomic_dir_begin(struct woqi_atomic_dir *dir, const char *target, const char *source,
                                      bool force)
{
    *dir = (struct woqi_atomic_dir){strdup(target), NULL, -1, force};
    if (!dir->target)
        return no_memory();
    for (size_t n = strlen(dir->target); n > 1 && dir->target[n - 1] == '/'; n--)
        dir->target[n - 1] = 0;
    dir->aside = woqi_sibling_path(dir->target, ".woq-partial");
    char *old = woqi_sibling_path(dir->target, ".woq-old");
    enum woq_status st = dir->aside && old ? WOQ_OK : no_memory();
    struct stat info;
    if (!st && lstat(dir->target, &info) && errno == ENOENT && !lstat(old, &info) && rename(old, dir->target))
        st = fail_system("cannot put back", old, NULL);
    free(old);
    if (!st)
        st = check_target(dir->target, source, force);
    if (!st)
        st = open_aside(dir);
    return st;
}

/* Puts the sibling in the target's place; what was there is then at *rest (malloc'ed), NULL if nothing. */
static enum woq_status swap(struct woqi_atomic_dir *dir, char **rest)
{
    struct stat info;
    *rest = NULL;
    if (lstat(dir->target, &info)) {
        if (rename(dir->aside, dir->target))
            return fail_system("cannot create", dir->target, NULL);
        return WOQ_OK;
    }
    if (!dir->force)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "'%s' has come to exist meanwhile", dir->target);
#ifdef RENAME_EXCHANGE
    if (!renameat2(AT_FDCWD, dir->aside, AT_FDCWD, dir->target, RENAME_EXCHANGE)) {
        *rest = strdup(dir->aside);
        return *rest ? WOQ_OK : no_memory();
    }
#endif
    char *old = woqi_sibling_path(dir->target, ".woq-old");
    if (!old)
        return no_memory();
    if (!lstat(old, &info) && !woqi_remove_folder(old)) {
        free(old);
        return fail_system("cannot remove what is in the way of", dir->target, NULL);
    }
    enum woq_status st = WOQ_OK;
    if (rename(dir->target, old)) {
        st = fail_system("cannot replace", dir->target, NULL);
    } else if (rename(dir->aside, dir->target)) {
        st = fail_system("cannot replace", dir->target, NULL);
        if (rename(old, dir->target))
            st = fail_system("cannot put back", old, NULL);
    } else {
        *rest = old;
        return WOQ_OK;
    }
    free(old);
    return st;
}

enum woq_status woqi_atomic_dir_commit(struct woqi_atomic_dir *dir)
{
    if (fsync(dir->fd))
        return fail_system("writing", dir->target, NULL);
    char *rest = NULL;
    enum woq_status st = swap(dir, &rest);
    if (st)
        return st;
    /* From here on the new directory is there: what fails is tidying. */
    close(dir->fd);
    dir->fd = -1;
    if (rest)
        woqi_remove_folder(rest);
    free(rest);
    char *slash = strrchr(dir->target, '/');
    if (slash)
        *slash = 0;
    const char *parent = !slash ? "." : *dir->target ? dir->target : "/";
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    return WOQ_OK;
}

void woqi_atomic_dir_end(struct woqi_atomic_dir *dir)
{
    if (dir->fd >= 0) {
        woqi_remove_folder(dir->aside);
        close(dir->fd);
    }
    free(dir->target);
    free(dir->aside);
    *dir = (struct woqi_atomic_dir){.fd = -1};
}

int woqi_atomic_dir_create(struct woqi_atomic_dir *dir, const char *name)
{
    int fd = openat(dir->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0)
        fail_system("cannot create", dir->target, name);
    return fd;
}

enum woq_status woqi_atomic_dir_write(struct woqi_atomic_dir *dir, const char *name, int fd, const void *data,
                                      size_t size, uint64_t offset)
{
    const uint8_t *at = data;
    while (size) {
        ssize_t done = pwrite(fd, at, size, (off_t)offset);
        if (done < 0 && errno == ESPIPE)
            done = write(fd, at, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fail_system("writing", dir->target, name);
        at += done;
        size -= (size_t)done;
        offset += (uint64_t)done;
    }
    return WOQ_OK;
}

enum woq_status woqi_atomic_dir_finish(struct woqi_atomic_dir *dir, const char *name, int fd)
{
    enum woq_status st = fsync(fd) ? fail_system("writing", dir->target, name) : WOQ_OK;
    if (close(fd) && !st)
        st = fail_system("writing", dir->target, name);
    return st;
}

enum woq_status woqi_atomic_dir_json(struct woqi_atomic_dir *dir, const char *name, struct yyjson_mut_doc *doc)
{
    size_t size = 0;
    yyjson_write_err error = {0};
    char *text = yyjson_mut_write_opts(doc, YYJSON_WRITE_PRETTY_TWO_SPACES, NULL, &size, &error);
    if (!text) {
        bool memory = error.code == YYJSON_WRITE_ERROR_MEMORY_ALLOCATION;
        return woq_report(memory ? WOQ_ERROR_OUT_OF_MEMORY : WOQ_ERROR_INVALID_DATA, "%s: %s", name,
                          memory ? "out of memory" : error.msg);
    }
    int fd = woqi_atomic_dir_create(dir, name);
    enum woq_status st = fd < 0 ? WOQ_ERROR_DRIVER : woqi_atomic_dir_write(dir, name, fd, text, size, 0);
    if (!st)
        st = woqi_atomic_dir_write(dir, name, fd, "\n", 1, size);
    if (!st)
        st = woqi_atomic_dir_finish(dir, name, fd);
    else if (fd >= 0)
        close(fd);
    free(text);
    return st;
}

enum woq_status woqi_atomic_dir_copy(struct woqi_atomic_dir *dir, const char *from, const char *name)
{
    enum { CHUNK = 1 << 16 };
    enum woq_status st = WOQ_OK;
    uint64_t offset = 0;
    uint8_t *chunk = NULL;
    int to = -1, fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? WOQ_OK : fail_system("cannot read", from, NULL);
    if (!(chunk = malloc(CHUNK)))
        st = no_memory();
    else if ((to = woqi_atomic_dir_create(dir, name)) < 0)
        st = WOQ_ERROR_DRIVER;
    while (!st) {
        ssize_t got = read(fd, chunk, CHUNK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            st = fail_system("cannot read", from, NULL);
        if (got <= 0)
            break;
        st = woqi_atomic_dir_write(dir, name, to, chunk, (size_t)got, offset);
        offset += (uint64_t)got;
    }
    if (!st)
        st = woqi_atomic_dir_finish(dir, name, to);
    else if (to >= 0)
        close(to);
    close(fd);
    free(chunk);
    return st;
}
