/* gemm.c: GEMM objects: validation, the choice of a path for every M, explain. */
#include <stdio.h>

#include "alloc.h"
#include "check.h"
#include "limits.h"
#include "paths.h"
#include "tuning.h"
#include "verdict.h"

static enum woq_status fail_param(struct woq_device *device, const char *name, int value,
                                  const char *right)
{
    return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "woq_gemm_create: %s is %d; must be %s",
                     name, value, right);
}

static enum woq_status check_enums(struct woq_device *device, const struct woq_gemm_params *p)
{
    if (!woqi_is_type(p->x_type))
        return fail_param(device, "x_type", (int)p->x_type, "WOQ_F32, WOQ_F16 or WOQ_BF16");
    if (!woqi_is_type(p->y_type))
        return fail_param(device, "y_type", (int)p->y_type, "WOQ_F32, WOQ_F16 or WOQ_BF16");
    if (p->bias_type != WOQ_TYPE_NONE && !woqi_is_type(p->bias_type))
        return fail_param(device, "bias_type", (int)p->bias_type, "an enum woq_type");
    if ((unsigned)p->activation > WOQ_ACTIVATION_SILU_MUL)
        return fail_param(device, "activation", (int)p->activation, "an enum woq_activation");
    if ((unsigned)p->math > WOQ_MATH_FIXED16)
        return fail_param(device, "math", (int)p->math, "an enum woq_math");
    return WOQ_OK;
}

static enum woq_status check_params(struct woq_device *device, const struct woq_gemm_params *p)
{
    enum woq_status st;
    if ((st = WOQI_CHECK_NULL(NULL, device)) || (st = WOQI_CHECK_NULL(device, p)) ||
        (st = WOQI_CHECK_STRUCT(device, p)) || (st = WOQI_CHECK_NULL(device, p->weights)) ||
        (st = check_enums(device, p)))
        return st;
    if (p->weights->device != device)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_gemm_create: weights belong to another device");
    if (!p->max_m)
        return fail_param(device, "max_m", 0, ">= 1");
    bool gated = p->activation == WOQ_ACTIVATION_SILU_MUL;
    if (gated && !p->weights->gated)
        return woqi_fail(
            device, WOQ_ERROR_INVALID_ARGUMENT,
            "woq_gemm_create: activation SILU_MUL needs weights created with gated = true");
    if (!gated && p->weights->gated)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_gemm_create: gated weights need activation SILU_MUL, not %s",
                         woq_activation_name(p->activation));
    if (p->math == WOQ_MATH_ROUNDED && p->x_type == WOQ_F16 && !p->weights->fp16_safe)
        return woqi_fail(
            device, WOQ_ERROR_UNSUPPORTED,
            "woq_gemm_create: math ROUNDED with F16 X: some scale·(q − zero) overflows or "
            "is too small for F16; use EXACT, or BF16 X");
    return WOQ_OK;
}

/* The static name of the path that *path asks for, which may be a variant of one; and whether there is such. */
static enum woq_status find_forced(struct woq_device *device, const char **path, const char **variant)
{
    char known[128] = "";
    for (uint32_t i = 0; strchr(*path, '/') && i < woqi_path_total; i++) {
        char name[WOQ_VARIANT_NAME];
        woqi_path_variant(&woqi_paths[i], name);
        if (!strcmp(*path, name)) {
            *variant = *path;
            *path = woqi_paths[i].name;
            return WOQ_OK;
        }
    }
    for (uint32_t i = 0; i < woq_path_count(); i++) {
        const char *name = woq_path_name(i);
        if (!strcmp(*path, name)) {
            *path = name;
            return WOQ_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", name);
    }
    return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT,
                     "woq_gemm_create: path '%s' is unknown; known are %s, and variants of them "
                     "(woq_variant_name)",
                     *path, known);
}

/* FIXED16 is for those who ask for it, and DPBF16 for BF16 X; to others their paths are not worth a reason. */
static bool fixed_fits(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason)
{
    const bool fixed = path->math == WOQ_MATH_FIXED16, wanted = gemm->params.math == WOQ_MATH_FIXED16;
    if (path->block == WOQI_BLOCK_DPBF16 && (gemm->params.x_type != WOQ_BF16 || wanted)) {
        reason[0] = 0;
        return false;
    }
    if (fixed == wanted || (!fixed && !gemm->weights->group))
        return true;
    snprintf(reason, WOQI_REASON_SIZE, "%s", fixed ? "" : "does not compute in math mode fixed16");
    return false;
}

