/*
 * test_conformance.c: the conformance suite as a program.
 *
 *     test_conformance [DEVICE]                 the whole suite; DEVICE as WOQ_DEVICE
 *     test_conformance --subset [DEVICE]        fewer and larger products, for lowered limits
 *     test_conformance [--path P] --case 'LINE' one product, as a failure printed it; by this path, it must be there on
 *                                               a device that is required (WOQ_REQUIRE_BACKENDS)
 */
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

int conformance_suite(struct woq_device *device, bool subset)
{
    void (*const products)(void **) = subset ? conformance_few_products : conformance_products;
    void (*const variants)(void **) = subset ? conformance_few_variants : conformance_variants;
    const struct CMUnitTest tests[] = {
        {subset ? "conformance_few_products" : "conformance_products", products, NULL, NULL,
         device},
        cmocka_unit_test_prestate(conformance_fixed, device),
        cmocka_unit_test_prestate(conformance_replay, device),
        cmocka_unit_test_prestate(conformance_paths, device),
        cmocka_unit_test_prestate(conformance_no_allocation, device),
        cmocka_unit_test_prestate(conformance_in_flight, device),
        cmocka_unit_test_prestate(conformance_fences, device),
        cmocka_unit_test_prestate(conformance_timestamps, device),
        cmocka_unit_test_prestate(conformance_chain, device),
        cmocka_unit_test_prestate(conformance_some_without_rows, device),
        cmocka_unit_test_prestate(conformance_independent, device),
        cmocka_unit_test_prestate(conformance_no_rows, device),
        {subset ? "conformance_few_variants" : "conformance_variants", variants, NULL, NULL, device},
        cmocka_unit_test_prestate(conformance_fed, device),
        cmocka_unit_test_prestate(conformance_batch_invariant, device),
        cmocka_unit_test_prestate(conformance_workspace, device),
        cmocka_unit_test_prestate(conformance_mapping, device),
        cmocka_unit_test_prestate(conformance_frozen_bindings, device),
    };
    return cmocka_run_group_tests_name(woq_device_get_info(device)->selector, tests, NULL, NULL);
}

/* lacks: the device has not got the path. */
static int run_one(struct woq_device *device, const char *line, const char *path, bool *lacks)
{
    struct test_case c;
    if (!case_parse(line, &c))
        return 2;
    const enum product_result result = product_test(device, &c, path);
    printf("%s\n", result == PRODUCT_PASSED    ? "passed"
                   : result == PRODUCT_REFUSED ? "refused"
                                               : "FAILED");
    *lacks = result == PRODUCT_REFUSED && path;
    return result == PRODUCT_FAILED;
}

/* A kernel that failed its self-test is passed over, and all products are right without it. The number of them. */
static int count_liars(struct woq_device *device)
{
    struct woq_quarantined first[16];
    size_t count = sizeof first / sizeof *first;
    if (woq_device_quarantine(device, first, &count))
        return 1;
    for (size_t i = 0; i < count; i++)
        fprintf(stderr, "FAILED: in quarantine, maybe since an earlier build (the cache keeps it): %s: %s\n",
                first[i].kernel, first[i].found);
    return (int)count;
}

/* Is what the device lacks a failure? Where it is required, a path is, and of instructions those that the CPU surely
 * has and every driver uses. */
static bool must_have(const struct woq_device *device, const char *path)
{
    const char *emulate = getenv("WOQ_EMULATE");
    return test_is_required(woq_device_get_info(device)->selector) &&
           (path || (test_cpu_has_avx2() && emulate && strstr(emulate, "fixed=avx2")));
}

int main(int argc, char **argv)
{
    const char *selector = NULL, *line = NULL, *path = NULL;
    bool subset = false, lacks = false;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--subset"))
            subset = true;
        else if (!strcmp(argv[i], "--case") && i + 1 < argc)
            line = argv[++i];
        else if (!strcmp(argv[i], "--path") && i + 1 < argc)
            path = strcmp(argv[i + 1], "default") ? argv[i + 1] : NULL, i++;
        else if (argv[i][0] != '-')
            selector = argv[i];
        else {
            fprintf(stderr, "usage: %s [--subset] [--path PATH] [--case LINE] [DEVICE]\n", argv[0]);
            return 2;
        }
    }
    struct woq_device *device = test_open(selector);
    int failed = 0;
    if (line)
        failed = run_one(device, line, path, &lacks);
    else if (!(lacks = fixed_lacks_instructions(device)))
        failed = conformance_suite(device, subset);
    if (lacks && must_have(device, path)) {
        fprintf(stderr, "FAILED: a device that is required must have it\n");
        failed++;
    }
    failed += count_liars(device);
    failed += !test_close(&device);
    if (test_error_count()) {
        fprintf(stderr, "FAILED: %u errors logged\n", test_error_count());
        failed++;
    }
    return failed ? 1 : lacks ? TEST_SKIPPED : 0;
}
