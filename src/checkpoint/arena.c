/* arena.c: memory that lives as long as a checkpoint. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/checkpoint_impl.h"

enum { CHUNK_BYTES = 1 << 14 };

struct woqi_ckpt_chunk {
    struct woqi_ckpt_chunk *next;
    size_t used, size; /* bytes of `memory` */
    _Alignas(16) unsigned char memory[];
};

void *woqi_ckpt_alloc(struct woqi_ckpt_arena *arena, size_t count, size_t size)
{
    if (size && count > (SIZE_MAX - CHUNK_BYTES) / size)
        return NULL;
    const size_t bytes = (count * size + 15) / 16 * 16;
    struct woqi_ckpt_chunk *chunk = arena->chunks;
    if (!chunk || chunk->size - chunk->used < bytes) {
        const size_t room = bytes > CHUNK_BYTES / 4 ? bytes : CHUNK_BYTES;
        struct woqi_ckpt_chunk *fresh = calloc(1, sizeof *fresh + room);
        if (!fresh)
            return NULL;
        fresh->size = room;
        /* What fills its chunk goes behind the first, which has room left. */
        if (chunk && room == bytes) {
            fresh->next = chunk->next;
            chunk->next = fresh;
        } else {
            fresh->next = chunk;
            arena->chunks = fresh;
        }
        chunk = fresh;
    }
    void *memory = chunk->memory + chunk->used;
    chunk->used += bytes;
    return memory;
}

char *woqi_ckpt_copy(struct woqi_ckpt_arena *arena, const char *text, size_t size)
{
    char *copy = size < SIZE_MAX ? woqi_ckpt_alloc(arena, size + 1, 1) : NULL;
    if (copy && size)
        memcpy(copy, text, size);
    return copy;
}

void woqi_ckpt_arena_free(struct woqi_ckpt_arena *arena)
{
    while (arena->chunks) {
        struct woqi_ckpt_chunk *next = arena->chunks->next;
        free(arena->chunks);
        arena->chunks = next;
    }
}
