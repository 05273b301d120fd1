/* shared_data.h: files of data that lie beside the repository, and may be absent. */
#ifndef TEST_SHARED_DATA_H
#define TEST_SHARED_DATA_H

#include <stdbool.h>
#include <stddef.h>

/* The path of "tokenizers/some.gguf" in $WOQ_SHARED_DATA, else in ../shared/data as seen from the repository. False,
 * with a skip printed, if there is no such file. */
bool shared_data_path(const char *name, char *out, size_t size);

#endif
