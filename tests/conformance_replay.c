/* conformance_replay.c: one recording, run with other M, buffers, offsets and strides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conformance.h"
#include "support/device.h"
#include "support/product.h"

/* Recordings to replay: with bias, residual, gated, index and tiles of M among them. */
static const char *const recordings[] = {
    "code=u4,zero=point,scale=f16,group=16,n=65,k=129,max_m=130,x=f16,y=f16,bias=f32,data=random",
    "code=u8,zero=offset,scale=f32,group=32,order=uneven,n=33,k=65,max_m=130,x=f32,y=f32,"
    "residual=own,activation=gelu_tanh,data=random,seed=1",
    "code=u4,scale=bf16,group=0,n=17,k=64,max_m=130,x=bf16,y=f16,residual=in_place,bias=bf16,"
    "activation=silu_mul,data=random,seed=3",
    "code=bf16,n=31,k=48,max_m=130,x=f32,y=bf16,stack=2,data=random",
};
#define RECORDINGS (sizeof(recordings) / sizeof(recordings[0]))

static const struct {
    uint64_t m, x_offset, y_offset, x_pad, y_pad;
} variants[] = {{1, 0, 0, 0, 0},    {130, 1, 3, 8, 1}, {7, 3, 0, 0, 5},  {8, 0, 1, 1, 0},
                {9, 128, 64, 3, 3}, {33, 1, 1, 1, 1},  {64, 0, 0, 0, 0}, {2, 5, 7, 0, 2},
                {1, 0, 0, 0, 0}};
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

/* Same seed, same weights: only X, Y and the views differ. */
static void create_variant(struct woq_device *device, const struct test_case *base, size_t i,
                           struct product *out)
{
    struct test_case c = *base;
    c.m = variants[i].m;
    c.x_offset = variants[i].x_offset;
    c.y_offset = variants[i].y_offset;
    c.x_pad = variants[i].x_pad;
    c.y_pad = variants[i].y_pad;
    assert_true(product_create(device, &c, out));
}

/* Puts the product's views and M into bindings made by product_record for another product. */
static void rebind(const struct product *p, struct woq_binding *bindings, size_t count)
{
    size_t at = 0;
    bindings[at++].m = (uint32_t)p->c.m;
    bindings[at++].view = p->x.view;
    bindings[at++].view = p->y.view;
    if (p->c.bias)
        bindings[at++].view = p->bias.view;
    if (at < count)
        bindings[at].view = p->c.residual == CASE_IN_PLACE ? p->y.view : p->residual.view;
}

static void run_and_wait(struct woq_commands *commands, const struct woq_binding *bindings,
                         size_t count)
{
    uint64_t ticket;
    assert_true(test_ok(woq_commands_run(commands, bindings, count, &ticket), "woq_commands_run"));
    assert_true(test_ok(woq_commands_wait(commands, ticket, WOQ_FOREVER), "woq_commands_wait"));
}

static struct woq_commands *record(struct product *p, struct woq_gemm *gemm,
                                   struct woq_binding bindings[5], size_t *count)
{
    struct woq_commands *commands = NULL;
    assert_true(test_ok(woq_commands_create(p->device, NULL, &commands), "woq_commands_create"));
    assert_true(product_record(p, gemm, commands, bindings, count));
    assert_true(test_ok(woq_commands_end(commands), "woq_commands_end"));
    return commands;
}

static enum woq_math math_of(const struct woq_gemm *gemm, uint64_t m)
{
    struct woq_explain e = {.struct_size = sizeof(e)};
    assert_int_equal(woq_gemm_explain(gemm, (uint32_t)m, &e), WOQ_OK);
    return e.math;
}

static void replay_one(struct woq_device *device, const char *line)
{
    struct test_case base;
    struct product first;
    struct woq_gemm *gemm = NULL;
    struct woq_binding bindings[5], fresh_bindings[5];
    size_t count, fresh_count;
    assert_true(case_parse(line, &base));
    create_variant(device, &base, 0, &first);
    assert_true(product_gemm(&first, NULL, &gemm));
    struct woq_commands *replayed = record(&first, gemm, bindings, &count);
    for (size_t i = 0; i < VARIANTS; i++) {
        struct product p;
        create_variant(device, &base, i, &p);
        struct woq_commands *fresh = record(&p, gemm, fresh_bindings, &fresh_count);
        run_and_wait(fresh, fresh_bindings, fresh_count);
        woq_commands_destroy(&fresh);
        assert_true(product_check(&p, math_of(gemm, p.c.m)));
        uint8_t *bits = malloc(p.y.size);
        assert_non_null(bits);
        memcpy(bits, p.y.actual, p.y.size);
        assert_true(region_reset(&p.y));
        rebind(&p, bindings, count);
        run_and_wait(replayed, bindings, count);
        assert_true(region_read(&p.y, "y, replayed"));
        assert_memory_equal(bits, p.y.actual, p.y.size);
        free(bits);
        product_destroy(&p);
    }
    woq_commands_destroy(&replayed);
    woq_gemm_destroy(&gemm);
    product_destroy(&first);
}

