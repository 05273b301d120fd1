/*
 * fuzz_commands.c: bytes become a list of calls on the reference backend: objects are made,
 * recorded, run and destroyed in any order with good and bad arguments. No call may crash, hang, or
 * read or write out of bounds; no block may be left behind.
 *
 *     clang -fsanitize=fuzzer,address,undefined …   a libFuzzer target: LLVMFuzzerTestOneInput
 *     with -DFUZZ_STANDALONE                        fuzz_commands [COUNT [SEED]]: random inputs
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <woq/command.h>

#include "support/data.h"
#include "support/device.h"

#define MAX_CALLS 60
#define SLOTS 8

struct input {
    const uint8_t *bytes;
    size_t left;
};

struct state {
    struct woq_device *device;
    struct woq_buffer *buffers[4];
    struct woq_weights *weights[2];
    struct woq_gemm *gemms[2];
    struct woq_commands *commands[2];
    uint32_t slots[2][SLOTS];
    uint64_t tickets[2];
};

static uint32_t take(struct input *in, uint32_t limit)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->bytes++ % limit;
}

/* Mostly a sensible small number, sometimes an end of the range. */
static uint64_t take_number(struct input *in)
{
    const uint32_t kind = take(in, 256);
    if (kind < 220)
        return take(in, 256);
    if (kind < 240)
        return (uint64_t)take(in, 256) << take(in, 64);
    return UINT64_MAX - take(in, 4);
}

static void call_buffer(struct state *s, struct input *in)
{
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    uint8_t bytes[64] = {0};
    struct woq_buffer **b = &s->buffers[take(in, 4)];
    void *pointer;
    switch (take(in, 6)) {
    case 0:
    case 1:
        woq_buffer_destroy(b);
        params.size = take(in, 8) ? 64 + 16 * take(in, 256) : take_number(in);
        params.flags = take(in, 3);
        if (params.size < (1u << 24))
            woq_buffer_create(s->device, &params, b);
        break;
    case 2: woq_buffer_write(*b, take_number(in), bytes, take(in, 65)); break;
    case 3: woq_buffer_read(*b, take_number(in), bytes, take(in, 65)); break;
    case 4: woq_buffer_map(*b, &pointer); break;
    default: woq_buffer_unmap(*b); break;
    }
}

/* Arrays as large as the format says, for small shapes; else arguments that must be refused first.
 */
static void call_weights(struct state *s, struct input *in)
{
    struct woq_weights **w = &s->weights[take(in, 2)];
    struct woq_weights_params params = WOQ_WEIGHTS_PARAMS_INIT;
    struct test_case c = case_default();
    struct test_data data;
    woq_weights_destroy(w);
    c.code = 1 + take(in, 4);
    c.zero = take(in, 4);
    c.scale = take(in, 4);
    c.group = take(in, 4) ? 1 + take(in, 40) : take(in, 2) ? 0 : UINT64_MAX;
    c.order = take(in, 3);
    c.n = 1 + take(in, 20);
    c.k = 1 + take(in, 40);
    c.stack = 1 + take(in, 3);
    c.code_pad = take(in, 2);
    c.data = take(in, 3);
    c.seed = take(in, 256);
    c.activation = take(in, 3) ? 0 : WOQ_ACTIVATION_SILU_MUL;
    case_normalize(&c, UINT64_MAX);
    if (!data_create(&c, &data))
        return;
    struct woq_weights_source *source = &data.sources[take(in, data.count)];
    const uint32_t damage = take(in, 24);
    if (damage == 0)
        source->format.code = (enum woq_code)take(in, 8);
    else if (damage == 1)
        source->n = 0;
    else if (damage == 2)
        source->codes = NULL;
    else if (damage == 3)
        source->scales = NULL;
    else if (damage == 4)
        source->row_stride = 1;
    else if (damage == 5)
        source->struct_size = take(in, 256);
    else if (damage == 6 && source->zeros && c.zero == WOQ_ZERO_POINT)
        *(uint8_t *)(uintptr_t)source->zeros = (uint8_t)take(in, 256);
    else if (damage == 7 && source->g_idx)
        *(uint32_t *)(uintptr_t)source->g_idx = take(in, 256);
    /* A code that no longer fits the arrays may only be passed on if it is refused unread. */
    if (damage == 0 && source->format.code != (enum woq_code)c.code &&
        (unsigned)source->format.code - 1 < WOQ_CODE_BF16)
        source->format.struct_size = 0;
    params.sources = data.sources;
    params.count = data.count;
    params.gated = take(in, 16) ? data.gated : !data.gated;
    woq_weights_create(s->device, &params, w);
    data_destroy(&data);
}