static bool math_fits(const struct woq_gemm *gemm, const struct woqi_path *path, char *reason)
{
    if (!path->math || !gemm->weights->group)
        return true;
    if (gemm->params.math && gemm->params.math != path->math) {
        snprintf(reason, WOQI_REASON_SIZE, "computes in math mode %s", woq_math_name(path->math));
        return false;
    }
    if (path->math == WOQ_MATH_ROUNDED && gemm->params.x_type == WOQ_F16 &&
        !gemm->weights->fp16_safe) {
        snprintf(reason, WOQI_REASON_SIZE, "some weight overflows or is too small for FP16");
        return false;
    }
    return true;
}

/* Of woqi_gemm_build. */
struct choice {
    const struct woqi_path *only;
    const char *variant; /* NULL = any */
    const struct woqi_tuning_record *record; /* NULL = none */
    woqi_trust_fn *trusts;
};

static bool kernel_wanted(const struct woq_device *device, struct woqi_kernel_key key, char *reason)
{
    const bool matrix = device->only_matrix && woqi_kernel_is_matrix(key.id) && key.id != device->only_matrix;
    const bool fixed = device->only_fixed && woqi_kernel_is_fixed(key.id) && key.block != device->only_fixed;
    if (!matrix && !fixed)
        return true;
    snprintf(reason, WOQI_REASON_SIZE, "%s", fixed ? "" /* that of the one it asks for counts */
                                                   : "WOQ_EMULATE asks for another kernel");
    return false;
}

/* Must one path take all M? Those of FIXED16 add the same numbers in the same order. */
static bool must_take_all(const struct woq_gemm *gemm, const struct woqi_path *path)
{
    return gemm->params.batch_invariant && path->math != WOQ_MATH_FIXED16;
}

static bool is_variant(const struct woqi_path *path, const char *variant)
{
    char name[WOQ_VARIANT_NAME];
    woqi_path_variant(path, name);
    return !strcmp(name, variant);
}

/* Can the path do m rows? If so, the keys of its kernels; if not, why. */
static bool path_fits(const struct woq_gemm *gemm, const struct choice *choice,
                      const struct woqi_path *path, uint32_t m,
                      struct woqi_kernel_key keys[WOQI_PATH_KERNELS], char *reason, bool *distrusted)
{
    if (choice->variant && !is_variant(path, choice->variant)) {
        *reason = 0; /* what rows of the one that was asked for have to say counts */
        return false;
    }
    if (choice->only ? path != choice->only
                     : gemm->params.path && strcmp(gemm->params.path, path->name)) {
        snprintf(reason, WOQI_REASON_SIZE, "another path was asked for");
        return false;
    }
    if (!fixed_fits(gemm, path, reason))
        return false;
    for (uint32_t i = 0; i < path->kernel_count; i++) {
        keys[i] = woqi_path_key(gemm, path, i);
        if (!kernel_wanted(gemm->device, keys[i], reason))
            return false;
        if (!gemm->device->backend->kernel_probe(gemm->device, keys[i], reason, WOQI_REASON_SIZE)) {
            if (path->block == WOQI_BLOCK_DPBF16) /* which few CPUs have */
                reason[0] = 0;
            return false;
        }
    }
    if (!math_fits(gemm, path, reason) || !path->accepts(gemm, path, reason, WOQI_REASON_SIZE))
        return false;
    const bool always = must_take_all(gemm, path);
    if (m < path->min_m && woqi_gemm_chooses(gemm) &&
        !(always && !path->pieces && gemm->params.max_m >= path->min_m)) {
        snprintf(reason, WOQI_REASON_SIZE, "takes at least %u rows", path->min_m);
        return false;
    }
    if (path->max_m && (always ? gemm->params.max_m : m) > path->max_m) {
        snprintf(reason, WOQI_REASON_SIZE, "takes at most %u rows%s", path->max_m,
                 always && m <= path->max_m ? ", and all M must run alike" : "");
        return false;
    }
    const bool tested = path->block && path->kernels[0] != WOQI_KERNEL_TILE && path->block != WOQI_BLOCK_PLAIN &&
                        choice->trusts;
    for (uint32_t i = tested ? path->kernel_count : 0; i-- > 0 && !*distrusted;)
        *distrusted = !choice->trusts(gemm->device, path, keys[i], reason, WOQI_REASON_SIZE);
    return !*distrusted;
}

