/*
 * pack.cu: weights in canonical order (woq/format.h) to layout FRAG16B (src/core/layout.h): codes, and tables of scales
 * and zeros. See core/kernels.h for the arguments.
 *
 * A warp takes a piece of 2048 bytes: it loads 16 bytes a lane, neighbours along a row, puts them into its part of
 * shared memory, and stores 16 bytes a lane, neighbours as the layout has them; so every sector of memory is moved
 * once, in both directions.
 *
 *     codes   16 rows (a strip) × 128 bytes of each, which are 2048 bytes of the strip one after the other; the bits of
 *             a lane's words are put in order between shared memory and store
 *     table   64 rows × 32 bytes of each; for each group in there 64 elements, one after the other
 *
 * Through perm, codes come to shared memory one by one; loads then hit a row's sectors in the caches.
 *
 * Padding rows become 0; padding columns the code whose weight is 0 (layout.h).
 *
 * Block: whole warps in x, 256 threads at most. Requires sm_75.
 */
#include "common.cuh"

#define WARPS 8
#define PIECE 2048u
#define ROW_BYTES 128u       /* of a row of codes in a piece */
#define TABLE_ROWS 64u       /* of a piece of a table */
#define TABLE_BYTES 32u      /* of each of them */
#define TABLE_PITCH 12u      /* words */
#define PART_WORDS 768u      /* of a warp in shared memory: 16 rows of codes, or 64 of a table, pitches included */

/* Words from a row of codes to the next: lanes that read together find different banks. */
template <int BITS> static __device__ __forceinline__ constexpr woq_u32 pitch()
{
    return BITS == 4 ? 36u : BITS == 8 ? 40u : 48u;
}

/* Is row `row` of the tile one of the source? */
static __device__ __forceinline__ bool is_real(const woq_args &a, woq_u32 row)
{
    return (a.granule ? row / (2u * a.granule) * a.granule + row % a.granule : row) < a.m;
}

/* Row `row` of the tile, below n_first + n, in the window X. */
static __device__ __forceinline__ const woq_u8 *source_row(const woq_u8 *x, const woq_args &a, woq_u32 row)
{
    return x + (a.x_off + (size_t)(row - a.n_first) * a.x_stride);
}

/* ---- codes ---- */

/* The code whose weight is 0, in the columns of a physical group; in every place of a word. */
template <int BITS>
static __device__ __forceinline__ woq_u32 padding_word(const woq_u8 *tile, const woq_args &a, woq_u32 row,
                                                       woq_u32 group)
{
    const woq_u32 zero = WOQ_FLAG_ZERO(a.flags), places = BITS == 4 ? 0x11111111u : 0x01010101u;
    if (BITS == 16)
        return 0;
    if (zero == WOQ_ABI_ZERO_SYMMETRIC)
        return (1u << (BITS - 1)) * places;
    if (zero == WOQ_ABI_ZERO_POINT)
        return tile[a.zeros_off + group * a.scale_stride + ((row & ~15u) | (row & 7u) << 1 | (row >> 3 & 1u))] * places;
    return 0;
}

/* A word of a row whose first column is `column`; from K on padding. */
template <int BITS>
static __device__ __forceinline__ woq_u32 end_row(const woq_args &a, woq_u32 word, woq_u32 column, woq_u32 padding)
{
    const woq_u32 places = 32u / BITS, left = a.k > column ? a.k - column : 0u;
    if (left >= places)
        return word;
    const woq_u32 kept = (1u << left * BITS) - 1u;
    return (word & kept) | (padding & ~kept);
}

/* 16 bytes of a row, from byte `at` of its canonical order on; `from` is where it begins, NULL for padding. */
template <int BITS>
static __device__ __forceinline__ uint4 load_codes(const woq_u8 *from, const woq_args &a, woq_u32 padding, woq_u32 at)
{
    const woq_u32 column = at * 8u / BITS, places = 32u / BITS;
    uint4 v = make_uint4(0, 0, 0, 0);
    if (from && column < a.k)
        v = woq_stream(from, at);
    return make_uint4(end_row<BITS>(a, v.x, column, padding), end_row<BITS>(a, v.y, column + places, padding),
                      end_row<BITS>(a, v.z, column + 2u * places, padding),
                      end_row<BITS>(a, v.w, column + 3u * places, padding));
}

