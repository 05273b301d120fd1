/* test_api.c: bad arguments of devices and buffers: the status, and a message that names the
 * argument. Runs on WOQ_DEVICE, or on the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <woq/command.h>

#include "support/device.h"
#include "support/expect.h"

#define UNKNOWN 77

static struct woq_device *dev;

/* ---- devices ---- */

static void test_selectors(void **state)
{
    static const char *const malformed[] = {
        "vulcan",     "opencl:x",     "reference:",
        ":",          "reference:-1", "Reference",
        "vulkan:0:0", "reference 0",  "opencl:99999999999999999999"};
    struct woq_device *d = (struct woq_device *)(void *)&d;
    (void)state;
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        EXPECT_BAD(malformed[i], woq_device_open(malformed[i], NULL, &d));
        assert_null(d);
    }
    EXPECT_BAD("out", woq_device_open("reference", NULL, NULL));
    EXPECT(WOQ_ERROR_NO_DEVICE, "7", woq_device_open("reference:7", NULL, &d));
    EXPECT(WOQ_ERROR_NO_DEVICE, NULL, woq_device_open_index(WOQ_BACKEND_REFERENCE, 7, NULL, &d));
    EXPECT_BAD("backend", woq_device_open_index(WOQ_BACKEND_NONE, 0, NULL, &d));
    EXPECT_BAD("backend", woq_device_open_index((enum woq_backend)UNKNOWN, 0, NULL, &d));
    EXPECT_BAD("out", woq_device_open_index(WOQ_BACKEND_REFERENCE, 0, NULL, NULL));

    const char *before = getenv("WOQ_DEVICE");
    char *saved = before ? strdup(before) : NULL;
    setenv("WOQ_DEVICE", "gpu!", 1);
    EXPECT_BAD("gpu!", woq_device_open(NULL, NULL, &d));
    setenv("WOQ_DEVICE", "reference", 1);
    EXPECT_OK(woq_device_open(NULL, NULL, &d));
    assert_int_equal(woq_device_get_info(d)->backend, WOQ_BACKEND_REFERENCE);
    woq_device_destroy(&d);
    assert_null(d);
    if (saved)
        setenv("WOQ_DEVICE", saved, 1);
    else
        unsetenv("WOQ_DEVICE");
    free(saved);
    EXPECT_OK(woq_device_open("best", NULL, &d));
    woq_device_destroy(&d);
    woq_device_destroy(&d);
    woq_device_destroy(NULL);
    test_expectations_met();
}

static void test_device_params(void **state)
{
    struct woq_device_params p = WOQ_DEVICE_PARAMS_INIT;
    struct woq_allocator allocator = {NULL, NULL, NULL};
    struct woq_device *d = NULL;
    size_t count = 0;
    (void)state;
    p.struct_size = 0;
    EXPECT_BAD("struct_size", woq_device_open("reference", &p, &d));
    p.struct_size = sizeof(p) - 8;
    EXPECT_BAD("struct_size", woq_device_open("reference", &p, &d));
    p.struct_size = sizeof(p) + 8;
    EXPECT_BAD("struct_size", woq_device_open("reference", &p, &d));
    EXPECT_BAD("struct_size", woq_devices_list(&p, NULL, &count));
    p.struct_size = sizeof(p);
    p.log_level = (enum woq_log_level)UNKNOWN;
    EXPECT_BAD("log_level", woq_device_open("reference", &p, &d));
    p.log_level = (enum woq_log_level)0;
    p.allocator = &allocator;
    EXPECT_BAD("allocator", woq_device_open("reference", &p, &d));
    EXPECT_BAD("count", woq_devices_list(NULL, NULL, NULL));
    test_expectations_met();
}