/* Of several paths of one name, the last one's reason counts, if it has one. */
static void reject(struct woqi_range *range, const char *path, const char *reason, bool distrusted)
{
    uint32_t i = 0;
    if (!*reason)
        return;
    while (i < range->rejected_count &&
           (distrusted || range->rejected[i].distrusted || strcmp(range->rejected[i].path, path)))
        i++;
    if (i == WOQ_EXPLAIN_MAX_REJECTED)
        return;
    range->rejected[i].path = path;
    range->rejected[i].distrusted = distrusted;
    snprintf(range->rejected[i].reason, WOQI_REASON_SIZE, "%s", reason);
    if (i == range->rejected_count)
        range->rejected_count++;
}

static void forget(struct woqi_range *range, const char *path)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < range->rejected_count; i++)
        if (range->rejected[i].distrusted || strcmp(range->rejected[i].path, path))
            range->rejected[kept++] = range->rejected[i];
    range->rejected_count = kept;
}

/* Lets the range run on the path, for as long as that takes its M. */
static enum woq_status take_path(struct woq_gemm *gemm, const struct woqi_path *path,
                                 const struct woqi_kernel_key keys[WOQI_PATH_KERNELS],
                                 struct woqi_range *range)
{
    enum woq_status st = WOQ_OK;
    range->path = path;
    woqi_path_variant(path, range->variant);
    forget(range, path->name);
    range->math = gemm->params.math ? gemm->params.math
                  : path->math && gemm->weights->group ? path->math
                                                       : WOQ_MATH_EXACT;
    if (path->max_m && path->max_m < range->max_m)
        range->max_m = path->max_m;
    for (uint32_t i = 0; i < path->kernel_count && !st; i++)
        st = woqi_device_kernel(gemm->device, keys[i], &range->kernels[i]);
    const uint64_t bytes = path->workspace(gemm, path, range->max_m);
    if (bytes > gemm->workspace)
        gemm->workspace = bytes;
    for (uint32_t i = 0; i < path->kernel_count; i++)
        if (path->kernels[i] == WOQI_KERNEL_WGMMA)
            gemm->flags = woqi_wgmma_flags(gemm);
    return st;
}

static const struct woqi_tuning_record *find_record(const struct woq_gemm *gemm)
{
    char product[WOQ_TUNING_LINE];
    return woq_tuning_product(gemm, product)
               ? NULL
               : woqi_tuning_find(gemm->device, product, gemm->weights->n, gemm->weights->k);
}

static void say_record(const struct woqi_tuning_record *r, const char *before, const char *after,
                       char *out, size_t size)
{
    snprintf(out, size, "%s%s, %s (%s:%u)%s", before, r->head, r->product, r->source, r->line, after);
}

/* The range that begins at m, as the record says. False: it says nothing, or what cannot be; the range then ends where
 * it says something else. */
static bool plan_recorded(struct woq_gemm *gemm, const struct choice *choice, uint32_t m, struct woqi_range *range,
                          enum woq_status *st)
{
    const struct woqi_path *found = NULL;
    struct woqi_kernel_key keys[WOQI_PATH_KERNELS];
    struct woqi_tuning_way way;
    char reason[WOQI_REASON_SIZE] = "", after[WOQI_REASON_SIZE + WOQ_VARIANT_NAME + 32];
    const struct choice asked = {NULL, way.variant, NULL, choice->trusts};
    woqi_tuning_way(choice->record, m, &way);
    if (way.last < range->max_m)
        range->max_m = way.last;
    if (!way.variant[0])
        return false;
    snprintf(reason, sizeof reason, "this version has no such variant");
    gemm->told = true;
    for (uint32_t i = 0; i < woqi_path_total && !found; i++) {
        char why[WOQI_REASON_SIZE] = "";
        bool distrusted = false;
        if (path_fits(gemm, &asked, &woqi_paths[i], m, keys, why, &distrusted))
            found = &woqi_paths[i];
        else if (*why)
            memcpy(reason, why, sizeof reason);
        if (distrusted)
            reject(range, woqi_paths[i].name, why, true);
    }
    gemm->told = false;
    snprintf(after, sizeof after, " asks for %s: %s", way.variant, reason);
    say_record(choice->record, found ? "" : "default, as ", found ? "" : after, range->decided, sizeof range->decided);
    if (!found)
        return false;
    range->tuning = woqi_tuning_fingerprint(choice->record);
    *st = take_path(gemm, found, keys, range);
    return true;
}

