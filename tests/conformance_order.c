/* conformance_order.c: several runs and several products at once: order, fences, times, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conformance.h"
#include "support/device.h"
#include "support/product.h"

#define MAX_PRODUCTS 4

/* Products with their GEMMs, recorded into one commands object. */
struct batch {
    size_t count;
    struct product products[MAX_PRODUCTS];
    struct woq_gemm *gemms[MAX_PRODUCTS];
    struct woq_binding bindings[MAX_PRODUCTS][5];
    size_t bound[MAX_PRODUCTS];
    struct woq_commands *commands;
};

static void batch_create(struct woq_device *device, const char *const *lines, size_t count,
                         const struct woq_commands_params *params, struct batch *out)
{
    *out = (struct batch){.count = count};
    for (size_t i = 0; i < count; i++) {
        struct test_case c;
        assert_true(case_parse(lines[i], &c));
        assert_true(product_create(device, &c, &out->products[i]));
        assert_true(product_gemm(&out->products[i], NULL, &out->gemms[i]));
    }
    assert_true(
        test_ok(woq_commands_create(device, params, &out->commands), "woq_commands_create"));
}

static void batch_record(struct batch *b, size_t i)
{
    assert_true(product_record(&b->products[i], b->gemms[i], b->commands, b->bindings[i],
                               &b->bound[i]));
}

/* All bindings in one array. */
static size_t batch_bindings(const struct batch *b, struct woq_binding *out)
{
    size_t count = 0;
    for (size_t i = 0; i < b->count; i++)
        for (size_t j = 0; j < b->bound[i]; j++)
            out[count++] = b->bindings[i][j];
    return count;
}

static void batch_destroy(struct batch *b)
{
    woq_commands_destroy(&b->commands);
    for (size_t i = 0; i < b->count; i++) {
        woq_gemm_destroy(&b->gemms[i]);
        product_destroy(&b->products[i]);
    }
}

static bool batch_check(struct batch *b, size_t i)
{
    struct woq_explain e = {.struct_size = sizeof(e)};
    assert_int_equal(woq_gemm_explain(b->gemms[i], (uint32_t)b->products[i].c.m, &e), WOQ_OK);
    return product_check(&b->products[i], e.math);
}

static void batch_run(struct batch *b)
{
    struct woq_binding bindings[5 * MAX_PRODUCTS];
    uint64_t ticket;
    const size_t count = batch_bindings(b, bindings);
    assert_true(
        test_ok(woq_commands_run(b->commands, bindings, count, &ticket), "woq_commands_run"));
    assert_true(test_ok(woq_commands_wait(b->commands, ticket, WOQ_FOREVER), "woq_commands_wait"));
}

static const char *const several[] = {
    "code=u4,zero=point,scale=f16,group=32,n=129,k=257,m=33,x=f16,y=f16,bias=f32,data=random",
    "code=u8,scale=f32,group=16,order=equal,n=63,k=127,m=17,x=f32,y=f32,activation=silu,data="
    "random",
    "code=f16,n=33,k=65,m=16,x=bf16,y=bf16,residual=own,data=random",
};

void conformance_in_flight(void **state)
{
    enum { RUNS = 24, IN_FLIGHT = 3 };
    struct woq_commands_params params = WOQ_COMMANDS_PARAMS_INIT;
    struct batch b;
    unsigned busy = 0;
    params.in_flight = IN_FLIGHT;
    batch_create(*state, several, 1, &params, &b);
    batch_record(&b, 0);
    assert_true(test_ok(woq_commands_end(b.commands), "woq_commands_end"));
    for (uint64_t i = 1; i <= RUNS; i++) {
        uint64_t ticket = 0;
        test_expect_errors(true);
        enum woq_status st = woq_commands_run(b.commands, b.bindings[0], b.bound[0], &ticket);
        test_expect_errors(false);
        if (st == WOQ_ERROR_BUSY) { /* never before IN_FLIGHT runs are pending */
            busy++;
            assert_true(i > IN_FLIGHT);
            assert_int_equal(ticket, 0);
            assert_int_equal(woq_commands_wait(b.commands, i - IN_FLIGHT, WOQ_FOREVER), WOQ_OK);
            st = woq_commands_run(b.commands, b.bindings[0], b.bound[0], &ticket);
        }
        assert_true(test_ok(st, "woq_commands_run"));
        assert_int_equal(ticket, i);
    }
    for (uint64_t i = RUNS; i >= 1; i--)
        assert_int_equal(woq_commands_wait(b.commands, i, WOQ_FOREVER), WOQ_OK);
    assert_true(batch_check(&b, 0));
    printf("%s: %u of %d submissions were busy\n", woq_device_get_info(*state)->selector, busy,
           RUNS);
    batch_destroy(&b);
}

