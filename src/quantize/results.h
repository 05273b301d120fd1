/*
 * results.h: what calibration made of each decoder layer, on the disk, so that a killed run goes on where it was.
 *
 * Beside the output NAME lies the folder ".NAME.woq-work", locked while a process works in it: run.json says what run
 * it is (the text `identity`), layer-00012.safetensors holds the layer's tensors in the form of compressed-tensors, as
 * they will stand in the checkpoint, and what was noted of them in __metadata__ ("woq.report", JSON); NAME.json is what
 * was noted of the whole. Each file appears whole or not at all (written aside, synced, renamed).
 */
#ifndef WOQI_RESULTS_H
#define WOQI_RESULTS_H

#include <woq/checkpoint.h>

struct woqi_results;

/* A tensor as it goes in: a matrix in canonical form, or a plain vector. */
struct woqi_result {
    const char *name; /* without ".weight" for a matrix; whole for a plain tensor */
    const struct woq_weights_source *matrix; /* U4 or U8; NULL = plain */
    uint64_t rows, columns; /* of a plain tensor; rows 0: a vector [columns] */
    enum woq_type type;
    const void *data;
};

/*
 * Opens or makes the folder of `output`. Layers of a run with the same identity are kept (*done is their number: 0 …
 * done − 1 are whole); of another one removed, which is logged through `log`.
 * Returns WOQ_OK; INVALID_ARGUMENT; INVALID_STATE (another process works there); DRIVER; OUT_OF_MEMORY.
 */
enum woq_status woqi_results_open(const char *output, const char *identity, woq_log_fn *log, void *log_user,
                                  struct woqi_results **out, uint32_t *done);
void woqi_results_close(struct woqi_results **results, bool remove); /* remove: the folder too */

/* Notes that the directory open at `folder`, whose files are all written, is about to become the run's output: a run
 * that is killed between that and the removal of its own folder has left it whole. As woqi_results_put. */
enum woq_status woqi_results_note_output(struct woqi_results *results, int folder);
/* Whether `output` is there as a run with this identity (NULL = any) noted it, nothing added or taken away. */
bool woqi_results_has_output(const char *output, const char *identity);

/* A tensor's scale is stored for each row, so that it comes back as one for a channel. report: JSON text.
 * Returns WOQ_OK; INVALID_ARGUMENT (not what a checkpoint can say); DRIVER (the message has the system's words; what
 * was there of the layer stays); OUT_OF_MEMORY. */
enum woq_status woqi_results_put(struct woqi_results *results, uint32_t layer, const struct woqi_result *tensors,
                                 uint32_t count, const char *report);
/* The layer's file as a checkpoint that lives as long as `results`, or until the layer is put again; matrices by
 * woq_checkpoint_packed_source, plain tensors by woq_checkpoint_find. INVALID_ARGUMENT: it is not there. */
enum woq_status woqi_results_layer(struct woqi_results *results, uint32_t layer,
                                   const struct woq_checkpoint **out);
/* The text given to woqi_results_put, malloc'ed. */
enum woq_status woqi_results_report(struct woqi_results *results, uint32_t layer, char **out);

/* What belongs to no layer: a JSON document under a name ("sensitivity"), whole or not at all; it goes with the run as
 * layers do. Reading gives NULL where there is none, or none that can be read; *out is freed by yyjson_doc_free. */
struct yyjson_doc;
struct yyjson_mut_doc;
enum woq_status woqi_results_put_note(struct woqi_results *results, const char *name, struct yyjson_mut_doc *doc);
enum woq_status woqi_results_note(struct woqi_results *results, const char *name, struct yyjson_doc **out);

#endif
