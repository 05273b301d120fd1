/* task.c: opens benchmark tasks, and draws from their examples. */
#include "task.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../calibrate/samples.h"
#include "../tokenizer/tokenizer_impl.h"

enum woq_status woqi_task_no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "woq_task: no host memory");
}

struct woq_text woqi_task_strip_end(struct woq_text t)
{
    while (t.size) {
        size_t at = t.size - 1;
        uint32_t code = 0;
        while (at && ((uint8_t)t.text[at] & 0xc0) == 0x80)
            at--;
        if (!woqi_tok_utf8(t.text + at, t.size - at, &code) || !woqi_tok_is_space(code))
            break;
        t.size = at;
    }
    return t;
}

struct woq_text woqi_task_strip(struct woq_text t)
{
    while (t.size) {
        uint32_t code = 0;
        const size_t n = woqi_tok_utf8(t.text, t.size, &code);
        if (!n || !woqi_tok_is_space(code))
            break;
        t.text += n;
        t.size -= n;
    }
    return woqi_task_strip_end(t);
}

struct woqi_shown woqi_task_show(struct woq_text t)
{
    struct woqi_shown out = {{0}};
    size_t used = 0;
    for (size_t at = 0, n; at < t.size && used + 8 < sizeof out.text; at += n ? n : 1) {
        n = woqi_tok_utf8(t.text + at, t.size - at, NULL);
        if (n && woqi_ckpt_is_name(t.text + at, n)) {
            memcpy(out.text + used, t.text + at, n);
            used += n;
        } else {
            out.text[used++] = '?';
        }
    }
    return out;
}

/* ---- Examples ---- */

static bool copy_text(struct woq_task *task, struct woq_text *t)
{
    const char *copy = woqi_ckpt_copy(&task->arena, t->size ? t->text : "", t->size);
    t->text = copy;
    return copy;
}

enum woq_status woqi_task_add(struct woq_task *task, struct woqi_questions *to,
                              const struct woqi_question *question)
{
    if (!woqi_tok_grow(&to->at, &to->capacity, to->count + 1, sizeof *to->at))
        return woqi_task_no_memory();
    struct woqi_question *q = &to->at[to->count];
    *q = *question;
    bool copied = copy_text(task, &q->text) && copy_text(task, &q->target);
    for (size_t i = 0; i < WOQI_CHOICES && copied; i++)
        copied = copy_text(task, &q->choices[i]);
    if (!copied)
        return woqi_task_no_memory();
    to->count++;
    return WOQ_OK;
}

struct woqi_subject *woqi_task_add_subject(struct woq_task *task, const char *name, const char *file)
{
    char *own_name = woqi_ckpt_copy(&task->arena, name, strlen(name));
    char *own_file = woqi_ckpt_copy(&task->arena, file, strlen(file));
    if (!own_name || !own_file ||
        !woqi_tok_grow(&task->subjects, &task->subject_capacity, task->subject_count + 1, sizeof *task->subjects))
        return NULL;
    struct woqi_subject *s = &task->subjects[task->subject_count++];
    *s = (struct woqi_subject){.name = own_name, .file = own_file, .first = task->questions.count};
    return s;
}

/* The examples that the seed draws, and the subjects that have some. */
static enum woq_status draw(struct woq_task *task, uint64_t limit, uint64_t seed)
{
    struct woqi_questions *q = &task->questions;
    if (!limit || limit >= q->count)
        return WOQ_OK;
    uint64_t *numbers = malloc(q->count * sizeof *numbers);
    if (!numbers)
        return woqi_task_no_memory();
    woqi_samples_draw(numbers, q->count, (uint32_t)limit, seed);
    for (size_t i = 0; i < limit; i++)
        q->at[i] = q->at[numbers[i]];
    q->count = (size_t)limit;
    free(numbers);
    return WOQ_OK;
}

static void settle_subjects(struct woq_task *task)
{
    size_t used = 0, at = 0;
    for (size_t s = 0; s < task->subject_count; s++) {
        struct woqi_subject subject = task->subjects[s];
        subject.first = at;
        for (; at < task->questions.count && task->questions.at[at].subject == s; at++)
            task->questions.at[at].subject = (uint32_t)used;
        subject.count = at - subject.first;
        if (subject.count)
            task->subjects[used++] = subject;
        else
            free(subject.shots.at);
    }
    task->subject_count = used;
}

/* FNV-1a. */
static void add_hash(uint64_t *hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        *hash = (*hash ^ bytes[i]) * UINT64_C(0x100000001b3);
}

static void add_hash_text(uint64_t *hash, const char *text, size_t size)
{
    char number[24];
    snprintf(number, sizeof number, "%zu:", size); /* so that neighbours are told apart */
    add_hash(hash, number, strlen(number));
    add_hash(hash, text, size);
}

