/* tool_model.h: models on the command line, for the subcommands that run them. */
#ifndef WOQ_TOOL_MODEL_H
#define WOQ_TOOL_MODEL_H

#include "tool.h"

#include <woq/model.h>

/* How weights lie on the device, as the user wrote it. */
struct tool_weights {
    enum woq_model_weights mode;
    struct woq_format format;
    char name[32]; /* "as-stored", "f16", "w4g64" */
};

/* "as-stored", "f16" or a format of tool_parse_format. */
bool tool_parse_weights(const char *text, struct tool_weights *out, char *why);

/* "file", or "file:weights" (where the weights may hold a colon too); *given: it had weights. *path is
 * to be freed. */
bool tool_parse_model(const char *text, char **path, struct tool_weights *weights, bool *given, char *why);

/* What follows the last slash. */
const char *tool_base_name(const char *path);

#endif
