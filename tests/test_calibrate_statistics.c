/* test_calibrate_statistics.c: sums against the same in a naive way, their file, and whose they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calibrate/statistics.h"
#include "checkpoint/checkpoint_impl.h"
#include "support/data.h"
#include "support/expect.h"
#include "support/tiny_model.h"

enum { LAYERS = 2, INPUTS = 4 * LAYERS, ROWS = 700 };

static const struct tiny_model llama = {.architecture = "llama", .layers = LAYERS, .hidden = 160, .heads = 4,
                                        .kv_heads = 2, .head_dim = 12, .intermediate = 200, .tied = true};
static const uint64_t widths[4] = {160, 48, 160, 200};

static char directory[] = "/tmp/woq_test_statistics.XXXXXX", file[96];
static struct woq_checkpoint *model;
static struct woq_model_config config;

static struct woq_checkpoint *open_model(const struct tiny_model *m, const struct tiny_faults *faults, const char *name)
{
    struct woq_checkpoint *c = NULL;
    char path[96];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_true(tiny_write(m, faults, path));
    EXPECT_OK(woq_checkpoint_open(path, NULL, &c));
    test_expectations_met();
    return c;
}

/* ---- Sums ---- */

/* Activations of many sizes; `broken`: some that are not finite. */
static float *make_rows(uint64_t k, bool broken, uint64_t seed)
{
    static const float some[] = {0, -0.0f, 65504, -65504, 1e-7f, 0x1p-14f, 0x1.fffffep-15f, 0x1p17f, 0x1.fffffep16f,
                                 1.41421354f, 1.41421366f, 0x1p-149f, 1, -1, 3e5f};
    struct test_random r = {seed};
    float *x = malloc(ROWS * k * sizeof *x);
    assert_non_null(x);
    for (uint64_t i = 0; i < ROWS * k; i++) {
        const uint64_t kind = random_below(&r, 100);
        x[i] = kind < 10 ? some[random_below(&r, sizeof some / sizeof *some)]
                         : (float)(random_normal(&r) * exp2(random_uniform(&r) * 20 - 10));
        if (broken && kind == 99)
            x[i] = random_below(&r, 2) ? NAN : -INFINITY;
    }
    return x;
}

/* By comparing with the bins' ends, one after the other. */
static int naive_bin(double a)
{
    int bin = 0;
    while (bin < WOQI_STATISTICS_BINS - 1 && a >= exp2(bin / 2.0 - 14))
        bin++;
    return bin;
}

static void check_input(const struct woqi_channel_statistics *c, const float *x)
{
    uint64_t histogram[WOQI_STATISTICS_BINS] = {0}, not_finite = 0;
    for (uint64_t i = 0; i < c->k; i++) {
        double most = 0, sum_abs = 0, sum = 0, squares = 0;
        for (uint64_t r = 0; r < ROWS; r++) {
            const double v = (double)x[r * c->k + i];
            if (!isfinite(v)) {
                not_finite++;
                continue;
            }
            histogram[naive_bin(fabs(v))]++;
            most = fmax(most, fabs(v));
            sum_abs += fabs(v);
            sum += v;
            squares += v * v;
        }
        assert_true((double)c->absmax[i] == most);
        assert_true(fabs(c->sum_abs[i] - sum_abs) <= 1e-12 * sum_abs);
        assert_true(fabs(c->sum[i] - sum) <= 1e-12 * sum_abs);
        assert_true(fabs(c->sum_squares[i] - squares) <= 1e-12 * squares);
    }
    assert_memory_equal(c->histogram, histogram, sizeof histogram);
    assert_int_equal(c->not_finite, not_finite);
    assert_int_equal(c->rows, ROWS);
}

