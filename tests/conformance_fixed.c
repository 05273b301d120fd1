/* conformance_fixed.c: math mode FIXED16: where it is offered, within its bound; elsewhere refused, with a reason. */
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

#define DESIGNED DESIGN_FULL_PRODUCT

static const char *const cases[] = {
    /* one of 65504 among 1e-3, subnormals, zeros, NaN, infinity, blocks of unlike size */
    "code=u4,zero=symmetric,scale=f16,group=128,n=33,k=384,m=12,x=f16,y=f32,data=blocks",
    "code=u4,zero=point,scale=f16,group=32,n=18,k=300,m=7,x=f16,y=f32,data=blocks,seed=1",
    "code=u4,zero=offset,scale=bf16,group=64,n=31,k=576,m=8,x=bf16,y=bf16,data=blocks,seed=2",
    "code=u8,zero=point,scale=f32,group=0,n=17,k=515,m=13,x=f32,y=f32,x_offset=1,data=blocks,seed=3",
    "code=u8,zero=symmetric,scale=f16,group=16,n=16,k=130,m=6,x=f32,y=f32,data=blocks,activation=silu_mul,seed=4",
    "code=u4,zero=point,scale=f32,group=128,order=uneven,n=20,k=700,m=6,x=f16,y=f32,data=blocks,seed=5",
    "code=u8,zero=offset,scale=f16,group=256,n=15,k=900,m=14,x=bf16,y=f32,bias=f32,residual=own,data=blocks,seed=6",
    "code=u4,zero=symmetric,scale=bf16,group=tensor,n=50,k=1000,m=6,x=bf16,y=f32,data=blocks,seed=7",
    /* the least power of two, 2^-112, whose integers are not 0 and whose products are not flushed */
    "code=u4,scale=f16,group=128,n=16,k=128,m=6,x=f32,y=f32,data=blocks",
    /* the largest sums of integers: every code at an end, 128 columns of the largest x */
    "code=u8,zero=point,scale=f16,group=128,n=16,k=256,m=3,x=f16,y=f32,data=adversarial,seed=1",
    "code=u8,zero=point,scale=f16,group=0,n=16,k=1024,m=3,x=f32,y=f32,data=adversarial,seed=3",
    "code=u4,zero=offset,scale=f32,group=8,n=16,k=200,m=3,x=f32,y=f32,data=adversarial,seed=0",
    "code=u4,zero=symmetric,scale=f16,group=128,n=70,k=1152,m=130,x=f16,y=f16,x_pad=1,data=random,seed=8",
    "code=u8,zero=symmetric,scale=f16,group=128,n=300,k=260,m=67,x=bf16,y=f16,y_pad=3,data=random,seed=9",
    /* one row: panels in fours, which are not whole */
    "code=u4,zero=offset,scale=f32,group=32,n=81,k=203,m=1,x=f16,y=f32,data=blocks,seed=14",
    "code=u8,zero=point,scale=bf16,group=64,n=37,k=324,m=1,x=f16,y=f32,data=blocks,activation=silu_mul,seed=15",
    "code=u8,zero=offset,scale=f16,group=128,n=65,k=300,m=1,x=bf16,y=f32,data=blocks,seed=16",
    "code=u4,zero=point,scale=f16,group=128,n=100,k=640,m=1,x=f32,y=f32,data=adversarial,seed=5",
    /* many rows, in parts and in groups of every size; panels that fill no tile */
    "code=u4,zero=point,scale=f16,group=32,n=70,k=300,m=40,x=f16,y=f32,data=blocks,seed=10",
    "code=u8,zero=offset,scale=bf16,group=8,n=129,k=200,m=131,x=bf16,y=f32,bias=f32,residual=own,data=blocks,seed=11",
    "code=u4,zero=symmetric,scale=f32,group=256,n=97,k=515,m=260,x=f32,y=f32,data=blocks,seed=12",
    "code=u8,zero=point,scale=f16,group=64,n=43,k=321,m=77,x=f16,y=f16,data=blocks,activation=silu_mul,seed=13",
    "code=u8,zero=point,scale=f16,group=128,n=64,k=256,m=70,x=f16,y=f32,data=adversarial,seed=2",
    "code=u4,zero=point,scale=f16,group=0,n=80,k=1024,m=66,x=f32,y=f32,data=adversarial,seed=4",
};

bool fixed_lacks_instructions(struct woq_device *device)
{
    const char *emulate = getenv("WOQ_EMULATE");
    struct product p;
    struct test_case c = case_default();
    if (!emulate || !strstr(emulate, "fixed="))
        return false;
    c.math = WOQ_MATH_FIXED16;
    assert_true(product_create(device, &c, &p));
    const enum product_result result = product_run(&p, NULL);
    const bool lacks = result == PRODUCT_REFUSED && strstr(p.refusal, "has no ");
    if (lacks)
        printf("fixed16: %s\n", p.refusal);
    product_destroy(&p);
    return lacks;
}

bool fixed_offered(struct woq_device *device, const struct test_case *c)
{
    const struct woq_device_info *info = woq_device_get_info(device);
    const bool whole = c->group == WOQ_GROUP_CHANNEL || c->group == WOQ_GROUP_TENSOR || c->group >= c->k;
    return info->kind == WOQ_DEVICE_KIND_CPU &&
           (info->backend == WOQ_BACKEND_REFERENCE || info->backend == WOQ_BACKEND_OPENCL) &&
           (whole || c->group % 128 == 0 || (c->group >= 8 && 128 % c->group == 0));
}

struct tally {
    unsigned ran, refused, failed;
};

static void try_case(struct woq_device *device, const struct test_case *c, struct tally *t)
{
    static const char *const paths[] = {NULL, "gemm", "floor"};
    const bool can = fixed_offered(device, c);
    struct product p;
    if (!product_create(device, c, &p)) {
        t->failed++;
        return;
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const bool wanted = can && i < 2;
        switch (product_run(&p, paths[i])) {
        case PRODUCT_PASSED:
            t->ran++;
            t->failed += !wanted;
            break;
        case PRODUCT_REFUSED:
            t->refused++;
            if (wanted || (i != 1 && !strstr(p.refusal, "fixed16"))) {
                fprintf(stderr, "refused: %s\n", p.refusal);
                t->failed++;
            }
            break;
        case PRODUCT_FAILED: t->ran++, t->failed++; break;
        }
    }
    product_destroy(&p);
}

static bool fits(const struct woq_device_info *info, const struct test_case *c)
{
    return c->m * (c->k + c->x_pad) * 4 + 1024 <= info->max_allocation &&
           c->m * (c->n + c->y_pad) * 4 + 1024 <= info->max_allocation && 72 * c->k <= info->max_binding;
}

void conformance_fixed(void **state)
{
    struct woq_device *device = *state;
    const struct woq_device_info *info = woq_device_get_info(device);
    struct tally t = {0, 0, 0};
    struct test_case *designed = calloc(DESIGNED, sizeof *designed);
    assert_non_null(designed);
    assert_true(design_cases(designed, DESIGNED, 200000));
    for (size_t i = 0; i < DESIGNED && t.failed < 5; i++) {
        designed[i].math = WOQ_MATH_FIXED16;
        if (fits(info, &designed[i]))
            try_case(device, &designed[i], &t);
    }
    free(designed);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test_case c;
        assert_true(case_parse(cases[i], &c));
        c.math = WOQ_MATH_FIXED16;
        if (fits(info, &c))
            try_case(device, &c, &t);
    }
    printf("%s fixed16: %u cases, %u refused, %u failed\n", info->selector, t.ran, t.refused, t.failed);
    assert_int_equal(t.failed, 0);
}
