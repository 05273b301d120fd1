/*
 * wgmma.cu: many rows on Hopper: Yᵀ = W · Xᵀ by products of a warpgroup, 64 rows of the weights × ROWS rows of X × 16.
 *
 * Weights are operand A, in registers: layout FRAG16B has them in the order in which mma.m16n8k16 wants them, and so
 * does wgmma, of whose 64 rows each warp holds a strip. X is operand B, in shared memory: columns in the same order, as
 * xtile.cu has put them, or as the caller has them (args.direct; NATURAL), and then codes change lanes before they
 * become operands (wgmma_weights.cuh).
 *
 * A tile is 64 rows of the weights for each warpgroup that multiplies × ROWS of X. The grid is as large as the device;
 * its blocks take the product in parts (wgmma_parts.inc): rounds of whole tiles, and equal shares, in blocks of 64
 * columns of K, of the tiles that are left. Where a share ends within a tile its sums go to memory, FP32, and the block
 * that has the tile's end adds them, in order (wgmma_sums.cuh). It does that last and stores such sums first, and waits
 * for blocks of lower number only, which have begun before it: no wait is long, and none for ever.
 *
 * Blocks may be launched in clusters of two, if tiles have 256 rows of X: they take neighbouring tiles of the weights
 * at the same time, and each fetches half of what both need of X, for both. Or, if args.cut says so, each block has one
 * part of a tile, all of it or a half or a quarter of its K (wgmma_cut.cuh).
 *
 * Of a block, the last warpgroup's first thread fetches X, a stage of 64 columns at a time, by bulk copies, or by a
 * tensor map of it. The others multiply. Each of their warps fetches the codes, scales and zeros of its strip, into a
 * ring of its own in shared memory, slots of a pair of blocks, where each lane finds what it copied itself. While the
 * products of one block are under way the next one's codes become operands.
 *
 * The next kernel begins when this one's blocks end, not before, unless args.admits says that it may: blocks of xtile
 * would crowd on the first multiprocessors that are free and keep them from the product after it (H200, 4096 × 4096,
 * M = 64, 18.5 µs against 12.2).
 *
 * ROUNDED: weights are scaled to X's type, which wants one scale for the columns 8t … 8t+7 of a unit. K counts as a
 * multiple of 128: what the last pair of blocks lacks is 0, codes and scales, and so is X.
 *
 * Macros, from the build: CODES u4, u8, f16 or bf16; X_TYPE f16 or bf16; CODE_BITS 4, 8 or 16; X_BF16 0 or 1. Plain
 * weights have X's type. Block: WOQ_WGMMA_THREADS of 2 warpgroups, or of WOQ_WGMMA_WARPGROUPS. Requires sm_90a.
 */
#include "wgmma_cut.cuh"
#include "wgmma_sums.cuh"
#include "wgmma_weights.cuh"
#include "wgmma_x.cuh"
#include "wgmma_y.cuh"

/* CUT_WARPGROUPS: that multiply, where tiles may be cut; 0: they are not. 3 have registers for one part alone, with
 * which the block ends. */
