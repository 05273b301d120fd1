/* selftest.c: a small problem with a known answer. */
#include "selftest.h"

#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "log.h"
#include "step.h"
#include "verdict.h"

/* ---- the problem: integers, and scales that are powers of two, so that every sum is exact ---- */

#define TEST_K 328 /* five blocks of 64 columns and a tail; more if K is split */

struct problem {
    uint32_t n, m, k, groups;
    struct woq_format format;
    uint8_t *codes, *zeros;
    uint8_t *scales;
    uint32_t *g_idx; /* NULL: columns in order */
    enum woq_type x_type;
    uint8_t *x;
    float *y;
};

/* Numbers in which no order of elements but the right one gives the right sums. */
static uint32_t mix(uint32_t a, uint32_t b)
{
    uint32_t v = a * 2654435761u ^ (b + 77u) * 2246822519u;
    v ^= v >> 15;
    v *= 3266489917u;
    return v >> 16;
}

/* BF16: of rows that differ in size beyond what FP16 holds. */
static double x_value(const struct problem *p, uint32_t m, uint32_t k)
{
    return ((int)(mix(m + 1000, k) % 9) - 4) * (p->x_type == WOQ_BF16 ? 0x1p20 / (1u << m % 4 * 10) : 1);
}

static uint32_t group_of(const struct problem *p, uint32_t k)
{
    return p->g_idx ? p->g_idx[k] : p->format.group ? k / (uint32_t)p->format.group : 0;
}

static bool is_plain(const struct problem *p)
{
    return p->format.code == WOQ_CODE_F16 || p->format.code == WOQ_CODE_BF16;
}

static uint32_t code_value(const struct problem *p, uint32_t n, uint32_t k)
{
    return mix(n, k) % (p->format.code == WOQ_CODE_U4 ? 16 : p->format.code == WOQ_CODE_U8 ? 256 : 17);
}

static uint32_t zero_value(const struct problem *p, uint32_t n, uint32_t group)
{
    uint32_t codes = p->format.code == WOQ_CODE_U8 ? 256 : 16;
    bool fixed = is_plain(p) || p->format.zero == WOQ_ZERO_SYMMETRIC;
    return fixed ? codes / 2 : mix(n + 5000, group) % codes;
}

static double scale_value(const struct problem *p, uint32_t n, uint32_t group)
{
    return is_plain(p) ? 1 : 0.25 * (1u << mix(n + 9000, group) % 4);
}

static double expected(const struct problem *p, uint32_t m, uint32_t n)
{
    double sum = 0;
    for (uint32_t k = 0; k < p->k; k++) {
        uint32_t group = group_of(p, k);
        sum += x_value(p, m, k) * scale_value(p, n, group) *
               ((int)code_value(p, n, k) - (int)zero_value(p, n, group));
    }
    return sum;
}

static void fill_row(struct problem *p, uint32_t n)
{
    for (uint32_t k = 0; k < p->k; k++) {
        uint32_t code = code_value(p, n, k);
        uint64_t at = (uint64_t)n * p->k + k;
        if (p->format.code == WOQ_CODE_U4)
            p->codes[at / 2] |= (uint8_t)(code << at % 2 * 4);
        else if (p->format.code == WOQ_CODE_U8)
            p->codes[at] = (uint8_t)code;
        else
            woqi_element_store(p->format.code == WOQ_CODE_F16 ? WOQ_F16 : WOQ_BF16, p->codes, at, (float)code - 8.0f);
    }
    for (uint32_t g = 0; g < p->groups; g++) {
        uint64_t at = (uint64_t)n * p->groups + g;
        double scale = scale_value(p, n, g), zero = zero_value(p, n, g);
        woqi_element_store(p->format.scale, p->scales, at, (float)scale);
        if (p->format.zero == WOQ_ZERO_OFFSET)
            woqi_element_store(p->format.scale, p->zeros, at, (float)(-scale * zero));
        else
            p->zeros[at] = (uint8_t)zero;
    }
}

static void problem_free(struct woq_device *device, struct problem *p)
{
    woqi_free(device, p->codes);
    woqi_free(device, p->zeros);
    woqi_free(device, p->scales);
    woqi_free(device, p->g_idx);
    woqi_free(device, p->x);
    woqi_free(device, p->y);
}

