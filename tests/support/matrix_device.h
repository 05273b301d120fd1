/* matrix_device.h: the reference backend as a device with matrix units, for tests of what core plans for one. */
#ifndef TEST_MATRIX_DEVICE_H
#define TEST_MATRIX_DEVICE_H

#include "core/core.h"

/* Packs weights as FRAG16B and has 64 compute units; takes the kernels that probe takes, which the reference backend
 * would compute as it computes everything, and hands what is to run to submit. One device at a time. */
struct woq_device *matrix_device_open(const struct woq_device_params *params, woqi_kernel_probe_fn *probe,
                                      woqi_sequence_submit_fn *submit);

#endif
