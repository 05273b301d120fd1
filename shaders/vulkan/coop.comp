#version 450
/*
 * coop.comp: cooperative matrices of any lane mapping: Y = X · Wᵀ from tiles in shared memory.
 *
 * Work-group (i, j): rows i·ROWS_W … of the weights for the rows j·ROWS_X … of X. Its subgroups are
 * SUBGROUPS_K parts of K (whole blocks of 64 columns) of SUBGROUPS_N × SUBGROUPS_M, which divide the tile
 * of ROWS_W × ROWS_X sums; a subgroup holds TILES_N × TILES_M matrices of MATRIX_N × MATRIX_M.
 *
 *     A  rows of X                 row-major from shared memory        MATRIX_M × MATRIX_K
 *     B  rows of the weights       column-major                        MATRIX_K × MATRIX_N
 *     C  sums [row of X][row of W]
 *
 * A part's threads bring 32 columns (a unit of FRAG16B) of its tile to shared memory, weights as
 * rn_F16(scale·(q − zero) + offset), while the other buffer is multiplied: one barrier for each unit.
 * Codes, scales and X are loaded a block ahead. Shared memory, in vectors of 16 bytes:
 *
 *     part p, buffer b, row r      ((2p + b)·(ROWS_W + ROWS_X) + r)·ROW + piece of 8 columns; X after W
 *     later sums of part p         (p·SUBGROUPS_M·MATRIX_M + row)·ROWS_W/4 + rows of W / 4, a row of
 *                                  each subgroup's matrices at a time
 *
 * Parts are added in their order by the thread that stores the element; neighbours store neighbours.
 *
 * Macro CODE_BITS: 4, 8, or 16 for FP16 weights. Specialization constants: woqi_coop_block of blocks.h,
 * the device's matrix, and where groups end (GROUPS_…).
 *
 * Needs: VK_KHR_cooperative_matrix FP16 → FP32 in the scope of a subgroup, full subgroups of known size,
 * shaderFloat16 with shaderRoundingModeRTEFloat16, storageBuffer16BitAccess.
 */
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_shader_16bit_storage : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_spirv_intrinsics : require
#define UNROLL [[unroll]]

/* RoundingModeRTE for 16 bits: conversions and products round to nearest, ties to even. */
spirv_execution_mode(extensions = ["SPV_KHR_float_controls"], capabilities = [4467], 4462, 16);

layout(constant_id = 1) const uint MATRIX_M = 16u;
layout(constant_id = 2) const uint MATRIX_N = 16u;
layout(constant_id = 3) const uint MATRIX_K = 16u;
layout(constant_id = 4) const uint SUBGROUPS_N = 1u;
layout(constant_id = 5) const uint SUBGROUPS_M = 1u;
layout(constant_id = 6) const uint SUBGROUPS_K = 1u;
layout(constant_id = 7) const uint ROWS_W = 16u;
layout(constant_id = 8) const uint ROWS_X = 16u;
layout(constant_id = 9) const uint GROUPS = 0u;

/* Columns that surely share a scale: 64; 8; 1. As woqi_kernel_key.fine. */
const uint GROUPS_BLOCK = 0u, GROUPS_PIECE = 1u, GROUPS_ANY = 2u;
const bool ROUNDED = true;

#define STORAGE16 1
#include "common.glsl"
#include "dequant.glsl"
#include "epilogue.glsl"
#include "activations.glsl"

/* Threads of a part, and the pieces of X in a unit that each brings. */
const uint THREADS = gl_WorkGroupSize.x / SUBGROUPS_K;
const uint X_PIECES = ROWS_X * 4u;
const uint X_LOADS = (X_PIECES + THREADS - 1u) / THREADS;
const uint TILES_N = ROWS_W / (SUBGROUPS_N * MATRIX_N), TILES_M = ROWS_X / (SUBGROUPS_M * MATRIX_M);

/* Arrays have the largest size, as in stage_weights.glsl. */
const uint MAX_X_LOADS = 8u, MAX_TILES_M = 4u, MAX_TILES = 8u;

/* 32 columns and 16 bytes, which spread 8 rows over all banks. */
const uint ROW = 5u;
const uint STAGE = (ROWS_W + ROWS_X) * ROW;
const uint POOL_STAGES = 2u * SUBGROUPS_K * STAGE;
const uint SUM_ROWS = SUBGROUPS_M * MATRIX_M;
const uint POOL_SUMS = SUBGROUPS_K * SUM_ROWS * ROWS_W / 4u;
shared uvec4 pool[POOL_STAGES > POOL_SUMS ? POOL_STAGES : POOL_SUMS];

#define MATRIX_A coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define MATRIX_B coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>
#define MATRIX_C coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

MATRIX_C total[MAX_TILES]; /* [TILES_M][TILES_N] */

/* Of X, as of the weights: of a block, and of the one before. */
uvec4 x[2u * MAX_X_LOADS], x_now[2u * MAX_X_LOADS];

/* This thread's place: for loading within its part, and its subgroup's for multiplying. */
uint part, thread, subgroup_n, subgroup_m, subgroup_k;

#include "stage_weights.glsl"

void hold(const bool fast, uint block)
{
    weights_hold(block);
    UNROLL for (uint i = 0u; i < 2u * X_LOADS; i++) {
        uint piece = thread + i % X_LOADS * THREADS;
        x[i] = x_piece(fast, x_row_at(gl_WorkGroupID.y * ROWS_X + piece / 4u),
                       block * 8u + i / X_LOADS * 4u + piece % 4u);
    }
}

