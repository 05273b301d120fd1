/*
 * fingerprint.c: which checkpoint it is, by 256 bits; no guard against someone who wants two to be alike.
 *
 * Each tensor gives four lanes of 64 bits: words are xor-ed with a constant of the lane and go, with what the lane
 * held, through SplitMix64's finalizer. The lanes of all tensors are added, so the files' order and number do not
 * matter. Of a tensor's bytes 16 pieces of 4 KiB are read, its ends among them, or all if it is no larger than these
 * together.
 */
#include "statistics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { LANES = 4, PIECES = 16, PIECE = 4096 };

struct lanes {
    uint64_t v[LANES];
};

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void add_word(struct lanes *l, uint64_t word)
{
    for (unsigned i = 0; i < LANES; i++)
        l->v[i] = mix(l->v[i] * 3 + (word ^ UINT64_C(0x9e3779b97f4a7c15) * (i + 1)));
}

/* Bytes as little-endian words, behind their number. */
static void add_bytes(struct lanes *l, const void *data, size_t size)
{
    const uint8_t *at = data;
    add_word(l, size);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = 0;
        for (size_t j = i; j < size && j < i + 8; j++)
            word |= (uint64_t)at[j] << 8 * (j - i);
        add_word(l, word);
    }
}

static void add_tensor(struct lanes *l, const struct woq_tensor *t)
{
    add_bytes(l, t->name, strlen(t->name));
    add_bytes(l, t->type_name, strlen(t->type_name));
    add_word(l, t->rank);
    for (uint32_t i = 0; i < t->rank; i++)
        add_word(l, t->shape[i]);
    add_word(l, t->bytes);
    const uint8_t *data = t->data;
    if (t->bytes <= (uint64_t)PIECES * PIECE) {
        if (t->bytes)
            add_bytes(l, data, (size_t)t->bytes);
        return;
    }
    const uint64_t last = t->bytes - PIECE; /* begin of the last piece; last / 15 · 15 + last % 15 · i / 15 = i-th */
    for (uint64_t i = 0; i < PIECES; i++)
        add_bytes(l, data + last / (PIECES - 1) * i + last % (PIECES - 1) * i / (PIECES - 1), PIECE);
}

enum woq_status woqi_checkpoint_fingerprint(const struct woq_checkpoint *checkpoint, char out[65])
{
    struct lanes all = {{0}};
    const size_t count = woq_checkpoint_tensor_count(checkpoint);
    *out = 0;
    if (!count)
        return woq_report(WOQ_ERROR_INVALID_DATA, "%s: holds no tensor", woq_checkpoint_path(checkpoint));
    for (size_t i = 0; i < count; i++) {
        struct lanes one = {{0}};
        add_tensor(&one, woq_checkpoint_tensor(checkpoint, i));
        for (int j = 0; j < LANES; j++)
            all.v[j] += one.v[j];
    }
    for (int j = 0; j < LANES; j++)
        snprintf(out + j * 16, 17, "%016" PRIx64, all.v[j]);
    return WOQ_OK;
}
