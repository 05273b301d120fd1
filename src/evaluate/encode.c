/* encode.c: prompts as tokens, cut to fit in the model's context. */
#include "task.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ids {
    int32_t *at;
    size_t count;
};

static enum woq_status to_ids(const struct woqi_encoder *e, const struct woqi_text_file *text, struct ids *out)
{
    return woq_tokenizer_encode(e->tokenizer, text->data, text->size, e->flags, &out->at, &out->count);
}

static enum woq_status fail(const struct woqi_encoder *e, const struct woqi_question *q, enum woq_status status,
                            const char *what)
{
    return woq_report(status, "%s:%" PRIu64 ": %s", e->task->subjects[q->subject].file, q->line, what);
}

enum woq_status woqi_encoder_begin(const struct woq_task *task, const struct woq_tokenizer *tokenizer,
                                   uint32_t context, struct woqi_encoder *out)
{
    const struct woqi_chat *chat = &task->chat;
    struct ids token;
    *out = (struct woqi_encoder){task, tokenizer, context, 0, {0, {0}}};
    if (woq_tokenizer_adds_bos(tokenizer) || chat->bos)
        out->flags = WOQ_ENCODE_BOS;
    if (!chat->name)
        return WOQ_OK;
    out->flags |= WOQ_ENCODE_SPECIAL;
    if (!chat->token)
        return WOQ_OK;
    enum woq_status st = woq_tokenizer_encode(tokenizer, chat->token, strlen(chat->token), WOQ_ENCODE_SPECIAL,
                                              &token.at, &token.count);
    if (!st && token.count != 1)
        st = woq_report(WOQ_ERROR_UNSUPPORTED,
                        "woq_task_run: the chat form %s needs the token %s, which the vocabulary does not have",
                        chat->name, chat->token);
    free(token.at);
    return st;
}

/* ---- MMLU's letters ---- */

/* In a chat they begin a turn. */
static enum woq_status add_letter(const struct woqi_encoder *e, struct woqi_text_file *text, int letter)
{
    const char spelled[] = {' ', (char)('A' + letter)};
    return e->task->chat.name ? woqi_text_append("woq_task", text, spelled + 1, 1)
                              : woqi_text_append("woq_task", text, spelled, 2);
}

/* The letters' ids behind a prompt of `prompt` tokens: as many for each, and only the last differ. */
static enum woq_status compare_letters(struct woqi_encoder *e, const struct ids whole[WOQI_CHOICES], size_t prompt)
{
    const size_t n = whole[0].count;
    bool right = n > prompt && prompt;
    for (int i = 0; i < WOQI_CHOICES && right; i++) {
        right = whole[i].count == n && !memcmp(whole[i].at, whole[0].at, (n - 1) * sizeof *whole[i].at);
        for (int j = 0; j < i && right; j++)
            right = whole[i].at[n - 1] != whole[j].at[n - 1];
    }
    if (!right)
        return woq_report(WOQ_ERROR_UNSUPPORTED,
                          "woq_task_run: the vocabulary does not spell the answers A, B, C, D with as many tokens "
                          "each, of which only the last differs");
    e->letters.common = (uint32_t)(n - 1 - prompt);
    for (int i = 0; i < WOQI_CHOICES; i++)
        e->letters.last[i] = whole[i].at[n - 1];
    return WOQ_OK;
}

enum woq_status woqi_encoder_letters(struct woqi_encoder *encoder, const struct woqi_question *question)
{
    struct woqi_text_file text = {NULL, 0, 0};
    struct ids alone = {NULL, 0}, whole[WOQI_CHOICES] = {{NULL, 0}};
    enum woq_status st = woqi_prompt_write(encoder->task, question, 0, &text);
    const size_t size = text.size;
    if (!st)
        st = to_ids(encoder, &text, &alone);
    for (int i = 0; i < WOQI_CHOICES && !st; i++) {
        text.size = size;
        st = add_letter(encoder, &text, i);
        if (!st)
            st = to_ids(encoder, &text, &whole[i]);
    }
    if (!st)
        st = compare_letters(encoder, whole, alone.count);
    for (int i = 0; i < WOQI_CHOICES; i++)
        free(whole[i].at);
    free(alone.at);
    free(text.data);
    return st;
}

