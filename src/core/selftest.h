/*
 * selftest.h: does a kernel compute what its contract says, on this device and driver?
 *
 * Matrix kernels rely on what no specification promises: which lane holds which element, what a driver's
 * compiler makes of them. Before one is used for the first time on a device it multiplies a small
 * problem of integers, whose result is exact in every math mode; a wrong one is quarantined: logged,
 * passed over by the planner, and named by woq_gemm_explain. Verdicts are kept (verdict.h), so that a
 * process rarely tests.
 */
#ifndef WOQI_SELFTEST_H
#define WOQI_SELFTEST_H

#include "paths.h"

/* May this kernel of the path be used for such weights? Tests it if there is no verdict yet, and blocks
 * meanwhile. If not, writes why. A test that could not run (no memory, device lost) is no verdict: the
 * answer is no, this time. */
woqi_trust_fn woqi_selftest_passed;

/* The test itself: multiplies the problem by the path, whatever the planner would prefer. Its weights are of the key's
 * kind, of its groups, and where its scale is not 0 of that scale and zero, even if one kernel is for all of them.
 * rows: of X; 0 = enough for every kind of work-group. *wrong, empty before, gets the first element that is not what it
 * must be, or stays empty. */
enum woq_status woqi_selftest_run(struct woq_device *device, const struct woqi_path *path,
                                  struct woqi_kernel_key key, uint32_t rows, char *wrong, size_t size);

#endif
