/* limits.c: kernels that do one thing, run for as long as it takes to measure it. */
#include "limits.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "alloc.h"
#include "blocks.h"
#include "check.h"
#include "core.h"

#define READ_BYTES   (512ull << 20)
#define RUN_SECONDS  0.01 /* of one run, at least: far above the steps of any clock */
#define RISE_SECONDS 1.0  /* in which an idle GPU's clocks rise */
#define MOST_ROUNDS  (1u << 26)
#define MOST_GROUPS  8192u

const char *woq_limit_name(enum woq_limit limit)
{
    static const char *const names[WOQ_LIMIT_COUNT] = {"none",  "read", "fma",    "matrix", "wgmma",
                                                       "avx2", "avx512", "vnni", "vbmi"};
    return (unsigned)limit < WOQ_LIMIT_COUNT ? names[limit] : names[0];
}

static uint32_t block_of(enum woq_limit limit)
{
    return limit == WOQ_LIMIT_AVX2     ? WOQI_BLOCK_AVX2
           : limit == WOQ_LIMIT_AVX512 ? WOQI_BLOCK_AVX512
           : limit == WOQ_LIMIT_VNNI   ? WOQI_BLOCK_VNNI
           : limit == WOQ_LIMIT_VBMI   ? WOQI_BLOCK_VBMI
                                       : WOQI_BLOCK_NONE;
}

static struct woqi_kernel_key key_of(enum woq_limit limit)
{
    const enum woqi_kernel_id id = limit == WOQ_LIMIT_READ     ? WOQI_KERNEL_LIMIT_READ
                                   : limit == WOQ_LIMIT_FMA    ? WOQI_KERNEL_LIMIT_FMA
                                   : limit == WOQ_LIMIT_MATRIX ? WOQI_KERNEL_LIMIT_MATRIX
                                   : limit == WOQ_LIMIT_WGMMA  ? WOQI_KERNEL_LIMIT_WGMMA
                                                               : WOQI_KERNEL_LIMIT_DOT;
    return (struct woqi_kernel_key){.id = id, .block = block_of(limit)};
}

enum woq_limit woqi_limit_of(const struct woq_device *device, struct woqi_kernel_key key, uint32_t *work)
{
    *work = 1;
    switch (key.id) {
    case WOQI_KERNEL_FIXED:
    case WOQI_KERNEL_FIXED_ROW:
    case WOQI_KERNEL_FIXED_TILE:
        for (int limit = WOQ_LIMIT_AVX2; limit < WOQ_LIMIT_COUNT; limit++)
            if (block_of((enum woq_limit)limit) == key.block) {
                *work = limit == WOQ_LIMIT_VBMI ? 2 : 1; /* high bytes of X, and low ones */
                return (enum woq_limit)limit;
            }
        return WOQ_LIMIT_NONE;
    case WOQI_KERNEL_MMA:
        return device->software_matrix ? WOQ_LIMIT_NONE : WOQ_LIMIT_MATRIX;
    case WOQI_KERNEL_COOP:
    case WOQI_KERNEL_NV2:
        return WOQ_LIMIT_MATRIX;
    case WOQI_KERNEL_WGMMA:
        return WOQ_LIMIT_WGMMA;
    case WOQI_KERNEL_FLOOR:
    case WOQI_KERNEL_GEMV:
    case WOQI_KERNEL_GEMM:
    case WOQI_KERNEL_GEMV_FRAG:
    case WOQI_KERNEL_TILE:
        return WOQ_LIMIT_FMA;
    default:
        return WOQ_LIMIT_NONE;
    }
}

/* ---- running ---- */