static void test_emulation(void **state)
{
    static const char *const malformed[] = {"max_bindin=1M", "max_binding=",   "max_binding=1Q",
                                            "max_binding",   "max_binding=-1", "max_binding=0",
                                            "no_such",       "no_fp16=1",      "fp16",
                                            "matrix",        "matrix=",        "matrix=tile"};
    struct woq_device_params p = WOQ_DEVICE_PARAMS_INIT;
    struct woq_device *d = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        p.emulate = malformed[i];
        EXPECT_BAD(malformed[i], woq_device_open("reference", &p, &d));
        setenv("WOQ_EMULATE", malformed[i], 1);
        EXPECT_BAD(malformed[i], woq_device_open("reference", NULL, &d));
        p.emulate = "";
        EXPECT_OK(woq_device_open("reference", &p, &d));
        woq_device_destroy(&d);
        unsetenv("WOQ_EMULATE");
    }
    EXPECT_OK(woq_device_open("reference", &p, &d));
    const struct woq_device_info whole = *woq_device_get_info(d);
    woq_device_destroy(&d);
    p.emulate = "max_binding=1M,max_allocation=3K,max_workgroup=8,shared_memory=1T,no_fp16,"
                "no_host_memory,max_groups=2";
    EXPECT_BAD("shared_memory=1T", woq_device_open("reference", &p, &d));
    p.emulate =
        "max_binding=1M,max_allocation=3K,max_workgroup=8,no_fp16,no_host_memory,max_groups=2,"
        "shared_memory=1024G";
    EXPECT_OK(woq_device_open("reference", &p, &d));
    assert_non_null(d);
    const struct woq_device_info *info = woq_device_get_info(d);
    assert_int_equal(info->max_binding, 1u << 20);
    assert_int_equal(info->max_allocation, 3 << 10);
    assert_in_range(info->max_workgroup, 1, 8);
    assert_in_range(info->max_groups[0], 1, 2);
    assert_int_equal(info->features & (WOQ_FEATURE_FP16 | WOQ_FEATURE_HOST_MEMORY), 0);
    assert_int_equal(info->shared_memory, whole.shared_memory);
    woq_device_destroy(&d);
    test_expectations_met();
}

static void test_info(void **state)
{
    const struct woq_device_info *info = woq_device_get_info(dev);
    struct woq_memory_budget budget;
    struct woq_device_entry entries[32];
    struct woq_device *d = NULL;
    size_t count = 0, rows = 32, one = 1;
    bool found = false;
    (void)state;
    assert_int_equal(info->struct_size, sizeof(*info));
    assert_true(*info->name && *info->driver && info->max_workgroup && info->max_binding);
    assert_true(info->max_allocation && info->memory);
    assert_int_equal(info->binding_alignment & (info->binding_alignment - 1), 0);
    EXPECT_OK(woq_device_open(info->selector, NULL, &d));
    woq_device_destroy(&d);
    EXPECT_OK(woq_device_memory(dev, &budget));
    assert_true(budget.total > 0 && budget.available <= budget.total);
    EXPECT_BAD("out", woq_device_memory(dev, NULL));
    EXPECT_BAD("device", woq_device_memory(NULL, &budget));
    EXPECT_BAD("count", woq_device_quarantine(dev, NULL, NULL));
    EXPECT_BAD("device", woq_device_quarantine(NULL, NULL, &count));
    assert_int_equal(count, 0);
    EXPECT_OK(woq_devices_list(NULL, NULL, &count));
    EXPECT_OK(woq_devices_list(NULL, entries, &rows));
    assert_int_equal(rows, count);
    for (size_t i = 0; i < rows; i++) {
        assert_true(entries[i].usable ? !*entries[i].reason : *entries[i].reason);
        found |= entries[i].usable && entries[i].backend == info->backend &&
                 entries[i].index == info->index;
    }
    assert_true(found);
    EXPECT_OK(woq_devices_list(NULL, entries, &one));
    assert_int_equal(one, 1);
    test_expectations_met();
}

static void test_names(void **state)
{
    (void)state;
    for (int st = WOQ_OK; st < WOQ_STATUS_COUNT; st++) {
        assert_string_not_equal(woq_status_string((enum woq_status)st), "unknown status");
        for (int other = 0; other < st; other++)
            assert_string_not_equal(woq_status_string((enum woq_status)st),
                                    woq_status_string((enum woq_status)other));
    }
    assert_string_equal(woq_status_string(WOQ_STATUS_COUNT), "unknown status");
    assert_string_equal(woq_status_string(WOQ_ERROR_INVALID_ARGUMENT), "invalid argument");
    assert_string_equal(woq_version_string(), "0.1.0");
    assert_string_equal(woq_backend_name(WOQ_BACKEND_VULKAN), "vulkan");
    assert_string_equal(woq_backend_name((enum woq_backend)UNKNOWN), "none");
    assert_string_equal(woq_feature_name(WOQ_FEATURE_HOST_MEMORY), "host_memory");
    assert_string_equal(woq_feature_name(WOQ_FEATURE_MATRIX_BF16), "matrix_bf16");
    assert_string_equal(woq_feature_name(WOQ_FEATURE_SUBNORMAL16), "subnormal16");
    assert_null(woq_feature_name(3));
    assert_null(woq_feature_name(1u << 31));
    assert_string_equal(woq_activation_name(WOQ_ACTIVATION_GELU_TANH), "gelu_tanh");
    assert_string_equal(woq_activation_name((enum woq_activation)UNKNOWN), "unknown");
    assert_string_equal(woq_math_name(WOQ_MATH_ROUNDED), "rounded");
    assert_string_equal(woq_math_name(WOQ_MATH_FIXED16), "fixed16");
    assert_string_equal(woq_math_name((enum woq_math)UNKNOWN), "unknown");
    assert_null(woq_path_name(woq_path_count()));
    assert_non_null(woq_path_name(0));
}

