/*
 * test_guest_vulkan.c: woq/vulkan.h on an application's own instances, devices, queues, buffers and
 * command buffers, under the validation layer, which must have nothing to say: what is refused, what is
 * recorded, and that the application's objects are its own to use and to destroy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "faults/vulkan_app.h"
#include "support/device.h"
#include "support/expect.h"
#include "support/product.h"

static const char line[] = "code=u4,zero=point,group=16,n=33,k=64,m=9,max_m=16,x=f16,y=f16,bias=f32,"
                           "residual=own,data=random,y_pad=3";

#define OFFSET 256u /* of imported buffers */
#define ALL_USES                                                                                   \
    (VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |                       \
     VK_BUFFER_USAGE_TRANSFER_DST_BIT)

static void open_app(struct vulkan_app *app, enum vulkan_app_kind kind)
{
    assert_true(vulkan_app_create(app, kind));
}

static void close_app(struct vulkan_app *app)
{
    vulkan_app_destroy(app);
    assert_int_equal(app->messages, 0);
    assert_int_equal(app->locked, 0);
}

static struct woq_device *open_guest(struct vulkan_app *app)
{
    const struct woq_vulkan_params guest = vulkan_app_guest(app);
    const struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    assert_true(test_ok(woq_vulkan_device_open(&guest, &params, &device), "woq_vulkan_device_open"));
    return device;
}

static enum woq_status import(struct woq_device *device, VkBuffer buffer, uint64_t offset,
                              uint64_t size, VkBufferUsageFlags usage, struct woq_buffer **out)
{
    struct woq_vulkan_buffer params = WOQ_VULKAN_BUFFER_INIT;
    params.buffer = buffer;
    params.offset = offset;
    params.size = size;
    params.usage = usage;
    return woq_vulkan_buffer_import(device, &params, out);
}

/* ---- a product on the application's buffers ---- */

struct rig {
    struct product p;
    struct woq_gemm *gemm;
    struct woq_commands *commands;
    struct woq_binding bindings[5];
    size_t count;
    struct vulkan_app_buffer x, y;
    enum woq_math math;
};

static uint64_t whole_words(uint64_t bytes)
{
    return (bytes + 3) / 4 * 4;
}

/* Puts a VkBuffer of the application in the place of the region's buffer. */
static void import_region(struct vulkan_app *app, struct woq_device *device, struct test_region *r,
                          struct vulkan_app_buffer *buffer)
{
    uint64_t offset = 0;
    vulkan_app_buffer_create(app, OFFSET + whole_words(r->size), ALL_USES, buffer);
    woq_buffer_destroy(&r->buffer);
    EXPECT_OK(import(device, buffer->buffer, OFFSET, whole_words(r->size), ALL_USES, &r->buffer));
    assert_int_equal(woq_buffer_size(r->buffer), whole_words(r->size));
    assert_true(woq_vulkan_buffer_native(r->buffer, &offset) == buffer->buffer && offset == OFFSET);
    r->view.buffer = r->buffer;
    assert_true(region_reset(r));
}

static void rig_create(struct vulkan_app *app, struct woq_device *device, struct rig *r)
{
    struct test_case c;
    struct woq_explain e = {.struct_size = sizeof(e)};
    *r = (struct rig){.gemm = NULL};
    assert_true(case_parse(line, &c));
    assert_true(product_create(device, &c, &r->p));
    import_region(app, device, &r->p.x, &r->x);
    import_region(app, device, &r->p.y, &r->y);
    assert_true(product_gemm(&r->p, NULL, &r->gemm));
    assert_true(test_ok(woq_commands_create(device, NULL, &r->commands), "woq_commands_create"));
    assert_true(product_record(&r->p, r->gemm, r->commands, r->bindings, &r->count));
    assert_true(test_ok(woq_commands_end(r->commands), "woq_commands_end"));
    EXPECT_OK(woq_gemm_explain(r->gemm, (uint32_t)c.m, &e));
    r->math = e.math;
}

