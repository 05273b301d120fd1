/* prompt.c: an example as the text that the model is given. */
#include "task.h"

#include <string.h>

static enum woq_status add(struct woqi_text_file *out, const char *text)
{
    return woqi_text_append("woq_task", out, text, strlen(text));
}

static enum woq_status add_text(struct woqi_text_file *out, struct woq_text text)
{
    return woqi_text_append("woq_task", out, text.text, text.size);
}

/* "QUESTION\nA. …\nB. …\nC. …\nD. …\nAnswer:" */
static enum woq_status add_question(struct woqi_text_file *out, const struct woqi_question *q)
{
    enum woq_status st = add_text(out, q->text);
    for (int i = 0; i < WOQI_CHOICES && !st; i++) {
        st = add(out, (const char[]){'\n', (char)('A' + i), '.', ' ', 0});
        if (!st)
            st = add_text(out, q->choices[i]);
    }
    return st ? st : add(out, "\nAnswer:");
}

static enum woq_status add_description(struct woqi_text_file *out, const char *subject)
{
    enum woq_status st = add(out, "The following are multiple choice questions (with answers) about ");
    for (const char *at = subject; *at && !st; at++)
        st = woqi_text_append("woq_task", out, *at == '_' ? " " : at, 1);
    return st ? st : add(out, ".\n\n");
}

static enum woq_status add_multiple_choice(struct woqi_text_file *out, const struct woq_task *task,
                                           const struct woqi_question *question, uint32_t skip)
{
    const struct woqi_subject *s = &task->subjects[question->subject];
    enum woq_status st = add_description(out, s->name);
    uint32_t shot = 0;
    for (size_t i = 0; i < s->shots.count && shot < task->shots && !st; i++) {
        const struct woqi_question *q = &s->shots.at[i];
        if ((task->from_dev && q->number == question->number) || shot++ < skip)
            continue;
        st = add_question(out, q);
        if (!st)
            st = add(out, (const char[]){' ', (char)('A' + q->answer), '\n', '\n', 0});
    }
    return st ? st : add_question(out, question);
}

enum woq_status woqi_prompt_write(const struct woq_task *task, const struct woqi_question *question, uint32_t skip,
                                  struct woqi_text_file *out)
{
    const struct woqi_chat *chat = &task->chat;
    enum woq_status st = WOQ_OK;
    out->size = 0;
    if (chat->name)
        st = add(out, chat->before);
    if (!st && task->kind == WOQ_TASK_MMLU)
        st = add_multiple_choice(out, task, question, skip);
    else if (!st) /* its end is without white space anyway */
        st = add_text(out, chat->trims ? woqi_task_strip(question->text) : question->text);
    if (!st && chat->name)
        st = add(out, chat->after);
    return st;
}
