/*
 * fuzz_config.c: whatever the files say that describe a model: a Hugging Face directory, or GGUF metadata.
 *
 * Bytes that begin with "GGUF" are a GGUF file. All others are the files of a directory, each behind a line "@@NAME";
 * the linker puts the functions below in front of the library's, so that no file system is touched. What opens goes the
 * way of `woq quantize` up to the weights: tokenizer, plan, config.json, tokenizer.json.
 */
#include "fuzz_files.h"

#include <errno.h>
#include <math.h>
#include <yyjson.h>

#include "quantize/quantizer.h"
#include "tokenizer/tokenizer_impl.h"

enum { PARTS = 8, NAME = 64 };

/* Copies of just their size, so that AddressSanitizer sees a byte too far. */
static struct part {
    char name[NAME];
    uint8_t *data;
    size_t size;
} parts[PARTS];
static size_t part_count;

static const uint8_t *find_mark(const uint8_t *at, const uint8_t *end)
{
    for (; end - at > 2; at++)
        if (at[0] == '\n' && at[1] == '@' && at[2] == '@')
            return at;
    return end;
}

static void split(const uint8_t *at, const uint8_t *end)
{
    part_count = 0;
    while (part_count < PARTS && end - at > 2 && at[0] == '@' && at[1] == '@') {
        struct part *p = &parts[part_count];
        const uint8_t *line = memchr(at, '\n', (size_t)(end - at));
        if (!line || line - at - 2 >= NAME)
            return;
        memcpy(p->name, at + 2, (size_t)(line - at - 2));
        p->name[line - at - 2] = 0;
        const uint8_t *mark = find_mark(line, end), *from = mark > line ? line + 1 : line;
        p->size = (size_t)(mark - from);
        if (!(p->data = malloc(p->size ? p->size : 1)))
            return;
        memcpy(p->data, from, p->size);
        part_count++;
        at = mark < end ? mark + 1 : end;
    }
}

static const struct part *find_part(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < part_count; i++)
        if (!strcmp(parts[i].name, name))
            return &parts[i];
    return NULL;
}

/* ---- In front of the library's ---- */

enum woq_status __wrap_woqi_ckpt_map_file(struct woq_checkpoint *c, const char *path, enum woq_status missing);
int __wrap_access(const char *path, int mode);
yyjson_doc *__wrap_yyjson_read_file(const char *path, yyjson_read_flag flags, const yyjson_alc *allocator,
                                    yyjson_read_err *error);
enum woq_status __wrap_woqi_atomic_dir_json(struct woqi_atomic_dir *dir, const char *name,
                                            struct yyjson_mut_doc *doc);

enum woq_status __wrap_woqi_ckpt_map_file(struct woq_checkpoint *c, const char *path, enum woq_status missing)
{
    const struct part *p = find_part(path);
    struct woqi_ckpt_map *map = &c->maps[c->map_count];
    if (!p)
        return woq_report(missing, "%s: cannot be opened", path);
    if (!(map->path = woqi_ckpt_copy(&c->arena, path, strlen(path))))
        return woqi_ckpt_no_memory(c);
    map->data = p->size ? p->data : NULL;
    map->size = p->size;
    map->borrowed = true;
    c->map_count++;
    return WOQ_OK;
}

int __wrap_access(const char *path, int mode)
{
    (void)mode;
    errno = ENOENT;
    return find_part(path) ? 0 : -1;
}

yyjson_doc *__wrap_yyjson_read_file(const char *path, yyjson_read_flag flags, const yyjson_alc *allocator,
                                    yyjson_read_err *error)
{
    const struct part *p = find_part(path);
    /* The configuration was read from it already. */
    if (!p)
        abort();
    return yyjson_read_opts((char *)p->data, p->size, flags, allocator, error);
}

static void try_tokenizer(enum woq_status st, struct woq_tokenizer *t)
{
    int32_t *ids;
    size_t count;
    if (st) {
        fuzz_refused();
        if (t)
            abort();
        return;
    }
    if (woq_tokenizer_encode(t, "a <s> 1", 7, WOQ_ENCODE_SPECIAL, &ids, &count))
        abort();
    free(ids);
    woq_tokenizer_destroy(&t);
}

