/* utf8_clean.c: well-formed UTF-8, and the two spellings of tokens in files. */
#include "tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

/* The Unicode Standard, table 3-7: well-formed byte sequences. */
size_t woqi_tok_utf8(const char *text, size_t size, uint32_t *code)
{
    const uint8_t *p = (const uint8_t *)text;
    if (!size)
        return 0;
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3
                                                              : p[0] < 0xf5   ? 4
                                                                              : 0;
    if (!length || length > size)
        return 0;
    uint32_t value = length == 1 ? p[0] : p[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (p[i] & 0x3fu);
    }
    bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
    if (overlong || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return 0;
    if (code)
        *code = value;
    return length;
}

bool woqi_tok_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

char *woqi_tok_clean(const char *text, size_t size, size_t *out_size)
{
    size_t bad = 0;
    for (size_t i = 0; i < size;) {
        size_t n = woqi_tok_utf8(text + i, size - i, NULL);
        bad += !n;
        i += n ? n : 1;
    }
    if (bad > (SIZE_MAX - size - 1) / 2)
        return NULL;
    char *out = malloc(size + 2 * bad + 1);
    if (!out)
        return NULL;
    char *to = out;
    for (size_t i = 0; i < size;) {
        size_t n = woqi_tok_utf8(text + i, size - i, NULL);
        memcpy(to, n ? text + i : "\xef\xbf\xbd", n ? n : 3);
        to += n ? n : 3;
        i += n ? n : 1;
    }
    *out_size = (size_t)(to - out);
    return out;
}

/*
 * GPT-2's spelling of bytes: those that are printable in Latin-1 as themselves, the other 68 in rising order as
 * U+0100 and on. Returns -1 for characters that spell no byte.
 */
static int byte_of(uint32_t code)
{
    if ((code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174 && code <= 255))
        return (int)code;
    if (code < 256 || code > 256 + 67)
        return -1;
    int n = (int)code - 256;
    return n < 33 ? n : n < 67 ? n - 33 + 127 : 173;
}

size_t woqi_tok_unspell(const char *text, size_t size, char *out)
{
    size_t count = 0;
    for (size_t i = 0; i < size;) {
        uint32_t code = 0;
        size_t n = woqi_tok_utf8(text + i, size - i, &code);
        int byte = n ? byte_of(code) : -1;
        if (byte < 0) {
            memcpy(out, text, size);
            return size;
        }
        out[count++] = (char)byte;
        i += n;
    }
    return count;
}

size_t woqi_tok_unescape(const char *text, size_t size, char *out)
{
    size_t count = 0;
    for (size_t i = 0; i < size;) {
        bool escaped = size - i >= 3 && !memcmp(text + i, "\xe2\x96\x81", 3);
        out[count++] = escaped ? ' ' : text[i];
        i += escaped ? 3 : 1;
    }
    return count;
}