static void call_gemm(struct state *s, struct input *in)
{
    struct woq_gemm **g = &s->gemms[take(in, 2)];
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    struct woq_explain e = {.struct_size = sizeof(e)};
    woq_gemm_destroy(g);
    params.weights = s->weights[take(in, 2)];
    params.max_m = take(in, 12);
    params.x_type = (enum woq_type)take(in, 5);
    params.y_type = (enum woq_type)take(in, 5);
    params.bias_type = (enum woq_type)take(in, 5);
    params.residual = take(in, 2);
    params.activation = (enum woq_activation)take(in, 8);
    params.math = (enum woq_math)take(in, 4);
    params.path = take(in, 4) ? NULL : take(in, 2) ? "floor" : "none";
    woq_gemm_create(s->device, &params, g);
    woq_gemm_explain(*g, take(in, 12), &e);
}

/* Two slots for M, six for views of each access. */
static void open_commands(struct state *s, uint32_t i, const struct woq_commands_params *params)
{
    woq_commands_destroy(&s->commands[i]);
    woq_commands_create(s->device, params, &s->commands[i]);
    for (uint32_t j = 0; j < SLOTS; j++) {
        s->slots[i][j] = j;
        if (j < 2)
            woq_commands_slot_m(s->commands[i], 1 + 5 * j, &s->slots[i][j]);
        else
            woq_commands_slot_view(s->commands[i], (enum woq_access)(1 + j % 3), &s->slots[i][j]);
    }
}

static void call_record(struct state *s, struct input *in)
{
    const uint32_t i = take(in, 2);
    struct woq_commands *c = s->commands[i];
    const uint32_t *slots = s->slots[i];
    struct woq_commands_params params = WOQ_COMMANDS_PARAMS_INIT;
#define SLOT (take(in, 12) ? slots[take(in, SLOTS)] : WOQ_NO_SLOT)
    const uint32_t kind = take(in, 10);
    if (kind == 0) {
        params.in_flight = take(in, 10);
        params.workspace.buffer = take(in, 4) ? NULL : s->buffers[take(in, 4)];
        params.workspace.offset = take_number(in);
        open_commands(s, i, &params);
    } else if (kind < 5) {
        const uint32_t m = SLOT, x = SLOT, y = SLOT, bias = SLOT, residual = SLOT;
        woq_commands_gemm(c, s->gemms[take(in, 2)], m, x, y, bias, residual);
    } else if (kind == 5) {
        const uint32_t from = SLOT, to = SLOT;
        woq_commands_copy(c, from, to, take_number(in));
    } else if (kind == 6) {
        woq_commands_barrier(c);
    } else if (kind == 7) {
        woq_commands_timestamp(c, take(in, 255) + take(in, 4));
    } else if (kind == 8) {
        woq_commands_end(c);
    } else {
        woq_commands_prepare(c);
    }
#undef SLOT
}

