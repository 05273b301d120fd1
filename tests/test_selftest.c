/*
 * test_selftest.c: a kernel that lies is found out before it is used. The reference backend stands for a device with
 * matrix units: it is made to pack weights as FRAG16B and to take the matrix kernels, which it computes as it computes
 * everything; the lying one leaves out the last columns. Kernel nv2, whose X another one prepares, lies on a Vulkan
 * device that has it, and coop on an OpenCL device without matrix units, which imitates them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/cases.h"
#include "support/device.h"
#include "support/matrix_device.h"
#include "support/product.h"

static bool lies, expands, prepares; /* expands, prepares: EXPAND, XHALF is there too, and writes nothing */
static unsigned tested; /* dispatches of matrix kernels */

static bool takes_matrix(struct woq_device *device, struct woqi_kernel_key key, char *reason,
                         size_t size)
{
    return key.id == WOQI_KERNEL_MMA || (expands && key.id == WOQI_KERNEL_EXPAND) ||
           (prepares && key.id == WOQI_KERNEL_XHALF) ||
           woqi_backend_reference.kernel_probe(device, key, reason, size);
}

static enum woq_status submit(struct woqi_sequence *sequence, uint32_t instance,
                              const struct woqi_step *steps)
{
    struct woqi_step *copy = malloc(sequence->count * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, steps, sequence->count * sizeof *copy);
    for (uint32_t i = 0; i < sequence->count; i++) {
        const enum woqi_kernel_id id = copy[i].kernel ? copy[i].kernel->key.id : WOQI_KERNEL_FLOOR;
        if (id == WOQI_KERNEL_MMA) {
            copy[i].args.k -= lies ? 8 : 0;
            tested++;
        } else if (id == WOQI_KERNEL_XHALF) {
            copy[i].kind = WOQI_STEP_OFF;
        }
    }
    enum woq_status st = woqi_backend_reference.sequence_submit(sequence, instance, copy);
    free(copy);
    return st;
}

/* The reference device with matrix units; NULL cache: none. */
static struct woq_device *open_matrix(const char *cache, bool skip)
{
    struct woq_device_params params = test_params();
    params.cache_dir = cache;
    params.skip_self_test = skip;
    return matrix_device_open(&params, takes_matrix, submit);
}

/* Runs a product as planned, checks it, and tells the path and the quarantine. */
static void run(struct woq_device *device, const char *line, enum product_result wanted,
                struct woq_explain *explain, char *rejected, size_t size)
{
    struct test_case c;
    struct product p;
    struct woq_gemm *gemm = NULL;
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &p));
    assert_true(product_gemm(&p, NULL, &gemm));
    *explain = (struct woq_explain){.struct_size = sizeof *explain};
    assert_int_equal(woq_gemm_explain(gemm, (uint32_t)c.m, explain), WOQ_OK);
    rejected[0] = 0;
    for (uint32_t i = 0; i < explain->rejected_count; i++)
        if (!strcmp(explain->rejected[i].path, "skinny") && !*rejected)
            snprintf(rejected, size, "%s", explain->rejected[i].reason);
    woq_gemm_destroy(&gemm);
    assert_int_equal(product_run(&p, NULL), wanted);
    product_destroy(&p);
}

static const char few_rows[] = "code=u4,zero=point,scale=f16,group=64,n=65,k=257,m=7,max_m=8,x=f16,y=f32,data=integers";

static void test_honest(void **state)
{
    static const char *const lines[] = {
        few_rows,
        "code=u8,zero=symmetric,scale=f16,group=32,n=33,k=129,m=3,max_m=40,x=f16,y=f16,data=random",
        "code=f16,n=129,k=65,m=17,max_m=32,x=f16,y=f32,activation=silu_mul,data=random",
        "code=u4,zero=symmetric,scale=f16,group=0,n=17,k=576,m=65,max_m=130,x=f16,y=f32,data=random",
        "code=u4,zero=offset,scale=f16,group=32,order=uneven,n=63,k=200,m=9,max_m=9,x=f16,y=f32,data=integers",
    };
    struct woq_explain explain;
    char rejected[256];
    (void)state;
    lies = false;
    struct woq_device *device = open_matrix("", false);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        run(device, lines[i], PRODUCT_PASSED, &explain, rejected, sizeof rejected);
        assert_string_not_equal(explain.path, "floor");
        assert_int_equal(explain.quarantine, 0);
    }
    assert_true(test_close(&device));
}

static char liar[48]; /* what few_rows would run on */

