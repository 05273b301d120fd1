/* tool_text.c: messages, suggestions, tables, units, and writing JSON. */
#include "tool.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void *tool_alloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);
    if (!p) {
        fprintf(stderr, "woq: no host memory for %zu x %zu bytes\n", count, size);
        exit(TOOL_FAILED);
    }
    return p;
}

void *tool_grow(void *array, size_t count, size_t size)
{
    void *p = size && count <= SIZE_MAX / size ? realloc(array, count * size) : NULL;
    if (!p) {
        fprintf(stderr, "woq: no host memory for %zu x %zu bytes\n", count, size);
        exit(TOOL_FAILED);
    }
    return p;
}

static char *format_text(const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = tool_alloc((size_t)(length > 0 ? length : 0) + 1, 1);
    vsnprintf(text, (size_t)(length > 0 ? length : 0) + 1, format, args);
    return text;
}

char *tool_text(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_text(format, args);
    va_end(args);
    return text;
}

int tool_usage(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", command);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nTry '%s --help'.\n", command);
    return TOOL_USAGE;
}

int tool_failed(const char *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", command);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return TOOL_FAILED;
}

/* Edit distance of two short words in which swapping two neighbours counts as one edit. */
static size_t distance(const char *a, const char *b)
{
    enum { LIMIT = 32 };
    size_t row[3][LIMIT + 1], la = strlen(a), lb = strlen(b);
    if (la > LIMIT || lb > LIMIT)
        return LIMIT;
    for (size_t j = 0; j <= lb; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[la % 3][lb];
}

const char *tool_nearest(const char *word, const char *const *names, size_t count)
{
    const char *found = NULL;
    size_t best = strlen(word) / 3 + 2;
    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, names[i]);
        if (strlen(word) >= 3 && !strncmp(word, names[i], strlen(word)))
            d = 1;
        if (d < best) {
            best = d;
            found = names[i];
        }
    }
    return found;
}

int tool_bad_option(const char *command, int result, char **argv, const struct option *options)
{
    const char *names[64];
    size_t count = 0;
    for (const struct option *o = options; o->name; o++) {
        if (count < sizeof names / sizeof *names)
            names[count++] = o->name;
        if (optopt && o->val == optopt && result == ':')
            return tool_usage(command, "--%s needs a value", o->name);
        if (optopt && o->val == optopt && o->has_arg == no_argument &&
            !strncmp(argv[optind - 1], "--", 2))
            return tool_usage(command, "--%s takes no value", o->name);
    }
    if (optopt)
        return tool_usage(command, "unknown option '-%c'", optopt);

    char word[64];
    const char *given = argv[optind - 1];
    given += strspn(given, "-");
    snprintf(word, sizeof word, "%.*s", (int)strcspn(given, "="), given);
    size_t prefixed = 0;
    for (size_t i = 0; i < count; i++)
        prefixed += !strncmp(word, names[i], strlen(word));
    if (prefixed > 1)
        return tool_usage(command, "'--%s' could be several options; write more of it", word);
    const char *near = tool_nearest(word, names, count);
    if (near)
        return tool_usage(command, "unknown option '--%s'; did you mean '--%s'?", word, near);
    return tool_usage(command, "unknown option '--%s'", word);
}

const char *tool_option_name(const struct option *options, int result)
{
    while (options->name && options->val != result)
        options++;
    return options->name ? options->name : "";
}

int tool_bad_operand(const char *command, const char *operand)
{
    return tool_usage(command, "unexpected '%s'; everything is given by options here", operand);
}

const char *tool_bytes(uint64_t bytes, char *out)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes / 1024;
    size_t u = 0;
    if (bytes < 1024) {
        snprintf(out, 24, "%u B", (unsigned)bytes);
        return out;
    }
    for (; value >= 1024 && u + 1 < sizeof units / sizeof *units; u++)
        value /= 1024;
    bool whole = value >= 100 || value - floor(value) < 0.005;
    snprintf(out, 24, "%.*f %s", whole ? 0 : value < 10 ? 2 : 1, value, units[u]);
    return out;
}

const char *tool_kind(enum woq_device_kind kind)
{
    switch (kind) {
    case WOQ_DEVICE_KIND_CPU: return "CPU";
    case WOQ_DEVICE_KIND_INTEGRATED_GPU: return "integrated GPU";
    case WOQ_DEVICE_KIND_DISCRETE_GPU: return "discrete GPU";
    case WOQ_DEVICE_KIND_ACCELERATOR: return "accelerator";
    case WOQ_DEVICE_KIND_OTHER: break;
    }
    return "other";
}

const char *tool_untried(const struct woq_device_info *info)
{
    const bool intel = info->backend == WOQ_BACKEND_OPENCL && info->kind != WOQ_DEVICE_KIND_CPU &&
                       info->features & WOQ_FEATURE_MATRIX && strstr(info->vendor, "Intel");
    return intel ? "Intel's matrix units through OpenCL (kernel coop): compiled, not run" : NULL;
}

