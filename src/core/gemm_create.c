/* gemm_create.c: GEMM objects of the caller, whose kernels have passed the self-test. */
#include "check.h"
#include "selftest.h"

enum woq_status woq_gemm_create(struct woq_device *device, const struct woq_gemm_params *params,
                                struct woq_gemm **out)
{
    enum woq_status st = WOQI_CHECK_NULL(device, out);
    if (st)
        return st;
    return woqi_gemm_build(device, params, NULL,
                           device && device->self_test ? woqi_selftest_passed : NULL, out);
}
