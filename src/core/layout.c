/* layout.c: sizes of packed tiles. */
#include "layout.h"

#include "alloc.h"

static const struct {
    const char *name;
    uint32_t granule;
} layouts[WOQI_LAYOUT_COUNT] = {
    [WOQI_LAYOUT_ROWS] = {"rows", 1},
    [WOQI_LAYOUT_PANEL16] = {"panel16", 16},
    [WOQI_LAYOUT_FRAG16B] = {"frag16b", 16},
};

const char *woqi_layout_name(enum woqi_layout layout)
{
    return layouts[layout].name;
}

uint32_t woqi_layout_granule(enum woqi_layout layout)
{
    return layouts[layout].granule;
}

/* Bits of one stored weight. */
uint32_t woqi_code_bits(enum woq_code code)
{
    return code == WOQ_CODE_U4 ? 4 : code == WOQ_CODE_U8 ? 8 : 16;
}

enum woq_status woqi_tile_shape(enum woqi_layout layout, const struct woq_format *format,
                                uint64_t rows, uint64_t k, uint64_t groups, bool perm,
                                struct woqi_tile_shape *out)
{
    bool over = false;
    uint32_t granule = layouts[layout].granule;
    uint64_t scale = woq_type_size(format->scale);
    uint64_t zero = format->zero == WOQ_ZERO_POINT    ? 1
                    : format->zero == WOQ_ZERO_OFFSET ? scale
                                                      : 0;
    struct woqi_tile_shape s = {.k = k, .groups = groups};

    s.rows = woqi_align_up(rows, granule, &over);
    uint64_t columns = layout == WOQI_LAYOUT_FRAG16B ? woqi_align_up(k, WOQI_FRAG_COLUMNS, &over) : k;
    uint64_t bits = woqi_mul(woqi_mul(columns, woqi_code_bits(format->code), &over), granule, &over);
    s.codes_stride = woqi_align_up(woqi_div_up(bits, 8), granule == 1 ? 16 : 64, &over);
    uint64_t end = woqi_mul(s.codes_stride, s.rows / granule, &over);
    s.scales = woqi_align_up(end, WOQI_PART_ALIGNMENT, &over);
    uint64_t table = woqi_mul(groups, s.rows, &over);
    end = woqi_add(s.scales, woqi_mul(table, scale, &over), &over);
    s.zeros = woqi_align_up(end, WOQI_PART_ALIGNMENT, &over);
    end = woqi_add(s.zeros, woqi_mul(table, zero, &over), &over);
    s.perm = woqi_align_up(end, WOQI_PART_ALIGNMENT, &over);
    end = woqi_add(s.perm, perm ? woqi_mul(k, 4, &over) : 0, &over);
    s.size = woqi_align_up(end, WOQI_PART_ALIGNMENT, &over);
    if (over)
        return WOQ_ERROR_OVERFLOW;
    *out = s;
    return WOQ_OK;
}
