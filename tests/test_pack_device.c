/*
 * test_pack_device.c: what devices make of weights, byte for byte, against what the host packs (test_pack.c has that
 * against layout.h): tiles that the device packs, on devices that do, and tiles of woq_weights_create, on every device.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/pack_device.h"
#include "support/device.h"
#include "support/sources.h"

#define CANARY 0xa5

static struct test_random random_state = {21};

/* All of a tile as the host packs it; CANARY where nothing is written. */
static uint8_t *host_tile(struct woqi_packer *p, const struct woqi_tile *tile)
{
    const struct woqi_tile_shape *s = &tile->shape;
    uint8_t *image = malloc(s->size);
    assert_non_null(image);
    memset(image, CANARY, s->size);
    woqi_pack_codes(p, tile, 0, s->rows / woqi_layout_granule(p->layout), image + s->codes);
    if (p->groups)
        woqi_pack_scales(p, tile, 0, p->groups, image + s->scales);
    if (p->format.zero == WOQ_ZERO_POINT || p->format.zero == WOQ_ZERO_OFFSET)
        woqi_pack_zeros(p, tile, 0, p->groups, image + s->zeros);
    if (p->perm)
        memcpy(image + s->perm, p->perm, p->k_packed * 4);
    return image;
}

/* gaps: whether the tile began as CANARY, so that what lies between its parts counts. */
static void compare_tile(struct woqi_packer *p, const struct woqi_tile *tile, bool gaps)
{
    char name[64];
    const uint64_t size = tile->shape.size;
    uint8_t *want = host_tile(p, tile), *got = malloc(size);
    assert_non_null(got);
    assert_int_equal(woq_buffer_read(tile->buffer, 0, got, size), WOQ_OK);
    for (uint64_t i = 0; i < size; i++)
        if (got[i] != want[i] && (gaps || want[i] != CANARY)) {
            woq_format_name(&p->format, name, sizeof name);
            fail_msg("%s, %u sources%s, N %llu, K %llu, tile of %llu outputs from %llu on: byte %llu is %02x, not "
                     "%02x; codes %llu, scales from %llu, zeros from %llu, perm from %llu",
                     name, p->count, p->gated ? ", gated" : "", (unsigned long long)p->n, (unsigned long long)p->k,
                     (unsigned long long)tile->count, (unsigned long long)tile->first, (unsigned long long)i, got[i],
                     want[i], (unsigned long long)tile->shape.codes_stride, (unsigned long long)tile->shape.scales,
                     (unsigned long long)tile->shape.zeros, (unsigned long long)tile->shape.perm);
        }
    free(want);
    free(got);
}

/* ---- tiles that the device packs ---- */

static void fill_canary(struct woq_buffer *buffer, uint64_t size)
{
    uint8_t *image = malloc(size);
    assert_non_null(image);
    memset(image, CANARY, size);
    assert_int_equal(woq_buffer_write(buffer, 0, image, size), WOQ_OK);
    free(image);
}

/* All tiles of a matrix, of at most `tile_columns` output columns, multiples of 16. False: the device does not pack. */
static bool check_matrix(struct woq_device *device, struct test_sources *sources, uint64_t tile_columns)
{
    const struct woq_weights_params params = {sizeof params, sources->sources, sources->count, sources->gated};
    struct woqi_pack_device *packing = NULL;
    struct woqi_packer p;
    uint64_t ns = 0;
    assert_int_equal(woqi_packer_init(&p, device, &params, WOQI_LAYOUT_FRAG16B), WOQ_OK);
    const uint64_t columns = p.gated ? p.n / 2 : p.n, each = p.gated ? 2 : 1;
    assert_int_equal(woqi_pack_device_create(&p, (tile_columns + 15) / 16 * 16 * each, &packing), WOQ_OK);
    for (uint64_t first = 0; packing && first < columns; first += tile_columns) {
        struct woqi_tile tile = {.first = first};
        tile.count = columns - first < tile_columns ? columns - first : tile_columns;
        assert_int_equal(woqi_tile_shape(p.layout, &p.format, (tile.count + 15) / 16 * 16 * each, p.k_packed, p.groups,
                                         p.perm != NULL, &tile.shape), WOQ_OK);
        const struct woq_buffer_params buffer = {sizeof buffer, tile.shape.size, 0};
        assert_int_equal(woq_buffer_create(device, &buffer, &tile.buffer), WOQ_OK);
        fill_canary(tile.buffer, tile.shape.size);
        assert_int_equal(woqi_pack_device_tile(packing, &tile), WOQ_OK);
        assert_int_equal(woqi_pack_device_finish(packing, &ns), WOQ_OK);
        compare_tile(&p, &tile, true);
        woq_buffer_destroy(&tile.buffer);
    }
    const bool packs = packing != NULL;
    woqi_pack_device_destroy(packing);
    woqi_packer_clear(&p);
    return packs;
}

