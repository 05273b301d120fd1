/*
 * report_data.h: what `woq quantize --report` wrote, read and checked, for the pages made of it.
 *
 * report_read.c fills it; report_html.c, report_plot.c, report_histogram.c and report_table.c write from it. Texts
 * belong to `doc`. A number that the file has as null, because JSON knows no infinities, is NAN here.
 */
#ifndef WOQ_REPORT_DATA_H
#define WOQ_REPORT_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <yyjson.h>

enum { REPORT_LAYERS = 4096, REPORT_KINDS = 16, REPORT_BINS = 1024 }; /* the most; kinds: of a layer's matrices */

struct report_histogram {
    size_t bins;
    double *count, most; /* count[bins]; the largest of them */
};

struct report_stage {
    const char *name;
    uint64_t tokens, dead;
    double damping, awq_exponent; /* awq_exponent NAN: no channel scales */
    yyjson_val *list;
};

struct report_matrix {
    const char *name, *format;
    const struct report_stage *stage;
    size_t layer, kind; /* kind: index of report.kinds */
    uint64_t rows, columns, groups, negative;
    double output_rms, error_rtn, error, snr_rtn, snr; /* errors relative to the output; SNR in dB */
    double range_kept, scale_min, scale_median, scale_max, weight_limit, seconds;
    struct report_histogram weights, scales; /* from −weight_limit to weight_limit; from scale_min to scale_max */
};

struct report_layer {
    struct report_matrix *matrix; /* of report.matrix */
    size_t matrices, rank;        /* rank 0: the largest error */
    double error_rtn, error;      /* geometric means of its matrices; NAN where there are none */
};

/* A layer's stage, and what its quantization alone did to the model's predictions. */
struct report_sensitivity {
    uint64_t layer, bits, weights; /* bits: what it got */
    const char *stage;
    double kl, relative_error;
};

struct report {
    yyjson_doc *doc;
    const char *woq, *model, *method, *text, *math;
    bool natural_order; /* GPTQ visited columns as they are, not those with the largest inputs first */
    uint64_t samples, window, seed;
    double damping, input_share, residual_share, bits_per_weight, seconds, budget; /* budget NAN: none */
    struct report_layer *layer;
    struct report_stage *stage;
    struct report_matrix *matrix;
    struct report_sensitivity *sensitivity; /* the most sensitive first */
    size_t layers, stages, matrices, sensitivities;
    const char *kinds[REPORT_KINDS]; /* "q_proj": ends of the names, in the order of computation */
    size_t kind_count;
    double error_rtn, error; /* geometric means of all matrices */
};

/* TOOL_OK, or a failure's exit status, reported. To be released in both cases. */
int report_read(const char *command, const char *json_file, struct report *out);
void report_release(struct report *report);

/* The matrix of a kind in a layer, NULL where it stayed 16-bit. */
const struct report_matrix *report_find(const struct report *report, size_t layer, size_t kind);
/* The layer of a rank: 0 = the one with the largest error. */
size_t report_ranked(const struct report *report, size_t rank);
/* b ÷ a, NAN unless both are positive. */
double report_ratio(double a, double b);

/* ---- Parts of the page ---- */
void report_style(FILE *out);  /* CSS */
void report_script(FILE *out); /* JavaScript that is XML, too */
/* A number as a person reads it, three digits of it; "–" if it is none. */
void report_number(FILE *out, double value);
void report_duration(FILE *out, double seconds);
void report_errors(FILE *out, const struct report *report);      /* relative error over layers, by matrix */
void report_heat(FILE *out, const struct report *report);        /* SNR over layers and matrices */
void report_heat_style(FILE *out, bool dark);                    /* its colours, as CSS rules */
void report_order(FILE *out, const struct report *report);       /* layers' stages by sensitivity */
void report_histograms(FILE *out, const struct report *report);  /* of weights and scales, by layer */
void report_times(FILE *out, const struct report *report);
void report_matrices(FILE *out, const struct report *report);    /* the table of all */

#endif