/* What load_codes does for a whole piece, into shared memory. */
template <int BITS>
static __device__ __forceinline__ void fill_codes(const woq_u8 *tile, const woq_u8 *x, const woq_args &a, woq_u32 *part,
                                                  woq_u32 row, woq_u32 at, woq_u32 lane)
{
    const woq_u32 last = a.group ? (a.k - 1u) / a.group : 0u;
    const bool ends = (at + ROW_BYTES) * 8u / BITS > a.k;
    uint4 v[4];
#pragma unroll
    for (woq_u32 i = 0; i < 4u; i++) {
        const woq_u32 r = row + i * 4u + (lane >> 3);
        const bool real = is_real(a, r);
        const woq_u32 padding = ends && real ? padding_word<BITS>(tile, a, r, last) : 0u;
        v[i] = load_codes<BITS>(real ? source_row(x, a, r) : NULL, a, padding, at + (lane & 7u) * 16u);
    }
#pragma unroll
    for (woq_u32 i = 0; i < 4u; i++)
        *(uint4 *)(part + ((i * 4u + (lane >> 3)) * pitch<BITS>() + (lane & 7u) * 4u)) = v[i];
}

/* The same through perm: a lane makes a word of each row, of the same columns. */
template <int BITS>
static __device__ __forceinline__ void gather_codes(const woq_u8 *tile, const woq_u8 *x, const woq_args &a,
                                                    woq_u32 *part, woq_u32 row, woq_u32 at, woq_u32 lane)
{
    const woq_u32 first = (at + lane * 4u) * 8u / BITS;
    woq_u32 columns[32 / BITS]; /* of the source */
#pragma unroll
    for (woq_u32 i = 0; i < 32u / BITS; i++)
        columns[i] = first + i < a.k ? *(const woq_u32 *)(tile + (a.perm_off + (first + i) * 4u)) : WOQ_PERM_NONE;
#pragma unroll 1
    for (woq_u32 r = row; r < row + 16u; r++) {
        const woq_u8 *from = source_row(x, a, r);
        const bool real = is_real(a, r);
        woq_u32 word = 0;
#pragma unroll
        for (woq_u32 i = 0; i < 32u / BITS; i++) {
            woq_u32 code = 0;
            if (real && columns[i] == WOQ_PERM_NONE)
                code = padding_word<BITS>(tile, a, r, min(first + i, a.k - 1u) / a.group);
            else if (real)
                code = BITS == 4 ? (woq_u32)__ldg(from + (columns[i] >> 1)) >> (columns[i] & 1u) * 4u
                                 : (woq_u32)__ldg(from + columns[i]);
            word |= (code & ((1u << BITS) - 1u)) << i * BITS;
        }
        part[(r - row) * pitch<BITS>() + lane] = word;
    }
}

/* Exchanges the bits of `mask` in b with those that lie `shift` higher in a. */
static __device__ __forceinline__ void exchange(woq_u32 &a, woq_u32 &b, woq_u32 shift, woq_u32 mask)
{
    const woq_u32 t = (a >> shift ^ b) & mask;
    b ^= t;
    a ^= t << shift;
}

/* Columns 0 … 7 of 4 rows to words of two neighbouring columns. */
static __device__ __forceinline__ uint4 pair_nibbles(woq_u32 a, woq_u32 b, woq_u32 c, woq_u32 d)
{
    exchange(a, c, 8, 0x00ff00ffu); /* 4 × 4 nibbles in each half of a word */
    exchange(b, d, 8, 0x00ff00ffu);
    exchange(a, b, 4, 0x0f0f0f0fu);
    exchange(c, d, 4, 0x0f0f0f0fu);
    return make_uint4(__byte_perm(a, b, 0x5410), __byte_perm(c, d, 0x5410), __byte_perm(a, b, 0x7632),
                      __byte_perm(c, d, 0x7632));
}

