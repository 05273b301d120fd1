/* make_format.h: a weight format by its parts. */
#ifndef TEST_MAKE_FORMAT_H
#define TEST_MAKE_FORMAT_H

#include <woq/format.h>

static inline struct woq_format make_format(enum woq_code code, enum woq_zero zero, enum woq_type scale,
                                            uint64_t group)
{
    struct woq_format f = WOQ_FORMAT_INIT;
    f.code = code;
    f.zero = zero;
    f.scale = scale;
    f.group = group;
    return f;
}

#endif
