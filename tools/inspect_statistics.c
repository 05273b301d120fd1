/*
 * inspect_statistics.c: files of calibration statistics: safetensors with, for each input of a model's linear layers,
 * the vectors NAME.absmax and NAME.mean_abs over its channels and NAME.histogram over all elements.
 */
#include "inspect_statistics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One input; a channel's mean is of |x|. */
struct input {
    char *name;
    uint64_t channels;
    double absmax, mean, ratio; /* ratio: the largest channel's mean, as a multiple of all channels' */
    uint64_t not_finite;        /* elements */
};

/* NULL if absent. The text is terminated. */
static const char *metadata(const struct woq_checkpoint *c, const char *key)
{
    static const char prefix[] = "__metadata__.woq.";
    for (size_t i = 0; i < woq_checkpoint_meta_count(c); i++) {
        const char *name, *value;
        if (!woq_checkpoint_meta(c, i, &name, &value) && !strncmp(name, prefix, sizeof prefix - 1) &&
            !strcmp(name + sizeof prefix - 1, key))
            return value;
    }
    return NULL;
}

bool inspect_is_statistics(const struct woq_checkpoint *c)
{
    const char *kind = metadata(c, "kind");
    return kind && !strcmp(kind, "statistics");
}

/* A vector of floats, to be freed; NULL if there is none of so many. */
static float *read_vector(const struct woq_checkpoint *c, const char *input, const char *suffix, uint64_t count)
{
    char *name = tool_text("%s%s", input, suffix);
    const struct woq_tensor *t = woq_checkpoint_find(c, name);
    free(name);
    if (!t || t->type != WOQ_TENSOR_F32 || t->rank != 1 || t->shape[0] != count)
        return NULL;
    float *v = tool_alloc(count, sizeof *v);
    if (!woq_tensor_read(t, 0, 1, v))
        return v;
    free(v);
    return NULL;
}

/* What the histogram lacks of all elements. */
static uint64_t count_not_finite(const struct woq_checkpoint *c, const char *input, uint64_t elements)
{
    char *name = tool_text("%s.histogram", input);
    const struct woq_tensor *t = woq_checkpoint_find(c, name);
    free(name);
    if (!t || t->type != WOQ_TENSOR_I64 || t->rank != 1)
        return 0;
    for (uint64_t i = 0; i < t->shape[0]; i++) {
        int64_t bin;
        memcpy(&bin, (const char *)t->data + i * sizeof bin, sizeof bin);
        elements -= bin > 0 && (uint64_t)bin < elements ? (uint64_t)bin : bin > 0 ? elements : 0;
    }
    return elements;
}

/* False if the tensor is no NAME.absmax, or its fellow is missing. */
static bool read_input(const struct woq_checkpoint *c, const struct woq_tensor *t, uint64_t rows, struct input *out)
{
    static const char suffix[] = ".absmax";
    const size_t size = strlen(t->name), tail = sizeof suffix - 1;
    if (size <= tail || strcmp(t->name + size - tail, suffix) || t->rank != 1 || !t->shape[0])
        return false;
    *out = (struct input){.name = tool_text("%.*s", (int)(size - tail), t->name), .channels = t->shape[0]};
    float *most = read_vector(c, out->name, suffix, out->channels);
    float *mean = read_vector(c, out->name, ".mean_abs", out->channels);
    const bool fine = most && mean;
    double largest = 0;
    for (uint64_t i = 0; fine && i < out->channels; i++) {
        out->absmax = (double)most[i] > out->absmax ? (double)most[i] : out->absmax;
        largest = (double)mean[i] > largest ? (double)mean[i] : largest;
        out->mean += (double)mean[i] / (double)out->channels;
    }
    out->ratio = out->mean > 0 ? largest / out->mean : 1;
    out->not_finite = count_not_finite(c, out->name, rows * out->channels);
    free(most);
    free(mean);
    if (!fine)
        free(out->name);
    return fine;
}

static uint64_t rows_of(const struct woq_checkpoint *c)
{
    const char *text = metadata(c, "rows");
    return text ? strtoull(text, NULL, 10) : 0;
}

static const char *known(const char *text)
{
    return text ? text : "unknown";
}

void inspect_print_statistics(const struct woq_checkpoint *c)
{
    struct tool_table table;
    const uint64_t rows = rows_of(c);
    uint64_t not_finite = 0;
    struct input in;
    printf("Contents  statistics of the inputs of linear layers, channel by channel\nModel     %s\n"
           "Samples   %s of %s tokens, drawn by the seed %s from %s\n\nInputs\n",
           known(metadata(c, "model")), known(metadata(c, "samples")), known(metadata(c, "window")),
           known(metadata(c, "seed")), known(metadata(c, "text")));
    tool_table_begin(&table, "lrrrr");
    tool_table_add(&table, "name");
    tool_table_add(&table, "channels");
    tool_table_add(&table, "max |x|");
    tool_table_add(&table, "mean |x|");
    tool_table_add(&table, "largest channel");
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++) {
        if (!read_input(c, woq_checkpoint_tensor(c, i), rows, &in))
            continue;
        tool_table_add(&table, "%s", in.name);
        tool_table_add(&table, "%" PRIu64, in.channels);
        tool_table_add(&table, "%.4g", in.absmax);
        tool_table_add(&table, "%.4g", in.mean);
        tool_table_add(&table, "%.1fx", in.ratio);
        not_finite += in.not_finite;
        free(in.name);
    }
    tool_table_end(&table, stdout);
    puts("Largest channel: its mean |x|, as a multiple of the mean of all.");
    if (not_finite)
        printf("%" PRIu64 " elements were not finite, and count nowhere.\n", not_finite);
}

yyjson_mut_val *inspect_statistics_json(yyjson_mut_doc *doc, const struct woq_checkpoint *c)
{
    static const char *const keys[] = {"model", "samples", "window", "seed", "rows", "text"};
    yyjson_mut_val *out = yyjson_mut_obj(doc), *inputs = yyjson_mut_arr(doc);
    const uint64_t rows = rows_of(c);
    struct input in;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (metadata(c, keys[i]))
            yyjson_mut_obj_add_str(doc, out, keys[i], metadata(c, keys[i]));
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++) {
        if (!read_input(c, woq_checkpoint_tensor(c, i), rows, &in))
            continue;
        yyjson_mut_val *input = yyjson_mut_obj(doc);
        tool_json_text(doc, input, "name", in.name);
        yyjson_mut_obj_add_uint(doc, input, "channels", in.channels);
        tool_json_real(doc, input, "absmax", in.absmax);
        tool_json_real(doc, input, "mean_abs", in.mean);
        tool_json_real(doc, input, "largest_channel_ratio", in.ratio);
        yyjson_mut_obj_add_uint(doc, input, "not_finite", in.not_finite);
        yyjson_mut_arr_append(inputs, input);
        free(in.name);
    }
    yyjson_mut_obj_add_val(doc, out, "inputs", inputs);
    return out;
}
