/* report_table.c: the tables of a calibration report: times, and all matrices. */
#include "chart.h"
#include "page.h"
#include "report_data.h"

#include <inttypes.h>
#include <math.h>

void report_duration(FILE *out, double seconds)
{
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e9)
        fputs("–", out);
    else if (seconds < 99.95)
        fprintf(out, "%.*f s", seconds < 0.995 ? 2 : 1, seconds);
    else if (seconds < 3600)
        fprintf(out, "%.0f min %.0f s", floor(seconds / 60), floor(fmod(seconds, 60)));
    else
        fprintf(out, "%.0f h %.0f min", floor(seconds / 3600), floor(fmod(seconds, 3600) / 60));
}

/* ---- Times ---- */

static void time_row(FILE *out, const char *what, double seconds, double all, uint64_t count)
{
    const double share = all > 0 && seconds > 0 ? fmin(100, 100 * seconds / all) : 0;
    fputs("<tr><th scope=\"row\">", out);
    chart_text(out, what, SIZE_MAX);
    fputs("</th><td class=\"n\">", out);
    if (count)
        fprintf(out, "%" PRIu64, count);
    fputs("</td><td class=\"n\">", out);
    report_duration(out, seconds);
    fprintf(out, "</td><td class=\"n\">%.1f %%</td><td><svg viewBox=\"0 0 100 10\" preserveAspectRatio=\"none\">"
                 "<rect class=\"time\" width=\"%.2f\" height=\"10\"/></svg></td></tr>\n", share, share);
}

void report_times(FILE *out, const struct report *report)
{
    double sum[REPORT_KINDS] = {0}, matrices = 0, all;
    uint64_t count[REPORT_KINDS] = {0};
    for (size_t i = 0; i < report->matrices; i++) {
        const struct report_matrix *m = &report->matrix[i];
        if (!isfinite(m->seconds))
            continue;
        sum[m->kind] += m->seconds;
        count[m->kind]++;
        matrices += m->seconds;
    }
    all = isfinite(report->seconds) ? fmax(report->seconds, matrices) : matrices;
    fputs("<div class=\"scroll\"><table class=\"times\"><thead><tr><th scope=\"col\">step</th><th scope=\"col\" "
          "class=\"n\">matrices</th><th scope=\"col\" class=\"n\">time</th><th scope=\"col\" class=\"n\">share</th>"
          "<th></th></tr></thead><tbody>\n", out);
    for (size_t k = 0; k < report->kind_count; k++)
        time_row(out, report->kinds[k], sum[k], all, count[k]);
    time_row(out, "running the model, statistics, files", all - matrices, all, 0);
    fputs("</tbody></table></div>\n", out);
}

/* ---- Matrices ---- */

struct column {
    const char *title, *hint;
    bool number;
};

static const struct column columns[] = {
    {"layer", NULL, true},
    {"matrix", NULL, false},
    {"format", "code bits, group and scale type", false},
    {"rows × columns", NULL, true},
    {"error, nearest", "relative error of the output when weights are rounded to nearest", true},
    {"error", "relative error of the output", true},
    {"ratio", "error ÷ error of rounding to nearest", true},
    {"SNR, nearest", "dB, when weights are rounded to nearest", true},
    {"SNR", "dB", true},
    {"output", "root mean square of the output", true},
    {"range kept", "of each group's largest weight, by clipping", true},
    {"scale", "median; smallest and largest on hover", true},
    {"negative", "groups with a negative scale", true},
    {"damping", "of the diagonal of the inputs' second moments", true},
    {"dead", "input channels that are always zero", true},
    {"AWQ", "exponent of the inputs' magnitudes in the channels' scales", true},
    {"time", "seconds", true},
};

static void matrix_row(FILE *out, const struct report_matrix *m)
{
    fputs("<tr>", out);
    page_count_cell(out, m->layer);
    page_text_cell(out, m->name);
    page_text_cell(out, m->format);
    page_cell(out, (double)m->rows * (double)m->columns, "%" PRIu64 " × %" PRIu64, m->rows, m->columns);
    page_number_cell(out, m->error_rtn);
    page_number_cell(out, m->error);
    page_number_cell(out, report_ratio(m->error_rtn, m->error));
    page_number_cell(out, m->snr_rtn);
    page_number_cell(out, m->snr);
    page_number_cell(out, m->output_rms);
    page_number_cell(out, m->range_kept);
    fprintf(out, "<td class=\"n\" data-v=\"%.9g\" title=\"", isfinite(m->scale_median) ? m->scale_median : 0);
    report_number(out, m->scale_min);
    fputs(" to ", out);
    report_number(out, m->scale_max);
    fputs("\">", out);
    report_number(out, m->scale_median);
    fputs("</td>", out);
    fprintf(out, "<td class=\"n\" data-v=\"%" PRIu64 "\" title=\"of %" PRIu64 " groups\">%" PRIu64 "</td>", m->negative,
            m->groups, m->negative);
    page_number_cell(out, m->stage->damping);
    page_count_cell(out, m->stage->dead);
    page_number_cell(out, m->stage->awq_exponent);
    page_number_cell(out, m->seconds);
    fputs("</tr>\n", out);
}

void report_matrices(FILE *out, const struct report *report)
{
    fputs("<div class=\"scroll tall\"><table class=\"sort\"><thead><tr>", out);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        fputs(columns[i].number ? "<th scope=\"col\" class=\"n\"" : "<th scope=\"col\"", out);
        if (columns[i].hint)
            fprintf(out, " title=\"%s\"", columns[i].hint);
        fprintf(out, ">%s</th>", columns[i].title);
    }
    fputs("</tr></thead><tbody>\n", out);
    for (size_t i = 0; i < report->matrices; i++)
        matrix_row(out, &report->matrix[i]);
    fputs("</tbody></table></div>\n", out);
}
