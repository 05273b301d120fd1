/* generate.c: greedy continuation of a text. */
#include "model_impl.h"

struct choice {
    size_t vocabulary;
    int32_t token;
};

static void choose(void *user, uint32_t first, uint32_t count, float *logits)
{
    struct choice *c = user;
    (void)first;
    c->token = (int32_t)woqi_largest(logits + (count - 1) * c->vocabulary, c->vocabulary);
}

/* All of the prompt, a batch at a time; the choice after its last token. */
static enum woq_status read_prompt(struct woq_model *m, const int32_t *prompt, size_t count,
                                   struct choice *choice)
{
    enum woq_status st = WOQ_OK;
    for (size_t done = 0; done < count && !st;) {
        const size_t left = count - done;
        const uint32_t n = left < m->batch ? (uint32_t)left : m->batch;
        st = woqi_forward(m, prompt + done, n, n == left, choose, choice);
        done += n;
    }
    return st;
}

enum woq_status woq_model_generate(struct woq_model *model, const int32_t *prompt, size_t count,
                                   int32_t eos, int32_t *out, size_t max, size_t *made)
{
    if (made)
        *made = 0;
    if (!model || !prompt || !made || (!out && max))
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "woq_model_generate: %s is NULL",
                          !model    ? "model"
                          : !prompt ? "prompt"
                          : !made   ? "made"
                                    : "out");
    if (!count || count > model->context - model->position)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT,
                          "woq_model_generate: the prompt has %zu tokens; 1 to %u have room", count,
                          model->context - model->position);
    struct choice choice = {model->config.vocabulary, 0};
    enum woq_status st = read_prompt(model, prompt, count, &choice);
    size_t n = 0;
    while (!st && n < max) {
        out[n++] = choice.token;
        if (choice.token == eos || n == max || model->position == model->context)
            break;
        st = woqi_forward(model, &choice.token, 1, 1, choose, &choice);
    }
    *made = st ? 0 : n;
    return st;
}
