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

/* Does the device bind as much as the fewest rows of the weights that can be packed? */
static bool is_bound(const struct woq_device *device, const struct test_case *c)
{
    const uint64_t bits = c->code == WOQ_CODE_U4 ? 4 : c->code == WOQ_CODE_U8 ? 8 : 16;
    return 16 * c->k * bits / 8 < woq_device_get_info(device)->max_binding;
}

/* One case through the variants that are `wanted`, all if NULL. */
static void try_variants(struct woq_device *device, size_t number, const bool *wanted, struct tally *tally)
{
    struct test_case c;
    struct product p;
    char name[WOQ_VARIANT_NAME];
    assert_true(case_parse(cases[number], &c));
    if (!is_bound(device, &c))
        return;
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

/* For work-groups one of whose warps feeds the others (shaders/cuda/mma_fed.cuh): stages that two parts of K share
 * equally or not, or that one of them has alone; spans of each length, groups that end within stages; rows that the
 * last work-group lacks; and what is left to the other loop: no whole stages, X unaligned or gathered, offsets. */
static const char *const fed_cases[] = {
    "code=u4,scale=f16,group=128,n=450,k=2304,x=f16,y=f16,data=random",
    "code=u4,zero=point,scale=f16,group=128,n=450,k=4352,x=f16,y=f32,data=random,x_pad=8",
    "code=u4,zero=point,scale=f16,group=64,n=230,k=1024,x=f16,y=f32,data=integers",
    "code=u4,scale=f16,group=64,n=224,k=256,x=f16,y=f16,data=random",
    "code=u4,zero=point,scale=f16,group=32,n=225,k=1536,x=f16,y=f16,data=random",
    "code=u4,scale=f16,group=32,n=16,k=768,x=f16,y=f32,data=random",
    "code=u4,zero=point,scale=f16,group=96,n=100,k=2304,x=f16,y=f32,data=random",
    "code=u4,zero=point,scale=f16,group=192,n=100,k=2304,x=f16,y=f32,data=random",
    "code=u4,zero=point,scale=f16,group=640,n=100,k=2560,x=f16,y=f32,data=random",
    "code=u4,zero=point,scale=f16,group=0,n=300,k=1280,x=f16,y=f16,bias=f32,residual=in_place,data=random",
    "code=u4,scale=f16,group=tensor,n=300,k=512,x=f16,y=f16,activation=silu_mul,data=random",
    "code=u4,zero=point,scale=bf16,group=128,n=230,k=1280,x=bf16,y=bf16,data=random",
    "code=u4,scale=bf16,group=32,n=230,k=1280,x=bf16,y=f32,data=outliers",
    "code=u4,zero=point,scale=f16,group=64,n=100,k=1024,x=f16,y=f32,data=adversarial,seed=0",
    "code=u4,zero=point,scale=f16,group=64,n=100,k=1024,x=f16,y=f32,data=adversarial,seed=1",
    "code=u4,zero=point,scale=f16,group=64,n=100,k=1024,x=f16,y=f32,data=adversarial,seed=2",
    "code=u4,zero=point,scale=f16,group=64,n=100,k=1024,x=f16,y=f32,data=adversarial,seed=3",
    "code=u4,zero=point,scale=f16,group=64,n=100,k=1024,x=f16,y=f32,data=adversarial,seed=4",
    "code=u4,zero=point,scale=f16,group=64,n=100,k=1024,x=f16,y=f32,data=adversarial,seed=5",
    "code=u4,zero=point,scale=f16,group=128,n=230,k=1216,x=f16,y=f16,data=random",
    "code=u4,scale=f16,group=128,n=230,k=1280,x=f16,y=f16,x_offset=3,data=random",
    "code=u4,zero=point,scale=f16,group=128,order=uneven,n=230,k=1280,x=f16,y=f16,data=random",
    "code=u4,zero=offset,scale=f16,group=128,n=230,k=1280,x=f16,y=f16,data=random",
    "code=u4,zero=point,scale=f32,group=128,n=230,k=1280,x=f16,y=f16,data=random",
};

void conformance_fed(void **state)
{
    struct woq_device *device = *state;
    const struct woq_device_info *info = woq_device_get_info(device);
    unsigned passed = 0, failed = 0;
    if (info->backend != WOQ_BACKEND_CUDA || !(info->features & WOQ_FEATURE_MATRIX) || info->max_workgroup < 448) {
        printf("%s: CUDA's alone, in work-groups of 14 subgroups\n", info->selector);
        skip();
    }
    for (size_t i = 0; i < sizeof fed_cases / sizeof *fed_cases; i++) {
        for (int rows = 0; rows < 2; rows++) {
            char line[256];
            struct test_case c;
            struct product p;
            snprintf(line, sizeof line, "%s,%s", fed_cases[i], rows ? "m=13,max_m=16" : "m=5,max_m=8");
            assert_true(case_parse(line, &c));
            assert_true(product_create(device, &c, &p));
            const enum product_result result =
                product_run(&p, rows ? "skinny/mma_N224M16K2L" : "skinny/mma_N224M8K2L");
            passed += result == PRODUCT_PASSED;
            failed += result == PRODUCT_FAILED;
            product_destroy(&p);
        }
    }
    printf("%s: %u products\n", info->selector, passed);
    assert_int_equal(failed, 0);
    assert_true(passed > sizeof fed_cases / sizeof *fed_cases);
}
