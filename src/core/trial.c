/* trial.c: trials of the kernels for doubted instructions, and what is kept of them. */
#include "trial.h"

#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "blocks.h"
#include "cache.h"
#include "check.h"
#include "log.h"
#include "selftest.h"

static const struct set {
    enum woqi_block_id block;
    uint32_t dot;
} sets[] = {
#define SET(id, dot) {WOQI_BLOCK_##id, dot},
    WOQI_FIXED_BLOCKS(SET)
#undef SET
};
enum { SETS = sizeof sets / sizeof *sets };

static bool doubted(const struct woq_device *device, const struct set *set)
{
    return device->doubted >> set->dot & 1u && (!device->only_fixed || device->only_fixed == set->block);
}

static void cache_key(const struct woq_device *device, const struct set *set, char out[96])
{
    snprintf(out, 96, "trial 1 | %s | woq %s | %s", device->doubted_key, woq_version_string(),
             woqi_block_name(set->block));
}

/* On disk: a byte, enum woq_trial_state, and the text. */
static void load(struct woq_device *device, const struct set *set, struct woq_trial *out)
{
    char key[96];
    void *data = NULL;
    size_t size = 0;
    memset(out, 0, sizeof *out);
    snprintf(out->instructions, sizeof out->instructions, "%s", woqi_block_name(set->block));
    cache_key(device, set, key);
    if (!woqi_cache_load(device, key, &data, &size))
        return;
    const uint8_t *bytes = data;
    if (size && (bytes[0] == WOQ_TRIAL_PASSED || bytes[0] == WOQ_TRIAL_FAILED)) {
        out->state = (enum woq_trial_state)bytes[0];
        snprintf(out->found, sizeof out->found, "%.*s", (int)woqi_min(size - 1, 1024), (const char *)bytes + 1);
    }
    woqi_free(device, data);
}

static void store(struct woq_device *device, const struct set *set, struct woq_trial *trial,
                  enum woq_trial_state state, const char *program, const char *found)
{
    char key[96], data[1 + sizeof trial->found];
    trial->state = state;
    snprintf(trial->found, sizeof trial->found, "%s%s%s", program, *found ? ": " : "", found);
    data[0] = (char)state;
    memcpy(data + 1, trial->found, sizeof trial->found);
    cache_key(device, set, key);
    woqi_cache_store(device, key, data, 1 + strlen(data + 1));
}

uint32_t woqi_trials_passed(struct woq_device *device)
{
    uint32_t passed = 0;
    bool untried = false;
    for (size_t i = 0; i < SETS; i++) {
        struct woq_trial trial;
        if (!doubted(device, &sets[i]))
            continue;
        load(device, &sets[i], &trial);
        if (trial.state == WOQ_TRIAL_PASSED)
            passed |= 1u << sets[i].dot;
        else if (trial.state == WOQ_TRIAL_FAILED)
            woqi_log(device, WOQ_LOG_WARNING, "fixed16 does without kernels for %s: in their trial %s",
                     trial.instructions, trial.found);
        else
            untried = true;
    }
    if (untried)
        woqi_log(device, WOQ_LOG_INFO, "fixed16 does without some of this CPU's instructions: its kernels for them are "
                                       "not known to this driver; `woq devices --try` finds out");
    return passed;
}

enum woq_status woq_device_trials(struct woq_device *device, struct woq_trial *entries, size_t *count)
{
    enum woq_status st = WOQI_CHECK_NULL(device, count);
    if (st)
        return st;
    const size_t capacity = *count;
    *count = 0;
    if ((st = WOQI_CHECK_NULL(NULL, device)))
        return st;
    for (size_t i = 0; i < SETS; i++) {
        if (!doubted(device, &sets[i]) || (entries && *count == capacity))
            continue;
        if (entries)
            load(device, &sets[i], &entries[*count]);
        ++*count;
    }
    return WOQ_OK;
}

/* ---- the trial ---- */

/* That of the product, after one that prepares X. */
static enum woqi_kernel_id last_kernel(const struct woqi_path *path)
{
    return path->kernels[path->kernel_count - 1];
}

