/* test_wgmma_parts.c: what work-groups of kernel wgmma compute between them: every block of every tile once, and who
 * waits for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/step.h"

typedef uint32_t woq_u32;
#define WOQ_PARTS_FUNCTION static inline
#include "cuda/wgmma_parts.inc"
#include "cuda/wgmma_kernels.inc"

/* Number of the work-group that has the block, and of that part in its list. */
struct owner {
    uint32_t group, part;
    bool taken;
};

/* As add_sums of wgmma.cu counts: the sums of a tile that `group` ends are those of the groups from this one on. */
static uint32_t first_of_tile(uint32_t group, uint32_t share, uint32_t first)
{
    return (group * share - first) / share;
}

static void check(uint64_t tiles, uint32_t blocks, uint64_t units, bool alone)
{
    const struct woqi_shares s = woqi_wgmma_shares(tiles, blocks, units, alone);
    struct owner *owners = calloc((size_t)tiles * blocks, sizeof *owners);
    assert_non_null(owners);
    assert_true(s.groups >= 1 && (s.groups <= units || tiles > units));
    for (uint32_t g = 0; g < s.groups; g++) {
        uint32_t number = 0;
        for (;; number++) {
            const struct woq_part p = woq_part_of(number, g, s.groups, s.rounds, s.share,
                                                  (uint32_t)tiles, blocks);
            if (!p.last)
                break;
            assert_true(p.tile < tiles && p.first < p.last && p.last <= blocks);
            assert_true(p.first % 2 == 0 && p.last % 2 == 0); /* the kernel takes pairs */
            assert_true(!alone || (p.first == 0 && p.last == blocks));
            for (uint32_t b = p.first; b < p.last; b++) {
                struct owner *o = &owners[(uint64_t)p.tile * blocks + b];
                assert_false(o->taken);
                *o = (struct owner){g, number, true};
            }
        }
        assert_true(number < WOQ_WGMMA_PARTS); /* the list has an end */
        const struct woq_part none = woq_part_of(number + 1, g, s.groups, s.rounds, s.share,
                                                 (uint32_t)tiles, blocks);
        assert_int_equal(none.last, 0);
    }
    for (uint64_t t = 0; t < tiles; t++) {
        const struct owner *o = &owners[t * blocks], *end = &o[blocks - 1];
        uint32_t first = blocks,
                 at = 0; /* of the last group's part; the next group expected to have stored sums */
        for (uint32_t b = 0; b < blocks; b++) {
            assert_true(o[b].taken);
            if (o[b].group == end->group && b < first)
                first = b;
        }
        if (first == 0)
            continue;
        /* Sums are stored by a group's first part, once, and wait for nobody; they are lower groups', in order. */
        for (uint32_t b = 0; b < first; b++) {
            assert_int_equal(o[b].part, 0);
            assert_true(o[b].group < end->group);
            if (b == 0)
                assert_int_equal(o[b].group, first_of_tile(end->group, s.share, first));
            else
                assert_true(o[b].group == at || o[b].group == at + 1);
            at = o[b].group;
        }
        assert_int_equal(at, end->group - 1);
    }
    free(owners);
}

static void shapes(void **state)
{
    (void)state;
    static const uint32_t units[] = {1, 2, 7, 16, 114, 132};
    for (size_t u = 0; u < sizeof units / sizeof *units; u++)
        for (uint32_t tiles = 1; tiles < 1200; tiles += tiles < 300 ? 1 : 37)
            for (uint32_t blocks = 2; blocks <= 130; blocks += 2 * (1 + blocks / 10)) {
                check(tiles, blocks, units[u], false);
                check(tiles, blocks, units[u], true);
            }
}

/* More rounds than a work-group has places for. */
static void many_rounds(void **state)
{
    (void)state;
    check(30000, 2, 132, false);
    check(30011, 4, 1, false);
    check(65000, 2, 7, true);
}

/* 28672 × 8192, M = 512, 132 units: 448 tiles of 128 × 256. */
static void h200(void **state)
{
    (void)state;
    const struct woqi_shares s = woqi_wgmma_shares(448, 128, 132, false);
    assert_int_equal(s.groups, 132);
    assert_int_equal(s.rounds, 2);
    assert_int_equal(s.share, 180); /* 184 tiles of 128 blocks */
    assert_int_equal(woqi_wgmma_shares(132, 128, 132, false).share, 128);
    assert_int_equal(woqi_wgmma_shares(32, 64, 132, false).share,
                     16); /* a quarter of a tile, not 15.5 blocks */
    /* 8192 × 28672, M = 2048, clusters of two: 4 rounds, of which the last lacks 8 tiles. */
    assert_int_equal(woqi_wgmma_shares(256, 448, 66, false).rounds, 3);
    assert_int_equal(woqi_wgmma_shares(256, 448, 66, false).share, 448);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes),
        cmocka_unit_test(many_rounds),
        cmocka_unit_test(h200),
    };
    return cmocka_run_group_tests_name("wgmma_parts", tests, NULL, NULL);
}
