/*
 * conformance_design.c: which products are tested.
 *
 * The full product of all parameters has about 10^13 members. Instead, cases are drawn at random
 * and the one of several candidates is kept that brings the most pairs of values not seen together
 * before (the greedy construction of covering arrays: Cohen, Dalal, Fredman, Patton, "The AETG
 * system", 1997).
 */
#include <stdlib.h>
#include <string.h>

#include "conformance.h"
#include "support/data.h"

#define MAX_VALUES 16
#define CANDIDATES 12
#define GROUP_K (UINT64_MAX - 1) /* stands for group = k */

/* Groupings: (group, order) by index. */
static const struct {
    uint64_t group, order;
} groupings[] = {{16, CASE_NO_INDEX},       {32, CASE_NO_INDEX},
                 {64, CASE_NO_INDEX},       {128, CASE_NO_INDEX},
                 {7, CASE_NO_INDEX},        {GROUP_K, CASE_NO_INDEX},
                 {0, CASE_NO_INDEX},        {WOQ_GROUP_TENSOR, CASE_NO_INDEX},
                 {32, CASE_EQUAL_GROUPS},   {16, CASE_UNEVEN_GROUPS},
                 {7, CASE_EQUAL_GROUPS},    {64, CASE_UNEVEN_GROUPS}};

struct axis {
    size_t offset;
    uint32_t count;
    uint64_t values[MAX_VALUES];
};

