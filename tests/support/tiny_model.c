/* tiny_model.c: writing small models, and computing them in double. */
#include "tiny_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <woq/quantize.h>

static const double pi = 3.14159265358979323846;
static const double theta = 10000, epsilon = 1e-5, rope_factor = 4;
enum { ORIGINAL_CONTEXT = 32 };

/* What begins with a dot belongs to a layer. */
static void full_name(char *out, size_t size, const char *part, uint32_t layer)
{
    if (*part == '.')
        snprintf(out, size, "model.layers.%u%s", layer, part);
    else
        snprintf(out, size, "%s", part);
}

static uint32_t add(struct tiny_tensor *list, uint32_t n, uint32_t rows, uint32_t columns, const char *part,
                    uint32_t layer)
{
    full_name(list[n].name, sizeof list[n].name, part, layer);
    list[n].rows = rows;
    list[n].columns = columns;
    return n + 1;
}

uint32_t tiny_list(const struct tiny_model *m, struct tiny_tensor *t)
{
    const uint32_t q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    uint32_t n = add(t, 0, TINY_VOCABULARY, m->hidden, "model.embed_tokens.weight", 0);
    for (uint32_t l = 0; l < m->layers; l++) {
        n = add(t, n, m->hidden, 0, ".input_layernorm.weight", l);
        n = add(t, n, q, m->hidden, ".self_attn.q_proj.weight", l);
        n = add(t, n, kv, m->hidden, ".self_attn.k_proj.weight", l);
        n = add(t, n, kv, m->hidden, ".self_attn.v_proj.weight", l);
        n = add(t, n, m->hidden, q, ".self_attn.o_proj.weight", l);
        if (m->bias) {
            n = add(t, n, q, 0, ".self_attn.q_proj.bias", l);
            n = add(t, n, kv, 0, ".self_attn.k_proj.bias", l);
            n = add(t, n, kv, 0, ".self_attn.v_proj.bias", l);
        }
        if (m->qk_norm) {
            n = add(t, n, m->head_dim, 0, ".self_attn.q_norm.weight", l);
            n = add(t, n, m->head_dim, 0, ".self_attn.k_norm.weight", l);
        }
        n = add(t, n, m->hidden, 0, ".post_attention_layernorm.weight", l);
        n = add(t, n, m->intermediate, m->hidden, ".mlp.gate_proj.weight", l);
        n = add(t, n, m->intermediate, m->hidden, ".mlp.up_proj.weight", l);
        n = add(t, n, m->hidden, m->intermediate, ".mlp.down_proj.weight", l);
    }
    n = add(t, n, m->hidden, 0, "model.norm.weight", 0);
    return m->tied ? n : add(t, n, TINY_VOCABULARY, m->hidden, "lm_head.weight", 0);
}

/* Multiples of 1/256 below a half, which FP16 holds exactly; norms lie around 1. The name is the seed. */
float *tiny_values(const char *name, uint64_t count)
{
    float *v = malloc(count * sizeof *v);
    uint64_t state = 1469598103934665603u;
    const bool norm = strstr(name, "norm.weight");
    for (const char *c = name; *c; c++)
        state = (state ^ (unsigned char)*c) * 1099511628211u;
    for (uint64_t i = 0; v && i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        const int k = (int)(state >> 40) % 127 - 63;
        v[i] = norm ? 1.0f + (float)k / 256 : (float)k / 256;
    }
    return v;
}

static void write_config(const struct tiny_model *m, FILE *out)
{
    fprintf(out,
            "{\"model_type\": \"%s\", \"hidden_act\": \"silu\", \"num_hidden_layers\": %u, \"hidden_size\": %u, "
            "\"intermediate_size\": %u, \"vocab_size\": %d, \"num_attention_heads\": %u, "
            "\"num_key_value_heads\": %u, \"head_dim\": %u, \"max_position_embeddings\": %d, \"rms_norm_eps\": %g, "
            "\"rope_theta\": %g, \"tie_word_embeddings\": %s, \"bos_token_id\": 1, \"eos_token_id\": 2",
            m->architecture, m->layers, m->hidden, m->intermediate, TINY_VOCABULARY, m->heads, m->kv_heads,
            m->head_dim, TINY_CONTEXT, epsilon, theta, m->tied ? "true" : "false");
    if (m->rope)
        fprintf(out, ", \"rope_scaling\": {\"rope_type\": \"%s\", \"factor\": %g", m->rope, rope_factor);
    if (m->rope && !strcmp(m->rope, "llama3"))
        fprintf(out, ", \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0");
    if (m->rope && strcmp(m->rope, "linear"))
        fprintf(out, ", \"original_max_position_embeddings\": %d", ORIGINAL_CONTEXT);
    fprintf(out, "%s}\n", m->rope ? "}" : "");
}