/* Lane's vector number `i` of the piece. part: rows in canonical order. */
template <int BITS> static __device__ __forceinline__ uint4 lane_codes(const woq_u32 *part, woq_u32 i, woq_u32 lane)
{
    const woq_u32 *low = part + (lane >> 2) * pitch<BITS>(), *high = low + 8u * pitch<BITS>(), t = lane & 3u;
    if (BITS == 4) /* a block of 64 columns */
        return pair_nibbles(low[i * 8u + t], high[i * 8u + t], low[i * 8u + 4u + t], high[i * 8u + 4u + t]);
    if (BITS == 8) { /* a unit of 32 columns */
        const uint2 a = *(const uint2 *)(low + (i * 8u + 2u * t)), b = *(const uint2 *)(high + (i * 8u + 2u * t));
        return make_uint4(__byte_perm(a.x, b.x, 0x5140), __byte_perm(a.x, b.x, 0x7362),
                          __byte_perm(a.y, b.y, 0x5140), __byte_perm(a.y, b.y, 0x7362));
    }
    return *(const uint4 *)((i & 1u ? high : low) + ((i >> 1) * 16u + 4u * t)); /* half of a unit */
}

/* Piece `piece` of strip `strip`, both of this step. */
template <int BITS>
static __device__ __forceinline__ void pack_codes(woq_u8 *tile, const woq_u8 *x, const woq_args &a, woq_u32 *part,
                                                  woq_u32 strip, woq_u32 piece, woq_u32 lane)
{
    const woq_u32 row = a.n_first + strip * 16u, end = a.codes_stride - piece * PIECE; /* bytes left of the strip */
    woq_u8 *to = tile + (a.codes_off + strip * a.codes_stride + piece * PIECE);
    __syncwarp(); /* the piece before has been read */
    if (BITS != 16 && WOQ_FLAG_PERM(a.flags))
        gather_codes<BITS>(tile, x, a, part, row, piece * ROW_BYTES, lane);
    else
        fill_codes<BITS>(tile, x, a, part, row, piece * ROW_BYTES, lane);
    __syncwarp();
#pragma unroll
    for (woq_u32 i = 0; i < 4u; i++)
        if (i * 512u < end)
            *(uint4 *)(to + (i * 512u + lane * 16u)) = lane_codes<BITS>(part, i, lane);
}

/* ---- tables ---- */

/* Is row `row` of the tile one of this step and of the source? */
static __device__ __forceinline__ bool has_elements(const woq_args &a, woq_u32 row)
{
    return row < a.n_first + a.n && is_real(a, row);
}

/* The rows' bytes `column` … column+31, into shared memory. */
template <int SIZE>
static __device__ __forceinline__ void fill_table(const woq_u8 *x, const woq_args &a, woq_u32 *part, woq_u32 row,
                                                  woq_u32 column, woq_u32 lane)
{
    const woq_u32 at = column + (lane & 1u) * 16u;
    uint4 v[4];
#pragma unroll
    for (woq_u32 i = 0; i < 4u; i++) {
        const woq_u32 r = row + i * 16u + (lane >> 1);
        v[i] = make_uint4(0, 0, 0, 0);
        if (at < a.k * SIZE && has_elements(a, r))
            v[i] = woq_stream(source_row(x, a, r), at);
    }
#pragma unroll
    for (woq_u32 i = 0; i < 4u; i++)
        *(uint4 *)(part + ((i * 16u + (lane >> 1)) * TABLE_PITCH + (lane & 1u) * 4u)) = v[i];
}

/* The same through the groups' numbers in the source. */
template <int SIZE>
static __device__ __forceinline__ void gather_table(const woq_u8 *x, const woq_args &a, woq_u32 *part, woq_u32 row,
                                                    woq_u32 column, woq_u32 lane)
{
    const woq_u32 first = (column + (lane & 7u) * 4u) / SIZE; /* of the groups in the lane's word */
#pragma unroll 1
    for (woq_u32 i = lane >> 3; i < TABLE_ROWS; i += 4u) {
        woq_u32 word = 0;
#pragma unroll
        for (woq_u32 e = 0; e < 4u / SIZE; e++)
            if (first + e < a.k && has_elements(a, row + i)) {
                const woq_u8 *from = source_row(x, a, row + i) +
                                     (size_t)*(const woq_u32 *)(x + (a.perm_off + (first + e) * 4u)) * SIZE;
                word |= SIZE == 1   ? (woq_u32)*from << 8u * e
                        : SIZE == 2 ? (woq_u32)*(const woq_u16 *)from << 16u * e
                                    : *(const woq_u32 *)from;
            }
        part[i * TABLE_PITCH + (lane & 7u)] = word;
    }
}

