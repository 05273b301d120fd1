/*
 * decode_loop.c: the products of one transformer layer, recorded once and run for each token, while
 * the number of rows and the matrices change.
 *
 * usage: decode_loop [steps [hidden]]      1000 steps of hidden size 256, a multiple of 64
 *
 *     qkv = x · Wqkvᵀ              query, key and value stacked: one product
 *     h   = qkv[:, :hidden] · Woᵀ + x        the attention itself is the application's; the query
 *                                            part stands in for its result, by a strided view
 *     g   = silu(h · Wgateᵀ) · (h · Wupᵀ)  gate and up: one gated product
 *     y   = g · Wdownᵀ + h
 *
 * Exits with 77 if WOQ_DEVICE names a device that is not there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <woq/command.h>

enum { MAX_M = 4, STREAMS = 3, IN_FLIGHT = 4 };

/* Slots of the recording. */
enum slot { M, X, QKV, ATTENTION, H, G, Y, SLOTS };

struct layer {
    struct woq_device *device;
    struct woq_weights *weights[4];
    struct woq_gemm *qkv, *o, *gate_up, *down;
    struct woq_buffer *x[STREAMS], *y[STREAMS], *scratch_qkv, *scratch_h, *scratch_g;
    struct woq_commands *commands;
    uint32_t slot[SLOTS];
    uint64_t hidden, kv, inner;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Random 4-bit weights of `count` stacked matrices with rows[i] rows, as one object. */
static enum woq_status make_weights(struct woq_device *device, const uint64_t *rows, uint32_t count,
                                    uint64_t k, bool gated, struct woq_weights **out)
{
    struct woq_weights_source source[3];
    void *memory[6] = {NULL};
    enum woq_status st = WOQ_OK;
    for (uint32_t i = 0; i < count && !st; i++) {
        struct woq_format_sizes sizes;
        source[i] = (struct woq_weights_source)WOQ_WEIGHTS_SOURCE_INIT;
        source[i].format.code = WOQ_CODE_U4;
        source[i].format.zero = WOQ_ZERO_SYMMETRIC;
        source[i].format.scale = WOQ_F32;
        source[i].format.group = 64;
        source[i].n = rows[i];
        source[i].k = k;
        st = woq_format_get_sizes(&source[i].format, rows[i], k, &sizes);
        if (st)
            break;
        uint8_t *codes = memory[2 * i] = malloc(sizes.codes);
        float *scales = memory[2 * i + 1] = malloc(sizes.scales);
        if (!codes || !scales) {
            st = WOQ_ERROR_OUT_OF_MEMORY;
            break;
        }
        for (uint64_t b = 0; b < sizes.codes; b++)
            codes[b] = (uint8_t)(rand() >> 7);
        for (uint64_t s = 0; s < sizes.scales / 4; s++)
            scales[s] = 0.25f / (float)(16 + rand() % 16);
        source[i].codes = codes;
        source[i].scales = scales;
    }
    struct woq_weights_params params = {sizeof params, source, count, gated};
    if (!st)
        st = woq_weights_create(device, &params, out);
    for (int i = 0; i < 6; i++)
        free(memory[i]);
    return st;
}

static enum woq_status make_gemm(struct layer *l, struct woq_weights *weights, bool residual,
                                 enum woq_activation activation, struct woq_gemm **out)
{
    struct woq_gemm_params params = WOQ_GEMM_PARAMS_INIT;
    params.weights = weights;
    params.max_m = MAX_M;
    params.residual = residual;
    params.activation = activation;
    return woq_gemm_create(l->device, &params, out);
}

static enum woq_status make_gemms(struct layer *l)
{
    const uint64_t qkv[3] = {l->hidden, l->kv, l->kv}, gate_up[2] = {l->inner, l->inner};
    struct woq_weights **w = l->weights;
    enum woq_status st = make_weights(l->device, qkv, 3, l->hidden, false, &w[0]);
    if (!st)
        st = make_weights(l->device, &l->hidden, 1, l->hidden, false, &w[1]);
    if (!st)
        st = make_weights(l->device, gate_up, 2, l->hidden, true, &w[2]);
    if (!st)
        st = make_weights(l->device, &l->hidden, 1, l->inner, false, &w[3]);
    if (!st)
        st = make_gemm(l, w[0], false, WOQ_ACTIVATION_NONE, &l->qkv);
    if (!st)
        st = make_gemm(l, w[1], true, WOQ_ACTIVATION_NONE, &l->o);
    if (!st)
        st = make_gemm(l, w[2], false, WOQ_ACTIVATION_SILU_MUL, &l->gate_up);
    if (!st)
        st = make_gemm(l, w[3], true, WOQ_ACTIVATION_NONE, &l->down);
    return st;
}

/* MAX_M rows of FP16. */
static enum woq_status make_buffer(struct layer *l, uint64_t columns, struct woq_buffer **out)
{
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    params.size = MAX_M * columns * 2;
    return woq_buffer_create(l->device, &params, out);
}

static enum woq_status make_buffers(struct layer *l)
{
    enum woq_status st = make_buffer(l, l->hidden + 2 * l->kv, &l->scratch_qkv);
    if (!st)
        st = make_buffer(l, l->hidden, &l->scratch_h);
    if (!st)
        st = make_buffer(l, l->inner, &l->scratch_g);
    for (int s = 0; s < STREAMS && !st; s++) {
        uint16_t row[MAX_M];
        st = make_buffer(l, l->hidden, &l->x[s]);
        if (!st)
            st = make_buffer(l, l->hidden, &l->y[s]);
        for (uint64_t k = 0; k < l->hidden && !st; k++) {
            for (int i = 0; i < MAX_M; i++)
                row[i] = woq_f32_to_f16((float)(rand() % 256 - 128) / 128);
            st = woq_buffer_write(l->x[s], k * sizeof row, row, sizeof row);
        }
    }
    return st;
}

static enum woq_status record(struct layer *l)
{
    static const enum woq_access access[SLOTS] = {
        [X] = WOQ_ACCESS_READ,       [QKV] = WOQ_ACCESS_WRITE,    [ATTENTION] = WOQ_ACCESS_READ,
        [H] = WOQ_ACCESS_READ_WRITE, [G] = WOQ_ACCESS_READ_WRITE, [Y] = WOQ_ACCESS_WRITE};
    struct woq_commands_params params = WOQ_COMMANDS_PARAMS_INIT;
    params.in_flight = IN_FLIGHT;
    enum woq_status st = woq_commands_create(l->device, &params, &l->commands);
    struct woq_commands *c = l->commands;
    uint32_t *s = l->slot;
    if (!st)
        st = woq_commands_slot_m(c, MAX_M, &s[M]);
    for (int i = X; i < SLOTS && !st; i++)
        st = woq_commands_slot_view(c, access[i], &s[i]);
    if (!st)
        st = woq_commands_gemm(c, l->qkv, s[M], s[X], s[QKV], WOQ_NO_SLOT, WOQ_NO_SLOT);
    if (!st)
        st = woq_commands_barrier(c);
    if (!st)
        st = woq_commands_gemm(c, l->o, s[M], s[ATTENTION], s[H], WOQ_NO_SLOT, s[X]);
    if (!st)
        st = woq_commands_barrier(c);
    if (!st)
        st = woq_commands_gemm(c, l->gate_up, s[M], s[H], s[G], WOQ_NO_SLOT, WOQ_NO_SLOT);
    if (!st)
        st = woq_commands_barrier(c);
    if (!st)
        st = woq_commands_gemm(c, l->down, s[M], s[G], s[Y], WOQ_NO_SLOT, s[H]);
    if (!st)
        st = woq_commands_end(c);
    return st ? st : woq_commands_prepare(c); /* from here on nothing is allocated or compiled */
}

/* One token: m rows of stream `stream`. */
static enum woq_status step(struct layer *l, uint32_t m, int stream, uint64_t *ticket)
{
    const uint32_t *s = l->slot;
    uint64_t stride = (l->hidden + 2 * l->kv) * 2; /* of qkv's rows; the query part comes first */
    const struct woq_binding b[SLOTS] = {{s[M], m, {NULL, 0, 0}},
                                         {s[X], 0, {l->x[stream], 0, 0}},
                                         {s[QKV], 0, {l->scratch_qkv, 0, 0}},
                                         {s[ATTENTION], 0, {l->scratch_qkv, 0, stride}},
                                         {s[H], 0, {l->scratch_h, 0, 0}},
                                         {s[G], 0, {l->scratch_g, 0, 0}},
                                         {s[Y], 0, {l->y[stream], 0, 0}}};
    return woq_commands_run(l->commands, b, SLOTS, ticket);
}

/* Runs all steps, waiting only so far back that no more than IN_FLIGHT are pending. */
static enum woq_status decode(struct layer *l, uint32_t steps, double *microseconds)
{
    uint64_t ticket = 0;
    enum woq_status st = WOQ_OK;
    double begin = now();
    for (uint32_t i = 0; i < steps && !st; i++) {
        if (ticket >= IN_FLIGHT)
            st = woq_commands_wait(l->commands, ticket + 1 - IN_FLIGHT, WOQ_FOREVER);
        if (!st)
            st = step(l, 1 + i % MAX_M, (int)(i % STREAMS), &ticket);
    }
    if (!st)
        st = woq_commands_wait(l->commands, ticket, WOQ_FOREVER);
    *microseconds = (now() - begin) / steps;
    return st;
}

/* MAX_M rows of stream 0, before and after: the same bits, whatever ran in between. */
static enum woq_status snapshot(struct layer *l, uint16_t *out)
{
    enum woq_status st = step(l, MAX_M, 0, NULL);
    return st ? st : woq_buffer_read(l->y[0], 0, out, MAX_M * l->hidden * 2);
}

static void destroy(struct layer *l)
{
    woq_commands_destroy(&l->commands);
    woq_gemm_destroy(&l->qkv);
    woq_gemm_destroy(&l->o);
    woq_gemm_destroy(&l->gate_up);
    woq_gemm_destroy(&l->down);
    for (int i = 0; i < 4; i++)
        woq_weights_destroy(&l->weights[i]);
    for (int i = 0; i < STREAMS; i++) {
        woq_buffer_destroy(&l->x[i]);
        woq_buffer_destroy(&l->y[i]);
    }
    woq_buffer_destroy(&l->scratch_qkv);
    woq_buffer_destroy(&l->scratch_h);
    woq_buffer_destroy(&l->scratch_g);
    woq_device_destroy(&l->device);
}

int main(int argc, char **argv)
{
    long steps = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
    long hidden = argc > 2 ? strtol(argv[2], NULL, 10) : 256;
    if (steps < 1 || steps > 100000000 || hidden < 64 || hidden > 65536 || hidden % 64) {
        fprintf(stderr, "usage: decode_loop [steps [hidden]]; hidden a multiple of 64\n");
        return 2;
    }
    struct layer l = {.hidden = (uint64_t)hidden, .kv = 64, .inner = 3 * (uint64_t)hidden};
    uint16_t *before = malloc(MAX_M * l.hidden * 2), *after = malloc(MAX_M * l.hidden * 2);
    double microseconds = 0;
    enum woq_status st = before && after ? woq_device_open(NULL, NULL, &l.device)
                                         : WOQ_ERROR_OUT_OF_MEMORY;
    bool absent = st == WOQ_ERROR_NO_DEVICE, same = false;
    if (!st)
        st = make_gemms(&l);
    if (!st)
        st = make_buffers(&l);
    if (!st)
        st = record(&l);
    if (!st)
        st = snapshot(&l, before);
    if (!st)
        st = decode(&l, (uint32_t)steps, &microseconds);
    if (!st)
        st = snapshot(&l, after);
    if (st) {
        fprintf(stderr, "decode_loop: %s: %s\n", woq_status_string(st), woq_last_message());
    } else {
        same = !memcmp(before, after, MAX_M * l.hidden * 2);
        printf("%s: %ld steps of 4 products, hidden %ld, M 1 to %d: %.1f µs a step; %s\n",
               woq_device_get_info(l.device)->selector, steps, hidden, MAX_M, microseconds,
               same ? "ok, the same bits before and after" : "WRONG: other bits after than before");
    }
    destroy(&l);
    free(before);
    free(after);
    return absent ? 77 : !same;
}