static enum woq_status problem_make(struct woq_device *device, const struct woqi_path *path,
                                    struct woqi_kernel_key key, uint32_t m, struct problem *p)
{
    static const uint32_t groups[WOQI_GROUPS_COUNT] = {64, 24, 20, 128, 32};
    memset(p, 0, sizeof *p);
    p->k = path->splits ? (uint32_t)woqi_split_columns(path) + 72 : TEST_K;
    const uint32_t cut = woqi_block_cut(path->block);
    if (cut > 1) /* each part of K has two pairs of blocks, the last one's not whole */
        p->k = cut * 4 * WOQI_FRAG_COLUMNS - 56;
    const bool pairs = woqi_block_wants_pairs(path->block);
    if (key.spans == WOQI_SPANS_EACH || pairs) /* which want whole steps */
        p->k = (uint32_t)woqi_div_up(p->k, 2 * WOQI_FRAG_COLUMNS) * 2 * WOQI_FRAG_COLUMNS;
    p->format = (struct woq_format)WOQ_FORMAT_INIT;
    const bool bf16 = key.id == WOQI_KERNEL_XHALF || key.x == WOQ_ABI_BF16 || path->block == WOQI_BLOCK_DPBF16;
    p->x_type = bf16 ? WOQ_BF16 : WOQ_F16;
    p->format.code = key.code ? (enum woq_code)key.code : WOQ_CODE_U4; /* REDUCE and XHALF know no weights */
    if (p->x_type == WOQ_BF16 && path->math == WOQ_MATH_ROUNDED &&
        !(device->info.features & WOQ_FEATURE_MATRIX_BF16))
        p->format.code = WOQ_CODE_F16; /* others are not for that path */
    if (!is_plain(p)) {
        p->format.zero = key.scale ? (enum woq_zero)key.zero : WOQ_ZERO_POINT;
        p->format.scale = key.scale ? (enum woq_type)key.scale : WOQ_F16;
        p->format.group = pairs                         ? 2 * WOQI_FRAG_COLUMNS
                          : key.spans == WOQI_SPANS_EACH ? woqi_mma_span(key.fine)
                          : key.spans == WOQI_SPANS_ONE ? p->k
                                                        : groups[key.fine];
        p->format.g_idx = key.id == WOQI_KERNEL_XHALF || key.id == WOQI_KERNEL_XTILE;
        p->groups = (p->k + (uint32_t)p->format.group - 1) / (uint32_t)p->format.group;
    }
    woqi_block_tile(path->block, &p->n, &p->m);
    if (path->splits) { /* for REDUCE, which knows no blocks; K is long */
        p->n = 37;
        p->m = 2;
    }
    p->n += 5;
    p->m = m ? m : p->m + 3;
    if (path->max_m && p->m > path->max_m)
        p->m = path->max_m;
    p->codes = woqi_alloc(device, (uint64_t)p->n * p->k, 2);
    p->zeros = woqi_alloc(device, (uint64_t)p->n * (p->groups + 1), 4);
    p->scales = woqi_alloc(device, (uint64_t)p->n * (p->groups + 1), 4);
    p->x = woqi_alloc(device, (uint64_t)p->m * p->k, 2);
    p->y = woqi_alloc(device, (uint64_t)p->m * p->n, sizeof *p->y);
    p->g_idx = p->format.g_idx ? woqi_alloc(device, p->k, sizeof *p->g_idx) : NULL;
    if (!p->codes || !p->zeros || !p->scales || !p->x || !p->y || (p->format.g_idx && !p->g_idx))
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "self-test: out of host memory");
    for (uint32_t k = 0; k < p->k && p->g_idx; k++)
        p->g_idx[k] = k % p->groups;
    for (uint32_t n = 0; n < p->n; n++)
        fill_row(p, n);
    for (uint32_t row = 0; row < p->m; row++)
        for (uint32_t k = 0; k < p->k; k++)
            woqi_element_store(p->x_type, p->x, (uint64_t)row * p->k + k, (float)x_value(p, row, k));
    return WOQ_OK;
}

/* ---- running it ---- */

struct objects {
    struct woq_weights *weights;
    struct woq_gemm *gemm;
    struct woq_commands *commands;
    struct woq_buffer *x, *y;
};

static enum woq_status make_objects(struct woq_device *device, const struct woqi_path *path,
                                    const struct problem *p, struct objects *o)
{
    struct woq_weights_source source = WOQ_WEIGHTS_SOURCE_INIT;
    struct woq_weights_params weights = {sizeof weights, &source, 1, false};
    struct woq_gemm_params gemm = WOQ_GEMM_PARAMS_INIT;
    struct woq_buffer_params x = {sizeof x, (uint64_t)p->m * p->k * 2, 0};
    struct woq_buffer_params y = {sizeof y, (uint64_t)p->m * p->n * sizeof *p->y, 0};
    source.format = p->format;
    source.n = p->n;
    source.k = p->k;
    source.codes = p->codes;
    source.g_idx = p->g_idx;
    source.scales = p->groups ? p->scales : NULL;
    source.zeros = p->groups && p->format.zero != WOQ_ZERO_SYMMETRIC ? p->zeros : NULL;
    enum woq_status st = woq_weights_create(device, &weights, &o->weights);
    if (st)
        return st;
    gemm.weights = o->weights;
    gemm.max_m = p->m;
    gemm.x_type = p->x_type;
    gemm.y_type = WOQ_F32;
    gemm.math = path->math == WOQ_MATH_FIXED16 ? path->math : WOQ_MATH_DEFAULT;
    st = woqi_gemm_build(device, &gemm, path, NULL, &o->gemm);
    if (!st)
        st = woq_buffer_create(device, &x, &o->x);
    if (!st)
        st = woq_buffer_create(device, &y, &o->y);
    if (!st)
        st = woq_buffer_write(o->x, 0, p->x, x.size);
    return st ? st : woq_commands_create(device, NULL, &o->commands);
}

