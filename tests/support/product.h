/* product.h: one case on one device: its weights, buffers, expected values and verdict. */
#ifndef TEST_PRODUCT_H
#define TEST_PRODUCT_H

#include <woq/command.h>

#include "data.h"
#include "region.h"

enum product_result {
    PRODUCT_PASSED,
    PRODUCT_REFUSED, /* the path cannot do the case: WOQ_ERROR_UNSUPPORTED */
    PRODUCT_FAILED   /* the reason and a line that reproduces it are on stderr */
};

struct product {
    struct woq_device *device;
    struct test_case c;
    struct test_data data;
    struct woq_weights *weights;
    struct test_region x, y, bias, residual; /* bias, residual: buffer NULL if unused */
    enum oracle_safety safety;
    /* [m][n] for EXACT, ROUNDED, FIXED16; for EXACT where X went through FP16, and with zero points taken from sums.
     * Made when needed. */
    struct oracle_output *want[5];
    bool halved, uncentred; /* explain tells of such a kernel */
    char refusal[256];      /* what the library said to the last refusal */
};

/* On failure nothing is left behind. */
bool product_create(struct woq_device *device, const struct test_case *c, struct product *out);
void product_destroy(struct product *product);

/* Makes the GEMM (path NULL = planner's choice), runs it twice and checks everything. */
enum product_result product_run(struct product *product, const char *path);

/* Parts of product_run, for tests that record by themselves. */
bool product_gemm(struct product *product, const char *path, struct woq_gemm **gemm);
bool product_record(struct product *product, struct woq_gemm *gemm, struct woq_commands *commands,
                    struct woq_binding bindings[5], size_t *count);
bool product_check(struct product *product, enum woq_math math);

/* Creates, runs and destroys. */
enum product_result product_test(struct woq_device *device, const struct test_case *c,
                                 const char *path);

#endif
