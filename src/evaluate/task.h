/*
 * task.h: what the parts of benchmark tasks share.
 *
 *     task.c        the public functions that open a task, and the draw of examples
 *     lambada.c     examples of JSON lines
 *     mmlu.c        examples of CSV files (csv.c), subjects' categories (subjects.c)
 *     chat.c        forms of chat templates; chat_template.c finds a model's
 *     prompt.c      an example as text
 *     encode.c      that as tokens, made to fit in a context
 *     predict.c     the model's answers
 *     summary.c     statistics
 */
#ifndef WOQI_TASK_H
#define WOQI_TASK_H

#include <woq/evaluate.h>

#include "../checkpoint/checkpoint_impl.h"
#include "../checkpoint/text_file.h"

enum { WOQI_CHOICES = 4 };

struct woqi_question {
    struct woq_text text;   /* LAMBADA: the context; MMLU: the question */
    struct woq_text target; /* LAMBADA: what follows, its space included */
    struct woq_text choices[WOQI_CHOICES]; /* MMLU */
    uint64_t number, line;  /* in its file: of the example from 0 on, of the line from 1 on */
    uint32_t subject, answer;
};

struct woqi_questions {
    struct woqi_question *at;
    size_t count, capacity;
};

struct woqi_subject {
    const char *name, *category; /* NULL = none of MMLU's */
    const char *file;            /* of the questions */
    uint64_t first, count;       /* of its examples in the task */
    struct woqi_questions shots;
};

struct woqi_chat {
    const char *name;          /* static; NULL = plain text */
    const char *before, *after; /* of the user's text */
    const char *token;         /* that the vocabulary must have; NULL = it is all plain text */
    bool bos;                  /* begins with the begin-of-text token */
    bool trims;                /* white space at the text's ends */
};

struct woq_task {
    enum woq_task_kind kind;
    uint32_t shots;
    bool from_dev; /* questions are of the file that examples are of */
    struct woqi_chat chat;
    struct woqi_ckpt_arena arena; /* texts and names */
    struct woqi_questions questions;
    struct woqi_subject *subjects;
    size_t subject_count, subject_capacity;
    uint64_t hash;
};

enum woq_status woqi_task_no_memory(void);
/* The text without white space at its ends; without it at its end. */
struct woq_text woqi_task_strip(struct woq_text text);
struct woq_text woqi_task_strip_end(struct woq_text text);
/* The beginning of a text as messages may have it: without what a terminal would obey. */
struct woqi_shown {
    char text[72];
};
struct woqi_shown woqi_task_show(struct woq_text text);

/* ---- lambada.c, mmlu.c: all examples of the files ---- */
/* Texts are the task's arena's. INVALID_DATA, INVALID_ARGUMENT, OUT_OF_MEMORY as woq_task_open. */
enum woq_status woqi_lambada_read(struct woq_task *task, const char *path);
enum woq_status woqi_mmlu_read(struct woq_task *task, const char *path, const char *split);
/* The same of a file's bytes; file: its name. MMLU: at most `limit` questions of a subject; text is overwritten. */
enum woq_status woqi_lambada_parse(struct woq_task *task, const char *file, const struct woqi_text_file *text);
enum woq_status woqi_mmlu_parse(struct woq_task *task, const char *file, const struct woqi_text_file *text,
                                uint32_t subject, uint64_t limit, struct woqi_questions *to);
/* Appends a copy of *question, whose texts are copied too. */
enum woq_status woqi_task_add(struct woq_task *task, struct woqi_questions *to,
                              const struct woqi_question *question);
/* A new subject without questions; name and file are copied; NULL = no memory. */
struct woqi_subject *woqi_task_add_subject(struct woq_task *task, const char *name, const char *file);

/* ---- subjects.c ---- */
#define WOQI_CATEGORIES 4
extern const char *const woqi_mmlu_categories[WOQI_CATEGORIES];
/* One of these, or NULL. */
const char *woqi_mmlu_category(const char *subject);

/* ---- chat.c ---- */
/* text: as woq_task_params.chat. What is not static in *out is the arena's.
 * Returns WOQ_OK; INVALID_ARGUMENT (a name that is none); UNSUPPORTED; OUT_OF_MEMORY. */
enum woq_status woqi_chat_find(struct woqi_ckpt_arena *arena, const char *text, struct woqi_chat *out);

/* ---- prompt.c ---- */
/* Replaces *out by the example's prompt without the first `skip` of its shots; out->data is the caller's to free. */
enum woq_status woqi_prompt_write(const struct woq_task *task, const struct woqi_question *question, uint32_t skip,
                                  struct woqi_text_file *out);

/* ---- encode.c ---- */
struct woqi_encoded {
    int32_t *tokens;
    uint32_t count;
    uint32_t scored;  /* the last of them */
    uint32_t dropped; /* that are not among them for want of room */
};

/* MMLU's letters as tokens: `common` that are the same for all, then one that differs. */
struct woqi_letters {
    uint32_t common;
    int32_t last[WOQI_CHOICES];
};

struct woqi_encoder {
    const struct woq_task *task;
    const struct woq_tokenizer *tokenizer;
    uint32_t context; /* tokens at most */
    uint32_t flags;   /* of woq_tokenizer_encode */
    struct woqi_letters letters; /* of the subject at hand */
};

/* INVALID_ARGUMENT, UNSUPPORTED where the vocabulary is not one for the task's chat form. */
enum woq_status woqi_encoder_begin(const struct woq_task *task, const struct woq_tokenizer *tokenizer,
                                   uint32_t context, struct woqi_encoder *out);
/* MMLU: finds the letters as they follow this question's prompt. */
enum woq_status woqi_encoder_letters(struct woqi_encoder *encoder, const struct woqi_question *question);
/* out->tokens is the caller's to free. */
enum woq_status woqi_encode(const struct woqi_encoder *encoder, const struct woqi_question *question,
                            struct woqi_encoded *out);

#endif
