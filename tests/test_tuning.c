/*
 * test_tuning.c: tuning records: what is a record, whose it is, what planning makes of it, and what explain says; bits
 * and fingerprints; files, read and merged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/paths.h"
#include "core/tuning.h"
#include "support/device.h"
#include "support/product.h"

static char folder[] = "/tmp/woq-test-tuning-XXXXXX";
static char file[64], other[64];

static void write_text(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static void read_text(const char *path, char *out, size_t size)
{
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    out[fread(out, 1, size - 1, in)] = 0;
    fclose(in);
}

static bool parse(const char *text, struct woqi_tuning *out, char *why)
{
    return woqi_tuning_parse(&woqi_default_allocator, "f", text, strlen(text), out, why, 512);
}

#define HEAD "woq-tuning 1\nvendor cuda \"N\"\n"
#define REC  "u4 symmetric g128 f16 default 4096x4096"

static void test_parse(void **state)
{
    static const char text[] = "\n# made by hand\r\n  woq-tuning   1 # head\n"
                               "device opencl \"a # b\"  2\t\"c d\"\n"
                               "u4 symmetric g128 f16 default 4096x4096 1-8 gemv/gemv   9-64 gemm/xprep+gemm"
                               "  #  12 µs\n"
                               "f16 none all bf16 exact 1x9223372036854775807 7-7 floor/floor\r\n"
                               "architecture cuda \"sm_90\"\n"
                               "vendor cuda \"N\"\n"
                               "u8 point g32p f32 fixed16 2x3 1-4294967295 gemm/xtile+wgmma_G192X64\n"
                               "u8 offset g1 f16 default 5x5 # none\n";
    struct woqi_tuning t;
    struct woqi_tuning_way way;
    char why[512];
    (void)state;
    assert_true(parse(text, &t, why));
    assert_int_equal(t.count, 4);
    assert_string_equal(t.records[3].ways, "");
    assert_string_equal(t.records[3].comment, "none");
    woqi_tuning_way(&t.records[3], 1, &way);
    assert_true(!*way.variant && way.last == UINT32_MAX);
    assert_string_equal(t.records[0].head, "device opencl \"a # b\" 2 \"c d\"");
    assert_string_equal(t.records[0].product, REC);
    assert_string_equal(t.records[0].ways, "1-8 gemv/gemv 9-64 gemm/xprep+gemm");
    assert_string_equal(t.records[0].comment, "12 µs");
    assert_int_equal(t.records[0].line, 5);
    assert_true(t.records[1].head == t.records[0].head && t.records[1].k == INT64_MAX);
    assert_string_equal(t.records[1].ways, "7-7 floor/floor");
    assert_string_equal(t.records[2].head, "vendor cuda \"N\"");
    woqi_tuning_way(&t.records[0], 8, &way);
    assert_string_equal(way.variant, "gemv/gemv");
    assert_int_equal(way.last, 8);
    woqi_tuning_way(&t.records[0], 9, &way);
    assert_string_equal(way.variant, "gemm/xprep+gemm");
    woqi_tuning_way(&t.records[0], 65, &way);
    assert_true(!*way.variant && way.last == UINT32_MAX);
    woqi_tuning_way(&t.records[1], 3, &way);
    assert_true(!*way.variant && way.last == 6);
    woqi_tuning_way(&t.records[2], UINT32_MAX, &way);
    assert_true(*way.variant && way.last == UINT32_MAX);
    woqi_tuning_free(&woqi_default_allocator, &t);
}

static void test_refused_texts(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "f:1: is empty; must begin with 'woq-tuning 1'"},
        {"# only this\n", "f:2: is empty"},
        {"woq-tuning 2\n", "f:1: must be 'woq-tuning 1'"},
        {"u4 symmetric", "f:1: must be 'woq-tuning 1'"},
        {"woq-tuning 1\nu5", "f:2: 'u5' must be device, architecture or vendor"},
        {"woq-tuning 1\n" REC " 1-8 gemv/gemv", "f:2: a record must follow"},
        {"woq-tuning 1\ndevice opencl \"a\"", "followed by its name in quotation marks, the number"},
        {"woq-tuning 1\ndevice opencl \"a\" two \"b\"", "the number of its compute units"},
        {"woq-tuning 1\ndevice opencl \"a\" 2 b", "its driver in quotation marks"},
        {"woq-tuning 1\nvendor metal \"a\"", "reference, opencl, vulkan or cuda"},
        {"woq-tuning 1\nvendor", "'' is no backend"},
        {"woq-tuning 1\nvendor cuda N", "one name in quotation marks"},
        {"woq-tuning 1\narchitecture cuda \"\"", "one name in quotation marks"},
        {"woq-tuning 1\nvendor cuda \"N", "a quotation mark is missing"},
        {"woq-tuning 1\nvendor cuda \"N\"x", "a blank is missing"},
        {HEAD "u4 point g64 f16 exact", "then pairs of rows and variant"},
        {HEAD REC " 1-8", "then pairs of rows and variant"},
        {HEAD "u4 none g128 f16 default 4x4 1-8 a/b", "must be symmetric, point or offset"},
        {HEAD "f16 point all f16 default 4x4 1-8 a/b", "must be none"},
        {HEAD "u4 point g48 f16 default 4x4 1-8 a/b", "g1, g2, g4"},
        {HEAD "u4 point g12345678p f16 default 4x4 1-8 a/b", "g1, g2, g4"},
        {HEAD "u4 point g64 u8 default 4x4 1-8 a/b", "f16, bf16 or f32"},
        {HEAD "u4 point g64 f16 fast 4x4 1-8 a/b", "default, exact, rounded or fixed16"},
        {HEAD "u4 point g64 f16 exact 4*4 1-8 a/b", "must be like 4096x4096"},
        {HEAD "u4 point g64 f16 exact 0x4 1-8 a/b", "must be like 4096x4096"},
        {HEAD "u4 point g64 f16 exact 4x9223372036854775808 1-8 a/b", "must be like 4096x4096"},
        {HEAD REC " 8-1 a/b", "must be like 9-64"},
        {HEAD REC " 1-4294967296 a/b", "must be like 9-64"},
        {HEAD REC " 0-3 a/b", "must be like 9-64"},
        {HEAD REC " 1-8 a/b 8-9 a/b", "f:3: '8-9' are no rows of X"},
        {HEAD REC " 1-8 gemv", "must be like gemm/xprep+gemm"},
        {HEAD REC " 1-8 a/b/c", "must be like gemm/xprep+gemm"},
        {HEAD "\n\n" REC " 1-8 a\x1b/b", "f:5: a byte 0x1b"},
    };
    struct woqi_tuning t;
    char why[512], big[2048];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (parse(cases[i].text, &t, why) || !strstr(why, cases[i].why))
            fail_msg("case %zu: '%s' lacks '%s'", i, why, cases[i].why);
        woqi_tuning_free(&woqi_default_allocator, &t);
    }
    assert_false(woqi_tuning_parse(&woqi_default_allocator, "f", "woq\0tuning 1", 12, &t, why, sizeof why));
    assert_non_null(strstr(why, "a byte 0x00"));
    woqi_tuning_free(&woqi_default_allocator, &t);
    snprintf(big, sizeof big, "woq-tuning 1 %*s", 1100, "#");
    assert_false(parse(big, &t, why));
    assert_non_null(strstr(why, "at most 1023 bytes"));
    woqi_tuning_free(&woqi_default_allocator, &t);
}

/* ---- planning ---- */

