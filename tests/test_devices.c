/* test_devices.c: two devices open at once: each with the reference, with itself opened a second time, and with the
 * one before it in the list. Runs are interleaved in one thread, then come from two; objects of one device are refused
 * by the other; one outlives the other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/device.h"
#include "support/product.h"

#define ROUNDS 8

/* One device, and a recorded product on it. */
struct side {
    struct woq_device *device;
    struct product product;
    struct woq_gemm *gemm;
    struct woq_commands *commands;
    struct woq_binding bindings[5];
    size_t count;
    enum woq_math math;
    bool good; /* of a thread */
};

static void side_open(const char *selector, unsigned m, struct side *s)
{
    const struct woq_device_params params = test_params();
    struct woq_explain e = {.struct_size = sizeof(e)};
    struct test_case c;
    char line[160];
    memset(s, 0, sizeof(*s));
    snprintf(line, sizeof(line),
             "code=u4,zero=point,group=32,n=70,k=96,m=%u,max_m=%u,x=f16,y=f16,data=random,seed=%u", m, m, m);
    assert_true(case_parse(line, &c));
    s->device = test_try_open(selector, &params);
    assert_non_null(s->device);
    assert_true(product_create(s->device, &c, &s->product));
    assert_true(product_gemm(&s->product, NULL, &s->gemm));
    assert_int_equal(woq_gemm_explain(s->gemm, m, &e), WOQ_OK);
    s->math = e.math;
    assert_int_equal(woq_commands_create(s->device, NULL, &s->commands), WOQ_OK);
    assert_true(product_record(&s->product, s->gemm, s->commands, s->bindings, &s->count));
    assert_int_equal(woq_commands_end(s->commands), WOQ_OK);
}

static void side_close(struct side *s)
{
    woq_commands_destroy(&s->commands);
    woq_gemm_destroy(&s->gemm);
    product_destroy(&s->product);
    woq_device_destroy(&s->device);
}

static bool submit(struct side *s, uint64_t *ticket)
{
    return region_reset(&s->product.y) &&
           test_ok(woq_commands_run(s->commands, s->bindings, s->count, ticket), "woq_commands_run");
}

static bool finish(struct side *s, uint64_t ticket)
{
    return test_ok(woq_commands_wait(s->commands, ticket, WOQ_FOREVER), "woq_commands_wait") &&
           product_check(&s->product, s->math);
}

/* Both are in flight; they are waited for in the order of submission, and in the other one. */
static void interleave(struct side *a, struct side *b)
{
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t first, second;
        assert_true(submit(a, &first));
        assert_true(submit(b, &second));
        assert_true(round % 2 ? finish(a, first) : finish(b, second));
        assert_true(round % 2 ? finish(b, second) : finish(a, first));
    }
}

static void *work(void *user)
{
    struct side *s = user;
    uint64_t ticket;
    s->good = true;
    for (int round = 0; round < ROUNDS && s->good; round++)
        s->good = submit(s, &ticket) && finish(s, ticket);
    return NULL;
}

static void run_beside(struct side *a, struct side *b)
{
    pthread_t threads[2];
    assert_int_equal(pthread_create(&threads[0], NULL, work, a), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, work, b), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(a->good);
    assert_true(b->good);
}

static void refuse(struct side *a, struct side *b)
{
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    struct woq_commands *commands = NULL;
    struct woq_gemm *gemm = NULL;
    struct woq_binding mixed[5];
    uint64_t ticket;
    uint32_t m, x, y;
    memcpy(mixed, a->bindings, sizeof(mixed));
    mixed[1] = b->bindings[1]; /* X of the other device */
    params.weights = b->product.weights;
    params.max_m = 1;
    test_expect_errors(true);
    assert_int_equal(woq_commands_run(a->commands, mixed, a->count, &ticket), WOQ_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(woq_last_message(), "another device"));
    assert_int_equal(woq_gemm_create(a->device, &params, &gemm), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_commands_create(a->device, NULL, &commands), WOQ_OK);
    assert_int_equal(woq_commands_slot_m(commands, 1, &m), WOQ_OK);
    assert_int_equal(woq_commands_slot_view(commands, WOQ_ACCESS_READ, &x), WOQ_OK);
    assert_int_equal(woq_commands_slot_view(commands, WOQ_ACCESS_WRITE, &y), WOQ_OK);
    assert_int_equal(woq_commands_gemm(commands, b->gemm, m, x, y, WOQ_NO_SLOT, WOQ_NO_SLOT),
                     WOQ_ERROR_INVALID_ARGUMENT);
    test_expect_errors(false);
    woq_commands_destroy(&commands);
}

static void pair(const char *first, const char *second)
{
    struct side a, b;
    side_open(first, 3, &a);
    side_open(second, 20, &b);
    interleave(&a, &b);
    run_beside(&a, &b);
    refuse(&a, &b);
    interleave(&b, &a); /* a refusal leaves both as they were */
    side_close(&a);
    work(&b);
    assert_true(b.good);
    side_close(&b);
    assert_int_equal(test_heap_balance(test_main_heap()), 0);
}

static void test_with_reference(void **state)
{
    pair(*state, "reference");
}

static void test_with_itself(void **state)
{
    pair(*state, *state);
}

static char before[32]; /* the last selector that run_all had */

static void test_with_the_one_before(void **state)
{
    if (!*before)
        skip();
    pair(*state, before);
}

static void run_all(const char *selector, void *failed)
{
    void *state = (void *)(uintptr_t)selector;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_with_reference, state),
        cmocka_unit_test_prestate(test_with_itself, state),
        cmocka_unit_test_prestate(test_with_the_one_before, state),
    };
    *(int *)failed += cmocka_run_group_tests_name(selector, tests, NULL, NULL);
    snprintf(before, sizeof(before), "%s", selector);
}

int main(int argc, char **argv)
{
    return test_main_each(argc, argv, run_all);
}
