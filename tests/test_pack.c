/*
 * test_pack.c: packed codes, scales and zeros of every layout, byte for byte, against this file's own reading of
 * layout.h: each element goes alone to the place that the header draws for it. And what the packer says of the range
 * of weights, against all of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "core/pack.h"
#include "support/data.h"
#include "support/device.h"
#include "support/sources.h"

#define GUARD       64 /* canary bytes behind an output */
#define CANARY      0xa5
#define NO_COLUMN   UINT64_MAX

static struct woq_device *dev;
static struct test_random random_state = {20};

struct matrix {
    struct test_sources from;
    enum woqi_layout layout;
    uint64_t n, k, groups; /* stacked rows; canonical columns and groups */
    /* physical columns as the canonical column they show (NO_COLUMN: padding), and their canonical group */
    uint64_t columns, *column, *column_group;
    uint64_t physical_groups, *group_of; /* their canonical groups */
};

static void *make(uint64_t bytes)
{
    void *memory = calloc(bytes + 1, 1);
    assert_non_null(memory);
    return memory;
}

/* Physical columns: with g_idx those of group 0 in order, padded to whole groups, then group 1, … */
static void order_columns(struct matrix *m, const struct woq_format *f)
{
    uint64_t most = m->groups ? m->k + m->groups * f->group : m->k;
    bool whole = f->group == WOQ_GROUP_CHANNEL || f->group == WOQ_GROUP_TENSOR;
    if (!f->g_idx)
        most = m->k;
    m->column = make(most * sizeof *m->column);
    m->column_group = make(most * sizeof *m->column_group);
    m->group_of = make(most * sizeof *m->group_of);
    if (!f->g_idx) {
        for (uint64_t c = 0; c < m->k; c++) {
            m->column[c] = c;
            m->column_group[c] = whole || !m->groups ? 0 : c / f->group;
        }
        for (uint64_t g = 0; g < m->groups; g++)
            m->group_of[g] = g;
        m->columns = m->k;
        m->physical_groups = m->groups;
        return;
    }
    for (uint64_t g = 0; g < m->groups; g++) {
        uint64_t begin = m->columns;
        for (uint64_t k = 0; k < m->k; k++)
            if (m->from.g_idx[k] == g)
                m->column[m->columns++] = k;
        while ((m->columns - begin) % f->group)
            m->column[m->columns++] = NO_COLUMN;
        for (uint64_t c = begin; c < m->columns; c++) {
            m->column_group[c] = g;
            m->group_of[c / f->group] = g;
        }
    }
    m->physical_groups = m->columns / f->group;
}

static void make_matrix(struct matrix *m, const struct woq_format *f, uint64_t n, uint64_t k)
{
    struct woq_format_sizes sizes;
    m->k = k;
    m->n = sources_make(&m->from, f, n, k, &random_state);
    assert_true(m->n);
    assert_int_equal(woq_format_get_sizes(f, n, k, &sizes), WOQ_OK);
    m->groups = sizes.groups;
    order_columns(m, f);
}

static void free_matrix(struct matrix *m)
{
    sources_free(&m->from);
    free(m->column);
    free(m->column_group);
    free(m->group_of);
}

/* The source and its row at physical row r of a tile; NULL for padding. */
static const struct woq_weights_source *row_source(const struct matrix *m, const struct woqi_tile *tile, uint64_t r,
                                                   uint64_t *row)
{
    uint64_t granule = m->layout == WOQI_LAYOUT_ROWS ? 1 : 16;
    if (m->from.gated) {
        *row = r / (2 * granule) * granule + r % granule;
        if (*row >= tile->count)
            return NULL;
        *row += tile->first;
        return &m->from.sources[r / granule % 2];
    }
    if (r >= tile->count)
        return NULL;
    *row = tile->first + r;
    for (uint32_t i = 0; i < m->from.count; i++) {
        if (*row < m->from.sources[i].n)
            return &m->from.sources[i];
        *row -= m->from.sources[i].n;
    }
    return NULL;
}