static struct woq_device *open_with(const char *tuning, const char *emulate, const char *cache)
{
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    params.tuning = tuning;
    params.emulate = emulate;
    params.cache_dir = cache;
    assert_int_equal(woq_device_open("reference", &params, &device), WOQ_OK);
    return device;
}

static const char line[] = "code=u4,scale=f16,group=64,n=64,k=256,m=4,max_m=40,x=f16,y=f32,data=random,math=fixed16";
#define FIXED "gemm/xfixed+fixed_PLAIN"
#define RECORD "u4 symmetric g64 f16 fixed16 64x256"

/* Head of the reference device's records, by scope. */
static const char *head(enum woq_tuning_scope scope)
{
    static char text[3][WOQ_TUNING_LINE];
    struct woq_device *device = open_with("off", "", "");
    snprintf(device->info.architecture, sizeof device->info.architecture, "plain c");
    assert_int_equal(woq_tuning_device(device, scope, text[scope]), WOQ_OK);
    assert_true(test_close(&device));
    return text[scope];
}

static struct woq_explain explain(struct woq_device *device, const char *text, const char *path, bool invariant,
                                  uint32_t m, char decided[512])
{
    struct test_case c;
    struct product p;
    struct woq_gemm *gemm = NULL;
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    struct woq_explain e = {.struct_size = sizeof e};
    assert_true(case_parse(text, &c));
    assert_true(product_create(device, &c, &p));
    params.weights = p.weights;
    params.max_m = (uint32_t)c.max_m;
    params.x_type = (enum woq_type)c.x;
    params.y_type = (enum woq_type)c.y;
    params.math = (enum woq_math)c.math;
    params.path = path;
    params.batch_invariant = invariant;
    assert_true(test_ok(woq_gemm_create(device, &params, &gemm), "woq_gemm_create"));
    assert_int_equal(woq_gemm_explain(gemm, m, &e), WOQ_OK);
    snprintf(decided, 512, "%s", e.decided);
    woq_gemm_destroy(&gemm);
    product_destroy(&p);
    e.variant = e.decided = NULL; /* of the GEMM */
    return e;
}

