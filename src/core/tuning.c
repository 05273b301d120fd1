/* tuning.c: tuning records: reading them, and which one is a product's. */
#include "tuning.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "check.h"
#include "paths.h"

#define MOST_WORDS 64 /* of a line */
#define NEAR       2  /* times as many rows or columns as a record has, or that part of them */

static const char *const codes[] = {"u4", "u8", "f16", "bf16", NULL};
static const char *const zeros[] = {"none", "symmetric", "point", "offset", NULL};
static const char *const groups[] = {"all", "g1", "g2", "g4", "g8", "g16", "g32", "g64", "g128", NULL};
static const char *const types[] = {"f32", "f16", "bf16", NULL};
static const char *const modes[] = {"default", "exact", "rounded", "fixed16", NULL};

/* ---- words ---- */

/* What a line is made of. Text in quotes is one word. */
struct words {
    char *at[MOST_WORDS];
    uint32_t count;
};

/* Cuts a line into words, in place. NULL, or what is wrong. */
static const char *split(char *line, struct words *out)
{
    out->count = 0;
    for (char *c = line + strspn(line, " "); *c; c += strspn(c, " ")) {
        if (out->count == MOST_WORDS)
            return "too many words";
        out->at[out->count++] = c;
        if (*c == '"') {
            c = strchr(c + 1, '"');
            if (!c)
                return "a quotation mark is missing";
            c++;
            if (*c && *c != ' ')
                return "a blank is missing after a quotation mark";
        } else {
            c += strcspn(c, " ");
        }
        if (*c)
            *c++ = 0;
    }
    return NULL;
}

/* Ends the line where its comment begins, and returns that without its mark. */
static char *cut_comment(char *line)
{
    bool quoted = false;
    for (; *line; line++) {
        quoted = quoted != (*line == '"');
        if (*line == '#' && !quoted) {
            *line++ = 0;
            return line + strspn(line, " ");
        }
    }
    return line;
}

static bool is_one_of(const char *word, const char *const *names)
{
    while (*names && strcmp(word, *names))
        names++;
    return *names != NULL;
}

/* A number of 1 … max at the beginning of text; where it ends, or NULL. */
static const char *number(const char *text, uint64_t max, uint64_t *out)
{
    *out = 0;
    if (*text < '1' || *text > '9')
        return NULL;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (*out > (max - (uint64_t)(*text - '0')) / 10)
            return NULL;
        *out = *out * 10 + (uint64_t)(*text - '0');
    }
    return text;
}

static bool parse_shape(const char *word, uint64_t *n, uint64_t *k)
{
    const char *end = number(word, UINT64_MAX >> 1, n);
    return end && *end == 'x' && (end = number(end + 1, UINT64_MAX >> 1, k)) && !*end;
}

static bool parse_rows(const char *word, uint64_t *first, uint64_t *last)
{
    const char *end = number(word, UINT32_MAX, first);
    return end && *end == '-' && (end = number(end + 1, UINT32_MAX, last)) && !*end && *first <= *last;
}