/* woq's objects, then the application's. */
static void rig_destroy(struct vulkan_app *app, struct rig *r)
{
    woq_commands_destroy(&r->commands);
    woq_gemm_destroy(&r->gemm);
    product_destroy(&r->p);
    VkCommandBuffer commands = vulkan_app_begin(app); /* the buffers are still good */
    vkCmdFillBuffer(commands, r->x.buffer, 0, VK_WHOLE_SIZE, 0x12345678);
    vulkan_app_barrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                       VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    assert_int_equal(vkEndCommandBuffer(commands), VK_SUCCESS);
    vulkan_app_execute(app, commands);
    assert_int_equal(r->x.map[0], 0x78);
    vulkan_app_buffer_destroy(app, &r->x);
    vulkan_app_buffer_destroy(app, &r->y);
}

/* Own runs, submitted to the application's queue between its lock callbacks. */
static void run_once(struct vulkan_app *app, struct rig *r)
{
    const unsigned before = app->locks;
    uint64_t ticket = 0;
    assert_true(region_reset(&r->p.y));
    const unsigned written = app->locks;
    assert_true(written > before);
    EXPECT_OK(woq_commands_run(r->commands, r->bindings, r->count, &ticket));
    assert_int_equal(app->locks, written + 1);
    EXPECT_OK(woq_commands_wait(r->commands, ticket, WOQ_FOREVER));
    assert_int_equal(app->locks, written + 1);
    assert_true(product_check(&r->p, r->math));
}

/* The application's commands around woq's, executed twice. */
static void record_once(struct vulkan_app *app, struct rig *r)
{
    const VkPipelineStageFlags transfer = VK_PIPELINE_STAGE_TRANSFER_BIT;
    const VkPipelineStageFlags compute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
    const VkDeviceSize bytes = r->p.x.size;
    struct vulkan_app_buffer staging, out;
    vulkan_app_buffer_create(app, bytes, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, &staging);
    vulkan_app_buffer_create(app, r->p.y.size, VK_BUFFER_USAGE_TRANSFER_DST_BIT, &out);
    memcpy(staging.map, r->p.x.image, bytes);

    VkCommandBuffer commands = vulkan_app_begin(app);
    const VkBufferCopy to_x = {0, OFFSET, bytes}, from_y = {OFFSET, 0, r->p.y.size};
    vulkan_app_barrier(commands, transfer | compute, VK_ACCESS_SHADER_READ_BIT, transfer, 0);
    vkCmdCopyBuffer(commands, staging.buffer, r->x.buffer, 1, &to_x);
    vkCmdFillBuffer(commands, r->y.buffer, 0, VK_WHOLE_SIZE, 0xffffffff);
    vulkan_app_barrier(commands, transfer, VK_ACCESS_TRANSFER_WRITE_BIT, compute,
                       VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT);
    const unsigned before = app->locks;
    EXPECT_OK(woq_vulkan_record(r->commands, r->bindings, r->count, commands));
    assert_int_equal(app->locks, before); /* the application submits */
    vulkan_app_barrier(commands, compute, VK_ACCESS_SHADER_WRITE_BIT, transfer,
                       VK_ACCESS_TRANSFER_READ_BIT);
    vkCmdCopyBuffer(commands, r->y.buffer, out.buffer, 1, &from_y);
    vulkan_app_barrier(commands, transfer, VK_ACCESS_TRANSFER_WRITE_BIT, VK_PIPELINE_STAGE_HOST_BIT,
                       VK_ACCESS_HOST_READ_BIT);
    assert_int_equal(vkEndCommandBuffer(commands), VK_SUCCESS);

    for (int i = 0; i < 2; i++) {
        memset(out.map, 0, r->p.y.size);
        vulkan_app_execute(app, commands);
        for (uint64_t row = 0; row < r->p.y.rows; row++) {
            const uint64_t at = r->p.y.view.offset + row * r->p.y.view.row_stride;
            if (i == 0)
                memcpy(r->p.y.image + at, out.map + at, r->p.y.row_bytes);
            else
                assert_memory_equal(r->p.y.image + at, out.map + at, r->p.y.row_bytes);
        }
    }
    vkFreeCommandBuffers(app->device, app->pool, 1, &commands);
    assert_true(region_reset(&r->p.y)); /* Y as the application got it, between its canaries */
    assert_true(product_check(&r->p, r->math));
    vulkan_app_buffer_destroy(app, &staging);
    vulkan_app_buffer_destroy(app, &out);
}

