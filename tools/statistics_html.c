/* statistics_html.c: a file of calibration statistics as a page. */
#include "statistics_html.h"

#include "chart.h"
#include "page.h"
#include "report_data.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LAYERS = 4096, OPEN_LAYERS = 2 };

/* ---- What is in the file ---- */

/* "q/k/v" for "….self_attn.q_proj", by which the file names what three matrices take. */
static const char *kind_of(const char *name)
{
    static const char *const usual[][2] = {
        {"q_proj", "q/k/v"}, {"o_proj", "o"}, {"gate_proj", "gate/up"}, {"down_proj", "down"}};
    const char *dot = strrchr(name, '.'), *tail = dot ? dot + 1 : name;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        if (!strcmp(tail, usual[i][0]))
            return usual[i][1];
    return tail;
}

/* 3 of "model.layers.3.mlp.down_proj", 0 where there is no number. */
static uint64_t layer_of(const char *name)
{
    const char *at = strstr(name, "layers.");
    return at ? strtoull(at + strlen("layers."), NULL, 10) : 0;
}

const struct statistics_input *statistics_find(const struct statistics_page *page, uint64_t layer, size_t kind)
{
    for (size_t i = 0; i < page->inputs; i++)
        if (page->place[i].layer == layer && page->place[i].kind == kind)
            return &page->input[i];
    return NULL;
}

/* Takes the input over. */
static bool add_input(const char *command, struct statistics_page *p, struct statistics_input *in)
{
    const char *kind = kind_of(in->name);
    const uint64_t layer = layer_of(in->name);
    size_t k = 0;
    while (k < p->kinds && strcmp(p->kind[k], kind))
        k++;
    p->input = tool_grow(p->input, p->inputs + 1, sizeof *p->input);
    p->place = tool_grow(p->place, p->inputs + 1, sizeof *p->place);
    p->input[p->inputs] = *in;
    p->place[p->inputs++] = (struct statistics_place){layer, k};
    if (k == STATISTICS_KINDS || layer >= MOST_LAYERS) {
        tool_failed(command, "'%s': '%s' is beyond %d layers of %d inputs", woq_checkpoint_path(p->checkpoint),
                    in->name, MOST_LAYERS, STATISTICS_KINDS);
        return false;
    }
    if (k == p->kinds)
        p->kind[p->kinds++] = kind;
    p->layers = layer >= p->layers ? layer + 1 : p->layers;
    return true;
}

static int read_page(const char *command, const struct woq_checkpoint *c, struct statistics_page *p)
{
    struct statistics_input in;
    *p = (struct statistics_page){.checkpoint = c};
    if (!statistics_is(c))
        return tool_failed(command, "'%s' is no file of statistics, as 'woq quantize --statistics' writes: its "
                           "__metadata__ must have \"woq.kind\": \"statistics\"", woq_checkpoint_path(c));
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++)
        if (statistics_read(c, woq_checkpoint_tensor(c, i), &in) && !add_input(command, p, &in))
            return TOOL_FAILED;
    if (!p->inputs)
        return tool_failed(command, "'%s' has statistics of no input: no NAME.absmax and NAME.mean_abs, F32 [channels]",
                           woq_checkpoint_path(c));
    return TOOL_OK;
}

static void release(struct statistics_page *p)
{
    for (size_t i = 0; i < p->inputs; i++)
        statistics_release(&p->input[i]);
    free(p->input);
    free(p->place);
}

/* ---- The head ---- */

static const char *known(const struct statistics_page *p, const char *key)
{
    const char *text = statistics_meta(p->checkpoint, key);
    return text ? text : "unknown";
}

static void write_title(FILE *out, const struct statistics_page *p)
{
    fputs("Activations on ", out);
    chart_text(out, known(p, "text"), SIZE_MAX);
}

static void write_place(FILE *out, const struct statistics_page *p, size_t input)
{
    fprintf(out, "layer %" PRIu64 ", ", p->place[input].layer);
    chart_text(out, p->kind[p->place[input].kind], SIZE_MAX);
}