/* A unit of the block held to its buffer. */
void stage(uint block, uint unit)
{
    const uint at = (2u * part + unit) * STAGE;
    weights_stage(at, block, unit);
    UNROLL for (uint i = 0u; i < X_LOADS; i++) {
        uint item = thread + i * THREADS;
        if (X_PIECES % THREADS != 0u && item >= X_PIECES)
            break;
        bool beyond = block * 64u + unit * 32u + item % 4u * 8u >= args.k;
        uvec4 piece = unit == 0u ? x_now[i] : x_now[X_LOADS + i];
        pool[at + (ROWS_W + item / 4u) * ROW + item % 4u] = beyond ? uvec4(0u) : piece;
    }
}

void multiply(uint unit)
{
    const uint w_at = (2u * subgroup_k + unit) * STAGE + subgroup_n * TILES_N * MATRIX_N * ROW;
    const uint x_at = (2u * subgroup_k + unit) * STAGE + (ROWS_W + subgroup_m * TILES_M * MATRIX_M) * ROW;
    for (uint k = 0u; k < 32u / MATRIX_K; k++) {
        MATRIX_A a[MAX_TILES_M];
        UNROLL for (uint m = 0u; m < TILES_M; m++)
            coopMatLoad(a[m], pool, x_at + m * MATRIX_M * ROW + k * MATRIX_K / 8u, ROW,
                        gl_CooperativeMatrixLayoutRowMajor);
        UNROLL for (uint n = 0u; n < TILES_N; n++) {
            MATRIX_B b;
            coopMatLoad(b, pool, w_at + n * MATRIX_N * ROW + k * MATRIX_K / 8u, ROW,
                        gl_CooperativeMatrixLayoutColumnMajor);
            UNROLL for (uint m = 0u; m < TILES_M; m++)
                total[m * TILES_N + n] = coopMatMulAdd(a[m], b, total[m * TILES_N + n]);
        }
    }
}

/* All blocks, each a round after it was loaded. Parts may be shorter than the first: they keep the barriers. */
void accumulate()
{
    const bool fast = x_aligned();
    const uint blocks = (args.k + 63u) >> 6, share = (blocks + SUBGROUPS_K - 1u) / SUBGROUPS_K;
    for (uint i = 0u; i <= share; i++) {
        weights_keep();
        UNROLL for (uint j = 0u; j < 2u * X_LOADS; j++)
            x_now[j] = x[j];
        hold(fast, min(part * share + i, blocks - 1u));
        if (i == 0u)
            continue;
        [[dont_unroll]] for (uint unit = 0u; unit < 2u; unit++) { /* a large body */
            if (part * share + i <= blocks)
                stage(part * share + i - 1u, unit);
            barrier();
            if (subgroup_k * share + i <= blocks)
                multiply(unit);
        }
    }
}

/* One element of Y from the pool of sums; their rows are matrix row m of each subgroup's. */
void put(uint index, uint m, bool gated)
{
    uint columns = gated ? ROWS_W / 2u : ROWS_W;
    uint column = index % columns, row = index / columns;
    uint y_row = gl_WorkGroupID.y * ROWS_X + (row / MATRIX_M * TILES_M + m) * MATRIX_M + row % MATRIX_M;
    uint y_column = gl_WorkGroupID.x * columns + column;
    if (y_row >= args.m || y_column >= args.n)
        return;
    uint w_row = gated ? column + column / 16u * 16u : column;
    float sum = 0.0, up = 0.0;
    UNROLL for (uint p = 0u; p < SUBGROUPS_K; p++) {
        uint at = (p * SUM_ROWS + row) * (ROWS_W / 4u) + w_row / 4u;
        sum += uintBitsToFloat(pool[at][w_row % 4u]);
        if (gated)
            up += uintBitsToFloat(pool[at + 4u][w_row % 4u]);
    }
    epilogue(y_row, y_column, sum, up);
}

void main()
{
    part = gl_LocalInvocationIndex / THREADS;
    thread = gl_LocalInvocationIndex % THREADS;
    subgroup_n = gl_SubgroupID % SUBGROUPS_N;
    subgroup_m = gl_SubgroupID / SUBGROUPS_N % SUBGROUPS_M;
    subgroup_k = gl_SubgroupID / (SUBGROUPS_N * SUBGROUPS_M);
    UNROLL for (uint i = 0u; i < TILES_M * TILES_N; i++)
        total[i] = MATRIX_C(0.0);
    accumulate();

    const bool gated = WOQ_FLAG_ACT(args.flags) == WOQ_ABI_ACT_SILU_MUL;
    UNROLL for (uint m = 0u; m < TILES_M; m++) {
        barrier();
        uint at = (subgroup_k * SUM_ROWS + subgroup_m * MATRIX_M) * (ROWS_W / 4u) +
                  subgroup_n * TILES_N * MATRIX_N / 4u;
        UNROLL for (uint n = 0u; n < TILES_N; n++)
            coopMatStore(total[m * TILES_N + n], pool, at + n * MATRIX_N / 4u, ROWS_W / 4u,
                         gl_CooperativeMatrixLayoutRowMajor);
        barrier();
        uint count = (gated ? ROWS_W / 2u : ROWS_W) * SUM_ROWS;
        for (uint i = gl_LocalInvocationIndex; i < count; i += gl_WorkGroupSize.x)
            put(i, m, gated);
    }
}
