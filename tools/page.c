/* page.c: see page.h. */
#include "page.h"

#include "chart.h"
#include "report_data.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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
    else
        result = tool_write_file(command, file, text, size);
    free(text);
    return result;
}
