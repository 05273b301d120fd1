/*
 * wgmma_weights.cuh: weights for kernel wgmma: a warp fetches codes, scales and zeros of its strip into a ring of its
 * own, and makes operands of them.
 */
#ifndef WOQ_WGMMA_WEIGHTS_CUH
#define WOQ_WGMMA_WEIGHTS_CUH

#include "copies.cuh"
#include "fragment.cuh"
#include "wgmma_block.cuh"

/*
 * NATURAL: X is in shared memory as it is, and a product's operand B has two of its chunks of 8 columns; so lane t of a
 * quad needs the columns 2t and 2t+1 of each chunk of a unit, where layout FRAG16B gives it a chunk. That is word t of
 * what each lane of the quad has, and ldmatrix takes 4 matrices of 8 quads, a lane's 16 bytes being a row: matrix t of
 * lanes t. Lanes have places in shared memory such that these 8 share no bank; 8 neighbours have theirs in one line of
 * 128 bytes, or copies take several times as long.
 */
static __device__ __forceinline__ woq_u32 lane_place(woq_u32 lane)
{
    return (lane ^ lane >> 3) * 16u;
}

/* Word t of what the 4 lanes of the quad have stored; lane i says where lane 4·(i mod 8) + i/8 did. */
static __device__ __forceinline__ uint4 quad_words(woq_u32 at)
{
    uint4 v;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(at)
                 : "memory");
    return v;
}

/* SETS of scales in a slot: 1, groups are whole pairs of blocks, and K is; 2, they are whole blocks; 4, whole units or
 * less. ONE_PART: there is no second one. */
template <int ROWS, int SETS, woq_scaling SCALING, bool NATURAL, bool ONE_PART> struct weights_ring {
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
    woq_u32 quad;                /* NATURAL: from there to what it says to quad_words */
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
        const woq_u32 own = lane_place(lane);
        begin = slot = shared + S::RINGS + warp * S::RING + own;
        sets = 2u * BLOCK_CODES + lane * ENTRY - own;
        quad = lane_place((lane & 7u) * 4u + (lane >> 3)) - own;
        group_columns = group_of(a);
        last_group = (a.k - 1u) / group_columns;
        part = left = present = row = group = place = 0;
        code = weights;
        scale_table = weights + a.scales_off;
        zero_table = weights + (a.zeros_off - (a.zeros_off + 2u * (lane >> 2) & 3u));
        if (PAIRS && WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_SYMMETRIC) { /* once: nothing is copied there */
            for (int i = 0; i < SLOTS; i++)
                store_word(begin + i * SLOT + sets + ZEROS, woq_symmetric_zero<BITS>() * 0x01010101u);
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
            if (NATURAL)
                __syncwarp(); /* others have read what this lane copied */
#pragma unroll
            for (int i = 0; i < CODE_BITS / 2; i++)
                woq_copy_vector<true>(slot + i * 512u, code + i * 512u, PAIRS || i < CODE_BITS / 4 || present > 1u);
            if (PAIRS) {
                /* Addresses of the tables are kept where there are registers for them. */
                const bool FEW = ROWS == 256 || (ROWS == 128 && NATURAL);
                const woq_u8 *scales = FEW ? weights + a.scales_off : scale_table;
                const woq_u8 *zeros = FEW ? weights + (a.zeros_off + row & ~3u) : zero_table + row;
                woq_copy_words(slot + sets, scales + (size_t)row * 2u, false, true);
                woq_copy_word_if(slot + sets + ZEROS, zeros, WOQ_FLAG_ZERO(a.flags) == WOQ_ABI_ZERO_POINT);
                place -= COLUMNS;
                if (place == 0)
                    place = group_columns, row += a.scale_stride;
            } else if (QUANTIZED) {
                fetch_sets(weights, a);
            }
            code += 2u * BLOCK_CODES;
            present -= 2u;
            if (--left == 0 && !ONE_PART)
                next_part(weights, a);
        }
        woq_copies_end();
        slot = slot == begin + (SLOTS - 1) * SLOT ? begin : slot + SLOT;
    }

    /* Until the slot to read is full. */
    static __device__ __forceinline__ void wait()
    {
        woq_copies_wait<SLOTS - 1>();
        if (NATURAL)
            __syncwarp(); /* it reads what others copied */
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
        woq_codes code;
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
                if (BITS == 8 || unit == 0)
                    code = woq_codes(NATURAL ? quad_words(codes + quad + unit * 512u)
                                             : shared_vector(codes + unit * 512u));
#pragma unroll
                for (int high = 0; high < 2; high++) {
                    woq_integers<BITS, BF16>(code, unit, high, now[high].zero, magic, rows[high]);
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

#endif
