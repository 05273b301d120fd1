/* test_lifetime.c: handles destroyed in any order, work left in flight, busy and timed-out waits,
 * two devices at once. Runs on every device, or on the one named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/device.h"
#include "support/product.h"

static const char small[] =
    "code=u4,zero=point,group=16,n=33,k=64,m=9,max_m=16,x=f16,y=f16,bias=f32,"
    "residual=own,data=random";

/* A product with its recording. */
struct rig {
    struct product product;
    struct woq_gemm *gemm;
    struct woq_commands *commands;
    struct woq_binding bindings[5];
    size_t count;
};

static void rig_create(struct woq_device *device, const char *line, uint32_t in_flight,
                       struct rig *r)
{
    struct woq_commands_params params = WOQ_COMMANDS_PARAMS_INIT;
    struct test_case c;
    *r = (struct rig){.gemm = NULL};
    params.in_flight = in_flight;
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &r->product));
    assert_true(product_gemm(&r->product, NULL, &r->gemm));
    assert_true(test_ok(woq_commands_create(device, &params, &r->commands), "woq_commands_create"));
    assert_true(product_record(&r->product, r->gemm, r->commands, r->bindings, &r->count));
    assert_true(test_ok(woq_commands_end(r->commands), "woq_commands_end"));
}

static void rig_destroy(struct rig *r)
{
    woq_commands_destroy(&r->commands);
    woq_gemm_destroy(&r->gemm);
    product_destroy(&r->product);
}

static uint64_t submit(struct rig *r)
{
    uint64_t ticket;
    assert_true(
        test_ok(woq_commands_run(r->commands, r->bindings, r->count, &ticket), "woq_commands_run"));
    return ticket;
}

static bool check(struct rig *r)
{
    struct woq_explain e = {.struct_size = sizeof(e)};
    assert_int_equal(woq_gemm_explain(r->gemm, (uint32_t)r->product.c.m, &e), WOQ_OK);
    return product_check(&r->product, e.math);
}

static struct woq_device *open_device(const char *selector)
{
    const struct woq_device_params params = test_params();
    struct woq_device *device = test_try_open(selector, &params);
    assert_non_null(device);
    return device;
}

static void nothing_left(void)
{
    assert_int_equal(test_heap_balance(test_main_heap()), 0);
}

/* The device's handle goes first, the commands last. */
static void test_device_first(void **state)
{
    struct woq_device *device = open_device(*state);
    struct rig r;
    rig_create(device, small, 0, &r);
    woq_device_destroy(&device);
    woq_weights_destroy(&r.product.weights);
    assert_int_equal(woq_commands_wait(r.commands, submit(&r), WOQ_FOREVER), WOQ_OK);
    assert_true(check(&r));
    woq_gemm_destroy(&r.gemm);
    assert_true(region_reset(&r.product.y));
    assert_int_equal(woq_commands_wait(r.commands, submit(&r), WOQ_FOREVER), WOQ_OK);
    product_destroy(&r.product);
    woq_commands_destroy(&r.commands);
    nothing_left();
}

/* Slots keep the buffers bound to them. */
static void test_buffers_first(void **state)
{
    struct woq_device *device = open_device(*state);
    struct rig r;
    rig_create(device, small, 0, &r);
    submit(&r);
    woq_buffer_destroy(&r.product.x.buffer);
    woq_buffer_destroy(&r.product.bias.buffer);
    woq_buffer_destroy(&r.product.residual.buffer);
    assert_int_equal(woq_commands_run(r.commands, NULL, 0, NULL), WOQ_OK);
    assert_int_equal(woq_commands_wait(r.commands, 2, WOQ_FOREVER), WOQ_OK);
    assert_true(region_read(&r.product.y, "y"));
    woq_buffer_destroy(&r.product.y.buffer);
    woq_device_destroy(&device);
    rig_destroy(&r);
    nothing_left();
}

