/*
 * test_faults_vulkan.c: Vulkan calls fail, one at a time, on a guest's device and on the library's own.
 * Each gives its status and a message that names it; everything can be destroyed; nothing is left, neither
 * memory nor Vulkan objects; the guest's validation layer has nothing to say; and the next device works.
 *
 * The library's own devices come from what woqi_vk_loader returns, in whose place the linker's --wrap puts
 * the function below.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "faults/fault_life.h"
#include "faults/fault_vulkan.h"
#include "faults/vulkan_app.h"
#include "support/cases.h"
#include "support/product.h"

static enum woq_status open_guest(void *user, const struct woq_device_params *params,
                                  struct woq_device **out)
{
    struct woq_vulkan_params guest = vulkan_app_guest(user);
    guest.get_instance_proc_addr = fault_vulkan_get_proc;
    return woq_vulkan_device_open(&guest, params, out);
}

PFN_vkGetInstanceProcAddr __wrap_woqi_vk_loader(const char **reason);

PFN_vkGetInstanceProcAddr __wrap_woqi_vk_loader(const char **reason)
{
    (void)reason;
    return fault_vulkan_get_proc;
}

static enum woq_status open_own(void *user, const struct woq_device_params *params,
                                struct woq_device **out)
{
    return woq_device_open(user, params, out);
}

/* A life on a device of the application, with an empty cache folder of its own. */
static void begin(struct vulkan_app *app, bool rich, char folder[64], struct fault_life *life)
{
    assert_true(vulkan_app_create(app, rich ? VULKAN_APP_RICH : VULKAN_APP_BARE));
    fault_life_create(life);
    snprintf(folder, 64, "/tmp/woq-faults-XXXXXX");
    assert_non_null(mkdtemp(folder));
    life->open = open_guest;
    life->user = app;
    life->control = &fault_vulkan;
    life->balance = fault_vulkan_balance;
    life->cache_dir = folder;
    test_expect_errors(true);
}

