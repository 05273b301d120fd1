/* page.c: see page.h. */
#include "page.h"

#include "chart.h"
#include "report_data.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- The page ---- */

void page_begin(FILE *out)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
          "<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
          "script-src 'unsafe-inline'\"/>\n<title>", out);
}

void page_heading(FILE *out, page_style *more)
{
    fputs("</title>\n<style>\n", out);
    report_style(out);
    if (more)
        more(out);
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

static void begin_card(FILE *out, const char *label)
{
    fputs("<div class=\"card\"><span class=\"label\">", out);
    chart_text(out, label, SIZE_MAX);
    fputs("</span>", out);
}

void page_card(FILE *out, const char *label)
{
    begin_card(out, label);
    fputs("<b>", out);
}

void page_verdict(FILE *out, const char *label, bool good)
{
    begin_card(out, label);
    fputs(good ? "<b class=\"good\">" : "<b class=\"bad\">", out);
}

void page_fact(FILE *out, const char *what, const char *text)
{
    fprintf(out, "<dt>%s</dt><dd>", what);
    chart_text(out, text, SIZE_MAX);
    fputs("</dd>\n", out);
}

/* ---- Cells ---- */

static void begin_cell(FILE *out, double sort)
{
    if (isfinite(sort))
        fprintf(out, "<td class=\"n\" data-v=\"%.9g\">", sort);
    else
        fputs("<td class=\"n\">", out);
}

void page_text_cell(FILE *out, const char *text)
{
    fputs("<td>", out);
    chart_text(out, text, SIZE_MAX);
    fputs("</td>", out);
}

void page_cell(FILE *out, double sort, const char *format, ...)
{
    va_list args;
    begin_cell(out, sort);
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    fputs("</td>", out);
}

void page_number_cell(FILE *out, double value)
{
    begin_cell(out, value);
    report_number(out, value);
    fputs("</td>", out);
}

void page_count_cell(FILE *out, uint64_t value)
{
    fprintf(out, "<td class=\"n\" data-v=\"%" PRIu64 "\">%" PRIu64 "</td>", value, value);
}

void page_no_cells(FILE *out, int count)
{
    while (count-- > 0)
        fputs("<td class=\"n\">–</td>", out);
}

/* ---- The file ---- */

int page_check(const char *command, const char *source, const char *target)
{
    if (strcmp(target, "-") && tool_same_file(source, target))
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
