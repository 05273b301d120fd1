/* pack_unit.c: orders of 16 rows × 64 columns, by words of 8 bytes; every host is little-endian. */
#include "pack_unit.h"

#include <string.h>

#define LOW_NIBBLES UINT64_C(0x0f0f0f0f0f0f0f0f)
#define LOW_HALF    UINT64_C(0x00000000ffffffff)

static uint64_t load(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

static void store(uint8_t *to, uint64_t word)
{
    memcpy(to, &word, sizeof word);
}

/* Exchanges the bits of `mask` in b with those that lie `shift` higher in a. */
static inline void exchange(uint64_t *a, uint64_t *b, unsigned shift, uint64_t mask)
{
    uint64_t t = (*a >> shift ^ *b) & mask;
    *b ^= t;
    *a ^= t << shift;
}

/* Exchanges the bits of `mask` with those that lie `shift` higher. */
static inline uint64_t swap(uint64_t word, unsigned shift, uint64_t mask)
{
    uint64_t t = (word >> shift ^ word) & mask;
    return word ^ t ^ t << shift;
}

/* 8 × 8 bytes: byte i of word j becomes byte j of word i. By halves, quarters, eighths, as with any matrix of blocks:
 * the upper right block changes places with the lower left one. */
static inline void transpose_bytes(uint64_t w[8])
{
    for (unsigned j = 0; j < 4; j++)
        exchange(&w[j], &w[j + 4], 32, LOW_HALF);
    for (unsigned j = 0; j < 4; j++)
        exchange(&w[j / 2 * 4 + j % 2], &w[j / 2 * 4 + j % 2 + 2], 16, UINT64_C(0x0000ffff0000ffff));
    for (unsigned j = 0; j < 8; j += 2)
        exchange(&w[j], &w[j + 1], 8, UINT64_C(0x00ff00ff00ff00ff));
}

/* 4 × 4 elements of 16 bits. */
static inline void transpose_halves(uint64_t w[4])
{
    exchange(&w[0], &w[2], 32, LOW_HALF);
    exchange(&w[1], &w[3], 32, LOW_HALF);
    exchange(&w[0], &w[1], 16, UINT64_C(0x0000ffff0000ffff));
    exchange(&w[2], &w[3], 16, UINT64_C(0x0000ffff0000ffff));
}

/* The word at byte `at` of rows first … first+7. */
static inline void load_rows(const struct woqi_unit *unit, unsigned first, unsigned at, uint64_t w[8])
{
    for (unsigned j = 0; j < 8; j++)
        w[j] = load(unit->rows[first + j] + at);
}

static inline void store_rows(struct woqi_unit *unit, unsigned first, unsigned at, const uint64_t w[8])
{
    for (unsigned j = 0; j < 8; j++)
        store(unit->rows[first + j] + at, w[j]);
}

void woqi_unit_to_panel(const struct woqi_unit *unit, unsigned bits, uint8_t *out)
{
    uint64_t low[8], high[8];
    if (bits == 16) {
        for (unsigned q = 0; q < 16; q++)
            for (unsigned r = 0; r < 16; r += 4) {
                for (unsigned j = 0; j < 4; j++)
                    low[j] = load(unit->rows[r + j] + 8 * q);
                transpose_halves(low);
                for (unsigned c = 0; c < 4; c++)
                    store(out + (4 * q + c) * 32 + 2 * r, low[c]);
            }
        return;
    }
    for (unsigned q = 0; q < bits; q++) { /* 8 bytes of each row */
        load_rows(unit, 0, 8 * q, low);
        load_rows(unit, 8, 8 * q, high);
        transpose_bytes(low);
        transpose_bytes(high);
        uint8_t *to = out + 128 * q;
        for (unsigned c = 0; c < 8; c++) {
            uint64_t a = low[c], b = high[c];
            if (bits == 4) {
                a = (low[c] & LOW_NIBBLES) | (high[c] & LOW_NIBBLES) << 4;
                b = (low[c] >> 4 & LOW_NIBBLES) | (high[c] & ~LOW_NIBBLES);
            }
            store(to + 16 * c, a);
            store(to + 16 * c + 8, b);
        }
    }
}

void woqi_unit_from_panel(const uint8_t *panel, unsigned bits, struct woqi_unit *unit)
{
    uint64_t low[8], high[8];
    for (unsigned q = 0; q < bits; q++) {
        const uint8_t *from = panel + 128 * q;
        for (unsigned c = 0; c < 8; c++) {
            uint64_t a = load(from + 16 * c), b = load(from + 16 * c + 8);
            low[c] = a, high[c] = b;
            if (bits == 4) {
                low[c] = (a & LOW_NIBBLES) | (b & LOW_NIBBLES) << 4;
                high[c] = (a >> 4 & LOW_NIBBLES) | (b & ~LOW_NIBBLES);
            }
        }
        transpose_bytes(low);
        transpose_bytes(high);
        store_rows(unit, 0, 8 * q, low);
        store_rows(unit, 8, 8 * q, high);
    }
}

/* Rows g (a) and g + 8 (b) of U4, 32 bytes each, to lanes 4g … 4g+3. */
static inline void strip_nibbles(const uint8_t *a, const uint8_t *b, uint8_t *out)
{
    const uint64_t two = UINT64_C(0x00ff00ff00ff00ff), one = UINT64_C(0x0f0f0f0f0f0f0f0f);
    for (unsigned t = 0; t < 4; t += 2) { /* two lanes */
        uint64_t w[4] = {load(a + 4 * t), load(b + 4 * t), load(a + 4 * t + 16), load(b + 4 * t + 16)};
        /* 4 × 4 nibbles in each 16 bits: nibble i of word j becomes nibble j of word i. */
        exchange(&w[0], &w[2], 8, two);
        exchange(&w[1], &w[3], 8, two);
        exchange(&w[0], &w[1], 4, one);
        exchange(&w[2], &w[3], 4, one);
        transpose_halves(w);
        for (unsigned i = 0; i < 4; i++)
            store(out + 16 * t + 8 * i, w[i]);
    }
}

/* Bytes 0 … 3 and 4 … 7 of the word become neighbours: 0 4 1 5 2 6 3 7. */
static inline uint64_t shuffle_bytes(uint64_t word)
{
    word = swap(word, 16, UINT64_C(0x00000000ffff0000));
    return swap(word, 8, UINT64_C(0x0000ff000000ff00));
}

/* The same of U8, 32 columns. */
static inline void strip_bytes(const uint8_t *a, const uint8_t *b, uint8_t *out)
{
    for (unsigned t = 0; t < 4; t++) {
        uint64_t low = load(a + 8 * t), high = load(b + 8 * t);
        exchange(&low, &high, 32, LOW_HALF);
        store(out + 16 * t, shuffle_bytes(low));
        store(out + 16 * t + 8, shuffle_bytes(high));
    }
}

void woqi_unit_to_strip(const struct woqi_unit *unit, unsigned bits, uint8_t *out)
{
    for (unsigned g = 0; g < 8; g++) {
        const uint8_t *a = unit->rows[g], *b = unit->rows[g + 8];
        uint8_t *to = out + 64 * g;
        if (bits == 4) {
            strip_nibbles(a, b, to);
        } else if (bits == 8) {
            strip_bytes(a, b, to);
            strip_bytes(a + 32, b + 32, to + 512);
        } else {
            memcpy(to, a, 64);
            memcpy(to + 512, b, 64);
            memcpy(to + 1024, a + 64, 64);
            memcpy(to + 1536, b + 64, 64);
        }
    }
}
