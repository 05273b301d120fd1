/* available.h: whether this build can calibrate: moments.h, gptq.h and awq.h need BLAS and LAPACK. */
#ifndef WOQI_AVAILABLE_H
#define WOQI_AVAILABLE_H

#include <woq/base.h>

/* Returns WOQ_OK; UNSUPPORTED, with what the build lacks. */
enum woq_status woqi_calibration_available(void);

#endif