static bool is_named(const char *fault, const struct tiny_tensor *t)
{
    return fault && !strcmp(fault, t->name);
}

static void write_tensors(const struct tiny_tensor *t, uint32_t count, const struct tiny_faults *faults, FILE *out)
{
    char *header = NULL;
    size_t size = 0;
    uint64_t offset = 0;
    FILE *text = open_memstream(&header, &size);
    fputc('{', text);
    for (uint32_t i = 0; i < count; i++) {
        if (is_named(faults->missing, &t[i]))
            continue;
        const uint64_t columns = (t[i].columns ? t[i].columns : 1) + is_named(faults->wide, &t[i]);
        const uint64_t bytes = t[i].rows * columns * 4;
        fprintf(text, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%u", offset ? "," : "", t[i].name, t[i].rows);
        if (columns > 1)
            fprintf(text, ",%llu", (unsigned long long)columns);
        fprintf(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset,
                (unsigned long long)(offset + bytes));
        offset += bytes;
    }
    fputc('}', text);
    fclose(text);
    const uint64_t length = size;
    fwrite(&length, 8, 1, out);
    fwrite(header, 1, size, out);
    free(header);
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t columns = (t[i].columns ? t[i].columns : 1) + is_named(faults->wide, &t[i]);
        float *v = tiny_values(t[i].name, t[i].rows * columns);
        if (v && is_named(faults->broken, &t[i]))
            v[t[i].columns] = INFINITY;
        if (v && !is_named(faults->missing, &t[i]))
            fwrite(v, 4, t[i].rows * columns, out);
        free(v);
    }
}

static FILE *create(const char *directory, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return fopen(path, "wb");
}

bool tiny_write(const struct tiny_model *m, const struct tiny_faults *faults, const char *directory)
{
    static const struct tiny_faults none = {NULL, NULL, NULL};
    mkdir(directory, 0700);
    if (m->stored) {
        char path[512];
        snprintf(path, sizeof path, "%s/model.gguf", directory);
        return tiny_write_gguf(m, path);
    }
    struct tiny_tensor *t = calloc(16 * m->layers + 4, sizeof *t);
    FILE *config = create(directory, "config.json"), *data = create(directory, "model.safetensors");
    bool good = t && config && data;
    if (good) {
        write_config(m, config);
        write_tensors(t, tiny_list(m, t), faults ? faults : &none, data);
    }
    if (config)
        good = fclose(config) == 0 && good;
    if (data)
        good = fclose(data) == 0 && good;
    free(t);
    return good;
}

