/* test_commands.c: bad arguments and states of commands. Runs on WOQ_DEVICE, or on the reference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/device.h"
#include "support/expect.h"
#include "support/product.h"

/* A product with everything: bias, residual, an F16 Y; m up to 8. */
static const char line[] =
    "code=u4,zero=point,n=24,k=64,m=5,max_m=8,x=f16,y=f16,bias=f32,residual=own,"
    "x_pad=2,y_pad=2,data=integers";

static struct woq_device *dev;
static struct product product;
static struct woq_gemm *gemm;

enum { M, X, Y, BIAS, RESIDUAL, SLOTS };

static struct woq_commands *open_commands(uint32_t slots[SLOTS])
{
    struct woq_commands *c = NULL;
    EXPECT_OK(woq_commands_create(dev, NULL, &c));
    EXPECT_OK(woq_commands_slot_m(c, 8, &slots[M]));
    EXPECT_OK(woq_commands_slot_view(c, WOQ_ACCESS_READ, &slots[X]));
    EXPECT_OK(woq_commands_slot_view(c, WOQ_ACCESS_WRITE, &slots[Y]));
    EXPECT_OK(woq_commands_slot_view(c, WOQ_ACCESS_READ, &slots[BIAS]));
    EXPECT_OK(woq_commands_slot_view(c, WOQ_ACCESS_READ, &slots[RESIDUAL]));
    return c;
}