void conformance_fences(void **state)
{
    struct batch b;
    uint64_t ticket = 0;
    batch_create(*state, several, 1, NULL, &b);
    batch_record(&b, 0);
    assert_int_equal(woq_commands_end(b.commands), WOQ_OK);
    test_expect_errors(true);
    assert_int_equal(woq_commands_run(b.commands, b.bindings[0], b.bound[0], &ticket), WOQ_OK);
    enum woq_status st = woq_commands_wait(b.commands, ticket, 0);
    assert_true(st == WOQ_OK || st == WOQ_ERROR_TIMEOUT);
    st = woq_commands_wait(b.commands, ticket, 1000);
    assert_true(st == WOQ_OK || st == WOQ_ERROR_TIMEOUT);
    assert_int_equal(woq_commands_wait(b.commands, 0, 0), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_commands_wait(b.commands, ticket + 1, 0), WOQ_ERROR_INVALID_ARGUMENT);
    test_expect_errors(false);
    assert_int_equal(woq_commands_wait(b.commands, ticket, UINT64_C(60000000000)), WOQ_OK);
    assert_int_equal(woq_commands_wait(b.commands, ticket, 0), WOQ_OK);
    assert_int_equal(woq_commands_wait(b.commands, ticket, WOQ_FOREVER), WOQ_OK);
    assert_true(batch_check(&b, 0));
    batch_destroy(&b);
}

void conformance_timestamps(void **state)
{
    enum { LAST = 5 };
    struct batch b;
    uint64_t previous = 0;
    batch_create(*state, several, 2, NULL, &b);
    if (!(woq_device_get_info(*state)->features & WOQ_FEATURE_TIMESTAMPS)) {
        test_expect_errors(true);
        assert_int_equal(woq_commands_timestamp(b.commands, 0), WOQ_ERROR_UNSUPPORTED);
        test_expect_errors(false);
        batch_destroy(&b);
        return;
    }
    assert_int_equal(woq_commands_timestamp(b.commands, 0), WOQ_OK);
    batch_record(&b, 0);
    assert_int_equal(woq_commands_timestamp(b.commands, 1), WOQ_OK);
    batch_record(&b, 1);
    assert_int_equal(woq_commands_timestamp(b.commands, LAST), WOQ_OK);
    assert_int_equal(woq_commands_end(b.commands), WOQ_OK);
    for (uint64_t ticket = 1; ticket <= 4; ticket++) {
        uint64_t ns[LAST + 2];
        memset(ns, 0xff, sizeof(ns));
        batch_run(&b);
        assert_int_equal(woq_commands_timestamps(b.commands, ticket, ns, LAST + 2), WOQ_OK);
        assert_true(ns[0] >= previous);
        assert_true(ns[1] >= ns[0] && ns[LAST] >= ns[1] && ns[LAST] > ns[0]);
        assert_true(ns[LAST] - ns[0] < UINT64_C(60000000000));
        for (int i = 2; i < LAST; i++)
            assert_int_equal(ns[i], 0);
        assert_int_equal(ns[LAST + 1], 0);
        previous = ns[LAST];
    }
    uint64_t ns[1];
    test_expect_errors(true);
    assert_int_equal(woq_commands_timestamps(b.commands, 1, ns, 1), WOQ_ERROR_INVALID_STATE);
    test_expect_errors(false);
    assert_true(batch_check(&b, 0) && batch_check(&b, 1));
    batch_destroy(&b);
}

/* Two products through an intermediate matrix, then a copy of the result, then the first product's
 * input overwritten: each step must wait for the one before. */