void tiny_remove(const char *directory)
{
    static const char *const names[] = {"config.json", "model.safetensors", "model.gguf"};
    for (int i = 0; i < 3; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

/* ---- In double ---- */

struct run {
    const struct tiny_model *m;
    const struct woq_format *quantize;
    uint32_t count;
    bool failed;
};

/* A tensor as the model must see it: rounded to the type in the file and to the format, if any. */
static float *load(struct run *r, const char *part, uint32_t layer, uint64_t rows, uint64_t columns, bool linear)
{
    char name[96];
    full_name(name, sizeof name, part, layer);
    float *v = tiny_values(name, rows * columns);
    if (v && r->m->stored)
        tiny_round(tiny_type(r->m, name), v, rows * columns, NULL);
    if (v && linear && r->quantize) {
        struct woq_weights_source s;
        if (woq_quantize_rtn(r->quantize, rows, columns, v, &s)) {
            r->failed = true;
            return v;
        }
        for (uint64_t i = 0; i < rows; i++)
            woq_format_decode_row(&s.format, rows, columns, s.codes, s.row_stride, s.scales, s.zeros, s.g_idx, i,
                                  v + i * columns);
        woq_source_release(&s);
    }
    r->failed = r->failed || !v;
    return v;
}

/* y[count][rows] (+)= x[count][columns]·wᵀ + bias */
static void multiply(struct run *r, const double *x, const char *part, uint32_t layer, uint32_t rows,
                     uint32_t columns, bool add_to, double *y)
{
    char bias_name[64];
    float *w = load(r, part, layer, rows, columns, *part == '.'), *bias = NULL;
    const size_t stem = strlen(part) - strlen("weight");
    snprintf(bias_name, sizeof bias_name, "%.*sbias", (int)stem, part);
    if (r->m->bias && strstr(part, "self_attn") && !strstr(part, "o_proj"))
        bias = load(r, bias_name, layer, rows, 1, false);
    for (uint32_t t = 0; w && t < r->count; t++)
        for (uint32_t n = 0; n < rows; n++) {
            double sum = bias ? bias[n] : 0;
            for (uint32_t k = 0; k < columns; k++)
                sum += x[t * columns + k] * w[(size_t)n * columns + k];
            y[t * rows + n] = add_to ? y[t * rows + n] + sum : sum;
        }
    free(w);
    free(bias);
}

static void normalize(struct run *r, const double *x, const char *part, uint32_t layer, uint32_t width,
                      uint32_t rows, double *y)
{
    float *w = load(r, part, layer, width, 1, false);
    for (uint32_t t = 0; w && t < rows; t++) {
        double sum = 0;
        for (uint32_t i = 0; i < width; i++)
            sum += x[t * width + i] * x[t * width + i];
        for (uint32_t i = 0; i < width; i++)
            y[t * width + i] = x[t * width + i] / sqrt(sum / width + epsilon) * w[i];
    }
    free(w);
}

/* The number of the frequency with so many turns in the original context, for YaRN. */
static double turning(uint32_t dim, double turns)
{
    return dim * log(ORIGINAL_CONTEXT / (turns * 2 * pi)) / (2 * log(theta));
}

static double frequency(const struct tiny_model *m, uint32_t i, double *length)
{
    const double f = 1 / pow(theta, 2.0 * i / m->head_dim), wave = 2 * pi / f;
    *length = 1;
    if (!m->rope)
        return f;
    if (!strcmp(m->rope, "linear"))
        return f / rope_factor;
    if (!strcmp(m->rope, "llama3")) {
        if (wave > ORIGINAL_CONTEXT / 1.0)
            return f / rope_factor;
        if (wave < ORIGINAL_CONTEXT / 4.0)
            return f;
        const double smooth = (ORIGINAL_CONTEXT / wave - 1) / (4.0 - 1);
        return (1 - smooth) * f / rope_factor + smooth * f;
    }
    const double low = fmax(floor(turning(m->head_dim, 32)), 0);
    const double high = fmin(ceil(turning(m->head_dim, 1)), m->head_dim - 1);
    const double kept = 1 - fmin(fmax((i - low) / (high - low), 0), 1);
    *length = 0.1 * log(rope_factor) + 1;
    return f / rope_factor * (1 - kept) + f * kept;
}

static void rotate(const struct run *r, double *x, uint32_t heads)
{
    const uint32_t dim = r->m->head_dim, half = dim / 2;
    for (uint32_t t = 0; t < r->count; t++)
        for (uint32_t h = 0; h < heads; h++)
            for (uint32_t i = 0; i < half; i++) {
                double *v = x + ((size_t)t * heads + h) * dim, length;
                const double angle = t * frequency(r->m, i, &length);
                const double a = v[i], b = v[i + half];
                v[i] = length * (a * cos(angle) - b * sin(angle));
                v[i + half] = length * (b * cos(angle) + a * sin(angle));
            }
}

static void attend(const struct run *r, const double *q, const double *k, const double *v, double *out)
{
    const struct tiny_model *m = r->m;
    const uint32_t dim = m->head_dim, group = m->heads / m->kv_heads;
    double p[TINY_CONTEXT];
    for (uint32_t t = 0; t < r->count; t++)
        for (uint32_t h = 0; h < m->heads; h++) {
            double top = -INFINITY, sum = 0, *o = out + ((size_t)t * m->heads + h) * dim;
            for (uint32_t j = 0; j <= t; j++) {
                p[j] = 0;
                for (uint32_t d = 0; d < dim; d++)
                    p[j] += q[((size_t)t * m->heads + h) * dim + d] *
                            k[((size_t)j * m->kv_heads + h / group) * dim + d] / sqrt(dim);
                top = fmax(top, p[j]);
            }
            for (uint32_t j = 0; j <= t; j++)
                sum += p[j] = exp(p[j] - top);
            for (uint32_t d = 0; d < dim; d++) {
                o[d] = 0;
                for (uint32_t j = 0; j <= t; j++)
                    o[d] += p[j] / sum * v[((size_t)j * m->kv_heads + h / group) * dim + d];
            }
        }
}

struct buffers {
    double *h, *x, *q, *k, *v, *a, *g, *u;
};

static void run_layer(struct run *r, uint32_t l, const struct buffers *b)
{
    const struct tiny_model *m = r->m;
    const uint32_t q = m->heads * m->head_dim, kv = m->kv_heads * m->head_dim;
    normalize(r, b->h, ".input_layernorm.weight", l, m->hidden, r->count, b->x);
    multiply(r, b->x, ".self_attn.q_proj.weight", l, q, m->hidden, false, b->q);
    multiply(r, b->x, ".self_attn.k_proj.weight", l, kv, m->hidden, false, b->k);
    multiply(r, b->x, ".self_attn.v_proj.weight", l, kv, m->hidden, false, b->v);
    if (m->qk_norm) {
        normalize(r, b->q, ".self_attn.q_norm.weight", l, m->head_dim, r->count * m->heads, b->q);
        normalize(r, b->k, ".self_attn.k_norm.weight", l, m->head_dim, r->count * m->kv_heads, b->k);
    }
    rotate(r, b->q, m->heads);
    rotate(r, b->k, m->kv_heads);
    attend(r, b->q, b->k, b->v, b->a);
    multiply(r, b->a, ".self_attn.o_proj.weight", l, m->hidden, q, true, b->h);
    normalize(r, b->h, ".post_attention_layernorm.weight", l, m->hidden, r->count, b->x);
    multiply(r, b->x, ".mlp.gate_proj.weight", l, m->intermediate, m->hidden, false, b->g);
    multiply(r, b->x, ".mlp.up_proj.weight", l, m->intermediate, m->hidden, false, b->u);
    for (size_t i = 0; i < (size_t)r->count * m->intermediate; i++)
        b->g[i] = b->g[i] / (1 + exp(-b->g[i])) * b->u[i];
    multiply(r, b->g, ".mlp.down_proj.weight", l, m->hidden, m->intermediate, true, b->h);
}

bool tiny_logits(const struct tiny_model *m, const struct woq_format *quantize, const int32_t *tokens,
                 uint32_t count, double *logits)
{
    struct run r = {m, quantize, count, false};
    const uint32_t q = m->heads * m->head_dim;
    const size_t width = m->hidden > m->intermediate ? m->hidden : m->intermediate;
    const size_t most = (width > q ? width : q) * count;
    double *memory = calloc(8 * most, sizeof *memory);
    const struct buffers b = {memory,            memory + most,     memory + 2 * most, memory + 3 * most,
                              memory + 4 * most, memory + 5 * most, memory + 6 * most, memory + 7 * most};
    float *embeddings = load(&r, "model.embed_tokens.weight", 0, TINY_VOCABULARY, m->hidden, false);
    if (!memory || !embeddings) {
        free(memory);
        free(embeddings);
        return false;
    }
    for (uint32_t t = 0; t < count; t++)
        for (uint32_t i = 0; i < m->hidden; i++)
            b.h[t * m->hidden + i] = embeddings[(size_t)tokens[t] * m->hidden + i];
    for (uint32_t l = 0; l < m->layers; l++)
        run_layer(&r, l, &b);
    normalize(&r, b.h, "model.norm.weight", 0, m->hidden, count, b.x);
    multiply(&r, b.x, m->tied ? "model.embed_tokens.weight" : "lm_head.weight", 0, TINY_VOCABULARY, m->hidden,
             false, logits);
    free(embeddings);
    free(memory);
    return !r.failed;
}