/* Ended commands with the product in it, and bindings that are right. */
static struct woq_commands *ready_commands(struct woq_binding b[SLOTS])
{
    uint32_t s[SLOTS];
    struct woq_commands *c = open_commands(s);
    EXPECT_OK(woq_commands_gemm(c, gemm, s[M], s[X], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_OK(woq_commands_end(c));
    b[M] = (struct woq_binding){.slot = s[M], .m = 5};
    b[X] = (struct woq_binding){.slot = s[X], .view = product.x.view};
    b[Y] = (struct woq_binding){.slot = s[Y], .view = product.y.view};
    b[BIAS] = (struct woq_binding){.slot = s[BIAS], .view = product.bias.view};
    b[RESIDUAL] = (struct woq_binding){.slot = s[RESIDUAL], .view = product.residual.view};
    return c;
}

static struct woq_device *second_device(void)
{
    const struct woq_device_params params = test_params();
    struct woq_device *d = NULL;
    EXPECT_OK(woq_device_open(woq_device_get_info(dev)->selector, &params, &d));
    return d;
}

static void test_create(void **state)
{
    struct woq_commands_params p = WOQ_COMMANDS_PARAMS_INIT;
    struct woq_commands *c = NULL;
    struct woq_buffer_params memory = WOQ_BUFFER_PARAMS_INIT;
    struct woq_device *other = second_device();
    (void)state;
    EXPECT_BAD("device", woq_commands_create(NULL, &p, &c));
    EXPECT_BAD("out", woq_commands_create(dev, &p, NULL));
    p.struct_size = 4;
    EXPECT_BAD("struct_size", woq_commands_create(dev, &p, &c));
    p.struct_size = sizeof(p) + 16;
    EXPECT_BAD("struct_size", woq_commands_create(dev, &p, &c));
    p.struct_size = sizeof(p);
    p.in_flight = WOQ_MAX_IN_FLIGHT + 1;
    EXPECT_BAD("in_flight", woq_commands_create(dev, &p, &c));
    p.in_flight = WOQ_MAX_IN_FLIGHT;
    EXPECT_OK(woq_commands_create(dev, &p, &c));
    woq_commands_destroy(&c);
    memory.size = 1024;
    EXPECT_OK(woq_buffer_create(dev, &memory, &p.workspace.buffer));
    p.workspace.offset = 128;
    EXPECT_BAD("workspace", woq_commands_create(dev, &p, &c));
    p.workspace.offset = 2048;
    EXPECT_BAD("workspace", woq_commands_create(dev, &p, &c));
    woq_buffer_destroy(&p.workspace.buffer);
    p.workspace.offset = 0;
    EXPECT_OK(woq_buffer_create(other, &memory, &p.workspace.buffer));
    EXPECT_BAD("workspace", woq_commands_create(dev, &p, &c));
    woq_buffer_destroy(&p.workspace.buffer);
    woq_device_destroy(&other);
    assert_null(c);
    woq_commands_destroy(&c);
    woq_commands_destroy(NULL);
    test_expectations_met();
}

static void test_slots(void **state)
{
    uint32_t s[SLOTS], slot = 7;
    struct woq_commands *c = open_commands(s);
    (void)state;
    EXPECT_BAD("commands", woq_commands_slot_m(NULL, 8, &slot));
    EXPECT_BAD("max_m", woq_commands_slot_m(c, 0, &slot));
    EXPECT_BAD("slot", woq_commands_slot_m(c, 8, NULL));
    EXPECT_BAD("commands", woq_commands_slot_view(NULL, WOQ_ACCESS_READ, &slot));
    EXPECT_BAD("access", woq_commands_slot_view(c, (enum woq_access)0, &slot));
    EXPECT_BAD("access", woq_commands_slot_view(c, (enum woq_access)4, &slot));
    EXPECT_BAD("slot", woq_commands_slot_view(c, WOQ_ACCESS_READ, NULL));
    woq_commands_destroy(&c);
    test_expectations_met();
}

static void test_gemm(void **state)
{
    uint32_t s[SLOTS], large;
    struct woq_commands *c = open_commands(s);
    struct woq_device *other = second_device();
    struct product foreign;
    struct woq_gemm *foreign_gemm = NULL;
    (void)state;
    assert_true(product_create(other, &product.c, &foreign));
    assert_true(product_gemm(&foreign, NULL, &foreign_gemm));
    EXPECT_OK(woq_commands_slot_m(c, 9, &large));
#define GEMM(m, x, y, bias, residual) woq_commands_gemm(c, gemm, m, x, y, bias, residual)
    EXPECT_BAD("commands", woq_commands_gemm(NULL, gemm, s[M], s[X], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("gemm", woq_commands_gemm(c, NULL, s[M], s[X], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("device",
               woq_commands_gemm(c, foreign_gemm, s[M], s[X], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("m", GEMM(s[X], s[X], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("m", GEMM(99, s[X], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("9", GEMM(large, s[X], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("x", GEMM(s[M], s[M], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("x", GEMM(s[M], s[Y], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("x", GEMM(s[M], WOQ_NO_SLOT, s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("y", GEMM(s[M], s[X], s[X], s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("y", GEMM(s[M], s[X], 99, s[BIAS], s[RESIDUAL]));
    EXPECT_BAD("bias", GEMM(s[M], s[X], s[Y], WOQ_NO_SLOT, s[RESIDUAL]));
    EXPECT_BAD("bias", GEMM(s[M], s[X], s[Y], s[Y], s[RESIDUAL]));
    EXPECT_BAD("residual", GEMM(s[M], s[X], s[Y], s[BIAS], WOQ_NO_SLOT));
    EXPECT_BAD("residual", GEMM(s[M], s[X], s[Y], s[BIAS], s[M]));
    EXPECT_BAD("residual", GEMM(s[M], s[X], s[Y], s[BIAS], s[Y])); /* y is not readable */
#undef GEMM
    woq_commands_destroy(&c);
    woq_gemm_destroy(&foreign_gemm);
    product_destroy(&foreign);
    woq_device_destroy(&other);

    struct product plain;
    struct test_case without = product.c;
    without.bias = WOQ_TYPE_NONE;
    without.residual = CASE_NO_RESIDUAL;
    assert_true(product_create(dev, &without, &plain));
    assert_true(product_gemm(&plain, NULL, &foreign_gemm));
    c = open_commands(s);
    EXPECT_BAD("bias", woq_commands_gemm(c, foreign_gemm, s[M], s[X], s[Y], s[BIAS], WOQ_NO_SLOT));
    EXPECT_BAD("residual",
               woq_commands_gemm(c, foreign_gemm, s[M], s[X], s[Y], WOQ_NO_SLOT, s[RESIDUAL]));
    woq_commands_destroy(&c);
    woq_gemm_destroy(&foreign_gemm);
    product_destroy(&plain);
    test_expectations_met();
}

static void test_other_operations(void **state)
{
    uint32_t s[SLOTS];
    struct woq_commands *c = open_commands(s);
    (void)state;
    EXPECT_BAD("size", woq_commands_copy(c, s[X], s[Y], 0));
    EXPECT_BAD("size", woq_commands_copy(c, s[X], s[Y], 6));
    EXPECT_BAD("source", woq_commands_copy(c, s[Y], s[Y], 4));
    EXPECT_BAD("source", woq_commands_copy(c, s[M], s[Y], 4));
    EXPECT_BAD("target", woq_commands_copy(c, s[X], s[X], 4));
    EXPECT_BAD("target", woq_commands_copy(c, s[X], 99, 4));
    EXPECT_BAD("commands", woq_commands_copy(NULL, s[X], s[Y], 4));
    EXPECT_BAD("commands", woq_commands_barrier(NULL));
    EXPECT_BAD("commands", woq_commands_timestamp(NULL, 0));
    EXPECT_BAD("commands", woq_commands_end(NULL));
    if (woq_device_get_info(dev)->features & WOQ_FEATURE_TIMESTAMPS) {
        EXPECT_BAD("index", woq_commands_timestamp(c, WOQ_MAX_TIMESTAMPS));
        EXPECT_OK(woq_commands_timestamp(c, 3));
        EXPECT_BAD("index", woq_commands_timestamp(c, 3));
    } else {
        EXPECT(WOQ_ERROR_UNSUPPORTED, NULL, woq_commands_timestamp(c, 0));
    }
    woq_commands_destroy(&c);
    test_expectations_met();
}

static void test_states(void **state)
{
    uint32_t s[SLOTS], slot;
    uint64_t bytes, ns[1];
    const enum woq_status late = WOQ_ERROR_INVALID_STATE;
    struct woq_binding b[SLOTS];
    struct woq_commands *c = open_commands(s);
    (void)state;
    EXPECT(late, NULL, woq_commands_workspace(c, &bytes));
    EXPECT(late, NULL, woq_commands_prepare(c));
    EXPECT(late, NULL, woq_commands_run(c, NULL, 0, NULL));
    EXPECT_OK(woq_commands_end(c));
    EXPECT(late, NULL, woq_commands_end(c));
    EXPECT(late, NULL, woq_commands_slot_m(c, 8, &slot));
    EXPECT(late, NULL, woq_commands_slot_view(c, WOQ_ACCESS_READ, &slot));
    EXPECT(late, NULL, woq_commands_gemm(c, gemm, s[M], s[X], s[Y], s[BIAS], s[RESIDUAL]));
    EXPECT(late, NULL, woq_commands_copy(c, s[X], s[Y], 4));
    EXPECT(late, NULL, woq_commands_barrier(c));
    if (woq_device_get_info(dev)->features & WOQ_FEATURE_TIMESTAMPS)
        EXPECT(late, NULL, woq_commands_timestamp(c, 0));
    EXPECT_BAD("bytes", woq_commands_workspace(c, NULL));
    EXPECT_BAD("commands", woq_commands_workspace(NULL, &bytes));
    EXPECT_BAD("commands", woq_commands_prepare(NULL));
    woq_commands_destroy(&c);

    c = ready_commands(b);
    uint64_t ticket = 9;
    EXPECT_BAD("commands", woq_commands_run(NULL, b, SLOTS, &ticket));
    EXPECT_BAD("bindings", woq_commands_run(c, NULL, SLOTS, &ticket));
    assert_int_equal(ticket, 0);
    EXPECT_BAD("ticket", woq_commands_wait(c, 1, 0));
    EXPECT_OK(woq_commands_run(c, b, SLOTS, &ticket));
    assert_int_equal(ticket, 1);
    EXPECT_BAD("ticket", woq_commands_wait(c, 0, 0));
    EXPECT_BAD("ticket", woq_commands_wait(c, 2, 0));
    EXPECT_BAD("commands", woq_commands_wait(NULL, 1, 0));
    EXPECT_OK(woq_commands_wait(c, 1, WOQ_FOREVER));
    EXPECT_BAD("commands", woq_commands_timestamps(NULL, 1, ns, 1));
    EXPECT_BAD("ns", woq_commands_timestamps(c, 1, NULL, 1));
    EXPECT_BAD("ticket", woq_commands_timestamps(c, 2, ns, 1));
    EXPECT_OK(woq_commands_run(c, NULL, 0, NULL));
    EXPECT_OK(woq_commands_wait(c, 2, WOQ_FOREVER));
    assert_true(product_check(&product, WOQ_MATH_EXACT));
    woq_commands_destroy(&c);
    test_expectations_met();
}

static void test_workspace(void **state)
{
    struct woq_commands_params p = WOQ_COMMANDS_PARAMS_INIT;
    struct woq_buffer_params memory = WOQ_BUFFER_PARAMS_INIT;
    struct product large;
    struct test_case c = product.c;
    struct woq_gemm *g = NULL;
    struct woq_binding b[5];
    struct woq_commands *commands = NULL;
    size_t count;
    uint64_t bytes;
    (void)state;
    c.m = c.max_m = 64;
    assert_true(product_create(dev, &c, &large));
    assert_true(product_gemm(&large, NULL, &g));
    EXPECT_OK(woq_gemm_workspace(g, &bytes));
    if (bytes > 256) {
        char needed[32];
        memory.size = 256;
        snprintf(needed, sizeof(needed), "%llu", (unsigned long long)bytes);
        EXPECT_OK(woq_buffer_create(dev, &memory, &p.workspace.buffer));
        EXPECT_OK(woq_commands_create(dev, &p, &commands));
        assert_true(product_record(&large, g, commands, b, &count));
        EXPECT_BAD(needed, woq_commands_end(commands));
        woq_commands_destroy(&commands);
        woq_buffer_destroy(&p.workspace.buffer);
    }
    woq_gemm_destroy(&g);
    product_destroy(&large);
    test_expectations_met();
}

/* Each line changes one binding of a run that would be right. */
static void test_views(void **state)
{
    struct woq_binding good[SLOTS], b[SLOTS];
    struct woq_buffer_params memory = WOQ_BUFFER_PARAMS_INIT;
    struct woq_device *other = second_device();
    struct woq_buffer *foreign = NULL;
    struct woq_commands *c = ready_commands(good);
    (void)state;
    memory.size = product.x.size;
    EXPECT_OK(woq_buffer_create(other, &memory, &foreign));
    EXPECT_BAD("bound", woq_commands_run(c, good, SLOTS - 1, NULL));
    EXPECT_BAD("bound", woq_commands_run(c, good + 1, SLOTS - 1, NULL));
#define BAD(mention, change)                                                                       \
    memcpy(b, good, sizeof(b)), change, EXPECT_BAD(mention, woq_commands_run(c, b, SLOTS, NULL))
    BAD("slot", b[X].slot = 77);
    BAD("m", b[M].m = 9);
    BAD("bindings[1].view.buffer", b[X].view.buffer = NULL);
    BAD("bindings[1].view.buffer", b[X].view.buffer = foreign);
    BAD("x", b[X].view.offset += 1);
    BAD("x", b[X].view.row_stride += 1);
    BAD("x", b[X].view.row_stride = 126);
    BAD("x", b[X].view.offset = product.x.size - 2);
    BAD("x", b[X].view.offset = UINT64_MAX - 1);
    BAD("x", b[X].view.row_stride = UINT64_MAX - 1);
    BAD("y", b[Y].view.row_stride = 46);
    BAD("y", b[Y].view.offset += 1);
    BAD("y", b[Y].view.offset += 72);
    BAD("bias", b[BIAS].view.offset += 2);
    BAD("bias", b[BIAS].view.offset += 68);
    BAD("residual", b[RESIDUAL].view.offset += 72);
    BAD("residual", b[RESIDUAL].view.row_stride = 2);
    BAD("overlap", b[Y].view = b[X].view);
    BAD("overlap", b[BIAS].view = ((struct woq_view){b[Y].view.buffer, 0, 0}));
#undef BAD
    /* Y and residual of one buffer: one element apart is an overlap, the same view is none. */
    memcpy(b, good, sizeof(b));
    b[RESIDUAL].view = b[Y].view;
    b[RESIDUAL].view.offset -= 2;
    EXPECT_BAD("overlap", woq_commands_run(c, b, SLOTS, NULL));
    b[RESIDUAL].view = b[Y].view;
    EXPECT_OK(woq_commands_run(c, b, SLOTS, NULL));
    woq_commands_destroy(&c);
    woq_buffer_destroy(&foreign);
    woq_device_destroy(&other);
    test_expectations_met();
}

static void test_mapped(void **state)
{
    struct woq_buffer_params memory = WOQ_BUFFER_PARAMS_INIT;
    struct woq_binding b[SLOTS];
    struct woq_buffer *x = NULL;
    void *pointer;
    (void)state;
    if (!(woq_device_get_info(dev)->features & WOQ_FEATURE_HOST_MEMORY))
        return;
    struct woq_commands *c = ready_commands(b);
    memory.size = product.x.size;
    memory.flags = WOQ_BUFFER_HOST_VISIBLE;
    EXPECT_OK(woq_buffer_create(dev, &memory, &x));
    EXPECT_OK(woq_buffer_map(x, &pointer));
    memcpy(pointer, product.x.image, product.x.size);
    b[X].view.buffer = x;
    EXPECT_BAD("mapped", woq_commands_run(c, b, SLOTS, NULL));
    EXPECT_OK(woq_buffer_unmap(x));
    assert_true(region_reset(&product.y));
    EXPECT_OK(woq_commands_run(c, b, SLOTS, NULL));
    EXPECT_OK(woq_commands_wait(c, 1, WOQ_FOREVER));
    assert_true(product_check(&product, WOQ_MATH_EXACT));
    woq_commands_destroy(&c);
    woq_buffer_destroy(&x);
    test_expectations_met();
}

static void test_copy_views(void **state)
{
    uint32_t from_slot, to_slot;
    struct woq_commands *c = NULL;
    struct woq_binding b[2];
    const struct woq_view x = product.x.view, y = product.y.view;
    (void)state;
    EXPECT_OK(woq_commands_create(dev, NULL, &c));
    EXPECT_OK(woq_commands_slot_view(c, WOQ_ACCESS_READ, &from_slot));
    EXPECT_OK(woq_commands_slot_view(c, WOQ_ACCESS_WRITE, &to_slot));
    EXPECT_OK(woq_commands_copy(c, from_slot, to_slot, 64));
    EXPECT_OK(woq_commands_end(c));
#define COPY(from, to)                                                                             \
    (b[0] = (struct woq_binding){.slot = from_slot, .view = from},                                 \
     b[1] = (struct woq_binding){.slot = to_slot, .view = to}, woq_commands_run(c, b, 2, NULL))
#define AT(v, o) ((struct woq_view){(v).buffer, (o), 0})
    EXPECT_BAD("source", COPY(AT(x, 2), AT(y, 0)));
    EXPECT_BAD("target", COPY(AT(x, 0), AT(y, 6)));
    EXPECT_BAD("source", COPY(AT(x, (product.x.size - 60) & ~UINT64_C(3)), AT(y, 0)));
    EXPECT_BAD("target", COPY(AT(x, 0), AT(y, UINT64_MAX - 3)));
    EXPECT_BAD("overlap", COPY(AT(y, 0), AT(y, 60)));
    EXPECT_OK(COPY(AT(y, 64), AT(y, 0)));
    EXPECT_OK(woq_commands_wait(c, 1, WOQ_FOREVER));
#undef COPY
#undef AT
    woq_commands_destroy(&c);
    assert_true(region_reset(&product.y));
    test_expectations_met();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create),     cmocka_unit_test(test_slots),
        cmocka_unit_test(test_gemm),       cmocka_unit_test(test_other_operations),
        cmocka_unit_test(test_states),     cmocka_unit_test(test_workspace),
        cmocka_unit_test(test_views),      cmocka_unit_test(test_mapped),
        cmocka_unit_test(test_copy_views),
    };
    struct test_case c;
    dev = test_open(argc > 1 ? argv[1] : NULL);
    test_expect_errors(true);
    if (!case_parse(line, &c) || !product_create(dev, &c, &product) ||
        !product_gemm(&product, NULL, &gemm))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    woq_gemm_destroy(&gemm);
    product_destroy(&product);
    return !test_close(&dev) || failed || test_error_count();
}