/* Shapes round the sizes of pieces: 16 and 64 rows, 128 bytes of codes and 32 of tables. */
static bool check_format(struct woq_device *device, const struct woq_format *f)
{
    static const struct {
        uint64_t n, k;
    } shapes[] = {{1, 1},   {15, 7},  {16, 64},  {17, 65},  {50, 130},  {64, 257},
                  {65, 63}, {33, 512}, {80, 545}, {128, 96}, {130, 1100}};
    static const struct {
        uint32_t count;
        bool gated;
    } stacks[] = {{1, false}, {3, false}, {2, true}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t s = 0; s < sizeof stacks / sizeof *stacks; s++) {
            struct test_sources sources = {.count = stacks[s].count, .gated = stacks[s].gated};
            assert_true(sources_make(&sources, f, shapes[i].n, shapes[i].k, &random_state));
            const bool packs = check_matrix(device, &sources, (i + s) % 2 ? 32 : 1000);
            sources_free(&sources);
            if (!packs)
                return false;
        }
    return true;
}

static struct woq_device *open_device(const char *selector, const char *emulate)
{
    struct woq_device_params params = test_params();
    params.emulate = emulate;
    struct woq_device *device = test_try_open(selector, &params);
    assert_non_null(device);
    return device;
}

static void close_device(struct woq_device *device, bool packs)
{
    if (!packs)
        printf("skipped: %s does not pack weights\n", woq_device_get_info(device)->selector);
    assert_true(test_close(&device));
    if (!packs)
        skip();
}

static void test_quantized(void **state)
{
    static const uint64_t groups[] = {1, 5, 8, 32, 128, WOQ_GROUP_CHANNEL, WOQ_GROUP_TENSOR};
    static const enum woq_type scales[] = {WOQ_F16, WOQ_BF16, WOQ_F32};
    struct woq_device *device = open_device(*state, NULL);
    bool packs = true;
    for (int code = WOQ_CODE_U4; code <= WOQ_CODE_U8; code++)
        for (int zero = WOQ_ZERO_SYMMETRIC; zero <= WOQ_ZERO_OFFSET; zero++)
            for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
                for (int index = 0; packs && index < (g < 5 ? 2 : 1); index++) {
                    struct woq_format f = WOQ_FORMAT_INIT;
                    f.code = (enum woq_code)code;
                    f.zero = (enum woq_zero)zero;
                    f.scale = scales[((size_t)zero + g + (size_t)index) % 3];
                    f.group = groups[g];
                    f.g_idx = index;
                    packs = check_format(device, &f);
                }
    close_device(device, packs);
}

static void test_plain(void **state)
{
    struct woq_device *device = open_device(*state, NULL);
    bool packs = true;
    for (int code = WOQ_CODE_F16; packs && code <= WOQ_CODE_BF16; code++) {
        struct woq_format f = WOQ_FORMAT_INIT;
        f.code = (enum woq_code)code;
        packs = check_format(device, &f);
    }
    close_device(device, packs);
}

