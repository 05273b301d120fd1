/* tensor_types.c: element types of files: names and block sizes. GGUF's numbers are those of its
 * specification. */
#include "checkpoint/checkpoint_impl.h"

/* By GGUF's number; gaps are numbers that were withdrawn. */
static const struct woqi_ckpt_type gguf_types[] = {
    [0] = {"F32", WOQ_TENSOR_F32, 1, 4},           [1] = {"F16", WOQ_TENSOR_F16, 1, 2},
    [2] = {"Q4_0", WOQ_TENSOR_Q4_0, 32, 18},       [3] = {"Q4_1", WOQ_TENSOR_Q4_1, 32, 20},
    [6] = {"Q5_0", WOQ_TENSOR_Q5_0, 32, 22},       [7] = {"Q5_1", WOQ_TENSOR_Q5_1, 32, 24},
    [8] = {"Q8_0", WOQ_TENSOR_Q8_0, 32, 34},       [9] = {"Q8_1", WOQ_TENSOR_OTHER, 32, 36},
    [10] = {"Q2_K", WOQ_TENSOR_OTHER, 256, 84},    [11] = {"Q3_K", WOQ_TENSOR_OTHER, 256, 110},
    [12] = {"Q4_K", WOQ_TENSOR_Q4_K, 256, 144},    [13] = {"Q5_K", WOQ_TENSOR_Q5_K, 256, 176},
    [14] = {"Q6_K", WOQ_TENSOR_Q6_K, 256, 210},    [15] = {"Q8_K", WOQ_TENSOR_OTHER, 256, 292},
    [16] = {"IQ2_XXS", WOQ_TENSOR_OTHER, 256, 66}, [17] = {"IQ2_XS", WOQ_TENSOR_OTHER, 256, 74},
    [18] = {"IQ3_XXS", WOQ_TENSOR_OTHER, 256, 98}, [19] = {"IQ1_S", WOQ_TENSOR_OTHER, 256, 50},
    [20] = {"IQ4_NL", WOQ_TENSOR_OTHER, 32, 18},   [21] = {"IQ3_S", WOQ_TENSOR_OTHER, 256, 110},
    [22] = {"IQ2_S", WOQ_TENSOR_OTHER, 256, 82},   [23] = {"IQ4_XS", WOQ_TENSOR_OTHER, 256, 136},
    [24] = {"I8", WOQ_TENSOR_OTHER, 1, 1},         [25] = {"I16", WOQ_TENSOR_OTHER, 1, 2},
    [26] = {"I32", WOQ_TENSOR_I32, 1, 4},          [27] = {"I64", WOQ_TENSOR_I64, 1, 8},
    [28] = {"F64", WOQ_TENSOR_OTHER, 1, 8},        [29] = {"IQ1_M", WOQ_TENSOR_OTHER, 256, 56},
    [30] = {"BF16", WOQ_TENSOR_BF16, 1, 2},        [34] = {"TQ1_0", WOQ_TENSOR_OTHER, 256, 54},
    [35] = {"TQ2_0", WOQ_TENSOR_OTHER, 256, 66},   [39] = {"MXFP4", WOQ_TENSOR_OTHER, 32, 17},
};
enum { GGUF_TYPES = sizeof gguf_types / sizeof *gguf_types };

static const struct woqi_ckpt_type types[] = {
    [WOQ_TENSOR_F32] = {"F32", WOQ_TENSOR_F32, 1, 4},
    [WOQ_TENSOR_F16] = {"F16", WOQ_TENSOR_F16, 1, 2},
    [WOQ_TENSOR_BF16] = {"BF16", WOQ_TENSOR_BF16, 1, 2},
    [WOQ_TENSOR_Q4_0] = {"Q4_0", WOQ_TENSOR_Q4_0, 32, 18},
    [WOQ_TENSOR_Q4_1] = {"Q4_1", WOQ_TENSOR_Q4_1, 32, 20},
    [WOQ_TENSOR_Q5_0] = {"Q5_0", WOQ_TENSOR_Q5_0, 32, 22},
    [WOQ_TENSOR_Q5_1] = {"Q5_1", WOQ_TENSOR_Q5_1, 32, 24},
    [WOQ_TENSOR_Q8_0] = {"Q8_0", WOQ_TENSOR_Q8_0, 32, 34},
    [WOQ_TENSOR_Q4_K] = {"Q4_K", WOQ_TENSOR_Q4_K, 256, 144},
    [WOQ_TENSOR_Q5_K] = {"Q5_K", WOQ_TENSOR_Q5_K, 256, 176},
    [WOQ_TENSOR_Q6_K] = {"Q6_K", WOQ_TENSOR_Q6_K, 256, 210},
    [WOQ_TENSOR_I32] = {"I32", WOQ_TENSOR_I32, 1, 4},
    [WOQ_TENSOR_I64] = {"I64", WOQ_TENSOR_I64, 1, 8},
    [WOQ_TENSOR_U8] = {"U8", WOQ_TENSOR_U8, 1, 1},
    [WOQ_TENSOR_OTHER] = {"other", WOQ_TENSOR_OTHER, 0, 0},
};
enum { TYPES = sizeof types / sizeof *types };

const struct woqi_ckpt_type *woqi_ckpt_gguf_type(uint32_t number)
{
    return number < GGUF_TYPES && gguf_types[number].block ? &gguf_types[number] : NULL;
}

const char *woq_tensor_type_name(enum woq_tensor_type type)
{
    return (unsigned)type < TYPES && types[type].name ? types[type].name : "other";
}

uint32_t woq_tensor_block_elements(enum woq_tensor_type type)
{
    return (unsigned)type < TYPES ? types[type].block : 0;
}

uint32_t woq_tensor_block_bytes(enum woq_tensor_type type)
{
    return (unsigned)type < TYPES ? types[type].bytes : 0;
}
