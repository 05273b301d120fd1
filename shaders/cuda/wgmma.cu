/*
 * wgmma.cu: many rows on Hopper: Yᵀ = W · Xᵀ by products of a warpgroup, 64 rows of the weights × ROWS rows of X × 16.
 *
 * Weights are operand A, in registers: layout FRAG16 has them in the order in which mma.m16n8k16 wants them, and so
 * does wgmma, of whose 64 rows each warp holds a strip. X is operand B, in shared memory, where xtile.cu has put its
 * columns in the same order.
 *
 * A tile is 64 rows of the weights for each warpgroup that multiplies × ROWS of X. The grid is as large as the device;
 * its blocks take the product in parts (wgmma_parts.inc): rounds of whole tiles, and equal shares, in blocks of 64
 * columns of K, of the tiles that are left. Where a share ends within a tile its sums go to the workspace, FP32, and the
 * block that has the tile's end adds them, in order. It does that last and stores such sums first, and waits for blocks
 * of lower number only, which have begun before it: no wait is long, and none for ever.
 *
 * Of a block, the last warpgroup's first thread fetches X, a stage of 64 columns at a time, by bulk copies. The others
 * multiply. Each of their warps fetches the codes, scales and zeros of its strip, into a ring of its own in shared
 * memory, slots of a pair of blocks, where each lane finds what it copied itself. While the products of one block are
 * under way the next one's codes become operands.
 *
 * The next kernel, which is most often xtile, begins when this one's blocks end, not before: its blocks would crowd on
 * the first multiprocessors that are free and keep them from the product after it (H200, 4096 × 4096, M = 64, 18.5 µs
 * against 12.2).
 *
 * ROUNDED: weights are scaled to X's type, which wants one scale for the columns 8t … 8t+7 of a unit. K counts as a
 * multiple of 128: what the last pair of blocks lacks is 0, codes and scales, and so is X.
 *
 * Macros, from the build: CODES u4, u8, f16 or bf16; X_TYPE f16 or bf16; CODE_BITS 4, 8 or 16; X_BF16 0 or 1. Plain
 * weights have X's type. Block: WOQ_WGMMA_THREADS of 2 warpgroups, or of WOQ_WGMMA_WARPGROUPS. Requires sm_90a.
 */
#include "copies.cuh"
#include "epilogue.cuh"
#include "fragment.cuh"
#include "warpgroup.cuh"
#include "wgmma_kernels.inc"
#define WOQ_PARTS_FUNCTION static __device__ __forceinline__
#include "wgmma_parts.inc"

static const bool BF16 = X_BF16;
static const bool QUANTIZED = CODE_BITS != 16;
static const int BITS = QUANTIZED ? CODE_BITS : 4; /* where types must be complete that plain weights do not use */
static const woq_u32 BLOCK_CODES = 128 * CODE_BITS; /* bytes of a strip in a block of 64 columns */

template <int ROWS> struct shape {
    static const int WARPGROUPS = WOQ_WGMMA_WARPGROUPS(ROWS, CODE_BITS, X_BF16); /* at most */
    static const int STAGES = WOQ_WGMMA_STAGES(ROWS, CODE_BITS);
    static const woq_u32 STAGE = ROWS * 128, RING = WOQ_WGMMA_RING(ROWS, CODE_BITS);
    static const woq_u32 OUT = WOQ_WGMMA_OUT_AT(ROWS, CODE_BITS), PARTS = WOQ_WGMMA_PARTS_AT(ROWS, CODE_BITS);
    static const woq_u32 RINGS = WOQ_WGMMA_RINGS_AT(ROWS, CODE_BITS);
    static const woq_u32 FULL = WOQ_WGMMA_BARRIERS_AT(ROWS, CODE_BITS), EMPTY = FULL + STAGES * 8;
};

/* ---- shared memory, by address ---- */

static __device__ __forceinline__ uint4 shared_vector(woq_u32 at)
{
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
    return v;
}

static __device__ __forceinline__ woq_u32 shared_word(woq_u32 at)
{
    woq_u32 v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(at));
    return v;
}

