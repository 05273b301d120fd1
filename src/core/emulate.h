/* emulate.h: WOQ_EMULATE, which makes a device look smaller than it is. */
#ifndef WOQI_EMULATE_H
#define WOQI_EMULATE_H

#include <woq/device.h>

#include "kernels.h"

/* Limits to apply; a 0 leaves the device's own. */
struct woqi_emulation {
    uint64_t max_binding, max_allocation, shared_memory, max_workgroup, max_groups;
    uint32_t without; /* enum woq_feature, or-ed */
    bool gpu, host_pack;
    uint32_t software_matrix;        /* lanes of a sub-group, 8 or 16; 0 = no */
    enum woqi_kernel_id only_matrix; /* 0 = any */
    uint32_t only_fixed;             /* enum woqi_block_id; 0 = any */
};

/* text as woq_device_params.emulate; NULL = environment. */
enum woq_status woqi_emulation_parse(const char *text, struct woqi_emulation *out);
void woqi_emulation_apply(const struct woqi_emulation *emulation, struct woq_device_info *info);

#endif