/* ---- what works ---- */

static void products(enum vulkan_app_kind kind)
{
    struct vulkan_app app;
    struct rig r;
    open_app(&app, kind);
    struct woq_device *device = open_guest(&app);
    if (kind == VULKAN_APP_BARE) /* nothing is enabled, so nothing is used */
        assert_false(woq_device_get_info(device)->features &
                     (WOQ_FEATURE_FP16 | WOQ_FEATURE_STORAGE16 | WOQ_FEATURE_STORAGE8 |
                      WOQ_FEATURE_MATRIX | WOQ_FEATURE_REPLAY));
    else if (app.features12.descriptorBindingStorageBufferUpdateAfterBind)
        assert_true(woq_device_get_info(device)->features & WOQ_FEATURE_REPLAY);
    rig_create(&app, device, &r);
    for (int i = 0; i < 3; i++) {
        run_once(&app, &r);
        record_once(&app, &r);
    }
    rig_destroy(&app, &r);
    assert_true(test_close(&device));
    close_app(&app);
    test_expectations_met();
}

static void test_bare(void **state)
{
    (void)state;
    products(VULKAN_APP_BARE);
}

static void test_rich(void **state)
{
    (void)state;
    products(VULKAN_APP_RICH);
}

/* Kernel nv2 where the application has enabled what it needs; else another one. */
static void matrix_product(struct vulkan_app *app, const struct woq_vulkan_params *guest, const char *emulate,
                           bool has)
{
    struct woq_explain explain = {.struct_size = sizeof explain};
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    struct test_case c;
    struct product p;
    struct woq_gemm *gemm = NULL;
    params.cache_dir = "";
    params.emulate = emulate;
    assert_true(test_ok(woq_vulkan_device_open(guest, &params, &device), "woq_vulkan_device_open"));
    assert_true(case_parse("code=u4,zero=point,group=32,n=33,k=100,m=40,max_m=40,x=f16,y=f32,data=random", &c));
    assert_true(product_create(device, &c, &p));
    assert_true(product_gemm(&p, NULL, &gemm));
    assert_int_equal(woq_gemm_explain(gemm, (uint32_t)c.m, &explain), WOQ_OK);
    assert_true(has == !strncmp(explain.kernel, "nv2_u4_", 7));
    woq_gemm_destroy(&gemm);
    assert_int_equal(product_run(&p, NULL), PRODUCT_PASSED);
    product_destroy(&p);
    assert_true(test_close(&device));
    assert_int_equal(app->messages, 0);
}

static void test_matrix(void **state)
{
    struct vulkan_app app;
    (void)state;
    if (!vulkan_app_create(&app, VULKAN_APP_MATRIX)) {
        printf("SKIPPED: no device with VK_NV_cooperative_matrix2\n");
        skip();
    }
    const struct woq_vulkan_params guest = vulkan_app_guest(&app);
    struct woq_vulkan_params less = guest;
    matrix_product(&app, &guest, "matrix=nv2", app.matrix2.cooperativeMatrixFlexibleDimensions);
    matrix_product(&app, &guest, "matrix=nv2,no_matrix", false);
    less.extension_count--; /* not told: not used */
    matrix_product(&app, &less, "matrix=nv2", false);
    app.matrix2.cooperativeMatrixPerElementOperations = VK_FALSE;
    matrix_product(&app, &guest, "matrix=nv2", false);
    close_app(&app);
}

