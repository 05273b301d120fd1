/*
 * oracle.h: what a product must give, computed in double from the canonical bytes of
 * docs/formats.md.
 *
 * Shares no code with the library: it decodes types, codes and groups by itself, and uses only the
 * library's enumerations and plain structs.
 */
#ifndef TEST_ORACLE_H
#define TEST_ORACLE_H

#include <woq/gemm.h>

/* Element `index` of an array of `type`, exactly. */
double oracle_decode(const void *array, enum woq_type type, uint64_t index);

/* v rounded to nearest even in `type`; overflow gives infinity, subnormals are kept. */
double oracle_round(double v, enum woq_type type);

/* Stores oracle_round(v, type) as element `index`. */
void oracle_encode(void *array, enum woq_type type, uint64_t index, double v);

/* Bytes of an element. */
size_t oracle_type_size(enum woq_type type);

/* Groups of a row, as docs/formats.md counts them; 0 for plain weights. */
uint64_t oracle_groups(const struct woq_format *format, uint64_t k);

/* scale·(q − zero), scale·q + offset, or the plain value, as a real number. *magnitude, if not
 * NULL, becomes what the bound of EXACT sums: |scale·(q − zero)| or |scale·q| + |offset|. */
double oracle_weight(const struct woq_weights_source *source, uint64_t row, uint64_t column,
                     double *magnitude);

/* Whether binary16 holds every weight as zero or a normal number; subnormal: or, with F16 scales and no offsets, as a
 * subnormal one. */
enum oracle_safety {
    ORACLE_SAFE,      /* whatever the codes are */
    ORACLE_SAFE_HERE, /* with the codes stored, not with every code */
    ORACLE_UNSAFE
};
enum oracle_safety oracle_fp16_safety(const struct woq_weights_source *source, bool subnormal);

struct oracle_product {
    const struct woq_weights_source *sources; /* stacked; two if gated */
    uint32_t count;
    bool gated;
    uint64_t m, k;
    const void *x; /* [m][k], dense */
    enum woq_type x_type;
    const void *bias; /* NULL = none */
    enum woq_type bias_type;
    const void *residual; /* [m][n], dense, of y_type; NULL = none */
    enum woq_type y_type;
    enum woq_activation activation;
    enum woq_math math; /* EXACT, ROUNDED or FIXED16 */
    bool halved;        /* BF16 X went through FP16, a row divided by a power of two; not with ROUNDED weights */
    bool uncentred;     /* EXACT, no offsets: zero points are subtracted from sums, times those of X */
    bool exact;         /* the data make every FP32 sum exact: no error but the activation's */
};

struct oracle_output {
    double value;     /* of the formula */
    double error;     /* |computed FP32 value − value| at most */
    bool nan_allowed; /* the activation's formula may give NaN here */
};

/* Fills out[m][n]. Returns n, the columns of Y; 0 if there is no memory, or if `exact` was claimed
 * wrongly (partial sums need more than 24 bits; of `uncentred` ones the bound counts then). */
uint64_t oracle_product(const struct oracle_product *product, struct oracle_output *out);

/* Is `got`, an element of Y as stored, within the bound of `want`? */
bool oracle_accepts(const struct oracle_output *want, enum woq_type y_type, double got);

#endif
