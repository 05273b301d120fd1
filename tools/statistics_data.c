/* statistics_data.c: see statistics_data.h. */
#include "statistics_data.h"
#include "tool.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *statistics_meta(const struct woq_checkpoint *checkpoint, const char *key)
{
    static const char prefix[] = "__metadata__.woq.";
    for (size_t i = 0; i < woq_checkpoint_meta_count(checkpoint); i++) {
        const char *name, *value;
        if (!woq_checkpoint_meta(checkpoint, i, &name, &value) && !strncmp(name, prefix, sizeof prefix - 1) &&
            !strcmp(name + sizeof prefix - 1, key))
            return value;
    }
    return NULL;
}

bool statistics_is(const struct woq_checkpoint *checkpoint)
{
    const char *kind = statistics_meta(checkpoint, "kind");
    return kind && !strcmp(kind, "statistics");
}

uint64_t statistics_rows(const struct woq_checkpoint *checkpoint)
{
    const char *text = statistics_meta(checkpoint, "rows");
    return text ? strtoull(text, NULL, 10) : 0;
}

double statistics_bin(int bin)
{
    return bin ? exp2((bin - 1) / 2.0 - 14) : 0;
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

/* not_finite: what the histogram lacks of all elements. */
static void read_histogram(const struct woq_checkpoint *c, struct statistics_input *out)
{
    uint64_t elements = statistics_rows(c) * out->channels;
    char *name = tool_text("%s.histogram", out->name);
    const struct woq_tensor *t = woq_checkpoint_find(c, name);
    free(name);
    out->counted = t && t->type == WOQ_TENSOR_I64 && t->rank == 1 && t->shape[0] == STATISTICS_BINS;
    for (uint64_t i = 0; out->counted && i < STATISTICS_BINS; i++) {
        int64_t bin;
        memcpy(&bin, (const char *)t->data + i * sizeof bin, sizeof bin);
        out->histogram[i] = bin > 0 ? (uint64_t)bin : 0;
        elements -= out->histogram[i] < elements ? out->histogram[i] : elements;
    }
    out->not_finite = out->counted ? elements : 0;
}

static void sum_up(struct statistics_input *in)
{
    const double count = (double)in->channels;
    double squares = 0;
    for (uint64_t i = 0; i < in->channels; i++) {
        in->absmax = (double)in->most[i] > in->absmax ? (double)in->most[i] : in->absmax;
        in->largest = in->mean[i] > in->mean[in->largest] ? i : in->largest;
        in->average += (double)in->mean[i] / count;
        squares += in->square ? (double)in->square[i] / count : 0;
    }
    in->ratio = in->average > 0 ? (double)in->mean[in->largest] / in->average : 1;
    in->rms = in->square ? sqrt(squares) : (double)NAN;
}

bool statistics_read(const struct woq_checkpoint *checkpoint, const struct woq_tensor *tensor,
                     struct statistics_input *out)
{
    static const char suffix[] = ".absmax";
    const size_t size = strlen(tensor->name), tail = sizeof suffix - 1;
    if (size <= tail || strcmp(tensor->name + size - tail, suffix) || tensor->rank != 1 || !tensor->shape[0])
        return false;
    *out = (struct statistics_input){.name = tool_text("%.*s", (int)(size - tail), tensor->name),
                                     .channels = tensor->shape[0]};
    out->most = read_vector(checkpoint, out->name, suffix, out->channels);
    out->mean = read_vector(checkpoint, out->name, ".mean_abs", out->channels);
    out->square = read_vector(checkpoint, out->name, ".second_moment", out->channels);
    if (!out->most || !out->mean) {
        statistics_release(out);
        return false;
    }
    sum_up(out);
    read_histogram(checkpoint, out);
    return true;
}

void statistics_release(struct statistics_input *input)
{
    free(input->name);
    free(input->most);
    free(input->mean);
    free(input->square);
    *input = (struct statistics_input){.channels = 0};
}