/* What decides for the product with these records. */
static uint64_t decided_by(const char *text, const char *path, bool invariant, uint32_t m, char decided[512])
{
    write_text(file, text);
    struct woq_device *device = open_with(file, NULL, "");
    snprintf(device->info.architecture, sizeof device->info.architecture, "plain c");
    const uint64_t tuning = explain(device, line, path, invariant, m, decided).tuning;
    assert_true(test_close(&device));
    return tuning;
}

static void test_whose(void **state)
{
    char text[8192], decided[512], product[WOQ_TUNING_LINE];
    const char *const exact = head(WOQ_TUNING_DEVICE);
    char driver[WOQ_TUNING_LINE], units[WOQ_TUNING_LINE];
    (void)state;
    snprintf(driver, sizeof driver, "%s", exact);
    memcpy(strstr(driver, "\"woq "), "\"old ", 5);
    snprintf(units, sizeof units, "%s", exact);
    *strstr(units, " 1 ") = 0;
    snprintf(units + strlen(units), 64, " 2 \"woq %s\"", woq_version_string());
    const char *const heads[] = {units, head(WOQ_TUNING_VENDOR), head(WOQ_TUNING_ARCHITECTURE), driver, exact};
    const int level[] = {-1, 3, 2, 1, 0};
    /* Each one goes before those that are less its own; another number of units is another device. */
    size_t used = (size_t)snprintf(text, sizeof text, "woq-tuning 1\n");
    for (int i = 0; i < 5; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\n" RECORD " 1-8 " FIXED " # %d\n", heads[i], i);
        const uint64_t tuning = decided_by(text, NULL, false, 1, decided);
        if (level[i] < 0)
            assert_int_equal(tuning, 0);
        else
            assert_memory_equal(decided, heads[i], strlen(heads[i]));
    }
    /* Of one device, the nearest shape; N and K within a factor of 2. */
    static const struct {
        const char *shapes[2];
        int nearest;
    } cases[] = {{{"128x256", "64x250"}, 1}, {{"64x500", "65x257"}, 1}, {{"32x256", "65x600"}, 0},
                 {{"129x256", "64x127"}, -1}, {{"31x256", "1x1"}, -1}, {{"128x512", "64x513"}, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        used = (size_t)snprintf(text, sizeof text, "woq-tuning 1\n%s\n", exact);
        for (int s = 0; s < 2; s++)
            used += (size_t)snprintf(text + used, sizeof text - used,
                                     "u4 symmetric g64 f16 fixed16 %s 1-8 " FIXED "\n", cases[i].shapes[s]);
        (void)decided_by(text, NULL, false, 1, decided);
        snprintf(product, sizeof product, "g64 f16 fixed16 %s",
                 cases[i].nearest < 0 ? "" : cases[i].shapes[cases[i].nearest]);
        if (cases[i].nearest < 0)
            assert_string_equal(decided, "default");
        else
            assert_non_null(strstr(decided, product));
    }
    /* Another format, type of X or math mode is another product. */
    static const char *const others[] = {"u8 symmetric g64 f16 fixed16", "u4 point g64 f16 fixed16",
                                         "u4 symmetric g32 f16 fixed16", "u4 symmetric g64p f16 fixed16",
                                         "u4 symmetric all f16 fixed16", "u4 symmetric g64 f32 fixed16",
                                         "u4 symmetric g64 f16 exact"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(text, sizeof text, "woq-tuning 1\n%s\n%s 64x256 1-8 " FIXED "\n", exact, others[i]);
        assert_int_equal(decided_by(text, NULL, false, 1, decided), 0);
        assert_string_equal(decided, "default");
    }
}

static void test_product_names(void **state)
{
    static const struct {
        const char *line, *name;
    } cases[] = {
        {line, RECORD},
        {"code=u8,zero=point,scale=f32,group=0,n=33,k=257,m=1,max_m=1,x=f32,y=f32", "u8 point all f32 default 33x257"},
        {"code=u4,zero=offset,scale=f16,group=40,n=8,k=200,m=1,max_m=1,x=bf16,y=f32,math=exact",
         "u4 offset g32 bf16 exact 8x200"},
        {"code=u4,scale=f16,group=32,order=equal,n=8,k=512,m=1,max_m=1,x=f16,y=f32",
         "u4 symmetric g32p f16 default 8x512"},
        {"code=u4,scale=f16,group=256,n=8,k=512,m=1,max_m=1,x=f16,y=f32", "u4 symmetric g128 f16 default 8x512"},
        {"code=bf16,n=9,k=33,m=1,max_m=1,x=f16,y=f32", "bf16 none all f16 default 9x33"},
        {"code=f16,n=9,k=33,m=1,max_m=1,x=f16,y=f32,activation=silu_mul", "f16 none all f16 default 18x33"},
    };
    struct woq_device *device = open_with("off", "", "");
    char name[WOQ_TUNING_LINE];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct test_case c;
        struct product p;
        struct woq_gemm *gemm = NULL;
        assert_true(case_parse(cases[i].line, &c));
        assert_true(product_create(device, &c, &p));
        assert_true(product_gemm(&p, NULL, &gemm));
        assert_int_equal(woq_tuning_product(gemm, name), WOQ_OK);
        assert_string_equal(name, cases[i].name);
        woq_gemm_destroy(&gemm);
        product_destroy(&p);
    }
    test_expect_errors(true);
    assert_int_equal(woq_tuning_product(NULL, name), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_tuning_device(NULL, WOQ_TUNING_DEVICE, name), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_tuning_device(device, WOQ_TUNING_DEVICE, NULL), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_tuning_device(device, (enum woq_tuning_scope)3, name), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_tuning_device(device, WOQ_TUNING_ARCHITECTURE, name), WOQ_ERROR_UNSUPPORTED);
    test_expect_errors(false);
    assert_true(test_close(&device));
}

