/* shared_data.c: data beside the repository. TEST_SHARED_DATA is CMake's: __FILE__ may be relative to anything. */
#include "shared_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool shared_data_path(const char *name, char *out, size_t size)
{
    const char *set = getenv("WOQ_SHARED_DATA");
    snprintf(out, size, "%s/%s", set ? set : TEST_SHARED_DATA, name);
    const bool there = !access(out, R_OK);
    if (!there)
        printf("skip: there is no %s\n", out);
    return there;
}