/* ---- Tables ---- */

void tool_table_begin(struct tool_table *table, const char *align)
{
    *table = (struct tool_table){.align = align, .columns = strlen(align)};
}

static void add_cell(struct tool_table *table, char *text, bool span)
{
    if (table->cells == table->capacity) {
        table->capacity = table->capacity * 2 + 64;
        table->cell = tool_grow(table->cell, table->capacity, sizeof *table->cell);
    }
    table->cell[table->cells++] = (struct tool_cell){text, span};
}

void tool_table_add(struct tool_table *table, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_cell(table, format_text(format, args), false);
    va_end(args);
}

void tool_table_span(struct tool_table *table, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_cell(table, format_text(format, args), true);
    va_end(args);
    while (table->cells % table->columns)
        add_cell(table, NULL, false);
}

/* Characters of UTF-8: every byte but continuation bytes. */
static int width(const char *text)
{
    int n = 0;
    for (; text && *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* One row, without blanks at its end. */
static void print_row(const struct tool_table *table, const struct tool_cell *cell, size_t count,
                      const int *widths, FILE *out)
{
    size_t last = count;
    while (last > 0 && (!cell[last - 1].text || !*cell[last - 1].text))
        last--;
    for (size_t c = 0; c < last; c++) {
        const char *text = cell[c].text ? cell[c].text : "";
        int pad = cell[c].span ? 0 : widths[c] - width(text);
        bool right = table->align[c] == 'r' && !cell[c].span;
        fprintf(out, "%s%*s%s%*s", c ? "  " : "", right ? pad : 0, "", text,
                right || c + 1 == last ? 0 : pad, "");
    }
    fputc('\n', out);
}

void tool_table_end(struct tool_table *table, FILE *out)
{
    int *widths = tool_alloc(table->columns, sizeof *widths);
    for (size_t i = 0; i < table->cells; i++) {
        int w = table->cell[i].span ? 0 : width(table->cell[i].text);
        if (w > widths[i % table->columns])
            widths[i % table->columns] = w;
    }
    for (size_t i = 0; i < table->cells; i += table->columns) {
        size_t left = table->cells - i;
        print_row(table, table->cell + i, left < table->columns ? left : table->columns, widths,
                  out);
    }
    for (size_t i = 0; i < table->cells; i++)
        free(table->cell[i].text);
    free(widths);
    free(table->cell);
    *table = (struct tool_table){0};
}

/* ---- Devices and JSON ---- */

static void print_message(void *user, enum woq_log_level level, const char *message)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    (void)user;
    fprintf(stderr, "libwoq: %s: %s\n", names[level], message);
}

struct woq_device_params tool_device_params(enum woq_log_level level)
{
    struct woq_device_params params = WOQ_DEVICE_PARAMS_INIT;
    params.log = level ? print_message : NULL;
    params.log_level = level;
    return params;
}

int tool_list(const char *command, enum woq_log_level level, struct woq_device_entry **out,
              size_t *count)
{
    struct woq_device_params params = tool_device_params(level);
    *out = NULL;
    *count = 0;
    enum woq_status st = woq_devices_list(&params, NULL, count);
    if (!st) {
        *out = tool_alloc(*count, sizeof **out);
        st = woq_devices_list(&params, *out, count);
    }
    if (!st)
        return TOOL_OK;
    free(*out);
    *out = NULL;
    *count = 0;
    return tool_failed(command, "%s", woq_last_message());
}

void tool_json_real(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, double value)
{
    if (isfinite(value))
        yyjson_mut_obj_add_real(doc, object, key, value);
    else
        yyjson_mut_obj_add_null(doc, object, key);
}

void tool_json_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const char *text)
{
    yyjson_mut_val *value = yyjson_mut_strcpy(doc, text);
    char *check = yyjson_mut_val_write(value, 0, NULL);
    if (!check) {
        char *copy = tool_text("%s", text);
        for (char *c = copy; *c; c++)
            *c = (unsigned char)*c < 0x80 ? *c : '?';
        value = yyjson_mut_strcpy(doc, copy);
        free(copy);
    }
    free(check);
    yyjson_mut_obj_add_val(doc, object, key, value);
}

int tool_json_write(const char *command, yyjson_mut_doc *doc, const char *file)
{
    size_t size = 0;
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES | YYJSON_WRITE_ESCAPE_UNICODE, &size);
    yyjson_mut_doc_free(doc);
    if (!text)
        return tool_failed(command, "no host memory for the JSON text");
    text = tool_grow(text, size + 1, 1);
    text[size] = '\n';
    const int result = tool_write_file(command, file, text, size + 1);
    free(text);
    return result;
}