void conformance_replay(void **state)
{
    for (size_t i = 0; i < RECORDINGS; i++)
        replay_one(*state, recordings[i]);
}

/* For every path: two products at once and a third behind a barrier, which takes the workspace of those before. */
#define PHASED ((size_t)3)
static const char *const phased[][PHASED] = {
    {"code=u4,zero=point,scale=f16,group=16,n=130,k=257,max_m=130,x=f16,y=f16,bias=f32,data=integers",
     "code=u8,zero=symmetric,scale=f32,group=32,order=uneven,n=33,k=129,max_m=130,x=f16,y=f32,residual=own,"
     "activation=gelu_tanh,data=integers,seed=1",
     "code=u4,zero=point,scale=bf16,group=7,n=65,k=129,max_m=130,x=f16,y=f16,bias=bf16,"
     "activation=silu_mul,data=integers,seed=3"},
    {"code=u4,zero=point,scale=f16,group=64,n=130,k=257,max_m=130,x=bf16,y=bf16,bias=f32,data=integers",
     "code=u8,zero=symmetric,scale=f32,group=32,order=uneven,n=33,k=129,max_m=130,x=bf16,y=f32,residual=own,"
     "activation=gelu_tanh,data=integers,seed=1",
     "code=f16,n=65,k=129,max_m=130,x=bf16,y=f16,activation=silu_mul,data=integers,seed=3"},
};

/* Each product with an M and views of its own. */
static void run_phased(struct woq_device *device, const char *const *lines, struct woq_commands *commands,
                       struct woq_gemm *const *gemms, struct woq_binding bindings[PHASED][5],
                       const size_t *counts, size_t variant)
{
    struct product p[PHASED];
    struct woq_binding all[PHASED * 5];
    size_t count = 0;
    for (size_t j = 0; j < PHASED; j++) {
        struct test_case base;
        assert_true(case_parse(lines[j], &base));
        create_variant(device, &base, (variant + 4 * j) % VARIANTS, &p[j]);
        rebind(&p[j], bindings[j], counts[j]);
        for (size_t i = 0; i < counts[j]; i++)
            all[count++] = bindings[j][i];
    }
    run_and_wait(commands, all, count);
    for (size_t j = 0; j < PHASED; j++) {
        assert_true(product_check(&p[j], math_of(gemms[j], p[j].c.m)));
        product_destroy(&p[j]);
    }
}

static void replay_path(struct woq_device *device, const char *path, const char *const *lines)
{
    struct product first[PHASED];
    struct woq_gemm *gemms[PHASED] = {NULL};
    struct woq_commands *commands = NULL;
    struct woq_binding bindings[PHASED][5];
    size_t counts[PHASED], taken = 0;
    uint64_t apart[2] = {0, 0}, bytes; /* before and behind the barrier */
    for (size_t j = 0; j < PHASED; j++) {
        struct test_case base;
        assert_true(case_parse(lines[j], &base));
        create_variant(device, &base, 0, &first[j]);
        const enum product_result result = product_run(&first[j], path);
        assert_int_not_equal(result, PRODUCT_FAILED);
        taken += result == PRODUCT_PASSED;
    }
    printf("%s %s: %zu of %zu products\n", woq_device_get_info(device)->selector, path, taken, PHASED);
    if (taken == PHASED) {
        assert_true(test_ok(woq_commands_create(device, NULL, &commands), "woq_commands_create"));
        for (size_t j = 0; j < PHASED; j++) {
            assert_true(product_gemm(&first[j], path, &gemms[j]));
            if (j + 1 == PHASED)
                assert_int_equal(woq_commands_barrier(commands), WOQ_OK);
            assert_true(product_record(&first[j], gemms[j], commands, bindings[j], &counts[j]));
            assert_int_equal(woq_gemm_workspace(gemms[j], &bytes), WOQ_OK);
            apart[j + 1 == PHASED] += bytes;
        }
        assert_true(test_ok(woq_commands_end(commands), "woq_commands_end"));
        assert_int_equal(woq_commands_workspace(commands, &bytes), WOQ_OK);
        assert_true(!apart[0] || !apart[1] || bytes < apart[0] + apart[1]);
        for (size_t i = 0; i < VARIANTS; i++)
            run_phased(device, lines, commands, gemms, bindings, counts, i);
    }
    woq_commands_destroy(&commands);
    for (size_t j = 0; j < PHASED; j++) {
        woq_gemm_destroy(&gemms[j]);
        product_destroy(&first[j]);
    }
}

