/* divergence.h: how far one distribution over a vocabulary is from another. */
#ifndef WOQI_DIVERGENCE_H
#define WOQI_DIVERGENCE_H

#include <stddef.h>

/*
 * KL(p ‖ q) = Σ p·ln(p/q) ≥ 0 in nats, p and q the softmaxes of the logits a and b [count]; count is above 0.
 * In binary64, as ln Σ eᵇ − ln Σ eᵃ − Σ p·(b − a), each sum from its largest logit down: what is lost is some 1e-14 of
 * the spread of b − a, so that divergences down to 1e-12 are told apart. A logit 700 or more below the largest counts
 * as e^−700. NaN if a logit is not finite. Sums have one order: the same bits on every CPU.
 */
double woqi_divergence(size_t count, const float *a, const float *b);

#endif