static __device__ __forceinline__ uint2 shared_pair(woq_u32 at)
{
    uint2 v;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(at));
    return v;
}

static __device__ __forceinline__ float shared_float(woq_u32 at)
{
    return __uint_as_float(shared_word(at));
}

/* That multiply. */
template <int ROWS> static __device__ __forceinline__ woq_u32 warpgroups()
{
    return shape<ROWS>::WARPGROUPS == 2 ? 2u : blockDim.x / 128u - 1u;
}

/* Of a warpgroup. */
static __device__ __forceinline__ void warpgroup_barrier(woq_u32 warpgroup)
{
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1u) : "memory");
}

/* ---- parts ---- */

static __device__ __forceinline__ woq_u32 blocks_of(const woq_args &a)
{
    return (a.k + 127u) / 128u * 2u;
}

static __device__ __forceinline__ woq_u32 group_of(const woq_args &a)
{
    return a.group && a.group < a.k ? a.group : 0x7fffffffu;
}

/* What a block does one after the other, in shared memory, WOQ_WGMMA_PARTS of 16 bytes: tile of the weights | tile of X
 * << 16; first block | end << 16, 0 behind the last part; group of the first column, and its place there. */
static __device__ void list_parts(const woq_args &a, woq_u32 table)
{
    for (woq_u32 i = threadIdx.x; i < WOQ_WGMMA_PARTS; i += blockDim.x) {
        const woq_part p =
            woq_part_of(i, blockIdx.x, gridDim.x, a.rounds, a.share, a.tiles_w * a.tiles_x, blocks_of(a));
        /* Up to 8 tiles of X walk through the weights side by side: what one of them has read of W, and all of X that
         * they need, is then still in the cache for the others. */
        const woq_u32 band = p.tile / (8u * a.tiles_w), in_band = p.tile - band * 8u * a.tiles_w;
        const woq_u32 deep = max(min(a.tiles_x - band * 8u, 8u), 1u), column = p.first * 64u;
        asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(table + i * 16u),
                     "r"(in_band / deep | (band * 8u + in_band % deep) << 16),
                     "r"(p.last ? p.first | p.last << 16 : 0u),
                     "r"(column / group_of(a)), "r"(column % group_of(a))
                     : "memory");
    }
}

struct part_of_product {
    woq_u32 tile_w, tile_x, first, last; /* blocks first … last−1; last 0: there are no more */
    woq_u32 group, place;
};

static __device__ __forceinline__ part_of_product read_part(woq_u32 table, woq_u32 i)
{
    const uint4 v = shared_vector(table + i * 16u);
    /* A reduction's result is one for the warp, which keeps what follows from it in uniform registers. */
    const woq_u32 tile = __reduce_or_sync(0xffffffffu, v.x), range = __reduce_or_sync(0xffffffffu, v.y);
    const part_of_product p = {tile & 0xffffu, tile >> 16, range & 0xffffu, range >> 16, v.z, v.w};
    return p;
}

/* ---- X: one thread fetches the stages ---- */

template <int ROWS>
static __device__ void fetch_x(const woq_u8 *x, const woq_args &a, woq_u32 base)
{
    using S = shape<ROWS>;
    const woq_u32 rows = (a.m + 7u) & ~7u;
    woq_u32 stage = 0, parity = 1;
    for (woq_u32 part = 0;; part++) {
        const uint4 v = shared_vector(base + S::PARTS + part * 16u);
        const woq_u32 first = v.y & 0xffffu, last = v.y >> 16, row = (v.x >> 16) * ROWS;
        if (last == 0)
            return;
        const woq_u32 bytes = min((woq_u32)ROWS, rows - row) * 128u; /* of rows that are missing nothing is stored */
        const woq_u8 *from = x + (a.x_off + ((size_t)first * rows + row) * 128u);
        for (woq_u32 b = first; b < last; b++) {
            woq_barrier_wait(base + S::EMPTY + stage * 8u, parity);
            woq_barrier_expect(base + S::FULL + stage * 8u, bytes);
            woq_bulk_copy(base + stage * S::STAGE, from, bytes, base + S::FULL + stage * 8u);
            from += (size_t)rows * 128u;
            if (++stage == S::STAGES)
                stage = 0, parity ^= 1u;
        }
    }
}

