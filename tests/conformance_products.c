/* conformance_products.c: every designed case through every path of the device. */
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

#define MAX_PATHS 32
#define MAX_FAILURES 5 /* of a path, then it is left alone */

struct tally {
    unsigned ran, refused, failed;
    char refusal[256]; /* the last */
};

/* Entry `count` of the tallies is the planner's own choice. */
struct run {
    struct woq_device *device;
    uint32_t paths;
    struct tally tally[MAX_PATHS + 1];
};

/* Must the path take the product? On CPUs OpenCL's gemv takes any of 8 rows at most, gemm any; but what math mode
 * ROUNDED may refuse. */
static bool is_promised(const struct product *p, const char *path)
{
    const struct woq_device_info *info = woq_device_get_info(p->device);
    if (!path || info->backend != WOQ_BACKEND_OPENCL || info->kind != WOQ_DEVICE_KIND_CPU ||
        (p->c.math == WOQ_MATH_ROUNDED && p->c.x == WOQ_F16 && p->safety != ORACLE_SAFE))
        return false;
    return !strcmp(path, "gemm") || (!strcmp(path, "gemv") && p->c.max_m <= 8);
}

static void try_case(struct run *r, const struct test_case *c)
{
    struct product p;
    if (!product_create(r->device, c, &p)) {
        r->tally[r->paths].failed++;
        return;
    }
    for (uint32_t i = 0; i <= r->paths; i++) {
        struct tally *t = &r->tally[i];
        if (t->failed >= MAX_FAILURES || (i == r->paths && c->seed % 2))
            continue;
        const char *path = i < r->paths ? woq_path_name(i) : NULL;
        switch (product_run(&p, path)) {
        case PRODUCT_PASSED: t->ran++; break;
        case PRODUCT_FAILED: t->ran++, t->failed++; break;
        case PRODUCT_REFUSED:
            t->refused++;
            memcpy(t->refusal, p.refusal, sizeof(t->refusal));
            if (is_promised(&p, path)) {
                char line[512];
                case_format(c, line, sizeof line);
                fprintf(stderr, "%s refused what it is for: %s: %s\n", path, line, p.refusal);
                t->failed++;
            }
            break;
        }
    }
    product_destroy(&p);
}

static bool fits(struct woq_device *device, const struct test_case *c)
{
    const struct woq_device_info *info = woq_device_get_info(device);
    const uint64_t limit = info->max_allocation;
    const uint64_t x = c->m * (c->k + c->x_pad) * 4, y = c->m * (c->n + c->y_pad) * 4;
    const uint64_t strips = 32 * c->k * 2; /* gate and up, packed, of 16 bits at most */
    return x + 1024 <= limit && y + 1024 <= limit && strips + strips / 8 <= info->max_binding;
}

static void try_large_cases(struct run *r)
{
    const char *line;
    for (size_t i = 0; (line = design_large_case(i)) != NULL; i++) {
        struct test_case c;
        assert_true(case_parse(line, &c));
        c.seed = 2 * i + 1; /* odd: not for the planner, whose choice is one of the paths */
        if (fits(r->device, &c))
            try_case(r, &c);
    }
}

/* What a device may flush, and no more. */
static const char *const subnormal_cases[] = {
    "code=u8,zero=point,scale=f32,group=0,n=33,k=200,m=3,x=f32,y=f32,math=exact",
    "code=u4,zero=offset,scale=f32,group=32,n=33,k=130,m=9,x=f32,y=f32,math=exact",
    "code=u8,zero=symmetric,scale=bf16,group=64,n=33,k=130,m=3,x=bf16,y=f32,math=exact",
    "code=u8,zero=point,scale=bf16,group=128,n=33,k=260,m=9,x=bf16,y=f32,math=rounded",
    "code=u4,zero=offset,scale=bf16,group=32,n=33,k=64,m=3,x=bf16,y=bf16,math=rounded",
    "code=u8,zero=offset,scale=f32,group=0,n=33,k=130,m=9,x=f32,y=f32,math=rounded",
    "code=u4,zero=point,scale=f16,group=32,n=33,k=64,m=9,x=f16,y=f32,math=exact",
    "code=bf16,n=33,k=130,m=9,x=bf16,y=f32,math=exact",
    "code=f16,n=33,k=130,m=3,x=f32,y=f32,math=exact",
};

static void try_subnormal_cases(struct run *r)
{
    for (size_t i = 0; i < 2 * sizeof subnormal_cases / sizeof *subnormal_cases; i++) {
        struct test_case c;
        assert_true(case_parse(subnormal_cases[i / 2], &c));
        c.data = CASE_SUBNORMAL;
        c.seed = i;
        try_case(r, &c);
    }
}

static void report(const struct run *r)
{
    const char *selector = woq_device_get_info(r->device)->selector;
    unsigned failed = 0, ran = 0;
    for (uint32_t i = 0; i <= r->paths; i++) {
        const struct tally *t = &r->tally[i];
        const char *name = i < r->paths ? woq_path_name(i) : "(planner)";
        printf("%s %s: %u cases, %u failed", selector, name, t->ran, t->failed);
        if (t->refused)
            printf(", %u refused, last: %s", t->refused, t->refusal);
        printf("\n");
        failed += t->failed;
        ran += t->ran;
        if (i < r->paths && !strcmp(name, "floor"))
            assert_true(t->ran > 0);
    }
    assert_true(ran > 0);
    assert_int_equal(failed, 0);
}

static void run_cases(struct woq_device *device, size_t count, uint64_t work, bool large)
{
    struct run r = {.device = device, .paths = woq_path_count()};
    struct test_case *cases = calloc(count, sizeof(*cases));
    assert_non_null(cases);
    assert_in_range(r.paths, 1, MAX_PATHS);
    assert_true(design_cases(cases, count, work));
    for (size_t i = 0; i < count; i++)
        if (fits(device, &cases[i]))
            try_case(&r, &cases[i]);
    free(cases);
    try_subnormal_cases(&r);
    if (large)
        try_large_cases(&r);
    report(&r);
}

void conformance_products(void **state)
{
    run_cases(*state, DESIGN_FULL_PRODUCT + 344, 1000000, false);
}

void conformance_few_products(void **state)
{
    run_cases(*state, 40, 200000, true);
}
