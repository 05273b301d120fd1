/* tiny_gguf.c: small models as GGUF files, and values rounded to their blocks; no code of the reader's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/format.h>

#include "file_bytes.h"
#include "tiny_model.h"

static uint64_t block_elements(uint32_t type)
{
    return type == TINY_F32 ? 1 : type == TINY_Q4_K || type == TINY_Q6_K ? 256 : 32;
}

static uint64_t block_bytes(uint32_t type)
{
    switch (type) {
    case TINY_Q4_0:
        return 18;
    case TINY_Q4_1:
        return 20;
    case TINY_Q8_0:
        return 34;
    case TINY_Q4_K:
        return 144;
    case TINY_Q6_K:
        return 210;
    default:
        return 4;
    }
}

/* ---- Rounding. Scales are such that every value is a number of FP16. ---- */

static void put_half(uint8_t *to, float value)
{
    const uint16_t bits = woq_f32_to_f16(value);
    to[0] = (uint8_t)bits;
    to[1] = (uint8_t)(bits >> 8);
}

/* The code, low … high, of which scale·code + offset is nearest to *v; that becomes *v. */
static int nearest(float *v, float scale, float offset, int low, int high)
{
    const int code = (int)rintf((*v - offset) / scale);
    const int kept = code < low ? low : code > high ? high : code;
    *v = scale * (float)kept + offset;
    return kept;
}

/* Element i < 16 is the low nibble of byte i, element i + 16 the high one. */
static void round_32(uint32_t type, unsigned number, float *v, uint8_t *block)
{
    const float scale = type == TINY_Q8_0 ? 1.0f / 256 : number % 2 ? 1.0f / 32 : 1.0f / 64;
    const float offset = -249.0f / 1024;
    put_half(block, scale);
    if (type == TINY_Q4_1)
        put_half(block + 2, offset);
    for (unsigned i = 0; i < 32; i++) {
        uint8_t *nibbles = block + (type == TINY_Q4_1 ? 4 : 2) + i % 16;
        if (type == TINY_Q8_0)
            block[2 + i] = (uint8_t)nearest(&v[i], scale, 0, -127, 127);
        else if (type == TINY_Q4_1)
            *nibbles |= (uint8_t)(nearest(&v[i], scale, offset, 0, 15) << i / 16 * 4);
        else
            *nibbles |= (uint8_t)((nearest(&v[i], scale, 0, -8, 7) + 8) << i / 16 * 4);
    }
}

/* Sub-blocks of 32; of the 6-bit scales and minima of the last four, the upper two bits lie above the first's. */
static void round_q4_k(float *v, uint8_t *block)
{
    put_half(block, 1.0f / 1024);
    put_half(block + 2, 1.0f / 256);
    for (unsigned i = 0; i < 256; i++) {
        const unsigned sub = i / 32, scale = 16 + sub, least = 30 + sub;
        block[16 + sub / 2 * 32 + i % 32] |=
            (uint8_t)(nearest(&v[i], (float)scale / 1024, -(float)least / 256, 0, 15) << sub % 2 * 4);
        if (i % 32)
            continue;
        if (sub < 4) {
            block[4 + sub] = (uint8_t)scale;
            block[8 + sub] = (uint8_t)least;
        } else {
            block[8 + sub] = (uint8_t)((scale & 15) | (least & 15) << 4);
            block[sub] |= (uint8_t)(scale >> 4 << 6);
            block[4 + sub] |= (uint8_t)(least >> 4 << 6);
        }
    }
}

/* Halves of 128 of four quarters: nibbles low, low, high, high; the pairs of upper bits in turn. */
static void round_q6_k(float *v, uint8_t *block)
{
    for (unsigned i = 0; i < 256; i++) {
        const int scale = (i / 16 % 2 ? -4 : 4) - (int)(i / 16 % 5);
        const unsigned half = i / 128, quarter = i / 32 % 4;
        const unsigned code = (unsigned)(nearest(&v[i], (float)scale / 1024, 0, -32, 31) + 32);
        block[64 * half + 32 * (quarter % 2) + i % 32] |= (uint8_t)((code & 15) << quarter / 2 * 4);
        block[128 + 32 * half + i % 32] |= (uint8_t)(code >> 4 << 2 * quarter);
        block[192 + i / 16] = (uint8_t)scale;
    }
    put_half(block + 208, 1.0f / 1024);
}

void tiny_round(uint32_t type, float *v, uint64_t count, uint8_t *blocks)
{
    const uint64_t elements = block_elements(type), bytes = block_bytes(type);
    if (type == TINY_F32) {
        if (blocks)
            memcpy(blocks, v, count * sizeof *v);
        return;
    }
    for (uint64_t i = 0; i < count / elements; i++, v += elements) {
        uint8_t block[256] = {0};
        if (type == TINY_Q4_K)
            round_q4_k(v, block);
        else if (type == TINY_Q6_K)
            round_q6_k(v, block);
        else
            round_32(type, (unsigned)i, v, block);
        if (blocks)
            memcpy(blocks + i * bytes, block, bytes);
    }
}

/* ---- The file ---- */