static enum woq_status run_objects(const struct problem *p, struct objects *o)
{
    uint32_t m, x, y;
    uint64_t ticket;
    enum woq_status st = woq_commands_slot_m(o->commands, p->m, &m);
    if (!st)
        st = woq_commands_slot_view(o->commands, WOQ_ACCESS_READ, &x);
    if (!st)
        st = woq_commands_slot_view(o->commands, WOQ_ACCESS_WRITE, &y);
    if (!st)
        st = woq_commands_gemm(o->commands, o->gemm, m, x, y, WOQ_NO_SLOT, WOQ_NO_SLOT);
    if (!st)
        st = woq_commands_end(o->commands);
    if (st)
        return st;
    const struct woq_binding bindings[] = {
        {m, p->m, {0}}, {x, 0, {o->x, 0, 0}}, {y, 0, {o->y, 0, 0}}};
    st = woq_commands_run(o->commands, bindings, 3, &ticket);
    if (!st)
        st = woq_commands_wait(o->commands, ticket, WOQ_FOREVER);
    return st ? st : woq_buffer_read(o->y, 0, p->y, (uint64_t)p->m * p->n * sizeof *p->y);
}

enum woq_status woqi_selftest_run(struct woq_device *device, const struct woqi_path *path,
                                  struct woqi_kernel_key key, uint32_t rows, char *wrong, size_t size)
{
    struct problem p;
    struct objects o = {0};
    enum woq_status st = problem_make(device, path, key, rows, &p);
    if (!st)
        st = make_objects(device, path, &p, &o);
    if (!st)
        st = run_objects(&p, &o);
    for (uint32_t m = 0; m < p.m && !st && !*wrong; m++)
        for (uint32_t n = 0; n < p.n && !*wrong; n++) {
            double want = expected(&p, m, n), got = p.y[(uint64_t)m * p.n + n];
            if (!(got == want))
                snprintf(wrong, size, "y[%u][%u] is %g, must be %g", m, n, got, want);
        }
    woq_commands_destroy(&o.commands);
    woq_gemm_destroy(&o.gemm);
    woq_weights_destroy(&o.weights);
    woq_buffer_destroy(&o.x);
    woq_buffer_destroy(&o.y);
    problem_free(device, &p);
    return st;
}

/* Where the kernel shows what it is worth with few rows: the path that runs it alone, or else first, or at all. */
static const struct woqi_path *path_of(const struct woqi_path *path, struct woqi_kernel_key key)
{
    const struct woqi_path *first = NULL;
    for (uint32_t i = 0; i < woqi_path_total; i++) {
        const struct woqi_path *p = &woqi_paths[i];
        if (p->kernels[0] != key.id || p->block != path->block || p->min_m > 1)
            continue;
        if (p->kernel_count == 1)
            return p;
        first = first ? first : p;
    }
    return first ? first : path;
}

bool woqi_selftest_passed(struct woq_device *device, const struct woqi_path *path,
                          struct woqi_kernel_key key, char *reason, size_t size)
{
    char kernel[56], wrong[96] = "";
    woqi_kernel_name(key, kernel, sizeof kernel);
    pthread_mutex_lock(&device->selftest_lock);
    const struct woqi_verdict *v = woqi_verdict_find(device, kernel);
    bool passed = v && v->passed;
    if (!v) {
        enum woq_status st = woqi_selftest_run(device, path_of(path, key), key, 0, wrong, sizeof wrong);
        passed = !st && !*wrong;
        if (st)
            snprintf(reason, size, "its self-test could not run: %.100s", woq_last_message());
        else
            woqi_verdict_store(device, kernel, wrong);
    }
    if (!passed && (v || *wrong))
        snprintf(reason, size, "kernel %s failed its self-test on this device: %s", kernel,
                 v ? v->what.found : wrong);
    pthread_mutex_unlock(&device->selftest_lock);
    return passed;
}