static void call_run(struct state *s, struct input *in)
{
    const uint32_t i = take(in, 2);
    struct woq_binding bindings[SLOTS];
    uint64_t ns[4];
    const uint32_t count = take(in, SLOTS + 1);
    for (uint32_t j = 0; j < count; j++) {
        bindings[j] = (struct woq_binding){.slot = s->slots[i][j], .m = take(in, 8)};
        bindings[j].view.buffer = s->buffers[take(in, 4)];
        bindings[j].view.offset = take(in, 4) ? 4u * take(in, 64) : take_number(in);
        bindings[j].view.row_stride = take(in, 4) ? 0 : take_number(in);
    }
    woq_commands_run(s->commands[i], count || take(in, 2) ? bindings : NULL, count, &s->tickets[i]);
    woq_commands_wait(s->commands[i], take(in, 4) ? s->tickets[i] : take_number(in), take(in, 2));
    woq_commands_timestamps(s->commands[i], s->tickets[i], ns, take(in, 5));
}

/* Half of all inputs begin with valid objects, or they would seldom get as far as a run. */
static void prelude(struct state *s)
{
    struct woq_buffer_params memory = WOQ_BUFFER_PARAMS_INIT;
    struct woq_weights_params weights = WOQ_WEIGHTS_PARAMS_INIT;
    struct woq_gemm_params gemm = WOQ_GEMM_PARAMS_INIT;
    struct test_case c = case_default();
    struct test_data data;
    memory.size = 1024;
    for (int i = 0; i < 4; i++)
        woq_buffer_create(s->device, &memory, &s->buffers[i]);
    if (!data_create(&c, &data))
        return;
    weights.sources = data.sources;
    weights.count = data.count;
    woq_weights_create(s->device, &weights, &s->weights[0]);
    data_destroy(&data);
    gemm.weights = s->weights[0];
    gemm.max_m = 6;
    woq_gemm_create(s->device, &gemm, &s->gemms[0]);
    open_commands(s, 0, NULL);
    woq_commands_gemm(s->commands[0], s->gemms[0], s->slots[0][1], s->slots[0][3], s->slots[0][4],
                      WOQ_NO_SLOT, WOQ_NO_SLOT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const limits[] = {"", "max_binding=1K", "max_allocation=2K,max_groups=1",
                                         "no_host_memory,no_timestamps"};
    struct input in = {data, size};
    struct state s = {.device = NULL};
    struct woq_device_params params = test_params();
    params.log = NULL;
    params.cache_dir = "";
    params.emulate = limits[take(&in, 4)];
    if (woq_device_open("reference", &params, &s.device))
        abort();
    if (take(&in, 2))
        prelude(&s);
    for (int i = 0; i < MAX_CALLS && in.left; i++) {
        switch (take(&in, 8)) {
        case 0:
        case 1: call_buffer(&s, &in); break;
        case 2: call_weights(&s, &in); break;
        case 3: call_gemm(&s, &in); break;
        case 4:
        case 5: call_record(&s, &in); break;
        default: call_run(&s, &in); break;
        }
    }
    if (take(&in, 2))
        woq_device_destroy(&s.device);
    for (int i = 0; i < 4; i++)
        woq_buffer_destroy(&s.buffers[i]);
    for (int i = 0; i < 2; i++) {
        woq_commands_destroy(&s.commands[i]);
        woq_weights_destroy(&s.weights[i]);
        woq_gemm_destroy(&s.gemms[i]);
    }
    woq_device_destroy(&s.device);
    if (test_heap_balance(test_main_heap()))
        abort();
    return 0;
}

#ifdef FUZZ_STANDALONE
int main(int argc, char **argv)
{
    const unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 20000;
    struct test_random r = {argc > 2 ? strtoul(argv[2], NULL, 10) : 1};
    uint8_t bytes[1024];
    for (unsigned long i = 0; i < count; i++) {
        const size_t size = (size_t)random_below(&r, sizeof(bytes));
        for (size_t j = 0; j < size; j++)
            bytes[j] = (uint8_t)random_bits(&r);
        LLVMFuzzerTestOneInput(bytes, size);
    }
    printf("%lu inputs\n", count);
    return 0;
}
#endif