template <int ROWS, int SETS, woq_scaling SCALING, bool NATURAL, int CUT_WARPGROUPS = 0>
static __device__ __forceinline__ void multiply(const woq_u8 *weights, woq_u8 *y, const woq_u8 *bias,
                                                const woq_u8 *residual, const woq_args &a, const shared_tiles &tiles,
                                                woq_u32 base)
{
    using S = shape<ROWS>;
    const woq_u32 warp = __shfl_sync(0xffffffffu, threadIdx.x >> 5, 0);
    const bool elected = says_empty<ROWS>(a);
    const woq_magic<BITS, BF16> magic(a);
    const bool ONE_PART = CUT_WARPGROUPS == 3;
    weights_ring<ROWS, SETS, SCALING, NATURAL, ONE_PART> ring(weights, a, base, warp, threadIdx.x & 31u);
#pragma unroll 1
    for (int i = 0; i < ring.SLOTS; i++)
        ring.fetch(weights, a);
    woq_await_steps();
    if (a.admits)
        woq_admit_next();
    ring.slot = ring.begin;
    woq_u32 full = base + S::FULL, matrix = woq_matrix_low(base), parity = 0;
    for (woq_u32 number = 0;; number = __reduce_or_sync(0xffffffffu, number + 1u)) {
        const part_of_product part = read_part(base + S::PARTS, number);
        const woq_u32 count = part.last - part.first;
        if (part.last == 0)
            return;
        float sums[ROWS / 2];
        woq_u32 operands[2][4][4], previous = 0;
#pragma unroll
        for (int i = 0; i < ROWS / 2; i++)
            sums[i] = 0.0f;
#pragma unroll 1
        for (woq_u32 left = count; left; left -= 2) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                if (half == 0)
                    ring.wait();
                ring.operands(a, magic, half, operands[half]);
                woq_barrier_wait(full, parity);
                const woq_u32 first = __reduce_or_sync(0xffffffffu, matrix); /* to uniform registers */
                woq_products_begin();
#pragma unroll
                for (int p = 0; p < 4; p++)
                    woq_product<BF16, ROWS>::run(sums, operands[half][p], woq_matrix(first + 2u * p), true);
                woq_products_end();
                if (half == 1)
                    ring.fetch(weights, a);
                woq_products_wait<1>();
                if (elected && (half == 1 || left != count))
                    say_empty<ROWS>(a, previous + (S::EMPTY - S::FULL));
                previous = full;
                full += 8u;
                matrix += S::STAGE / 16u;
                if (full == base + S::FULL + S::STAGES * 8u)
                    full -= S::STAGES * 8u, matrix -= S::STAGES * (S::STAGE / 16u), parity ^= 1u;
            }
        }
        woq_products_wait<0>();
        if constexpr (CUT_WARPGROUPS != 0)
            if (a.cut > 1u)
                return finish_cut<ROWS, CUT_WARPGROUPS>(y, bias, residual, a, tiles, part, base, sums);
        if (!ONE_PART && elected && (!SMALL || part.last < blocks_of(here(a.k))))
            say_empty<ROWS>(a, previous + (S::EMPTY - S::FULL));
        if (!ONE_PART && part.last < blocks_of(here(a.k))) {
            store_sums<ROWS>(tiles, sums);
            continue;
        }
        if (SMALL) /* Y goes out through the stage that both have read */
            multipliers_barrier();
        if (!ONE_PART && part.first)
            add_sums<ROWS>(tiles, a, part.first, sums);
        const woq_u32 warpgroup = __shfl_sync(0xffffffffu, threadIdx.x >> 7, 0);
        const woq_u32 out = SMALL ? base + (previous - base - S::FULL) / 8u * S::STAGE + warpgroup * WOQ_WGMMA_SMALL_OUT
                                  : base + S::OUT + warpgroup * WOQ_WGMMA_OUT;
        const target to = {first_output<ROWS>(a, part.tile_w, warpgroup), part.tile_x * ROWS, out, warpgroup};
        store_sums_to_y<ROWS>(y, bias, residual, a, to, sums);
        if (ONE_PART)
            return;
        if (SMALL) {
            woq_products_see(); /* so do bulk copies, which write there next */
            warpgroup_barrier(warpgroup);
            if (elected)
                say_empty<ROWS>(a, previous + (S::EMPTY - S::FULL));
        }
    }
}

/* Barriers, and the list of parts. fetchers: threads that say that a stage is full. */
template <int ROWS> static __device__ __forceinline__ void prepare(const woq_args &a, woq_u32 base, woq_u32 fetchers)
{
    using S = shape<ROWS>;
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            woq_barrier_make(base + S::FULL + i * 8, fetchers);
            woq_barrier_make(base + S::EMPTY + i * 8, warpgroups<ROWS>() * cluster_size<ROWS>(a));
        }
        if constexpr (!SMALL)
            if (a.cut > 1u)
                make_cut_barriers<ROWS>(base);
        woq_barriers_made();
    }
    if (a.cut) {
        if (a.cut > 1u)
            woq_cluster_arrive(); /* and waits before it sends sums */
        list_part(a, base + S::PARTS);
    } else {
        list_parts<ROWS>(a, base + S::PARTS);
    }
    if (cluster_size<ROWS>(a) > 1)
        woq_cluster_barrier(); /* others write to barriers here */
    else
        __syncthreads();
}