/* A record that cannot be followed changes nothing, and explain says why; where one ends, order goes on. */
static void test_refusal(void **state)
{
    struct {
        const char *ways, *path;
        bool invariant;
        uint32_t m;
        const char *decided; /* a part; NULL: the record decides */
    } cases[] = {
        {"1-8 " FIXED, NULL, false, 1, NULL},
        {"1-8 " FIXED, NULL, false, 9, "default"},
        {"2-3 floor/floor 5-6 " FIXED, NULL, false, 4, "default"},
        {"2-3 floor/floor 5-6 " FIXED, NULL, false, 6, NULL},
        {"", NULL, false, 1, "default"},
        {"1-8 floor/floor", NULL, false, 8, " asks for floor/floor: does not compute in math mode fixed16"},
        {"1-8 gemm/none", NULL, false, 1, " asks for gemm/none: this version has no such variant"},
        {"1-8 gemm/xprep+gemm", NULL, false, 1, "default, as "},
        {"1-8 " FIXED, NULL, true, 1, "default"},
        {"1-8 " FIXED, "gemm", false, 1, NULL},
        {"1-8 " FIXED, FIXED, false, 1, "asked for"},
    };
    char text[2048], decided[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "woq-tuning 1\n%s\n" RECORD " %s\n", head(WOQ_TUNING_DEVICE), cases[i].ways);
        const uint64_t tuning = decided_by(text, cases[i].path, cases[i].invariant, cases[i].m, decided);
        if (cases[i].decided ? tuning || !strstr(decided, cases[i].decided)
                             : !tuning || !strstr(decided, file))
            fail_msg("case %zu: fingerprint %llx, decided by '%s'", i, (unsigned long long)tuning, decided);
    }
    /* A path that was asked for: none but its variants. */
    static const char exact[] = "code=u4,scale=f16,group=64,n=64,k=256,m=4,max_m=40,x=f16,y=f32,data=random";
    snprintf(text, sizeof text, "woq-tuning 1\n%s\nu4 symmetric g64 f16 default 64x256 1-8 gemm/xprep+gemm\n",
             head(WOQ_TUNING_DEVICE));
    write_text(file, text);
    struct woq_device *device = open_with(file, NULL, "");
    (void)explain(device, exact, "floor", false, 1, decided);
    assert_non_null(strstr(decided, "another path was asked for"));
    assert_true(test_close(&device));
}

