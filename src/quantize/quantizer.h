/*
 * quantizer.h: what the files of src/quantize share.
 *
 * quantize_plan.c decides which tensors are quantized, kept or left out, by the patterns of quantize_patterns.c;
 * ct_writer.c streams them, by rtn.c, and in the form of ct_matrix.c, into
 * safetensors files (st_writer.c); ct_config.c and ct_tokenizer.c write what stands beside them; atomic_dir.c makes
 * the directory appear whole or not at all, atomic_file.c a file by itself. quantize_checkpoint.c runs these in turn.
 */
#ifndef WOQI_QUANTIZER_H
#define WOQI_QUANTIZER_H

#include "model/threads.h"

#include <woq/quantize.h>

struct yyjson_mut_doc;
struct woqi_results;

/* ---- rtn.c ---- */
/* The arrays of n rows, canonical and dense, sized by woq_format_get_sizes. */
struct woqi_rtn_arrays {
    uint8_t *codes;
    void *scales;
    uint8_t *zeros; /* NULL if symmetric */
};

/* What the rows at hand are of their matrix. */
struct woqi_rtn_block {
    const char *source; /* begins messages: the checkpoint's path or the function's name */
    const char *name;   /* the tensor's; "the matrix" */
    uint64_t first_row; /* of the matrix, for messages */
    bool ranged;        /* tensor granularity: the whole matrix lies in low … high; else the rows' own range counts */
    float low, high;
};

/* woq_quantize_rtn into the caller's arrays, by `jobs` threads (0 = all). */
enum woq_status woqi_rtn(const struct woq_format *format, uint64_t n, uint64_t k, const float *w, uint32_t jobs,
                         const struct woqi_rtn_block *block, const struct woqi_rtn_arrays *out);

/* The range of the weights and 0; INVALID_DATA for one that is not finite. */
enum woq_status woqi_rtn_scan(uint64_t n, uint64_t k, const float *w, uint32_t jobs,
                              const struct woqi_rtn_block *block, float *low, float *high);

/* ---- atomic_dir.c ---- */
struct woqi_atomic_dir {
    char *target; /* without slashes at its end */
    char *aside;  /* the sibling that is written, locked while this process lives */
    int fd;       /* of `aside`; -1 = none */
    bool force;
};

/*
 * Makes the sibling ".NAME.woq-partial"; one that a killed run left behind is emptied and used again.
 * Returns WOQ_OK; INVALID_ARGUMENT (no usable name; exists and not `force`; not a checkpoint that `force` may
 * replace; is `source`, a file or directory); INVALID_STATE (another process writes it); DRIVER; OUT_OF_MEMORY.
 */
enum woq_status woqi_atomic_dir_begin(struct woqi_atomic_dir *dir, const char *target, const char *source,
                                      bool force);
/* Renames; what was there before is removed. */
enum woq_status woqi_atomic_dir_commit(struct woqi_atomic_dir *dir);
/* Removes what was written unless it was committed; accepts a zeroed one with fd −1. */
void woqi_atomic_dir_end(struct woqi_atomic_dir *dir);

/* A new file, open for writing; -1 with the message reported. */
int woqi_atomic_dir_create(struct woqi_atomic_dir *dir, const char *name);
/* All `size` bytes at `offset`, of a pipe at its end; -1 with the message reported. Any number of threads. */
enum woq_status woqi_atomic_dir_write(struct woqi_atomic_dir *dir, const char *name, int fd, const void *data,
                                      size_t size, uint64_t offset);
/* fsync and close. */
enum woq_status woqi_atomic_dir_finish(struct woqi_atomic_dir *dir, const char *name, int fd);
enum woq_status woqi_atomic_dir_json(struct woqi_atomic_dir *dir, const char *name, struct yyjson_mut_doc *doc);
/* Copies a file; one that does not exist is no failure. */
enum woq_status woqi_atomic_dir_copy(struct woqi_atomic_dir *dir, const char *from, const char *name);

/* "DIR/.NAME" + suffix for the target "DIR/NAME", malloc'ed. */
char *woqi_sibling_path(const char *target, const char *suffix);
/* Makes a folder if need be and opens it, locked while *fd is open. INVALID_STATE: another process has it, which is
 * reported as a writer of `target`. */
enum woq_status woqi_lock_folder(const char *path, const char *target, int *fd);
/* Both without following links or going down: DRIVER, false if there is a folder inside. */
enum woq_status woqi_empty_folder(const char *path);
bool woqi_remove_folder(const char *path);

/* ---- atomic_file.c ---- */
/* A file that appears whole or not at all; bytes are written by woqi_atomic_dir_write(&f->dir, f->name, f->fd, …) from
 * the first to the last. */