/* ---- W: a warp's ring ---- */

/* SETS of scales in a slot: 1, groups are whole pairs of blocks, and K is; 2, they are whole blocks; 4, whole units or
 * less. */
template <int ROWS, int SETS, woq_scaling SCALING> struct weights_ring {
    using S = shape<ROWS>;
    static const bool ANY = SCALING == WOQ_SCALES_FLOATS;
    static const bool PAIRS = SETS == 1;       /* a lane's zeros lie behind its scales then, else those of all lanes */
    static const woq_u32 COLUMNS = 128 / SETS; /* of a set */
    static const woq_u32 ENTRY = ANY || PAIRS ? 8 : 4; /* bytes of a lane's scales, and of its zeros unless PAIRS */
    static const woq_u32 ZEROS = PAIRS ? 4 : 32 * ENTRY, SET = PAIRS ? 32 * ENTRY : 2 * ZEROS;
    static const woq_u32 SLOT = 2 * BLOCK_CODES + (QUANTIZED ? SETS * SET : 0);
    static const int SLOTS = S::RING / SLOT;
    static_assert(SLOTS >= 2, "one slot is filled while another one is read");
    static_assert(QUANTIZED || !PAIRS, "plain weights may lack a block");

    /* A row's constants of a set. */
    struct row_group {
        woq_zero<BITS, BF16> zero;
        woq_u32 pair, lower;
        float scale, offset;
    };

    woq_u32 begin, slot;         /* shared memory: this lane's codes in slot 0, and in the one to read, then to fill */
    woq_u32 sets;                /* from there to its scales */
    woq_u32 table, warp, lane;
    woq_u32 part, left, present; /* next part; pairs left of the current one, blocks left that exist */
    const woq_u8 *code;          /* this lane's */
    const woq_u8 *scale_table, *zero_table; /* PAIRS */
    woq_u32 row;                 /* in the tables, of its row g; PAIRS: of the group's */
    woq_u32 group, place, group_columns, last_group; /* place: PAIRS, columns left of the group; else columns passed */
    row_group now[2];

    __device__ __forceinline__ weights_ring(const woq_u8 *weights, const woq_args &a, woq_u32 shared,
                                            woq_u32 in_block, woq_u32 in_warp)
    {
        table = shared + S::PARTS;
        warp = in_block;
        lane = in_warp;
        begin = slot = shared + S::RINGS + warp * S::RING + lane * 16u;
        sets = 2u * BLOCK_CODES + lane * ENTRY - lane * 16u;
        group_columns = group_of(a);
        last_group = (a.k - 1u) / group_columns;
        part = left = present = row = group = place = 0;
        code = weights;
        scale_table = weights + a.scales_off;
        zero_table = weights + (a.zeros_off - (a.zeros_off + 2u * (lane >> 2) & 3u));
        if (PAIRS && WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_SYMMETRIC) { /* once: nothing is copied there */
            for (int i = 0; i < SLOTS; i++)
                asm volatile("st.shared.u32 [%0], %1;" ::"r"(begin + i * SLOT + sets + ZEROS),
                             "r"(woq_symmetric_zero<BITS>() * 0x01010101u)
                             : "memory");
        }
        next_part(weights, a);
    }

    __device__ __forceinline__ void next_part(const woq_u8 *weights, const woq_args &a)
    {
        const part_of_product p = read_part(table, part);
        const woq_u32 strips = a.scale_stride >> 4, in_tile = warpgroups<ROWS>() * 4u;
        const woq_u32 strip = min(p.tile_w * in_tile + warp, strips - 1u);
        left = (p.last - p.first) / 2u;
        part += left ? 1u : 0u;
        code = weights + (a.codes_off + strip * a.codes_stride + p.first * BLOCK_CODES + lane * 16u);
        row = strip * 16u + 2u * (lane >> 2);
        if (PAIRS) {
            row += p.group * a.scale_stride;
            place = group_columns - p.place;
            return;
        }
        present = (a.k + 63u) / 64u - p.first;
        group = p.group;
        place = p.place;
        if (SETS == 4 && group_columns % 32u) { /* each lane's own columns */
            place += (lane & 3u) * 8u;
            while (place >= group_columns)
                place -= group_columns, group++;
        }
    }

    __device__ __forceinline__ void fetch_sets(const woq_u8 *weights, const woq_args &a)
    {
        const bool wide = ANY && WOQ_FLAG_SCALE(a.flags) == WOQ_ABI_F32;
        const woq_u32 zero = WOQ_FLAG_ZERO(a.flags);
#pragma unroll
        for (int i = 0; i < SETS; i++) {
            const woq_u32 set = slot + sets + i * SET;
            const woq_u32 index = min(group, last_group) * a.scale_stride + row;
            const woq_u8 *from = weights + (a.scales_off + (index << (wide ? 2 : 1)));
            /* Else 0: a large scale could make infinities of the codes of 0. */
            const bool there = i < SETS / 2 || present > 1u;
            woq_copy_words(set, from, wide, there);
            if (zero == WOQ_ABI_ZERO_POINT)
                woq_copy_words(set + ZEROS, weights + ((a.zeros_off + index) & ~3u), false, there);
            else if (ANY && zero == WOQ_ABI_ZERO_OFFSET)
                woq_copy_words(set + ZEROS, from + (a.zeros_off - a.scales_off), wide, there);
            place += COLUMNS;
            while (place >= group_columns)
                place -= group_columns, group++;
        }
    }

    /* Begins to fill the slot that was read last, if there is something for it, and goes to the next one. */
    __device__ __forceinline__ void fetch(const woq_u8 *weights, const woq_args &a)
    {
        if (left) {
#pragma unroll
            for (int i = 0; i < CODE_BITS / 2; i++)
                woq_copy_vector<true>(slot + i * 512u, code + i * 512u, PAIRS || i < CODE_BITS / 4 || present > 1u);
            if (PAIRS) {
                woq_copy_words(slot + sets, scale_table + (size_t)row * 2u, false, true);
                woq_copy_word_if(slot + sets + ZEROS, zero_table + row, WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_POINT);
                place -= COLUMNS;
                if (place == 0)
                    place = group_columns, row += a.scale_stride;
            } else if (QUANTIZED) {
                fetch_sets(weights, a);
            }
            code += 2u * BLOCK_CODES;
            present -= 2u;
            if (--left == 0)
                next_part(weights, a);
        }
        woq_copies_end();
        slot = slot == begin + (SLOTS - 1) * SLOT ? begin : slot + SLOT;
    }

    /* Until the slot to read is full. */
    static __device__ __forceinline__ void wait()
    {
        woq_copies_wait<SLOTS - 1>();
    }

    /* raw: the scales of both rows. */
    static __device__ __forceinline__ void pair_scale(woq_u32 raw, int high, row_group &to)
    {
        if (SCALING == WOQ_SCALES_SPLIT)
            woq_split_scale(woq_pair_element(WOQ_ABI_F16, make_uint2(raw, 0), high), to.pair, to.lower);
        else
            to.pair = __byte_perm(raw, 0, high ? 0x3232 : 0x1010);
    }

    __device__ __forceinline__ void read_set(const woq_args &a, woq_u32 at, row_group (&to)[2]) const
    {
        if (PAIRS) {
            const uint2 v = shared_pair(at);
            const woq_u32 select = 0x7070u + (lane >> 2 & 1u) * 0x202u; /* its bytes, under those of a float */
#pragma unroll
            for (int high = 0; high < 2; high++) {
                pair_scale(v.x, high, to[high]);
                if (BITS == 4) {
                    to[high].zero.pair = __byte_perm(v.y, BF16 ? 0xc3000000u : 0xe4000000u, select + high * 0x101u);
                    to[high].zero.pair16 = to[high].zero.pair << 4 & 0x0ff00ff0u | 0xd400d400u;
                } else {
                    to[high].zero = woq_zero<BITS, BF16>(woq_pair_byte(v.y, lane >> 2, high));
                }
            }
            return;
        }
        const woq_u32 kind = WOQ_FLAG_ZERO(a.flags), type = WOQ_FLAG_SCALE(a.flags);
        const uint2 scale = ANY ? shared_pair(at) : make_uint2(shared_word(at), 0);
        uint2 zero = make_uint2(0, 0);
        if (ANY && kind != WOQ_ABI_ZERO_SYMMETRIC)
            zero = shared_pair(at + ZEROS);
        else if (kind == WOQ_ABI_ZERO_POINT)
            zero.x = shared_word(at + ZEROS);
#pragma unroll
        for (int high = 0; high < 2; high++) {
            const woq_u32 code = kind == WOQ_ABI_ZERO_POINT           ? woq_pair_byte(zero.x, lane >> 2, high)
                                 : ANY && kind == WOQ_ABI_ZERO_OFFSET ? 0u
                                                                      : woq_symmetric_zero<BITS>();
            to[high].zero = woq_zero<BITS, BF16>(code);
            if (!ANY) {
                pair_scale(scale.x, high, to[high]);
            } else {
                to[high].scale = woq_pair_element(type, scale, high);
                to[high].offset = kind == WOQ_ABI_ZERO_OFFSET ? woq_pair_element(type, zero, high) : 0.0f;
            }
        }
    }

    /* Operands of the four products of block `half` of the slot. */
    __device__ __forceinline__ void operands(const woq_args &a, const woq_magic<BITS, BF16> &magic, int half,
                                             woq_u32 (&to)[4][4])
    {
        const woq_u32 codes = slot + half * BLOCK_CODES;
#pragma unroll
        for (int unit = 0; unit < 2; unit++) {
            woq_u32 rows[2][4];
            if (QUANTIZED && (half * 2 + unit) % (4 / SETS) == 0)
                read_set(a, slot + sets + (half * 2 + unit) / (4 / SETS) * SET, now);
            if (!QUANTIZED) {
                const uint4 low = shared_vector(codes + unit * 1024u);
                const uint4 high = shared_vector(codes + unit * 1024u + 512u);
                rows[0][0] = low.x, rows[0][1] = low.y, rows[0][2] = low.z, rows[0][3] = low.w;
                rows[1][0] = high.x, rows[1][1] = high.y, rows[1][2] = high.z, rows[1][3] = high.w;
            } else {
                woq_codes<BITS> code[2];
                if (BITS == 4) {
                    const uint2 v = shared_pair(codes + unit * 8u);
                    code[0].word[0] = v.x, code[1].word[0] = v.y;
                } else {
                    const uint4 v = shared_vector(codes + unit * 512u);
                    code[0].word[0] = v.x, code[0].word[BITS / 8] = v.y;
                    code[1].word[0] = v.z, code[1].word[BITS / 8] = v.w;
                }
#pragma unroll
                for (int high = 0; high < 2; high++) {
                    woq_integers<BITS, BF16>(code[high], now[high].zero, magic, rows[high]);
                    if (ANY)
                        woq_scale_floats<BF16>(rows[high], now[high].scale, now[high].offset);
                    else if (SCALING == WOQ_SCALES_SPLIT)
                        woq_scale_split(rows[high], now[high].pair, now[high].lower);
                    else
                        woq_scale_pairs<BF16>(rows[high], now[high].pair);
                }
            }
#pragma unroll
            for (int j = 0; j < 2; j++) {
                to[2 * unit + j][0] = rows[0][2 * j];
                to[2 * unit + j][1] = rows[1][2 * j];
                to[2 * unit + j][2] = rows[0][2 * j + 1];
                to[2 * unit + j][3] = rows[1][2 * j + 1];
            }
        }
    }
};