static void end(struct vulkan_app *app, char folder[64], struct fault_life *life)
{
    char command[128];
    fault_arm(life->control, NULL, 0, -1);
    test_expect_errors(false);
    assert_int_equal(fault_life_run(life), WOQ_OK); /* the next device works */
    fault_life_destroy(life);
    vulkan_app_destroy(app);
    assert_int_equal(app->messages, 0);
    assert_int_equal(app->locked, 0);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* ---- sweeps ---- */

static const struct {
    VkResult code;
    const char *name;
    enum woq_status status;
} codes[] = {
    {VK_ERROR_OUT_OF_HOST_MEMORY, "VK_ERROR_OUT_OF_HOST_MEMORY", WOQ_ERROR_OUT_OF_MEMORY},
    {VK_ERROR_OUT_OF_DEVICE_MEMORY, "VK_ERROR_OUT_OF_DEVICE_MEMORY", WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
    {VK_ERROR_OUT_OF_POOL_MEMORY, "VK_ERROR_OUT_OF_POOL_MEMORY", WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
    {VK_ERROR_FRAGMENTATION, "VK_ERROR_FRAGMENTATION", WOQ_ERROR_OUT_OF_DEVICE_MEMORY},
    {VK_ERROR_MEMORY_MAP_FAILED, "VK_ERROR_MEMORY_MAP_FAILED", WOQ_ERROR_OUT_OF_MEMORY},
    {VK_ERROR_DEVICE_LOST, "VK_ERROR_DEVICE_LOST", WOQ_ERROR_DEVICE_LOST},
    {VK_ERROR_INITIALIZATION_FAILED, "VK_ERROR_INITIALIZATION_FAILED", WOQ_ERROR_NO_DEVICE},
    {VK_ERROR_INVALID_SHADER_NV, "VK_ERROR_INVALID_SHADER_NV", WOQ_ERROR_COMPILE},
};

/* Calls that the library does without: what is on disk, and what goes there. */
static bool is_spare(const char *name)
{
    return !strcmp(name, "vkGetPipelineCacheData");
}

static bool judge(const struct fault_life *life)
{
    const enum woq_status st = life->first;
    const struct fault_control *f = life->control;
    if (is_spare(f->failed))
        return !st;
    if (!strcmp(f->failed, "vkCreatePipelineCache") && !st)
        return true; /* without the content from disk */
    if (f->failed_code == VK_ERROR_INCOMPATIBLE_DRIVER) /* said in words */
        return st == WOQ_ERROR_NO_DEVICE && strstr(life->message, "no Vulkan driver");
    if (!strstr(life->message, f->failed))
        return false;
    if (!strcmp(f->failed, "vkCreateComputePipelines") && f->failed_code == VK_ERROR_UNKNOWN)
        return st == WOQ_ERROR_COMPILE;
    if (f->failed_code == VK_ERROR_UNKNOWN)
        return st == WOQ_ERROR_DRIVER && strstr(life->message, "VK_ERROR_UNKNOWN");
    /* A lost device is what the wrapper makes of every failing wait. */
    const int code = strcmp(f->failed, "vkWaitForFences") ? f->failed_code : VK_ERROR_DEVICE_LOST;
    for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
        if ((int)codes[i].code == code)
            return st == codes[i].status && strstr(life->message, codes[i].name);
    return false;
}

static void sweep(bool rich)
{
    struct vulkan_app app;
    struct fault_life life;
    char folder[64];
    begin(&app, rich, folder, &life);
    fault_arm(life.control, NULL, 0, -1);
    assert_int_equal(fault_life_run(&life), WOQ_OK); /* fills the cache */
    if (rich)
        assert_true(fault_life_sweep(&life, 0, judge) > 50);
    life.retry = true;
    assert_true(fault_life_sweep(&life, VK_ERROR_OUT_OF_HOST_MEMORY, judge) > 50);
    life.retry = false;
    end(&app, folder, &life);
}

static void test_sweep_bare(void **state)
{
    (void)state;
    sweep(false);
}

static void test_sweep_rich(void **state)
{
    (void)state;
    sweep(true);
}

/* Whatever the result, the application's command buffer can be ended and executed. */
static enum woq_status record_guest(struct fault_life *life, const struct woq_binding *bindings,
                                    size_t count)
{
    struct vulkan_app *app = life->user;
    VkCommandBuffer commands = vulkan_app_begin(app);
    const enum woq_status st = woq_vulkan_record(life->o.commands, bindings, count, commands);
    assert_int_equal(vkEndCommandBuffer(commands), VK_SUCCESS);
    vulkan_app_execute(app, commands);
    vkFreeCommandBuffers(app->device, app->pool, 1, &commands);
    return st;
}

static void test_sweep_record(void **state)
{
    struct vulkan_app app;
    struct fault_life life;
    char folder[64];
    (void)state;
    begin(&app, false, folder, &life);
    life.record = record_guest;
    assert_true(fault_life_sweep(&life, 0, judge) > 50);
    end(&app, folder, &life);
}

static void test_sweep_own(void **state)
{
    static char selector[] = "vulkan:0";
    struct vulkan_app app;
    struct fault_life life;
    char folder[64];
    (void)state;
    begin(&app, false, folder, &life);
    life.open = open_own;
    life.user = selector;
    assert_int_equal(fault_life_run(&life), WOQ_OK);
    assert_true(fault_life_sweep(&life, 0, judge) > 50);
    life.retry = true;
    assert_true(fault_life_sweep(&life, VK_ERROR_OUT_OF_HOST_MEMORY, judge) > 50);
    life.retry = false;
    end(&app, folder, &life);
}

static void test_list(void **state)
{
    (void)state;
    fault_list_sweep(&fault_vulkan, fault_vulkan_balance);
}

/* ---- single calls ---- */

static void test_codes(void **state)
{
    static const struct {
        const char *name;
        int code;
        enum woq_status want;
        const char *mention;
    } cases[] = {
        {"vkAllocateMemory", VK_ERROR_OUT_OF_DEVICE_MEMORY, WOQ_ERROR_OUT_OF_DEVICE_MEMORY,
         "vkAllocateMemory("},
        {"vkAllocateMemory", VK_ERROR_OUT_OF_HOST_MEMORY, WOQ_ERROR_OUT_OF_MEMORY,
         "VK_ERROR_OUT_OF_HOST_MEMORY"},
        {"vkAllocateMemory", VK_ERROR_TOO_MANY_OBJECTS, WOQ_ERROR_OUT_OF_DEVICE_MEMORY,
         "VK_ERROR_TOO_MANY_OBJECTS"},
        {"vkCreateComputePipelines", VK_ERROR_INITIALIZATION_FAILED, WOQ_ERROR_COMPILE, "floor"},
        {"vkCreateComputePipelines", VK_ERROR_INVALID_SHADER_NV, WOQ_ERROR_COMPILE,
         "vkCreateComputePipelines"},
        {"vkCreateComputePipelines", VK_ERROR_OUT_OF_DEVICE_MEMORY, WOQ_ERROR_OUT_OF_DEVICE_MEMORY,
         "vkCreateComputePipelines"},
        {"vkCreateShaderModule", VK_ERROR_INVALID_SHADER_NV, WOQ_ERROR_COMPILE,
         "VK_ERROR_INVALID_SHADER_NV"},
        {"vkCreateDescriptorPool", VK_ERROR_FRAGMENTATION, WOQ_ERROR_OUT_OF_DEVICE_MEMORY,
         "vkCreateDescriptorPool"},
        {"vkQueueSubmit", VK_ERROR_DEVICE_LOST, WOQ_ERROR_DEVICE_LOST, "vkQueueSubmit"},
        {"vkQueueSubmit", VK_ERROR_UNKNOWN, WOQ_ERROR_DRIVER, "vkQueueSubmit: VK_ERROR_UNKNOWN"},
        {"vkQueueSubmit", -12345, WOQ_ERROR_DRIVER, "-12345"},
        {"vkWaitForFences", VK_ERROR_DEVICE_LOST, WOQ_ERROR_DEVICE_LOST, "vkWaitForFences"},
    };
    struct vulkan_app app;
    struct fault_life life;
    char folder[64];
    (void)state;
    begin(&app, true, folder, &life);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        fault_life_expect(&life, cases[i].name, cases[i].code, 0, cases[i].want, cases[i].mention);
    end(&app, folder, &life);
}

/* Every submission and every wait fails from the n-th on, as with a device that is lost. */
static void test_lost(void **state)
{
    static const char *const names[] = {"vkQueueSubmit", "vkWaitForFences"};
    struct vulkan_app app;
    struct fault_life life;
    char folder[64];
    (void)state;
    begin(&app, true, folder, &life);
    for (int i = 0; i < 2; i++)
        for (int n = 0; n < 6; n++) {
            fault_arm(life.control, names[i], VK_ERROR_DEVICE_LOST, n);
            life.control->sticky = true;
            const enum woq_status st = fault_life_run(&life);
            fault_disarm(life.control);
            assert_true(st == WOQ_ERROR_DEVICE_LOST || !life.control->failed);
        }
    end(&app, folder, &life);
}

/* A wait that times out by the driver's word can be made again; so can one that took too long. */
static void test_timeouts(void **state)
{
    struct vulkan_app app;
    struct fault_life life;
    char folder[64];
    struct woq_device *device = NULL;
    const struct woq_device_params params = test_params();
    (void)state;
    begin(&app, true, folder, &life);
    assert_int_equal(open_guest(&app, &params, &device), WOQ_OK);
    test_expect_errors(false);
    fault_timeouts(device);
    woq_device_destroy(&device);
    /* One wait of a life has a limit; the others, for ever, do not end by a time-out. */
    bool seen = false;
    unsigned timeouts = 0;
    life.retry = true;
    test_expect_errors(true);
    for (int n = 0; n < 64 && !seen; n++) {
        fault_arm(life.control, "vkWaitForFences", VK_TIMEOUT, n);
        assert_int_equal(fault_life_run(&life), WOQ_OK);
        fault_disarm(life.control);
        timeouts += life.first == WOQ_ERROR_TIMEOUT;
        seen = !life.control->failed;
    }
    life.retry = false;
    assert_int_equal(timeouts, 1);
    assert_true(seen);
    end(&app, folder, &life);
}

/* A pipeline cache on disk that the driver refuses is dropped. */
static void test_cache(void **state)
{
    struct vulkan_app app;
    struct fault_life life;
    char folder[64];
    (void)state;
    begin(&app, true, folder, &life);
    assert_int_equal(fault_life_run(&life), WOQ_OK);
    fault_life_expect(&life, "vkCreatePipelineCache", VK_ERROR_UNKNOWN, 0, WOQ_OK, NULL);
    life.cache_dir = "";
    fault_life_expect(&life, "vkCreatePipelineCache", VK_ERROR_UNKNOWN, 0, WOQ_ERROR_DRIVER,
                      "vkCreatePipelineCache: VK_ERROR_UNKNOWN");
    life.cache_dir = folder;
    end(&app, folder, &life);
}

/* Pipelines that were built since `before` calls were left. */
static int64_t built_since(const struct fault_life *life, int64_t before)
{
    return before - life->control->countdown;
}

/* A product for up to 8 rows has four kernels. None is built for its plan, one for a run, all to be prepared; and a
 * refusal comes from the run, which can be made again. */
static void test_lazy(void **state)
{
    enum { MANY = 1000 };
    static const char build[] = "vkCreateComputePipelines";
    static const char line[] = "code=u4,zero=symmetric,scale=f16,group=64,n=33,k=129,m=2,max_m=8,x=f16,y=f32,data=integers";
    struct woq_device_params params = test_params();
    struct woq_binding b[5];
    struct woq_device *device = NULL;
    struct woq_gemm *gemm = NULL;
    struct woq_commands *commands = NULL;
    struct vulkan_app app;
    struct fault_life life;
    struct test_case c;
    struct product p;
    char folder[64];
    size_t count;
    (void)state;
    begin(&app, true, folder, &life);
    params.cache_dir = "";
    assert_int_equal(open_guest(&app, &params, &device), WOQ_OK);
    assert_true(case_parse(line, &c) && product_create(device, &c, &p));
    fault_arm(life.control, build, VK_ERROR_UNKNOWN, MANY);
    assert_true(product_gemm(&p, "gemv", &gemm));
    assert_int_equal(woq_commands_create(device, NULL, &commands), WOQ_OK);
    assert_true(product_record(&p, gemm, commands, b, &count));
    assert_int_equal(woq_commands_end(commands), WOQ_OK);
    assert_int_equal(built_since(&life, MANY), 0);
    fault_arm(life.control, build, VK_ERROR_UNKNOWN, 0);
    assert_int_equal(woq_commands_run(commands, b, count, NULL), WOQ_ERROR_COMPILE);
    assert_non_null(strstr(woq_last_message(), "gemv_frag"));
    fault_arm(life.control, build, VK_ERROR_UNKNOWN, MANY);
    assert_int_equal(woq_commands_run(commands, b, count, NULL), WOQ_OK);
    assert_int_equal(built_since(&life, MANY), 1);
    assert_int_equal(woq_commands_prepare(commands), WOQ_OK);
    assert_int_equal(built_since(&life, MANY), 4);
    assert_int_equal(product_run(&p, "gemv"), PRODUCT_PASSED);
    assert_int_equal(built_since(&life, MANY), 4);
    woq_commands_destroy(&commands);
    woq_gemm_destroy(&gemm);
    product_destroy(&p);
    assert_true(test_close(&device));
    end(&app, folder, &life);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sweep_bare), cmocka_unit_test(test_sweep_rich),
        cmocka_unit_test(test_sweep_own),  cmocka_unit_test(test_sweep_record),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_codes),      cmocka_unit_test(test_lost),
        cmocka_unit_test(test_timeouts),   cmocka_unit_test(test_cache),
        cmocka_unit_test(test_lazy),
    };
    struct vulkan_app app;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!vulkan_app_create(&app, VULKAN_APP_RICH)) {
        const char *required = getenv("WOQ_REQUIRE_BACKENDS");
        printf("SKIPPED: no device with Vulkan 1.2\n");
        return required && strstr(required, "vulkan") ? 1 : TEST_SKIPPED;
    }
    vulkan_app_destroy(&app);
    return cmocka_run_group_tests(tests, NULL, NULL) || test_error_count() != 0;
}
