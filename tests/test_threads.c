/* test_threads.c: several threads with recordings of their own on one device: weights, GEMM and the
 * device are shared, everything else is made and destroyed meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/device.h"
#include "support/product.h"

#define THREADS 4
#define ROUNDS 6

struct worker {
    struct woq_device *device;
    struct woq_weights *weights; /* shared */
    struct woq_gemm *gemm;       /* shared */
    struct product product;      /* its weights are the shared ones' equals */
    unsigned number;
    bool failed;
    pthread_t thread;
};

/* One recording of its own on the shared GEMM, or on one that it makes from the shared weights. */
static bool work_round(struct worker *w, unsigned round)
{
    struct woq_commands *commands = NULL;
    struct woq_gemm *own = NULL;
    struct woq_binding bindings[5];
    struct woq_explain e = {.struct_size = sizeof(e)};
    struct product *p = &w->product;
    uint64_t ticket;
    size_t count;
    bool good = false;
    if (round % 2) {
        struct product on_shared = *p;
        on_shared.weights = w->weights;
        if (!product_gemm(&on_shared, round % 4 == 1 ? "floor" : NULL, &own))
            return false;
    }
    struct woq_gemm *gemm = own ? own : w->gemm;
    if (!test_ok(woq_gemm_explain(gemm, (uint32_t)p->c.m, &e), "woq_gemm_explain") ||
        !test_ok(woq_commands_create(w->device, NULL, &commands), "woq_commands_create") ||
        !product_record(p, gemm, commands, bindings, &count) ||
        !test_ok(woq_commands_end(commands), "woq_commands_end"))
        goto end;
    for (int run = 0; run < 4; run++) {
        if (!region_reset(&p->y) ||
            !test_ok(woq_commands_run(commands, bindings, count, &ticket), "woq_commands_run") ||
            !test_ok(woq_commands_wait(commands, ticket, WOQ_FOREVER), "woq_commands_wait"))
            goto end;
    }
    good = product_check(p, e.math);
end:
    woq_commands_destroy(&commands);
    woq_gemm_destroy(&own);
    return good;
}

static void *work(void *user)
{
    struct worker *w = user;
    struct woq_memory_budget budget;
    for (unsigned round = 0; round < ROUNDS && !w->failed; round++) {
        struct product private_product; /* packs and uploads beside the others' runs */
        const bool made = product_create(w->device, &w->product.c, &private_product);
        w->failed = !made || !work_round(w, round + w->number) ||
                    !test_ok(woq_device_memory(w->device, &budget), "woq_device_memory");
        if (made)
            product_destroy(&private_product);
    }
    return NULL;
}

static void *fail_often(void *user)
{
    struct worker *w = user;
    for (int i = 0; i < 200; i++) {
        char expected[32];
        struct woq_device *none = NULL;
        snprintf(expected, sizeof(expected), "thread%u", w->number);
        w->failed |= woq_device_open(expected, NULL, &none) != WOQ_ERROR_INVALID_ARGUMENT ||
                     !strstr(woq_last_message(), expected);
    }
    return NULL;
}

static void run_workers(struct worker *workers, void *(*function)(void *))
{
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, function, &workers[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_false(workers[i].failed);
}

/* With a device for each thread, or one for all. */
static void share(const char *selector, bool one_device)
{
    const struct woq_device_params params = test_params();
    struct worker workers[THREADS];
    memset(workers, 0, sizeof(workers));
    for (unsigned i = 0; i < THREADS; i++) {
        struct worker *w = &workers[i];
        struct test_case c;
        char line[256];
        snprintf(line, sizeof(line),
                 "code=u4,zero=point,group=16,n=33,k=64,m=%u,max_m=20,x=f16,y=f16,bias=f32,"
                 "residual=own,x_offset=%u,data=random", 5 + 5 * i, i);
        w->number = i;
        w->device = one_device && i ? workers[0].device : test_try_open(selector, &params);
        assert_non_null(w->device);
        assert_true(case_parse(line, &c));
        assert_true(product_create(w->device, &c, &w->product));
        w->weights = one_device ? workers[0].product.weights : w->product.weights;
        if (one_device && i)
            w->gemm = workers[0].gemm;
        else
            assert_true(product_gemm(&w->product, NULL, &w->gemm));
    }
    run_workers(workers, work);
    for (unsigned i = 0; i < THREADS; i++) {
        product_destroy(&workers[i].product);
        if (!one_device || i == 0) {
            woq_gemm_destroy(&workers[i].gemm);
            woq_device_destroy(&workers[i].device);
        }
    }
    assert_int_equal(test_heap_balance(test_main_heap()), 0);
}

static void test_one_device(void **state)
{
    share(*state, true);
}

static void test_many_devices(void **state)
{
    share(*state, false);
}

/* Each thread has the last message to itself. */
static void test_messages(void **state)
{
    struct worker workers[THREADS];
    (void)state;
    memset(workers, 0, sizeof(workers));
    for (unsigned i = 0; i < THREADS; i++)
        workers[i].number = i;
    run_workers(workers, fail_often);
}

static void run_all(const char *selector, void *failed)
{
    void *state = (void *)(uintptr_t)selector;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_one_device, state),
        cmocka_unit_test_prestate(test_many_devices, state),
        cmocka_unit_test_prestate(test_messages, state),
    };
    *(int *)failed += cmocka_run_group_tests_name(selector, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return test_main_each(argc, argv, run_all);
}
