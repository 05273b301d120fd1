/* mma_sums.cuh: kernel mma's sums, and the product that adds to them. */
#ifndef WOQ_MMA_SUMS_CUH
#define WOQ_MMA_SUMS_CUH

#include "mma_block.cuh"

enum woq_math { EXACT, ROUNDED };

/* c + a product of 16 columns. rows: of a strip, g and g+8, in a unit; which: of its two products. */
static __device__ __forceinline__ void multiply_add(float to[4], const woq_u32 rows[2][4], int which, woq_u32 b0,
                                                    woq_u32 b1, const float c[4])
{
#define MULTIPLY_ADD(type)                                                                         \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 {%0, %1, %2, %3}, "           \
        "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"                                        \
        : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3])                                       \
        : "r"(rows[0][2 * which]), "r"(rows[1][2 * which]), "r"(rows[0][2 * which + 1]),           \
          "r"(rows[1][2 * which + 1]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]))
    if (BF16)
        MULTIPLY_ADD("bf16");
    else
        MULTIPLY_ADD("f16");
#undef MULTIPLY_ADD
}

template <int COLUMNS, woq_math MATH> struct sums {
    static const bool SCALED = QUANTIZED && MATH == EXACT; /* sums of a group are scaled, not weights */
    float total[STRIPS][COLUMNS][4];
    float part[SCALED ? STRIPS : 1][SCALED ? COLUMNS : 1][4];

    __device__ __forceinline__ sums()
    {
#pragma unroll
        for (int i = 0; i < STRIPS * COLUMNS * 4; i++)
            total[i / (COLUMNS * 4)][i / 4 % COLUMNS][i % 4] = 0.0f;
    }
};

#endif