/* More ranges than a GEMM has room for: the last ones are planned as without. */
static void test_many_ranges(void **state)
{
    char text[WOQ_TUNING_LINE], decided[512];
    size_t used = (size_t)snprintf(text, sizeof text, "woq-tuning 1\n%s\n" RECORD, head(WOQ_TUNING_DEVICE));
    (void)state;
    for (uint32_t m = 1; m < 40; m += 2)
        used += (size_t)snprintf(text + used, sizeof text - used, " %u-%u " FIXED, m, m);
    snprintf(text + used, sizeof text - used, "\n");
    assert_int_not_equal(decided_by(text, NULL, false, 11, decided), 0);
    assert_int_equal(decided_by(text, NULL, false, 12, decided), 0);
    assert_int_equal(decided_by(text, NULL, false, 39, decided), 0);
    assert_string_equal(decided, "default");
}

/* The record's fingerprint: the same while the record is, whatever else the file has. */
static void test_fingerprint(void **state)
{
    static const char *const ways[] = {"1-8 " FIXED, "1-9 " FIXED, "1-8 floor/floor", "1-8 " FIXED " # 7 µs"};
    uint64_t prints[4];
    char text[2048], decided[512];
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        snprintf(text, sizeof text,
                 "woq-tuning 1\n# %zu\n%s\nu8 symmetric all f16 exact 1x%zu 1-1 a/b\n" RECORD " %s\n", i,
                 head(WOQ_TUNING_DEVICE), i + 1, ways[i]);
        prints[i] = decided_by(text, NULL, false, 2, decided);
    }
    assert_true(prints[0] && prints[1] && !prints[2]);
    assert_int_not_equal(prints[0], prints[1]);
    assert_int_equal(prints[0], prints[3]);
}

/* ---- where records come from ---- */

