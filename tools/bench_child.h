/*
 * bench_child.h: measurements and trials in a process of their own.
 *
 * Drivers stay loaded once a process has opened them, and a process has one peak of memory; so what is to
 * count from the beginning is measured in a child. The parent must have opened no device and started no
 * thread. A driver that crashes ends its own measurement and no other.
 */
#ifndef WOQ_BENCH_CHILD_H
#define WOQ_BENCH_CHILD_H

#include "tool.h"

/* Fills the result, which is zeroed before; it must hold no pointers. */
typedef void bench_child_fn(const void *argument, void *result);

/* Runs `work` in a child and brings its result back. False, and why, if the child did not end well; who calls alarm()
 * in `work` sets it a limit of time. */
bool bench_in_child(bench_child_fn *work, const void *argument, void *result, size_t size, char *why);

/* From now on an interrupt from the terminal ends a child only, and the parent can tidy up. */
void bench_catch_interrupt(void);
bool bench_interrupted(void);

/* The selectors of all usable devices, listed in a child; *out is to be given to tool_free_names. Returns
 * TOOL_OK, or a reported failure's exit code. */
int bench_all_devices(const char *command, enum woq_log_level log, char ***out, size_t *count);

#endif
