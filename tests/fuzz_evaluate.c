/*
 * fuzz_evaluate.c: whatever bytes a benchmark task's file has.
 *
 * Bytes that begin with "{" are LAMBADA's JSON lines, all others MMLU's CSV, and a chat template: refused with a
 * message, or examples of which each gives a prompt that has its texts.
 */
#include "evaluate/task.h"
#include "fuzz_files.h"

static bool has(const struct woqi_text_file *prompt, struct woq_text part)
{
    for (size_t at = 0; at + part.size <= prompt->size; at++)
        if (!memcmp(prompt->data + at, part.text, part.size))
            return true;
    return false;
}

static void check_questions(const struct woq_task *task)
{
    struct woqi_text_file prompt = {NULL, 0, 0};
    for (size_t i = 0; i < task->questions.count; i++) {
        const struct woqi_question *q = &task->questions.at[i];
        if (q->answer > 3 || q->number != i || woqi_prompt_write(task, q, 0, &prompt) || !has(&prompt, q->text))
            abort();
        for (int c = 0; task->kind == WOQ_TASK_MMLU && c < WOQI_CHOICES; c++)
            if (!has(&prompt, q->choices[c]))
                abort();
    }
    free(prompt.data);
}

static void check_chat(const char *text)
{
    struct woqi_ckpt_arena arena = {NULL};
    struct woqi_chat chat;
    if (woqi_chat_find(&arena, text, &chat))
        fuzz_refused();
    else if (!chat.name || !chat.before || !chat.after)
        abort();
    woqi_ckpt_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct woqi_text_file text = {NULL, 0, 0};
    struct woq_task *task = calloc(1, sizeof *task);
    const bool lines = size && data[0] == '{';
    if (!task || woqi_text_append("fuzz", &text, (const char *)data, size) ||
        !woqi_task_add_subject(task, "fuzz", "fuzz"))
        abort();
    task->kind = lines ? WOQ_TASK_LAMBADA : WOQ_TASK_MMLU;
    /* Of just this size, so that AddressSanitizer sees a byte too far. */
    char *exact = realloc(text.data, size ? size : 1);
    if (!exact)
        abort();
    text.data = exact;
    enum woq_status st = lines ? woqi_lambada_parse(task, "fuzz", &text)
                               : woqi_mmlu_parse(task, "fuzz", &text, 0, UINT64_MAX, &task->questions);
    if (st)
        fuzz_refused();
    else
        check_questions(task);
    woq_task_close(&task);
    free(text.data);
    char *template = malloc(size + 1);
    if (!template)
        abort();
    memcpy(template, data, size);
    template[size] = 0;
    check_chat(template);
    free(template);
    return 0;
}