static void test_sources(void **state)
{
    char text[2048], decided[512], path[512];
    struct woq_device_params params = WOQ_DEVICE_PARAMS_INIT;
    (void)state;
    snprintf(text, sizeof text, "woq-tuning 1\n%s\n" RECORD " 1-8 " FIXED "\n", head(WOQ_TUNING_DEVICE));
    snprintf(other, sizeof other, "%s/tuning.txt", folder);
    write_text(file, text);
    write_text(other, text);
    static const struct {
        const char *environment, *emulate;
        bool named, cache;
        int source; /* 0: none, 1: file, 2: tuning.txt of the cache */
    } cases[] = {
        {NULL, "", false, false, 0},   {NULL, "", false, true, 2},    {NULL, "", true, true, 1},
        {"off", "", false, true, 0},   {"FILE", "", false, true, 1},  {"FILE", "", false, false, 1},
        {"", "", false, true, 2},      {"off", "", true, true, 1},    {NULL, "no_replay", false, true, 0},
        {NULL, "no_replay", true, true, 1}, {"FILE", "no_replay", false, true, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].environment)
            setenv("WOQ_TUNING", strcmp(cases[i].environment, "FILE") ? cases[i].environment : file, 1);
        else
            unsetenv("WOQ_TUNING");
        const char *named = cases[i].named ? file : NULL, *cache = cases[i].cache ? folder : "";
        struct woq_device *device = open_with(named, cases[i].emulate, cache);
        const uint64_t tuning = explain(device, line, NULL, false, 1, decided).tuning;
        const char *source = cases[i].source == 1 ? file : other;
        if (cases[i].source ? !tuning || !strstr(decided, source) : tuning != 0)
            fail_msg("case %zu: decided by '%s'", i, decided);
        assert_true(test_close(&device));
        params.tuning = named;
        params.cache_dir = cache;
        if (cases[i].source) {
            assert_int_equal(woq_tuning_file(&params, path, sizeof path), WOQ_OK);
            assert_string_equal(path, source);
        }
    }
    unsetenv("WOQ_TUNING");
    params.tuning = "off";
    assert_int_equal(woq_tuning_file(&params, path, sizeof path), WOQ_ERROR_UNSUPPORTED);
    params.tuning = file;
    assert_int_equal(woq_tuning_file(&params, path, 4), WOQ_ERROR_UNSUPPORTED);
    assert_string_equal(path, "");
    assert_int_equal(woq_tuning_file(&params, NULL, 4), WOQ_ERROR_INVALID_ARGUMENT);
    params.struct_size = 8;
    assert_int_equal(woq_tuning_file(&params, path, sizeof path), WOQ_ERROR_INVALID_ARGUMENT);
}

static char warned[512];

static void listen(void *user, enum woq_log_level level, const char *message)
{
    (void)user;
    if (level == WOQ_LOG_WARNING)
        snprintf(warned, sizeof warned, "%s", message);
}

/* A file that is wrong, or not there, is said to be so, and the device works. */
static void test_wrong_file(void **state)
{
    struct woq_device_params params = test_params();
    static const char *const texts[] = {"woq-tuning 1\nnonsense\n", "", NULL};
    static const char *const why[] = {":2: 'nonsense' must be", "is empty", "No such file"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct woq_device *device = NULL;
        char decided[512];
        unlink(file);
        if (texts[i])
            write_text(file, texts[i]);
        params.tuning = file;
        params.log = listen;
        warned[0] = 0;
        assert_int_equal(woq_device_open("reference", &params, &device), WOQ_OK);
        assert_non_null(strstr(warned, why[i]));
        assert_int_equal(explain(device, line, NULL, false, 1, decided).tuning, 0);
        assert_true(test_close(&device));
    }
    params.tuning = folder; /* not a file at all */
    struct woq_device *device = NULL;
    warned[0] = 0;
    assert_int_equal(woq_device_open("reference", &params, &device), WOQ_OK);
    assert_non_null(strstr(warned, folder));
    assert_true(test_close(&device));
}