/* ---- One example ---- */

/* Drops tokens at the front, but not the begin-of-text token, until the others fit. */
static enum woq_status fit(const struct woqi_encoder *e, const struct woqi_question *q, struct ids *ids,
                           uint32_t scored, struct woqi_encoded *out)
{
    const bool bos = (e->flags & WOQ_ENCODE_BOS) && woq_tokenizer_bos(e->tokenizer) >= 0;
    const size_t limit = e->context, most = ids->count < limit ? ids->count : limit;
    if (most < (size_t)scored + 1)
        return fail(e, q, WOQ_ERROR_INVALID_ARGUMENT,
                    "the model's context has no room for what is scored and a token before it; must be longer");
    memmove(ids->at + bos, ids->at + (ids->count - most) + bos, (most - bos) * sizeof *ids->at);
    out->tokens = ids->at;
    out->count = (uint32_t)most;
    out->scored = scored;
    out->dropped += (uint32_t)(ids->count - most);
    return WOQ_OK;
}

static enum woq_status encode_text(const struct woqi_encoder *e, const struct woqi_question *q,
                                   struct woqi_text_file *text, struct woqi_encoded *out)
{
    struct ids context = {NULL, 0}, whole = {NULL, 0};
    enum woq_status st = woqi_prompt_write(e->task, q, 0, text);
    if (!st)
        st = to_ids(e, text, &context);
    if (!st)
        st = woqi_text_append("woq_task", text, q->target.text, q->target.size);
    if (!st)
        st = to_ids(e, text, &whole);
    if (!st && (whole.count <= context.count || !context.count))
        st = fail(e, q, WOQ_ERROR_INVALID_DATA,
                  context.count ? "the last word gives no token" : "what is before the last word gives no token");
    if (!st && whole.count > UINT32_MAX)
        st = fail(e, q, WOQ_ERROR_INVALID_DATA, "the text is too long");
    if (!st)
        st = fit(e, q, &whole, (uint32_t)(whole.count - context.count), out);
    free(context.at);
    if (st)
        free(whole.at);
    return st;
}

static enum woq_status encode_choice(const struct woqi_encoder *e, const struct woqi_question *q,
                                     struct woqi_text_file *text, struct woqi_encoded *out)
{
    struct ids ids = {NULL, 0};
    size_t all = 0;
    enum woq_status st = WOQ_OK;
    for (uint32_t skip = 0; skip <= e->task->shots && !st; skip++) {
        free(ids.at);
        ids = (struct ids){NULL, 0};
        st = woqi_prompt_write(e->task, q, skip, text);
        if (!st)
            st = add_letter(e, text, 0);
        if (!st)
            st = to_ids(e, text, &ids);
        if (st)
            break;
        if (!ids.count || ids.at[ids.count - 1] != e->letters.last[0] || ids.count > UINT32_MAX) {
            st = fail(e, q, WOQ_ERROR_UNSUPPORTED, "the answer's letter gives another token than elsewhere");
            break;
        }
        ids.count--; /* the letter is what is asked for */
        all = skip ? all : ids.count;
        if (ids.count <= e->context)
            break;
    }
    if (!st) {
        out->dropped = (uint32_t)(all - ids.count);
        st = fit(e, q, &ids, e->letters.common, out);
    }
    if (st)
        free(ids.at);
    return st;
}

enum woq_status woqi_encode(const struct woqi_encoder *encoder, const struct woqi_question *question,
                            struct woqi_encoded *out)
{
    struct woqi_text_file text = {NULL, 0, 0};
    *out = (struct woqi_encoded){NULL, 0, 0, 0};
    enum woq_status st = encoder->task->kind == WOQ_TASK_MMLU ? encode_choice(encoder, question, &text, out)
                                                              : encode_text(encoder, question, &text, out);
    free(text.data);
    return st;
}
