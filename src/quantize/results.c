/* results.c: layers in files of a work folder, in the form of a checkpoint. */
#include "results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <woq/checkpoint.h>
#include <yyjson.h>

#include "quantizer.h"

enum { BLOCK_ROWS = 1024, MAX_LAYERS = 100000 };

static const char aside_name[] = "unfinished", run_name[] = "run.json", report_key[] = "woq.report";

struct woqi_results {
    struct woqi_atomic_dir dir;
    struct woq_checkpoint **layers; /* those that are open; NULL else */
    uint32_t count;                 /* entries of `layers` */
};

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for the results of layers");
}

static void layer_name(uint32_t layer, char out[40])
{
    snprintf(out, 40, "layer-%05u.safetensors", (unsigned)layer);
}

/* "FOLDER/name", malloc'ed. */
static char *join(const char *folder, const char *name)
{
    const size_t size = strlen(folder) + strlen(name) + 2;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/%s", folder, name);
    return path;
}

static char *path_of(const struct woqi_results *r, const char *name)
{
    return join(r->dir.target, name);
}

/* ---- What run the folder is of ---- */

/* Whether run.json has the identity. One that cannot be read has another. */
static enum woq_status is_same(const struct woqi_results *r, const char *identity, bool *same)
{
    char *path = path_of(r, run_name);
    if (!path)
        return no_memory();
    yyjson_doc *doc = yyjson_read_file(path, 0, NULL, NULL);
    *same = yyjson_equals_str(yyjson_obj_get(yyjson_doc_get_root(doc), "identity"), identity);
    yyjson_doc_free(doc);
    free(path);
    return WOQ_OK;
}

static enum woq_status write_run(struct woqi_results *r, const char *identity)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    enum woq_status st = yyjson_mut_obj_add_str(doc, root, "identity", identity) ? WOQ_OK : no_memory();
    if (!st)
        st = woqi_atomic_dir_json(&r->dir, aside_name, doc);
    if (!st)
        st = woqi_work_dir_rename(&r->dir, aside_name, run_name);
    yyjson_mut_doc_free(doc);
    return st;
}

/* Empties a folder of another run. run.json may go first: a folder without it is of no run. */
static enum woq_status begin_run(struct woqi_results *r, const char *identity, woq_log_fn *log, void *log_user)
{
    bool same = false;
    enum woq_status st = woqi_work_dir_remove(&r->dir, aside_name);
    if (!st)
        st = is_same(r, identity, &same);
    if (st || same)
        return st;
    char *first = path_of(r, "layer-00000.safetensors");
    if (!first)
        return no_memory();
    FILE *had = fopen(first, "rb");
    free(first);
    if (had) {
        char text[512];
        fclose(had);
        snprintf(text, sizeof text, "'%.400s' is of another run; its layers are removed", r->dir.target);
        if (log)
            log(log_user, WOQ_LOG_WARNING, text);
    }
    st = woqi_empty_folder(r->dir.target);
    return st ? st : write_run(r, identity);
}

/* ---- Layers ---- */

static enum woq_status open_layer(struct woqi_results *r, uint32_t layer)
{
    char name[40];
    layer_name(layer, name);
    if (layer >= MAX_LAYERS)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "layer %u; must be < %d", (unsigned)layer, MAX_LAYERS);
    if (layer >= r->count) {
        struct woq_checkpoint **grown = realloc(r->layers, (layer + 1) * sizeof *grown);
        if (!grown)
            return no_memory();
        memset(grown + r->count, 0, (layer + 1 - r->count) * sizeof *grown);
        r->layers = grown;
        r->count = layer + 1;
    }
    if (r->layers[layer])
        return WOQ_OK;
    char *path = path_of(r, name);
    enum woq_status st = path ? woq_checkpoint_open(path, NULL, &r->layers[layer]) : no_memory();
    free(path);
    return st;
}

/* Layers that are whole, from the first on. One that is there but not whole is logged, and made again. */
static enum woq_status count_layers(struct woqi_results *r, woq_log_fn *log, void *log_user, uint32_t *done)
{
    for (*done = 0;; ++*done) {
        char name[40], text[512];
        layer_name(*done, name);
        char *path = path_of(r, name);
        if (!path)
            return no_memory();
        FILE *file = fopen(path, "rb");
        free(path);
        if (!file)
            return WOQ_OK;
        fclose(file);
        enum woq_status st = open_layer(r, *done);
        if (st == WOQ_ERROR_OUT_OF_MEMORY)
            return st;
        if (st) {
            snprintf(text, sizeof text, "layer %u is made again: %.400s", (unsigned)*done, woq_last_message());
            if (log)
                log(log_user, WOQ_LOG_WARNING, text);
            return WOQ_OK;
        }
    }
}