/* Work-groups that stride, of one party and of several, these without timestamps. */
static void test_few_groups(void **state)
{
    static const char *const limits[] = {"max_groups=2", "max_workgroup=32,max_groups=3,no_timestamps"};
    bool packs = true;
    for (int i = 0; i < 2; i++) {
        struct woq_device *device = open_device(*state, limits[i]);
        const struct woq_format f = {sizeof f, WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 32, i > 0};
        struct test_sources sources = {.count = 2, .gated = true};
        assert_true(sources_make(&sources, &f, 250, 1000, &random_state));
        packs = check_matrix(device, &sources, 1000);
        sources_free(&sources);
        if (i || !packs) {
            close_device(device, packs);
            return;
        }
        assert_true(test_close(&device));
    }
}

/* ---- weights as they are created ---- */

static bool device_packs(struct woq_device *device, enum woqi_layout layout)
{
    char reason[128];
    return layout == WOQI_LAYOUT_FRAG16B && device->backend->buffer_upload &&
           device->backend->kernel_probe(device, (struct woqi_kernel_key){.id = WOQI_KERNEL_PACK}, reason,
                                         sizeof reason);
}

static void check_created(struct woq_device *device, const struct woq_format *f, struct test_sources *sources,
                          uint64_t n, uint64_t k)
{
    const struct woq_weights_params params = {sizeof params, sources->sources, sources->count, sources->gated};
    struct woq_weights_info info = {.struct_size = sizeof info};
    struct woq_weights *w = NULL;
    struct woqi_packer p;
    uint64_t codes = 0;
    assert_true(sources_make(sources, f, n, k, &random_state));
    assert_int_equal(woq_weights_create(device, &params, &w), WOQ_OK);
    assert_int_equal(woq_weights_get_info(w, &info), WOQ_OK);
    assert_int_equal(woqi_packer_init(&p, device, &params, w->layout), WOQ_OK);
    for (uint32_t i = 0; i < w->tile_count; i++) {
        compare_tile(&p, &w->tiles[i], false);
        codes += w->tiles[i].shape.codes_stride * (w->tiles[i].shape.rows / woqi_layout_granule(w->layout));
    }
    assert_int_equal(info.device_packed, codes >= 1u << 20 && !device->host_pack && device_packs(device, w->layout));
    if (!info.device_packed || !(device->info.features & WOQ_FEATURE_TIMESTAMPS))
        assert_int_equal(info.pack_ns, 0);
    woqi_packer_clear(&p);
    woq_weights_destroy(&w);
    sources_free(sources);
}

/* Below and above 1 MiB of codes; chunks of codes, and of tables whose rows take less than a vector. */
static void test_created(void **state)
{
    static const struct {
        struct woq_format format;
        uint32_t count;
        bool gated;
        uint64_t n, k;
    } cases[] = {
        {{sizeof(struct woq_format), WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 128, false}, 1, false, 300, 1024},
        {{sizeof(struct woq_format), WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 128, false}, 1, false, 4100, 4500},
        {{sizeof(struct woq_format), WOQ_CODE_U8, WOQ_ZERO_SYMMETRIC, WOQ_F32, 64, true}, 2, true, 1000, 1056},
        {{sizeof(struct woq_format), WOQ_CODE_U8, WOQ_ZERO_OFFSET, WOQ_BF16, 16, false}, 3, false, 600000, 17},
        {{sizeof(struct woq_format), WOQ_CODE_BF16, WOQ_ZERO_NONE, WOQ_TYPE_NONE, 0, false}, 2, false, 600, 999},
    };
    struct woq_device *device = open_device(*state, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test_sources sources = {.count = cases[i].count, .gated = cases[i].gated};
        check_created(device, &cases[i].format, &sources, cases[i].n, cases[i].k);
    }
    assert_true(test_close(&device));
}

static void test_created_in_tiles(void **state)
{
    const struct woq_format f = {sizeof f, WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 32, true};
    struct woq_device *device = open_device(*state, "max_binding=300K");
    for (int gated = 0; gated < 2; gated++) {
        struct test_sources sources = {.count = 2, .gated = gated};
        check_created(device, &f, &sources, 1100, 1000);
    }
    assert_true(test_close(&device));
}