/* The quarantine names the liar once, and runs nothing to know it. */
static void check_quarantine(struct woq_device *device)
{
    struct woq_quarantined all[64];
    size_t count = 0, room = sizeof all / sizeof *all, none = 0, named = 0;
    const unsigned before = tested;
    assert_int_equal(woq_device_quarantine(device, NULL, &count), WOQ_OK);
    assert_int_equal(woq_device_quarantine(device, all, &room), WOQ_OK);
    assert_int_equal(woq_device_quarantine(device, all, &none), WOQ_OK);
    assert_true(count == room && none == 0);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(strstr(all[i].found, "must be"));
        assert_true(!i || strcmp(all[i - 1].kernel, all[i].kernel) < 0);
        named += !strcmp(all[i].kernel, liar);
    }
    assert_int_equal(named, 1);
    assert_int_equal(tested, before);
}

/* `woq devices` with the cache in `base`/woq has a line with the liar and `wanted` in its quarantine. */
static void check_program(const char *base, const char *options, const char *wanted)
{
    const char *program = getenv("WOQ_PROGRAM");
    char command[600], line[512];
    bool quarantine = false, found = false;
    if (!program)
        return;
    snprintf(command, sizeof command, "OCL_ICD_VENDORS=/none VK_DRIVER_FILES=/none XDG_CACHE_HOME=%s '%s' devices %s",
             base, program, options);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    while (fgets(line, sizeof line, out)) {
        quarantine |= strstr(line, "quarantine") != NULL;
        found |= quarantine && strstr(line, liar) && strstr(line, wanted);
    }
    assert_int_equal(pclose(out), 0);
    assert_true(found);
}

static void test_liar(void **state)
{
    struct woq_explain explain;
    char rejected[256], base[] = "/tmp/woq-selftest-XXXXXX", folder[64], command[64];
    size_t count = 1;
    (void)state;
    assert_non_null(mkdtemp(base));
    snprintf(folder, sizeof folder, "%s/woq", base);
    lies = true;
    tested = 0;
    for (int again = 0; again < 2; again++) { /* the second time by the cache */
        struct woq_device *device = open_matrix(folder, false);
        tested = 0;
        if (again)
            check_quarantine(device);
        else
            assert_int_equal(woq_device_quarantine(device, NULL, &count), WOQ_OK);
        assert_int_equal(again ? 1 : count, again);
        run(device, few_rows, PRODUCT_PASSED, &explain, rejected, sizeof rejected);
        assert_int_equal(sscanf(rejected, "kernel %47s failed", liar), 1);
        check_quarantine(device);
        assert_string_equal(explain.path, "floor");
        assert_non_null(strstr(rejected, "failed its self-test"));
        assert_true(explain.quarantine != 0);
        assert_true(again ? tested == 0 : tested > 0);
        assert_true(test_close(&device));
    }
    check_program(base, "", ": y[");
    check_program(base, "--json", "\"kernel\": ");
    snprintf(command, sizeof command, "rm -r %s", base);
    assert_int_equal(system(command), 0);
}

/* Of a path with two kernels the one that lies is found, as the refusal says, and the other one stays: `instead` runs
 * on `taken`. */
static void check_first_kernel(const char *line, const char *path, const char *wanted, const char *instead,
                               const char *taken)
{
    struct woq_explain explain;
    struct test_case c;
    struct product p;
    char rejected[256];
    lies = false;
    struct woq_device *device = open_matrix("", false);
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &p));
    assert_int_equal(product_run(&p, path), PRODUCT_REFUSED);
    assert_non_null(strstr(p.refusal, wanted));
    assert_null(strstr(p.refusal, "kernel mma"));
    product_destroy(&p);
    run(device, instead, PRODUCT_PASSED, &explain, rejected, sizeof rejected);
    assert_string_equal(explain.path, taken);
    assert_true(explain.quarantine != 0);
    assert_true(test_close(&device));
}

static void test_lying_expansion(void **state)
{
    (void)state;
    expands = true;
    check_first_kernel(few_rows, "expand", "kernel expand_u4 failed",
                       "code=f16,n=129,k=65,m=65,max_m=130,x=f16,y=f32,data=random", "gemm");
    expands = false;
}

static void test_lying_preparation(void **state)
{
    static const char few_bf16[] = "code=u4,zero=point,scale=f16,group=64,n=65,k=257,m=20,max_m=20,x=bf16,y=f32,"
                                   "data=integers";
    (void)state;
    prepares = true;
    check_first_kernel(few_bf16, "skinny", "kernel xhalf failed its self-test", few_bf16, "floor");
    prepares = false;
}

/* A device's own kernel that lies. */
struct own_liar {
    const char *selector, *emulate;
    enum woqi_kernel_id id;
    const char *begin; /* of its name */
};

