/*
 * test_allocation.c: the n-th host allocation fails, for every n of one small product from opening
 * the device to reading Y. Every call then gives OUT_OF_MEMORY, or does without; nothing is left
 * behind, and, in a second sweep (of one n in four but with --full), the same call succeeds when it is made again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <woq/command.h>

#include "support/data.h"
#include "support/device.h"
#include "support/region.h"

#define LIMIT 5000 /* allocations of one product at most */

/* A product that takes every branch: sorted columns, padded groups, bias, in-place residual, a
 * workspace where a path has one. */
static const char line[] =
    "code=u4,zero=point,scale=f16,group=16,order=uneven,n=20,k=40,m=9,max_m=9,"
    "x=f16,y=f32,bias=bf16,residual=in_place,data=integers";

struct attempt {
    struct test_heap *heap;
    const char *selector;
    const struct test_data *data;
    const struct test_case *c;
    bool retry;
    const char *call; /* that failed last */
    struct woq_device *device;
    struct woq_weights *weights;
    struct woq_gemm *gemm;
    struct woq_commands *commands;
    struct woq_buffer *x, *y, *bias;
    uint32_t slots[4];
    float result[9 * 20];
};

/* Whether the call is to be made again: once, if `retry` is set. */
static bool again(struct attempt *a, enum woq_status st)
{
    if (st != WOQ_ERROR_OUT_OF_MEMORY || !a->retry)
        return false;
    a->retry = false;
    test_heap_fail_at(a->heap, -1);
    return true;
}

/* Calls, unless a call before failed. */
#define CALL(expression)                                                                           \
    do {                                                                                           \
        if (st)                                                                                    \
            break;                                                                                 \
        a->call = #expression;                                                                     \
        st = (expression);                                                                         \
        if (again(a, st))                                                                          \
            st = (expression);                                                                     \
    } while (0)

static enum woq_status create_buffer(struct attempt *a, const void *content, uint64_t size,
                                     struct woq_buffer **out)
{
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    enum woq_status st = WOQ_OK;
    params.size = size;
    CALL(woq_buffer_create(a->device, &params, out));
    CALL(woq_buffer_write(*out, 0, content, size));
    return st;
}

static enum woq_status create_objects(struct attempt *a)
{
    struct woq_device_params params = WOQ_DEVICE_PARAMS_INIT;
    struct woq_weights_params weights = WOQ_WEIGHTS_PARAMS_INIT;
    struct woq_gemm_params gemm = WOQ_GEMM_PARAMS_INIT;
    const struct woq_allocator allocator = test_heap_allocator(a->heap);
    enum woq_status st = WOQ_OK;
    params.allocator = &allocator;
    params.log = test_log;
    params.skip_self_test = true;
    CALL(woq_device_open(a->selector, &params, &a->device));
    weights.sources = a->data->sources;
    weights.count = a->data->count;
    CALL(woq_weights_create(a->device, &weights, &a->weights));
    gemm.weights = a->weights;
    gemm.max_m = (uint32_t)a->c->max_m;
    gemm.x_type = (enum woq_type)a->c->x;
    gemm.y_type = (enum woq_type)a->c->y;
    gemm.bias_type = (enum woq_type)a->c->bias;
    gemm.residual = true;
    CALL(woq_gemm_create(a->device, &gemm, &a->gemm));
    if (!st)
        st = create_buffer(a, a->data->x, a->c->m * a->c->k * 2, &a->x);
    if (!st)
        st = create_buffer(a, a->data->residual, sizeof(a->result), &a->y);
    if (!st)
        st = create_buffer(a, a->data->bias, a->c->n * 2, &a->bias);
    return st;
}

static enum woq_status record(struct attempt *a)
{
    enum woq_status st = WOQ_OK;
    uint32_t *s = a->slots;
    CALL(woq_commands_create(a->device, NULL, &a->commands));
    CALL(woq_commands_slot_m(a->commands, 9, &s[0]));
    CALL(woq_commands_slot_view(a->commands, WOQ_ACCESS_READ, &s[1]));
    CALL(woq_commands_slot_view(a->commands, WOQ_ACCESS_READ_WRITE, &s[2]));
    CALL(woq_commands_slot_view(a->commands, WOQ_ACCESS_READ, &s[3]));
    CALL(woq_commands_gemm(a->commands, a->gemm, s[0], s[1], s[2], s[3], s[2]));
    CALL(woq_commands_barrier(a->commands));
    CALL(woq_commands_end(a->commands));
    CALL(woq_commands_prepare(a->commands));
    return st;
}

