/* expect.c: negative tests go on after a wrong answer, so that one run shows all of them. */
#include "expect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int wrong;

void test_expect(enum woq_status got, enum woq_status want, const char *mention, const char *call,
                 const char *file, int line)
{
    const char *message = got ? woq_last_message() : "";
    const bool named = !got || (mention ? strstr(message, mention) != NULL : *message != '\0');
    if (got == want && named)
        return;
    wrong++;
    fprintf(stderr, "%s:%d: %s\n    gave %s, want %s", file, line, call, woq_status_string(got),
            woq_status_string(want));
    if (got)
        fprintf(stderr, "; the message %s \"%s\": %s", named ? "has" : "lacks",
                mention ? mention : "", message);
    fprintf(stderr, "\n");
}

void test_expectations_met(void)
{
    const int count = wrong;
    wrong = 0;
    if (count)
        fail_msg("%d calls gave something else", count);
}