/* Without callbacks, and with the library's own loader. */
static void test_defaults(void **state)
{
    struct vulkan_app app;
    const struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    struct woq_buffer *buffer = NULL;
    struct woq_buffer_params size = WOQ_BUFFER_PARAMS_INIT;
    uint32_t word = 0;
    (void)state;
    open_app(&app, VULKAN_APP_BARE);
    struct woq_vulkan_params guest = vulkan_app_guest(&app);
    guest.get_instance_proc_addr = NULL;
    guest.lock_queue = guest.unlock_queue = NULL;
    guest.api_version = 0;
    EXPECT_OK(woq_vulkan_device_open(&guest, &params, &device));
    size.size = sizeof word;
    EXPECT_OK(woq_buffer_create(device, &size, &buffer));
    EXPECT_OK(woq_buffer_write(buffer, 0, "woq", 4));
    EXPECT_OK(woq_buffer_read(buffer, 0, &word, 4));
    assert_memory_equal(&word, "woq", 4);
    assert_int_equal(app.locks, 0);
    woq_buffer_destroy(&buffer);
    assert_true(test_close(&device));
    close_app(&app);
    test_expectations_met();
}

static void test_two_instances(void **state)
{
    struct vulkan_app apps[2];
    struct woq_device *guests[2];
    struct rig rigs[2];
    (void)state;
    for (int i = 0; i < 2; i++) {
        open_app(&apps[i], i ? VULKAN_APP_RICH : VULKAN_APP_BARE);
        guests[i] = open_guest(&apps[i]);
        rig_create(&apps[i], guests[i], &rigs[i]);
    }
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 2; i++) {
            run_once(&apps[i], &rigs[i]);
            record_once(&apps[i], &rigs[i]);
        }
    test_expect_errors(true); /* a buffer of the other device */
    EXPECT_BAD("device", woq_commands_run(rigs[0].commands, rigs[1].bindings, rigs[1].count, NULL));
    test_expect_errors(false);
    for (int i = 0; i < 2; i++) {
        rig_destroy(&apps[i], &rigs[i]);
        woq_device_destroy(&guests[i]);
        close_app(&apps[i]);
        if (i == 0)
            run_once(&apps[1], &rigs[1]); /* the other instance is gone */
    }
    assert_int_equal(test_heap_balance(test_main_heap()), 0);
    test_expectations_met();
}

/* ---- what is refused ---- */

#define REFUSED(mention, status, change)                                                           \
    do {                                                                                           \
        guest = good;                                                                              \
        change;                                                                                    \
        EXPECT(status, mention, woq_vulkan_device_open(&guest, &params, &device));                 \
        assert_null(device);                                                                       \
    } while (0)

static void test_open_refusals(void **state)
{
    struct vulkan_app app;
    (void)state;
    open_app(&app, VULKAN_APP_BARE);
    const enum woq_status bad = WOQ_ERROR_INVALID_ARGUMENT;
    const struct woq_vulkan_params good = vulkan_app_guest(&app);
    struct woq_vulkan_params guest = good;
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    VkQueueFamilyProperties families[32];
    uint32_t count = 32;
    test_expect_errors(true);
    EXPECT_BAD("out", woq_vulkan_device_open(&guest, &params, NULL));
    EXPECT_BAD("guest", woq_vulkan_device_open(NULL, &params, &device));
    REFUSED("struct_size", bad, guest.struct_size--);
    REFUSED("instance", bad, guest.instance = NULL);
    REFUSED("physical_device", bad, guest.physical_device = NULL);
    REFUSED("device", bad, guest.device = NULL);
    REFUSED("queue", bad, guest.queue = NULL);
    REFUSED("lock_queue", bad, guest.lock_queue = NULL);
    REFUSED("lock_queue", bad, guest.unlock_queue = NULL);
    REFUSED("extensions", bad, guest.extension_count = 1);
    REFUSED("queue_family", bad, guest.queue_family = 1000);
    REFUSED("1.1", WOQ_ERROR_UNSUPPORTED, guest.api_version = VK_API_VERSION_1_0);
    vkGetPhysicalDeviceQueueFamilyProperties(app.gpu, &count, families);
    bool tried = false;
    for (uint32_t i = 0; i < count; i++)
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT)) {
            REFUSED("queue_family", bad, guest.queue_family = i);
            tried = true;
        }
    if (!tried)
        printf("every family has compute: one without is not tried\n");
    params.log_level = (enum woq_log_level)99;
    REFUSED("log_level", bad, (void)0);
    test_expect_errors(false);
    assert_int_equal(test_heap_balance(test_main_heap()), 0);
    close_app(&app);
    test_expectations_met();
}