void conformance_paths(void **state)
{
    for (uint32_t i = 0; i < woq_path_count(); i++)
        for (size_t j = 0; j < sizeof(phased) / sizeof(phased[0]); j++)
            replay_path(*state, woq_path_name(i), phased[j]);
}

void conformance_no_allocation(void **state)
{
    enum { RUNS = 1000 };
    struct test_case base;
    struct product products[VARIANTS];
    struct woq_gemm *gemm = NULL;
    struct woq_binding bindings[5];
    size_t count;
    assert_true(case_parse(recordings[0], &base));
    for (size_t i = 0; i < VARIANTS; i++)
        create_variant(*state, &base, i, &products[i]);
    assert_true(product_gemm(&products[0], NULL, &gemm));
    struct woq_commands *commands = record(&products[0], gemm, bindings, &count);
    const enum woq_status prepared = woq_commands_prepare(commands);
    assert_true(prepared == WOQ_OK || prepared == WOQ_ERROR_UNSUPPORTED);
    uint64_t allocations = 0;
    for (size_t i = 0; i < VARIANTS + RUNS; i++) {
        if (i == VARIANTS) /* each class has run once */
            allocations = test_heap_count(test_main_heap());
        rebind(&products[i % VARIANTS], bindings, count);
        run_and_wait(commands, bindings, count);
    }
    assert_int_equal(test_heap_count(test_main_heap()), allocations);
    for (size_t i = 0; i < VARIANTS; i++) {
        assert_true(product_check(&products[i], math_of(gemm, products[i].c.m)));
        product_destroy(&products[i]);
    }
    woq_commands_destroy(&commands);
    woq_gemm_destroy(&gemm);
}

void conformance_no_rows(void **state)
{
    for (size_t i = 0; i < RECORDINGS; i++) {
        struct test_case base;
        struct product p;
        struct woq_gemm *gemm = NULL;
        struct woq_binding bindings[5];
        size_t count;
        assert_true(case_parse(recordings[i], &base));
        create_variant(*state, &base, 2, &p);
        assert_true(product_gemm(&p, NULL, &gemm));
        struct woq_commands *commands = record(&p, gemm, bindings, &count);
        bindings[0].m = 0;
        run_and_wait(commands, bindings, count);
        assert_true(region_unchanged(&p.y, "y, m = 0"));
        bindings[0].m = (uint32_t)p.c.m;
        run_and_wait(commands, bindings, 1);
        assert_true(product_check(&p, math_of(gemm, p.c.m)));
        woq_commands_destroy(&commands);
        woq_gemm_destroy(&gemm);
        product_destroy(&p);
    }
}

/* What a slot was bound to stays, and a refused run changes nothing. */
void conformance_frozen_bindings(void **state)
{
    struct test_case base;
    struct product a, b;
    struct woq_gemm *gemm = NULL;
    struct woq_binding bindings[5];
    size_t count;
    assert_true(case_parse(recordings[0], &base));
    create_variant(*state, &base, 2, &a);
    create_variant(*state, &base, 5, &b);
    assert_true(product_gemm(&a, NULL, &gemm));
    struct woq_commands *commands = record(&a, gemm, bindings, &count);
    run_and_wait(commands, bindings, count);
    assert_true(product_check(&a, math_of(gemm, a.c.m)));
    rebind(&b, bindings, count);
    bindings[0].m = 131;
    test_expect_errors(true);
    assert_int_equal(woq_commands_run(commands, bindings, count, NULL), WOQ_ERROR_INVALID_ARGUMENT);
    test_expect_errors(false);
    assert_true(region_reset(&a.y));
    run_and_wait(commands, NULL, 0);
    assert_true(product_check(&a, math_of(gemm, a.c.m)));
    assert_true(region_unchanged(&b.y, "y of the refused run"));
    bindings[0].m = (uint32_t)b.c.m;
    run_and_wait(commands, bindings, count);
    assert_true(product_check(&b, math_of(gemm, b.c.m)));
    woq_commands_destroy(&commands);
    woq_gemm_destroy(&gemm);
    product_destroy(&a);
    product_destroy(&b);
}
