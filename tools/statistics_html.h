/*
 * statistics_html.h: the page that shows a file of calibration statistics.
 *
 * statistics_data.c reads it; statistics_html.c writes the page, statistics_plot.c the drawings in it.
 */
#ifndef WOQ_STATISTICS_HTML_H
#define WOQ_STATISTICS_HTML_H

#include "statistics_data.h"

#include <stdio.h>

/* Whether the file begins as safetensors do, and not as JSON. */
bool statistics_html_takes(const char *file);
/* As report_html. */
int statistics_html(const char *command, const char *file, const char *html_file);

/* ---- For the page's parts ---- */

enum { STATISTICS_KINDS = 16 }; /* the most, of a layer's inputs */

struct statistics_page {
    const struct woq_checkpoint *checkpoint;
    struct statistics_input *input;
    size_t inputs, kinds;
    uint64_t layers; /* the last one's number + 1 */
    const char *kind[STATISTICS_KINDS]; /* "q/k/v": as they came */
    struct statistics_place {
        uint64_t layer;
        size_t kind;
    } *place; /* [inputs] */
};

/* NULL where a layer has no such input. */
const struct statistics_input *statistics_find(const struct statistics_page *page, uint64_t layer, size_t kind);

void statistics_over_layers(FILE *out, const struct statistics_page *page); /* largest, RMS, mean; a plot each kind */
/* Two drawings: channels in falling order, and the histogram of all elements. */
void statistics_channels(FILE *out, const struct statistics_input *input);
void statistics_histogram(FILE *out, const struct statistics_input *input);

#endif
