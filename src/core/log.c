/* log.c: messages, and the one way to fail. */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "object.h"

static _Thread_local char last_message[1024];

const char *woq_last_message(void)
{
    return last_message;
}

/* Messages quote files: nothing in them may reach a terminal that it would obey (C0, DEL, C1), or look like another
 * line. */
static void set_message(const char *text)
{
    unsigned char *at = (unsigned char *)last_message;
    memcpy(last_message, text, sizeof last_message);
    for (; *at; at++)
        if (*at < 0x20 || *at == 0x7f)
            *at = '?';
        else if (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0)
            at[0] = at[1] = '?';
}

static void deliver(struct woq_device *device, enum woq_log_level level, const char *message)
{
    struct woqi_log *log = &device->log;
    if (!log->fn || level > log->level)
        return;
    pthread_mutex_lock(&log->lock);
    log->fn(log->user, level, message);
    pthread_mutex_unlock(&log->lock);
}

enum woq_status woqi_fail(struct woq_device *device, enum woq_status status, const char *format,
                          ...)
{
    char text[sizeof last_message]; /* arguments may quote the last message */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    set_message(text);
    if (device)
        deliver(device, WOQ_LOG_ERROR, last_message);
    return status;
}

enum woq_status woq_report(enum woq_status status, const char *format, ...)
{
    char text[sizeof last_message];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    set_message(text);
    return status;
}

void woqi_log(struct woq_device *device, enum woq_log_level level, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    deliver(device, level, text);
}

void woqi_log_text(struct woq_device *device, enum woq_log_level level, const char *heading,
                   const char *text)
{
    size_t size = strlen(heading) + strlen(text) + 2;
    char *whole = device->allocator.allocate(device->allocator.user, size);
    if (!whole) {
        deliver(device, level, heading);
        return;
    }
    snprintf(whole, size, "%s\n%s", heading, text);
    deliver(device, level, whole);
    device->allocator.release(device->allocator.user, whole);
}