void conformance_chain(void **state)
{
    static const char *const lines[] = {
        "code=u4,zero=point,scale=f16,group=16,n=48,k=64,m=19,x=f16,y=f16,y_pad=3,y_offset=1,"
        "activation=relu,data=random,seed=1",
        "code=u8,scale=f16,group=0,n=20,k=48,m=19,x=f16,y=f32,data=random,seed=2",
    };
    struct batch b;
    struct woq_binding bindings[14];
    struct test_region target;
    uint64_t ticket;
    batch_create(*state, lines, 2, NULL, &b);
    struct product *first = &b.products[0], *second = &b.products[1];
    const uint64_t bytes = 19 * 20 * 4;
    assert_true(region_create(*state, 1, bytes, NULL, 0, 0, &target));
    uint32_t from, to;
    assert_int_equal(woq_commands_slot_view(b.commands, WOQ_ACCESS_READ, &from), WOQ_OK);
    assert_int_equal(woq_commands_slot_view(b.commands, WOQ_ACCESS_WRITE, &to), WOQ_OK);
    batch_record(&b, 0);
    assert_int_equal(woq_commands_barrier(b.commands), WOQ_OK);
    batch_record(&b, 1);
    assert_int_equal(woq_commands_barrier(b.commands), WOQ_OK);
    assert_int_equal(woq_commands_copy(b.commands, from, to, bytes), WOQ_OK);
    assert_int_equal(woq_commands_end(b.commands), WOQ_OK);
    b.bindings[1][1].view = first->y.view; /* x of the second */
    size_t count = batch_bindings(&b, bindings);
    bindings[count++] = (struct woq_binding){.slot = from, .view = second->y.view};
    bindings[count++] = (struct woq_binding){.slot = to, .view = target.view};
    for (int run = 0; run < 3; run++) {
        assert_true(region_reset(&first->y) && region_reset(&second->y) && region_reset(&target));
        assert_true(
            test_ok(woq_commands_run(b.commands, bindings, count, &ticket), "woq_commands_run"));
        assert_int_equal(woq_commands_wait(b.commands, ticket, WOQ_FOREVER), WOQ_OK);
        assert_true(batch_check(&b, 0));
        for (uint64_t row = 0; row < 19; row++)
            memcpy((char *)second->data.x + row * 96, region_row(&first->y, row), 96);
        assert_true(batch_check(&b, 1));
        assert_true(region_read(&target, "target of the copy"));
        assert_memory_equal(region_row(&target, 0), region_row(&second->y, 0), bytes);
    }
    region_destroy(&target);
    batch_destroy(&b);
}

/* Products one after the other, the last one of the first one's Y, and some without rows: what is between two that
 * have some does not part them. */
void conformance_some_without_rows(void **state)
{
    static const char *const lines[] = {
        "code=u4,zero=point,scale=f16,group=16,n=48,k=64,m=19,x=f16,y=f16,data=random,seed=1",
        "code=u4,scale=f16,group=16,n=32,k=64,m=7,x=f16,y=f16,data=random,seed=3",
        "code=u8,scale=f16,group=0,n=20,k=48,m=19,x=f16,y=f32,data=random,seed=2",
    };
    static const bool runs[][3] = {{true, true, true},  {true, false, true},  {false, true, true},
                                   {true, true, false}, {false, false, true}, {true, true, true}};
    struct batch b;
    batch_create(*state, lines, 3, NULL, &b);
    for (size_t i = 0; i < b.count; i++) {
        batch_record(&b, i);
        if (i + 1 < b.count)
            assert_int_equal(woq_commands_barrier(b.commands), WOQ_OK);
    }
    assert_int_equal(woq_commands_end(b.commands), WOQ_OK);
    b.bindings[2][1].view = b.products[0].y.view;
    for (size_t run = 0; run < sizeof runs / sizeof *runs; run++) {
        for (size_t i = 0; i < b.count; i++) {
            b.bindings[i][0].m = runs[run][i] ? (uint32_t)b.products[i].c.m : 0;
            if (i || runs[run][i]) /* else it is the last one's X */
                assert_true(region_reset(&b.products[i].y));
        }
        batch_run(&b);
        for (size_t i = 0; i < b.count; i++) {
            if (i == 1 && runs[run][0])
                for (uint64_t row = 0; row < 19; row++)
                    memcpy((char *)b.products[2].data.x + row * 96, region_row(&b.products[0].y, row), 96);
            if (runs[run][i])
                assert_true(batch_check(&b, i));
            else if (i)
                assert_true(region_unchanged(&b.products[i].y, "y of a product without rows"));
        }
    }
    batch_destroy(&b);
}

