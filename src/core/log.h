/* log.h: messages, and the one way to fail. */
#ifndef WOQI_LOG_H
#define WOQI_LOG_H

#include <woq/base.h>

struct woq_device;

#if defined(__GNUC__)
#define WOQI_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define WOQI_PRINTF(f, a)
#endif

/* Sets the thread's last message, logs it at error level (device may be NULL) and returns status:
 *     return woqi_fail(dev, WOQ_ERROR_INVALID_ARGUMENT, "woq_gemm_create: max_m is 0; must be >= 1"); */
enum woq_status woqi_fail(struct woq_device *device, enum woq_status status, const char *format, ...)
    WOQI_PRINTF(3, 4);

/* Only logs; device must not be NULL. */
void woqi_log(struct woq_device *device, enum woq_log_level level, const char *format, ...)
    WOQI_PRINTF(3, 4);

/* A compiler's log of any length, delivered whole. */
void woqi_log_text(struct woq_device *device, enum woq_log_level level, const char *heading,
                   const char *text);

#endif
