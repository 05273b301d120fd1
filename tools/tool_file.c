/* tool_file.c: files that the program writes: whole, or not at all. */
#include "tool.h"

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

bool tool_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return !strcmp(a, b) || (!stat(a, &x) && !stat(b, &y) && S_ISREG(x.st_mode) && x.st_dev == y.st_dev &&
                             x.st_ino == y.st_ino);
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
    const int fd = open(plain ? aside : file, plain ? O_WRONLY | O_CREAT | O_EXCL : O_WRONLY | O_TRUNC, 0666);
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

int tool_check_writable(const char *command, const char *file)
{
    if (!file || !strcmp(file, "-"))
        return TOOL_OK;
    FILE *out = fopen(file, "a");
    if (!out)
        return cannot_write(command, file);
    fclose(out);
    return TOOL_OK;
}
