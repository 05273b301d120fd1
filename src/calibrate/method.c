/* method.c: the names of methods, and what a build without calibration says. */
#include "available.h"

#include <woq/calibrate.h>

static const char *const methods[] = {
    [WOQ_METHOD_MSE] = "mse", [WOQ_METHOD_AWQ] = "awq", [WOQ_METHOD_GPTQ] = "gptq", [WOQ_METHOD_AWQ_GPTQ] = "awq+gptq"};

const char *woq_method_name(enum woq_method method)
{
    return method >= WOQ_METHOD_MSE && method <= WOQ_METHOD_AWQ_GPTQ ? methods[method] : "unknown";
}

#if !WOQ_HAVE_CALIBRATION
enum woq_status woq_quantize_calibrated(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                        const char *directory, const struct woq_quantize_params *params,
                                        const struct woq_calibrate_params *calibration)
{
    (void)device, (void)checkpoint, (void)directory, (void)params, (void)calibration;
    return woqi_calibration_available();
}

enum woq_status woq_calibrate_statistics(struct woq_device *device, const struct woq_checkpoint *checkpoint,
                                         const struct woq_calibrate_params *calibration)
{
    (void)device, (void)checkpoint, (void)calibration;
    return woqi_calibration_available();
}
#endif