static enum woq_status run(struct attempt *a)
{
    const struct woq_binding b[] = {{a->slots[0], 9, {NULL, 0, 0}},
                                    {a->slots[1], 0, {a->x, 0, 0}},
                                    {a->slots[2], 0, {a->y, 0, 0}},
                                    {a->slots[3], 0, {a->bias, 0, 0}}};
    enum woq_status st = WOQ_OK;
    uint64_t ticket = 0;
    CALL(woq_commands_run(a->commands, b, 4, &ticket));
    CALL(woq_commands_wait(a->commands, ticket, WOQ_FOREVER));
    CALL(woq_buffer_read(a->y, 0, a->result, sizeof(a->result)));
    return st;
}

static enum woq_status attempt(struct attempt *a)
{
    memset(a->result, 0, sizeof(a->result));
    enum woq_status st = create_objects(a);
    if (!st)
        st = record(a);
    if (!st)
        st = run(a);
    woq_buffer_destroy(&a->x);
    woq_buffer_destroy(&a->y);
    woq_buffer_destroy(&a->bias);
    woq_commands_destroy(&a->commands);
    woq_gemm_destroy(&a->gemm);
    woq_weights_destroy(&a->weights);
    woq_device_destroy(&a->device);
    return st;
}

static void sweep(struct attempt *a, bool retry, const float *expected)
{
    const int64_t step = retry && !TEST_LONG ? 4 : 1;
    unsigned refused = 0;
    int64_t n = 0;
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    for (; n < LIMIT; n += step) {
        const uint64_t before = test_heap_count(a->heap);
        a->retry = retry;
        test_heap_fail_at(a->heap, n);
        st = attempt(a);
        if (test_heap_balance(a->heap))
            fail_msg("%s: allocation %lld failed: %lld blocks left", a->selector, (long long)n,
                     (long long)test_heap_balance(a->heap));
        if (st && (st != WOQ_ERROR_OUT_OF_MEMORY || retry))
            fail_msg("%s: allocation %lld failed%s: %s gave %s: %s", a->selector, (long long)n,
                     retry ? " and was retried" : "", a->call, woq_status_string(st),
                     woq_last_message());
        if (!st && memcmp(a->result, expected, sizeof(a->result)))
            fail_msg("%s: allocation %lld failed: Y is wrong", a->selector, (long long)n);
        refused += st != WOQ_OK;
        if (test_heap_count(a->heap) - before <= (uint64_t)n && !st && a->retry == retry)
            break; /* there was no n-th allocation */
    }
    assert_true(n < LIMIT);
    assert_int_equal(st, WOQ_OK);
    printf("%s: %lld allocations, %u of them refused the call%s\n", a->selector, (long long)n,
           refused, retry ? " after a second try" : "");
    assert_true(retry || refused > 10);
}

static void sweep_device(const char *selector, void *user)
{
    struct test_case c;
    struct test_data data;
    struct attempt a = {.heap = test_heap_create(), .selector = selector, .data = &data, .c = &c};
    float expected[9 * 20];
    (void)user;
    assert_non_null(a.heap);
    assert_true(case_parse(line, &c));
    assert_true(data_create(&c, &data));
    assert_true(test_ok(attempt(&a), a.call));
    memcpy(expected, a.result, sizeof(expected));
    sweep(&a, false, expected);
    sweep(&a, true, expected);
    test_heap_destroy(a.heap);
    data_destroy(&data);
}

/* One argument: that device; none: all that are there. */
static void test_sweep(void **state)
{
    if (*state)
        sweep_device(*state, NULL);
    else
        assert_true(test_each_selector(sweep_device, NULL) > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        {"test_sweep", test_sweep, NULL, NULL, argc > 1 ? argv[1] : NULL},
    };
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_expect_errors(true);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