/* Elements of group `group` of the piece, from place `place` of its rows on, as many as 16 bytes hold. */
template <int SIZE>
static __device__ __forceinline__ uint4 table_elements(const woq_u32 *part, woq_u32 group, woq_u32 place)
{
    woq_u32 words[4] = {0, 0, 0, 0};
#pragma unroll
    for (woq_u32 i = 0; i < 16u / SIZE; i++) {
        const woq_u32 p = place + i, row = (p & ~15u) | (p >> 1 & 7u) | (p & 1u) << 3;
        const woq_u32 word = part[row * TABLE_PITCH + group * SIZE / 4u] >> group * SIZE % 4u * 8u;
        words[i * SIZE / 4u] |= (SIZE == 4 ? word : word & ((1u << SIZE * 8 % 32) - 1u)) << i * SIZE % 4u * 8u;
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
}

/* Rows `first` of this step and the 63 behind it, of the groups in bytes `column` … column+31 of the source's rows. */
template <int SIZE>
static __device__ __forceinline__ void pack_table(woq_u8 *tile, const woq_u8 *x, const woq_args &a, woq_u32 *part,
                                                  woq_u32 first, woq_u32 column, woq_u32 lane)
{
    __syncwarp(); /* the piece before has been read */
    if (WOQ_FLAG_PERM(a.flags))
        gather_table<SIZE>(x, a, part, a.n_first + first, column, lane);
    else
        fill_table<SIZE>(x, a, part, a.n_first + first, column, lane);
    __syncwarp();
#pragma unroll 1
    for (woq_u32 i = 0; i < 4u; i++) {
        const woq_u32 vector = i * 32u + lane, group = vector / (4u * SIZE), g = column / SIZE + group;
        const woq_u32 place = vector % (4u * SIZE) * (16u / SIZE);
        if (g < a.k && first + place < a.n)
            *(uint4 *)(tile + (a.y_off + g * a.y_stride + (first + place) * SIZE)) =
                table_elements<SIZE>(part, group, place);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32, 5) woq_pack(WOQ_PARAMETERS)
{
    WOQ_WINDOWS
    __shared__ uint4 parts[WARPS][PART_WORDS / 4u];
    (void)weights, (void)bias, (void)residual;
    woq_u32 *part = (woq_u32 *)parts[threadIdx.x >> 5];
    const woq_u32 lane = threadIdx.x & 31u, warps = gridDim.x * (blockDim.x >> 5);
    const woq_u32 first = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
    const bool table = a.codes_stride == 0;
    const woq_u32 code = WOQ_FLAG_CODE(a.flags);
    const woq_u32 bytes = table ? a.k * a.group : a.codes_stride, wide = table ? TABLE_BYTES : PIECE;
    const woq_u32 across = (bytes + wide - 1u) / wide, down = table ? (a.n + TABLE_ROWS - 1u) / TABLE_ROWS : a.n >> 4;
    woq_await_steps();
    for (woq_u32 i = first; i < across * down; i += warps) {
        const woq_u32 line = i / across, place = i % across;
        if (table && a.group == 1u)
            pack_table<1>(y, x, a, part, line * TABLE_ROWS, place * TABLE_BYTES, lane);
        else if (table && a.group == 2u)
            pack_table<2>(y, x, a, part, line * TABLE_ROWS, place * TABLE_BYTES, lane);
        else if (table)
            pack_table<4>(y, x, a, part, line * TABLE_ROWS, place * TABLE_BYTES, lane);
        else if (code == WOQ_ABI_U4)
            pack_codes<4>(y, x, a, part, line, place, lane);
        else if (code == WOQ_ABI_U8)
            pack_codes<8>(y, x, a, part, line, place, lane);
        else
            pack_codes<16>(y, x, a, part, line, place, lane);
    }
}