static void test_created_by_host(void **state)
{
    const struct woq_format f = {sizeof f, WOQ_CODE_U8, WOQ_ZERO_POINT, WOQ_F16, 64, false};
    struct woq_device *device = open_device(*state, "host_pack");
    struct test_sources sources = {.count = 1};
    assert_true(device->host_pack);
    check_created(device, &f, &sources, 1100, 1000);
    assert_true(test_close(&device));
}

struct creation {
    struct woq_device *device;
    const struct woq_weights_params *params;
    struct woq_weights *weights;
    enum woq_status status;
};

static void *create_in_thread(void *argument)
{
    struct creation *c = argument;
    c->status = woq_weights_create(c->device, c->params, &c->weights);
    return NULL;
}

/* Several at once share the memory that uploads go through. */
static void test_created_in_threads(void **state)
{
    enum { THREADS = 4 };
    const struct woq_format f = {sizeof f, WOQ_CODE_U8, WOQ_ZERO_POINT, WOQ_F16, 64, false};
    struct woq_device *device = open_device(*state, NULL);
    struct test_sources sources[THREADS];
    struct woq_weights_params params[THREADS];
    struct creation creations[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        sources[i] = (struct test_sources){.count = 1};
        assert_true(sources_make(&sources[i], &f, 1500 + 16 * (uint64_t)i, 3000, &random_state));
        params[i] = (struct woq_weights_params){sizeof params[i], sources[i].sources, 1, false};
        creations[i] = (struct creation){device, &params[i], NULL, WOQ_OK};
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, create_in_thread, &creations[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        struct woqi_packer p;
        assert_int_equal(creations[i].status, WOQ_OK);
        assert_int_equal(woqi_packer_init(&p, device, &params[i], creations[i].weights->layout), WOQ_OK);
        for (uint32_t t = 0; t < creations[i].weights->tile_count; t++)
            compare_tile(&p, &creations[i].weights->tiles[t], false);
        woqi_packer_clear(&p);
        woq_weights_destroy(&creations[i].weights);
        sources_free(&sources[i]);
    }
    assert_true(test_close(&device));
}

/* Whatever allocation fails, nothing is left behind once the device is closed, which keeps its kernels. */
static void test_no_memory(void **state)
{
    const struct woq_format f = {sizeof f, WOQ_CODE_U4, WOQ_ZERO_POINT, WOQ_F16, 128, true};
    struct woq_device *device = open_device(*state, NULL);
    struct test_sources sources = {.count = 1};
    assert_true(sources_make(&sources, &f, 1024, 2048, &random_state));
    const struct woq_weights_params params = {sizeof params, sources.sources, 1, false};
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    int failures = 0;
    test_expect_errors(true);
    for (; st && failures < 200; failures += st != WOQ_OK) {
        struct woq_weights *w = NULL;
        test_heap_fail_at(test_main_heap(), failures + 1);
        st = woq_weights_create(device, &params, &w);
        test_heap_fail_at(test_main_heap(), -1);
        assert_int_equal(w != NULL, st == WOQ_OK);
        if (st)
            assert_int_equal(st, WOQ_ERROR_OUT_OF_MEMORY);
        woq_weights_destroy(&w);
    }
    test_expect_errors(false);
    assert_int_equal(st, WOQ_OK);
    assert_true(failures > 0);
    sources_free(&sources);
    assert_true(test_close(&device));
}

static void run_on(const char *selector, void *failed)
{
#define ON(test) cmocka_unit_test_prestate(test, (void *)(uintptr_t)selector)
    const struct CMUnitTest tests[] = {
        ON(test_quantized), ON(test_plain),           ON(test_few_groups), ON(test_created), ON(test_created_in_tiles),
        ON(test_created_by_host), ON(test_created_in_threads), ON(test_no_memory),
    };
#undef ON
    *(int *)failed += cmocka_run_group_tests_name(selector, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
    return test_main_each(argc, argv, run_on);
}
