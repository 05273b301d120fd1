/* tool_model.c: models on the command line: a file, and how its weights lie on the device. */
#include "tool_model.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool tool_parse_weights(const char *text, struct tool_weights *out, char *why)
{
    struct tool_format format;
    *out = (struct tool_weights){.mode = WOQ_MODEL_QUANTIZED};
    if (!strcmp(text, "as-stored") || !strcmp(text, "f16")) {
        out->mode = *text == 'a' ? WOQ_MODEL_AS_STORED : WOQ_MODEL_F16;
        out->format = (struct woq_format)WOQ_FORMAT_INIT;
        snprintf(out->name, sizeof out->name, "%s", text);
        return true;
    }
    if (*text != 'w') {
        snprintf(why, TOOL_WHY, "'%.40s' is no form of weights; as-stored, f16, or a format like "
                                "w8, w4g64, w4g32z", text);
        return false;
    }
    if (!tool_parse_format(text, &format, why))
        return false;
    if (format.format.zero == WOQ_ZERO_OFFSET || format.format.g_idx) {
        snprintf(why, TOOL_WHY, "'%s': rounding gives no float offsets (o) and no column order (p); "
                                "z is for integer zero points", text);
        return false;
    }
    out->format = format.format;
    snprintf(out->name, sizeof out->name, "%s", format.name);
    return true;
}

bool tool_parse_model(const char *text, char **path, struct tool_weights *weights, bool *given, char *why)
{
    char refused[TOOL_WHY] = "";
    *given = false;
    if (access(text, F_OK) == 0) {
        *path = tool_text("%s", text);
        return true;
    }
    for (const char *colon = strchr(text, ':'); colon; colon = strchr(colon + 1, ':'))
        if (tool_parse_weights(colon + 1, weights, refused)) {
            *path = tool_text("%.*s", (int)(colon - text), text);
            *given = access(*path, F_OK) == 0;
            if (*given)
                return true;
            free(*path);
            break;
        }
    *path = NULL;
    if (*refused && strchr(text, ':'))
        snprintf(why, TOOL_WHY, "'%.200s': %.250s", text, refused);
    else
        snprintf(why, TOOL_WHY, "there is no '%.300s'; a .gguf or .safetensors file or a directory, with "
                                ":weights or without", text);
    return false;
}

const char *tool_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}
