/*
 * conformance.h: what every device must do. The suite takes only a device, so that a backend's
 * author can run it on whatever that backend opens.
 */
#ifndef TEST_CONFORMANCE_H
#define TEST_CONFORMANCE_H

#include <woq/command.h>

#include "support/cases.h"

/* Runs the whole suite and prints, for each path, how many cases ran. `subset`: fewer small cases,
 * plus matrices that lowered limits make tiled. Returns the number of failed tests. */
int conformance_suite(struct woq_device *device, bool subset);

/* ---- conformance_design.c ---- */

/* Writes `count` cases that together cover every pair of parameter values met so far as well as
 * they can; the first hold the full product of codes, zeros, scales and groupings. Returns false if
 * there is no memory. work: n·k·m of a case at most. */
bool design_cases(struct test_case *out, size_t count, uint64_t work);
#define DESIGN_FULL_PRODUCT (2u * 3 * 3 * 12)

/* Matrices beyond 1 MiB of weights, X or Y. Returns NULL past the last. */
const char *design_large_case(size_t index);

/* ---- conformance_fixed.c ---- */

/* Does WOQ_EMULATE ask for instructions that this CPU, or its driver, has not? Prints why. */
bool fixed_lacks_instructions(struct woq_device *device);

/* Does woq/gemm.h promise math mode FIXED16 for this product on the device, which does not lack instructions? */
bool fixed_offered(struct woq_device *device, const struct test_case *c);

/* ---- the tests; *state is the device ---- */

void conformance_products(void **state);
void conformance_few_products(void **state);
void conformance_fixed(void **state);
void conformance_replay(void **state);
void conformance_paths(void **state);
void conformance_no_allocation(void **state);
void conformance_in_flight(void **state);
void conformance_fences(void **state);
void conformance_timestamps(void **state);
void conformance_chain(void **state);
void conformance_some_without_rows(void **state);
void conformance_independent(void **state);
void conformance_no_rows(void **state);
void conformance_variants(void **state);
void conformance_few_variants(void **state);
void conformance_fed(void **state);
void conformance_batch_invariant(void **state);
void conformance_workspace(void **state);
void conformance_mapping(void **state);
void conformance_frozen_bindings(void **state);

#endif
