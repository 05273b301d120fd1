/*
 * faults.h: native calls that fail when told, one at a time.
 *
 * A wrapper around a driver's function asks fault_inject() first. If that gives a code the call is not
 * made and returns the code; else it is made as if nothing stood between.
 */
#ifndef TEST_FAULTS_H
#define TEST_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fault_control {
    int64_t countdown; /* calls that pass before one fails; < 0 = none fails */
    const char *only;  /* the one function that counts and fails; NULL = all */
    int code;          /* what the failing call returns; 0 = what is usual for its function */
    bool sticky;       /* from then on every call fails */
    bool nvidia;       /* OpenCL: devices say that they are NVIDIA's GPUs, of compute capability 9.0 */
    const char *failed; /* function that failed last, and its code; NULL = none */
    int failed_code;
};

/* 0: make the call. */
static inline int fault_inject(struct fault_control *f, const char *name, int usual)
{
    if ((f->only && strcmp(f->only, name)) || f->countdown < 0 || f->countdown-- > 0)
        return 0;
    if (f->sticky)
        f->countdown = 0;
    f->failed = name;
    f->failed_code = f->code ? f->code : usual;
    return f->failed_code;
}

static inline void fault_arm(struct fault_control *f, const char *only, int code, int64_t n)
{
    *f = (struct fault_control){.countdown = n, .only = only, .code = code};
}

static inline void fault_disarm(struct fault_control *f)
{
    f->countdown = -1;
}

#endif