void conformance_independent(void **state)
{
    struct batch b;
    uint64_t workspace = 0, least = 0;
    batch_create(*state, several, 3, NULL, &b);
    for (size_t i = 0; i < b.count; i++) {
        struct woq_explain e = {.struct_size = sizeof(e)};
        batch_record(&b, i);
        assert_int_equal(woq_gemm_explain(b.gemms[i], (uint32_t)b.products[i].c.m, &e), WOQ_OK);
        least += e.workspace;
    }
    assert_int_equal(woq_commands_end(b.commands), WOQ_OK);
    assert_int_equal(woq_commands_workspace(b.commands, &workspace), WOQ_OK);
    assert_true(workspace >= least);
    for (int run = 0; run < 3; run++) {
        for (size_t i = 0; i < b.count; i++)
            assert_true(region_reset(&b.products[i].y));
        batch_run(&b);
        for (size_t i = 0; i < b.count; i++)
            assert_true(batch_check(&b, i));
    }
    batch_destroy(&b);
}

/* A workspace of the caller's, exactly as large as told, behind bytes that must not change. */
void conformance_workspace(void **state)
{
    enum { LEAD = 512 };
    struct woq_commands_params params = WOQ_COMMANDS_PARAMS_INIT;
    struct woq_buffer_params memory = WOQ_BUFFER_PARAMS_INIT;
    struct batch b;
    uint64_t bytes = 0;
    uint8_t lead[LEAD], after[LEAD];
    batch_create(*state, several, 1, NULL, &b);
    batch_record(&b, 0);
    assert_int_equal(woq_commands_end(b.commands), WOQ_OK);
    assert_int_equal(woq_commands_workspace(b.commands, &bytes), WOQ_OK);
    batch_destroy(&b);

    memory.size = LEAD + (bytes ? bytes : 4);
    assert_int_equal(woq_buffer_create(*state, &memory, &params.workspace.buffer), WOQ_OK);
    params.workspace.offset = LEAD;
    memset(lead, 0x3c, LEAD);
    assert_int_equal(woq_buffer_write(params.workspace.buffer, 0, lead, LEAD), WOQ_OK);
    batch_create(*state, several, 1, &params, &b);
    batch_record(&b, 0);
    assert_true(test_ok(woq_commands_end(b.commands), "woq_commands_end"));
    batch_run(&b);
    assert_true(batch_check(&b, 0));
    assert_int_equal(woq_buffer_read(params.workspace.buffer, 0, after, LEAD), WOQ_OK);
    assert_memory_equal(lead, after, LEAD);
    batch_destroy(&b);
    woq_buffer_destroy(&params.workspace.buffer);
}

void conformance_mapping(void **state)
{
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    struct woq_buffer *buffer = NULL;
    void *pointer = NULL, *again = NULL;
    uint8_t bytes[1000];
    params.size = sizeof(bytes);
    params.flags = WOQ_BUFFER_HOST_VISIBLE;
    test_expect_errors(true);
    if (!(woq_device_get_info(*state)->features & WOQ_FEATURE_HOST_MEMORY)) {
        assert_int_equal(woq_buffer_create(*state, &params, &buffer), WOQ_ERROR_UNSUPPORTED);
        test_expect_errors(false);
        return;
    }
    assert_int_equal(woq_buffer_create(*state, &params, &buffer), WOQ_OK);
    assert_int_equal(woq_buffer_unmap(buffer), WOQ_ERROR_INVALID_STATE);
    assert_true(test_ok(woq_buffer_map(buffer, &pointer), "woq_buffer_map"));
    assert_int_equal((uintptr_t)pointer % 64, 0);
    assert_int_equal(woq_buffer_map(buffer, &again), WOQ_ERROR_INVALID_STATE);
    assert_int_equal(woq_buffer_read(buffer, 0, bytes, 4), WOQ_ERROR_INVALID_ARGUMENT);
    for (size_t i = 0; i < sizeof(bytes); i++)
        ((uint8_t *)pointer)[i] = (uint8_t)(i * 7);
    assert_int_equal(woq_buffer_unmap(buffer), WOQ_OK);
    test_expect_errors(false);
    assert_int_equal(woq_buffer_read(buffer, 0, bytes, sizeof(bytes)), WOQ_OK);
    for (size_t i = 0; i < sizeof(bytes); i++)
        assert_int_equal(bytes[i], (uint8_t)(i * 7));
    bytes[999] = 1;
    assert_int_equal(woq_buffer_write(buffer, 999, bytes + 999, 1), WOQ_OK);
    assert_int_equal(woq_buffer_map(buffer, &pointer), WOQ_OK);
    assert_memory_equal(pointer, bytes, sizeof(bytes));
    woq_buffer_destroy(&buffer); /* mapped: allowed */
}
