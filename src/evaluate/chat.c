/*
 * chat.c: forms of chat templates, recognised by the markers in a template's text.
 *
 * Templates are programs (Jinja); what they make of one user's turn is known for the forms below: before + the user's
 * text + after. What a template may add is looked for in its text: the begin-of-text token, stripping of white space,
 * and in ChatML a system's turn where the caller gives none (SmolLM2, Qwen 2.5).
 */
#include "task.h"

#include <stdio.h>
#include <string.h>

enum { MARKERS = 3 };

static const struct form {
    struct woqi_chat chat;
    const char *has[MARKERS];  /* all of them are in the template … */
    const char *lacks[MARKERS]; /* … and none of these, which make it another form */
} forms[] = { /* ChatML is the first */
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
    /* And the first of Mistral's; later ones have other spaces. */
    {{"llama-2", "[INST] ", " [/INST]", NULL, true, true},
     {"[INST] ", " [/INST]"},
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

/* The system's turn that a ChatML template spells out, as before a user's; NULL = none. *end: behind it. */
static const char *find_system(const char *template, const char **end)
{
    static const char begin[] = "<|im_start|>system", close[] = "<|im_end|>";
    for (const char *at = strstr(template, begin); at; at = strstr(at, begin)) {
        at += strlen(begin);
        const size_t line = *at == '\n' ? 1 : !strncmp(at, "\\n", 2) ? 2 : 0;
        const char *text = at + line;
        const size_t size = strcspn(text, "'\"{}<\\\n"); /* none where a variable goes on */
        if (line && size && !strncmp(text + size, close, strlen(close))) {
            *end = text + size;
            return text;
        }
    }
    return NULL;
}

static enum woq_status add_system(struct woqi_ckpt_arena *arena, const char *template, struct woqi_chat *chat)
{
    const char *end = NULL, *text = find_system(template, &end);
    if (!text)
        return WOQ_OK;
    const size_t size = (size_t)(end - text) + strlen(chat->before) + 64;
    char *before = woqi_ckpt_alloc(arena, size, 1);
    if (!before)
        return woqi_task_no_memory();
    snprintf(before, size, "<|im_start|>system\n%.*s<|im_end|>\n%s", (int)(end - text), text, chat->before);
    chat->before = before;
    return WOQ_OK;
}

static enum woq_status take(struct woqi_ckpt_arena *arena, const struct form *form, const char *template,
                            struct woqi_chat *out)
{
    *out = form->chat;
    if (!template)
        return WOQ_OK;
    out->bos = out->bos || strstr(template, "bos_token");
    out->trims = out->trims && (strstr(template, "trim") || strstr(template, "strip"));
    return form == forms ? add_system(arena, template, out) : WOQ_OK;
}

enum woq_status woqi_chat_find(struct woqi_ckpt_arena *arena, const char *text, struct woqi_chat *out)
{
    const bool is_template = strchr(text, '{');
    char names[128] = "", markers[256] = "";
    for (size_t i = 0; i < FORMS; i++) {
        const struct form *f = &forms[i];
        if (is_template ? is_form(f, text) : !strcmp(text, f->chat.name))
            return take(arena, f, is_template ? text : NULL, out);
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", f->chat.name);
        snprintf(markers + strlen(markers), sizeof markers - strlen(markers), "%s%s with %s", i ? ", " : "",
                 f->has[0], f->has[1]);
    }
    const struct woqi_shown shown = woqi_task_show((struct woq_text){text, strlen(text)});
    if (!is_template)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "chat '%s' is no form's name; must be %s, or a chat template's text", shown.text, names);
    return woq_report(WOQ_ERROR_UNSUPPORTED,
                      "the chat template (\"%s…\") is of no known form (%s): looked for %s; a form can be named",
                      shown.text, names, markers);
}
