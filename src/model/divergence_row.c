/*
 * divergence_row.c: the probabilities that two rows of logits give, compared.
 *
 * With a[i] = x[i] − x[top], s = Σ exp(a[i]) and p[i] = exp(a[i]) / s, and b, t and q of the other row,
 *
 *     Σ p·ln(p/q) = Σ exp(a[i])·(a[i] − b[i]) / s + ln t − ln s
 *
 * The divergence is of second order in the rows' difference, the two parts are of first: what cancels is lost.
 * Exponentials of binary64 leave an error of about 1e-14; those of binary32 would leave 1e-7, which is as much as
 * two math modes of one model differ.
 */
#include "divergence_row.h"

#include "model_impl.h"
#include "vector.h"

#include <math.h>

/* What is left of a row, as full lanes: `fill` behind its end. */
WOQI_INLINE woqi_wide load_rest(const float *x, size_t count, float fill)
{
    float v[WOQI_WIDE_LANES] = {fill, fill, fill, fill};
    memcpy(v, x, count * sizeof *x);
    return woqi_load_wide(v);
}

/* Σ exp(x − top). */
WOQI_CLONES_256 static double exp_sum(const float *x, double top, size_t count)
{
    woqi_wide sum = {0};
    size_t i = 0;
    for (; i + WOQI_WIDE_LANES <= count; i += WOQI_WIDE_LANES)
        sum += woqi_exp_wide(woqi_load_wide(x + i) - top);
    if (i < count)
        sum += woqi_exp_wide(load_rest(x + i, count - i, -INFINITY) - top);
    return woqi_sum_wide(sum);
}

/* exp(a)·(a − b), and 0 where exp(a) is, whatever b. */
WOQI_INLINE woqi_wide term(woqi_wide a, woqi_wide b)
{
    const woqi_wide e = woqi_exp_wide(a);
    return woqi_select_wide(e == 0, (woqi_wide){0}, e * (a - b));
}

/* Σ exp(x − top)·((x − top) − (y − y_top)). */
WOQI_CLONES_256 static double cross_sum(const float *x, double top, const float *y, double y_top, size_t count)
{
    woqi_wide sum = {0};
    size_t i = 0;
    for (; i + WOQI_WIDE_LANES <= count; i += WOQI_WIDE_LANES)
        sum += term(woqi_load_wide(x + i) - top, woqi_load_wide(y + i) - y_top);
    if (i < count)
        sum += term(load_rest(x + i, count - i, -INFINITY) - top, load_rest(y + i, count - i, 0) - y_top);
    return woqi_sum_wide(sum);
}

void woqi_row_measure(const float *logits, size_t vocabulary, struct woqi_row *out)
{
    out->top = woqi_largest(logits, vocabulary);
    out->log_sum = log(exp_sum(logits, logits[out->top], vocabulary));
}

double woqi_row_divergence(const float *p_logits, const struct woqi_row *p, const float *q_logits,
                           const struct woqi_row *q, size_t vocabulary)
{
    const double sum = cross_sum(p_logits, p_logits[p->top], q_logits, q_logits[q->top], vocabulary);
    const double kl = sum / exp(p->log_sum) + (q->log_sum - p->log_sum);
    return kl < 0 ? 0 : kl; /* by rounding; NaN stays */
}