enum woq_status woqi_results_open(const char *output, const char *identity, woq_log_fn *log, void *log_user,
                                  struct woqi_results **out, uint32_t *done)
{
    *out = NULL;
    *done = 0;
    struct woqi_results *r = calloc(1, sizeof *r);
    if (!r)
        return no_memory();
    enum woq_status st = woqi_work_dir_open(&r->dir, output);
    if (!st)
        st = begin_run(r, identity, log, log_user);
    if (!st)
        st = count_layers(r, log, log_user, done);
    if (st)
        woqi_results_close(&r, false);
    *out = r;
    return st;
}

void woqi_results_close(struct woqi_results **results, bool remove)
{
    struct woqi_results *r = *results;
    *results = NULL;
    if (!r)
        return;
    for (uint32_t i = 0; i < r->count; i++)
        woq_checkpoint_close(&r->layers[i]);
    free(r->layers);
    woqi_work_dir_close(&r->dir, remove);
    free(r);
}

static enum woq_status check_matrix(const struct woqi_result *t)
{
    const struct woq_format *f = &t->matrix->format;
    const bool group = f->group != WOQ_GROUP_CHANNEL && f->group != WOQ_GROUP_TENSOR;
    const bool codes = f->code == WOQ_CODE_U4 || f->code == WOQ_CODE_U8;
    if (!codes || f->g_idx || (f->zero != WOQ_ZERO_SYMMETRIC && f->zero != WOQ_ZERO_POINT))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: must be U4 or U8, symmetric or with zero points, no g_idx",
                          t->name);
    if (group && (!f->group || t->matrix->k % f->group))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: its %llu columns are no multiple of the group of %llu",
                          t->name, (unsigned long long)t->matrix->k, (unsigned long long)f->group);
    return WOQ_OK;
}

/* Whole rows at a time, so that the words made of them stay few. */
static enum woq_status write_matrix(struct woqi_st_writer *w, const struct woqi_ct_matrix *m,
                                    const struct woq_weights_source *from)
{
    struct woq_format_sizes sizes;
    struct woq_weights_source rows = *from;
    const uint64_t most = from->n < BLOCK_ROWS ? from->n : BLOCK_ROWS, groups = m->groups;
    const bool tensor = from->format.group == WOQ_GROUP_TENSOR;
    enum woq_status st = woq_format_get_sizes(&from->format, from->n, from->k, &sizes);
    if (st)
        return st;
    uint8_t *scratch = malloc(woqi_ct_scratch(m, most));
    if (!scratch)
        return no_memory();
    rows.row_stride = from->row_stride ? from->row_stride : sizes.row_bytes;
    for (uint64_t first = 0; first < from->n && !st; first += BLOCK_ROWS) {
        const uint64_t before = tensor ? 0 : first * groups;
        rows.n = from->n - first < BLOCK_ROWS ? from->n - first : BLOCK_ROWS;
        rows.codes = (const uint8_t *)from->codes + first * rows.row_stride;
        rows.scales = (const uint8_t *)from->scales + before * woq_type_size(from->format.scale);
        rows.zeros = from->zeros ? (const uint8_t *)from->zeros + before : NULL;
        st = woqi_ct_write_rows(w, m, first, &rows, scratch);
    }
    free(scratch);
    return st ? st : woqi_ct_write_shape(w, m);
}

/* The tensors into the file aside. matrices: [count]; plain tensors have their index in .packed. */
static enum woq_status write_all(struct woqi_results *r, struct woqi_st_writer *w, const struct woqi_result *tensors,
                                 uint32_t count, struct woqi_ct_matrix *matrices)
{
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < count && !st; i++) {
        const struct woqi_result *t = &tensors[i];
        const struct woq_weights_source *m = t->matrix;
        const uint64_t shape[] = {t->rows, t->columns};
        const uint32_t rank = t->rows ? 2 : 1;
        if (m && !(st = check_matrix(t)))
            st = woqi_ct_add(w, t->name, strlen(t->name), &m->format, m->n, m->k, &matrices[i]);
        else if (!m)
            st = woqi_st_add(w, t->name, "", woqi_st_type_of(t->type), rank, shape + 2 - rank, true,
                             &matrices[i].packed);
    }
    if (!st)
        st = woqi_st_open(w, &r->dir, 0);
    for (uint32_t i = 0; i < count && !st; i++)
        st = tensors[i].matrix ? write_matrix(w, &matrices[i], tensors[i].matrix)
                               : woqi_st_write(w, matrices[i].packed, 0, tensors[i].data,
                                               w->tensors[matrices[i].packed].bytes);
    return st ? st : woqi_st_close(w);
}

