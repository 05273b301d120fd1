/* product.c: running a case and judging what it gave. */
#include "product.h"

#include <stdlib.h>
#include <string.h>

#include "device.h"

static void print_case(const struct product *p, const char *path)
{
    char line[512];
    case_format(&p->c, line, sizeof(line));
    fprintf(stderr, "reproduce: WOQ_DEVICE=%s test_conformance --path %s --case '%s'\n",
            woq_device_get_info(p->device)->selector, path ? path : "default", line);
}

static bool create_regions(struct product *p)
{
    const struct test_case *c = &p->c;
    const uint64_t xs = oracle_type_size((enum woq_type)c->x);
    const uint64_t ys = oracle_type_size((enum woq_type)c->y);
    const uint64_t bs = oracle_type_size((enum woq_type)c->bias);
    const void *y = c->residual == CASE_IN_PLACE ? p->data.residual : NULL;
    if (!region_create(p->device, c->m, c->k * xs, p->data.x, c->x_offset * xs, c->x_pad * xs,
                       &p->x) ||
        !region_create(p->device, c->m, c->n * ys, y, c->y_offset * ys, c->y_pad * ys, &p->y))
        return false;
    if (c->bias && !region_create(p->device, 1, p->data.rows * bs, p->data.bias, c->x_offset * bs,
                                  0, &p->bias))
        return false;
    return c->residual != CASE_RESIDUAL ||
           region_create(p->device, c->m, c->n * ys, p->data.residual, c->x_offset * ys,
                         c->x_pad * ys, &p->residual);
}

static bool check_weights_info(const struct product *p)
{
    struct woq_weights_info info = {.struct_size = sizeof(info)};
    if (!test_ok(woq_weights_get_info(p->weights, &info), "woq_weights_info"))
        return false;
    const bool plain = p->c.code == WOQ_CODE_F16 || p->c.code == WOQ_CODE_BF16;
    if (info.n != p->data.rows || info.k != p->c.k || info.gated != p->data.gated ||
        info.tiles == 0 || info.device_bytes < info.payload_bytes) {
        fprintf(stderr, "woq_weights_info: n %llu, k %llu, %u tiles, %llu of %llu bytes\n",
                (unsigned long long)info.n, (unsigned long long)info.k, info.tiles,
                (unsigned long long)info.payload_bytes, (unsigned long long)info.device_bytes);
        return false;
    }
    const struct woq_device_info *device = woq_device_get_info(p->device);
    const uint64_t limit = device->max_binding < device->max_allocation ? device->max_binding
                                                                        : device->max_allocation;
    if (info.device_bytes > limit && info.tiles == 1) {
        fprintf(stderr, "woq_weights_info: one tile of %llu bytes, the limit is %llu\n",
                (unsigned long long)info.device_bytes, (unsigned long long)limit);
        return false;
    }
    if (!plain && ((p->safety == ORACLE_SAFE && !info.fp16_safe) ||
                   (p->safety == ORACLE_UNSAFE && info.fp16_safe))) {
        fprintf(stderr, "woq_weights_info: fp16_safe is %d\n", info.fp16_safe);
        return false;
    }
    return true;
}

bool product_create(struct woq_device *device, const struct test_case *c, struct product *out)
{
    struct woq_weights_params params = WOQ_WEIGHTS_PARAMS_INIT;
    *out = (struct product){.device = device, .c = *c};
    if (!data_create(c, &out->data))
        goto fail;
    const bool subnormal = woq_device_get_info(device)->features & WOQ_FEATURE_SUBNORMAL16;
    for (uint32_t i = 0; i < out->data.count; i++) {
        const enum oracle_safety safety = oracle_fp16_safety(&out->data.sources[i], subnormal);
        out->safety = safety > out->safety ? safety : out->safety;
    }
    params.sources = out->data.sources;
    params.count = out->data.count;
    params.gated = out->data.gated;
    if (!test_ok(woq_weights_create(device, &params, &out->weights), "woq_weights_create"))
        goto fail;
    if (!check_weights_info(out) || !create_regions(out))
        goto fail;
    return true;
fail:
    print_case(out, NULL);
    product_destroy(out);
    return false;
}

void product_destroy(struct product *p)
{
    woq_weights_destroy(&p->weights);
    region_destroy(&p->x);
    region_destroy(&p->y);
    region_destroy(&p->bias);
    region_destroy(&p->residual);
    data_destroy(&p->data);
    for (size_t i = 0; i < sizeof(p->want) / sizeof(*p->want); i++) {
        free(p->want[i]);
        p->want[i] = NULL;
    }
}

static enum woq_status create_gemm(const struct product *p, const char *path, struct woq_gemm **out)
{
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    params.weights = p->weights;
    params.max_m = (uint32_t)p->c.max_m;
    params.x_type = (enum woq_type)p->c.x;
    params.y_type = (enum woq_type)p->c.y;
    params.bias_type = (enum woq_type)p->c.bias;
    params.residual = p->c.residual != CASE_NO_RESIDUAL;
    params.activation = (enum woq_activation)p->c.activation;
    params.math = (enum woq_math)p->c.math;
    params.path = path;
    return woq_gemm_create(p->device, &params, out);
}

