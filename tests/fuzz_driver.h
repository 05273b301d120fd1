/*
 * fuzz_driver.h: for fuzz targets of file formats, without libFuzzer: a driver that mutates seed files.
 *
 *     fuzz_gguf [count] [seed] FILE...
 */
#ifndef FUZZ_DRIVER_H
#define FUZZ_DRIVER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_FILE = 1 << 16 }; /* bytes at most */

#ifdef FUZZ_STANDALONE

static uint64_t fuzz_state = 1;

static uint64_t fuzz_random(uint64_t limit)
{
    fuzz_state = fuzz_state * 6364136223846793005u + 1442695040888963407u;
    return (fuzz_state >> 32) % limit;
}

static void fuzz_mutate(uint8_t *bytes, size_t *size)
{
    static const uint8_t odd[] = {0, 1, 0x7f, 0x80, 0xff, '"', '{', '[', '9', '-'};
    for (uint64_t left = 1 + fuzz_random(6); left && *size; left--) {
        const size_t at = (size_t)fuzz_random(*size), run = (size_t)fuzz_random(9);
        switch (fuzz_random(5)) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << fuzz_random(8));
            break;
        case 1:
            bytes[at] = odd[fuzz_random(sizeof odd)];
            break;
        case 2:
            *size = at;
            break;
        case 3:
            memset(bytes + at, odd[fuzz_random(sizeof odd)], run < *size - at ? run : *size - at);
            break;
        default:
            memmove(bytes + at, bytes + fuzz_random(at + 1), run < *size - at ? run : *size - at);
            break;
        }
    }
}

static uint8_t *fuzz_load(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(FUZZ_FILE);
    if (!file || !bytes) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    *size = fread(bytes, 1, FUZZ_FILE, file);
    fclose(file);
    return bytes;
}

int main(int argc, char **argv)
{
    const unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    fuzz_state = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
    for (int i = 3; i < argc; i++) {
        size_t size;
        uint8_t *seed = fuzz_load(argv[i], &size);
        LLVMFuzzerTestOneInput(seed, size);
        for (unsigned long j = 0; j < count; j++) {
            size_t left = size;
            /* Of just this size, so that AddressSanitizer sees a byte too far. */
            uint8_t *bytes = malloc(size ? size : 1);
            if (!bytes)
                return 1;
            memcpy(bytes, seed, size);
            fuzz_mutate(bytes, &left);
            uint8_t *exact = realloc(bytes, left ? left : 1);
            LLVMFuzzerTestOneInput(exact ? exact : bytes, left);
            free(exact ? exact : bytes);
        }
        free(seed);
    }
    printf("%lu inputs from each of %d files\n", count, argc > 3 ? argc - 3 : 0);
    return 0;
}

#endif
#endif