static void test_import_refusals(void **state)
{
    struct vulkan_app app;
    struct vulkan_app_buffer b;
    struct woq_buffer *buffer = NULL, *plain = NULL;
    struct woq_buffer_params size = WOQ_BUFFER_PARAMS_INIT;
    struct woq_vulkan_buffer params = WOQ_VULKAN_BUFFER_INIT;
    uint64_t offset = 7;
    (void)state;
    open_app(&app, VULKAN_APP_BARE);
    struct woq_device *device = open_guest(&app), *host = test_open("reference");
    vulkan_app_buffer_create(&app, 1024, ALL_USES, &b);
    params = (struct woq_vulkan_buffer){sizeof params, b.buffer, 0, 256, ALL_USES};
    test_expect_errors(true);
    EXPECT_BAD("device", woq_vulkan_buffer_import(NULL, &params, &buffer));
    EXPECT_BAD("import", woq_vulkan_buffer_import(device, NULL, &buffer));
    EXPECT_BAD("out", woq_vulkan_buffer_import(device, &params, NULL));
    EXPECT_BAD("reference", woq_vulkan_buffer_import(host, &params, &buffer));
    params.struct_size = 3;
    EXPECT_BAD("struct_size", woq_vulkan_buffer_import(device, &params, &buffer));
    EXPECT_BAD("buffer", import(device, VK_NULL_HANDLE, 0, 256, ALL_USES, &buffer));
    EXPECT_BAD("offset", import(device, b.buffer, 128, 256, ALL_USES, &buffer));
    EXPECT_BAD("size", import(device, b.buffer, 0, 0, ALL_USES, &buffer));
    EXPECT_BAD("size", import(device, b.buffer, 0, 254, ALL_USES, &buffer));
    EXPECT_BAD("size", import(device, b.buffer, 0, 1 << 20, ALL_USES, &buffer));
    EXPECT_BAD("offset", import(device, b.buffer, 1 << 20, 4, ALL_USES, &buffer));
    EXPECT_BAD("offset", import(device, b.buffer, UINT64_MAX - 255, 256, ALL_USES, &buffer));
    EXPECT_BAD("usage", import(device, b.buffer, 0, 256, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, &buffer));
    assert_null(buffer);
    EXPECT_OK(import(device, b.buffer, 256, 256, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, &buffer));
    uint32_t word = 0;
    EXPECT_BAD("TRANSFER_DST", woq_buffer_write(buffer, 0, &word, sizeof word));
    EXPECT_BAD("TRANSFER_SRC", woq_buffer_read(buffer, 0, &word, sizeof word));
    EXPECT_BAD("size", woq_buffer_read(buffer, 256, &word, sizeof word));
    test_expect_errors(false);
    size.size = 64;
    EXPECT_OK(woq_buffer_create(host, &size, &plain));
    assert_true(woq_vulkan_buffer_native(plain, &offset) == VK_NULL_HANDLE && offset == 0);
    assert_true(woq_vulkan_buffer_native(NULL, NULL) == VK_NULL_HANDLE);
    woq_buffer_destroy(&plain);
    woq_buffer_destroy(&buffer);
    woq_device_destroy(&host);
    assert_true(test_close(&device));
    vulkan_app_buffer_destroy(&app, &b);
    close_app(&app);
    test_expectations_met();
}

