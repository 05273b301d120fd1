/*
 * woq/base.h: status codes, element types, versions, logging and host allocation.
 *
 *     if (woq_device_open(NULL, NULL, &dev) != WOQ_OK) {
 *         fprintf(stderr, "%s\n", woq_last_message());
 *         return 1;
 *     }
 *
 * Threading: every function here may be called from any thread at any time. woq_last_message()
 * belongs to the calling thread.
 */
#ifndef WOQ_BASE_H
#define WOQ_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WOQ_VERSION_MAJOR 0
#define WOQ_VERSION_MINOR 1
#define WOQ_VERSION_PATCH 0

#if defined(WOQ_STATIC)
#define WOQ_API
#elif defined(_WIN32)
#ifdef WOQ_BUILD
#define WOQ_API __declspec(dllexport)
#else
#define WOQ_API __declspec(dllimport)
#endif
#else
#define WOQ_API __attribute__((visibility("default")))
#endif

/* Result of every fallible function. Out parameters are zero or NULL unless WOQ_OK is returned. */
enum woq_status {
    WOQ_OK = 0,
    WOQ_ERROR_INVALID_ARGUMENT, /* an argument is NULL, misaligned, out of range, overlapping, … */
    WOQ_ERROR_INVALID_DATA,     /* array content: scale not finite, zero point or g_idx out of range */
    WOQ_ERROR_INVALID_STATE,    /* call out of order, e.g. recording into ended commands */
    WOQ_ERROR_OVERFLOW,         /* a size computed from the arguments exceeds 64 bits or size_t */
    WOQ_ERROR_UNSUPPORTED,      /* valid, but this device, driver or build cannot do it */
    WOQ_ERROR_NO_DEVICE,        /* no such device, driver missing, or its backend not built in */
    WOQ_ERROR_OUT_OF_MEMORY,    /* host memory */
    WOQ_ERROR_OUT_OF_DEVICE_MEMORY,
    WOQ_ERROR_DEVICE_LOST, /* the device answers no more; destroy all its objects */
    WOQ_ERROR_TIMEOUT,     /* a wait ended before the work did; the work goes on */
    WOQ_ERROR_BUSY,        /* `in_flight` runs are pending already; wait for one */
    WOQ_ERROR_COMPILE,     /* the driver refused a kernel; its log went to the log callback */
    WOQ_ERROR_DRIVER,      /* any other native failure; the message names call and native code */
    WOQ_STATUS_COUNT
};

/* Element types of activations, outputs, scales, bias. Storage is little-endian. */
enum woq_type {
    WOQ_TYPE_NONE = 0,
    WOQ_F32, /* IEEE binary32, 4 bytes */
    WOQ_F16, /* IEEE binary16, 2 bytes */
    WOQ_BF16 /* upper half of a binary32, 2 bytes */
};

enum woq_log_level { WOQ_LOG_ERROR = 1, WOQ_LOG_WARNING, WOQ_LOG_INFO, WOQ_LOG_DEBUG };

/* Called with one message, no newline at its end (compiler logs hold several lines and come whole).
 * May be called from any thread that uses the device, never from two at once for one device. Must
 * not call back into the library. */
typedef void woq_log_fn(void *user, enum woq_log_level level, const char *message);

/* Host allocator. `allocate` returns memory aligned to 16 bytes or NULL; `release` accepts NULL. */
struct woq_allocator {
    void *(*allocate)(void *user, size_t bytes);
    void (*release)(void *user, void *pointer);
    void *user;
};

/* "0.1.0": the version of the library that is loaded, static storage. */
WOQ_API const char *woq_version_string(void);

/* Short static text of a status, e.g. "invalid argument"; "unknown status" for other values. */
WOQ_API const char *woq_status_string(enum woq_status status);

/* What the last failing call of this thread had to say: which argument, what it was, what would be
 * right. Valid until the next failing call of this thread; "" if none failed yet. */
WOQ_API const char *woq_last_message(void);

/* For libraries on top of this one: sets this thread's last message, printf-style, and returns status. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
WOQ_API enum woq_status woq_report(enum woq_status status, const char *format, ...);

/* Bytes of one element: 4 or 2; 0 for WOQ_TYPE_NONE and unknown values. */
WOQ_API size_t woq_type_size(enum woq_type type);

/* "f32", "f16", "bf16"; "none" for other values. Static storage. */
WOQ_API const char *woq_type_name(enum woq_type type);

/* Conversions as the library does them: to nearest, ties to even; NaN stays NaN; overflow gives
 * infinity; subnormals are kept. */
WOQ_API uint16_t woq_f32_to_f16(float value);
WOQ_API float woq_f16_to_f32(uint16_t bits);
WOQ_API uint16_t woq_f32_to_bf16(float value);
WOQ_API float woq_bf16_to_f32(uint16_t bits);

#ifdef __cplusplus
}
#endif
#endif
