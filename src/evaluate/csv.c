/* csv.c: a reader that undoes quotes in place: what a field becomes is never longer than what it was. */
#include "csv.h"

#include <inttypes.h>
#include <string.h>

void woqi_csv_begin(const char *file, char *text, size_t size, struct woqi_csv *out)
{
    static const char mark[] = "\xef\xbb\xbf";
    const size_t skip = size >= 3 && !memcmp(text, mark, 3) ? 3 : 0;
    *out = (struct woqi_csv){file, text, text, 1};
    if (size) {
        out->at = text + skip;
        out->end = text + size;
    }
}

static bool is_line_end(const struct woqi_csv *csv, const char *at)
{
    return *at == '\n' || (*at == '\r' && at + 1 < csv->end && at[1] == '\n');
}

static enum woq_status read_quoted(struct woqi_csv *csv, struct woq_text *out)
{
    const uint64_t line = csv->line;
    char *to = ++csv->at; /* behind the quote */
    bool closed = false;
    out->text = to;
    while (csv->at < csv->end && !closed) {
        const char c = *csv->at++;
        if (c == '"' && (csv->at == csv->end || *csv->at != '"')) {
            closed = true;
        } else {
            csv->at += c == '"'; /* the second of a doubled one */
            csv->line += c == '\n';
            *to++ = c;
        }
    }
    out->size = (size_t)(to - out->text);
    if (!closed)
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s:%" PRIu64 ": a quote is opened and not closed; must be closed before the file ends",
                          csv->file, line);
    if (csv->at < csv->end && *csv->at != ',' && !is_line_end(csv, csv->at))
        return woq_report(WOQ_ERROR_INVALID_DATA,
                          "%s:%" PRIu64 ": text follows a closing quote; must be a comma or the line's end (quotes in "
                          "a field are doubled)",
                          csv->file, csv->line);
    return WOQ_OK;
}

static void read_plain(struct woqi_csv *csv, struct woq_text *out)
{
    out->text = csv->at;
    while (csv->at < csv->end && *csv->at != ',' && !is_line_end(csv, csv->at))
        csv->at++;
    out->size = (size_t)(csv->at - out->text);
}

static void skip_line_end(struct woqi_csv *csv)
{
    csv->at += *csv->at == '\r' ? 2 : 1;
    csv->line++;
}

enum woq_status woqi_csv_next(struct woqi_csv *csv, struct woqi_csv_record *out)
{
    while (csv->at < csv->end && is_line_end(csv, csv->at))
        skip_line_end(csv);
    *out = (struct woqi_csv_record){.line = csv->line};
    if (csv->at == csv->end)
        return WOQ_OK;
    for (;;) {
        struct woq_text field = {csv->at, 0};
        if (csv->at < csv->end && *csv->at == '"') {
            enum woq_status st = read_quoted(csv, &field);
            if (st)
                return st;
        } else {
            read_plain(csv, &field);
        }
        if (out->count < WOQI_CSV_FIELDS)
            out->fields[out->count] = field;
        out->count++;
        if (csv->at == csv->end)
            return WOQ_OK;
        if (*csv->at != ',') {
            skip_line_end(csv);
            return WOQ_OK;
        }
        csv->at++;
    }
}
