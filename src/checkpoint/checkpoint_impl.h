/*
 * checkpoint_impl.h: what the readers of model files share.
 *
 * A reader maps a file, checks all of it that it will ever use, and fills a struct woq_checkpoint:
 * tensors that point into the mapping, metadata as typed values. All memory besides the mappings
 * lies in the checkpoint's arena and goes with it, so a reader that fails half-way has nothing to
 * undo.
 */
#ifndef WOQI_CHECKPOINT_IMPL_H
#define WOQI_CHECKPOINT_IMPL_H

#include <woq/checkpoint.h>

#if defined(__GNUC__)
#define WOQI_CKPT_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define WOQI_CKPT_PRINTF(f, a)
#endif

/* Counts beyond these are taken for a lie. */
enum {
    WOQI_CKPT_MAX_TENSORS = 1 << 20,
    WOQI_CKPT_MAX_META = 1 << 16,
    WOQI_CKPT_MAX_NAME = 512, /* bytes of a tensor's name or a metadata key */
    WOQI_CKPT_MAX_DEPTH = 32, /* arrays in arrays, objects in objects */
    WOQI_CKPT_MAX_SHARDS = 4096
};

/* ---- Memory ---- */
struct woqi_ckpt_chunk;
struct woqi_ckpt_arena {
    struct woqi_ckpt_chunk *chunks;
};
/* Zeroed, aligned to 16 bytes; NULL if there is no memory or count·size overflows. */
void *woqi_ckpt_alloc(struct woqi_ckpt_arena *arena, size_t count, size_t size);
/* Terminated copy. */
char *woqi_ckpt_copy(struct woqi_ckpt_arena *arena, const char *text, size_t size);
void woqi_ckpt_arena_free(struct woqi_ckpt_arena *arena);

struct woqi_ckpt_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t size;
    char *path;
    bool borrowed; /* memory of the caller's */
};

/* ---- Metadata ---- */
enum woqi_ckpt_kind {
    WOQI_KIND_NULL = 0, /* present, but of no type that can be asked for */
    WOQI_KIND_UINT,
    WOQI_KIND_INT, /* negative */
    WOQI_KIND_FLOAT,
    WOQI_KIND_BOOL,
    WOQI_KIND_STRING,
    WOQI_KIND_STRINGS, /* arrays */
    WOQI_KIND_FLOATS,
    WOQI_KIND_INTS
};
struct woqi_ckpt_value {
    const char *key;
    const char *text; /* for people */
    enum woqi_ckpt_kind kind;
    union {
        uint64_t u;
        int64_t i;
        double f;
        bool b;
        struct woq_text string;
        struct {
            union {
                const struct woq_text *strings;
                const float *floats;
                const int32_t *ints;
            };
            size_t count;
        };
    };
};

struct woq_checkpoint {
    enum woq_container container;
    char *path;
    bool directory; /* of Hugging Face's form */
    struct woqi_ckpt_arena arena;
    struct woqi_ckpt_map *maps;
    size_t map_count;
    struct woq_tensor *tensors;
    size_t tensor_count;
    uint32_t *tensor_order; /* indices sorted by name */
    struct woqi_ckpt_value *meta;
    size_t meta_count, meta_capacity;
    uint32_t *meta_order; /* indices sorted by key */
    woq_log_fn *log;
    void *log_user;
};

/* ---- Messages ---- */
/* woq_report with the checkpoint's path in front. */
enum woq_status woqi_ckpt_fail(const struct woq_checkpoint *c, enum woq_status status,
                               const char *format, ...) WOQI_CKPT_PRINTF(3, 4);
enum woq_status woqi_ckpt_no_memory(const struct woq_checkpoint *c);
/* Where metadata stands, for messages: "config.json: " for a directory's, else "". */
const char *woqi_ckpt_where(const struct woq_checkpoint *c, const char *key);
void woqi_ckpt_warn(const struct woq_checkpoint *c, const char *format, ...) WOQI_CKPT_PRINTF(2, 3);

/* ---- Text ---- */
/* Valid UTF-8 without control characters: fit for names that are printed. */
bool woqi_ckpt_is_name(const char *text, size_t size);
/* Copy for people: control characters but newline and tab, and invalid UTF-8, become U+FFFD. At
 * most `limit` bytes are taken, then an ellipsis. */
char *woqi_ckpt_readable(struct woqi_ckpt_arena *arena, const char *text, size_t size,
                         size_t limit);

/* ---- Files ---- */
/* Maps a regular file as c->maps[c->map_count++], for which there must be room. Failing:
 * `missing` if there is no such file, else INVALID_ARGUMENT. */
enum woq_status woqi_ckpt_map_file(struct woq_checkpoint *c, const char *path,
                                   enum woq_status missing);
enum woq_status woqi_ckpt_map_memory(struct woq_checkpoint *c, const void *data, size_t size);
void woqi_ckpt_unmap(struct woqi_ckpt_map *map);
/* The tensor's pages leave the process' memory and are read again when next touched, by any thread. For who goes
 * through a checkpoint once. */
void woqi_ckpt_forget(const struct woq_tensor *t);