/* Fills the range that begins at m: the first path that fits. */
static enum woq_status plan_range(struct woq_gemm *gemm, const struct choice *choice, uint32_t m,
                                  struct woqi_range *range)
{
    char reasons[512] = "";
    enum woq_status st = WOQ_OK;
    range->min_m = m;
    range->max_m = gemm->params.max_m;
    snprintf(range->decided, sizeof range->decided, "%s", choice->variant ? "asked for" : "default");
    if (choice->record && gemm->range_count <= WOQI_TUNED_RANGES && plan_recorded(gemm, choice, m, range, &st))
        return st;
    for (uint32_t i = 0; i < woqi_path_total; i++) {
        const struct woqi_path *path = &woqi_paths[i];
        struct woqi_kernel_key keys[WOQI_PATH_KERNELS];
        char reason[WOQI_REASON_SIZE] = "";
        bool distrusted = false;
        if (path_fits(gemm, choice, path, m, keys, reason, &distrusted))
            return take_path(gemm, path, keys, range);
        reject(range, path->name, reason, distrusted);
        if (m < path->min_m && path->min_m <= range->max_m && !must_take_all(gemm, path) &&
            path_fits(gemm, choice, path, path->min_m, keys, reason, &distrusted))
            range->max_m = path->min_m - 1; /* where it will be preferred */
    }
    for (uint32_t i = 0, used = 0; i < range->rejected_count && used < sizeof reasons; i++)
        used += (uint32_t)snprintf(reasons + used, sizeof reasons - used, "; %s: %s",
                                   range->rejected[i].path, range->rejected[i].reason);
    return woqi_fail(gemm->device, WOQ_ERROR_UNSUPPORTED,
                     "woq_gemm_create: no path for m = %u on %s%s", m, gemm->device->info.selector,
                     reasons);
}

static enum woq_status plan(struct woq_gemm *gemm, const struct choice *choice)
{
    enum woq_status st = WOQ_OK;
    for (uint64_t m = 1; m <= gemm->params.max_m && !st;) {
        if (gemm->range_count == WOQI_MAX_RANGES)
            return woqi_fail(gemm->device, WOQ_ERROR_UNSUPPORTED,
                             "woq_gemm_create: too many ranges");
        if (!woqi_grow(gemm->device, &gemm->ranges, &gemm->range_capacity, gemm->range_count + 1u,
                       sizeof *gemm->ranges))
            return woqi_fail(gemm->device, WOQ_ERROR_OUT_OF_MEMORY, "woq_gemm_create: out of host memory");
        struct woqi_range *range = &gemm->ranges[gemm->range_count++];
        st = plan_range(gemm, choice, (uint32_t)m, range);
        m = (uint64_t)range->max_m + 1;
    }
    return st;
}

enum woq_status woqi_gemm_build(struct woq_device *device, const struct woq_gemm_params *params,
                                const struct woqi_path *path, woqi_trust_fn *trusts,
                                struct woq_gemm **out)
{
    struct choice choice = {path, NULL, NULL, trusts};
    enum woq_status st;
    *out = NULL;
    if ((st = check_params(device, params)))
        return st;
    const char *forced = params->path;
    if (forced && (st = find_forced(device, &forced, &choice.variant)))
        return st;
    struct woq_gemm *gemm = woqi_alloc(device, 1, sizeof *gemm);
    if (!gemm)
        return woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "woq_gemm_create: out of host memory");
    gemm->device = device;
    gemm->weights = params->weights;
    gemm->params = *params;
    gemm->params.path = forced;
    gemm->single = path != NULL;
    gemm->told = choice.variant != NULL;
    gemm->n = gemm->weights->gated ? gemm->weights->n / 2 : gemm->weights->n;
    atomic_init(&gemm->refs, 1);
    woqi_device_ref(device);
    woqi_weights_ref(gemm->weights);
    if (!path && !choice.variant && !params->batch_invariant)
        choice.record = find_record(gemm);
    st = plan(gemm, &choice);
    if (!st) {
        struct woqi_operands dense;
        struct woqi_slicing slicing;
        woqi_gemm_dense(gemm, &dense);
        st = woqi_gemm_slice(gemm, params->max_m, params->max_m, &dense, &slicing);
    }
    if (st)
        woqi_gemm_unref(gemm);
    else
        *out = gemm;
    return st;
}