static void test_sums(void **state)
{
    struct woqi_statistics s, again;
    (void)state;
    EXPECT_OK(woqi_statistics_create(&config, &s));
    EXPECT_OK(woqi_statistics_create(&config, &again));
    test_expectations_met();
    assert_int_equal(s.count, INPUTS);
    assert_string_equal(s.inputs[0].name, "model.layers.0.self_attn.q_proj");
    assert_string_equal(s.inputs[5].name, "model.layers.1.self_attn.o_proj");
    assert_string_equal(s.inputs[6].name, "model.layers.1.mlp.gate_proj");
    assert_string_equal(s.inputs[7].name, "model.layers.1.mlp.down_proj");
    for (uint32_t i = 0; i < 4; i++) {
        struct woqi_channel_statistics *c = &s.inputs[i], *d = &again.inputs[i];
        float *x = make_rows(c->k, i & 1, i + 1);
        assert_int_equal(c->k, widths[i]);
        omp_set_num_threads(3);
        woqi_statistics_add(c, ROWS, x);
        check_input(c, x);
        assert_true(i & 1 ? c->not_finite > 0 : !c->not_finite);
        /* The same to the bit by one thread, and in pieces. */
        omp_set_num_threads(1);
        woqi_statistics_add(d, 1, x);
        woqi_statistics_add(d, 0, x);
        woqi_statistics_add(d, ROWS - 1, x + c->k);
        assert_memory_equal(c->sum, d->sum, c->k * sizeof *c->sum);
        assert_memory_equal(c->sum_abs, d->sum_abs, c->k * sizeof *c->sum);
        assert_memory_equal(c->sum_squares, d->sum_squares, c->k * sizeof *c->sum);
        assert_memory_equal(c->absmax, d->absmax, c->k * sizeof *c->absmax);
        assert_memory_equal(c->histogram, d->histogram, sizeof c->histogram);
        assert_int_equal(c->not_finite, d->not_finite);
        free(x);
    }
    woqi_statistics_release(&s);
    woqi_statistics_release(&s);
    woqi_statistics_release(&again);
    struct woq_model_config none = config;
    none.layers = 0;
    EXPECT_BAD("0 layers", woqi_statistics_create(&none, &s));
    test_expectations_met();
}

/* ---- The file ---- */

static void fill(struct woqi_statistics *s)
{
    EXPECT_OK(woqi_statistics_create(&config, s));
    EXPECT_OK(woqi_checkpoint_fingerprint(model, s->model));
    test_expectations_met();
    s->samples = 7;
    s->window = 100;
    s->seed = UINT64_MAX;
    snprintf(s->text, sizeof s->text, "some text.txt");
    for (uint32_t i = 0; i < s->count; i++) {
        float *x = make_rows(s->inputs[i].k, i == 3, i + 10);
        woqi_statistics_add(&s->inputs[i], ROWS, x);
        free(x);
    }
}

static void test_round_trip(void **state)
{
    struct woqi_statistics s, got;
    struct woq_checkpoint *c = NULL;
    const char *text;
    size_t size;
    (void)state;
    fill(&s);
    EXPECT_OK(woqi_statistics_write(&s, file));
    EXPECT_OK(woqi_statistics_read(file, model, &got));
    test_expectations_met();
    assert_true(got.count == s.count && got.samples == 7 && got.window == 100 && got.seed == UINT64_MAX);
    assert_string_equal(got.model, s.model);
    assert_string_equal(got.text, "some text.txt");
    for (uint32_t i = 0; i < s.count; i++) {
        const struct woqi_channel_statistics *a = &s.inputs[i], *b = &got.inputs[i];
        assert_string_equal(a->name, b->name);
        assert_true(a->k == b->k && b->rows == ROWS && a->not_finite == b->not_finite);
        assert_memory_equal(a->absmax, b->absmax, a->k * sizeof *a->absmax);
        assert_memory_equal(a->histogram, b->histogram, sizeof a->histogram);
        for (uint64_t j = 0; j < a->k; j++) { /* means were rounded to FP32 */
            assert_true(fabs(b->sum[j] - a->sum[j]) <= 0x1p-24 * fabs(a->sum[j]) + 1e-300);
            assert_true(fabs(b->sum_abs[j] - a->sum_abs[j]) <= 0x1p-24 * a->sum_abs[j]);
            assert_true(fabs(b->sum_squares[j] - a->sum_squares[j]) <= 0x1p-24 * a->sum_squares[j]);
        }
    }
    assert_true(s.inputs[3].not_finite > 0);
    /* Any reader of safetensors sees them, by these names. */
    EXPECT_OK(woq_checkpoint_open(file, NULL, &c));
    assert_int_equal(woq_checkpoint_tensor_count(c), INPUTS * 5);
    const struct woq_tensor *t = woq_checkpoint_find(c, "model.layers.1.mlp.down_proj.second_moment");
    assert_true(t && t->type == WOQ_TENSOR_F32 && t->rank == 1 && t->shape[0] == 200);
    assert_true(woq_checkpoint_get_string(c, "__metadata__.woq.rows", &text, &size) && size == 3);
    assert_memory_equal(text, "700", 3);
    woq_checkpoint_close(&c);
    /* Over the old one; a name that is no UTF-8. */
    woqi_statistics_release(&got);
    snprintf(s.text, sizeof s.text, "caf\xe9\n.txt");
    EXPECT_OK(woqi_statistics_write(&s, file));
    EXPECT_OK(woqi_statistics_read(file, model, &got));
    assert_string_equal(got.text, "caf??.txt");
    woqi_statistics_release(&got);
    woqi_statistics_release(&s);
    test_expectations_met();
}

