/*
 * cases.h: one product to test, as numbers that a line of text can carry:
 *
 *     code=u4,zero=point,scale=f16,group=32,…,data=random,seed=7
 *
 * Keys left out of a line keep the values of case_default().
 */
#ifndef TEST_CASES_H
#define TEST_CASES_H

#include <stdio.h>
#include <woq/gemm.h>

enum case_order { CASE_NO_INDEX, CASE_EQUAL_GROUPS, CASE_UNEVEN_GROUPS }; /* g_idx */
enum case_residual { CASE_NO_RESIDUAL, CASE_RESIDUAL, CASE_IN_PLACE };
/* OUTLIERS: a column of large X, whose weights are 0, beside elements 2^-30 to 2^-55 of it. BLOCKS, SUBNORMAL: see
 * data.h. */
enum case_data { CASE_INTEGERS, CASE_RANDOM, CASE_ADVERSARIAL, CASE_OUTLIERS, CASE_BLOCKS, CASE_SUBNORMAL };

struct test_case {
    uint64_t code, zero, scale; /* enum woq_code, woq_zero, woq_type */
    uint64_t group;             /* as woq_format.group */
    uint64_t order;             /* enum case_order */
    uint64_t n, k, m, max_m;    /* n: columns of Y */
    uint64_t x, y, bias;        /* enum woq_type */
    uint64_t residual;          /* enum case_residual */
    uint64_t activation;        /* SILU_MUL: gated weights */
    uint64_t stack;             /* matrices that the n rows are split into; gated: ignored */
    uint64_t math;
    uint64_t x_offset, y_offset; /* elements before the view, beyond the canary */
    uint64_t x_pad, y_pad;       /* elements between rows; x: also of residual */
    uint64_t code_pad;           /* bytes between rows of the canonical codes */
    uint64_t data, seed;
};

struct test_case case_default(void);

/* Makes parameters fit each other: plain weights lose scale and group, n·k·m ≤ work, and so on. */
void case_normalize(struct test_case *c, uint64_t work);

/* A line as above. Always ends in NUL. */
void case_format(const struct test_case *c, char *out, size_t size);

/* Returns false, and says why on stderr, if the line is malformed. */
bool case_parse(const char *line, struct test_case *c);

#endif
