#version 450
/*
 * nv2.comp: VK_NV_cooperative_matrix2: Yᵀ = W · Xᵀ by matrices as large as what a scope has to compute.
 *
 * Work-group (i, j): rows i·ROWS_W … of the weights for the rows j·ROWS_X … of X.
 *
 *     A  rows of the weights        rows × DEPTH
 *     B  rows of X, as columns      DEPTH × rows
 *     C  sums [row of W][row of X]
 *
 * Macro WORKGROUP 1: all of it is one product of matrices in the scope of the work-group. Both operands come by
 * tensor addressing, weights through a function that decodes an element (decode_weights.glsl); how they get to the
 * matrix units is the driver's to arrange. Strips beyond the tile of the weights are 0.
 *
 * WORKGROUP 0: SUBGROUPS_N × SUBGROUPS_M subgroups divide it, each has one product. Weights go through shared memory
 * (stage_weights.glsl), DEPTH columns at a time, one tile while the other one is multiplied: one barrier for each.
 * Codes and scales are loaded a block of 64 columns ahead. X comes as rows of memory.
 *
 * X is what kernel xhalf makes of it: aligned rows with zeros up to a whole block of 64 columns, and memory
 * behind them up to ROWS_X rows, whose sums are not stored.
 *
 * Sums reach the epilogue through shared memory, SLICE rows of X at a time: a function of each element keeps
 * those of the slice. Neighbours then store neighbours.
 *
 *     buffer b, row r of W    (b·ROWS_W + r)·ROW + piece of 8 columns, in vectors of 16 bytes; WORKGROUP 0
 *     later the sums          (row of X in the slice)·SUM_ROW + row of W, in FP32
 *
 * Macro CODE_BITS: 4, 8, or 16 for FP16 weights. Specialization constants: woqi_nv2_block of blocks.h, and the
 * format's.
 *
 * Needs: VK_NV_cooperative_matrix2 with flexible dimensions and operations on elements, WORKGROUP 1 also with the
 * scope of a work-group, tensor addressing and loads of blocks, and bufferDeviceAddress, as a decoding function gets a
 * pointer; maintenance4; shaderFloat16 with shaderRoundingModeRTEFloat16, storageBuffer16BitAccess.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_EXT_spirv_intrinsics : require
#ifndef WORKGROUP
#define WORKGROUP 0
#endif
#if WORKGROUP
#extension GL_EXT_buffer_reference : require
#endif
#define UNROLL [[unroll]]

/* RoundingModeRTE for 16 bits: conversions and products round to nearest, ties to even. */
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4467], 4462, 16);

layout(constant_id = 1) const uint ROWS_W = 16u;
layout(constant_id = 2) const uint ROWS_X = 16u;
layout(constant_id = 3) const uint SUBGROUPS_N = 1u;
layout(constant_id = 4) const uint SUBGROUPS_M = 1u;
layout(constant_id = 5) const uint GROUPS = 0u;
layout(constant_id = 6) const uint SCALE_TYPE = 2u; /* WOQ_ABI_F16 … */
layout(constant_id = 7) const uint ZERO_KIND = 1u;  /* WOQ_ABI_ZERO_… */

/* Columns that surely share a scale: 64; 8; 1. As woqi_kernel_key.fine. */
const uint GROUPS_BLOCK = 0u, GROUPS_PIECE = 1u, GROUPS_ANY = 2u;
const bool ROUNDED = true;

#define STORAGE16 1
#define SPECIALIZED 1
#include "common.glsl"
#include "dequant.glsl"
#include "epilogue.glsl"

layout(set = 0, binding = WOQ_BIND_X) readonly buffer XVectors { uvec4 x_vectors[]; };

#if WORKGROUP
#define SCOPE gl_ScopeWorkgroup
const uint ROWS_N = ROWS_W, ROWS_M = ROWS_X;
#else
#define SCOPE gl_ScopeSubgroup
const uint ROWS_N = ROWS_W / SUBGROUPS_N, ROWS_M = ROWS_X / SUBGROUPS_M;
#endif