static void test_refused(void **state)
{
    const struct tiny_faults one_element = {NULL, "model.layers.1.self_attn.v_proj.weight", NULL};
    struct woqi_statistics s, got;
    char other_print[65], path[128];
    (void)state;
    fill(&s);
    EXPECT_OK(woqi_statistics_write(&s, file));
    struct woq_checkpoint *other = open_model(&llama, &one_element, "other");
    EXPECT_OK(woqi_checkpoint_fingerprint(other, other_print));
    EXPECT(WOQ_ERROR_INVALID_DATA, s.model, woqi_statistics_read(file, other, &got));
    EXPECT(WOQ_ERROR_INVALID_DATA, other_print, woqi_statistics_read(file, other, &got));
    woq_checkpoint_close(&other);
    snprintf(path, sizeof path, "%s/other", directory);
    tiny_remove(path);
    assert_true(!got.count && !got.inputs);
    EXPECT_BAD("No such file", woqi_statistics_read("/nowhere.safetensors", model, &got));
    snprintf(path, sizeof path, "%s/model/model.safetensors", directory);
    EXPECT(WOQ_ERROR_INVALID_DATA, "woq.kind", woqi_statistics_read(path, model, &got));
    s.inputs[2].rows--;
    EXPECT_BAD("699", woqi_statistics_write(&s, file));
    s.inputs[2].rows++;
    s.inputs[2].sum_squares[1] = 1e300;
    EXPECT(WOQ_ERROR_INVALID_DATA, "layers.0.mlp.gate_proj.second_moment: channel 1", woqi_statistics_write(&s, file));
    s.inputs[2].sum_squares[1] = 1;
    EXPECT(WOQ_ERROR_DRIVER, "nowhere", woqi_statistics_write(&s, "/nowhere/at/all"));
    EXPECT_BAD("no name", woqi_statistics_write(&s, "/tmp/"));
    EXPECT(WOQ_ERROR_DRIVER, "directory", woqi_statistics_write(&s, directory));
    test_expectations_met();
    woqi_statistics_release(&s);
}