/* Everything destroyed while runs are in flight; Y is right all the same. */
static void test_destroy_in_flight(void **state)
{
    static const char line[] =
        "code=u8,scale=f32,group=128,n=129,k=576,m=65,x=f32,y=f32,data=random";
    struct woq_device *device = open_device(*state);
    for (int round = 0; round < 2; round++) {
        struct rig r;
        rig_create(device, line, 3, &r);
        for (int i = 0; i < 3; i++)
            submit(&r);
        woq_commands_destroy(&r.commands);
        woq_buffer_destroy(&r.product.x.buffer);
        woq_weights_destroy(&r.product.weights);
        assert_true(region_read(&r.product.y, "y"));
        struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
        params.size = r.product.x.size;
        assert_int_equal(woq_buffer_create(device, &params, &r.product.x.buffer), WOQ_OK);
        assert_true(region_reset(&r.product.x));
        assert_true(check(&r));
        rig_destroy(&r);
    }
    struct rig last;
    rig_create(device, line, 3, &last);
    submit(&last);
    submit(&last);
    rig_destroy(&last);
    woq_device_destroy(&device);
    nothing_left();
}

/* A product large enough to be caught at work: BUSY, TIMEOUT, and right in the end. */
static void test_busy(void **state)
{
    static const char *const lines[] = {
        "code=u4,group=128,n=512,k=512,m=64,x=f16,y=f32,data=integers",
        "code=u4,group=128,n=1024,k=1024,m=130,x=f16,y=f32,data=integers",
        "code=u4,group=128,n=2048,k=2048,m=512,x=f16,y=f32,data=integers",
    };
    struct woq_device *device = open_device(*state);
    const bool synchronous = woq_device_get_info(device)->backend == WOQ_BACKEND_REFERENCE;
    bool busy = false, timeout = false;
    for (size_t i = 0; i < (synchronous ? 1 : 3) && !(busy && timeout); i++) {
        struct rig r;
        rig_create(device, lines[i], 1, &r);
        submit(&r);
        test_expect_errors(true);
        enum woq_status st = woq_commands_wait(r.commands, 1, 0);
        assert_true(st == WOQ_OK || st == WOQ_ERROR_TIMEOUT);
        timeout |= st == WOQ_ERROR_TIMEOUT;
        uint64_t ticket = 99;
        st = woq_commands_run(r.commands, r.bindings, r.count, &ticket);
        test_expect_errors(false);
        assert_true(st == WOQ_OK || st == WOQ_ERROR_BUSY);
        if (st == WOQ_ERROR_BUSY) {
            busy = true;
            assert_int_equal(ticket, 0);
            assert_non_null(strstr(woq_last_message(), "flight"));
            assert_int_equal(woq_commands_wait(r.commands, 1, WOQ_FOREVER), WOQ_OK);
            submit(&r);
        }
        assert_int_equal(woq_commands_wait(r.commands, 2, WOQ_FOREVER), WOQ_OK);
        assert_true(i == 2 || check(&r));
        rig_destroy(&r);
    }
    printf("%s: busy %s, timeout %s\n", (const char *)*state, busy ? "seen" : "not seen",
           timeout ? "seen" : "not seen");
    if (woq_device_get_info(device)->kind == WOQ_DEVICE_KIND_CPU && !synchronous)
        assert_true(busy && timeout);
    woq_device_destroy(&device);
    nothing_left();
}

static void test_two_devices(void **state)
{
    struct woq_device *devices[2] = {open_device(*state), open_device(*state)};
    struct rig rigs[2];
    for (int i = 0; i < 2; i++)
        rig_create(devices[i], small, 0, &rigs[i]);
    for (int run = 0; run < 3; run++) {
        for (int i = 0; i < 2; i++)
            submit(&rigs[i]);
        for (int i = 1; i >= 0; i--)
            assert_int_equal(woq_commands_wait(rigs[i].commands, (uint64_t)run + 1, WOQ_FOREVER),
                             WOQ_OK);
    }
    assert_true(check(&rigs[0]) && check(&rigs[1]));
    rig_destroy(&rigs[0]);
    woq_device_destroy(&devices[0]);
    assert_true(region_reset(&rigs[1].product.y));
    assert_int_equal(woq_commands_wait(rigs[1].commands, submit(&rigs[1]), WOQ_FOREVER), WOQ_OK);
    assert_true(check(&rigs[1]));
    rig_destroy(&rigs[1]);
    woq_device_destroy(&devices[1]);
    nothing_left();
}

static void run_all(const char *selector, void *failed)
{
    void *state = (void *)(uintptr_t)selector;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_device_first, state),
        cmocka_unit_test_prestate(test_buffers_first, state),
        cmocka_unit_test_prestate(test_destroy_in_flight, state),
        cmocka_unit_test_prestate(test_busy, state),
        cmocka_unit_test_prestate(test_two_devices, state),
    };
    *(int *)failed += cmocka_run_group_tests_name(selector, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return test_main_each(argc, argv, run_all);
}