bool product_gemm(struct product *p, const char *path, struct woq_gemm **gemm)
{
    return test_ok(create_gemm(p, path, gemm), "woq_gemm_create");
}

bool product_record(struct product *p, struct woq_gemm *gemm, struct woq_commands *commands,
                    struct woq_binding bindings[5], size_t *count)
{
    const bool in_place = p->c.residual == CASE_IN_PLACE;
    const bool shared = in_place && p->c.seed % 2; /* Y's slot is the residual's too */
    uint32_t m, x, y, bias = WOQ_NO_SLOT, residual = WOQ_NO_SLOT;
    if (!test_ok(woq_commands_slot_m(commands, (uint32_t)p->c.max_m, &m), "woq_commands_slot_m") ||
        !test_ok(woq_commands_slot_view(commands, WOQ_ACCESS_READ, &x), "woq_commands_slot_view") ||
        !test_ok(woq_commands_slot_view(commands, shared ? WOQ_ACCESS_READ_WRITE : WOQ_ACCESS_WRITE,
                                        &y), "woq_commands_slot_view"))
        return false;
    *count = 0;
    bindings[(*count)++] = (struct woq_binding){.slot = m, .m = (uint32_t)p->c.m};
    bindings[(*count)++] = (struct woq_binding){.slot = x, .view = p->x.view};
    bindings[(*count)++] = (struct woq_binding){.slot = y, .view = p->y.view};
    if (p->c.bias) {
        if (!test_ok(woq_commands_slot_view(commands, WOQ_ACCESS_READ, &bias), "slot of bias"))
            return false;
        bindings[(*count)++] = (struct woq_binding){.slot = bias, .view = p->bias.view};
    }
    if (shared) {
        residual = y;
    } else if (p->c.residual) {
        if (!test_ok(woq_commands_slot_view(commands, WOQ_ACCESS_READ, &residual),
                     "slot of residual"))
            return false;
        const struct woq_view view = in_place ? p->y.view : p->residual.view;
        bindings[(*count)++] = (struct woq_binding){.slot = residual, .view = view};
    }
    return test_ok(woq_commands_gemm(commands, gemm, m, x, y, bias, residual), "woq_commands_gemm");
}

/* The expected values for `math`, made on first need. */
static const struct oracle_output *wanted(struct product *p, enum woq_math math)
{
    struct oracle_output **slot = &p->want[p->halved ? 3 : p->uncentred ? 4 : math - WOQ_MATH_EXACT];
    if (*slot)
        return *slot;
    const struct oracle_product product = {
        .sources = p->data.sources, .count = p->data.count, .gated = p->data.gated, .m = p->c.m,
        .k = p->c.k, .x = p->data.x, .x_type = (enum woq_type)p->c.x, .bias = p->data.bias,
        .bias_type = (enum woq_type)p->c.bias, .residual = p->data.residual,
        .y_type = (enum woq_type)p->c.y, .activation = (enum woq_activation)p->c.activation,
        .math = math, .halved = p->halved, .uncentred = p->uncentred, .exact = p->data.exact};
    *slot = calloc(p->c.m * p->c.n, sizeof(**slot));
    if (*slot && oracle_product(&product, *slot) != p->c.n) {
        fprintf(stderr, "the oracle refused the case\n");
        free(*slot);
        *slot = NULL;
    }
    return *slot;
}

bool product_check(struct product *p, enum woq_math math)
{
    const struct oracle_output *want = wanted(p, math);
    const enum woq_type type = (enum woq_type)p->c.y;
    unsigned wrong = 0;
    if (!want || !region_read(&p->y, "y"))
        return false;
    for (uint64_t row = 0; row < p->c.m; row++) {
        for (uint64_t column = 0; column < p->c.n; column++) {
            const struct oracle_output *w = &want[row * p->c.n + column];
            const double got = oracle_decode(region_row(&p->y, row), type, column);
            if (oracle_accepts(w, type, got))
                continue;
            if (wrong++ < 3)
                fprintf(stderr, "y[%llu][%llu] = %.9g, want %.9g ± %.3g (%s)\n",
                        (unsigned long long)row, (unsigned long long)column, got, w->value,
                        w->error, woq_math_name(math));
        }
    }
    if (wrong)
        fprintf(stderr, "%u of %llu elements wrong\n", wrong,
                (unsigned long long)(p->c.m * p->c.n));
    return wrong == 0 && region_unchanged(&p->x, "x") &&
           (!p->bias.buffer || region_unchanged(&p->bias, "bias")) &&
           (!p->residual.buffer || region_unchanged(&p->residual, "residual"));
}

