/* conformance_invariant.c: batch_invariant: a row's bits whatever M is and whatever the other rows are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conformance.h"
#include "support/device.h"
#include "support/product.h"

#define MOST 130 /* rows of any case */

static const char *const cases[] = {
    "code=u4,zero=point,scale=f16,group=32,n=65,k=320,m=130,max_m=130,x=f16,y=f16,data=random",
    "code=u4,scale=f16,group=128,n=160,k=1024,m=130,max_m=130,x=f16,y=f32,data=random,math=rounded",
    "code=u8,scale=bf16,group=0,n=48,k=192,m=130,max_m=130,x=bf16,y=f32,data=random,seed=1",
    "code=u4,zero=offset,scale=f32,group=64,order=uneven,n=33,k=129,m=130,max_m=130,x=f32,y=f32,data=random,"
    "activation=gelu_erf,seed=2",
    "code=u4,zero=point,scale=f16,group=64,n=65,k=576,m=130,max_m=130,x=f16,y=f16,data=random,math=fixed16",
    "code=u8,scale=f32,group=0,n=33,k=257,m=130,max_m=130,x=f32,y=f32,data=random,math=fixed16,seed=5",
    "code=f16,n=33,k=129,m=130,max_m=130,x=f16,y=f32,data=random,bias=f32,seed=3",
    /* Rows that are not aligned, unless there is but one; paths for few rows, and for many. */
    "code=u4,zero=point,scale=f16,group=32,n=65,k=100,m=8,max_m=8,x=f16,y=f32,data=random,seed=6",
    "code=u4,scale=f16,group=32,n=65,k=1024,m=8,max_m=8,x=f16,y=f32,x_pad=1,data=random,seed=7",
    "code=u8,scale=f16,group=128,n=65,k=512,m=130,max_m=130,x=f16,y=f32,x_pad=1,data=random,seed=8",
    "code=u8,scale=bf16,group=0,n=48,k=192,m=8,max_m=8,x=bf16,y=f32,data=random,seed=9",
};

/* Rows of the product that run by themselves. */
static const struct {
    uint32_t first, m;
} batches[] = {{0, 1}, {1, 1}, {2, 1}, {129, 1}, {3, 5}, {8, 16}, {17, 33}, {60, 70}};

static uint64_t row_at(const struct test_region *r, uint32_t row)
{
    return r->view.offset + row * (r->view.row_stride ? r->view.row_stride : r->row_bytes);
}

static void run(struct product *p, struct woq_commands *commands, struct woq_binding *bindings, size_t count,
                uint32_t first, uint32_t m)
{
    uint64_t ticket;
    bindings[0].m = m;
    bindings[1].view.offset = row_at(&p->x, first);
    bindings[2].view.offset = row_at(&p->y, first);
    assert_true(region_reset(&p->y));
    assert_true(test_ok(woq_commands_run(commands, bindings, count, &ticket), "woq_commands_run"));
    assert_true(test_ok(woq_commands_wait(commands, ticket, WOQ_FOREVER), "woq_commands_wait"));
    assert_true(region_read(&p->y, "y"));
}

static void check_case(struct woq_device *device, const struct test_case *c)
{
    struct product p;
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    struct woq_gemm *gemm = NULL;
    struct woq_commands *commands = NULL;
    struct woq_binding bindings[5];
    struct woq_explain few = {.struct_size = sizeof few}, many = few;
    size_t count;
    const uint32_t most = (uint32_t)c->m;
    assert_in_range(most, 1, MOST);
    assert_true(product_create(device, c, &p));
    params.weights = p.weights;
    params.max_m = (uint32_t)c->max_m;
    params.x_type = (enum woq_type)c->x;
    params.y_type = (enum woq_type)c->y;
    params.bias_type = (enum woq_type)c->bias;
    params.activation = (enum woq_activation)c->activation;
    params.math = (enum woq_math)c->math;
    params.batch_invariant = true;
    assert_true(test_ok(woq_gemm_create(device, &params, &gemm), "woq_gemm_create"));
    assert_int_equal(woq_gemm_explain(gemm, 1, &few), WOQ_OK);
    assert_int_equal(woq_gemm_explain(gemm, most, &many), WOQ_OK);
    if (c->math != WOQ_MATH_FIXED16) /* whose kernels give the same bits */
        assert_string_equal(few.kernel, many.kernel);
    assert_true(test_ok(woq_commands_create(device, NULL, &commands), "woq_commands_create"));
    assert_true(product_record(&p, gemm, commands, bindings, &count));
    assert_true(test_ok(woq_commands_end(commands), "woq_commands_end"));

    const uint64_t bytes = p.y.row_bytes;
    uint8_t *all = malloc(most * bytes);
    assert_non_null(all);
    run(&p, commands, bindings, count, 0, most);
    assert_true(product_check(&p, many.math));
    for (uint32_t row = 0; row < most; row++)
        memcpy(all + row * bytes, region_row(&p.y, row), bytes);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        if (batches[i].first + batches[i].m > most)
            continue;
        run(&p, commands, bindings, count, batches[i].first, batches[i].m);
        for (uint32_t row = batches[i].first; row < batches[i].first + batches[i].m; row++)
            if (memcmp(all + row * bytes, region_row(&p.y, row), bytes))
                fail_msg("row %u has other bits in a batch of %u from row %u on (kernel %s)", row, batches[i].m,
                         batches[i].first, many.kernel);
    }
    free(all);
    woq_commands_destroy(&commands);
    woq_gemm_destroy(&gemm);
    product_destroy(&p);
}

void conformance_batch_invariant(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test_case c;
        assert_true(case_parse(cases[i], &c));
        if (c.math != WOQ_MATH_FIXED16 || fixed_offered(*state, &c))
            check_case(*state, &c);
    }
}