static uint64_t table_index(const struct matrix *m, uint64_t row, uint64_t group)
{
    return m->from.sources[0].format.group == WOQ_GROUP_TENSOR ? 0 : row * m->groups + group;
}

/* The element (4, 8 or 16 bits) of physical row r and column c; c from `columns` on is padding like the last. */
static unsigned element(const struct matrix *m, const struct woqi_tile *tile, uint64_t r, uint64_t c)
{
    uint64_t row;
    const struct woq_weights_source *s = row_source(m, tile, r, &row);
    if (!s)
        return 0;
    const struct woq_format *f = &s->format;
    struct woq_format_sizes sizes;
    woq_format_get_sizes(f, s->n, s->k, &sizes);
    const uint8_t *codes = (const uint8_t *)s->codes + row * (s->row_stride ? s->row_stride : sizes.row_bytes);
    uint64_t k = c < m->columns ? m->column[c] : NO_COLUMN;
    if (k == NO_COLUMN) {
        if (f->zero == WOQ_ZERO_SYMMETRIC)
            return f->code == WOQ_CODE_U4 ? 8 : 128;
        if (f->zero != WOQ_ZERO_POINT)
            return 0;
        uint64_t group = m->column_group[c < m->columns ? c : m->columns - 1];
        return ((const uint8_t *)s->zeros)[table_index(m, row, group)];
    }
    if (f->code == WOQ_CODE_U4)
        return k % 2 ? codes[k / 2] >> 4 : codes[k / 2] & 15;
    return f->code == WOQ_CODE_U8 ? codes[k] : (unsigned)codes[2 * k] | (unsigned)codes[2 * k + 1] << 8;
}

/* Bit of the tile's codes at which the element of row r and column c begins. */
static uint64_t element_bit(const struct matrix *m, uint64_t stride, unsigned bits, uint64_t r, uint64_t c)
{
    if (m->layout == WOQI_LAYOUT_ROWS)
        return 8 * r * stride + c * bits;
    uint64_t strip = 8 * (r / 16) * stride, row = r % 16;
    if (m->layout == WOQI_LAYOUT_PANEL16) {
        if (bits == 4)
            return strip + c * 64 + row % 8 * 8 + row / 8 * 4;
        return strip + (c * 16 + row) * bits;
    }
    uint64_t lane = row % 8 * 4 + c % 32 / 8, high = row / 8, piece = c % 8;
    if (bits == 4)
        return strip + c / 64 * 4096 + lane * 128 + piece * 16 + c / 32 % 2 * 8 + high * 4;
    if (bits == 8)
        return strip + c / 32 * 4096 + lane * 128 + piece * 16 + high * 8;
    return strip + c / 32 * 8192 + high * 4096 + lane * 128 + piece * 16;
}

static void compare(const char *what, const struct matrix *m, const uint8_t *got, const uint8_t *want, uint64_t bytes)
{
    char name[64];
    for (uint64_t i = 0; i < bytes; i++)
        if (got[i] != want[i]) {
            woq_format_name(&m->from.sources[0].format, name, sizeof name);
            fail_msg("%s of %s, %s, N %llu%s, K %llu: byte %llu of %llu is %02x, not %02x", what, name,
                     woqi_layout_name(m->layout), (unsigned long long)m->n, m->from.gated ? " gated" : "",
                     (unsigned long long)m->k, (unsigned long long)i, (unsigned long long)bytes, got[i], want[i]);
        }
    for (uint64_t i = bytes; i < bytes + GUARD; i++)
        assert_int_equal(got[i], CANARY);
}

static uint8_t *make_canary(uint64_t bytes)
{
    uint8_t *memory = make(bytes + GUARD);
    memset(memory, CANARY, bytes + GUARD);
    return memory;
}

