/* divergence_row.h: the probabilities that two rows of logits give, compared. */
#ifndef WOQI_MODEL_DIVERGENCE_ROW_H
#define WOQI_MODEL_DIVERGENCE_ROW_H

#include <stddef.h>
#include <stdint.h>

/* What turns a row x into logarithms of probabilities: x[i] − x[top] − log_sum. */
struct woqi_row {
    uint32_t top;   /* the likeliest token, the first of equals */
    double log_sum; /* ln Σ exp(x[i] − x[top]) */
};
void woqi_row_measure(const float *logits, size_t vocabulary, struct woqi_row *out);

/* −ln of a token's probability. */
static inline double woqi_row_nll(const float *logits, const struct woqi_row *row, uint32_t token)
{
    return row->log_sum + ((double)logits[row->top] - logits[token]);
}

/* Σ p·ln(p/q) ≥ 0, p of the first row and q of the second; exactly 0 for equal ones. */
double woqi_row_divergence(const float *p_logits, const struct woqi_row *p, const float *q_logits,
                           const struct woqi_row *q, size_t vocabulary);

#endif