/* What was there stays, and nothing is left aside, when another process writes or the disk is full. */
static void test_whole_or_not(void **state)
{
    struct woqi_statistics s, got;
    char aside[128];
    int status;
    (void)state;
    fill(&s);
    EXPECT_OK(woqi_statistics_write(&s, file));
    snprintf(aside, sizeof aside, "%s/.statistics.woq-partial", directory);
    const int fd = open(aside, O_WRONLY | O_CREAT, 0666);
    assert_true(fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB));
    s.seed = 3;
    EXPECT(WOQ_ERROR_INVALID_STATE, "another process", woqi_statistics_write(&s, file));
    assert_int_equal(access(aside, F_OK), 0); /* the other's */
    assert_int_equal(write(fd, "left by a killed run", 20), 20);
    close(fd);
    pid_t child = fork();
    if (!child) {
        const struct rlimit limit = {8192, 8192};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        enum woq_status st = woqi_statistics_write(&s, file);
        _exit(st == WOQ_ERROR_DRIVER && strstr(woq_last_message(), "File too large") ? 7 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    assert_int_equal(access(aside, F_OK), -1);
    EXPECT_OK(woqi_statistics_read(file, model, &got));
    assert_true(got.seed == UINT64_MAX);
    woqi_statistics_release(&got);
    EXPECT_OK(woqi_statistics_write(&s, file));
    EXPECT_OK(woqi_statistics_read(file, model, &got));
    assert_true(got.seed == 3);
    assert_int_equal(access(aside, F_OK), -1);
    woqi_statistics_release(&got);
    woqi_statistics_release(&s);
    test_expectations_met();
}

/* ---- Broken files ---- */

static uint8_t *read_all(size_t *size)
{
    struct stat info;
    FILE *f = fopen(file, "rb");
    assert_true(f && !fstat(fileno(f), &info));
    *size = (size_t)info.st_size;
    uint8_t *data = malloc(*size);
    assert_true(data && fread(data, 1, *size, f) == *size);
    fclose(f);
    return data;
}

static void write_all(const uint8_t *data, size_t size)
{
    FILE *f = fopen(file, "wb");
    assert_true(f && fwrite(data, 1, size, f) == size && !fclose(f));
}

/* The file with `from`, where it comes first in the header, replaced by as many bytes. */
static void check_replaced(const uint8_t *data, size_t size, const char *from, const char *to, const char *mention)
{
    struct woqi_statistics got;
    uint8_t *copy = malloc(size);
    const size_t length = strlen(from);
    size_t at = 8;
    assert_true(copy && strlen(to) == length);
    memcpy(copy, data, size);
    while (at + length < size && memcmp(copy + at, from, length))
        at++;
    assert_true(at + length < size);
    memcpy(copy + at, to, length);
    write_all(copy, size);
    EXPECT(WOQ_ERROR_INVALID_DATA, mention, woqi_statistics_read(file, model, &got));
    assert_null(got.inputs);
    free(copy);
}

/* The file with other bytes at element `index` of a tensor. */
static void check_element(const uint8_t *data, size_t size, const char *name, uint64_t index, const void *element,
                          size_t element_size, const char *mention)
{
    struct woqi_statistics got;
    struct woq_checkpoint *c = NULL;
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, data, size);
    write_all(copy, size);
    EXPECT_OK(woq_checkpoint_open(file, NULL, &c));
    const struct woq_tensor *t = woq_checkpoint_find(c, name);
    assert_non_null(t);
    const size_t offset = (size_t)((const uint8_t *)t->data - c->maps[0].data);
    woq_checkpoint_close(&c);
    memcpy(copy + offset + index * element_size, element, element_size);
    write_all(copy, size);
    EXPECT(WOQ_ERROR_INVALID_DATA, mention, woqi_statistics_read(file, model, &got));
    free(copy);
}

