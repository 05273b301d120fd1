/* eval_run.c: one model in one form: loading it, and a continuation of the prompt. */
#include "eval.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bool eval_give_up(struct eval_model *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(m->reason, sizeof m->reason, format, args);
    va_end(args);
    return false;
}

bool eval_good(struct eval_model *m, enum woq_status st)
{
    return st ? eval_give_up(m, "%s", woq_last_message()) : true;
}

/* The text's ids, cut, and the prompt's; fewer ids than two windows are refused. */
static bool encode(const struct eval_options *o, struct eval_model *m, struct eval_loaded *l)
{
    const struct woq_tokenizer *tokenizer = l->tokenizer;
    const uint32_t flags = woq_tokenizer_adds_bos(tokenizer) ? WOQ_ENCODE_BOS : 0;
    m->bos = flags ? woq_tokenizer_bos(tokenizer) : -1;
    if (o->text_file) {
        if (!eval_good(m, woq_tokenizer_encode(tokenizer, o->text, o->text_size, flags, &m->ids,
                                          &m->id_count)))
            return false;
        if (o->tokens && o->tokens < m->id_count)
            m->id_count = (size_t)o->tokens;
        const uint64_t need = o->stride ? o->window : 2ull * o->window;
        if (m->id_count < need)
            return eval_give_up(m, "'%s' gives %zu tokens; windows of %u need %llu: take a longer text, "
                              "more --tokens or a smaller --window",
                           o->text_file, m->id_count, o->window, (unsigned long long)need);
    }
    if (!o->prompt)
        return true;
    if (!eval_good(m, woq_tokenizer_encode(tokenizer, o->prompt, strlen(o->prompt),
                                      flags | WOQ_ENCODE_SPECIAL, &l->prompt, &m->prompt_tokens)))
        return false;
    return m->prompt_tokens > 0 || eval_give_up(m, "the prompt gives no token; write some text");
}

/* The prompt and the first token, the second (whose kernels may be compiled), then the others: these
 * are timed. In pieces, for the bar. */
bool eval_continue(const struct eval_options *o, struct eval_loaded *l, struct eval_model *m)
{
    const int32_t eos = woq_tokenizer_eos(l->tokenizer);
    int32_t *ids = tool_alloc(o->generate, sizeof *ids);
    struct eval_bar bar;
    enum { PIECE = 8 };
    size_t n = 0, made = 1, size;
    double start = 0;
    eval_bar_begin(&bar, o->progress, 1, "%s: continuing the prompt", m->weights.name);
    woq_model_reset(l->model);
    enum woq_status st = woq_model_generate(l->model, l->prompt, m->prompt_tokens, eos, ids, 1, &n);
    while (!st && made && n < o->generate && ids[n - 1] != eos) {
        eval_bar_step(&bar, n, o->generate, 0);
        if (n == 2)
            start = tool_seconds();
        const size_t left = o->generate - n, most = n < 2 ? 1 : left < PIECE ? left : PIECE;
        st = woq_model_generate(l->model, &ids[n - 1], 1, eos, ids + n, most, &made);
        n += made;
    }
    if (n > 2)
        m->decode_rate = (double)(n - 2) / (tool_seconds() - start);
    eval_bar_end(&bar);
    m->generated_tokens = n;
    if (n && ids[n - 1] == eos)
        n--;
    if (!st)
        st = woq_tokenizer_decode(l->tokenizer, ids, n, &m->generated, &size);
    free(ids);
    return eval_good(m, st);
}

/* Room for a window, for the prompt and what follows, and for the longest question, as far as the model goes. */
static bool choose_context(const struct eval_options *o, const struct woq_model_config *config,
                           const struct woq_tokenizer *tokenizer, struct eval_model *m, struct woq_model_params *p)
{
    enum { TASK_BATCH = 512 };
    const uint64_t room = m->prompt_tokens + (uint64_t)o->generate;
    uint32_t question = 0;
    if (!eval_longest_prompt(o, tokenizer, m, &question))
        return false;
    if (config->context && question > config->context)
        question = config->context;
    p->batch = o->text_file ? o->window : 0;
    if (question && p->batch < TASK_BATCH)
        p->batch = TASK_BATCH;
    p->context = p->batch > question ? p->batch : question;
    if (o->prompt && room > p->context)
        p->context = room > UINT32_MAX ? UINT32_MAX : (uint32_t)room;
    return true;
}

static bool create(const struct eval_options *o, struct woq_device *device,
                   const struct woq_checkpoint *checkpoint, const struct woq_model_config *config,
                   const struct woq_tokenizer *tokenizer, struct eval_model *m, struct woq_model **out)
{
    struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
    struct eval_bar bar;
    if (!choose_context(o, config, tokenizer, m, &p))
        return false;
    const double start = tool_seconds();
    p.weights = m->weights.mode;
    p.format = m->weights.format;
    p.x_type = o->x;
    p.math = m->math;
    p.progress = eval_bar_load;
    p.progress_user = &bar;
    eval_bar_begin(&bar, o->progress, 1, "%s: packing weights", m->weights.name);
    const enum woq_status st = woq_model_create(device, checkpoint, &p, out);
    eval_bar_end(&bar);
    m->load_seconds = tool_seconds() - start;
    return eval_good(m, st) && eval_good(m, woq_model_get_info(*out, &m->info));
}

static const char *stored_type(const struct woq_checkpoint *checkpoint)
{
    const struct woq_tensor *t =
        woq_checkpoint_find(checkpoint, "model.layers.0.self_attn.q_proj.weight");
    return t ? woq_tensor_type_name(t->type) : NULL;
}

bool eval_load(const struct eval_options *o, struct woq_device *device, struct eval_model *m,
               struct eval_loaded *out)
{
    struct woq_checkpoint *checkpoint = NULL;
    struct woq_model_config config;
    *out = (struct eval_loaded){0};
    /* The configuration first: a model that is none of ours may have a tokenizer that is none of ours too. */
    const bool right = eval_good(m, woq_checkpoint_open(m->path, NULL, &checkpoint)) &&
                       eval_good(m, woq_checkpoint_config(checkpoint, &config)) &&
                       eval_good(m, woq_tokenizer_create(checkpoint, &out->tokenizer)) &&
                       encode(o, m, out) && create(o, device, checkpoint, &config, out->tokenizer, m, &out->model);
    m->stored = right ? stored_type(checkpoint) : NULL;
    woq_checkpoint_close(&checkpoint);
    return right;
}

void eval_release(struct eval_loaded *l)
{
    free(l->prompt);
    woq_model_destroy(&l->model);
    woq_tokenizer_destroy(&l->tokenizer);
    *l = (struct eval_loaded){0};
}

void eval_run(const struct eval_options *o, struct woq_device *device, struct eval_model *m)
{
    struct eval_loaded loaded;
    m->done = eval_load(o, device, m, &loaded);
    if (m->done && o->text_file)
        eval_measure(o, &loaded.model, &m, 1);
    if (m->done)
        eval_run_tasks(o, &loaded, m);
    m->done = m->done && (!o->prompt || eval_continue(o, &loaded, m));
    eval_release(&loaded);
}
