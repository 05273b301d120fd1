/* registry.h: the backends of this build. */
#ifndef WOQI_REGISTRY_H
#define WOQI_REGISTRY_H

#include "backend.h"

/* In the order of preference of "best"; NULL ends it. */
extern const struct woqi_backend *const woqi_backends[];

const struct woqi_backend *woqi_backend_find(enum woq_backend id); /* NULL: not in this build */

#endif