static __device__ __forceinline__ void begin_fetching(const woq_args &a)
{
    woq_await_steps();
    if (a.admits)
        woq_admit_next();
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(WOQ_WGMMA_FETCHER_REGISTERS));
}

/* ENTRY_ROWS: the entry point's rows, whose registers are shared out. */
template <int ENTRY_ROWS> static __device__ __forceinline__ void begin_multiplying()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(WOQ_WGMMA_REGISTERS(shape<ENTRY_ROWS>::WARPGROUPS)));
}

/* Whole pairs of blocks have one scale. */
static __device__ __forceinline__ bool scale_pairs(const woq_args &a)
{
    return (a.k + 63u) / 64u % 2u == 0 && (a.group >= a.k || a.group % 128u == 0);
}

/* X in the workspace. */
template <int ROWS>
static __device__ __forceinline__ void run(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias,
                                           const woq_u8 *residual, const woq_args &a, const shared_tiles &tiles,
                                           woq_u32 base)
{
    prepare<ROWS>(a, base, 1);
    if (threadIdx.x >= warpgroups<ROWS>() * 128u) {
        begin_fetching(a);
        if (threadIdx.x % 128u == 0)
            cluster_size<ROWS>(a) > 1 ? fetch_x_for_both<ROWS>(x, a, base) : fetch_x<ROWS>(x, a, base);
        return;
    }
    begin_multiplying<ROWS>();
    const bool offsets = WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_OFFSET;
    const bool half = !offsets && WOQ_FLAG_SCALE(a.flags) == (BF16 ? WOQ_ABI_BF16 : WOQ_ABI_F16);
    const bool split = !offsets && WOQ_FLAG_SCALE(a.flags) == WOQ_ABI_F16;
    const bool SPLITS = BF16 && CODE_BITS == 4;
    const woq_scaling SPLIT = SPLITS ? WOQ_SCALES_SPLIT : WOQ_SCALES_PAIRS;
#define MULTIPLY(sets, scaling) multiply<ROWS, sets, scaling, false>(weights, y, bias, residual, a, tiles, base)
    if constexpr (SMALL) {
        if (half)
            MULTIPLY(1, WOQ_SCALES_PAIRS);
        else
            MULTIPLY(1, SPLIT);
    } else {
        if (QUANTIZED && half && scale_pairs(a))
            MULTIPLY(QUANTIZED ? 1 : 2, WOQ_SCALES_PAIRS);
        else if (!QUANTIZED || (half && (a.group >= a.k || a.group % 64u == 0)))
            MULTIPLY(2, WOQ_SCALES_PAIRS);
        else if (QUANTIZED && half)
            MULTIPLY(QUANTIZED ? 4 : 2, WOQ_SCALES_PAIRS);
        else if (SPLITS && split && scale_pairs(a))
            MULTIPLY(SPLITS ? 1 : 2, SPLIT);
        else if (SPLITS && split)
            MULTIPLY(SPLITS ? 4 : 2, SPLIT);
        else if (QUANTIZED)
            MULTIPLY(QUANTIZED ? 4 : 2, QUANTIZED ? WOQ_SCALES_FLOATS : WOQ_SCALES_PAIRS);
    }
#undef MULTIPLY
}

