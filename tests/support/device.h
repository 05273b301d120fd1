/*
 * device.h: what test programs share: opening the device under test, skipping when it is absent,
 * log messages and counted allocations.
 */
#ifndef TEST_DEVICE_H
#define TEST_DEVICE_H

#include <woq/device.h>

#define TEST_SKIPPED 77 /* exit status that CTest takes for a skip */

/* An allocator that counts, and can be told to fail. Thread-safe. */
struct test_heap;
struct test_heap *test_heap_create(void);
void test_heap_destroy(struct test_heap *heap);
struct woq_allocator test_heap_allocator(struct test_heap *heap);
uint64_t test_heap_count(const struct test_heap *heap);   /* allocations made */
int64_t test_heap_balance(const struct test_heap *heap);  /* blocks not yet released */
void test_heap_fail_at(struct test_heap *heap, int64_t n); /* the n-th from now fails; < 0 = none */

/* The one heap of programs that use test_open, so that a suite can watch it. */
struct test_heap *test_main_heap(void);

/* Messages received at ERROR level. A call that a test expects to fail is put between
 * test_expect_errors(true) and (false); what a validation layer says counts even there. */
woq_log_fn test_log;
void test_expect_errors(bool expected);
unsigned test_error_count(void);

/* Parameters with test_log and the main heap. */
struct woq_device_params test_params(void);

/* Whether WOQ_REQUIRE_BACKENDS (comma-separated backend names) has the selector's backend. */
bool test_is_required(const char *selector);

bool test_cpu_has_avx2(void);

/* NULL = WOQ_DEVICE, or "reference". On failure prints a skip, or a failure if the device is
 * required, and exits. */
struct woq_device *test_open(const char *selector);

/* The same, but returns NULL after having printed the skip. */
struct woq_device *test_try_open(const char *selector, const struct woq_device_params *params);

/* Destroys the device and checks that nothing is left on the main heap; false if something is. */
bool test_close(struct woq_device **device);

/* Calls fn with the selector of every usable device, and prints a skip for the others. Returns how
 * many there were; 0 if a backend of WOQ_REQUIRE_BACKENDS is missing. */
unsigned test_each_selector(void (*fn)(const char *selector, void *user), void *user);

/* The whole of a test program's main: calls fn, which adds its failures to an int, with the selector argv[1], or with
 * each one. Returns the exit status. */
int test_main_each(int argc, char **argv, void (*fn)(const char *selector, void *failed));

#endif