#define AXIS(field) offsetof(struct test_case, field)
static const struct axis axes[] = {
    {AXIS(code), 4, {WOQ_CODE_U4, WOQ_CODE_U8, WOQ_CODE_F16, WOQ_CODE_BF16}},
    {AXIS(zero), 3, {WOQ_ZERO_SYMMETRIC, WOQ_ZERO_POINT, WOQ_ZERO_OFFSET}},
    {AXIS(scale), 3, {WOQ_F32, WOQ_F16, WOQ_BF16}},
    {AXIS(group), 12, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
    {AXIS(n), 14, {1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257}},
    {AXIS(k), 15, {1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257, 576}},
    {AXIS(m), 11, {1, 2, 3, 7, 8, 9, 16, 17, 33, 65, 130}},
    {AXIS(max_m), 3, {0, 8, 140}},
    {AXIS(x), 3, {WOQ_F32, WOQ_F16, WOQ_BF16}},
    {AXIS(y), 3, {WOQ_F32, WOQ_F16, WOQ_BF16}},
    {AXIS(bias), 4, {WOQ_TYPE_NONE, WOQ_F32, WOQ_F16, WOQ_BF16}},
    {AXIS(residual), 3, {CASE_NO_RESIDUAL, CASE_RESIDUAL, CASE_IN_PLACE}},
    {AXIS(activation), 8, {0, 0, 0, 1, 2, 3, 4, 5}},
    {AXIS(stack), 3, {1, 2, 3}},
    {AXIS(math), 3, {WOQ_MATH_DEFAULT, WOQ_MATH_EXACT, WOQ_MATH_ROUNDED}},
    {AXIS(x_offset), 4, {0, 1, 3, 128}},
    {AXIS(y_offset), 4, {0, 1, 5, 64}},
    {AXIS(x_pad), 4, {0, 0, 1, 8}},
    {AXIS(y_pad), 4, {0, 1, 3, 8}},
    {AXIS(code_pad), 3, {0, 0, 1}},
    {AXIS(data), 3, {CASE_INTEGERS, CASE_RANDOM, CASE_ADVERSARIAL}},
};
#define AXIS_COUNT (sizeof(axes) / sizeof(axes[0]))

struct design {
    struct test_random random;
    bool seen[AXIS_COUNT][MAX_VALUES][AXIS_COUNT][MAX_VALUES];
};

static struct test_case to_case(const uint32_t choice[AXIS_COUNT], uint64_t seed, uint64_t work)
{
    struct test_case c = case_default();
    for (size_t a = 0; a < AXIS_COUNT; a++)
        *(uint64_t *)(void *)((char *)&c + axes[a].offset) = axes[a].values[choice[a]];
    c.order = groupings[c.group].order;
    c.group = groupings[c.group].group;
    if (c.group == GROUP_K)
        c.group = c.k;
    c.seed = seed;
    case_normalize(&c, work);
    return c;
}

static unsigned new_pairs(const struct design *d, const uint32_t choice[AXIS_COUNT])
{
    unsigned count = 0;
    for (size_t a = 0; a < AXIS_COUNT; a++)
        for (size_t b = a + 1; b < AXIS_COUNT; b++)
            count += !d->seen[a][choice[a]][b][choice[b]];
    return count;
}

/* The first `fixed` choices are given. */
static void choose(struct design *d, uint32_t choice[AXIS_COUNT], size_t fixed)
{
    uint32_t best[AXIS_COUNT];
    unsigned most = 0;
    for (int i = 0; i < CANDIDATES; i++) {
        for (size_t a = fixed; a < AXIS_COUNT; a++)
            choice[a] = (uint32_t)random_below(&d->random, axes[a].count);
        const unsigned found = new_pairs(d, choice);
        if (i == 0 || found > most) {
            most = found;
            memcpy(best, choice, sizeof(best));
        }
    }
    memcpy(choice, best, sizeof(best));
    for (size_t a = 0; a < AXIS_COUNT; a++)
        for (size_t b = a + 1; b < AXIS_COUNT; b++)
            d->seen[a][choice[a]][b][choice[b]] = true;
}

bool design_cases(struct test_case *out, size_t count, uint64_t work)
{
    struct design *d = calloc(1, sizeof(*d));
    if (!d)
        return false;
    d->random.state = 2026;
    for (size_t i = 0; i < count; i++) {
        /* a large odd step visits every member of the full product, spread over any prefix */
        const uint32_t member = (uint32_t)(i * 101 % DESIGN_FULL_PRODUCT);
        uint32_t choice[AXIS_COUNT] = {member % 2, member / 2 % 3, member / 6 % 3, member / 18};
        choose(d, choice, i < DESIGN_FULL_PRODUCT ? 4 : 0);
        out[i] = to_case(choice, i, work);
    }
    free(d);
    return true;
}

const char *design_large_case(size_t index)
{
    static const char *const lines[] = {
        "code=u8,zero=point,scale=f16,group=128,n=2051,k=1100,m=3,x=f16,y=f16,data=integers",
        "code=u4,zero=offset,scale=bf16,group=64,n=1100,k=2001,m=2,x=bf16,y=f32,activation=silu_"
        "mul,"
        "bias=f32,data=random",
        "code=u4,zero=point,scale=f32,group=32,order=uneven,n=2500,k=900,m=2,x=f32,y=f32,bias=f16,"
        "data=random,stack=3",
        "code=f16,n=700,k=1000,m=2,x=f16,y=bf16,residual=in_place,y_pad=3,data=random",
        "code=bf16,n=700,k=1000,m=17,x=f32,y=f32,activation=gelu_erf,data=random",
        "code=u8,scale=f32,group=0,n=5,k=3001,m=130,x=f32,y=f32,x_pad=1,x_offset=3,data=random",
        "code=u4,scale=f16,group=16,n=2101,k=17,m=130,x=f16,y=f32,bias=f32,residual=own,y_offset=1,"
        "data=integers",
        "code=u4,zero=symmetric,scale=f16,group=tensor,n=2101,k=18,m=130,x=f16,y=f16,y_pad=1,"
        "residual=in_place,activation=silu_mul,data=random",
        /* few rows of weights and many columns: parts of K */
        "code=u4,zero=point,scale=f16,group=128,n=45,k=16448,m=20,x=f16,y=f16,bias=f16,residual=in_place,"
        "data=random",
        "code=u8,zero=symmetric,scale=f32,group=64,n=40,k=16400,m=19,x=f16,y=f32,y_pad=3,activation=silu_mul,"
        "data=integers",
        "code=u4,zero=symmetric,scale=bf16,group=32,n=260,k=8300,m=50,x=f16,y=bf16,activation=silu_mul,bias=f32,"
        "data=random",
        "code=f16,n=300,k=4200,m=70,x=f16,y=f16,residual=own,data=random",
        /* what is lost of BF16 X that becomes FP16 */
        "code=u4,zero=point,scale=bf16,group=64,n=150,k=1000,m=70,x=bf16,y=f32,x_offset=3,data=outliers",
        "code=u8,zero=symmetric,scale=f32,group=32,order=uneven,n=70,k=900,m=20,x=bf16,y=f32,x_pad=8,data=outliers",
        "code=f16,n=300,k=1001,m=40,x=bf16,y=f32,data=outliers",
    };
    return index < sizeof(lines) / sizeof(lines[0]) ? lines[index] : NULL;
}
