/* file_bytes.h: bytes of a file under construction. */
#ifndef TEST_FILE_BYTES_H
#define TEST_FILE_BYTES_H

#include <stddef.h>
#include <stdint.h>

struct file_bytes {
    size_t size;
    uint8_t data[1 << 16];
};

void file_put(struct file_bytes *f, const void *bytes, size_t size);
void file_put_number(struct file_bytes *f, uint64_t value, unsigned bytes); /* little-endian */
void file_put_string(struct file_bytes *f, const char *text); /* GGUF: u64 size, bytes */
void file_pad(struct file_bytes *f, size_t alignment);

/* GGUF: header; a pair of key and u32, of key and string, of key and float; a tensor's
 * description. */
void gguf_begin(struct file_bytes *f, uint32_t version, uint64_t tensors, uint64_t keys);
void gguf_uint(struct file_bytes *f, const char *key, uint32_t value);
void gguf_text(struct file_bytes *f, const char *key, const char *value);
void gguf_float(struct file_bytes *f, const char *key, float value);
void gguf_tensor(struct file_bytes *f, const char *name, uint32_t type, uint64_t rows,
                 uint64_t columns, uint64_t offset);

/* safetensors: header and `data` zero bytes. */
void safetensors_make(struct file_bytes *f, const char *header, size_t data);

#endif
