/* page.c: see page.h. */
#include "page.h"

#include "chart.h"
#include "report_data.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- The page ---- */

void page_begin(FILE *out)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
          "<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
          "script-src 'unsafe-inline'\"/>\n<title>", out);
}

void page_heading(FILE *out)
{
    fputs("</title>\n<style>\n", out);
    report_style(out);
    fputs("</style>\n</head>\n<body>\n<main>\n<header>\n<h1>", out);
}

void page_end(FILE *out, const char *woq)
{
    fputs("<footer>woq ", out);
    chart_text(out, woq, SIZE_MAX);
    fputs("</footer>\n</main>\n<script>\n", out);
    report_script(out);
    fputs("</script>\n</body>\n</html>\n", out);
}

void page_card(FILE *out, const char *label)
{
    fprintf(out, "<div class=\"card\"><span class=\"label\">%s</span><b>", label);
}

void page_fact(FILE *out, const char *what, const char *text)
{
    fprintf(out, "<dt>%s</dt><dd>", what);
    chart_text(out, text, SIZE_MAX);
    fputs("</dd>\n", out);
}

/* ---- The file ---- */

static int cannot_write(const char *command, const char *file)
{
    return tool_failed(command, "cannot write '%s': %s", file, strerror(errno));
}

static bool write_all(FILE *out, const char *text, size_t size)
{
    return fwrite(text, 1, size, out) == size && !fflush(out);
}

/* Beside the file and renamed onto it, so that no reader meets half a page. What is no regular file, as a pipe or a
 * link, is written into. */
static int write_file(const char *command, const char *file, const char *text, size_t size)
{
    struct stat info;
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

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int page_check(const char *command, const char *source, const char *target)
{
    if (strcmp(target, "-") && same_file(source, target))
        return tool_failed(command, "'%s' is the report itself; the page needs a file of its own", target);
    return TOOL_OK;
}

int page_write(const char *command, const char *file, page_writer *write, const void *data)
{
    char *text = NULL;
    size_t size = 0;
    int result = TOOL_OK;
    FILE *page = open_memstream(&text, &size);
    bool good = page != NULL;
    if (page) {
        write(page, data);
        good = !ferror(page);
        good = !fclose(page) && good;
    }
    if (!good)
        result = tool_failed(command, "no host memory for the page");
    else if (strcmp(file, "-"))
        result = write_file(command, file, text, size);
    else if (!write_all(stdout, text, size))
        result = cannot_write(command, file);
    free(text);
    return result;
}
