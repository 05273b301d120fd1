/* radv_statistics.h: what the driver's compiler says of each pipeline (VK_KHR_pipeline_executable_properties). */
#ifndef TEST_RADV_STATISTICS_H
#define TEST_RADV_STATISTICS_H

#include <stdbool.h>
#include <stdint.h>

struct pipeline_statistics {
    uint32_t subgroup_size;
    uint64_t vgprs, spilled_vgprs, spilled_sgprs;
    uint64_t scratch, lds, code;  /* bytes */
    uint64_t subgroups;           /* of a SIMD at once */
    uint64_t inverse_throughput;  /* cycles, estimated */
};

/* Of the pipeline made last; false if it told none. */
bool radv_statistics_last(struct pipeline_statistics *out);

#endif
