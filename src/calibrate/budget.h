/*
 * budget.h: which units get more bits than planned, so that the output changes least for so many bits a weight.
 *
 * A unit keeps its planned format, or becomes 8 bits with one symmetric scale a channel (only where the plan has 4), or
 * stays FP16. What is made least is the sum of the units' divergences, as if they added up.
 */
#ifndef WOQI_BUDGET_H
#define WOQI_BUDGET_H

#include "sensitivity.h"

/*
 * What is left of a unit's divergence when 4 bits in groups become 8 bits a channel. It goes with the energy of the
 * weights' error, so with the square of the step: 1/17² by the codes, but a row reaches further than its groups do.
 * Measured on SmolLM2-135M, groups of 64 against channels, 128 tokens of WikiText-2: 0.0141 of the sum over all 120
 * units, median 0.0131, nine tenths from 0.009 to 0.021 (q/k/v 0.013, o 0.016, gate/up 0.010, down 0.014); the energy
 * of outputs' errors: median 0.0099. Whether the last bits go to 8 or to 16 is all that hangs on it.
 */
#define WOQI_BUDGET_EIGHT (1.0 / 70)

#define WOQI_BUDGET_CHOICES 3

/* A unit's formats, from the fewest bits to the most. */
struct woqi_budget_unit {
    uint32_t count;                    /* 1 … WOQI_BUDGET_CHOICES */
    uint64_t bits[WOQI_BUDGET_CHOICES]; /* of all its weights, rising */
    double kl[WOQI_BUDGET_CHOICES];    /* ≥ 0, finite */
};

/*
 * choice[i] < units[i].count with the least Σ kl of those with Σ bits ≤ budget, which is at least Σ bits[0].
 *
 * Exact, by dynamic programming over the bits above the fewest, counted in a quantum: their greatest common divisor
 * where count · (most − fewest) / quantum ≤ 2^26 (SmolLM2-135M: 4.9e7), else the least multiple of it for which that
 * holds, to which a unit's bits are rounded up: then the choice is the best of those that leave count · quantum bits
 * free, 2^-26 · count² of the range (0.15 % for 320 units). The quantum does not depend on the budget, so more budget
 * never gives a larger sum. Of equal sums the one with fewer bits in later units. Time and bytes: 2^26 steps, 64 MiB.
 * Returns WOQ_OK; INVALID_ARGUMENT (budget too small); OUT_OF_MEMORY.
 */
enum woq_status woqi_budget_search(const struct woqi_budget_unit *units, uint32_t count, uint64_t budget,
                                   uint8_t *choice);

/* Whether a budget, bits a weight, is one for these units: INVALID_ARGUMENT names the least, which the plan itself
 * needs, and 16. Needs no measurement. */
enum woq_status woqi_budget_check(const struct woqi_sensitivity *s, double budget);
/*
 * Writes the choice into plan->use, plan->formats and the units' bits; *eights and *kept are how many units it made 8
 * bits and FP16. Returns also INVALID_ARGUMENT when nothing is left to quantize.
 */
enum woq_status woqi_budget_apply(struct woqi_sensitivity *s, double budget, struct woqi_plan *plan,
                                  uint32_t *eights, uint32_t *kept);

#endif
