/* woq.c: the program `woq`: finds the subcommand. */
#include "tool.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *what;
} commands[] = {
    {"devices", cmd_devices, "what is there, what it can do, and why a driver was refused"},
    {"explain", cmd_explain, "how a product would run: path, kernel, layout, workspace, and why"},
    {"bench", cmd_bench, "time products over shapes, formats, M and devices, and check them"},
    {"tune", cmd_tune, "search the fastest kernels for shapes, formats and M, and record them"},
#ifdef WOQ_TOOL_MODEL
    {"inspect", cmd_inspect, "what a model file holds: tensors, shapes, formats, sizes, metadata"},
    {"quantize", cmd_quantize, "a model's linear layers to 4 or 8 bits, as a directory that loaders take"},
    {"eval", cmd_eval, "perplexity, speed and greedy text of language models, compared"},
#endif
    {"report", cmd_report, "a page of what a calibrated quantization did to each matrix"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *out)
{
    fputs("woq: weight-only-quantized matrix products on any GPU\n\n"
          "usage: woq <command> [options]\n\n",
          out);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].what);
    fputs("\n"
          "  woq <command> --help   options and examples\n"
          "  woq --version          the library's version\n\n"
          "Environment:\n"
          "  WOQ_DEVICE    device where none is given: opencl:0, vulkan:1, cuda, reference, best\n"
          "  WOQ_EMULATE   lowered limits and features, e.g. max_binding=1M,no_fp16\n"
          "  WOQ_TUNING    file of tuning records, in place of the one in the cache folder; off = none\n\n"
          "Exit status: 0 done, 1 failed, 2 wrong usage, 3 eval --verdict: a model lost too much.\n",
          out);
}

static int run(int argc, char **argv)
{
    const char *names[COMMANDS];
    if (argc < 2) {
        help(stderr);
        return TOOL_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "help") && argc > 2) {
        static char flag[] = "--help";
        word = argv[2];
        argv[1] = argv[2];
        argv[2] = flag;
        argc = 3;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
        help(stdout);
        return TOOL_OK;
    }
    if (!strcmp(word, "--version") || !strcmp(word, "-V") || !strcmp(word, "version")) {
        printf("woq %s\n", woq_version_string());
        return TOOL_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++) {
        names[i] = commands[i].name;
        if (!strcmp(word, commands[i].name))
            return commands[i].run(argc - 1, argv + 1);
    }
    static const char *const flags[] = {"--help", "--version"};
    if (*word == '-' && tool_nearest(word, flags, 2))
        return tool_usage("woq", "unknown option '%s'; did you mean '%s'?", word,
                          tool_nearest(word, flags, 2));
    if (*word == '-')
        return tool_usage("woq", "unknown option '%s'; the command comes first: woq devices",
                          word);
    const char *near = tool_nearest(word, names, COMMANDS);
    if (near)
        return tool_usage("woq", "unknown command '%s'; did you mean '%s'?", word, near);
    char all[256] = "";
    for (size_t i = 0, used = 0; i < COMMANDS && used < sizeof all; i++)
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s",
                                 !i ? "" : i + 1 == COMMANDS ? " and " : ", ", names[i]);
    return tool_usage("woq", "unknown command '%s'; there are %s", word, all);
}

/* Where nobody reads on, nothing is said. */
static int end_output(int result)
{
    errno = 0;
    if ((!fflush(stdout) && !ferror(stdout)) || errno == EPIPE || result == TOOL_FAILED || result == TOOL_USAGE)
        return result;
    tool_failed("woq", "cannot write to standard output%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
    return result ? result : TOOL_FAILED;
}

int main(int argc, char **argv)
{
    signal(SIGXFSZ, SIG_IGN); /* a file over the limit is then an error of write, with a message */
    return end_output(run(argc, argv));
}
