/* quantize_model.h: a small model in a temporary folder, and what tests of quantization ask of directories. */
#ifndef TEST_QUANTIZE_MODEL_H
#define TEST_QUANTIZE_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quantize/quantizer.h"
#include "support/folder.h"
#include "support/make_format.h"

enum { HIDDEN = 64, INNER = 96, WORDS = 40 };

/* Multiples of 2^-8 in −2 … 2: exact in binary16, mostly rounded in bfloat16. */
static inline float weight(uint64_t seed, uint64_t i)
{
    uint64_t x = (seed * 1000003 + i + 1) * 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    return (float)((int)(x * 0xbf58476d1ce4e5b9u >> 54) - 512) / 256.0f;
}

/* ---- A model of one layer ---- */

static inline float rounded(enum woq_type type, float v)
{
    return type == WOQ_F16    ? woq_f16_to_f32(woq_f32_to_f16(v))
           : type == WOQ_BF16 ? woq_bf16_to_f32(woq_f32_to_bf16(v))
                              : v;
}

static const char config[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 64, "
    "\"intermediate_size\": 96, \"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
    "\"vocab_size\": 40, \"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-05, \"tie_word_embeddings\": true, "
    "\"torch_dtype\": \"bfloat16\"}";

#define LAYER "model.layers.0."
static const struct {
    const char *name;
    uint32_t rank;
    uint64_t n, k;
} tensors[] = {{"model.embed_tokens.weight", 2, WORDS, HIDDEN},
               {LAYER "self_attn.q_proj.weight", 2, HIDDEN, HIDDEN},
               {LAYER "self_attn.k_proj.weight", 2, HIDDEN / 2, HIDDEN},
               {LAYER "self_attn.v_proj.weight", 2, HIDDEN / 2, HIDDEN},
               {LAYER "self_attn.o_proj.weight", 2, HIDDEN, HIDDEN},
               {LAYER "mlp.gate_proj.weight", 2, INNER, HIDDEN},
               {LAYER "mlp.up_proj.weight", 2, INNER, HIDDEN},
               {LAYER "mlp.down_proj.weight", 2, HIDDEN, INNER},
               {LAYER "input_layernorm.weight", 1, 1, HIDDEN},
               {LAYER "post_attention_layernorm.weight", 1, 1, HIDDEN},
               {"model.norm.weight", 1, 1, HIDDEN}};
enum { TENSORS = sizeof tensors / sizeof *tensors };

/* Writes root/name; element `bad` of tensor `bad_tensor` is a NaN. */
static inline void write_model(const char *name, int bad_tensor, uint64_t bad)
{
    struct woqi_atomic_dir dir;
    struct woqi_st_writer writer = {0};
    size_t index;
    assert_int_equal(woqi_atomic_dir_begin(&dir, in_root(name), NULL, false), WOQ_OK);
    for (int i = 0; i < TENSORS; i++) {
        const uint64_t matrix[] = {tensors[i].n, tensors[i].k}, *shape = tensors[i].rank == 2 ? matrix : matrix + 1;
        assert_int_equal(
            woqi_st_add(&writer, tensors[i].name, "", WOQI_ST_F32, tensors[i].rank, shape, true, &index), WOQ_OK);
    }
    assert_int_equal(woqi_st_open(&writer, &dir, UINT64_MAX), WOQ_OK);
    for (int i = 0; i < TENSORS; i++)
        for (uint64_t e = 0; e < tensors[i].n * tensors[i].k; e++) {
            float v = i == bad_tensor && e == bad ? NAN : weight((uint64_t)i, e);
            assert_int_equal(woqi_st_write(&writer, (size_t)i, 4 * e, &v, 4), WOQ_OK);
        }
    assert_int_equal(woqi_st_close(&writer), WOQ_OK);
    woqi_st_free(&writer);
    int fd = woqi_atomic_dir_create(&dir, "config.json");
    assert_true(fd >= 0);
    assert_int_equal(woqi_atomic_dir_write(&dir, "config.json", fd, config, sizeof config - 1, 0), WOQ_OK);
    assert_int_equal(woqi_atomic_dir_finish(&dir, "config.json", fd), WOQ_OK);
    assert_int_equal(woqi_atomic_dir_commit(&dir), WOQ_OK);
    woqi_atomic_dir_end(&dir);
}

static inline struct woq_checkpoint *open_model(const char *name)
{
    struct woq_checkpoint *c = NULL;
    if (woq_checkpoint_open(in_root(name), NULL, &c))
        fail_msg("%s", woq_last_message());
    return c;
}

static inline struct woq_quantize_params with(uint32_t bits, uint64_t group)
{
    struct woq_quantize_params p = WOQ_QUANTIZE_PARAMS_INIT;
    p.bits = bits;
    p.group = group;
    return p;
}

/* One layer of `out` against woq_quantize_rtn of the source. */
static inline void check_packed(const struct woq_checkpoint *out, int source, uint32_t bits, uint64_t group,
                                bool symmetric)
{
    const char *name = tensors[source].name;
    const uint64_t n = tensors[source].n, k = tensors[source].k;
    float *w = malloc(n * k * sizeof *w), made[INNER], wanted[INNER];
    char stem[128];
    for (uint64_t i = 0; i < n * k; i++)
        w[i] = weight((uint64_t)source, i);
    struct woq_format f = make_format(bits == 4 ? WOQ_CODE_U4 : WOQ_CODE_U8, symmetric ? WOQ_ZERO_SYMMETRIC : WOQ_ZERO_POINT,
                               WOQ_BF16, group);
    struct woq_weights_source a, b;
    assert_int_equal(woq_quantize_rtn(&f, n, k, w, &a), WOQ_OK);
    snprintf(stem, sizeof stem, "%.*s", (int)(strlen(name) - strlen(".weight")), name);
    if (woq_checkpoint_packed_source(out, stem, &b))
        fail_msg("%s", woq_last_message());
    for (uint64_t r = 0; r < n; r++) {
        assert_int_equal(woq_format_decode_row(&a.format, n, k, a.codes, a.row_stride, a.scales, a.zeros, a.g_idx, r,
                                               wanted), WOQ_OK);
        assert_int_equal(woq_format_decode_row(&b.format, n, k, b.codes, b.row_stride, b.scales, b.zeros, b.g_idx, r,
                                               made), WOQ_OK);
        assert_memory_equal(made, wanted, k * sizeof *made);
    }
    woq_source_release(&a);
    woq_source_release(&b);
    free(w);
}

/* Group fixtures: the folder, with the model in it. */
static inline int begin(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    omp_set_num_threads(1); /* libgomp's barriers are not known to the sanitizer */
#endif
    if (!mkdtemp(root))
        return -1;
    write_model("model", -1, 0);
    return 0;
}

static inline int end(void **state)
{
    (void)state;
    delete("");
    return 0;
}

#endif