static void write_cards(FILE *out, const struct statistics_page *p)
{
    size_t largest = 0, uneven = 0;
    uint64_t not_finite = 0;
    for (size_t i = 0; i < p->inputs; i++) {
        largest = p->input[i].absmax > p->input[largest].absmax ? i : largest;
        uneven = p->input[i].ratio > p->input[uneven].ratio ? i : uneven;
        not_finite += p->input[i].not_finite;
    }
    fputs("<div class=\"cards\">\n", out);
    page_card(out, "inputs of linear layers");
    fprintf(out, "%zu</b><span>of %" PRIu64 " decoder layer%s, %" PRIu64 " tokens each</span></div>\n", p->inputs,
            p->layers, p->layers == 1 ? "" : "s", statistics_rows(p->checkpoint));
    page_card(out, "largest activation");
    report_number(out, p->input[largest].absmax);
    fputs("</b><span>", out);
    write_place(out, p, largest);
    fputs("; FP16 ends at 65504</span></div>\n", out);
    page_card(out, "strongest channel");
    report_number(out, p->input[uneven].ratio);
    fputs(" ×</b><span>the mean of its input: ", out);
    write_place(out, p, uneven);
    fprintf(out, ", channel %" PRIu64 "</span></div>\n", p->input[uneven].largest);
    page_card(out, "elements that are not finite");
    fprintf(out, "%" PRIu64 "</b><span>%s</span></div>\n</div>\n", not_finite,
            not_finite ? "which count nowhere" : "of all that were seen");
}

static void write_head(FILE *out, const struct statistics_page *p)
{
    page_begin(out);
    write_title(out, p);
    page_heading(out, NULL);
    write_title(out, p);
    fputs("</h1>\n<p class=\"soft\">What the linear layers of a model are given, channel by channel.</p>\n", out);
    write_cards(out, p);
    fputs("<dl>\n", out);
    page_fact(out, "file", woq_checkpoint_path(p->checkpoint));
    page_fact(out, "model", known(p, "model"));
    fputs("<dt>samples</dt><dd>", out);
    chart_text(out, known(p, "samples"), SIZE_MAX);
    fputs(" windows of ", out);
    chart_text(out, known(p, "window"), SIZE_MAX);
    fputs(" tokens, seed ", out);
    chart_text(out, known(p, "seed"), SIZE_MAX);
    fputs("</dd>\n</dl>\n</header>\n", out);
}

/* ---- Layers ---- */

static double unevenness(const struct statistics_page *p, uint64_t layer)
{
    double most = -1;
    for (size_t i = 0; i < p->inputs; i++)
        most = p->place[i].layer == layer && p->input[i].ratio > most ? p->input[i].ratio : most;
    return most;
}

static void write_layer(FILE *out, const struct statistics_page *p, uint64_t layer, bool open)
{
    fprintf(out, open ? "<h3>Layer %" PRIu64 " <small>strongest channel " :
                        "<details><summary>Layer %" PRIu64 " <small>strongest channel ", layer);
    report_number(out, unevenness(p, layer));
    fputs(open ? " ×</small></h3>\n" : " ×</small></summary>\n", out);
    fputs("<div class=\"small large\">\n", out);
    for (size_t k = 0; k < p->kinds; k++) {
        const struct statistics_input *in = statistics_find(p, layer, k);
        if (!in)
            continue;
        fputs("<figure><figcaption>", out);
        chart_text(out, p->kind[k], SIZE_MAX);
        fprintf(out, " <small>channel %" PRIu64 ": ", in->largest);
        report_number(out, in->ratio);
        fputs(" × the mean</small></figcaption>\n", out);
        statistics_channels(out, in);
        if (in->counted)
            statistics_histogram(out, in);
        fputs("</figure>\n", out);
    }
    fputs(open ? "</div>\n" : "</div></details>\n", out);
}

