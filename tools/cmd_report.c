/* cmd_report.c: `woq report`: a page of what a calibrated quantization did, or saw. */
#include "report_html.h"
#include "tool.h"
#ifdef WOQ_TOOL_MODEL
#include "statistics_html.h"
#endif

static const char command[] = "woq report";

static const char help[] =
    "usage: woq report REPORT.json PAGE.html\n"
    "       woq report STATISTICS.safetensors PAGE.html\n\n"
    "Makes a page of what 'woq quantize --report REPORT.json' wrote: the error of each matrix's\n"
    "output beside rounding to nearest, the layers that bear quantization worst, histograms of\n"
    "weights and scales, times, and a table of all matrices that a click sorts. PAGE.html is one\n"
    "file without others that it would need, for a browser, a phone or a printer; - writes it to\n"
    "standard output.\n\n"
    "Of what 'woq quantize --statistics' wrote: the layers' inputs, how large they are over the layers,\n"
    "which channels stand out, and histograms.\n\n"
    "  -h, --help      this text\n\n"
    "Examples:\n"
    "  woq report SmolLM2-gptq.json SmolLM2-gptq.html\n"
    "  woq report SmolLM2.safetensors activations.html\n";

int cmd_report(int argc, char **argv)
{
    static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
    int result;
    opterr = 0;
    while ((result = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (result != 'h')
            return tool_bad_option(command, result, argv, options);
        fputs(help, stdout);
        return TOOL_OK;
    }
    if (optind == argc)
        return tool_usage(command, "REPORT.json is missing: what 'woq quantize --report' wrote");
    if (optind + 1 == argc)
        return tool_usage(command, "PAGE.html is missing: the page to write");
    if (optind + 2 < argc)
        return tool_usage(command, "unexpected '%s'; it takes a report and a page", argv[optind + 2]);
#ifdef WOQ_TOOL_MODEL
    if (statistics_html_takes(argv[optind]))
        return statistics_html(command, argv[optind], argv[optind + 1]);
#endif
    return report_html(command, argv[optind], argv[optind + 1]);
}