struct woqi_atomic_file {
    struct woqi_atomic_dir dir; /* where it will lie */
    char *name, *aside;         /* ".NAME.woq-partial", locked while this process lives; NULL: none, as for a pipe */
    int fd;                     /* of `aside`; -1 = none */
};
/* Whether begin would do, which leaves nothing; a pipe is not opened, as its reader would take closing it for the end.
 * As begin. */
enum woq_status woqi_atomic_file_check(const char *path);
/* Returns WOQ_OK; INVALID_ARGUMENT (no file's name); INVALID_STATE (another process writes it); DRIVER;
 * OUT_OF_MEMORY. */
enum woq_status woqi_atomic_file_begin(struct woqi_atomic_file *f, const char *path);
/* Everything is on the disk, then in the place of what was there before. */
enum woq_status woqi_atomic_file_commit(struct woqi_atomic_file *f);
/* Removes what was written unless it was committed; to be called after a failed begin too. */
void woqi_atomic_file_end(struct woqi_atomic_file *f);

/* ---- work_dir.c: ".NAME.woq-work" beside the output NAME, a folder that stays ---- */
char *woqi_work_dir_path(const char *output); /* malloc'ed */
/* *dir takes the functions on files above; `target` is the folder itself. As woqi_lock_folder. */
enum woq_status woqi_work_dir_open(struct woqi_atomic_dir *dir, const char *output);
void woqi_work_dir_close(struct woqi_atomic_dir *dir, bool remove);
/* A finished file takes the name, and the place of what had it; then that is on the disk. */
enum woq_status woqi_work_dir_rename(struct woqi_atomic_dir *dir, const char *from, const char *name);
/* Of a file that an interrupted run left aside; none is no failure. */
enum woq_status woqi_work_dir_remove(struct woqi_atomic_dir *dir, const char *name);

/* ---- st_writer.c ---- */
enum woqi_st_type { WOQI_ST_F16, WOQI_ST_BF16, WOQI_ST_F32, WOQI_ST_I32, WOQI_ST_I64 };

struct woqi_st_tensor {
    char *name;
    enum woqi_st_type type;
    uint32_t rank, shard;
    uint64_t shape[WOQ_TENSOR_MAX_RANK];
    uint64_t bytes, offset; /* offset: into the shard's data, then, once open, into its file */
    bool begins; /* a shard may begin here */
};

struct woqi_st_meta {
    const char *key, *value; /* UTF-8 */
};

struct woqi_st_writer {
    struct woqi_atomic_dir *dir;
    const struct woqi_st_meta *meta; /* for __metadata__, beside "format"; the caller's */
    size_t meta_count;
    struct woqi_st_tensor *tensors;
    size_t count, capacity;
    struct woqi_st_shard {
        char name[64];
        int fd;
    } *shards;
    uint32_t shard_count;
    const char *file;                     /* the name of a lone file; NULL = a checkpoint's */
    const char *meta_key, *meta_text;     /* a further member of __metadata__, borrowed; NULL = none */
};

enum woqi_st_type woqi_st_type_of(enum woq_type type);
/* Tensors are added first, then the files are opened, then bytes are written in any order. name + suffix is copied;
 * *index is for woqi_st_write. */
enum woq_status woqi_st_add(struct woqi_st_writer *writer, const char *name, const char *suffix,
                            enum woqi_st_type type, uint32_t rank, const uint64_t *shape, bool begins,
                            size_t *index);
/* writer->file; else model.safetensors or, above shard_bytes of data, model-00001-of-0000N.safetensors and an index. */
enum woq_status woqi_st_open(struct woqi_st_writer *writer, struct woqi_atomic_dir *dir, uint64_t shard_bytes);
enum woq_status woqi_st_write(struct woqi_st_writer *writer, size_t index, uint64_t offset, const void *data,
                              size_t size);
/* In place of open, write and close: all as the one file `path`, whole or not at all; data[index]: a tensor's bytes. */
enum woq_status woqi_st_save(struct woqi_st_writer *writer, const char *path, const void *const *data);
enum woq_status woqi_st_close(struct woqi_st_writer *writer); /* everything is on the disk then */
void woqi_st_free(struct woqi_st_writer *writer);             /* accepts zeroed and half-built ones */

/* ---- ct_matrix.c ---- */
/* A linear layer in a file that is written. */
struct woqi_ct_matrix {
    struct woq_format format;
    uint64_t n, k, groups; /* groups: of a row, as written */
    size_t packed, scale, zero, shape; /* indices of the writer's tensors */
};

/* Adds the tensors of a layer, whose name is the first `size` bytes. format: U4 or U8, without offsets and g_idx, K a
 * multiple of the group. */
enum woq_status woqi_ct_add(struct woqi_st_writer *writer, const char *name, size_t size,
                            const struct woq_format *format, uint64_t n, uint64_t k, struct woqi_ct_matrix *out);