void woqi_gemm_ref(struct woq_gemm *gemm)
{
    atomic_fetch_add(&gemm->refs, 1);
}

void woqi_gemm_unref(struct woq_gemm *gemm)
{
    if (!gemm || atomic_fetch_sub(&gemm->refs, 1) != 1)
        return;
    struct woq_device *device = gemm->device;
    woqi_weights_unref(gemm->weights);
    woqi_free(device, gemm->ranges);
    woqi_free(device, gemm);
    woqi_device_unref(device);
}

void woq_gemm_destroy(struct woq_gemm **gemm)
{
    if (!gemm)
        return;
    woqi_gemm_unref(*gemm);
    *gemm = NULL;
}

uint64_t woq_gemm_n(const struct woq_gemm *gemm)
{
    return gemm ? gemm->n : 0;
}

enum woq_status woq_gemm_workspace(const struct woq_gemm *gemm, uint64_t *bytes)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, bytes);
    if (st)
        return st;
    *bytes = 0;
    if ((st = WOQI_CHECK_NULL(NULL, gemm)))
        return st;
    *bytes = gemm->workspace;
    return WOQ_OK;
}

struct counter {
    struct woqi_emitter base;
    uint32_t steps;
};

static enum woq_status count_step(struct woqi_emitter *self, const struct woqi_step *step)
{
    (void)step;
    ((struct counter *)self)->steps++;
    return WOQ_OK;
}

/* Steps of m dense rows, barriers between stages included. */
static uint32_t count_steps(const struct woq_gemm *gemm, uint32_t m)
{
    struct woqi_operands dense;
    struct woqi_slicing slicing;
    struct counter counter = {{count_step}, 0};
    woqi_gemm_dense(gemm, &dense);
    if (woqi_gemm_slice(gemm, m, m, &dense, &slicing))
        return 0;
    for (uint32_t stage = 0; stage < slicing.stages; stage++)
        woqi_gemm_expand(gemm, m, &dense, &slicing, stage, &counter.base);
    return counter.steps + slicing.stages - 1;
}

/* The one that multiplies: it has the block, or is the last. */
static const struct woqi_kernel *main_kernel(const struct woqi_range *range)
{
    uint32_t i = range->path->kernel_count - 1;
    while (i && range->path->block && !range->kernels[i]->key.block)
        i--;
    return range->kernels[i];
}

enum woq_status woq_gemm_explain(const struct woq_gemm *gemm, uint32_t m, struct woq_explain *out)
{
    enum woq_status st = WOQI_CHECK_NULL(NULL, out);
    if (!st)
        st = WOQI_CHECK_STRUCT(NULL, out);
    if (!st)
        st = WOQI_CHECK_NULL(NULL, gemm);
    if (st)
        return st;
    *out = (struct woq_explain){.struct_size = sizeof *out};
    if (!m || m > gemm->params.max_m)
        return woqi_fail(gemm->device, WOQ_ERROR_INVALID_ARGUMENT,
                         "woq_gemm_explain: m is %u; must be 1 … max_m = %u", m,
                         gemm->params.max_m);
    const struct woqi_range *range = woqi_gemm_range(gemm, m);
    out->path = range->path->name;
    out->kernel = main_kernel(range)->name;
    out->layout = woqi_layout_name(gemm->weights->layout);
    out->math = range->math;
    out->steps = count_steps(gemm, m);
    out->workspace = range->path->workspace(gemm, range->path, m);
    out->rejected_count = range->rejected_count;
    out->variant = range->variant;
    out->decided = range->decided;
    out->tuning = range->tuning;
    out->limit = woqi_limit_of(gemm->device, main_kernel(range)->key, &out->limit_work);
    out->quarantine = woqi_verdict_fingerprint(gemm->device);
    for (uint32_t i = 0; i < range->rejected_count; i++) {
        out->rejected[i].path = range->rejected[i].path;
        out->rejected[i].reason = range->rejected[i].reason;
    }
    return WOQ_OK;
}
