/* available.c: see available.h. */
#include "available.h"

enum woq_status woqi_calibration_available(void)
{
#if WOQ_HAVE_CALIBRATION
    return WOQ_OK;
#else
    return woq_report(WOQ_ERROR_UNSUPPORTED,
                      "this build has no calibration: it needs OpenBLAS (libopenblas-dev) when woq is configured");
#endif
}
