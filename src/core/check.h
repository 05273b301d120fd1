/* check.h: argument checks shared by the public functions. */
#ifndef WOQI_CHECK_H
#define WOQI_CHECK_H

#include <string.h>

#include "log.h"
#include "object.h"

/* INVALID_ARGUMENT with "<function>: <name> is NULL". */
#define WOQI_CHECK_NULL(device, pointer)                                                           \
    ((pointer) ? WOQ_OK                                                                            \
               : woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "%s: %s is NULL", __func__, #pointer))

/* A parameter struct's size: this is the first version of all of them, so it must be exact. */
#define WOQI_CHECK_STRUCT(device, pointer)                                                         \
    ((pointer)->struct_size == sizeof *(pointer)                                                   \
         ? WOQ_OK                                                                                  \
         : woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,                                           \
                     "%s: %s->struct_size is %zu; this library knows %zu (use the struct's _INIT)", \
                     __func__, #pointer, (pointer)->struct_size, sizeof *(pointer)))

static inline bool woqi_is_type(enum woq_type type)
{
    return woq_type_size(type) != 0;
}

#endif