static bool is_variant_name(const char *word)
{
    static const char right[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+";
    const size_t path = strspn(word, right);
    return path && word[path] == '/' && word[path + 1] && !word[path + 1 + strspn(word + path + 1, right)] &&
           strlen(word) < WOQ_VARIANT_NAME;
}

/* ---- parsing ---- */

struct parser {
    const char *source;
    uint32_t line;
    char *why;
    size_t why_size;
    char *out; /* where the next text goes: never beyond what has been read */
    const char *head;
};

static bool refuse(struct parser *p, const char *format, ...) WOQI_PRINTF(2, 3);

static bool refuse(struct parser *p, const char *format, ...)
{
    va_list args;
    const int used = snprintf(p->why, p->why_size, "%s:%u: ", p->source, p->line);
    va_start(args, format);
    if (used > 0 && (size_t)used < p->why_size)
        vsnprintf(p->why + used, p->why_size - (size_t)used, format, args);
    va_end(args);
    return false;
}

/* Words first … last-1, one blank apart. */
static const char *join(struct parser *p, const struct words *w, uint32_t first, uint32_t last)
{
    char *text = p->out;
    for (uint32_t i = first; i < last; i++) {
        const size_t size = strlen(w->at[i]);
        memmove(p->out, w->at[i], size);
        p->out += size;
        *p->out++ = i + 1 < last ? ' ' : 0;
    }
    if (first == last)
        *p->out++ = 0;
    return text;
}

static bool is_name(const char *word)
{
    return word[0] == '"' && word[1] != '"';
}

static bool parse_head(struct parser *p, const struct words *w)
{
    const char *kind = w->at[0], *backend = w->count > 1 ? w->at[1] : "";
    uint64_t units;
    bool known = false;
    for (int b = WOQ_BACKEND_REFERENCE; b <= WOQ_BACKEND_CUDA; b++)
        known = known || !strcmp(backend, woq_backend_name((enum woq_backend)b));
    if (!known)
        return refuse(p, "'%.40s' is no backend; must be reference, opencl, vulkan or cuda", backend);
    if (strcmp(kind, "device")) {
        if (w->count != 3 || !is_name(w->at[2]))
            return refuse(p, "%s %s must be followed by one name in quotation marks", kind, backend);
    } else {
        const char *end = w->count == 5 ? w->at[3] : "";
        end = strcmp(end, "0") ? number(end, UINT32_MAX, &units) : end + 1;
        if (!end || *end || !is_name(w->at[2]) || !is_name(w->at[4]))
            return refuse(p, "device %s must be followed by its name in quotation marks, the number of its compute "
                             "units, and its driver in quotation marks", backend);
    }
    p->head = join(p, w, 0, w->count);
    return true;
}

static bool parse_class(struct parser *p, const struct words *w)
{
    char group[8];
    const bool plain = strchr(w->at[0], 'f') != NULL;
    if (w->count < 6 || w->count % 2)
        return refuse(p, "a record has codes, zeros, group, X, math and NxK, then pairs of rows and variant");
    if (!is_one_of(w->at[1], zeros) || plain != !strcmp(w->at[1], "none"))
        return refuse(p, "'%.40s' are no zeros for codes %s; must be %s", w->at[1], w->at[0],
                      plain ? "none" : "symmetric, point or offset");
    snprintf(group, sizeof group, "%s", w->at[2]);
    if (*group && group[strlen(group) - 1] == 'p' && strlen(w->at[2]) < sizeof group)
        group[strlen(group) - 1] = 0;
    if (!is_one_of(group, groups))
        return refuse(p, "'%.40s' is no group; must be all, g1, g2, g4, … or g128, with p where columns are in any "
                         "order", w->at[2]);
    if (!is_one_of(w->at[3], types))
        return refuse(p, "'%.40s' is no type of X; must be f16, bf16 or f32", w->at[3]);
    if (!is_one_of(w->at[4], modes))
        return refuse(p, "'%.40s' is no math mode; must be default, exact, rounded or fixed16", w->at[4]);
    return true;
}

static bool parse_record(struct parser *p, const struct words *w, const char *comment,
                         struct woqi_tuning_record *out)
{
    uint64_t first, last, before = 0;
    if (!p->head)
        return refuse(p, "a record must follow a line that begins with device, architecture or vendor");
    if (!parse_class(p, w))
        return false;
    if (!parse_shape(w->at[5], &out->n, &out->k))
        return refuse(p, "'%.40s' is no shape; must be like 4096x4096", w->at[5]);
    for (uint32_t i = 6; i < w->count; i += 2) {
        if (!parse_rows(w->at[i], &first, &last) || first <= before)
            return refuse(p, "'%.40s' are no rows of X; must be like 9-64, and above those before", w->at[i]);
        if (!is_variant_name(w->at[i + 1]))
            return refuse(p, "'%.70s' is no variant; must be like gemm/xprep+gemm", w->at[i + 1]);
        before = last;
    }
    out->head = p->head;
    out->line = p->line;
    out->source = p->source;
    out->product = join(p, w, 0, 6);
    out->ways = join(p, w, 6, w->count);
    const size_t size = strlen(comment);
    if (strlen(out->product) + strlen(out->ways) + size + sizeof "  # " > WOQ_TUNING_LINE)
        return refuse(p, "the comment is too long for a line of %d bytes", WOQ_TUNING_LINE - 1);
    out->comment = memmove(p->out, comment, size + 1);
    p->out += size + 1;
    return true;
}

static bool is_head(const char *word)
{
    return !strcmp(word, "device") || !strcmp(word, "architecture") || !strcmp(word, "vendor");
}

/* One line, which ends in NUL. */
static bool parse_line(struct parser *p, char *line, bool *begun, struct woqi_tuning *out)
{
    struct words w;
    for (char *c = line; *c; c++) {
        *c = *c == '\t' || *c == '\r' ? ' ' : *c;
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return refuse(p, "a byte 0x%02x; must be text", (unsigned)*c);
    }
    if (strlen(line) >= WOQ_TUNING_LINE)
        return refuse(p, "the line is too long; must have at most %d bytes", WOQ_TUNING_LINE - 1);
    for (size_t end = strlen(line); end && line[end - 1] == ' '; end--)
        line[end - 1] = 0;
    const char *comment = cut_comment(line);
    const char *wrong = split(line, &w);
    if (wrong)
        return refuse(p, "%s", wrong);
    if (!w.count)
        return true;
    if (!*begun) {
        if (w.count != 2 || strcmp(w.at[0], "woq-tuning") || strcmp(w.at[1], "1"))
            return refuse(p, "must be 'woq-tuning 1', which says what format follows");
        *begun = true;
        return true;
    }
    if (is_head(w.at[0]))
        return parse_head(p, &w);
    if (!is_one_of(w.at[0], codes))
        return refuse(p, "'%.40s' must be device, architecture or vendor, or a record's u4, u8, f16 or bf16", w.at[0]);
    if (!parse_record(p, &w, comment, &out->records[out->count]))
        return false;
    out->count++;
    return true;
}

bool woqi_tuning_parse(const struct woq_allocator *allocator, const char *source, const char *text, size_t size,
                       struct woqi_tuning *out, char *why, size_t why_size)
{
    size_t lines = 1, name = strlen(source) + 1;
    bool begun = false;
    *out = (struct woqi_tuning){NULL, NULL, NULL, 0};
    *why = 0;
    for (size_t i = 0; i < size && size <= WOQI_TUNING_SIZE; i++)
        lines += text[i] == '\n';
    if (size > WOQI_TUNING_SIZE) {
        snprintf(why, why_size, "%s: %zu bytes; must have at most %u", source, size, WOQI_TUNING_SIZE);
        return false;
    }
    /* Lines are rewritten in place, each with at most three ends of text; so they move apart first. */
    out->text = woqi_alloc_with(allocator, size + 4 * lines, 1);
    out->source = woqi_alloc_with(allocator, name, 1);
    out->records = woqi_alloc_with(allocator, lines, sizeof *out->records);
    if (!out->text || !out->source || !out->records)
        return false;
    memcpy(out->source, source, name);
    memcpy(out->text + 3 * lines, text, size);
    struct parser p = {out->source, 0, why, why_size, out->text, NULL};
    for (char *at = out->text + 3 * lines, *end = at + size; at < end;) {
        char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        *stop = 0;
        p.line++;
        if (memchr(at, 0, (size_t)(stop - at)))
            return refuse(&p, "a byte 0x00; must be text");
        if (!parse_line(&p, at, &begun, out))
            return false;
        at = stop + 1;
    }
    p.line++;
    return begun || refuse(&p, "is empty; must begin with 'woq-tuning 1'");
}

void woqi_tuning_free(const struct woq_allocator *allocator, struct woqi_tuning *tuning)
{
    woqi_free_with(allocator, tuning->text);
    woqi_free_with(allocator, tuning->source);
    woqi_free_with(allocator, tuning->records);
    *tuning = (struct woqi_tuning){NULL, NULL, NULL, 0};
}

/* ---- whose, and of what ---- */

/* A name between quotation marks, with nothing in it that would end them or the line. */
static size_t quote(const char *name, char *out)
{
    size_t used = 0;
    out[used++] = '"';
    for (; *name; name++)
        out[used++] = *name == '"'                                              ? '\''
                      : (unsigned char)*name < 0x20 || (unsigned char)*name == 0x7f ? '?'
                                                                                : *name;
    out[used++] = '"';
    out[used] = 0;
    return used;
}

void woqi_tuning_head(const struct woq_device *device, enum woq_tuning_scope scope, char out[WOQ_TUNING_LINE])
{
    static const char *const kinds[] = {"device", "architecture", "vendor"};
    const struct woq_device_info *info = &device->info;
    const char *name = scope == WOQ_TUNING_DEVICE         ? info->name
                       : scope == WOQ_TUNING_ARCHITECTURE ? info->architecture
                                                          : info->vendor;
    size_t used = (size_t)snprintf(out, WOQ_TUNING_LINE, "%s %s ", kinds[scope], woq_backend_name(info->backend));
    used += quote(name, out + used);
    if (scope != WOQ_TUNING_DEVICE)
        return;
    used += (size_t)snprintf(out + used, WOQ_TUNING_LINE - used, " %u ", info->compute_units);
    quote(info->driver, out + used);
}

enum woq_status woq_tuning_device(const struct woq_device *device, enum woq_tuning_scope scope,
                                  char out[WOQ_TUNING_LINE])
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (st)
        return st;
    out[0] = 0;
    if ((st = WOQI_CHECK_NULL(NULL, device)))
        return st;
    if ((unsigned)scope > WOQ_TUNING_VENDOR)
        return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_tuning_device: scope is %d; must be an enum woq_tuning_scope", (int)scope);
    if (scope == WOQ_TUNING_ARCHITECTURE && !device->info.architecture[0])
        return woqi_fail(NULL, WOQ_ERROR_UNSUPPORTED, "woq_tuning_device: %s does not tell its architecture",
                         device->info.selector);
    woqi_tuning_head(device, scope, out);
    return WOQ_OK;
}

