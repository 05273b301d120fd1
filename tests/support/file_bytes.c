/* file_bytes.c: writers of model files that share no code with the readers. */
#include "file_bytes.h"

#include <stdlib.h>
#include <string.h>

void file_put(struct file_bytes *f, const void *bytes, size_t size)
{
    if (size > sizeof f->data - f->size)
        abort();
    if (size)
        memcpy(f->data + f->size, bytes, size);
    f->size += size;
}

void file_put_number(struct file_bytes *f, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        const uint8_t byte = (uint8_t)(value >> 8 * i);
        file_put(f, &byte, 1);
    }
}

void file_put_string(struct file_bytes *f, const char *text)
{
    file_put_number(f, strlen(text), 8);
    file_put(f, text, strlen(text));
}

void file_pad(struct file_bytes *f, size_t alignment)
{
    while (f->size % alignment)
        file_put_number(f, 0, 1);
}

void gguf_begin(struct file_bytes *f, uint32_t version, uint64_t tensors, uint64_t keys)
{
    f->size = 0;
    file_put(f, "GGUF", 4);
    file_put_number(f, version, 4);
    file_put_number(f, tensors, 8);
    file_put_number(f, keys, 8);
}

void gguf_uint(struct file_bytes *f, const char *key, uint32_t value)
{
    file_put_string(f, key);
    file_put_number(f, 4, 4);
    file_put_number(f, value, 4);
}

void gguf_text(struct file_bytes *f, const char *key, const char *value)
{
    file_put_string(f, key);
    file_put_number(f, 8, 4);
    file_put_string(f, value);
}

void gguf_float(struct file_bytes *f, const char *key, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    file_put_string(f, key);
    file_put_number(f, 6, 4);
    file_put_number(f, bits, 4);
}

void gguf_tensor(struct file_bytes *f, const char *name, uint32_t type, uint64_t rows,
                 uint64_t columns, uint64_t offset)
{
    file_put_string(f, name);
    file_put_number(f, 2, 4);
    file_put_number(f, columns, 8);
    file_put_number(f, rows, 8);
    file_put_number(f, type, 4);
    file_put_number(f, offset, 8);
}

void safetensors_make(struct file_bytes *f, const char *header, size_t data)
{
    f->size = 0;
    file_put_string(f, header);
    for (size_t i = 0; i < data; i++)
        file_put_number(f, 0, 1);
}
