/* sources.h: stacked weight sources of random bytes, for tests of packing. */
#ifndef TEST_SOURCES_H
#define TEST_SOURCES_H

#include <woq/weights.h>

#include "data.h"

#define SOURCES_MAX 3

struct test_sources {
    uint32_t count; /* set by the caller, at most SOURCES_MAX */
    bool gated;     /* likewise; then count is 2 */
    struct woq_weights_source sources[SOURCES_MAX];
    uint32_t *g_idx; /* of all; NULL without */
};

/* Source i has n + i rows (gated: n) of k columns; every other one has a row stride of its own. Scales are finite, zero
 * points and g_idx in range. Returns all rows, or 0, with nothing left behind, if there is no memory or the format
 * refuses. */
uint64_t sources_make(struct test_sources *sources, const struct woq_format *format, uint64_t n, uint64_t k,
                      struct test_random *random);
void sources_free(struct test_sources *sources);

#endif