/* Prompts hold everything that questions, shots and chat forms have in them. */
static enum woq_status identify(struct woq_task *task)
{
    struct woqi_text_file prompt = {NULL, 0, 0};
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    enum woq_status st = WOQ_OK;
    char head[64];
    snprintf(head, sizeof head, "woq task 1 %d %d", (int)task->kind, task->chat.bos);
    add_hash_text(&hash, head, strlen(head));
    for (size_t i = 0; i < task->questions.count && !st; i++) {
        const struct woqi_question *q = &task->questions.at[i];
        st = woqi_prompt_write(task, q, 0, &prompt);
        add_hash_text(&hash, prompt.data, prompt.size);
        add_hash_text(&hash, q->target.text, q->target.size);
        add_hash(&hash, &(uint8_t){(uint8_t)q->answer}, 1);
    }
    free(prompt.data);
    task->hash = hash;
    return st;
}

/* ---- Public functions ---- */

static enum woq_status check(const struct woq_task_params *p)
{
    if (p->struct_size != sizeof *p)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_open: struct_size is %zu; must be %zu",
                          p->struct_size, sizeof *p);
    if (p->kind != WOQ_TASK_LAMBADA && p->kind != WOQ_TASK_MMLU)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_open: kind is %d; must be LAMBADA or MMLU",
                          (int)p->kind);
    if (!p->path)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_open: path is NULL");
    if (p->split && (!*p->split || strchr(p->split, '/')))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_task_open: split is '%s'; must be a folder's name, as \"test\"", p->split);
    return WOQ_OK;
}

enum woq_status woq_task_open(const struct woq_task_params *params, struct woq_task **out)
{
    if (out)
        *out = NULL;
    if (!params || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_open: %s is NULL", params ? "out" : "params");
    enum woq_status st = check(params);
    if (st)
        return st;
    struct woq_task *task = calloc(1, sizeof *task);
    if (!task)
        return woqi_task_no_memory();
    task->kind = params->kind;
    if (params->chat)
        st = woqi_chat_find(&task->arena, params->chat, &task->chat);
    if (!st && task->kind == WOQ_TASK_LAMBADA) {
        st = woqi_lambada_read(task, params->path);
    } else if (!st) {
        task->shots = params->shots;
        st = woqi_mmlu_read(task, params->path, params->split ? params->split : "test");
    }
    if (!st && task->questions.count > UINT32_MAX)
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: has %zu examples; at most 2^32 - 1 are taken", params->path,
                        task->questions.count);
    if (!st)
        st = draw(task, params->limit, params->seed);
    if (!st) {
        settle_subjects(task);
        st = identify(task);
    }
    if (st)
        woq_task_close(&task);
    *out = task;
    return st;
}

void woq_task_close(struct woq_task **task)
{
    if (!task || !*task)
        return;
    for (size_t i = 0; i < (*task)->subject_count; i++)
        free((*task)->subjects[i].shots.at);
    free((*task)->subjects);
    free((*task)->questions.at);
    woqi_ckpt_arena_free(&(*task)->arena);
    free(*task);
    *task = NULL;
}

enum woq_status woq_task_get_info(const struct woq_task *task, struct woq_task_info *out)
{
    if (out)
        *out = (struct woq_task_info){.struct_size = sizeof *out};
    if (!task || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_get_info: %s is NULL", task ? "out" : "task");
    out->kind = task->kind;
    out->name = task->kind == WOQ_TASK_LAMBADA ? "lambada" : "mmlu";
    out->chat = task->chat.name;
    out->examples = task->questions.count;
    out->groups = (uint32_t)task->subject_count;
    out->shots = task->shots;
    out->hash = task->hash;
    return WOQ_OK;
}

static enum woq_status find(const char *function, const struct woq_task *task, uint64_t index, const void *out,
                            const struct woqi_question **question)
{
    if (!task || !out)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", function, task ? "out" : "task");
    if (index >= task->questions.count)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "%s: index is %" PRIu64 "; the task has %zu examples", function,
                          index, task->questions.count);
    *question = &task->questions.at[index];
    return WOQ_OK;
}

enum woq_status woq_task_get_example(const struct woq_task *task, uint64_t index, struct woq_task_example *out)
{
    const struct woqi_question *q = NULL;
    if (out)
        *out = (struct woq_task_example){.struct_size = sizeof *out};
    enum woq_status st = find("woq_task_get_example", task, index, out, &q);
    if (!st)
        *out = (struct woq_task_example){sizeof *out, task->subjects[q->subject].name, q->number, q->answer};
    return st;
}

enum woq_status woq_task_prompt(const struct woq_task *task, uint64_t index, char **text, size_t *size)
{
    const struct woqi_question *q = NULL;
    struct woqi_text_file prompt = {NULL, 0, 0};
    if (text)
        *text = NULL;
    if (size)
        *size = 0;
    if (!text || !size)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_task_prompt: %s is NULL", text ? "size" : "text");
    enum woq_status st = find("woq_task_prompt", task, index, text, &q);
    if (!st)
        st = woqi_prompt_write(task, q, 0, &prompt);
    if (!st)
        st = woqi_text_append("woq_task_prompt", &prompt, "", 1);
    if (st) {
        free(prompt.data);
        return st;
    }
    *text = prompt.data;
    *size = prompt.size - 1;
    return WOQ_OK;
}
