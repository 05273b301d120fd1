/*
 * test_chain.c: products that depend on each other, on every device. X and Y are two buffers that change places from
 * product to product, so that each reads what the one before wrote and writes what that one read: an order that is not
 * kept shows. A chain in one recording has the bits of its products run one by one; on CUDA also when it is recorded
 * into a stream.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <woq/command.h>

#include "core/core.h"
#include "support/device.h"
#ifdef TEST_CUDA
#include "cuda/cu_backend.h"
#endif

enum { SIZE = 512, GROUP = 128, GROUPS = SIZE / GROUP, MOST_M = 40, LENGTH = 6 };

struct chain {
    struct woq_device *device;
    struct woq_weights *weights;
    struct woq_gemm *gemm;
    struct woq_buffer *buffers[2]; /* rows of SIZE FP16 */
    struct woq_commands *all, *one;
};

static uint16_t input[MOST_M * SIZE], expected[MOST_M * SIZE], got[MOST_M * SIZE];

/* Weights of a variance that keeps the rows' magnitude. */
static void make_weights(struct chain *c)
{
    static unsigned char codes[SIZE * SIZE / 2];
    static uint16_t scales[SIZE * GROUPS];
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (unsigned char)((random = random * 1664525u + 1013904223u) >> 24);
    for (uint32_t i = 0; i < SIZE * GROUPS; i++)
        woqi_element_store(WOQ_F16, scales, i, 0.0095f + 0.0001f * (float)(i % 5));
    const struct woq_weights_source source = {
        .struct_size = sizeof source,
        .format = {sizeof source.format, WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F16, GROUP, false},
        .n = SIZE, .k = SIZE, .codes = codes, .scales = scales,
    };
    const struct woq_weights_params params = {sizeof params, &source, 1, false};
    assert_int_equal(woq_weights_create(c->device, &params, &c->weights), WOQ_OK);
}

/* `length` products, M in slot 0, the buffers in slots 1 and 2. */
static struct woq_commands *record(struct chain *c, int length)
{
    struct woq_commands *commands = NULL;
    uint32_t m, view[2];
    assert_int_equal(woq_commands_create(c->device, NULL, &commands), WOQ_OK);
    assert_int_equal(woq_commands_slot_m(commands, MOST_M, &m), WOQ_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(woq_commands_slot_view(commands, WOQ_ACCESS_READ_WRITE, &view[i]), WOQ_OK);
    for (int i = 0; i < length; i++) {
        if (i)
            assert_int_equal(woq_commands_barrier(commands), WOQ_OK);
        assert_int_equal(woq_commands_gemm(commands, c->gemm, m, view[i % 2], view[1 - i % 2], WOQ_NO_SLOT,
                                           WOQ_NO_SLOT), WOQ_OK);
    }
    assert_int_equal(woq_commands_end(commands), WOQ_OK);
    return commands;
}

static void bind(const struct chain *c, uint32_t m, int first, struct woq_binding out[3])
{
    out[0] = (struct woq_binding){0, m, {NULL, 0, 0}};
    out[1] = (struct woq_binding){1, 0, {c->buffers[first], 0, 0}};
    out[2] = (struct woq_binding){2, 0, {c->buffers[1 - first], 0, 0}};
}

static void run(const struct chain *c, struct woq_commands *commands, uint32_t m, int first)
{
    struct woq_binding bindings[3];
    uint64_t ticket;
    bind(c, m, first, bindings);
    assert_int_equal(woq_commands_run(commands, bindings, 3, &ticket), WOQ_OK);
    assert_int_equal(woq_commands_wait(commands, ticket, WOQ_FOREVER), WOQ_OK);
}

static void set_input(const struct chain *c, uint32_t seed)
{
    for (uint32_t i = 0; i < MOST_M * SIZE; i++)
        woqi_element_store(WOQ_F16, input, i, (float)((i * 7 + seed * 13) % 31) * 0.0625f - 0.9375f);
    assert_int_equal(woq_buffer_write(c->buffers[0], 0, input, sizeof input), WOQ_OK);
}

static void compare(const struct chain *c, uint32_t m, const char *how)
{
    const size_t bytes = (size_t)m * SIZE * sizeof *got;
    assert_int_equal(woq_buffer_read(c->buffers[LENGTH % 2], 0, got, bytes), WOQ_OK);
    for (size_t i = 0; i < (size_t)m * SIZE; i++)
        if (got[i] != expected[i]) {
            print_error("M %u, %s: y[%zu][%zu] has the bits %04x; one by one %04x\n", (unsigned)m, how, i / SIZE,
                        i % SIZE, got[i], expected[i]);
            fail();
        }
}

#ifdef TEST_CUDA
/* Into the library's own stream, for which reading a buffer waits. */
static void record_into_stream(const struct chain *c, uint32_t m)
{
    struct woq_binding bindings[3];
    bind(c, m, 0, bindings);
    assert_int_equal(woq_cuda_record(c->all, bindings, 3, woqi_cu_device(c->device)->stream), WOQ_OK);
}
#endif

static void check(const struct chain *c, uint32_t m)
{
    const bool cpu = woq_device_get_info(c->device)->kind == WOQ_DEVICE_KIND_CPU;
    bool differ = false;
    for (uint32_t round = 0; round < (cpu ? 1u : 16u); round++) {
        set_input(c, round);
        for (int i = 0; i < LENGTH; i++)
            run(c, c->one, m, i % 2);
        assert_int_equal(woq_buffer_read(c->buffers[LENGTH % 2], 0, expected, sizeof expected), WOQ_OK);
        for (uint32_t i = 1; i < SIZE; i++)
            differ |= expected[i] != expected[0];
        set_input(c, round);
        run(c, c->all, m, 0);
        compare(c, m, "in one recording");
#ifdef TEST_CUDA
        if (woq_device_get_info(c->device)->backend == WOQ_BACKEND_CUDA) {
            set_input(c, round);
            record_into_stream(c, m);
            compare(c, m, "in a stream");
        }
#endif
    }
    assert_true(differ); /* it has not become one value, infinite or 0 */
}

static void test_chain(void **state)
{
    static const uint32_t rows[] = {1, 8, 20, MOST_M};
    const struct woq_device_params device_params = test_params();
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    const struct woq_buffer_params buffer = {.struct_size = sizeof buffer, .size = sizeof input};
    struct chain c = {0};
    c.device = test_try_open(*state, &device_params);
    assert_non_null(c.device);
    make_weights(&c);
    params.weights = c.weights;
    params.max_m = MOST_M;
    params.x_type = params.y_type = WOQ_F16;
    assert_int_equal(woq_gemm_create(c.device, &params, &c.gemm), WOQ_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(woq_buffer_create(c.device, &buffer, &c.buffers[i]), WOQ_OK);
    c.all = record(&c, LENGTH);
    c.one = record(&c, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check(&c, rows[i]);
    woq_commands_destroy(&c.all);
    woq_commands_destroy(&c.one);
    for (int i = 0; i < 2; i++)
        woq_buffer_destroy(&c.buffers[i]);
    woq_gemm_destroy(&c.gemm);
    woq_weights_destroy(&c.weights);
    assert_true(test_close(&c.device));
}

static void run_on(const char *selector, void *failed)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(test_chain, (void *)(uintptr_t)selector),
    };
    *(int *)failed += cmocka_run_group_tests_name(selector, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return test_main_each(argc, argv, run_on);
}