/* ---- sums in the workspace ---- */

/* Of this block's thread in block `block`'s place; the next 4 lie a row of threads on. */
template <int ROWS>
static __device__ __forceinline__ float4 *stored_sums(const woq_u8 *workspace, const woq_args &a, woq_u32 block)
{
    const size_t bytes = warpgroups<ROWS>() * 64u * ROWS * sizeof(float);
    return (float4 *)(workspace + (a.sums_off + block * bytes)) + threadIdx.x;
}

static __device__ __forceinline__ woq_u32 *ready_flag(const woq_u8 *workspace, const woq_args &a, woq_u32 block,
                                                      woq_u32 warpgroup)
{
    return (woq_u32 *)(workspace + a.ready_off) + (block * 4u + warpgroup);
}

template <int ROWS>
static __device__ __forceinline__ void store_sums(const woq_u8 *workspace, const woq_args &a,
                                                  const float (&sums)[ROWS / 2])
{
    float4 *to = stored_sums<ROWS>(workspace, a, blockIdx.x);
    const woq_u32 warpgroup = threadIdx.x / 128u;
#pragma unroll
    for (int i = 0; i < ROWS / 8; i++)
        __stcg(to + i * warpgroups<ROWS>() * 128u,
               make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
    __threadfence();
    warpgroup_barrier(warpgroup);
    if (threadIdx.x % 128u == 0)
        asm volatile("st.release.gpu.global.u32 [%0], 1;" ::"l"(ready_flag(workspace, a, blockIdx.x, warpgroup))
                     : "memory");
}

/* Those of the blocks that began the tile whose blocks from `first` on are this one's. */
template <int ROWS>
static __device__ __forceinline__ void add_sums(const woq_u8 *workspace, const woq_args &a, woq_u32 first,
                                                float (&sums)[ROWS / 2])
{
    const woq_u32 warpgroup = threadIdx.x / 128u;
    for (woq_u32 block = (blockIdx.x * a.share - first) / a.share; block < blockIdx.x; block++) {
        const float4 *from = stored_sums<ROWS>(workspace, a, block);
        woq_u32 ready;
        do
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];"
                         : "=r"(ready)
                         : "l"(ready_flag(workspace, a, block, warpgroup))
                         : "memory");
        while (!ready);
#pragma unroll
        for (int i = 0; i < ROWS / 8; i++) {
            const float4 v = __ldcg(from + i * warpgroups<ROWS>() * 128u);
            sums[4 * i] += v.x, sums[4 * i + 1] += v.y, sums[4 * i + 2] += v.z, sums[4 * i + 3] += v.w;
        }
    }
}