static struct woqi_backend lying_backend; /* a device's own, but for submit */
static woqi_sequence_submit_fn *honest_submit;
static const struct own_liar *own_liar;

static enum woq_status submit_less(struct woqi_sequence *sequence, uint32_t instance, const struct woqi_step *steps)
{
    struct woqi_step *copy = malloc(sequence->count * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, steps, sequence->count * sizeof *copy);
    for (uint32_t i = 0; i < sequence->count; i++)
        if (copy[i].kernel && copy[i].kernel->key.id == own_liar->id) {
            copy[i].args.k -= lies ? 64 : 0;
            tested++;
        }
    enum woq_status st = honest_submit(sequence, instance, copy);
    free(copy);
    return st;
}

/* Plans the product and runs it; the reason for which a kernel in quarantine was passed over, or "". */
static void run_own(struct woq_device *device, struct woq_explain *explain, char *reason, size_t size)
{
    static const char more_rows[] = "code=u4,zero=point,scale=f16,group=64,n=65,k=257,m=40,max_m=40,x=f16,y=f32,"
                                    "data=random";
    struct test_case c;
    struct product p;
    struct woq_gemm *gemm = NULL;
    assert_true(case_parse(more_rows, &c));
    assert_true(product_create(device, &c, &p));
    assert_true(product_gemm(&p, NULL, &gemm));
    *explain = (struct woq_explain){.struct_size = sizeof *explain};
    assert_int_equal(woq_gemm_explain(gemm, (uint32_t)c.m, explain), WOQ_OK);
    reason[0] = 0;
    for (uint32_t i = 0; i < explain->rejected_count; i++)
        if (strstr(explain->rejected[i].reason, "failed its self-test"))
            snprintf(reason, size, "%s", explain->rejected[i].reason);
    woq_gemm_destroy(&gemm);
    assert_int_equal(product_run(&p, NULL), PRODUCT_PASSED);
    product_destroy(&p);
}

static void check_own_liar(const struct own_liar *which)
{
    char refused[64];
    own_liar = which;
    snprintf(refused, sizeof refused, "kernel %s", own_liar->begin);
    for (int again = 0; again < 2; again++) {
        struct woq_device_params params = test_params();
        struct woq_explain explain;
        char reason[256];
        params.cache_dir = "";
        params.emulate = own_liar->emulate;
        struct woq_device *device = test_try_open(own_liar->selector, &params);
        if (!device)
            skip();
        lying_backend = *device->backend;
        honest_submit = lying_backend.sequence_submit;
        lying_backend.sequence_submit = submit_less;
        device->backend = &lying_backend;
        lies = again;
        tested = 0;
        run_own(device, &explain, reason, sizeof reason);
        if (!tested && !again && !test_is_required(own_liar->selector)) {
            printf("SKIPPED: %s does not run %s…\n", own_liar->selector, own_liar->begin);
            assert_true(test_close(&device));
            skip();
        }
        assert_true(tested > 0);
        assert_true(lies == !strncmp(reason, refused, strlen(refused)));
        assert_true(lies == !!strncmp(explain.kernel, own_liar->begin, strlen(own_liar->begin)));
        assert_true(lies == (explain.quarantine != 0));
        assert_true(test_close(&device));
    }
    lies = false;
}

static void test_lying_nv2(void **state)
{
    static const struct own_liar nv2 = {"vulkan:0", "matrix=nv2", WOQI_KERNEL_NV2, "nv2_u4_"};
    (void)state;
    check_own_liar(&nv2);
}

static void test_lying_coop(void **state)
{
    static const struct own_liar coop = {"opencl:0", "gpu,software_matrix", WOQI_KERNEL_COOP, "coop_u4_"};
    (void)state;
    check_own_liar(&coop);
}

/* Who skips the test gets what the kernel gives. */
static void test_skipped(void **state)
{
    struct woq_explain explain;
    char rejected[256];
    (void)state;
    lies = false;
    tested = 0;
    struct woq_device *device = open_matrix("", true);
    run(device, few_rows, PRODUCT_PASSED, &explain, rejected, sizeof rejected);
    assert_string_equal(explain.path, "skinny");
    assert_in_range(tested, 1, 2); /* the product, run twice */
    assert_true(test_close(&device));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_honest), cmocka_unit_test(test_liar),
                                       cmocka_unit_test(test_lying_expansion),
                                       cmocka_unit_test(test_lying_preparation), cmocka_unit_test(test_lying_nv2),
                                       cmocka_unit_test(test_lying_coop), cmocka_unit_test(test_skipped)};
    return cmocka_run_group_tests(tests, NULL, NULL) || test_error_count();
}