#define MATRIX_A coopmat<float16_t, SCOPE, ROWS_N, DEPTH, gl_MatrixUseA>
#define MATRIX_B coopmat<float16_t, SCOPE, DEPTH, ROWS_M, gl_MatrixUseB>
#define MATRIX_C coopmat<float, SCOPE, ROWS_N, ROWS_M, gl_MatrixUseAccumulator>

const uint THREADS = gl_WorkGroupSize.x;
const uint DEPTH = 32u; /* a unit of FRAG16B */

/* DEPTH columns and 16 bytes, which spread 8 rows over all banks. */
const uint ROW = DEPTH / 8u + 1u;
const uint STAGE = ROWS_W * ROW;
/* Likewise a row of sums and 32 bytes. The driver has work for shared memory that is left to it. */
const uint SUM_ROW = ROWS_W + 8u;
const uint SLICE = 16u;
const uint POOL_SUMS = SLICE * SUM_ROW / 4u, POOL_STAGES = WORKGROUP != 0 ? 0u : 2u * STAGE;
shared uvec4 pool[POOL_STAGES > POOL_SUMS ? POOL_STAGES : POOL_SUMS];

uint thread;

/* First row of this scope's part of the tile, of W and of X. */
uint first_n, first_m;

#if WORKGROUP
#include "decode_weights.glsl"

layout(set = 0, binding = WOQ_BIND_WEIGHTS) readonly buffer Codes { uvec4 w_vectors[]; };

/* All of K with weights of tensor layout `codes`. Strides are multiples that the compiler can see. */
#define ACCUMULATE(codes)                                                                          \
    for (uint block = 0u; block < blocks; block++) {                                               \
        group_now = block * 64u / group_columns;                                                   \
        UNROLL for (uint step = 0u; step < 64u; step += DEPTH) {                                   \
            MATRIX_A a;                                                                            \
            MATRIX_B b;                                                                            \
            coopMatLoadTensorNV(a, w_vectors, args.codes_off >> 4,                                 \
                                sliceTensorLayoutNV(codes, w_row, ROWS_W, block * 64u + step, DEPTH), \
                                decode_weight);                                                    \
            coopMatLoadTensorNV(b, x_vectors, 0u,                                                  \
                                sliceTensorLayoutNV(rows, x_row, ROWS_X, block * 64u + step, DEPTH), turned); \
            sum = coopMatMulAdd(a, b, sum);                                                        \
        }                                                                                          \
    }

MATRIX_C accumulate()
{
    MATRIX_C sum = MATRIX_C(0.0);
    const uint blocks = (args.k + 63u) >> 6, w_row = gl_WorkGroupID.x * ROWS_W, x_row = gl_WorkGroupID.y * ROWS_X;
    const uint group_columns = args.group < args.k ? max(args.group, 1u) : 0x7fffffffu;
    const uint row_blocks = args.codes_stride / BLOCK_BYTES, x_stride = args.x_stride >> 7 << 6;
    group_known = GROUPS == GROUPS_BLOCK;
    tensorLayoutNV<2> rows = createTensorLayoutNV(2);
    rows = setTensorLayoutDimensionNV(rows, gl_NumWorkGroups.y * ROWS_X, x_stride);
    rows = setTensorLayoutStrideNV(rows, x_stride, 1u);
    tensorViewNV<2, false, 1, 0> turned = createTensorViewNV(2, false, 1, 0);
    if (w_row + ROWS_W <= args.scale_stride) {
        tensorLayoutNV<2> codes = createTensorLayoutNV(2);
        codes = setTensorLayoutBlockSizeNV(codes, BLOCK_ROWS, BLOCK_COLUMNS);
        codes = setTensorLayoutDimensionNV(codes, args.scale_stride, row_blocks * 64u);
        codes = setTensorLayoutStrideNV(codes, row_blocks, 1u);
        ACCUMULATE(codes)
    } else {
        tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> codes =
            createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
        codes = setTensorLayoutBlockSizeNV(codes, BLOCK_ROWS, BLOCK_COLUMNS);
        codes = setTensorLayoutDimensionNV(codes, args.scale_stride, row_blocks * 64u);
        codes = setTensorLayoutStrideNV(codes, row_blocks, 1u);
        ACCUMULATE(codes)
    }
    return sum;
}
#else
#include "stage_weights.glsl"