/* ---- Y ---- */

/* Where a warpgroup's sums go: columns n0 … of Y, rows m0 …. */
struct target {
    woq_u32 n0, m0, out, warpgroup;
};

/* Elements as they are, 16 bits each, where whole vectors of Y take them: turned round in shared memory. */
template <int ROWS>
static __device__ __forceinline__ void store_vectors(woq_u8 *y, const woq_args &a, const target &to,
                                                     const float (&sums)[ROWS / 2])
{
    const woq_u32 thread = threadIdx.x & 127u, lane = thread & 31u, warp = thread >> 5;
#pragma unroll
    for (int first = 0; first < ROWS; first += 64) {
        if (to.m0 + first >= a.m)
            return;
        warpgroup_barrier(to.warpgroup);
#pragma unroll
        for (int i = 0; i < 4; i++) { /* 16 rows of X */
            woq_u32 v[4];
#pragma unroll
            for (int j = 0; j < 4; j++) { /* matrices: rows g, g+8 of the strip; then of the next 8 rows of X */
                const int at = ((first / 8 + 2 * i + j / 2) * 2 + (j & 1)) * 2;
                v[j] = WOQ_FLAG_Y(a.flags) == WOQ_ABI_F16 ? woq_pack<false>(sums[at], sums[at + 1])
                                                          : woq_pack<true>(sums[at], sums[at + 1]);
            }
            const woq_u32 row = i * 16u + (lane >> 4) * 8u + (lane & 7u), chunk = warp * 2u + (lane >> 3 & 1u);
            asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                             to.out + row * 128u + ((chunk ^ (row & 7u)) << 4)),
                         "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
                         : "memory");
        }
        warpgroup_barrier(to.warpgroup);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const woq_u32 row = i * 16u + thread / 8u, chunk = thread & 7u, m = to.m0 + first + row;
            const uint4 v = shared_vector(to.out + row * 128u + ((chunk ^ (row & 7u)) << 4));
            if (m < a.m)
                *(uint4 *)(y + (a.y_off + m * a.y_stride + (to.n0 + chunk * 8u) * 2u)) = v;
        }
    }
}