enum woq_status woq_tuning_product(const struct woq_gemm *gemm, char out[WOQ_TUNING_LINE])
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (st)
        return st;
    out[0] = 0;
    if ((st = WOQI_CHECK_NULL(NULL, gemm)))
        return st;
    const struct woq_weights *w = gemm->weights;
    uint32_t group = 0; /* index of groups */
    for (uint64_t columns = w->group; columns && w->group < w->k_packed && group < 8; columns /= 2)
        group++;
    snprintf(out, WOQ_TUNING_LINE, "%s %s %s%s %s %s %llux%llu", codes[w->format.code - WOQ_CODE_U4],
             zeros[w->group ? w->format.zero : WOQ_ZERO_NONE], groups[group], w->perm ? "p" : "",
             woq_type_name(gemm->params.x_type), modes[gemm->params.math], (unsigned long long)w->n,
             (unsigned long long)w->k);
    return WOQ_OK;
}

/* ---- the record for a product ---- */

/* The heads of a device's records, by scope. */
struct heads {
    char text[3][WOQ_TUNING_LINE];
    size_t driver; /* where that of WOQ_TUNING_DEVICE names the driver */
};

static void make_heads(const struct woq_device *device, struct heads *out)
{
    for (int scope = 0; scope < 3; scope++)
        woqi_tuning_head(device, (enum woq_tuning_scope)scope, out->text[scope]);
    out->driver = strlen(out->text[0]) - strlen(device->info.driver) - 1;
}

