/*
 * pack.h: canonical weights to the packed form of layout.h, piece by piece.
 *
 * A packer is made of checked sources; its functions write any range of rows, groups or columns of a
 * tile, so that no second copy of a whole matrix is ever needed on the host.
 */
#ifndef WOQI_PACK_H
#define WOQI_PACK_H

#include "core.h"

struct woqi_packer {
    struct woq_device *device;
    const struct woq_weights_source *sources;
    uint32_t count;
    bool gated;
    struct woq_format format;
    struct woq_format_sizes sizes; /* of the first source: row_bytes and groups hold for all */
    uint64_t n, k;                 /* stacked rows, columns as given */
    enum woqi_layout layout;

    uint64_t group, groups;    /* physical: columns of a group, number of groups; 0 for plain */
    uint64_t k_packed;
    uint32_t *perm;            /* [k_packed] columns as given, or WOQ_PERM_NONE; NULL = identity */
    uint32_t *canonical_group; /* [groups]; NULL = identity */
    uint8_t *panel; /* with perm: scratch, 16 rows of all columns as given, in the order of PANEL16 */
};

/* Checks everything that woq_weights_create documents; `params` and its arrays must outlive the
 * packer. On failure nothing is left behind. */
enum woq_status woqi_packer_init(struct woqi_packer *packer, struct woq_device *device,
                                 const struct woq_weights_params *params, enum woqi_layout layout);
void woqi_packer_clear(struct woqi_packer *packer);

/* True if every scale·(q − zero), for any code q, is zero or a normal finite binary16. subnormal: or smaller, where
 * scales are F16 and there are no offsets: it is a multiple of 2^-24 then, as all subnormal ones are. */
bool woqi_packer_fp16_safe(const struct woqi_packer *packer, bool subnormal);

/* True if every |scale| is below 2^64. */
bool woqi_packer_mild_scales(const struct woqi_packer *packer);

/* Where row `r` of a tile comes from; source and codes are NULL for padding. */
struct woqi_pack_line {
    const struct woq_weights_source *source;
    uint64_t row; /* of the source */
    uint64_t run; /* rows of the tile, this one and those behind it, that lie one after the other in the source; >= 1 */
    const uint8_t *codes;
};
struct woqi_pack_line woqi_pack_line(const struct woqi_packer *packer, const struct woqi_tile *tile, uint64_t r);

/* `count` granules of codes of a tile that begins at output column `first`, from granule `granule`
 * on: count · codes_stride bytes of out, for ROWS (granule 1) as for the others. */
void woqi_pack_codes(struct woqi_packer *packer, const struct woqi_tile *tile, uint64_t granule,
                     uint64_t count, uint8_t *out);

/* Scales of the physical groups `group` … group+count-1, [count][rows of the tile]; zeros alike. */
void woqi_pack_scales(const struct woqi_packer *packer, const struct woqi_tile *tile, uint64_t group,
                      uint64_t count, uint8_t *out);
void woqi_pack_zeros(const struct woqi_packer *packer, const struct woqi_tile *tile, uint64_t group,
                     uint64_t count, uint8_t *out);

#endif