/* Through the epilogue, 16 rows of X at a time. */
template <int ROWS>
static __device__ __forceinline__ void store_each(woq_u8 *y, const woq_u8 *bias, const woq_u8 *residual,
                                                  const woq_args &a, const target &to,
                                                  const float (&sums)[ROWS / 2])
{
    const woq_u32 thread = threadIdx.x & 127u, lane = thread & 31u, warp = thread >> 5, pitch = 68; /* floats */
    const woq_u32 columns = woq_gated(a) ? 32u : 64u;
#pragma unroll 1
    for (woq_u32 step = 0; step < ROWS / 16; step++) {
        if (to.m0 + step * 16u >= a.m)
            return;
        warpgroup_barrier(to.warpgroup);
#pragma unroll
        for (int i = 0; i < ROWS / 16; i++) {
            if (step != i) /* registers have no run-time number */
                continue;
#pragma unroll
            for (int e = 0; e < 8; e++) {
                const woq_u32 row = e / 4 * 8u + 2u * (lane & 3u) + (e & 1);
                const woq_u32 column = warp * 16u + (e & 2) * 4u + (lane >> 2);
                asm volatile("st.shared.f32 [%0], %1;" ::"r"(to.out + (row * pitch + column) * 4u), "f"(sums[i * 8 + e])
                             : "memory");
            }
        }
        warpgroup_barrier(to.warpgroup);
#pragma unroll 1
        for (woq_u32 i = thread; i < 16u * columns; i += 128u) {
            const woq_u32 row = i / columns, n = i % columns, m = to.m0 + step * 16u + row;
            const woq_u32 at = to.out + (row * pitch + (woq_gated(a) ? n / 16u * 32u + n % 16u : n)) * 4u;
            if (m < a.m && to.n0 + n < a.n)
                woq_finish(y, bias, residual, a, m, to.n0 + n, shared_float(at),
                           woq_gated(a) ? shared_float(at + 64u) : 0.0f);
        }
    }
}