/* Those with the strongest channels first, the rest in their order. */
static void write_layers(FILE *out, const struct statistics_page *p)
{
    bool *shown = tool_alloc(p->layers, sizeof *shown);
    size_t rest = 0;
    for (int i = 0; i < OPEN_LAYERS; i++) {
        uint64_t best = p->layers;
        for (uint64_t l = 0; l < p->layers; l++)
            if (!shown[l] && unevenness(p, l) >= 0 && (best == p->layers || unevenness(p, l) > unevenness(p, best)))
                best = l;
        if (best == p->layers)
            break;
        shown[best] = true;
        write_layer(out, p, best, true);
    }
    for (uint64_t l = 0; l < p->layers; l++)
        rest += !shown[l] && unevenness(p, l) >= 0;
    if (rest)
        fprintf(out, "<details><summary>%zu other layer%s</summary>\n", rest, rest == 1 ? "" : "s");
    for (uint64_t l = 0; l < p->layers; l++)
        if (!shown[l] && unevenness(p, l) >= 0)
            write_layer(out, p, l, false);
    fputs(rest ? "</details>\n" : "", out);
    free(shown);
}

/* ---- The table ---- */

static void write_table(FILE *out, const struct statistics_page *p)
{
    static const char *const heads[] = {"layer", "channels", "largest |x|", "RMS", "mean |x|", "strongest channel",
                                        "× the mean", "not finite"};
    fputs("<div class=\"scroll tall\"><table class=\"sort\"><thead><tr><th scope=\"col\">input</th>", out);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        fprintf(out, "<th scope=\"col\" class=\"n\">%s</th>", heads[i]);
    fputs("</tr></thead><tbody>\n", out);
    for (size_t i = 0; i < p->inputs; i++) {
        const struct statistics_input *in = &p->input[i];
        fputs("<tr>", out);
        page_text_cell(out, in->name);
        page_count_cell(out, p->place[i].layer);
        page_count_cell(out, in->channels);
        page_number_cell(out, in->absmax);
        page_number_cell(out, in->rms);
        page_number_cell(out, in->average);
        page_count_cell(out, in->largest);
        page_number_cell(out, in->ratio);
        page_count_cell(out, in->not_finite);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

/* ---- The page ---- */

static void write_page(FILE *out, const void *data)
{
    const struct statistics_page *p = data;
    write_head(out, p);
    fputs("<section>\n<h2>Over the layers</h2>\n<p>Of all channels of an input. Points tell their values.</p>\n", out);
    statistics_over_layers(out, p);
    fputs("</section>\n<section>\n<h2>Channels and elements</h2>\n<p>Above, the channels of an input from the "
          "largest to the smallest, each line by itself: what stands out at the left is what AWQ scales and 8-bit "
          "activations suffer from. Below, how many elements are how large. The layers with the strongest channels "
          "come first.</p>\n", out);
    write_layers(out, p);
    fputs("</section>\n<section>\n<h2>All inputs</h2>\n", out);
    write_table(out, p);
    fputs("</section>\n", out);
    page_end(out, woq_version_string());
}

bool statistics_html_takes(const char *file)
{
    unsigned char head[9] = {0}; /* the header's size, little-endian, and its first character */
    FILE *f = fopen(file, "rb");
    const bool whole = f && fread(head, 1, sizeof head, f) == sizeof head;
    if (f)
        fclose(f);
    return whole && head[8] == '{' && !head[5] && !head[6] && !head[7];
}

int statistics_html(const char *command, const char *file, const char *html_file)
{
    struct woq_checkpoint *c = NULL;
    struct statistics_page page;
    int result = page_check(command, file, html_file);
    if (result)
        return result;
    if (woq_checkpoint_open(file, NULL, &c))
        return tool_failed(command, "%s", woq_last_message());
    result = read_page(command, c, &page);
    if (!result)
        result = page_write(command, html_file, write_page, &page);
    release(&page);
    woq_checkpoint_close(&c);
    return result;
}
