/* emulate.c: parses and applies WOQ_EMULATE. */
#include "emulate.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "blocks.h"
#include "log.h"

#define MIN_BINDING 1024 /* bytes; below, not even one small row fits */

static bool equal(const char *text, size_t length, const char *word)
{
    return strlen(word) == length && !strncmp(text, word, length);
}

/* "1M" and the like; false if it is no such number. */
static bool parse_size(const char *text, size_t length, uint64_t *out)
{
    char digits[24];
    if (!length || length >= sizeof digits || !isdigit((unsigned char)text[0]))
        return false;
    memcpy(digits, text, length);
    digits[length] = 0;
    char *end;
    uint64_t value = strtoull(digits, &end, 10);
    unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    if (shift)
        end++;
    if (*end || value > UINT64_MAX >> shift || !value)
        return false;
    *out = value << shift;
    return true;
}

/* "matrix=<name of a kernel for matrix units>"; false if it is no such item. */
static bool parse_matrix(const char *item, size_t length, struct woqi_emulation *e)
{
    static const char *const names[WOQI_KERNEL_COUNT] = {
#define KERNEL_NAME(ID, name, path, local_x, what) [WOQI_KERNEL_##ID] = #name,
        WOQI_KERNELS(KERNEL_NAME)
#undef KERNEL_NAME
    };
    const size_t key = strlen("matrix=");
    if (length < key || strncmp(item, "matrix=", key))
        return false;
    for (uint32_t i = 0; i < WOQI_KERNEL_COUNT; i++)
        if (woqi_kernel_is_matrix((enum woqi_kernel_id)i) && equal(item + key, length - key, names[i])) {
            e->only_matrix = (enum woqi_kernel_id)i;
            return true;
        }
    return false;
}

/* "fixed=<instructions of the kernel fixed>"; false if it is no such item. */
static bool parse_fixed(const char *item, size_t length, struct woqi_emulation *e)
{
    const size_t key = strlen("fixed=");
    if (length < key || strncmp(item, "fixed=", key))
        return false;
#define FIXED_NAME(id, dot)                                                                        \
    if (length - key == strlen(#id) && !strncasecmp(item + key, #id, length - key))                \
        e->only_fixed = WOQI_BLOCK_##id;
    WOQI_FIXED_BLOCKS(FIXED_NAME)
#undef FIXED_NAME
    return e->only_fixed != 0;
}

static enum woq_status parse_item(const char *item, size_t length, struct woqi_emulation *e)
{
    if (length > 3 && !strncmp(item, "no_", 3)) {
        for (uint32_t bit = 1; woq_feature_name(bit); bit <<= 1)
            if (equal(item + 3, length - 3, woq_feature_name(bit))) {
                e->without |= bit;
                return WOQ_OK;
            }
    }
    if (equal(item, length, "software_matrix") || equal(item, length, "software_matrix=16")) {
        e->software_matrix = 16;
        return WOQ_OK;
    }
    if (equal(item, length, "software_matrix=8")) {
        e->software_matrix = 8;
        return WOQ_OK;
    }
    if (equal(item, length, "gpu")) {
        e->gpu = true;
        return WOQ_OK;
    }
    if (equal(item, length, "host_pack")) {
        e->host_pack = true;
        return WOQ_OK;
    }
    if (parse_matrix(item, length, e) || parse_fixed(item, length, e))
        return WOQ_OK;
    const struct {
        const char *key;
        uint64_t *value;
        uint64_t least;
    } keys[] = {
        {"max_binding", &e->max_binding, MIN_BINDING},
        {"max_allocation", &e->max_allocation, MIN_BINDING},
        {"shared_memory", &e->shared_memory, 1},
        {"max_workgroup", &e->max_workgroup, 1},
        {"max_groups", &e->max_groups, 1},
    };
    const char *sign = memchr(item, '=', length);
    size_t key_length = sign ? (size_t)(sign - item) : length;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!equal(item, key_length, keys[i].key))
            continue;
        if (!sign || !parse_size(sign + 1, length - key_length - 1, keys[i].value) ||
            *keys[i].value < keys[i].least)
            return woqi_fail(NULL, WOQ_ERROR_INVALID_ARGUMENT,
                             "WOQ_EMULATE: '%.*s': must be %s=NUMBER with an optional K, M or G, "
                             "at least %llu",
                             (int)length, item, keys[i].key, (unsigned long long)keys[i].least);
        return WOQ_OK;
    }
    return woqi_fail(
        NULL, WOQ_ERROR_INVALID_ARGUMENT,
        "WOQ_EMULATE: unknown item '%.*s'; known are max_binding=, max_allocation=, "
        "shared_memory=, max_workgroup=, max_groups=, no_fp16, no_storage16, no_storage8, "
        "no_subgroups, no_matrix, no_host_memory, no_timestamps, no_replay, no_matrix_bf16, no_subnormal16, "
        "software_matrix (=8 or 16), matrix=mma, coop, nv2 or wgmma, "
        "fixed=vbmi, vnni, avx512, avx2, sdot, dpbf16 or plain, gpu, "
        "host_pack",
        (int)length, item);
}

enum woq_status woqi_emulation_parse(const char *text, struct woqi_emulation *out)
{
    memset(out, 0, sizeof *out);
    if (!text)
        text = getenv("WOQ_EMULATE");
    while (text && *text) {
        size_t length = strcspn(text, ",");
        enum woq_status st = length ? parse_item(text, length, out) : WOQ_OK;
        if (st)
            return st;
        text += length;
        text += *text == ',';
    }
    return WOQ_OK;
}

static uint64_t lower(uint64_t own, uint64_t wanted)
{
    return wanted && wanted < own ? wanted : own;
}

void woqi_emulation_apply(const struct woqi_emulation *e, struct woq_device_info *info)
{
    info->max_binding = lower(info->max_binding, e->max_binding) / 4 * 4;
    info->max_allocation = lower(info->max_allocation, e->max_allocation);
    info->shared_memory = (uint32_t)lower(info->shared_memory, e->shared_memory);
    info->max_workgroup = (uint32_t)lower(info->max_workgroup, e->max_workgroup);
    for (int i = 0; i < 3; i++)
        info->max_groups[i] = (uint32_t)lower(info->max_groups[i], e->max_groups);
    if (e->gpu)
        info->kind = WOQ_DEVICE_KIND_DISCRETE_GPU;
    if (e->software_matrix)
        info->features |= WOQ_FEATURE_MATRIX;
    info->features &= ~e->without;
}
