/* eval_plot.h: drawings of the page of `woq eval`. */
#ifndef WOQ_EVAL_PLOT_H
#define WOQ_EVAL_PLOT_H

#include "eval.h"

enum { EVAL_COLOURS = 8 }; /* models beyond begin anew */

/* One line of a drawing: a value, what is around it, and where a limit is. All but value may be NAN. */
struct eval_row {
    char *label;           /* freed by the drawing */
    char text[48];         /* at the end of the row */
    double value, low, high; /* low … high: a bar */
    double from, to;       /* a thicker bar in it */
    double limit;
    int colour;            /* −1 = none: the row is but a heading */
};

/* Rows over one axis from at least `low` to `high`, which what is drawn extends; logarithmic: in decades, values of 0
 * at its low end. Frees the rows' labels. */
void eval_draw_rows(FILE *out, struct eval_row *rows, size_t count, double low, double high, bool logarithmic,
                    const char *what);
/* How many tokens have which KL, logarithmic. */
void eval_draw_histogram(FILE *out, const struct eval_model *model, const char *label, int colour);
/* Mean negative log-likelihood of each window, the first model's and this one's. */
void eval_draw_windows(FILE *out, const struct eval_model *first, const struct eval_model *model, const char *label,
                       int colour);

/* ---- The page: eval_html.c, and eval_sections.c ---- */

struct eval_page {
    FILE *out; /* while it is written */
    const struct eval_options *options;
    const struct woq_device_info *device;
    const struct eval_model *models;
    size_t count;
};
void eval_page_label(const struct eval_page *page, size_t model);
void eval_plot_perplexity(const struct eval_page *page);
void eval_plot_divergence(const struct eval_page *page);
void eval_plot_windows(const struct eval_page *page);
void eval_plot_task(const struct eval_page *page, uint32_t task);
void eval_plot_style(FILE *out); /* CSS, after report_style's */

#endif