MATRIX_C multiply(uint buffer_at, uint column, MATRIX_C sum)
{
    MATRIX_A a;
    MATRIX_B b;
    const uint row = gl_WorkGroupID.y * ROWS_X + first_m, stride = args.x_stride >> 4;
    coopMatLoad(a, pool, buffer_at + first_n * ROW, ROW, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, x_vectors, row * stride + column / 8u, stride, gl_CooperativeMatrixLayoutColumnMajor);
    return coopMatMulAdd(a, b, sum);
}

/* All blocks, each a round after it was loaded. */
MATRIX_C accumulate()
{
    MATRIX_C sum = MATRIX_C(0.0);
    const uint blocks = (args.k + 63u) >> 6;
    weights_hold(0u);
    for (uint block = 0u; block < blocks; block++) {
        weights_keep();
        weights_hold(min(block + 1u, blocks - 1u));
        [[dont_unroll]] for (uint unit = 0u; unit < 2u; unit++) { /* a large body */
            weights_stage(unit * STAGE, block, unit);
            barrier();
            sum = multiply(unit * STAGE, block * 64u + unit * DEPTH, sum);
        }
    }
    return sum;
}
#endif

/* Keeps an element of this scope's part if its row of X is one of the slice that begins with `first`. */
float keep(const in uint row, const in uint column, const in float element, const in uint first)
{
    const uint in_slice = first_m + column - first;
    if (in_slice < SLICE) {
        const uint at = in_slice * SUM_ROW + first_n + row;
        pool[at >> 2][at & 3u] = floatBitsToUint(element);
    }
    return element;
}

/* One element of Y from the slice. */
void put(uint index, uint first, bool gated)
{
    const uint columns = gated ? ROWS_W / 2u : ROWS_W;
    const uint column = index % columns, row = index / columns;
    const uint y_row = gl_WorkGroupID.y * ROWS_X + first + row, y_column = gl_WorkGroupID.x * columns + column;
    if (y_row >= args.m || y_column >= args.n)
        return;
    const uint at = row * SUM_ROW + (gated ? column + column / 16u * 16u : column);
    float sum = uintBitsToFloat(pool[at >> 2][at & 3u]);
    float up = gated ? uintBitsToFloat(pool[(at >> 2) + 4u][at & 3u]) : 0.0;
    if (args.row_scales_off != 0u) {
        const float scale = uintBitsToFloat(x_vectors[(args.row_scales_off >> 4) + y_row / 4u][y_row & 3u]);
        sum *= scale;
        up *= scale;
    }
    epilogue(y_row, y_column, sum, up);
}

void main()
{
    thread = gl_LocalInvocationIndex;
    first_n = WORKGROUP != 0 ? 0u : gl_SubgroupID % SUBGROUPS_N * ROWS_N;
    first_m = WORKGROUP != 0 ? 0u : gl_SubgroupID / SUBGROUPS_N * ROWS_M;
    MATRIX_C sum = accumulate();

    const bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    for (uint first = 0u; first < ROWS_X; first += SLICE) {
        barrier();
        coopMatPerElementNV(sum, sum, keep, first);
        barrier();
        for (uint i = thread; i < (gated ? ROWS_W / 2u : ROWS_W) * SLICE; i += THREADS)
            put(i, first, gated);
    }
}