static void test_no_memory(void **state)
{
    struct woq_device_params params = test_params();
    char text[2048];
    enum woq_status st = WOQ_ERROR_OUT_OF_MEMORY;
    (void)state;
    snprintf(text, sizeof text, "woq-tuning 1\n%s\n" RECORD " 1-8 " FIXED "\n", head(WOQ_TUNING_DEVICE));
    write_text(file, text);
    params.tuning = file;
    params.cache_dir = "";
    for (int64_t n = 0; st && n < 100; n++) {
        struct woq_device *device = NULL;
        test_heap_fail_at(test_main_heap(), n);
        test_expect_errors(true);
        st = woq_device_open("reference", &params, &device);
        test_expect_errors(false);
        test_heap_fail_at(test_main_heap(), -1);
        assert_true(st == WOQ_OK || st == WOQ_ERROR_OUT_OF_MEMORY);
        if (device) {
            assert_int_equal(device->tuning[0].count, 1);
            assert_true(device->tuning[1].text != NULL);
            woq_device_destroy(&device);
        }
        assert_int_equal(test_heap_balance(test_main_heap()), 0);
    }
    assert_int_equal(st, WOQ_OK);
}

/* ---- merging ---- */

static void test_merge(void **state)
{
    char text[4096], deep[128];
    struct stat info;
    (void)state;
    unlink(file);
    assert_int_equal(woq_tuning_merge(file, HEAD REC " 1-8 a/b # first\n"), WOQ_OK);
    assert_int_equal(woq_tuning_merge(file, HEAD "u8 symmetric all f16 exact 1x1 1-8 a/b#c\n"
                                                 "architecture cuda \"s\"\n" REC " 1-8 a/b\n"),
                     WOQ_OK);
    assert_int_equal(woq_tuning_merge(file, HEAD REC " 1-9 c/d # second\n"), WOQ_OK);
    read_text(file, text, sizeof text);
    assert_non_null(strstr(text, "woq-tuning 1\n#"));
    assert_non_null(strstr(text, "\nvendor cuda \"N\"\nu8 symmetric all f16 exact 1x1 1-8 a/b # c\n" REC
                                 " 1-9 c/d # second\n\narchitecture cuda \"s\"\n" REC " 1-8 a/b\n"));
    assert_null(strstr(text, "first"));
    assert_true(!stat(file, &info) && !(info.st_mode & 077));

    test_expect_errors(true);
    assert_int_equal(woq_tuning_merge(file, "woq-tuning 1\nnonsense"), WOQ_ERROR_INVALID_ARGUMENT);
    assert_non_null(strstr(woq_last_message(), "text:2: 'nonsense'"));
    assert_int_equal(woq_tuning_merge(NULL, HEAD), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_tuning_merge(file, NULL), WOQ_ERROR_INVALID_ARGUMENT);
    assert_int_equal(woq_tuning_merge(folder, HEAD), WOQ_ERROR_DRIVER);
    write_text(file, "mine");
    assert_int_equal(woq_tuning_merge(file, HEAD), WOQ_ERROR_INVALID_DATA);
    read_text(file, text, sizeof text);
    assert_string_equal(text, "mine");
    snprintf(deep, sizeof deep, "%s/file/x", file);
    assert_int_equal(woq_tuning_merge(deep, HEAD), WOQ_ERROR_DRIVER);
    test_expect_errors(false);
    snprintf(deep, sizeof deep, "%s/a/b/tuning.txt", folder);
    assert_int_equal(woq_tuning_merge(deep, HEAD), WOQ_OK);
    read_text(deep, text, sizeof text);
    assert_null(strstr(text, "vendor")); /* a section without records */
    snprintf(text, sizeof text, "rm -r '%s/a'", folder);
    assert_int_equal(system(text), 0);
}

static void test_shipped(void **state)
{
    struct woq_device *device = open_with(NULL, "", "");
    (void)state;
    assert_non_null(device->tuning[1].text); /* and so in the format */
    for (size_t i = 0; i < device->tuning[1].count; i++)
        assert_true(strlen(device->tuning[1].records[i].comment) > 0); /* says what was measured */
    assert_true(test_close(&device));
}

