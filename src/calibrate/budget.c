/* budget.c: the formats of units under a number of bits a weight. */
#include "budget.h"

#include <math.h>
#include <stdlib.h>

/* ---- The search ---- */

enum { MOST_STEPS = 1 << 26 };

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Of the bits above each unit's fewest; 1 where there are none. */
static uint64_t quantum_of(const struct woqi_budget_unit *units, uint32_t count)
{
    uint64_t divisor = 0, range = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t c = 1; c < units[i].count; c++)
            divisor = common_divisor(divisor, units[i].bits[c] - units[i].bits[0]);
        range += units[i].bits[units[i].count - 1] - units[i].bits[0];
    }
    if (!divisor)
        return 1;
    const uint64_t cells = MOST_STEPS / count, wanted = (range + cells - 1) / cells;
    return (wanted + divisor - 1) / divisor * divisor;
}

static uint64_t cells_of(const struct woqi_budget_unit *u, uint32_t c, uint64_t quantum)
{
    return (u->bits[c] - u->bits[0] + quantum - 1) / quantum;
}

/* best[b]: the least sum of the units so far with at most b quanta; taken [count][size] is what each took for it. */
static void fill(const struct woqi_budget_unit *units, uint32_t count, uint64_t quantum, uint64_t size, double *best,
                 uint8_t *taken)
{
    for (uint64_t b = 0; b < size; b++)
        best[b] = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct woqi_budget_unit *u = &units[i];
        uint64_t cells[WOQI_BUDGET_CHOICES];
        for (uint32_t c = 0; c < u->count; c++)
            cells[c] = cells_of(u, c, quantum);
        for (uint64_t b = size; b-- > 0;) { /* from above, so that what is below is still of the units before */
            double least = best[b] + u->kl[0];
            uint8_t choice = 0;
            for (uint32_t c = 1; c < u->count && cells[c] <= b; c++)
                if (best[b - cells[c]] + u->kl[c] < least) {
                    least = best[b - cells[c]] + u->kl[c];
                    choice = (uint8_t)c;
                }
            best[b] = least;
            taken[i * size + b] = choice;
        }
    }
}

enum woq_status woqi_budget_search(const struct woqi_budget_unit *units, uint32_t count, uint64_t budget,
                                   uint8_t *choice)
{
    const uint64_t quantum = quantum_of(units, count);
    uint64_t fewest = 0, most = 0;
    for (uint32_t i = 0; i < count; i++) {
        fewest += units[i].bits[0];
        most += cells_of(&units[i], units[i].count - 1, quantum);
    }
    if (budget < fewest)
        return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "a budget of %llu bits; the least is %llu",
                          (unsigned long long)budget, (unsigned long long)fewest);
    const uint64_t free_quanta = (budget - fewest) / quantum, size = (free_quanta < most ? free_quanta : most) + 1;
    double *best = malloc(size * sizeof *best);
    uint8_t *taken = malloc(size * count);
    if (best && taken) {
        uint64_t at = size - 1;
        fill(units, count, quantum, size, best, taken);
        for (uint32_t i = count; i-- > 0;) {
            choice[i] = taken[i * size + at];
            at -= cells_of(&units[i], choice[i], quantum);
        }
    }
    const bool fine = best && taken;
    free(best);
    free(taken);
    return fine ? WOQ_OK : woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for a budget of %u units", count);
}

/* ---- Formats ---- */

/* A budget is a decimal number as binary32, and may be meant to be the least. */
static const double slack = 1 - 1e-6;

static struct woq_format eight_of(const struct woq_format *planned)
{
    struct woq_format f = *planned;
    f.code = WOQ_CODE_U8;
    f.zero = WOQ_ZERO_SYMMETRIC;
    f.group = WOQ_GROUP_CHANNEL;
    return f;
}

static const struct woq_tensor *tensor_of(const struct woqi_plan *plan, const struct woqi_unit *u, uint32_t part)
{
    return woq_checkpoint_tensor(plan->checkpoint, u->tensors[part]);
}