/* ---- the product ---- */

template <int ROWS, int SETS, woq_scaling SCALING>
static __device__ __forceinline__ void multiply(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias,
                                                const woq_u8 *residual, const woq_args &a, woq_u32 base)
{
    using S = shape<ROWS>;
    const woq_u32 warp = __shfl_sync(0xffffffffu, threadIdx.x >> 5, 0), warpgroup = warp >> 2;
    const bool elected = threadIdx.x % 128u == 0;
    const woq_magic<BITS, BF16> magic(a);
    weights_ring<ROWS, SETS, SCALING> ring(weights, a, base, warp, threadIdx.x & 31u);
#pragma unroll 1
    for (int i = 0; i < ring.SLOTS; i++)
        ring.fetch(weights, a);
    woq_await_steps();
    ring.slot = ring.begin;
    woq_u32 full = base + S::FULL, matrix = woq_matrix_low(base), parity = 0;
    for (woq_u32 number = 0;; number++) {
        const part_of_product part = read_part(base + S::PARTS, number);
        const woq_u32 count = part.last - part.first;
        if (count == 0)
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
                    woq_barrier_arrive(previous + (S::EMPTY - S::FULL));
                previous = full;
                full += 8u;
                matrix += S::STAGE / 16u;
                if (full == base + S::FULL + S::STAGES * 8u)
                    full -= S::STAGES * 8u, matrix -= S::STAGES * (S::STAGE / 16u), parity ^= 1u;
            }
        }
        woq_products_wait<0>();
        if (elected)
            woq_barrier_arrive(previous + (S::EMPTY - S::FULL));
        if (part.last < blocks_of(a)) {
            store_sums<ROWS>(x, a, sums);
            continue;
        }
        if (part.first)
            add_sums<ROWS>(x, a, part.first, sums);
        const bool gated = woq_gated(a);
        const target to = {(part.tile_w * warpgroups<ROWS>() + warpgroup) * (gated ? 32u : 64u), part.tile_x * ROWS,
                           base + S::OUT + warpgroup * WOQ_WGMMA_OUT, warpgroup};
        const bool as_they_are = !WOQ_FLAG_ACT(a.flags) && !WOQ_FLAG_BIAS(a.flags) && !WOQ_FLAG_RESIDUAL(a.flags) &&
                                 WOQ_FLAG_Y(a.flags) != WOQ_ABI_F32;
        if (as_they_are && to.n0 + 64u <= a.n && (((woq_u32)(size_t)y | a.y_off | a.y_stride) & 15u) == 0)
            store_vectors<ROWS>(y, a, to, sums);
        else
            store_each<ROWS>(y, bias, residual, a, to, sums);
    }
}

