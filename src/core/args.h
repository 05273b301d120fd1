/* args.h: the kernels' argument block (shaders/abi.inc) as a C struct. */
#ifndef WOQI_ARGS_H
#define WOQI_ARGS_H

#include <stdint.h>

#include "../../shaders/abi.inc"

struct woqi_args {
#define WOQI_ARG_MEMBER(name) uint32_t name;
    WOQ_ARGS(WOQI_ARG_MEMBER)
#undef WOQI_ARG_MEMBER
};

_Static_assert(sizeof(struct woqi_args) == 128, "woqi_args is 128 bytes in every language");

#endif