static void check_codes(struct woqi_packer *p, const struct matrix *m, const struct woqi_tile *tile)
{
    enum woq_code code = m->from.sources[0].format.code;
    unsigned bits = code == WOQ_CODE_U4 ? 4 : code == WOQ_CODE_U8 ? 8 : 16;
    uint64_t granule = m->layout == WOQI_LAYOUT_ROWS ? 1 : 16, stride = tile->shape.codes_stride;
    uint64_t granules = tile->shape.rows / granule, bytes = granules * stride;
    uint64_t columns = m->layout == WOQI_LAYOUT_FRAG16B ? (m->columns + 63) / 64 * 64 : m->columns;
    uint8_t *want = make(bytes), *got = make_canary(bytes);
    for (uint64_t r = 0; r < tile->shape.rows; r++)
        for (uint64_t c = 0; c < columns; c++) {
            unsigned value = element(m, tile, r, c);
            uint64_t bit = element_bit(m, stride, bits, r, c);
            want[bit / 8] |= (uint8_t)(value << bit % 8);
            if (bits == 16)
                want[bit / 8 + 1] |= (uint8_t)(value >> 8);
        }
    uint64_t first = granules > 1 ? 1 + random_below(&random_state, granules - 1) : 0;
    woqi_pack_codes(p, tile, 0, first, got);
    woqi_pack_codes(p, tile, first, granules - first, got + first * stride);
    compare("codes", m, got, want, bytes);
    free(want);
    free(got);
}

static void check_table(struct woqi_packer *p, const struct matrix *m, const struct woqi_tile *tile, bool zeros)
{
    const struct woq_format *f = &m->from.sources[0].format;
    uint64_t size = zeros && f->zero == WOQ_ZERO_POINT ? 1 : woq_type_size(f->scale), rows = tile->shape.rows;
    uint64_t bytes = m->physical_groups * rows * size;
    uint8_t *want = make(bytes), *got = make_canary(bytes);
    for (uint64_t r = 0; r < rows; r++) {
        uint64_t row, place = r;
        const struct woq_weights_source *s = row_source(m, tile, r, &row);
        if (m->layout == WOQI_LAYOUT_FRAG16B) /* 0, 8, 1, 9, … */
            place = r / 16 * 16 + (r % 16 < 8 ? r % 16 * 2 : (r % 16 - 8) * 2 + 1);
        for (uint64_t g = 0; s && g < m->physical_groups; g++)
            memcpy(want + (g * rows + place) * size,
                   (const uint8_t *)(zeros ? s->zeros : s->scales) + table_index(m, row, m->group_of[g]) * size, size);
    }
    uint64_t first = random_below(&random_state, m->physical_groups + 1);
    void (*pack)(const struct woqi_packer *, const struct woqi_tile *, uint64_t, uint64_t, uint8_t *) =
        zeros ? woqi_pack_zeros : woqi_pack_scales;
    pack(p, tile, 0, first, got);
    pack(p, tile, first, m->physical_groups - first, got + first * rows * size);
    compare(zeros ? "zeros" : "scales", m, got, want, bytes);
    free(want);
    free(got);
}

/* All tiles of a matrix, of at most `tile_columns` output columns. */
static void check_matrix(struct matrix *m, uint64_t tile_columns)
{
    struct woq_weights_params params = {sizeof params, m->from.sources, m->from.count, m->from.gated};
    const struct woq_format *f = &m->from.sources[0].format;
    struct woqi_packer p;
    assert_int_equal(woqi_packer_init(&p, dev, &params, m->layout), WOQ_OK);
    assert_int_equal(p.k_packed, m->columns);
    assert_int_equal(p.groups, m->physical_groups);
    for (uint64_t c = 0; c < m->columns; c++)
        assert_int_equal(p.perm ? p.perm[c] : c, m->column[c] == NO_COLUMN ? WOQ_PERM_NONE : m->column[c]);
    uint64_t columns = m->from.gated ? m->n / 2 : m->n, granule = m->layout == WOQI_LAYOUT_ROWS ? 1 : 16;
    for (uint64_t first = 0; first < columns; first += tile_columns) {
        struct woqi_tile tile = {.first = first};
        tile.count = columns - first < tile_columns ? columns - first : tile_columns;
        uint64_t rows = (tile.count + granule - 1) / granule * granule * (m->from.gated ? 2 : 1);
        assert_int_equal(woqi_tile_shape(m->layout, f, rows, m->columns, m->physical_groups, f->g_idx, &tile.shape),
                         WOQ_OK);
        check_codes(&p, m, &tile);
        if (m->from.sources[0].scales)
            check_table(&p, m, &tile, false);
        if (m->from.sources[0].zeros)
            check_table(&p, m, &tile, true);
    }
    woqi_packer_clear(&p);
}