/* A forced path and a wanted math mode must be what explain tells. */
static bool explained(struct product *p, const struct woq_gemm *gemm, const char *path,
                      enum woq_math *math)
{
    struct woq_explain e = {.struct_size = sizeof(e)};
    uint64_t workspace = 0;
    if (!test_ok(woq_gemm_explain(gemm, (uint32_t)p->c.m, &e), "woq_gemm_explain") ||
        !test_ok(woq_gemm_workspace(gemm, &workspace), "woq_gemm_workspace"))
        return false;
    *math = e.math;
    const bool native =
        woq_device_get_info(p->device)->features & WOQ_FEATURE_MATRIX_BF16 && p->c.code != WOQ_CODE_F16;
    p->halved = p->c.x == WOQ_BF16 && !native && e.kernel && !strncmp(e.kernel, "mma", 3);
    p->uncentred = woq_device_get_info(p->device)->backend == WOQ_BACKEND_CUDA && e.kernel &&
                   !strncmp(e.kernel, "mma_u4_N224", 11) && p->c.x == WOQ_F16 && p->c.scale == WOQ_F16 &&
                   p->c.zero != WOQ_ZERO_OFFSET && (p->c.group == WOQ_GROUP_CHANNEL || p->c.group >= 64);
    const bool good = e.path && e.kernel && e.layout && e.variant &&
                      (!path || !strcmp(path, strchr(path, '/') ? e.variant : e.path)) &&
                      e.math >= WOQ_MATH_EXACT && e.math <= WOQ_MATH_FIXED16 &&
                      (e.math != WOQ_MATH_FIXED16 || p->c.math == WOQ_MATH_FIXED16) &&
                      (p->c.math == WOQ_MATH_DEFAULT || (uint64_t)e.math == p->c.math) &&
                      e.workspace <= workspace && e.steps > 0 && woq_gemm_n(gemm) == p->c.n;
    if (!good)
        fprintf(stderr, "woq_gemm_explain: path %s, math %s, %u steps, workspace %llu of %llu\n",
                e.path ? e.path : "NULL", woq_math_name(e.math), e.steps,
                (unsigned long long)e.workspace, (unsigned long long)workspace);
    return good;
}

/* F16 X with ROUNDED and weights that binary16 cannot hold must be refused. */
static bool must_refuse(const struct product *p)
{
    return p->c.math == WOQ_MATH_ROUNDED && p->c.x == WOQ_F16 && p->safety == ORACLE_UNSAFE &&
           p->c.scale != WOQ_TYPE_NONE;
}

static bool may_refuse(const struct product *p, const char *path)
{
    if (p->c.math == WOQ_MATH_ROUNDED && p->c.x == WOQ_F16 && p->safety != ORACLE_SAFE)
        return true;
    if (p->c.math == WOQ_MATH_FIXED16)
        return true; /* conformance_fixed.c knows where not */
    return path && strcmp(path, "floor");
}

static bool run_twice(struct product *p, struct woq_gemm *gemm, enum woq_math math)
{
    struct woq_commands *commands = NULL;
    struct woq_binding bindings[5];
    size_t count;
    uint64_t ticket;
    bool good = false;
    uint8_t *first = malloc(p->y.size);
    if (!first ||
        !test_ok(woq_commands_create(p->device, NULL, &commands), "woq_commands_create") ||
        !product_record(p, gemm, commands, bindings, &count) ||
        !test_ok(woq_commands_end(commands), "woq_commands_end"))
        goto end;
    for (int run = 0; run < 2; run++) {
        if (!region_reset(&p->y) ||
            !test_ok(woq_commands_run(commands, bindings, run ? 0 : count, &ticket),
                     "woq_commands_run") ||
            !test_ok(woq_commands_wait(commands, ticket, WOQ_FOREVER), "woq_commands_wait"))
            goto end;
        if (run == 0 && !product_check(p, math))
            goto end;
        if (run == 0)
            memcpy(first, p->y.actual, p->y.size);
    }
    good = region_read(&p->y, "y, second run");
    if (good && memcmp(first, p->y.actual, p->y.size)) {
        fprintf(stderr, "the second run gave other bits\n");
        good = false;
    }
end:
    woq_commands_destroy(&commands);
    free(first);
    return good;
}

enum product_result product_run(struct product *p, const char *path)
{
    struct woq_gemm *gemm = NULL;
    enum woq_math math;
    test_expect_errors(true);
    const enum woq_status st = create_gemm(p, path, &gemm);
    test_expect_errors(false);
    p->refusal[0] = '\0';
    if (st == WOQ_ERROR_UNSUPPORTED && may_refuse(p, path)) {
        snprintf(p->refusal, sizeof(p->refusal), "%s", woq_last_message());
        return PRODUCT_REFUSED;
    }
    bool good = test_ok(st, "woq_gemm_create");
    if (good && must_refuse(p)) {
        fprintf(stderr, "math=rounded was accepted, but the weights overflow binary16\n");
        good = false;
    }
    good = good && explained(p, gemm, path, &math) && run_twice(p, gemm, math);
    woq_gemm_destroy(&gemm);
    if (!good)
        print_case(p, path);
    return good ? PRODUCT_PASSED : PRODUCT_FAILED;
}

enum product_result product_test(struct woq_device *device, const struct test_case *c,
                                 const char *path)
{
    struct product p;
    if (!product_create(device, c, &p))
        return PRODUCT_FAILED;
    const enum product_result result = product_run(&p, path);
    product_destroy(&p);
    return result;
}
