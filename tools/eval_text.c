/* eval_text.c: the text that models are to predict. */
#include "eval.h"

#include <errno.h>
#include <string.h>

/* Bytes up to the first that is no UTF-8. */
static size_t utf8_length(const unsigned char *text, size_t size)
{
    size_t i = 0;
    while (i < size) {
        const unsigned char c = text[i];
        const size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3
                       : c >= 0xf0 && c < 0xf5 ? 4 : 0;
        if (!n || n > size - i)
            return i;
        for (size_t k = 1; k < n; k++)
            if ((text[i + k] & 0xc0) != 0x80)
                return i;
        /* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
        if ((c == 0xe0 && text[i + 1] < 0xa0) || (c == 0xed && text[i + 1] > 0x9f) ||
            (c == 0xf0 && text[i + 1] < 0x90) || (c == 0xf4 && text[i + 1] > 0x8f))
            return i;
        i += n;
    }
    return i;
}

int eval_read_text(const char *command, struct eval_options *e)
{
    size_t capacity = 0;
    FILE *in = fopen(e->text_file, "rb");
    if (!in)
        return tool_failed(command, "cannot read '%s': %s", e->text_file, strerror(errno));
    do {
        capacity += 1 << 20;
        e->text = tool_grow(e->text, capacity, 1);
        e->text_size += fread(e->text + e->text_size, 1, capacity - e->text_size, in);
    } while (e->text_size == capacity);
    const int error = ferror(in) ? errno : 0;
    fclose(in);
    if (error)
        return tool_failed(command, "cannot read '%s': %s", e->text_file, strerror(error));
    const size_t valid = utf8_length((const unsigned char *)e->text, e->text_size);
    if (valid < e->text_size)
        return tool_failed(command, "'%s' is not UTF-8 at byte %zu; convert it (iconv -t UTF-8)",
                           e->text_file, valid);
    return TOOL_OK;
}