static void test_broken(void **state)
{
    static const char *const replaced[][3] = {
        {"\"woq.kind\":\"statistics\"", "\"woq.kind\":\"statistixs\"", "woq.kind"},
        {"\"woq.kind\"", "\"woq.kino\"", "woq.kind"},
        {"\"woq.model\"", "\"woq.modem\"", "another model"},
        {"\"woq.samples\":\"7\"", "\"woq.samples\":\"x\"", "woq.samples"},
        {"\"woq.samples\":\"7\"", "\"woq.samples\": 7 ", "woq.samples"},
        {"\"woq.window\":\"100\"", "\"woq.window\":\"000\"", "woq.window"},
        {"\"woq.seed\":\"18446744073709551615\"", "\"woq.seed\":\"18446744073709551616\"", "woq.seed"},
        {"\"woq.rows\":\"700\"", "\"woq.rows\":\"-70\"", "woq.rows"},
        {"\"woq.rows\":\"700\"", "\"woq.rows\":\"600\"", "bin"},
        {"q_proj.absmax", "q_proj.absmin", "q_proj.absmax' is missing"},
        {"o_proj.histogram", "o_proj.histogran", "o_proj.histogram' is missing"},
        {"q_proj.mean\":{\"dtype\":\"F32\"", "q_proj.mean\":{\"dtype\":\"I32\"", "q_proj.mean' is of another type"},
        {"q_proj.histogram\":{\"dtype\":\"I64\"", "q_proj.histogram\":{\"dtype\":\"U64\"", "another type or shape"},
        {"\"shape\":[160]", "\"shape\":[161]", NULL}};
    const float nan = NAN, negative = -1;
    const int64_t below = -1, many = INT64_MAX;
    struct woqi_statistics s;
    size_t size;
    (void)state;
    fill(&s);
    EXPECT_OK(woqi_statistics_write(&s, file));
    uint8_t *data = read_all(&size);
    for (size_t i = 0; i < sizeof replaced / sizeof *replaced; i++)
        check_replaced(data, size, replaced[i][0], replaced[i][1], replaced[i][2]);
    check_element(data, size, "model.layers.1.mlp.gate_proj.mean", 159, &nan, 4, "channel 159; must be finite");
    check_element(data, size, "model.layers.0.self_attn.o_proj.absmax", 2, &negative, 4, "not below 0");
    check_element(data, size, "model.layers.1.mlp.gate_proj.second_moment", 0, &negative, 4, "not below 0");
    check_element(data, size, "model.layers.1.mlp.down_proj.histogram", 5, &below, 8, "bin 5");
    check_element(data, size, "model.layers.1.mlp.down_proj.histogram", 63, &many, 8, "bin 63");
    test_expectations_met();
    woqi_statistics_release(&s);
    free(data);
}

/* Cut anywhere, or with bytes changed anywhere: a status with a message, never more. */
static void test_mutations(void **state)
{
    enum { CUTS = 300, CHANGES = 1500 };
    struct woqi_statistics s, got;
    struct test_random r = {99};
    size_t size;
    unsigned fine = 0;
    (void)state;
    fill(&s);
    EXPECT_OK(woqi_statistics_write(&s, file));
    uint8_t *data = read_all(&size), *copy = malloc(size);
    assert_non_null(copy);
    const size_t header = 8 + (size_t)data[0] + ((size_t)data[1] << 8) + ((size_t)data[2] << 16);
    for (int i = 0; i < CUTS; i++) {
        write_all(data, i < 20 ? (size_t)i : (size_t)random_below(&r, size));
        const enum woq_status st = woqi_statistics_read(file, model, &got);
        assert_true(st == WOQ_ERROR_INVALID_DATA && *woq_last_message() && !got.inputs);
    }
    for (int i = 0; i < CHANGES; i++) {
        memcpy(copy, data, size);
        for (uint64_t n = 1 + random_below(&r, 4); n; n--) /* most in the header */
            copy[random_below(&r, random_below(&r, 4) ? header : size)] = (uint8_t)random_bits(&r);
        write_all(copy, size);
        const enum woq_status st = woqi_statistics_read(file, model, &got);
        fine += !st;
        assert_true(!st == !!got.inputs && (!st || *woq_last_message()));
        assert_true(!st || st == WOQ_ERROR_INVALID_DATA || st == WOQ_ERROR_UNSUPPORTED);
        woqi_statistics_release(&got);
    }
    assert_true(fine < CHANGES / 2);
    free(copy);
    free(data);
    woqi_statistics_release(&s);
    test_expectations_met();
}

/* ---- Fingerprints ---- */

/* A safetensors file: its header and `size` bytes. The array is static. */
static uint8_t *make_file(const char *header, size_t size, size_t *whole)
{
    static uint8_t file_data[1 << 17];
    const size_t length = strlen(header);
    assert_true(8 + length + size <= sizeof file_data);
    memset(file_data, 0, 8);
    file_data[0] = (uint8_t)length;
    file_data[1] = (uint8_t)(length >> 8);
    memcpy(file_data + 8, header, length);
    *whole = 8 + length + size;
    return file_data;
}