/* What is written must be JSON, and a tokenizer.json is read again. */
enum woq_status __wrap_woqi_atomic_dir_json(struct woqi_atomic_dir *dir, const char *name, struct yyjson_mut_doc *doc)
{
    size_t size;
    struct woq_tokenizer *t = NULL;
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY_TWO_SPACES, &size);
    (void)dir;
    if (!text) /* a string is not UTF-8 */
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: cannot be written", name);
    yyjson_doc *again = yyjson_read(text, size, 0);
    if (!again)
        abort();
    yyjson_doc_free(again);
    if (!strcmp(name, "tokenizer.json")) {
        enum woq_status st = woqi_tok_from_json(name, text, size, NULL, 0, -1, -1, &t);
        try_tokenizer(st, t);
    }
    free(text);
    return WOQ_OK;
}

/* ---- Use ---- */

static void check_config(const struct woq_model_config *m)
{
    const bool scaled = m->rope_scaling != WOQ_ROPE_NONE;
    if (!m->layers || !m->hidden || !m->intermediate || !m->vocabulary || !m->context || !m->kv_heads ||
        m->heads % m->kv_heads || !m->head_dim || m->head_dim % 2)
        abort();
    if (m->bos < -1 || m->eos < -1 || !isfinite(m->norm_epsilon) || !isfinite(m->rope_theta) ||
        m->norm_epsilon <= 0 || m->rope_theta <= 0 || (scaled && !(m->rope_factor > 0)))
        abort();
}

static void use(const struct woq_checkpoint *c)
{
    struct woqi_plan plan = {0};
    struct woqi_atomic_dir dir = {.fd = -1};
    struct woq_quantize_params params = WOQ_QUANTIZE_PARAMS_INIT;
    struct woq_model_config config;
    fuzz_checkpoint(c);
    if (woq_checkpoint_config(c, &config)) {
        fuzz_refused();
        return;
    }
    check_config(&config);
    params.bits = 4;
    params.group = WOQ_GROUP_CHANNEL;
    enum woq_status st = woqi_plan_make(c, &params, &plan);
    if (!st)
        st = woqi_ct_write_config(&plan, &dir);
    if (!st && c->container == WOQ_CONTAINER_GGUF)
        st = woqi_ct_write_tokenizer(&plan, &dir);
    if (st)
        fuzz_refused();
    woqi_plan_free(&plan);
}

static void use_tokenizer(const struct woq_checkpoint *c)
{
    const struct part *json = find_part("tokenizer.json"), *config = find_part("tokenizer_config.json");
    struct woq_tokenizer *t = NULL;
    enum woq_status st;
    if (c->container == WOQ_CONTAINER_GGUF)
        st = woq_tokenizer_create(c, &t);
    else if (json)
        st = woqi_tok_from_json("fuzz", (const char *)json->data, json->size, config ? (const char *)config->data : NULL,
                                config ? config->size : 0, -1, -1, &t);
    else
        return;
    try_tokenizer(st, t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct woq_checkpoint *c = NULL;
    enum woq_status st;
    if (size >= 4 && !memcmp(data, "GGUF", 4)) {
        part_count = 0;
        st = woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, data, size, &c);
    } else {
        split(data, data + size);
        if (!(c = calloc(1, sizeof *c)))
            return 0;
        c->container = WOQ_CONTAINER_SAFETENSORS;
        c->directory = true;
        c->path = woqi_ckpt_copy(&c->arena, "fuzz", 4);
        c->maps = woqi_ckpt_alloc(&c->arena, 1, sizeof *c->maps);
        st = woqi_ckpt_read_directory(c);
    }
    if (st) {
        fuzz_refused();
    } else {
        use(c);
        use_tokenizer(c);
    }
    woq_checkpoint_close(&c);
    for (size_t i = 0; i < part_count; i++)
        free(parts[i].data);
    return 0;
}
