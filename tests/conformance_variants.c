/* conformance_variants.c: every variant that a device offers, also where the planner would not take it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "conformance.h"
#include "support/device.h"
#include "support/product.h"

/* The first ones take longest: columns for any number of parts of K, of several steps, into which K does not divide. */
static const char *const cases[] = {
    "code=u4,zero=point,scale=f16,group=64,n=65,k=4160,m=5,max_m=5,x=f16,y=f32,data=random",
    "code=u8,scale=f16,group=128,n=65,k=4224,m=5,max_m=5,x=f16,y=f32,data=random",
    "code=u4,zero=point,scale=f16,group=128,n=65,k=8320,m=5,max_m=5,x=f16,y=f32,data=random",
    "code=u4,scale=f16,group=32,n=160,k=384,m=17,max_m=17,x=bf16,y=f32,data=random,order=equal,seed=1",
    "code=u8,scale=f16,group=128,n=200,k=256,m=40,max_m=40,x=f16,y=f16,data=integers,bias=f32,seed=2",
    "code=u4,zero=point,scale=f16,group=128,n=96,k=512,m=67,max_m=67,x=f16,y=f16,data=random,math=fixed16,seed=3",
    "code=f16,n=129,k=200,m=9,max_m=9,x=f16,y=f32,data=random,seed=4",
};

#define CASES        (sizeof cases / sizeof *cases)
#define LONG_CASES   3u
#define MAX_VARIANTS 256

struct tally {
    unsigned ran, failed;
    bool seen[MAX_VARIANTS];
};

/* One case through the variants that are `wanted`, all if NULL. */
static void try_variants(struct woq_device *device, size_t number, const bool *wanted, struct tally *tally)
{
    struct test_case c;
    struct product p;
    char name[WOQ_VARIANT_NAME];
    assert_true(case_parse(cases[number], &c));
    assert_true(product_create(device, &c, &p));
    for (uint32_t v = 0; woq_variant_name(v, name); v++) {
        if (wanted && !wanted[v])
            continue;
        const enum product_result result = product_run(&p, name);
        tally->seen[v] = tally->seen[v] || result == PRODUCT_PASSED;
        tally->ran += result != PRODUCT_REFUSED;
        tally->failed += result == PRODUCT_FAILED;
    }
    product_destroy(&p);
}

static void judge(const struct woq_device *device, const struct tally *tally)
{
    unsigned offered = 0;
    for (uint32_t v = 0; v < woq_variant_count(); v++)
        offered += tally->seen[v];
    printf("%s: %u of %u variants, %u products\n", woq_device_get_info(device)->selector, offered,
           woq_variant_count(), tally->ran);
    assert_true(offered > 0); /* floor, at least */
    assert_int_equal(tally->failed, 0);
}

void conformance_variants(void **state)
{
    struct tally tally = {0};
    char name[WOQ_VARIANT_NAME];
    assert_in_range(woq_variant_count(), 1, MAX_VARIANTS);
    assert_false(woq_variant_name(woq_variant_count(), name));
    for (size_t i = 0; i < CASES; i++)
        try_variants(*state, i, NULL, &tally);
    judge(*state, &tally);
}

/* Each variant once, as a driver may take seconds to compile it: first the cases in turn, then any that it takes. The
 * long ones are left out. */
void conformance_few_variants(void **state)
{
    struct tally tally = {0};
    bool wanted[MAX_VARIANTS];
    assert_in_range(woq_variant_count(), 1, MAX_VARIANTS);
    for (int round = 0; round < 2; round++) {
        for (size_t i = LONG_CASES; i < CASES; i++) {
            for (size_t v = 0; v < MAX_VARIANTS; v++)
                wanted[v] = !tally.seen[v] && (round == 1 || v % (CASES - LONG_CASES) == i - LONG_CASES);
            try_variants(*state, i, wanted, &tally);
        }
    }
    judge(*state, &tally);
}