/* The device's own, with this driver: 0, with another: 1; of its architecture, its vendor; -1: not for it. */
static int level_of(const char *head, const struct heads *own)
{
    return !strcmp(head, own->text[0])                       ? 0
           : !strncmp(head, own->text[0], own->driver)       ? 1
           : !strcmp(head, own->text[WOQ_TUNING_ARCHITECTURE]) ? 2
           : !strcmp(head, own->text[WOQ_TUNING_VENDOR])       ? 3
                                                               : -1;
}

/* How many times as large one is as the other. */
static double ratio(uint64_t a, uint64_t b)
{
    return a > b ? (double)a / (double)b : (double)b / (double)a;
}

const struct woqi_tuning_record *woqi_tuning_find(const struct woq_device *device, const char *product, uint64_t n,
                                                  uint64_t k)
{
    const struct woqi_tuning_record *found = NULL;
    const size_t kind = (size_t)(strrchr(product, ' ') - product) + 1; /* all but the shape */
    struct heads own;
    double least = 0;
    int best = 4;
    make_heads(device, &own);
    for (size_t set = 0; set < WOQI_TUNING_SETS; set++)
        for (size_t i = 0; i < device->tuning[set].count; i++) {
            const struct woqi_tuning_record *r = &device->tuning[set].records[i];
            const double rows = ratio(r->n, n), columns = ratio(r->k, k), distance = rows * columns;
            const int level = level_of(r->head, &own);
            if (level < 0 || level > best || rows > NEAR || columns > NEAR || strncmp(r->product, product, kind) ||
                (level == best && distance >= least))
                continue;
            found = r;
            best = level;
            least = distance;
        }
    return found;
}

void woqi_tuning_way(const struct woqi_tuning_record *record, uint32_t m, struct woqi_tuning_way *out)
{
    const char *c = record->ways;
    out->variant[0] = 0;
    out->last = UINT32_MAX;
    while (*c) {
        uint64_t first = 0, last = 0;
        c = number(c, UINT32_MAX, &first);
        c = c ? number(c + 1, UINT32_MAX, &last) : NULL;
        if (!c)
            return; /* was parsed once, so cannot be */
        c++;
        const size_t size = strcspn(c, " ");
        if (m < first) {
            out->last = (uint32_t)first - 1;
            return;
        }
        if (m <= last) {
            snprintf(out->variant, sizeof out->variant, "%.*s", (int)size, c);
            out->last = (uint32_t)last;
            return;
        }
        c += size + (c[size] == ' ');
    }
}

/* FNV-1a (Fowler, Noll, Vo), on from h; with the text's end. */
static uint64_t hash(uint64_t h, const char *text)
{
    do
        h = (h ^ (uint8_t)*text) * 1099511628211u;
    while (*text++);
    return h;
}

uint64_t woqi_tuning_fingerprint(const struct woqi_tuning_record *record)
{
    const uint64_t h = hash(hash(hash(14695981039346656037u, record->head), record->product), record->ways);
    return h ? h : 1;
}
