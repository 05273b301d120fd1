/*
 * verdict.h: which kernels passed their self-test on a device, in this process and on disk.
 *
 * Key on disk: backend, device, driver, library version, whether kernels do without matrix units, kernel.
 * Threading: the caller holds the device's selftest_lock, but for woqi_verdict_fingerprint,
 * woqi_verdict_clear and woq_device_quarantine, which is implemented here.
 */
#ifndef WOQI_VERDICT_H
#define WOQI_VERDICT_H

#include "object.h"

struct woqi_verdict {
    struct woqi_verdict *next;
    bool passed;
    struct woq_quarantined what; /* kernel; and if it failed, how */
};

/* NULL: the kernel was not tested yet. A verdict read from disk that is against the kernel is logged. */
const struct woqi_verdict *woqi_verdict_find(struct woq_device *device, const char *kernel);
/* Remembers, writes to disk and, if it is against the kernel, logs. found: as in woq_quarantined; "" = it
 * passed. */
void woqi_verdict_store(struct woq_device *device, const char *kernel, const char *found);

/* Of the kernels that failed; 0 = none. */
uint64_t woqi_verdict_fingerprint(struct woq_device *device);
/* Frees them. */
void woqi_verdict_clear(struct woq_device *device);

#endif