/* X as the caller bound it. */
template <int ROWS, int ENTRY_ROWS>
static __device__ __forceinline__ void run_direct(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias,
                                                  const woq_u8 *residual, const woq_args &a, const woq_tensor_map &map,
                                                  const shared_tiles &tiles, woq_u32 base)
{
    const bool aligned = rows_aligned(x, a);
    if (aligned && threadIdx.x == warpgroups<ROWS>() * 128u)
        woq_prefetch_map(map);
    prepare<ROWS>(a, base, aligned ? 1 : 128);
    if (threadIdx.x >= warpgroups<ROWS>() * 128u) {
        begin_fetching(a);
        if (!aligned)
            gather_rows<ROWS>(x, a, base);
        else if (threadIdx.x % 128u == 0)
            cluster_size<ROWS>(a) > 1 ? fetch_rows_for_both<ROWS>(map, a, base) : fetch_rows<ROWS>(map, base);
        return;
    }
    begin_multiplying<ENTRY_ROWS>();
    const int CUT_WARPGROUPS = ENTRY_ROWS == 32 ? 0 : 2;
    if constexpr (ENTRY_ROWS == 128) /* is for such groups alone */
        multiply<ROWS, 1, WOQ_SCALES_PAIRS, true, 3>(weights, y, bias, residual, a, tiles, base);
    else if (scale_pairs(a))
        multiply<ROWS, 1, WOQ_SCALES_PAIRS, true, CUT_WARPGROUPS>(weights, y, bias, residual, a, tiles, base);
    else
        multiply<ROWS, 4, WOQ_SCALES_PAIRS, true, CUT_WARPGROUPS>(weights, y, bias, residual, a, tiles, base);
}

static __device__ __forceinline__ woq_u32 shared_base()
{
    extern __shared__ uint4 pool[];
    return ((woq_u32)__cvta_generic_to_shared(pool) + 1023u) & ~1023u;
}

/* An entry point. Some run tiles without xtile. */
template <int ROWS>
static __device__ __forceinline__ void run_any(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias,
                                               const woq_u8 *residual, const woq_args &a, const woq_tensor_map &map,
                                               const shared_tiles &tiles)
{
    const woq_u32 base = shared_base();
    if constexpr (QUANTIZED && WOQ_WGMMA_DIRECT_ENTRY(ROWS, shape<ROWS>::WARPGROUPS) == ROWS) {
        if constexpr (WOQ_WGMMA_DIRECT_ENTRY(128, 2) == ROWS)
            if (a.direct == 128u)
                return run_direct<128, ROWS>(weights, x, y, bias, residual, a, map, tiles, base);
        if (a.direct)
            return run_direct<ROWS, ROWS>(weights, x, y, bias, residual, a, map, tiles, base);
    }
    if constexpr (ROWS != 32) /* those are for X as it is bound alone */
        run<ROWS>(weights, x, y, bias, residual, a, tiles, base);
}

#define ENTRY_NAME(rows, codes, type) woq_wgmma_##rows##_##codes##_##type
#if OPENCL
#define ENTRY(rows, codes, type)                                                                   \
    extern "C" __global__ void __launch_bounds__(WOQ_WGMMA_THREADS(shape<rows>::WARPGROUPS), 1)    \
        ENTRY_NAME(rows, codes, type)(WOQ_PARAMETERS, WOQ_WINDOW(sums), WOQ_WINDOW(flags))         \
    {                                                                                              \
        WOQ_WINDOWS                                                                                \
        const shared_tiles tiles = {sums_memory + sums_from, (woq_u32 *)(flags_memory + flags_from)}; \
        run<rows>(weights, x, y, bias, residual, a, tiles, shared_base());                         \
    }
#define SMALL_ENTRY(rows) ENTRY(rows, CODES, X_TYPE)
SMALL_ENTRY(WOQ_WGMMA_SMALL_ROWS)
#else
#define ENTRY(rows, codes, type)                                                                   \
    extern "C" __global__ void __launch_bounds__(WOQ_WGMMA_THREADS(shape<rows>::WARPGROUPS), 1)    \
        ENTRY_NAME(rows, codes, type)(WOQ_PARAMETERS, const __grid_constant__ woq_tensor_map map,  \
                                      woq_u8 *sums, woq_u32 *flags)                                \
    {                                                                                              \
        WOQ_WINDOWS                                                                                \
        const shared_tiles tiles = {sums, flags};                                                  \
        run_any<rows>(weights, x, y, bias, residual, a, map, tiles);                               \
        if (cluster_size<rows>(a) > 1) /* others still write to barriers here */                    \
            woq_cluster_barrier();                                                                 \
    }
#define SHAPE(rows) ENTRY(rows, CODES, X_TYPE)
WOQ_WGMMA_SHAPES(SHAPE)
#if CODE_BITS != 16
WOQ_WGMMA_QUANTIZED_SHAPES(SHAPE)
#endif
#endif
