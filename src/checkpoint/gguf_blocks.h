/* gguf_blocks.h: one block of a GGUF type, taken apart. */
#ifndef WOQI_GGUF_BLOCKS_H
#define WOQI_GGUF_BLOCKS_H

#include "checkpoint/checkpoint_impl.h"

/* How a type looks as weights (woq/format.h). */
struct woqi_ckpt_form {
    enum woq_code code;
    enum woq_zero zero;
    enum woq_type scale;
    uint32_t group;
    int zero_point; /* what is subtracted from a code; of SYMMETRIC and ZERO_POINT */
};
/* NULL for types without blocks. */
const struct woqi_ckpt_form *woqi_ckpt_block_form(enum woq_tensor_type type);

struct woqi_ckpt_block {
    uint8_t codes[256];               /* unsigned, element by element */
    float scale[16], offset[16];      /* of each group; offset is meaningful for ZERO_OFFSET only */
    unsigned scale_bits, offset_bits; /* as stored, for types whose scale is WOQ_F16 */
};
void woqi_ckpt_unpack_block(enum woq_tensor_type type, const uint8_t *block,
                            struct woqi_ckpt_block *out);

#endif
