/* limits.h: which limit a kernel runs against. */
#ifndef WOQI_LIMITS_H
#define WOQI_LIMITS_H

#include <woq/limits.h>

#include "object.h"

/* *work: multiplications with an addition that it takes for one of X and W. NONE: it cannot be told. */
enum woq_limit woqi_limit_of(const struct woq_device *device, struct woqi_kernel_key key, uint32_t *work);

#endif