/* ---- bits, on every device ---- */

/* A recorded variant computes what the variant computes that is asked for, and explain tells it from the default. */
static void check_device(const char *selector, void *user)
{
    static const char *const lines[] = {
        "code=u4,scale=f16,group=64,n=65,k=256,m=7,max_m=7,x=f16,y=f32,data=random",
        "code=u8,zero=point,scale=f16,group=32,n=64,k=320,m=3,max_m=3,x=f16,y=f16,data=random",
        "code=u4,scale=f16,group=64,n=64,k=256,m=9,max_m=9,x=f16,y=f32,data=random,math=fixed16",
    };
    struct woq_device_params params = test_params();
    unsigned followed = 0, *all = user;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char variant[WOQ_VARIANT_NAME], product[WOQ_TUNING_LINE], own[WOQ_TUNING_LINE], text[4096];
        struct test_case c;
        assert_true(case_parse(lines[i], &c));
        for (uint32_t v = 0; woq_variant_name(v, variant); v++) {
            struct product p;
            struct woq_device *device = test_try_open(selector, &params), *tuned = NULL;
            struct woq_gemm *gemm = NULL;
            struct woq_explain e = {.struct_size = sizeof e};
            assert_non_null(device);
            assert_true(product_create(device, &c, &p));
            const enum product_result asked = product_run(&p, variant);
            uint8_t *bits = malloc(p.y.size);
            assert_non_null(bits);
            memcpy(bits, p.y.actual, p.y.size);
            if (asked == PRODUCT_PASSED) {
                assert_true(product_gemm(&p, variant, &gemm));
                assert_int_equal(woq_tuning_product(gemm, product), WOQ_OK);
                assert_int_equal(woq_tuning_device(device, WOQ_TUNING_DEVICE, own), WOQ_OK);
                woq_gemm_destroy(&gemm);
            }
            product_destroy(&p);
            assert_true(test_close(&device));
            assert_int_not_equal(asked, PRODUCT_FAILED);
            if (asked == PRODUCT_PASSED) {
                snprintf(text, sizeof text, "woq-tuning 1\n%s\n%s 1-16 %s\n", own, product, variant);
                write_text(file, text);
                struct woq_device_params with = params;
                with.tuning = file;
                tuned = test_try_open(selector, &with);
                assert_non_null(tuned);
                assert_true(product_create(tuned, &c, &p));
                assert_true(product_gemm(&p, NULL, &gemm));
                assert_int_equal(woq_gemm_explain(gemm, (uint32_t)c.m, &e), WOQ_OK);
                assert_string_equal(e.variant, variant);
                assert_true(e.tuning != 0);
                woq_gemm_destroy(&gemm);
                assert_int_equal(product_run(&p, NULL), PRODUCT_PASSED);
                assert_memory_equal(bits, p.y.actual, p.y.size);
                product_destroy(&p);
                assert_true(test_close(&tuned));
                followed++;
            }
            free(bits);
        }
    }
    printf("%s: %u records followed\n", selector, followed);
    assert_true(followed > 0);
    *all += followed;
}

static void test_bits(void **state)
{
    unsigned followed = 0;
    (void)state;
    assert_true(test_each_selector(check_device, &followed) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),         cmocka_unit_test(test_refused_texts),
        cmocka_unit_test(test_whose),         cmocka_unit_test(test_product_names),
        cmocka_unit_test(test_refusal),       cmocka_unit_test(test_many_ranges),
        cmocka_unit_test(test_fingerprint),   cmocka_unit_test(test_sources),
        cmocka_unit_test(test_wrong_file),    cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_merge),         cmocka_unit_test(test_shipped),
        cmocka_unit_test(test_bits),
    };
    if (!mkdtemp(folder))
        return 1;
    unsetenv("WOQ_TUNING");
    snprintf(file, sizeof file, "%s/records", folder);
    snprintf(other, sizeof other, "%s/tuning.txt", folder);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file);
    unlink(other);
    rmdir(folder);
    return failed || test_error_count();
}