static enum woq_status eight_bits(const struct woqi_plan *plan, const struct woqi_unit *u, uint64_t *out)
{
    *out = 0;
    for (uint32_t i = 0; i < u->count; i++) {
        const struct woq_tensor *t = tensor_of(plan, u, i);
        const struct woq_format f = eight_of(&plan->formats[u->tensors[i]]);
        struct woq_format_sizes sizes;
        enum woq_status st = woq_format_get_sizes(&f, t->shape[0], t->shape[1], &sizes);
        if (st)
            return st;
        *out += 8 * (sizes.codes + sizes.scales + sizes.zeros);
    }
    return WOQ_OK;
}

/* The formats a unit can have; those that save nothing for more bits are left out. */
static enum woq_status choices_of(const struct woqi_plan *plan, const struct woqi_unit *u,
                                  struct woqi_budget_unit *out)
{
    const uint64_t half = 16 * u->weights;
    uint64_t eight = 0;
    *out = (struct woqi_budget_unit){.count = 1, .bits = {u->bits}, .kl = {u->kl}};
    if (u->kept)
        return WOQ_OK;
    if (plan->formats[u->tensors[0]].code == WOQ_CODE_U4) {
        enum woq_status st = eight_bits(plan, u, &eight);
        if (st)
            return st;
        if (eight > u->bits && eight < half) {
            out->bits[out->count] = eight;
            out->kl[out->count++] = u->kl * WOQI_BUDGET_EIGHT;
        }
    }
    if (half > u->bits)
        out->bits[out->count++] = half;
    return WOQ_OK;
}

static void sums(const struct woqi_sensitivity *s, double *weights, double *bits)
{
    *weights = *bits = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        *weights += (double)s->units[i].weights;
        *bits += (double)s->units[i].bits;
    }
}

enum woq_status woqi_budget_check(const struct woqi_sensitivity *s, double budget)
{
    double weights, bits;
    sums(s, &weights, &bits);
    if (budget * weights >= bits * slack && budget <= 16)
        return WOQ_OK;
    return woq_report(WOQ_ERROR_INVALID_ARGUMENT, "a budget of %g bits a weight; must be %.4f, which the format "
                      "needs with its scales, to 16, which is FP16", budget, ceil(bits / weights * 1e4) / 1e4);
}

static void write_choice(struct woqi_plan *plan, struct woqi_unit *u, const struct woqi_budget_unit *choices,
                         uint32_t choice, uint32_t *eights, uint32_t *kept)
{
    if (!choice)
        return;
    const bool half = choice == choices->count - 1;
    u->bits = choices->bits[choice];
    *eights += !half;
    *kept += half;
    for (uint32_t i = 0; i < u->count; i++)
        if (half)
            plan->use[u->tensors[i]] = WOQI_USE_KEEP;
        else
            plan->formats[u->tensors[i]] = eight_of(&plan->formats[u->tensors[i]]);
}

enum woq_status woqi_budget_apply(struct woqi_sensitivity *s, double budget, struct woqi_plan *plan,
                                  uint32_t *eights, uint32_t *kept)
{
    double weights, bits;
    bool quantized = false;
    *eights = *kept = 0;
    sums(s, &weights, &bits);
    struct woqi_budget_unit *choices = calloc(s->count, sizeof *choices);
    uint8_t *choice = calloc(s->count, 1);
    enum woq_status st = woqi_budget_check(s, budget);
    if (!choices || !choice)
        st = woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for a budget of %u units", s->count);
    for (uint32_t i = 0; i < s->count && !st; i++)
        st = choices_of(plan, &s->units[i], &choices[i]);
    if (!st)
        st = woqi_budget_search(choices, s->count, (uint64_t)fmax(budget * weights, bits), choice);
    for (uint32_t i = 0; i < s->count && !st; i++) {
        write_choice(plan, &s->units[i], &choices[i], choice[i], eights, kept);
        for (uint32_t p = 0; p < s->units[i].count; p++)
            quantized |= plan->use[s->units[i].tensors[p]] == WOQI_USE_QUANTIZE;
    }
    if (!st && !quantized)
        st = woq_report(WOQ_ERROR_INVALID_ARGUMENT, "nothing to quantize: a budget of %g bits a weight has room for "
                        "FP16 everywhere", budget);
    free(choices);
    free(choice);
    return st;
}