static void check_format(const struct woq_format *f)
{
    static const uint64_t rows[] = {1, 15, 16, 17, 50}, columns[] = {1, 7, 8, 63, 64, 65, 130, 192, 257};
    static const struct {
        uint32_t count;
        bool gated;
    } stacks[] = {{1, false}, {3, false}, {2, true}};
    for (int layout = 0; layout < WOQI_LAYOUT_COUNT; layout++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
                for (size_t s = 0; s < sizeof stacks / sizeof *stacks; s++) {
                    struct matrix m = {.from = {.count = stacks[s].count, .gated = stacks[s].gated}};
                    m.layout = (enum woqi_layout)layout;
                    make_matrix(&m, f, rows[i], columns[j]);
                    check_matrix(&m, (i + j) % 2 ? 32 : 1000);
                    free_matrix(&m);
                }
}

static void test_quantized(void **state)
{
    static const uint64_t groups[] = {5, 8, 32, 128, WOQ_GROUP_CHANNEL, WOQ_GROUP_TENSOR};
    static const enum woq_type scales[] = {WOQ_F16, WOQ_BF16, WOQ_F32};
    static const enum woq_zero zeros[] = {WOQ_ZERO_SYMMETRIC, WOQ_ZERO_POINT, WOQ_ZERO_OFFSET};
    (void)state;
    for (int code = WOQ_CODE_U4; code <= WOQ_CODE_U8; code++)
        for (size_t z = 0; z < 3; z++)
            for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
                for (int index = 0; index < (g < 4 ? 2 : 1); index++) {
                    struct woq_format f = WOQ_FORMAT_INIT;
                    f.code = (enum woq_code)code;
                    f.zero = zeros[z];
                    f.scale = scales[(z + g + (size_t)index) % 3];
                    f.group = groups[g];
                    f.g_idx = index;
                    check_format(&f);
                }
}

static void test_plain(void **state)
{
    (void)state;
    for (int code = WOQ_CODE_F16; code <= WOQ_CODE_BF16; code++) {
        struct woq_format f = WOQ_FORMAT_INIT;
        f.code = (enum woq_code)code;
        check_format(&f);
    }
}

/* ---- what scales allow ---- */

#define RANGE_ROWS 70 /* more than the library looks at in one go */

static bool all_codes_safe(const struct woq_format *f, float scale, float zero, float least)
{
    int top = f->code == WOQ_CODE_U4 ? 15 : 255;
    for (int q = 0; q <= top; q++) {
        float w = f->zero == WOQ_ZERO_OFFSET ? fmaf(scale, (float)q, zero) : scale * (float)(q - (int)zero);
        if (w != 0 && !(fabsf(w) >= least && fabsf(w) <= 65504))
            return false;
    }
    return true;
}

/* A number near to where range ends for some code: limit / code, a few units in the last place off. */
static float near_limit(unsigned top)
{
    static const float limits[] = {0x1p-14f, 65504, 1, 0x1p64f, 0};
    float value = limits[random_below(&random_state, 5)];
    if (random_below(&random_state, 2))
        value /= (float)(1 + random_below(&random_state, top));
    for (uint64_t i = random_below(&random_state, 4); i; i--)
        value = nextafterf(value, random_below(&random_state, 2) ? INFINITY : 0);
    return random_below(&random_state, 2) ? value : -value;
}

/* The same of `type`. */
static float stored(enum woq_type type, void *array, uint64_t i, float value)
{
    uint16_t bits = type == WOQ_F16 ? woq_f32_to_f16(value) : woq_f32_to_bf16(value);
    if (type == WOQ_F32) {
        memcpy((float *)array + i, &value, sizeof value);
        return value;
    }
    memcpy((uint16_t *)array + i, &bits, sizeof bits);
    return type == WOQ_F16 ? woq_f16_to_f32(bits) : woq_bf16_to_f32(bits);
}

/* Rows of which one may not be safe; each weight of each row decides. Returns how many matrices were safe. */
static unsigned check_ranges(const struct woq_format *f, unsigned count)
{
    static float scales[RANGE_ROWS], offsets[RANGE_ROWS];
    static uint8_t codes[RANGE_ROWS], points[RANGE_ROWS];
    unsigned top = f->code == WOQ_CODE_U4 ? 15 : 255, safe_count = 0;
    struct woq_weights_source s = WOQ_WEIGHTS_SOURCE_INIT;
    s.format = *f;
    s.n = RANGE_ROWS;
    s.k = 1;
    s.codes = codes;
    s.scales = scales;
    s.zeros = f->zero == WOQ_ZERO_OFFSET ? (const void *)offsets : f->zero == WOQ_ZERO_POINT ? points : NULL;
    struct woq_weights_params params = {sizeof params, &s, 1, false};
    for (unsigned i = 0; i < count; i++) {
        bool safe = true, kept = true, mild = true;
        uint64_t odd = random_below(&random_state, RANGE_ROWS);
        for (uint64_t row = 0; row < RANGE_ROWS; row++) {
            float scale = row == odd ? near_limit(top) : 1, offset = near_limit(top);
            if (row != odd || !random_below(&random_state, 3))
                offset = -scale * (float)random_below(&random_state, top + 1); /* a root at a code */
            points[row] = (uint8_t)random_below(&random_state, top + 1);
            scale = stored(f->scale, scales, row, isfinite(stored(f->scale, scales, row, scale)) ? scale : 1);
            offset = stored(f->scale, offsets, row, isfinite(stored(f->scale, offsets, row, offset)) ? offset : 1);
            const float zero = f->zero == WOQ_ZERO_OFFSET  ? offset
                               : f->zero == WOQ_ZERO_POINT ? points[row]
                                                           : (float)(top / 2 + 1);
            const bool multiples = f->scale == WOQ_F16 && f->zero != WOQ_ZERO_OFFSET; /* of 2^-24 */
            safe &= all_codes_safe(f, scale, zero, 0x1p-14f);
            kept &= all_codes_safe(f, scale, zero, multiples ? 0x1p-24f : 0x1p-14f);
            mild &= fabsf(scale) < 0x1p64f;
        }
        struct woqi_packer p;
        assert_int_equal(woqi_packer_init(&p, dev, &params, WOQI_LAYOUT_ROWS), WOQ_OK);
        assert_int_equal(woqi_packer_fp16_safe(&p, true), kept);
        if (woqi_packer_fp16_safe(&p, false) != safe)
            fail_msg("fp16_safe is %d: scale %a, offset %a, zero %u, row %llu", !safe,
                     (double)woqi_element_load(f->scale, scales, odd),
                     (double)woqi_element_load(f->scale, offsets, odd), points[odd], (unsigned long long)odd);
        assert_int_equal(woqi_packer_mild_scales(&p), mild);
        woqi_packer_clear(&p);
        safe_count += safe;
    }
    return safe_count;
}

static void test_ranges(void **state)
{
    static const enum woq_type scales[] = {WOQ_F16, WOQ_BF16, WOQ_F32};
    (void)state;
    for (int code = WOQ_CODE_U4; code <= WOQ_CODE_U8; code++)
        for (int zero = WOQ_ZERO_SYMMETRIC; zero <= WOQ_ZERO_OFFSET; zero++)
            for (size_t t = 0; t < 3; t++) {
                struct woq_format f = WOQ_FORMAT_INIT;
                f.code = (enum woq_code)code;
                f.zero = (enum woq_zero)zero;
                f.scale = scales[t];
                const unsigned safe = check_ranges(&f, 2000);
                assert_in_range(safe, 1, 1999);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quantized), cmocka_unit_test(test_plain),
                                       cmocka_unit_test(test_ranges)};
    dev = test_open("reference");
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return !test_close(&dev) || failed || test_error_count();
}
