/* expect.h: for negative tests: the status a call must give, and what its message must name. */
#ifndef TEST_EXPECT_H
#define TEST_EXPECT_H

#include <woq/base.h>

/* Fails the running test, with the place, unless got is want and, if got is an error,
 * woq_last_message() contains `mention` (NULL = anything but nothing). */
void test_expect(enum woq_status got, enum woq_status want, const char *mention, const char *call,
                 const char *file, int line);

#define EXPECT(want, mention, call) test_expect(call, want, mention, #call, __FILE__, __LINE__)
#define EXPECT_OK(call) test_expect(call, WOQ_OK, NULL, #call, __FILE__, __LINE__)
#define EXPECT_BAD(mention, call)                                                                  \
    test_expect(call, WOQ_ERROR_INVALID_ARGUMENT, mention, #call, __FILE__, __LINE__)

/* After all checks of a test: fails it if one of them did. EXPECT itself goes on. */
void test_expectations_met(void);

#endif
