/*
 * test_model_packing.c: rows of sequences as forwards. Each plan is carried out on a cache that remembers which
 * token of which text a slot holds, so that a row can see whether what it needs is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "model/packing.h"

enum { MOST = 300, SLOTS = 2048, BATCH = 512 };

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(*seed >> 8) * below >> 24);
}

struct plan {
    uint32_t rows[MOST + 1], wanted[MOST + 1]; /* of each text so far; 0 is the prefix */
    uint32_t forwards, smallest, largest;
    struct held {
        uint32_t text, token;
    } cache[SLOTS];
};
static struct plan plan;
static struct woq_sequence sequences[MOST];

static void check_slot(uint32_t slot, uint32_t text, uint32_t token)
{
    if (plan.cache[slot].text != text || plan.cache[slot].token != token)
        fail_msg("slot %u holds token %u of text %u; must be token %u of text %u", slot, plan.cache[slot].token,
                 plan.cache[slot].text, token, text);
}

/* First all rows' keys are written, then each row reads. */
static void carry_out(const struct woqi_packing *p, const struct woqi_segments *s)
{
    uint32_t rows = 0, wanted = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct woqi_segment *g = &s->list[i];
        assert_true(g->rows && g->wanted <= g->rows && g->row == rows && g->out == wanted);
        assert_true(g->begin % WOQI_PANEL == 0 && g->slot + g->rows <= p->slots);
        assert_int_equal(g->slot - g->begin, plan.rows[g->text]); /* none left out, none twice */
        assert_true(g->text ? g->prefix == p->prefix_count && g->begin >= p->prefix_count : !g->prefix && !g->begin);
        for (uint32_t r = 0; r < g->rows; r++)
            plan.cache[g->slot + r] = (struct held){g->text, plan.rows[g->text] + r};
        /* Wanted rows are a text's last. */
        assert_true(!plan.wanted[g->text] || g->wanted == g->rows);
        plan.rows[g->text] += g->rows;
        plan.wanted[g->text] += g->wanted;
        rows += g->rows;
        wanted += g->wanted;
    }
    assert_true(rows == s->rows && wanted == s->wanted && rows && rows <= p->batch);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct woqi_segment *g = &s->list[i];
        for (uint32_t slot = 0; slot < g->prefix; slot++)
            check_slot(slot, 0, slot);
        for (uint32_t slot = g->begin; slot < g->slot + g->rows; slot++)
            check_slot(slot, g->text, slot - g->begin);
    }
    plan.forwards++;
    plan.smallest = rows < plan.smallest ? rows : plan.smallest;
    plan.largest = rows > plan.largest ? rows : plan.largest;
}

/* Total rows. */
static uint64_t check_plan(uint32_t prefix, uint32_t count, uint32_t batch, uint32_t slots)
{
    static struct woqi_segment segments[BATCH];
    struct woqi_packing p = {.prefix_count = prefix, .count = count, .sequences = sequences, .batch = batch,
                             .slots = slots, .segments = segments};
    struct woqi_segments s;
    uint64_t total = prefix;
    bool first_tokens = false;
    memset(&plan, 0, sizeof plan);
    memset(plan.cache, 255, sizeof plan.cache);
    plan.smallest = UINT32_MAX;
    woqi_packing_start(&p);
    while (woqi_packing_next(&p, &s))
        carry_out(&p, &s);
    for (uint32_t i = 0; i < count; i++) {
        const struct woq_sequence *q = &sequences[i];
        /* Predictions of tokens and of choices, the first token's by the prefix. */
        const uint32_t predicted = q->scored + (q->choice_count ? 1 : 0) - (q->scored == q->count);
        assert_int_equal(plan.wanted[i + 1], predicted);
        assert_int_equal(plan.rows[i + 1], q->choice_count ? q->count : q->scored ? q->count - 1 : 0);
        total += plan.rows[i + 1];
        first_tokens = first_tokens || q->scored == q->count;
    }
    assert_int_equal(plan.rows[0], prefix);
    assert_int_equal(plan.wanted[0], first_tokens);
    return total;
}

static void any_sequences(uint32_t *seed, uint32_t count, uint32_t longest, bool after_prefix)
{
    static const int32_t choices[4];
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t length = 1 + draw(seed, longest), most = after_prefix ? length : length - 1;
        const uint32_t kind = draw(seed, 4), choice_count = draw(seed, 5);
        sequences[i] = (struct woq_sequence){.count = length,
                                             .scored = kind == 0 ? 0 : kind == 1 ? most : draw(seed, most + 1),
                                             .choices = choice_count ? choices : NULL,
                                             .choice_count = choice_count};
    }
}

/* With slots for a batch and what is cut at both its ends, forwards are as few as can be, and alike. */
static void test_full(void **state)
{
    static const uint32_t prefixes[] = {0, 1, 16, 100, 600};
    uint32_t seed = 1;
    (void)state;
    for (int p = 0; p < 5; p++)
        for (uint32_t count = 1; count <= MOST; count = count * 3 / 2 + 1)
            for (uint32_t batch = 64; batch <= BATCH; batch *= 2) {
                any_sequences(&seed, count, 100, prefixes[p]);
                for (uint32_t i = 0; i < count; i++) /* none so short that slots run out */
                    sequences[i].count += 50;
                const uint64_t total = check_plan(prefixes[p], count, batch, SLOTS);
                assert_int_equal(plan.forwards, (total + batch - 1) / batch);
                assert_true(!plan.forwards || plan.largest - plan.smallest <= 1);
            }
}

/* With no more slots than one sequence needs, all are still read. */
static void test_narrow(void **state)
{
    uint32_t seed = 2, most = 0;
    (void)state;
    for (uint32_t prefix = 0; prefix < 70; prefix += 23)
        for (uint32_t longest = 1; longest < 700; longest *= 3) {
            any_sequences(&seed, MOST, longest, prefix);
            check_plan(prefix, MOST, 64, woqi_whole_panels(prefix) + woqi_whole_panels(longest));
            most = plan.forwards > most ? plan.forwards : most;
            check_plan(prefix, MOST, BATCH, woqi_whole_panels(prefix) + 2 * woqi_whole_panels(longest));
        }
    printf("up to %u forwards\n", most);
}

/* One text that takes several forwards alone, then others while it still holds its slots. */
static void test_long(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 6; i++)
        sequences[i] = (struct woq_sequence){.count = i % 3 == 1 ? 900 : 40, .scored = 30};
    const uint64_t total = check_plan(20, 6, 128, SLOTS);
    assert_int_equal(plan.forwards, (total + 127) / 128);
    check_plan(20, 6, 128, 32 + 912);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_full), cmocka_unit_test(test_narrow),
                                       cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
