/*
 * test_expand.c: the schedule of path expand. The reference backend stands for a device with matrix units; its steps
 * are looked at, what they compute is not. (Vulkan adds barriers where windows overlap, and so would hide a place in
 * the workspace that is taken too early.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "support/cases.h"
#include "support/device.h"
#include "support/matrix_device.h"
#include "support/product.h"

static unsigned pieces, products;
static uint64_t columns; /* of Y, in the first slice of M */

static bool takes_all(struct woq_device *device, struct woqi_kernel_key key, char *reason, size_t size)
{
    return key.id == WOQI_KERNEL_MMA || key.id == WOQI_KERNEL_EXPAND ||
           woqi_backend_reference.kernel_probe(device, key, reason, size);
}

static bool overlap(const struct woqi_bind *a, const struct woqi_bind *b)
{
    return a->buffer == b->buffer && a->offset < b->offset + b->size && b->offset < a->offset + a->size;
}

/* What multiplies reads what the phase before has expanded; what expands leaves that alone. */
static enum woq_status look(struct woqi_sequence *sequence, uint32_t instance, const struct woqi_step *steps)
{
    const struct woqi_step *ready = NULL, *fresh = NULL, *last = NULL;
    pieces = products = 0;
    columns = 0;
    for (const struct woqi_step *s = steps; s < steps + sequence->count; s++) {
        if (s->kind == WOQI_STEP_BARRIER) {
            ready = fresh;
            fresh = NULL;
        } else if (s->kernel->key.id == WOQI_KERNEL_EXPAND) {
            assert_null(fresh);
            fresh = s;
            pieces++;
            assert_true(!ready || !overlap(&ready->bind[WOQ_BIND_Y], &s->bind[WOQ_BIND_Y]));
        } else {
            const struct woqi_bind *weights = &s->bind[WOQ_BIND_WEIGHTS];
            assert_non_null(ready);
            assert_memory_equal(weights, &ready->bind[WOQ_BIND_Y], sizeof *weights);
            assert_int_equal(s->args.scale_stride, ready->args.n);
            assert_int_equal(s->args.codes_stride, ready->args.y_stride);
            assert_int_equal(s->args.perm_off, ready->args.n / 16 * ready->args.y_stride);
            columns += ready == last ? 0 : s->args.n;
            last = ready;
            products++;
        }
    }
    assert_null(fresh);
    return woqi_backend_reference.sequence_submit(sequence, instance, steps);
}

static struct woq_device *open_matrix(const char *emulate)
{
    struct woq_device_params params = test_params();
    params.cache_dir = "";
    params.skip_self_test = true;
    params.emulate = emulate;
    return matrix_device_open(&params, takes_all, look);
}

/* The schedule for m rows on a device that binds 64 KiB. */
static void run(const char *line)
{
    struct woq_device *device = open_matrix("max_binding=64K");
    struct woq_gemm *gemm = NULL;
    struct woq_commands *commands = NULL;
    struct woq_binding bindings[5];
    struct test_case c;
    struct product p;
    size_t count;
    struct woq_explain explain = {.struct_size = sizeof explain};
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &p));
    assert_true(product_gemm(&p, "expand", &gemm));
    assert_int_equal(woq_gemm_explain(gemm, (uint32_t)c.m, &explain), WOQ_OK);
    assert_int_equal(woq_commands_create(device, NULL, &commands), WOQ_OK);
    assert_true(product_record(&p, gemm, commands, bindings, &count));
    assert_int_equal(woq_commands_end(commands), WOQ_OK);
    assert_int_equal(woq_commands_run(commands, bindings, count, NULL), WOQ_OK);
    assert_int_equal(columns, c.n);
    assert_int_equal(explain.steps, 2 * pieces + products);
    woq_commands_destroy(&commands);
    woq_gemm_destroy(&gemm);
    product_destroy(&p);
    assert_true(test_close(&device));
}

static void test_one_piece(void **state)
{
    (void)state;
    run("code=u4,zero=point,scale=f16,group=32,n=30,k=257,m=5,max_m=8,x=f16,y=f16,data=integers");
    assert_int_equal(pieces, 1);
    assert_int_equal(products, 1);
}

static void test_many_pieces(void **state)
{
    (void)state;
    run("code=u4,zero=point,scale=f16,group=32,n=300,k=576,m=20,max_m=20,x=f16,y=f16,data=integers");
    assert_int_equal(pieces, 10); /* of 32 rows, 36 KiB */
    run("code=u8,scale=f32,group=64,order=uneven,n=257,k=300,m=200,max_m=200,x=f16,y=f16,activation=silu_mul,"
        "bias=f32,residual=own,data=integers"); /* several tiles, and slices of M */
    assert_true(pieces > 4 && products > pieces);
}

/* The planned path of m of at most max_m rows, in groups of so many columns. */
static const char *planned(struct woq_device *device, unsigned group, unsigned m, unsigned max_m)
{
    static char path[16];
    struct woq_explain explain = {.struct_size = sizeof explain};
    struct woq_gemm *gemm = NULL;
    struct test_case c;
    struct product p;
    char line[128];
    snprintf(line, sizeof line, "code=u4,scale=f16,group=%u,n=64,k=256,m=%u,max_m=%u,x=f16,y=f16,data=integers", group,
             m, max_m);
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &p));
    assert_true(product_gemm(&p, NULL, &gemm));
    assert_int_equal(woq_gemm_explain(gemm, m, &explain), WOQ_OK);
    snprintf(path, sizeof path, "%s", explain.path);
    woq_gemm_destroy(&gemm);
    product_destroy(&p);
    return path;
}

/* The planner prefers it for fine groups from some M on; below, the range of the path it takes ends there. */
static void test_planned(void **state)
{
    struct woq_device *device = open_matrix(NULL);
    (void)state;
    assert_string_equal(planned(device, 32, 2047, 4096), "gemm");
    assert_string_equal(planned(device, 32, 2048, 4096), "expand");
    assert_string_equal(planned(device, 32, 4096, 4096), "expand");
    assert_string_equal(planned(device, 32, 2047, 2047), "gemm");
    assert_string_equal(planned(device, 64, 4096, 4096), "gemm");
    assert_true(test_close(&device));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_piece), cmocka_unit_test(test_many_pieces),
                                       cmocka_unit_test(test_planned)};
    return cmocka_run_group_tests(tests, NULL, NULL) || test_error_count();
}