enum woq_status woqi_results_put(struct woqi_results *results, uint32_t layer, const struct woqi_result *tensors,
                                 uint32_t count, const char *report)
{
    struct woqi_st_writer writer = {.file = aside_name, .meta_key = report_key, .meta_text = report};
    struct woqi_ct_matrix *matrices = calloc((size_t)count + 1, sizeof *matrices);
    char name[40];
    layer_name(layer, name);
    if (layer < results->count)
        woq_checkpoint_close(&results->layers[layer]);
    enum woq_status st = matrices ? woqi_work_dir_remove(&results->dir, aside_name) : no_memory();
    if (!st)
        st = write_all(results, &writer, tensors, count, matrices);
    woqi_st_free(&writer);
    free(matrices);
    if (!st)
        return woqi_work_dir_rename(&results->dir, aside_name, name);
    /* What fails here must not hide why. */
    char message[1024];
    snprintf(message, sizeof message, "%s", woq_last_message());
    woqi_work_dir_remove(&results->dir, aside_name);
    return woq_report(st, "layer %u: %s", (unsigned)layer, message);
}

enum woq_status woqi_results_layer(struct woqi_results *results, uint32_t layer, const struct woq_checkpoint **out)
{
    *out = NULL;
    enum woq_status st = open_layer(results, layer);
    if (!st)
        *out = results->layers[layer];
    return st;
}

enum woq_status woqi_results_report(struct woqi_results *results, uint32_t layer, char **out)
{
    const struct woq_checkpoint *c;
    const char *text;
    size_t size;
    *out = NULL;
    enum woq_status st = woqi_results_layer(results, layer, &c);
    if (st)
        return st;
    if (!woq_checkpoint_get_string(c, "__metadata__.woq.report", &text, &size))
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: __metadata__ has no %s", woq_checkpoint_path(c), report_key);
    *out = strndup(text, size);
    return *out ? WOQ_OK : no_memory();
}

/* ---- Notes ---- */

enum woq_status woqi_results_put_note(struct woqi_results *results, const char *name, yyjson_mut_doc *doc)
{
    char file[64];
    snprintf(file, sizeof file, "%s.json", name);
    enum woq_status st = woqi_work_dir_remove(&results->dir, aside_name);
    if (!st)
        st = woqi_atomic_dir_json(&results->dir, aside_name, doc);
    return st ? st : woqi_work_dir_rename(&results->dir, aside_name, file);
}

enum woq_status woqi_results_note(struct woqi_results *results, const char *name, yyjson_doc **out)
{
    char file[64];
    snprintf(file, sizeof file, "%s.json", name);
    char *path = path_of(results, file);
    *out = path ? yyjson_read_file(path, 0, NULL, NULL) : NULL;
    free(path);
    return path ? WOQ_OK : no_memory();
}

/* ---- The output ---- */

/* What a renamed directory keeps, and one that is made or changed later does not have: its number, and when a file was
 * last added to it or taken away. */
static bool describe(const struct stat *info, yyjson_mut_doc *doc, yyjson_mut_val *out)
{
    return yyjson_mut_obj_add_uint(doc, out, "device", (uint64_t)info->st_dev) &&
           yyjson_mut_obj_add_uint(doc, out, "inode", (uint64_t)info->st_ino) &&
           yyjson_mut_obj_add_int(doc, out, "seconds", (int64_t)info->st_mtim.tv_sec) &&
           yyjson_mut_obj_add_int(doc, out, "nanoseconds", (int64_t)info->st_mtim.tv_nsec);
}

enum woq_status woqi_results_note_output(struct woqi_results *results, int folder)
{
    struct stat info;
    if (fstat(folder, &info))
        return woq_report(WOQ_ERROR_DRIVER, "cannot look at what is written for '%s'", results->dir.target);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    const enum woq_status st =
        describe(&info, doc, root) ? woqi_results_put_note(results, "output", doc) : no_memory();
    yyjson_mut_doc_free(doc);
    return st;
}

static yyjson_doc *read_in(const char *folder, const char *name)
{
    char *path = folder ? join(folder, name) : NULL;
    yyjson_doc *doc = path ? yyjson_read_file(path, 0, NULL, NULL) : NULL;
    free(path);
    return doc;
}

bool woqi_results_has_output(const char *output, const char *identity)
{
    struct stat info;
    char *folder = lstat(output, &info) ? NULL : woqi_work_dir_path(output);
    yyjson_doc *run = read_in(folder, run_name), *note = read_in(folder, "output.json");
    yyjson_mut_doc *own = yyjson_mut_doc_new(NULL), *noted = yyjson_doc_mut_copy(note, NULL);
    yyjson_mut_val *root = yyjson_mut_obj(own);
    yyjson_val *of = yyjson_obj_get(yyjson_doc_get_root(run), "identity");
    const bool same = yyjson_is_str(of) && (!identity || yyjson_equals_str(of, identity)) && noted &&
                      describe(&info, own, root) && yyjson_mut_equals(root, yyjson_mut_doc_get_root(noted));
    yyjson_mut_doc_free(own);
    yyjson_mut_doc_free(noted);
    yyjson_doc_free(run);
    yyjson_doc_free(note);
    free(folder);
    return same;
}