/* Bytes that writing `rows` rows at once needs at `scratch`. */
uint64_t woqi_ct_scratch(const struct woqi_ct_matrix *matrix, uint64_t rows);
/* rows->n rows from `first`, a multiple of 8, on, in canonical form; of rows->format the matrix' own counts. A tensor's
 * scale and zero point are repeated for each row. */
enum woq_status woqi_ct_write_rows(struct woqi_st_writer *writer, const struct woqi_ct_matrix *matrix, uint64_t first,
                                   const struct woq_weights_source *rows, uint8_t *scratch);
enum woq_status woqi_ct_write_shape(struct woqi_st_writer *writer, const struct woqi_ct_matrix *matrix);

/* A layer that is in this form already. */
struct woqi_ct_parts {
    const struct woq_tensor *packed, *scale, *zero; /* zero: NULL if symmetric */
};
/* INVALID_DATA: `from` has no such layer, or one of another format or shape than the matrix that is written. */
enum woq_status woqi_ct_find(const struct woqi_st_writer *writer, const struct woqi_ct_matrix *matrix,
                             const struct woq_checkpoint *from, struct woqi_ct_parts *out);
/* As woqi_ct_write_rows, byte for byte. */
enum woq_status woqi_ct_copy_rows(struct woqi_st_writer *writer, const struct woqi_ct_matrix *matrix, uint64_t first,
                                  uint64_t rows, const struct woqi_ct_parts *from);

/* ---- quantize_patterns.c ---- */
/* Bytes of "model.layers.0.mlp.up_proj" in the name of a decoder's linear weight, with or without ".weight"; 0 for
 * any other name. */
size_t woqi_linear_name(const char *name);
uint32_t woqi_layer_number(const char *name); /* 12 of "model.layers.12.…"; UINT32_MAX for any other name */

struct woqi_patterns; /* keep and overrides of params, which must outlive it */
enum woq_status woqi_patterns_compile(const struct woq_quantize_params *params, struct woqi_patterns **out);
void woqi_patterns_free(struct woqi_patterns **patterns);
/* INVALID_ARGUMENT for a pattern that matches no layer: a slip of the pen, which would cost the quality it was to
 * save. */
enum woq_status woqi_patterns_check(const struct woqi_patterns *patterns, const struct woq_checkpoint *checkpoint);
/* What a tensor or layer of this name becomes: its override, or params' own; bits 16 = it stays. */
struct woq_quantize_override woqi_patterns_form(const struct woqi_patterns *patterns, const char *name);

/* ---- quantize_plan.c ---- */
enum woqi_tensor_use { WOQI_USE_KEEP = 0, WOQI_USE_QUANTIZE, WOQI_USE_DROP };

struct woqi_plan {
    const struct woq_checkpoint *checkpoint;
    const struct woq_quantize_params *params;
    struct woq_model_config config;
    enum woq_type dtype;       /* of what is kept, and config.json's */
    enum woqi_tensor_use *use; /* of each of the checkpoint's tensors */
    struct woq_format *formats; /* of each that is quantized: of its codes; its scale is the one written */
    uint64_t bytes;            /* of tensors that are read */
    struct woqi_results *results; /* what is written in the source's place: all quantized layers, and what else they
                                     hold; borrowed; NULL = layers are rounded to nearest while writing */
};

enum woq_status woqi_plan_make(const struct woq_checkpoint *checkpoint, const struct woq_quantize_params *params,
                               struct woqi_plan *out);
void woqi_plan_free(struct woqi_plan *plan);
/* The checkpoint's index of the weight of "model.layers.0.mlp.up_proj". INVALID_DATA: it has none. */
enum woq_status woqi_plan_find(const struct woqi_plan *plan, const char *layer, size_t *out);

/* ---- ct_writer.c, ct_config.c, ct_tokenizer.c ---- */
enum woq_status woqi_ct_write_tensors(const struct woqi_plan *plan, struct woqi_atomic_dir *dir,
                                      uint64_t shard_bytes);
enum woq_status woqi_ct_write_config(const struct woqi_plan *plan, struct woqi_atomic_dir *dir);
/* tokenizer.json and tokenizer_config.json from a GGUF file's vocabulary. */
enum woq_status woqi_ct_write_tokenizer(const struct woqi_plan *plan, struct woqi_atomic_dir *dir);

/* ---- quantize_checkpoint.c ---- */
#define WOQI_SHARD_BYTES 5000000000ull
/* Writes what is planned, whole or not at all. As woq_quantize_checkpoint from there on. */
enum woq_status woqi_quantize_write(const struct woqi_plan *plan, const char *directory, uint64_t shard_bytes);
/* woq_quantize_checkpoint with another limit of a shard. */
enum woq_status woqi_quantize_checkpoint(const struct woq_checkpoint *checkpoint, const char *directory,
                                         const struct woq_quantize_params *params, uint64_t shard_bytes);

#endif