/* ---- Metadata ---- */
/* A new value with this key (copied), kind NULL and text "null"; NULL with a message in *st. */
struct woqi_ckpt_value *woqi_ckpt_meta_add(struct woq_checkpoint *c, const char *key, size_t size,
                                           enum woq_status *st);
/* The text of a value whose kind and content are set. */
enum woq_status woqi_ckpt_meta_text(struct woq_checkpoint *c, struct woqi_ckpt_value *value);
/* Sorts; INVALID_DATA for a key that is there twice. */
enum woq_status woqi_ckpt_meta_finish(struct woq_checkpoint *c);
const struct woqi_ckpt_value *woqi_ckpt_meta_find(const struct woq_checkpoint *c, const char *key);

/* ---- Tensors ---- */
struct woqi_ckpt_type {
    const char *name; /* the file's */
    enum woq_tensor_type type;
    uint32_t block, bytes; /* elements and bytes of a block */
};
/* NULL if unknown. */
const struct woqi_ckpt_type *woqi_ckpt_gguf_type(uint32_t number);
/* Sets tensor->row_bytes and ->bytes from its shape and a block's size. */
enum woq_status woqi_ckpt_tensor_size(const struct woq_checkpoint *c, struct woq_tensor *tensor,
                                      uint32_t block, uint32_t block_bytes);
/* Sorts; INVALID_DATA for a name that is there twice. */
enum woq_status woqi_ckpt_tensors_finish(struct woq_checkpoint *c);
/* INVALID_DATA if two of the `count` tensors from `first` on share bytes, or, if `dense`, leave
 * some of the `size` bytes from `base` on to none. */
enum woq_status woqi_ckpt_check_layout(struct woq_checkpoint *c, size_t first, size_t count,
                                       const uint8_t *base, uint64_t size, bool dense);
/* One row, in the file's order. */
void woqi_ckpt_dequantize(enum woq_tensor_type type, const uint8_t *row, uint64_t elements,
                          float *out);

/* ---- Packed layers ---- */
struct woqi_ckpt_scheme {
    bool said;      /* false: nothing, or the layer is not mentioned */
    uint32_t bits;  /* 0 = not said */
    uint64_t group; /* columns; 0 = one scale for each row, or not said */
    bool symmetric;
};
/* What config.json says of the layer `name`. */
struct woqi_ckpt_scheme woqi_ckpt_packed_scheme(const struct woq_checkpoint *c, const char *name);

/* ---- Readers ---- */
enum woq_status woqi_ckpt_read_gguf(struct woq_checkpoint *c);
enum woq_status woqi_ckpt_read_gguf_meta(struct woq_checkpoint *c, const uint8_t **at,
                                         const uint8_t *end, uint64_t count);
/* Name and rope_heads of a tensor whose file_name, rank and shape are set. */
enum woq_status woqi_ckpt_gguf_name(struct woq_checkpoint *c, struct woq_tensor *tensor);
/* Appends the tensors of a mapped file; its __metadata__ too if `meta`. */
enum woq_status woqi_ckpt_read_safetensors(struct woq_checkpoint *c,
                                           const struct woqi_ckpt_map *map, bool meta);
enum woq_status woqi_ckpt_read_directory(struct woq_checkpoint *c);

/* From memory instead of a file, which must outlive the checkpoint; for tests. */
enum woq_status woqi_ckpt_open_memory(enum woq_container container, const void *data, size_t size,
                                      struct woq_checkpoint **out);

/* ---- JSON ---- */
struct yyjson_doc;
/* *doc is NULL if there is no such file and it is `optional`. `directory` may be NULL. Released
 * by yyjson_doc_free. */
enum woq_status woqi_ckpt_json_file(const struct woq_checkpoint *c, const char *directory,
                                    const char *name, bool optional, struct yyjson_doc **doc);
enum woq_status woqi_ckpt_json_text(const struct woq_checkpoint *c, const char *what,
                                    const void *text, size_t size, struct yyjson_doc **doc);
struct yyjson_val;
/* Members as metadata with dotted keys that begin with `prefix`. */
enum woq_status woqi_ckpt_json_flatten(struct woq_checkpoint *c, const char *prefix,
                                       struct yyjson_val *object);

/* ---- Configuration ---- */
enum woq_status woqi_ckpt_gguf_config(const struct woq_checkpoint *c, struct woq_model_config *out);
enum woq_status woqi_ckpt_hf_config(const struct woq_checkpoint *c, struct woq_model_config *out);
/* Absent: INVALID_DATA unless `optional`, which leaves *out alone. Out of 0 … limit:
 * INVALID_DATA. */
enum woq_status woqi_ckpt_config_uint(const struct woq_checkpoint *c, const char *key,
                                      bool optional, uint32_t limit, uint32_t *out);
/* As above for a finite float > 0. */
enum woq_status woqi_ckpt_config_float(const struct woq_checkpoint *c, const char *key,
                                       bool optional, float *out);
/* As above, always optional. */
enum woq_status woqi_ckpt_config_bool(const struct woq_checkpoint *c, const char *key, bool *out);

#endif