uint32_t tiny_type(const struct tiny_model *m, const char *name)
{
    for (const struct tiny_stored *s = m->stored; s->ending; s++) {
        const size_t all = strlen(name), size = strlen(s->ending);
        if (size <= all && !strcmp(name + all - size, s->ending))
            return s->type;
    }
    return TINY_F32;
}

/* "model.layers.1.mlp.up_proj.weight" is "blk.1.ffn_up.weight". */
static void gguf_name(const char *name, char *out, size_t size)
{
    static const char *const parts[][2] = {
        {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
        {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
        {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
        {"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
        {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
        {"mlp.down_proj", "ffn_down"},       {"model.embed_tokens", "token_embd"},
        {"model.norm", "output_norm"},       {"lm_head", "output"}};
    const char *layer = strstr(name, "layers."), *dot = strrchr(name, '.');
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!strstr(name, parts[i][0]))
            continue;
        if (layer)
            snprintf(out, size, "blk.%d.%s%s", atoi(layer + 7), parts[i][1], dot);
        else
            snprintf(out, size, "%s%s", parts[i][1], dot);
        return;
    }
}

static void put_key(struct file_bytes *f, const struct tiny_model *m, const char *key, uint32_t value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", m->architecture, key);
    gguf_uint(f, name, value);
}

static void put_metadata(struct file_bytes *f, const struct tiny_model *m, uint32_t tensors)
{
    char name[64];
    gguf_begin(f, 3, tensors, 10);
    gguf_text(f, "general.architecture", m->architecture);
    put_key(f, m, "block_count", m->layers);
    put_key(f, m, "embedding_length", m->hidden);
    put_key(f, m, "feed_forward_length", m->intermediate);
    put_key(f, m, "context_length", TINY_CONTEXT);
    put_key(f, m, "attention.head_count", m->heads);
    put_key(f, m, "attention.head_count_kv", m->kv_heads);
    put_key(f, m, "attention.key_length", m->head_dim);
    put_key(f, m, "attention.value_length", m->head_dim);
    snprintf(name, sizeof name, "%s.attention.layer_norm_rms_epsilon", m->architecture);
    gguf_float(f, name, 1e-5f);
}

static uint64_t tensor_bytes(const struct tiny_model *m, const struct tiny_tensor *t)
{
    const uint32_t type = tiny_type(m, t->name);
    return (uint64_t)t->rows * (t->columns ? t->columns : 1) / block_elements(type) * block_bytes(type);
}

/* Llama's rotary pairs lie side by side: of a head of D rows, row 2j + i is the model's row i·D/2 + j. */
static uint32_t model_row(const struct tiny_model *m, const struct tiny_tensor *t, uint32_t row)
{
    const uint32_t dim = m->head_dim, in_head = row % dim;
    if (strcmp(m->architecture, "llama") || !t->columns ||
        (!strstr(t->name, "q_proj") && !strstr(t->name, "k_proj")))
        return row;
    return row - in_head + in_head % 2 * (dim / 2) + in_head / 2;
}

static bool put_tensor(const struct tiny_model *m, const struct tiny_tensor *t, FILE *out)
{
    static const uint8_t padding[32];
    const uint64_t bytes = tensor_bytes(m, t), row_bytes = bytes / t->rows;
    float *v = tiny_values(t->name, (uint64_t)t->rows * (t->columns ? t->columns : 1));
    uint8_t *blocks = malloc(bytes);
    const bool good = v && blocks;
    if (good) {
        tiny_round(tiny_type(m, t->name), v, (uint64_t)t->rows * (t->columns ? t->columns : 1), blocks);
        for (uint32_t row = 0; row < t->rows; row++)
            fwrite(blocks + model_row(m, t, row) * row_bytes, 1, row_bytes, out);
        fwrite(padding, 1, -bytes % 32, out);
    }
    free(v);
    free(blocks);
    return good;
}

bool tiny_write_gguf(const struct tiny_model *m, const char *path)
{
    struct tiny_tensor *t = calloc(16 * m->layers + 4, sizeof *t);
    struct file_bytes *f = malloc(sizeof *f);
    FILE *out = fopen(path, "wb");
    bool good = t && f && out;
    if (good) {
        const uint32_t count = tiny_list(m, t);
        uint64_t offset = 0;
        put_metadata(f, m, count);
        for (uint32_t i = 0; i < count; i++) {
            char name[64];
            gguf_name(t[i].name, name, sizeof name);
            file_put_string(f, name);
            file_put_number(f, t[i].columns ? 2 : 1, 4);
            if (t[i].columns)
                file_put_number(f, t[i].columns, 8);
            file_put_number(f, t[i].rows, 8);
            file_put_number(f, tiny_type(m, t[i].name), 4);
            file_put_number(f, offset, 8);
            offset += (tensor_bytes(m, &t[i]) + 31) / 32 * 32;
        }
        file_pad(f, 32);
        fwrite(f->data, 1, f->size, out);
        for (uint32_t i = 0; i < count; i++)
            good = put_tensor(m, &t[i], out) && good;
    }
    if (out)
        good = fclose(out) == 0 && good;
    free(f);
    free(t);
    return good;
}
