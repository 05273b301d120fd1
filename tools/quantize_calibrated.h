/* quantize_calibrated.h: the part of `woq quantize` that looks at a text: its options, and the run. */
#ifndef WOQ_QUANTIZE_CALIBRATED_H
#define WOQ_QUANTIZE_CALIBRATED_H

#include "tool.h"

#include <signal.h>
#include <woq/calibrate.h>

/* The options that only calibration takes; `named` is the first that was given. */
struct calibrated_options {
    const char *named;
    enum woq_method method; /* 0: rounding to nearest */
    const char *device;
    struct woq_calibrate_params params;
};

enum calibrated_option {
    CALIBRATED_METHOD = 512,
    CALIBRATED_TEXT,
    CALIBRATED_SAMPLES,
    CALIBRATED_WINDOW,
    CALIBRATED_SEED,
    CALIBRATED_DAMPING,
    CALIBRATED_SHARE,
    CALIBRATED_STATISTICS,
    CALIBRATED_REPORT,
    CALIBRATED_MATH,
    CALIBRATED_MEMORY,
    CALIBRATED_DEVICE,
    CALIBRATED_BUDGET,
    CALIBRATED_SENSITIVITY,
    CALIBRATED_SENSITIVITY_TOKENS
};
#define CALIBRATED_OPTIONS                                                                                     \
    {"method", required_argument, NULL, CALIBRATED_METHOD}, {"text", required_argument, NULL, CALIBRATED_TEXT}, \
    {"samples", required_argument, NULL, CALIBRATED_SAMPLES},                                                  \
    {"window", required_argument, NULL, CALIBRATED_WINDOW}, {"seed", required_argument, NULL, CALIBRATED_SEED}, \
    {"damping", required_argument, NULL, CALIBRATED_DAMPING},                                                  \
    {"share", required_argument, NULL, CALIBRATED_SHARE},                                                      \
    {"statistics", required_argument, NULL, CALIBRATED_STATISTICS},                                            \
    {"report", required_argument, NULL, CALIBRATED_REPORT}, {"math", required_argument, NULL, CALIBRATED_MATH}, \
    {"memory", required_argument, NULL, CALIBRATED_MEMORY}, {"device", required_argument, NULL, CALIBRATED_DEVICE}, \
    {"budget", required_argument, NULL, CALIBRATED_BUDGET},                                                    \
    {"sensitivity", no_argument, NULL, CALIBRATED_SENSITIVITY},                                                \
    {"sensitivity-tokens", required_argument, NULL, CALIBRATED_SENSITIVITY_TOKENS}

#define CALIBRATED_INIT {.params = WOQ_CALIBRATE_PARAMS_INIT}

/* Takes optarg if `option` is one of the above, else sets *known to false; false and why for a bad value. */
bool calibrated_parse(struct calibrated_options *o, int option, bool *known, char *why);
/* TOOL_USAGE, and said, if options contradict each other, an output would be written over what is read or another
 * output, or a file cannot be read or written. */
int calibrated_check(const struct calibrated_options *o, const char *command, const char *model, const char *out);
/* The device, and woq_quantize_calibrated on it; its status. `bar`: progress on stderr. *stop is looked at. */
enum woq_status calibrated_run(struct calibrated_options *o, const char *command,
                               const struct woq_checkpoint *checkpoint, const char *out,
                               const struct woq_quantize_params *params, bool bar,
                               const volatile sig_atomic_t *stop);

#endif