/* ---- buffers ---- */

static void test_buffers(void **state)
{
    const uint64_t limit = woq_device_get_info(dev)->max_allocation;
    struct woq_buffer_params p = WOQ_BUFFER_PARAMS_INIT;
    struct woq_buffer *b = NULL;
    uint8_t bytes[8] = {0};
    void *pointer;
    (void)state;
    EXPECT_BAD("size", woq_buffer_create(dev, &p, &b));
    if (limit < UINT64_MAX) {
        p.size = limit + 1;
        EXPECT_BAD("size", woq_buffer_create(dev, &p, &b));
    }
    p.size = 7;
    p.flags = 1u << 9;
    EXPECT_BAD("flags", woq_buffer_create(dev, &p, &b));
    p.flags = 0;
    p.struct_size += 8;
    EXPECT_BAD("struct_size", woq_buffer_create(dev, &p, &b));
    p.struct_size = 0;
    EXPECT_BAD("struct_size", woq_buffer_create(dev, &p, &b));
    p.struct_size = sizeof(p);
    EXPECT_BAD("device", woq_buffer_create(NULL, &p, &b));
    EXPECT_BAD("params", woq_buffer_create(dev, NULL, &b));
    EXPECT_BAD("out", woq_buffer_create(dev, &p, NULL));
    assert_null(b);
    EXPECT_OK(woq_buffer_create(dev, &p, &b));
    assert_int_equal(woq_buffer_size(b), 7);
    EXPECT_OK(woq_buffer_write(b, 0, bytes, 7));
    EXPECT_OK(woq_buffer_write(b, 7, NULL, 0));
    EXPECT_BAD("source", woq_buffer_write(b, 0, NULL, 1));
    EXPECT_BAD("target", woq_buffer_read(b, 0, NULL, 1));
    EXPECT_BAD("buffer", woq_buffer_write(NULL, 0, bytes, 1));
    EXPECT_BAD("buffer", woq_buffer_read(NULL, 0, bytes, 1));
    EXPECT_BAD("8", woq_buffer_write(b, 0, bytes, 8));
    EXPECT_BAD("7", woq_buffer_read(b, 7, bytes, 1));
    EXPECT_BAD("offset", woq_buffer_read(b, UINT64_MAX, bytes, 2));
    EXPECT_BAD("pointer", woq_buffer_map(b, NULL));
    EXPECT_BAD("buffer", woq_buffer_map(NULL, &pointer));
    EXPECT_BAD("buffer", woq_buffer_unmap(NULL));
    EXPECT(WOQ_ERROR_UNSUPPORTED, "HOST_VISIBLE", woq_buffer_map(b, &pointer));
    woq_buffer_destroy(&b);
    woq_buffer_destroy(&b);
    woq_buffer_destroy(NULL);
    test_expectations_met();
}

static void test_no_host_memory(void **state)
{
    struct woq_device_params params = test_params();
    struct woq_buffer_params p = WOQ_BUFFER_PARAMS_INIT;
    struct woq_buffer *b = NULL;
    struct woq_device *d = NULL;
    (void)state;
    params.emulate = "no_host_memory";
    EXPECT_OK(woq_device_open(woq_device_get_info(dev)->selector, &params, &d));
    p.size = 64;
    p.flags = WOQ_BUFFER_HOST_VISIBLE;
    EXPECT(WOQ_ERROR_UNSUPPORTED, "HOST_VISIBLE", woq_buffer_create(d, &p, &b));
    woq_device_destroy(&d);
    test_expectations_met();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selectors),        cmocka_unit_test(test_device_params),
        cmocka_unit_test(test_emulation),        cmocka_unit_test(test_info),
        cmocka_unit_test(test_names),            cmocka_unit_test(test_buffers),
        cmocka_unit_test(test_no_host_memory),
    };
    dev = test_open(argc > 1 ? argv[1] : NULL);
    test_expect_errors(true);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return !test_close(&dev) || failed || test_error_count();
}
