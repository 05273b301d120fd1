/*
 * chat.c: forms of chat templates, recognised by the markers in a template's text.
 *
 * Templates are programs (Jinja); what they make of one user's turn is known for the forms below. Text of each form:
 * before + the user's text + after.
 */
#include "task.h"

#include <stdio.h>
#include <string.h>

enum { MARKERS = 3 };

static const struct form {
    struct woqi_chat chat;
    const char *has[MARKERS];  /* all of them are in the template … */
    const char *lacks[MARKERS]; /* … and none of these, which make it another form */
} forms[] = {
    {{"chatml", "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>", false, false},
     {"<|im_start|>", "<|im_end|>"},
     {"<|im_sep|>"}},
    {{"llama-3", "<|start_header_id|>user<|end_header_id|>\n\n",
      "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|start_header_id|>", true, true},
     {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     {NULL}},
    {{"gemma", "<start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n", "<start_of_turn>", true, true},
     {"<start_of_turn>", "<end_of_turn>"},
     {NULL}},
    {{"phi-3", "<|user|>\n", "<|end|>\n<|assistant|>\n", "<|user|>", false, false},
     {"<|user|>", "<|assistant|>", "<|end|>"},
     {NULL}},
    {{"zephyr", "<|user|>\n", "</s>\n<|assistant|>\n", "</s>", false, false},
     {"<|user|>", "<|assistant|>", "eos_token"},
     {"<|end|>", "<|endoftext|>"}},
    /* Later forms of Mistral's have other spaces. */
    {{"llama-2", "[INST] ", " [/INST]", NULL, true, true},
     {"[INST]", "[/INST]", "<<SYS>>"},
     {"[AVAILABLE_TOOLS]", "[SYSTEM_PROMPT]"}},
};
enum { FORMS = sizeof forms / sizeof *forms };

static bool is_form(const struct form *form, const char *template)
{
    for (size_t i = 0; i < MARKERS; i++) {
        if (form->has[i] && !strstr(template, form->has[i]))
            return false;
        if (form->lacks[i] && strstr(template, form->lacks[i]))
            return false;
    }
    return true;
}

/* Characters of a text that go on one line of a message. */
static int shown(const char *text)
{
    const size_t size = strcspn(text, "\r\n");
    return size < 60 ? (int)size : 60;
}

enum woq_status woqi_chat_find(const char *text, struct woqi_chat *out)
{
    const bool is_template = strchr(text, '{');
    char names[128] = "", markers[256] = "";
    for (size_t i = 0; i < FORMS; i++) {
        const struct form *f = &forms[i];
        if (is_template ? is_form(f, text) : !strcmp(text, f->chat.name)) {
            *out = f->chat;
            out->bos = out->bos || (is_template && strstr(text, "bos_token"));
            return WOQ_OK;
        }
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", f->chat.name);
        snprintf(markers + strlen(markers), sizeof markers - strlen(markers), "%s%s with %s", i ? ", " : "",
                 f->has[0], f->has[1]);
    }
    if (!is_template)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "chat '%.*s' is no form's name; must be %s, or a chat template's text", shown(text), text,
                          names);
    return woq_report(WOQ_ERROR_UNSUPPORTED,
                      "the chat template (\"%.*s…\") is of no known form (%s): looked for %s; a form can be named",
                      shown(text), text, names, markers);
}