template <int ROWS>
static __device__ __forceinline__ void run(const woq_u8 *weights, const woq_u8 *x, woq_u8 *y, const woq_u8 *bias,
                                           const woq_u8 *residual, const woq_args &a)
{
    using S = shape<ROWS>;
    extern __shared__ uint4 pool[];
    const woq_u32 base = ((woq_u32)__cvta_generic_to_shared(pool) + 1023u) & ~1023u;
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            woq_barrier_make(base + S::FULL + i * 8, 1);
            woq_barrier_make(base + S::EMPTY + i * 8, warpgroups<ROWS>());
        }
        woq_barriers_made();
    }
    list_parts(a, base + S::PARTS);
    __syncthreads();
    if (threadIdx.x >= warpgroups<ROWS>() * 128u) {
        woq_await_steps();
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (threadIdx.x == warpgroups<ROWS>() * 128u)
            fetch_x<ROWS>(x, a, base);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(WOQ_WGMMA_REGISTERS(S::WARPGROUPS)));
        const bool offsets = WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_OFFSET;
        const bool half = !offsets && WOQ_FLAG_SCALE(a.flags) == (BF16 ? WOQ_ABI_BF16 : WOQ_ABI_F16);
        const bool split = !offsets && WOQ_FLAG_SCALE(a.flags) == WOQ_ABI_F16;
        const bool pairs = (a.k + 63u) / 64u % 2u == 0 && (a.group >= a.k || a.group % 128u == 0);
        const bool SPLITS = BF16 && CODE_BITS == 4;
        const woq_scaling SPLIT = SPLITS ? WOQ_SCALES_SPLIT : WOQ_SCALES_PAIRS;
#define MULTIPLY(sets, scaling) multiply<ROWS, sets, scaling>(weights, x, y, bias, residual, a, base)
        if (QUANTIZED && half && pairs)
            MULTIPLY(QUANTIZED ? 1 : 2, WOQ_SCALES_PAIRS);
        else if (!QUANTIZED || (half && (a.group >= a.k || a.group % 64u == 0)))
            MULTIPLY(2, WOQ_SCALES_PAIRS);
        else if (QUANTIZED && half)
            MULTIPLY(QUANTIZED ? 4 : 2, WOQ_SCALES_PAIRS);
        else if (SPLITS && split && pairs)
            MULTIPLY(SPLITS ? 1 : 2, SPLIT);
        else if (SPLITS && split)
            MULTIPLY(SPLITS ? 4 : 2, SPLIT);
        else if (QUANTIZED)
            MULTIPLY(QUANTIZED ? 4 : 2, QUANTIZED ? WOQ_SCALES_FLOATS : WOQ_SCALES_PAIRS);
#undef MULTIPLY
    }
}

#define ENTRY_NAME(rows, codes, type) woq_wgmma_##rows##_##codes##_##type
#define ENTRY(rows, codes, type)                                                                   \
    extern "C" __global__ void __launch_bounds__(WOQ_WGMMA_THREADS(shape<rows>::WARPGROUPS), 1)    \
        ENTRY_NAME(rows, codes, type)(WOQ_PARAMETERS)                                              \
    {                                                                                              \
        run<rows>(weights, x, y, bias, residual, a);                                               \
    }
#define SHAPE(rows) ENTRY(rows, CODES, X_TYPE)
WOQ_WGMMA_SHAPES(SHAPE)
#if CODE_BITS != 16
WOQ_WGMMA_QUANTIZED_SHAPES(SHAPE)
#endif