static void print_of(const uint8_t *data, size_t size, char out[65])
{
    struct woq_checkpoint *c = NULL;
    EXPECT_OK(woqi_ckpt_open_memory(WOQ_CONTAINER_SAFETENSORS, data, size, &c));
    EXPECT_OK(woqi_checkpoint_fingerprint(c, out));
    woq_checkpoint_close(&c);
    test_expectations_met();
}

static void test_fingerprint(void **state)
{
    enum { SMALL = 30, BIG = 400 * 256 };
    static const char *const headers[] = {
        "{\"a.weight\":{\"dtype\":\"F16\",\"shape\":[3,5],\"data_offsets\":[0,30]},"
        "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[100,256],\"data_offsets\":[30,102430]}}",
        "{\"b.weight\":{\"dtype\":\"F32\",\"shape\":[100,256],\"data_offsets\":[30,102430]},"
        "\"a.weight\":{\"dtype\":\"F16\",\"shape\":[3,5],\"data_offsets\":[0,30]}}",
        "{\"a.weighs\":{\"dtype\":\"F16\",\"shape\":[3,5],\"data_offsets\":[0,30]},"
        "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[100,256],\"data_offsets\":[30,102430]}}",
        "{\"a.weight\":{\"dtype\":\"F16\",\"shape\":[5,3],\"data_offsets\":[0,30]},"
        "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[100,256],\"data_offsets\":[30,102430]}}",
        "{\"a.weight\":{\"dtype\":\"BF16\",\"shape\":[3,5],\"data_offsets\":[0,30]},"
        "\"b.weight\":{\"dtype\":\"F32\",\"shape\":[100,256],\"data_offsets\":[30,102430]}}"};
    char prints[5][65], changed[65];
    uint8_t *f = NULL;
    size_t size = 0;
    (void)state;
    for (int i = 0; i < 5; i++) {
        f = make_file(headers[i], SMALL + BIG, &size);
        uint8_t *data = f + size - SMALL - BIG;
        for (int j = 0; j < SMALL; j++)
            data[j] = (uint8_t)j;
        for (int j = 0; j < BIG; j++)
            data[SMALL + j] = (uint8_t)(j * 7 + j / 256);
        print_of(f, size, prints[i]);
    }
    /* By a program of its own. */
    assert_string_equal(prints[0], "bae6b7f796647a274f5f23b99449cae052e42b2d42e43a3e86abb9e6db10b3f7");
    assert_string_equal(prints[1], prints[0]);
    for (int i = 2; i < 5; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(prints[i], prints[j]);
    /* Small tensors count whole, large ones at their ends and between. */
    static const int places[] = {0, 17, SMALL - 1, SMALL, SMALL + 4095, SMALL + BIG / 15 * 7, SMALL + BIG - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        uint8_t *at = f + size - SMALL - BIG + places[i];
        *at ^= 1;
        print_of(f, size, changed);
        *at ^= 1;
        assert_string_not_equal(changed, prints[4]);
    }
    print_of(f, size, changed);
    assert_string_equal(changed, prints[4]);
    struct woq_checkpoint *c = NULL;
    f = make_file("{}", 0, &size);
    EXPECT_OK(woqi_ckpt_open_memory(WOQ_CONTAINER_SAFETENSORS, f, size, &c));
    EXPECT(WOQ_ERROR_INVALID_DATA, "no tensor", woqi_checkpoint_fingerprint(c, changed));
    woq_checkpoint_close(&c);
    test_expectations_met();
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    snprintf(file, sizeof file, "%s/statistics", directory);
    model = open_model(&llama, NULL, "model");
    config.struct_size = sizeof config;
    return woq_checkpoint_config(model, &config) ? -1 : 0;
}

static int tear_down(void **state)
{
    char path[96];
    (void)state;
    woq_checkpoint_close(&model);
    snprintf(path, sizeof path, "%s/model", directory);
    tiny_remove(path);
    unlink(file);
    return rmdir(directory); /* which fails if something was left aside */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),         cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_whole_or_not), cmocka_unit_test(test_broken),     cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_fingerprint)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