static void refuse_records(struct vulkan_app *app, struct woq_device *device, struct rig *r)
{
    struct woq_device *host = test_open("reference");
    struct woq_commands *open = NULL, *foreign = NULL, *copies = NULL, *stamped = NULL;
    struct vulkan_app_buffer b;
    struct woq_buffer *narrow = NULL;
    uint32_t from, to;
    VkCommandBuffer commands = vulkan_app_begin(app);
    vulkan_app_buffer_create(app, 1024, ALL_USES, &b);
    EXPECT_OK(import(device, b.buffer, 0, 1024, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, &narrow));
    EXPECT_OK(woq_commands_create(device, NULL, &open));
    EXPECT_OK(woq_commands_create(host, NULL, &foreign));
    EXPECT_OK(woq_commands_slot_m(foreign, 1, &from));
    EXPECT_OK(woq_commands_end(foreign));
    EXPECT_OK(woq_commands_create(device, NULL, &copies));
    EXPECT_OK(woq_commands_slot_view(copies, WOQ_ACCESS_READ, &from));
    EXPECT_OK(woq_commands_slot_view(copies, WOQ_ACCESS_WRITE, &to));
    EXPECT_OK(woq_commands_copy(copies, from, to, 64));
    EXPECT_OK(woq_commands_end(copies));
    const struct woq_binding bad_source[] = {{from, 0, {narrow, 0, 0}}, {to, 0, {r->p.y.buffer, 0, 0}}};
    const struct woq_binding bad_target[] = {{from, 0, {r->p.x.buffer, 0, 0}}, {to, 0, {narrow, 0, 0}}};
    EXPECT_OK(woq_commands_create(device, NULL, &stamped));
    const bool stamps = woq_device_get_info(device)->features & WOQ_FEATURE_TIMESTAMPS;
    if (stamps)
        EXPECT_OK(woq_commands_timestamp(stamped, 0));
    EXPECT_OK(woq_commands_end(stamped));
    test_expect_errors(true);
    EXPECT_BAD("commands", woq_vulkan_record(NULL, NULL, 0, commands));
    EXPECT_BAD("command_buffer", woq_vulkan_record(r->commands, r->bindings, r->count, NULL));
    EXPECT(WOQ_ERROR_INVALID_STATE, "ended", woq_vulkan_record(open, NULL, 0, commands));
    EXPECT_BAD("reference", woq_vulkan_record(foreign, NULL, 0, commands));
    EXPECT_BAD("slot", woq_vulkan_record(r->commands, r->bindings, r->count - 1, commands));
    EXPECT_BAD("TRANSFER_SRC", woq_vulkan_record(copies, bad_source, 2, commands));
    EXPECT_BAD("TRANSFER_DST", woq_vulkan_record(copies, bad_target, 2, commands));
    EXPECT_BAD("TRANSFER_SRC", woq_commands_run(copies, bad_source, 2, NULL));
    EXPECT_BAD("TRANSFER_DST", woq_commands_run(copies, bad_target, 2, NULL));
    if (stamps)
        EXPECT(WOQ_ERROR_UNSUPPORTED, "timestamp", woq_vulkan_record(stamped, NULL, 0, commands));
    test_expect_errors(false);
    assert_int_equal(vkEndCommandBuffer(commands), VK_SUCCESS);
    vulkan_app_execute(app, commands);
    woq_commands_destroy(&open);
    woq_commands_destroy(&foreign);
    woq_commands_destroy(&copies);
    woq_commands_destroy(&stamped);
    woq_buffer_destroy(&narrow);
    woq_device_destroy(&host);
    vulkan_app_buffer_destroy(app, &b);
}

static void test_record_refusals(void **state)
{
    struct vulkan_app app;
    struct rig r;
    (void)state;
    open_app(&app, VULKAN_APP_RICH);
    struct woq_device *device = open_guest(&app);
    rig_create(&app, device, &r);
    refuse_records(&app, device, &r);
    record_once(&app, &r); /* none of it did harm */
    rig_destroy(&app, &r);
    assert_true(test_close(&device));
    close_app(&app);
    test_expectations_met();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bare),           cmocka_unit_test(test_rich),
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_two_instances),
        cmocka_unit_test(test_open_refusals),  cmocka_unit_test(test_import_refusals),
        cmocka_unit_test(test_record_refusals),
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
