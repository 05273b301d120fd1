/* tool_file.c: files that the program writes: whole, or not at all. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "tool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int cannot_write(const char *command, const char *file)
{
    return tool_failed(command, "cannot write '%s': %s", file, strerror(errno));
}

static bool write_all(FILE *out, const char *text, size_t size)
{
    return fwrite(text, 1, size, out) == size && !fflush(out);
}

/* Without links, "." and "..", whether the path or its folder exists or not; to be freed. */
static char *whole_path(const char *path)
{
    char *real = realpath(path, NULL);
    if (real || !strcmp(path, "."))
        return real ? real : tool_text(".");
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t name = end;
    while (name && path[name - 1] != '/')
        name--;
    char *folder = name ? tool_text("%.*s", (int)name, path) : tool_text(".");
    char *above = name < end ? whole_path(folder) : tool_text("/");
    char *whole = tool_text("%s/%.*s", strcmp(above, "/") ? above : "", (int)(end - name), path + name);
    free(folder);
    free(above);
    return whole;
}

static bool one_inode(const char *a, const char *b)
{
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && S_ISREG(x.st_mode) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

bool tool_same_file(const char *a, const char *b)
{
    char *x = whole_path(a), *y = whole_path(b);
    const bool same = !strcmp(a, b) || !strcmp(x, y) || one_inode(a, b);
    free(x);
    free(y);
    return same;
}

static bool is_below(const char *directory, const char *path)
{
    char *outer = whole_path(directory), *inner = whole_path(path);
    const size_t size = strlen(outer);
    const bool below = !strncmp(outer, inner, size) && (!inner[size] || inner[size] == '/');
    free(outer);
    free(inner);
    return below;
}

bool tool_file_inside(const char *directory, const char *file)
{
    if (!strcmp(file, "-"))
        return false;
    const char *slash = strrchr(file, '/');
    char *folder = slash ? tool_text("%.*s", (int)(slash - file) + 1, file) : tool_text(".");
    bool inside = is_below(directory, file) || is_below(directory, folder); /* the latter: a link that lies there */
    DIR *entries = inside ? NULL : opendir(directory);
    for (struct dirent *e; entries && !inside && (e = readdir(entries));) {
        char *path = tool_text("%s/%s", directory, e->d_name);
        inside = one_inode(path, file);
        free(path);
    }
    if (entries)
        closedir(entries);
    free(folder);
    return inside;
}

/* Beside the file and renamed onto it, so that no reader meets half a page. What is no regular file, as a pipe or a
 * link, is written into. */
int tool_write_file(const char *command, const char *file, const char *text, size_t size)
{
    struct stat info;
    if (!strcmp(file, "-"))
        return write_all(stdout, text, size) ? TOOL_OK : cannot_write(command, file);
    const bool plain = lstat(file, &info) ? errno == ENOENT : S_ISREG(info.st_mode);
    char *aside = plain ? tool_text("%s.%ld.part", file, (long)getpid()) : NULL;
    const int fd = open(plain ? aside : file, O_WRONLY | O_CREAT | (plain ? O_EXCL : O_TRUNC), 0666);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    int result = TOOL_OK;
    if (!out) {
        result = cannot_write(command, file);
        if (fd >= 0)
            close(fd);
    } else {
        const bool good = write_all(out, text, size) && (!plain || !fsync(fd));
        if (!good)
            result = cannot_write(command, file);
        if (fclose(out) && good)
            result = cannot_write(command, file);
        if (!result && plain && rename(aside, file))
            result = cannot_write(command, file);
    }
    if (result && plain && fd >= 0)
        unlink(aside);
    free(aside);
    return result;
}

/* A new file is tried beside, so that a run that fails leaves none; what is no regular file is not opened, as who reads
 * a pipe would take closing it for the end. */
int tool_check_writable(const char *command, const char *file)
{
    struct stat info;
    if (!file || !strcmp(file, "-"))
        return TOOL_OK;
    if (!stat(file, &info)) {
        errno = EISDIR;
        return S_ISDIR(info.st_mode) || access(file, W_OK) ? cannot_write(command, file) : TOOL_OK;
    }
    char *aside = tool_text("%s.%ld.part", file, (long)getpid());
    const int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL, 0666);
    const int result = fd < 0 ? cannot_write(command, file) : TOOL_OK;
    if (fd >= 0) {
        close(fd);
        unlink(aside);
    }
    free(aside);
    return result;
}
