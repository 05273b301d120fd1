/*
 * work_dir.c: the folder ".NAME.woq-work" beside an output NAME, in which a long run keeps what it has made.
 *
 * It is locked (flock) while a process works in it, and stays if that is killed. A file is written under another name
 * and renamed when it is on the disk.
 */
#include "quantizer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *woqi_work_dir_path(const char *output)
{
    char *trimmed = strdup(output);
    for (size_t n = trimmed ? strlen(trimmed) : 0; n > 1 && trimmed[n - 1] == '/'; n--)
        trimmed[n - 1] = 0;
    char *path = trimmed ? woqi_sibling_path(trimmed, ".woq-work") : NULL;
    free(trimmed);
    return path;
}

enum woq_status woqi_work_dir_open(struct woqi_atomic_dir *dir, const char *output)
{
    enum woq_status st = WOQ_OK;
    *dir = (struct woqi_atomic_dir){.target = woqi_work_dir_path(output), .fd = -1};
    if (!dir->target)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the work folder's name");
    if (!st)
        st = woqi_lock_folder(dir->target, dir->target, &dir->fd);
    if (st) {
        free(dir->target);
        dir->target = NULL;
    }
    return st;
}

void woqi_work_dir_close(struct woqi_atomic_dir *dir, bool remove)
{
    if (dir->fd >= 0) {
        if (remove)
            woqi_remove_folder(dir->target);
        close(dir->fd);
    }
    free(dir->target);
    *dir = (struct woqi_atomic_dir){.fd = -1};
}

enum woq_status woqi_work_dir_rename(struct woqi_atomic_dir *dir, const char *from, const char *name)
{
    if (!renameat(dir->fd, from, dir->fd, name) && !fsync(dir->fd))
        return WOQ_OK;
    return woq_report(WOQ_ERROR_DRIVER, "writing '%s/%s': %s", dir->target, name, strerror(errno));
}

enum woq_status woqi_work_dir_remove(struct woqi_atomic_dir *dir, const char *name)
{
    if (!unlinkat(dir->fd, name, 0) || errno == ENOENT)
        return WOQ_OK;
    return woq_report(WOQ_ERROR_DRIVER, "cannot remove '%s/%s': %s", dir->target, name, strerror(errno));
}
