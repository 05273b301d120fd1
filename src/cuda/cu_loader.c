/* cu_loader.c: finds libcuda.so.1 and its functions (cu_loader.h), and initialises the driver. */
#include "cu_loader.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t offset;
    bool optional;
} symbols[] = {
#define SYMBOL(member, symbol, type) {symbol, offsetof(struct woqi_cu_api, member), false},
    WOQI_CU_FUNCTIONS(SYMBOL)
#undef SYMBOL
#define SYMBOL(member, symbol, type) {symbol, offsetof(struct woqi_cu_api, member), true},
    WOQI_CU_OPTIONAL(SYMBOL)
#undef SYMBOL
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct woqi_cu_api table;
static char cause[256]; /* empty: the table is complete and cuInit succeeded */

/* The library stays loaded: its threads and exit handlers do not survive a dlclose. */
static void load(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *error = dlerror();
        snprintf(cause, sizeof(cause), "no CUDA driver: %s", error ? error : "libcuda.so.1");
        return;
    }
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *address = dlsym(library, symbols[i].name);
        if (!address && !symbols[i].optional) {
            snprintf(cause, sizeof(cause), "the driver has no %s; CUDA 12.0 or later is needed",
                     symbols[i].name);
            return;
        }
        /* ISO C has no cast from a data pointer to a function pointer. */
        memcpy((char *)&table + symbols[i].offset, &address, sizeof(address));
    }
    CUresult result = table.init(0);
    if (result) {
        const char *name = NULL, *text = NULL;
        table.get_error_name(result, &name);
        table.get_error_string(result, &text);
        if (name)
            snprintf(cause, sizeof(cause), "cuInit: %s (%s)", name, text ? text : "");
        else
            snprintf(cause, sizeof(cause), "cuInit: CUDA error %d", (int)result);
    }
}

const struct woqi_cu_api *woqi_cu_load(const char **reason)
{
    pthread_once(&once, load);
    *reason = cause;
    return cause[0] ? NULL : &table;
}