/* One program, with groups of unlike size, one row of X, for which kernels have code of their own, and many. */
static bool try_program(struct woq_device *device, const struct set *set, const struct woqi_path *path,
                        struct woqi_kernel_key key, struct woq_trial *trial)
{
    static const uint32_t groups[] = {WOQI_GROUPS_BLOCK, WOQI_GROUPS_PAIR, WOQI_GROUPS_UNIT};
    static const uint32_t rows[] = {1, 0};
    char program[sizeof(struct woqi_kernel){0}.name], wrong[96] = "";
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
        for (size_t r = path->min_m > 1; r < (path->max_m == 1 ? 1 : sizeof rows / sizeof *rows); r++) {
            key.fine = groups[g];
            woqi_kernel_name(key, program, sizeof program);
            store(device, set, trial, WOQ_TRIAL_FAILED, program, "ended the process, or did not end");
            if (woqi_selftest_run(device, path, key, rows[r], wrong, sizeof wrong))
                snprintf(wrong, sizeof wrong, "%s", woq_last_message());
            if (!*wrong)
                continue;
            store(device, set, trial, WOQ_TRIAL_FAILED, program, wrong);
            return false;
        }
    return true;
}

/* Does any product run it? */
static bool has_program(struct woqi_kernel_key key)
{
    return key.block != WOQI_BLOCK_DPBF16 || key.zero != WOQ_ABI_ZERO_OFFSET;
}

static bool try_path(struct woq_device *device, const struct set *set, const struct woqi_path *path,
                     struct woq_trial *trial)
{
    struct woqi_kernel_key key = {.id = last_kernel(path), .block = set->block};
    for (key.code = WOQ_ABI_U4; key.code <= WOQ_ABI_U8; key.code++)
        for (key.zero = WOQ_ABI_ZERO_SYMMETRIC; key.zero <= WOQ_ABI_ZERO_OFFSET; key.zero++)
            for (key.scale = WOQ_ABI_F32; key.scale <= WOQ_ABI_BF16; key.scale++)
                if (has_program(key) && !try_program(device, set, path, key, trial))
                    return false;
    return true;
}

/* Several paths may run one kernel. */
static bool is_repeated(uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (woqi_paths[i].block == woqi_paths[index].block &&
            last_kernel(&woqi_paths[i]) == last_kernel(&woqi_paths[index]))
            return true;
    return false;
}

static void try_set(struct woq_device *device, const struct set *set, struct woq_trial *trial)
{
    bool good = true;
    snprintf(trial->instructions, sizeof trial->instructions, "%s", woqi_block_name(set->block));
    device->tried = 1u << set->dot;
    for (uint32_t i = 0; i < woqi_path_total && good; i++)
        if (woqi_paths[i].block == set->block && !is_repeated(i))
            good = try_path(device, set, &woqi_paths[i], trial);
    device->tried = 0;
    if (good)
        store(device, set, trial, WOQ_TRIAL_PASSED, "", "");
}

enum woq_status woq_device_try(struct woq_device *device, const char *instructions, struct woq_trial *out)
{
    struct woq_trial trial = {.instructions = ""};
    enum woq_status st = WOQI_CHECK_NULL(NULL, device);
    if (!st)
        st = WOQI_CHECK_NULL(device, instructions);
    if (st)
        return st;
    const struct set *set = NULL;
    for (size_t i = 0; i < SETS && !set; i++)
        if (doubted(device, &sets[i]) && !strcmp(instructions, woqi_block_name(sets[i].block)))
            set = &sets[i];
    if (!set)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "%s: no kernels for '%s' are in doubt on %s (see woq_device_trials)", __func__, instructions,
                         device->info.selector);
    if (!device->cache)
        return woqi_fail(device, WOQ_ERROR_UNSUPPORTED, "%s: the device has no cache to keep the verdict in", __func__);
    pthread_mutex_lock(&device->selftest_lock);
    try_set(device, set, &trial);
    pthread_mutex_unlock(&device->selftest_lock);
    if (out)
        *out = trial;
    return WOQ_OK;
}