struct limit_run {
    struct woq_device *device;
    struct woqi_kernel *kernel;
    struct woq_buffer *x, *y; /* x: what is read, or NULL */
    struct woqi_sequence sequence;
    struct woqi_step steps[3]; /* a timestamp, the kernel, another */
    uint32_t first, count;     /* of the steps: without timestamps the kernel alone */
    uint32_t groups;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Bytes that no memory compresses. */
static enum woq_status fill(struct woq_device *device, struct woq_buffer *buffer)
{
    enum { PIECE = 1 << 20 };
    uint64_t *piece = woqi_alloc(device, PIECE, 1), state = 88172645463325252u;
    enum woq_status st = piece ? WOQ_OK : woqi_fail(device, WOQ_ERROR_OUT_OF_MEMORY, "limit: out of host memory");
    for (uint64_t at = 0; at < buffer->size && !st; at += PIECE) {
        for (size_t i = 0; i < PIECE / sizeof *piece; i++) { /* xorshift64 (Marsaglia) */
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece[i] = state;
        }
        st = woq_buffer_write(buffer, at, piece, woqi_min(PIECE, buffer->size - at));
    }
    woqi_free(device, piece);
    return st;
}

static enum woq_status make_buffers(struct limit_run *r, bool reads)
{
    const struct woq_device_info *info = &r->device->info;
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    struct woq_memory_budget memory;
    params.size = r->groups * 8ull;
    enum woq_status st = woq_buffer_create(r->device, &params, &r->y);
    if (st || !reads)
        return st;
    st = woq_device_memory(r->device, &memory);
    if (st)
        return st;
    const uint64_t most = woqi_min(info->max_allocation, info->max_binding);
    params.size = woqi_min(woqi_min(READ_BYTES, memory.available / 4), most) / 4096 * 4096;
    if (!params.size)
        return woqi_fail(r->device, WOQ_ERROR_UNSUPPORTED, "woq_limit_measure: no memory to be read");
    st = woq_buffer_create(r->device, &params, &r->x);
    return st ? st : fill(r->device, r->x);
}

static enum woq_status make_sequence(struct limit_run *r)
{
    const bool stamps = r->device->info.features & WOQ_FEATURE_TIMESTAMPS;
    struct woqi_step *s = &r->steps[1];
    r->steps[0].kind = r->steps[2].kind = WOQI_STEP_TIMESTAMP;
    r->steps[2].index = 1;
    r->first = stamps ? 0 : 1;
    r->count = stamps ? 3 : 1;
    s->kind = WOQI_STEP_DISPATCH;
    s->kernel = r->kernel;
    s->groups[0] = r->groups;
    s->groups[1] = s->groups[2] = 1;
    s->nbind = WOQ_BIND_COUNT;
    for (uint32_t i = 0; i < WOQ_BIND_COUNT; i++)
        s->bind[i] = (struct woqi_bind){r->y, 0, r->y->size};
    if (r->x)
        s->bind[WOQ_BIND_X] = (struct woqi_bind){r->x, 0, r->x->size};
    s->args.n = r->x ? (uint32_t)(r->x->size / 16) : 0;
    s->args.k = 1;
    r->sequence = (struct woqi_sequence){r->device, r->count, 1, NULL};
    return r->device->backend->sequence_create(&r->sequence, r->steps + r->first);
}

static enum woq_status run(struct limit_run *r, uint32_t rounds, double *seconds)
{
    const struct woqi_backend *backend = r->device->backend;
    uint64_t ns[2] = {0, 0};
    const double begin = now();
    r->steps[1].args.k = rounds;
    enum woq_status st = backend->sequence_submit(&r->sequence, 0, r->steps + r->first);
    if (!st)
        st = backend->sequence_wait(&r->sequence, 0, UINT64_MAX);
    *seconds = now() - begin;
    if (!st && r->count == 3) {
        st = backend->sequence_times(&r->sequence, 0, ns, 2);
        if (!st && ns[1] > ns[0])
            *seconds = (double)(ns[1] - ns[0]) * 1e-9;
    }
    return st;
}

/* What one round of all work-groups does: each has said so. */
static enum woq_status count_work(struct limit_run *r, double *work)
{
    uint32_t *said = woqi_alloc(r->device, r->groups, 8);
    if (!said)
        return woqi_fail(r->device, WOQ_ERROR_OUT_OF_MEMORY, "limit: out of host memory");
    enum woq_status st = woq_buffer_read(r->y, 0, said, r->groups * 8ull);
    *work = 0;
    for (uint32_t i = 0; i < r->groups; i++)
        *work += said[2 * i];
    woqi_free(r->device, said);
    return st;
}

static enum woq_status measure(struct limit_run *r, double seconds, double *per_second)
{
    double taken = 0, fastest = 0, work = 0;
    uint32_t rounds = 1;
    enum woq_status st = run(r, 1, &taken); /* what it compiles does not count */
    if (!st)
        st = count_work(r, &work);
    for (taken = 0; !st && taken < RUN_SECONDS && rounds < MOST_ROUNDS; rounds *= taken < RUN_SECONDS ? 2 : 1)
        st = run(r, rounds, &taken);
    const double rise = r->device->info.kind == WOQ_DEVICE_KIND_CPU ? 0 : RISE_SECONDS;
    const double begin = now();
    for (uint32_t i = 0; !st && (i < 3 || now() - begin < seconds + rise); i++) {
        st = run(r, rounds, &taken);
        fastest = !i || taken < fastest ? taken : fastest;
    }
    if (!st && (fastest <= 0 || work <= 0))
        st = woqi_fail(r->device, WOQ_ERROR_DRIVER, "woq_limit_measure: kernel %s did nothing", r->kernel->name);
    if (!st)
        *per_second = work * rounds / fastest;
    return st;
}

static enum woq_status check(struct woq_device *device, enum woq_limit limit, double seconds)
{
    if (limit <= WOQ_LIMIT_NONE || limit >= WOQ_LIMIT_COUNT)
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "woq_limit_measure: limit is %d; must be one of enum "
                         "woq_limit but NONE", (int)limit);
    if (!(seconds >= 0 && seconds <= 3600))
        return woqi_fail(device, WOQ_ERROR_INVALID_ARGUMENT, "woq_limit_measure: seconds is %g; must be 0 … 3600",
                         seconds);
    return WOQ_OK;
}

enum woq_status woq_limit_measure(struct woq_device *device, enum woq_limit limit, double seconds, double *per_second)
{
    char reason[160] = "";
    enum woq_status st = WOQI_CHECK_NULL(device, per_second);
    if (st)
        return st;
    *per_second = 0;
    if ((st = WOQI_CHECK_NULL(NULL, device)) || (st = check(device, limit, seconds)))
        return st;
    if (!device->backend->kernel_probe(device, key_of(limit), reason, sizeof reason))
        return woqi_fail(device, WOQ_ERROR_UNSUPPORTED, "woq_limit_measure: no limit %s on %s: %s",
                         woq_limit_name(limit), device->info.selector, reason);
    const uint32_t units = device->info.compute_units ? device->info.compute_units : 16;
    const bool cpu = device->info.kind == WOQ_DEVICE_KIND_CPU;
    struct limit_run r = {.device = device, .groups = (uint32_t)woqi_min(units * (cpu ? 4ull : 16ull), MOST_GROUPS)};
    st = woqi_device_kernel(device, key_of(limit), &r.kernel);
    if (!st)
        st = make_buffers(&r, limit == WOQ_LIMIT_READ);
    if (!st)
        st = make_sequence(&r);
    if (!st)
        st = measure(&r, seconds, per_second);
    if (r.sequence.impl)
        device->backend->sequence_destroy(&r.sequence);
    woq_buffer_destroy(&r.x);
    woq_buffer_destroy(&r.y);
    return st;
}
