/*
 * tool.h: what the subcommands of `woq` share: arguments, errors, tables, JSON.
 *
 * Everything here is for the program, not for the library: it prints, and it ends the program when
 * there is no host memory for a few strings.
 */
#ifndef WOQ_TOOL_H
#define WOQ_TOOL_H

#include <getopt.h>
#include <stdio.h>
#include <woq/gemm.h>
#include <yyjson.h>

enum tool_exit { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2, TOOL_REFUSED = 3 /* eval --verdict */ };

int cmd_devices(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_tune(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_eval(int argc, char **argv); /* where libwoq-model is built: WOQ_TOOL_MODEL */
int cmd_inspect(int argc, char **argv); /* likewise */
int cmd_quantize(int argc, char **argv); /* likewise */

#if defined(__GNUC__)
#define TOOL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define TOOL_PRINTF(f, a)
#endif

/* ---- Memory: never NULL ---- */
void *tool_alloc(size_t count, size_t size); /* zeroed */
void *tool_grow(void *array, size_t count, size_t size); /* new elements are not zeroed */
char *tool_text(const char *format, ...) TOOL_PRINTF(1, 2); /* to be freed */

/* ---- Errors ---- */
/* "woq bench: …" and where help is, on stderr; returns TOOL_USAGE. */
int tool_usage(const char *command, const char *format, ...) TOOL_PRINTF(2, 3);
/* "woq bench: …" on stderr; returns TOOL_FAILED. */
int tool_failed(const char *command, const char *format, ...) TOOL_PRINTF(2, 3);
/* What getopt_long (optstring ":…", opterr 0) refused by returning `result`; returns TOOL_USAGE. */
int tool_bad_option(const char *command, int result, char **argv, const struct option *options);
/* The long name of the option that getopt_long returned as `result`. */
const char *tool_option_name(const struct option *options, int result);
/* The name nearest to `word` if it is near enough to be meant, else NULL. */
const char *tool_nearest(const char *word, const char *const *names, size_t count);
/* An operand where the command takes none. */
int tool_bad_operand(const char *command, const char *operand);

/* ---- Arguments: false, and why, if `text` is not what is wanted ---- */
#define TOOL_WHY 512
struct tool_format {
    struct woq_format format;
    char name[32]; /* as the user wrote it */
};
struct tool_shape {
    uint64_t n, k;
};
bool tool_parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out, char *why);
bool tool_parse_window(const char *text, uint32_t *out, char *why); /* tokens: 4 to 2^20, even */
bool tool_parse_seconds(const char *text, double *out, char *why);
bool tool_parse_type(const char *text, enum woq_type *out, char *why);
bool tool_parse_math(const char *text, enum woq_math *out, char *why);
bool tool_parse_activation(const char *text, enum woq_activation *out, char *why);
bool tool_parse_path(const char *text, const char **out, char *why); /* or a variant of one, which stays `text` */
bool tool_parse_format(const char *text, struct tool_format *out, char *why);
bool tool_parse_shape(const char *text, struct tool_shape *out, char *why);
bool tool_parse_log(const char *text, enum woq_log_level *out, char *why);
/* Comma-separated lists; *out is to be freed. */
bool tool_parse_m_list(const char *text, uint32_t **out, size_t *count, char *why);
bool tool_parse_formats(const char *text, struct tool_format **out, size_t *count, char *why);
bool tool_parse_shapes(const char *text, struct tool_shape **out, size_t *count, char *why);
bool tool_parse_names(const char *text, char ***out, size_t *count, char *why);
void tool_free_names(char **names, size_t count);

/* ---- Text ---- */
/* "8.5 MiB", "640 B"; the buffer belongs to the caller and needs 24 bytes. */
const char *tool_bytes(uint64_t bytes, char *out);
const char *tool_kind(enum woq_device_kind kind);
/* What is to be said of a path that nobody has run on such hardware yet; NULL = nothing. */
const char *tool_untried(const struct woq_device_info *info);

/* A table of aligned columns: one letter a column, l or r. Widths count characters of UTF-8. */
struct tool_table {
    const char *align;
    size_t columns, cells, capacity;
    struct tool_cell {
        char *text;
        bool span; /* runs over the rest of its row, and counts for no column's width */
    } *cell;
};
void tool_table_begin(struct tool_table *table, const char *align);
void tool_table_add(struct tool_table *table, const char *format, ...) TOOL_PRINTF(2, 3);
/* The rest of the row as one text. */
void tool_table_span(struct tool_table *table, const char *format, ...) TOOL_PRINTF(2, 3);
void tool_table_end(struct tool_table *table, FILE *out); /* prints and frees */

/* ---- Time ---- */
double tool_seconds(void); /* since an arbitrary moment */

/* ---- Devices and JSON ---- */
/* `level` 0: the library is silent; else its messages of that level and above go to stderr. */
struct woq_device_params tool_device_params(enum woq_log_level level);
/* All devices; *out is to be freed. Returns TOOL_OK, or a reported failure's exit code. */
int tool_list(const char *command, enum woq_log_level level, struct woq_device_entry **out,
              size_t *count);

/* Number, or null where it is not finite (JSON has no such numbers). */
void tool_json_real(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, double value);
/* A copy of the text; where it is no UTF-8, as a file's name or a cut token can be, bytes are replaced. */
void tool_json_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const char *text);
/* Writes the document to a file, or to stdout for "-"; frees it. */
int tool_json_write(const char *command, yyjson_mut_doc *doc, const char *file);

/* The same name, or one file under two; neither need exist. */
bool tool_same_file(const char *a, const char *b);
/* Whether the file is the directory or lies there, under whatever name, or is what a link there leads to; neither need
 * exist. "-" does not lie anywhere. */
bool tool_file_inside(const char *directory, const char *file);

/* Writes a file: afterwards it is there whole or, on failure, what was there before. "-" = standard output. */
int tool_write_file(const char *command, const char *file, const char *text, size_t size);

/* TOOL_FAILED, and said, if an output file cannot be written: better known before minutes of measuring.
 * NULL and "-" can. */
int tool_check_writable(const char *command, const char *file);

#endif
