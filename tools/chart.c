/* chart.c: text in markup, and the ticks of an axis. */
#include "chart.h"

#include <math.h>

void chart_text(FILE *out, const char *text, size_t most)
{
    for (size_t i = 0; text[i]; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (i >= most && (c & 0xc0) != 0x80) { /* not within a character of UTF-8 */
            fputs("…", out);
            return;
        }
        switch (c) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\'': fputs("&#39;", out); break;
        default:
            if (c >= 32)
                fputc(c, out);
        }
    }
}

double chart_tick(double high)
{
    const double magnitude = pow(10, floor(log10(high) + 1e-9)), digits = high / magnitude;
    return digits <= 2 ? magnitude / 4 : digits <= 5 ? magnitude / 2 : magnitude;
}
