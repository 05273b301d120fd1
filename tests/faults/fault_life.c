/* fault_life.c: a product's life under faults, and sweeps over all of its native calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fault_life.h"
#include "support/product.h"

#define LIMIT 5000 /* native calls of one life at most */

static const char line[] = "code=u4,zero=point,scale=f16,group=16,order=uneven,n=20,k=40,m=9,max_m=9,"
                           "x=f16,y=f32,bias=bf16,residual=own,data=integers";

void fault_life_create(struct fault_life *life)
{
    *life = (struct fault_life){.heap = test_heap_create()};
    assert_non_null(life->heap);
    assert_true(case_parse(line, &life->c));
    assert_true(data_create(&life->c, &life->data));
}

void fault_life_destroy(struct fault_life *life)
{
    data_destroy(&life->data);
    test_heap_destroy(life->heap);
}

/* Notes the first failure. Whether the call is to be made again. */
static bool again(struct fault_life *life, enum woq_status st)
{
    if (!st || life->first)
        return false;
    life->first = st;
    snprintf(life->message, sizeof(life->message), "%s", woq_last_message());
    if (!life->retry)
        return false;
    fault_disarm(life->control);
    return true;
}

/* Calls, unless a call before failed. */
#define CALL(expression)                                                                           \
    do {                                                                                           \
        if (st)                                                                                    \
            break;                                                                                 \
        if (!life->first)                                                                          \
            life->call = #expression;                                                              \
        st = (expression);                                                                         \
        if (again(life, st))                                                                       \
            st = (expression);                                                                     \
    } while (0)

static enum woq_status create_buffer(struct fault_life *life, const void *content, uint64_t size,
                                     struct woq_buffer **out)
{
    struct woq_buffer_params params = WOQ_BUFFER_PARAMS_INIT;
    enum woq_status st = WOQ_OK;
    params.size = size;
    CALL(woq_buffer_create(life->o.device, &params, out));
    if (content)
        CALL(woq_buffer_write(*out, 0, content, size));
    return st;
}

static enum woq_status create_objects(struct fault_life *life)
{
    struct woq_device_params params = WOQ_DEVICE_PARAMS_INIT;
    struct woq_weights_params weights = WOQ_WEIGHTS_PARAMS_INIT;
    struct woq_gemm_params gemm = WOQ_GEMM_PARAMS_INIT;
    struct fault_objects *o = &life->o;
    const struct woq_allocator allocator = test_heap_allocator(life->heap);
    enum woq_status st = WOQ_OK;
    params.allocator = &allocator;
    params.log = life->log ? life->log : test_log;
    params.log_user = life->log_user;
    params.cache_dir = life->cache_dir;
    params.skip_self_test = true;
    CALL(life->open(life->user, &params, &o->device));
    weights.sources = life->data.sources;
    weights.count = life->data.count;
    CALL(woq_weights_create(o->device, &weights, &o->weights));
    gemm.weights = o->weights;
    gemm.max_m = LIFE_M;
    gemm.x_type = (enum woq_type)life->c.x;
    gemm.y_type = (enum woq_type)life->c.y;
    gemm.bias_type = (enum woq_type)life->c.bias;
    gemm.residual = true;
    if (!st && woq_device_get_info(o->device)->backend == WOQ_BACKEND_VULKAN)
        gemm.path = "floor"; /* the calls are the same for each kernel, the time is not */
    CALL(woq_gemm_create(o->device, &gemm, &o->gemm));
    if (!st)
        st = create_buffer(life, life->data.x, LIFE_M * LIFE_K * 2, &o->x);
    if (!st)
        st = create_buffer(life, life->data.residual, sizeof(life->result), &o->residual);
    if (!st)
        st = create_buffer(life, NULL, sizeof(life->result), &o->y);
    if (!st)
        st = create_buffer(life, life->data.bias, LIFE_N * 2, &o->bias);
    if (!st)
        st = create_buffer(life, NULL, sizeof(life->result), &o->copy);
    return st;
}

static enum woq_status record(struct fault_life *life)
{
    struct fault_objects *o = &life->o;
    enum woq_status st = WOQ_OK;
    uint32_t *s = o->slots;
    CALL(woq_commands_create(o->device, NULL, &o->commands));
    CALL(woq_commands_slot_m(o->commands, LIFE_M, &s[0]));
    CALL(woq_commands_slot_view(o->commands, WOQ_ACCESS_READ, &s[1]));
    CALL(woq_commands_slot_view(o->commands, WOQ_ACCESS_READ_WRITE, &s[2]));
    CALL(woq_commands_slot_view(o->commands, WOQ_ACCESS_READ, &s[3]));
    CALL(woq_commands_slot_view(o->commands, WOQ_ACCESS_WRITE, &s[4]));
    CALL(woq_commands_slot_view(o->commands, WOQ_ACCESS_READ, &s[5]));
    CALL(woq_commands_gemm(o->commands, o->gemm, s[0], s[1], s[2], s[3], s[5]));
    CALL(woq_commands_barrier(o->commands));
    CALL(woq_commands_copy(o->commands, s[2], s[4], sizeof(life->result)));
    if (!st && !life->record && (woq_device_get_info(o->device)->features & WOQ_FEATURE_TIMESTAMPS))
        CALL(woq_commands_timestamp(o->commands, 0));
    CALL(woq_commands_end(o->commands));
    return st;
}

/* First no rows, which is a class of its own where a path depends on M; then the product, with Y and its copy in each
 * other's place; and as they are, a replay with other arguments. */
static enum woq_status run(struct fault_life *life)
{
    struct fault_objects *o = &life->o;
    struct woq_binding b[] = {{o->slots[0], 0, {NULL, 0, 0}},
                              {o->slots[1], 0, {o->x, 0, 0}},
                              {o->slots[2], 0, {o->y, 0, 0}},
                              {o->slots[3], 0, {o->bias, 0, 0}},
                              {o->slots[4], 0, {o->copy, 0, 0}},
                              {o->slots[5], 0, {o->residual, 0, 0}}};
    enum woq_status st = WOQ_OK;
    uint64_t ticket = 0, ns[1];
    CALL(woq_commands_run(o->commands, b, 6, &ticket));
    b[0].m = LIFE_M;
    b[2].view.buffer = o->copy;
    b[4].view.buffer = o->y;
    CALL(woq_commands_run(o->commands, b, 6, &ticket));
    CALL(woq_commands_wait(o->commands, ticket, 60000000000));
    b[2].view.buffer = o->y;
    b[4].view.buffer = o->copy;
    CALL(woq_commands_run(o->commands, b, 6, &ticket));
    CALL(woq_commands_wait(o->commands, ticket, WOQ_FOREVER));
    CALL(woq_commands_wait(o->commands, 1, WOQ_FOREVER));
    CALL(woq_commands_timestamps(o->commands, ticket, ns, 1));
    if (life->record) { /* the copy's content so far is NaN */
        CALL(woq_buffer_write(o->copy, 0, life->result, sizeof(life->result)));
        CALL(life->record(life, b, 6));
    }
    CALL(woq_buffer_read(o->copy, 0, life->result, sizeof(life->result)));
    return st;
}

static void check_left(struct fault_life *life, const char *failed)
{
    char words[256];
    if (test_heap_balance(life->heap))
        fail_msg("%s failed: %lld blocks of memory left", failed,
                 (long long)test_heap_balance(life->heap));
    if (life->balance && life->balance(words, sizeof(words)))
        fail_msg("%s failed: left:%s", failed, words);
}

static bool right(const struct fault_life *life)
{
    const struct oracle_product product = {
        .sources = life->data.sources, .count = life->data.count, .m = LIFE_M, .k = LIFE_K,
        .x = life->data.x, .x_type = (enum woq_type)life->c.x, .bias = life->data.bias,
        .bias_type = (enum woq_type)life->c.bias, .residual = life->data.residual,
        .y_type = WOQ_F32, .math = WOQ_MATH_EXACT, .exact = life->data.exact};
    struct oracle_output want[LIFE_M * LIFE_N];
    memset(want, 0, sizeof(want));
    if (oracle_product(&product, want) != LIFE_N)
        return false;
    for (int i = 0; i < LIFE_M * LIFE_N; i++)
        if (!oracle_accepts(&want[i], WOQ_F32, life->result[i]))
            return false;
    return true;
}

enum woq_status fault_life_run(struct fault_life *life)
{
    struct fault_objects *o = &life->o;
    memset(life->result, 0xff, sizeof(life->result));
    memset(o, 0, sizeof(*o));
    life->first = WOQ_OK;
    life->message[0] = '\0';
    enum woq_status st = create_objects(life);
    if (!st)
        st = record(life);
    if (!st)
        st = run(life);
    life->late = !life->control->failed;
    woq_buffer_destroy(&o->x);
    woq_buffer_destroy(&o->y);
    woq_buffer_destroy(&o->bias);
    woq_buffer_destroy(&o->residual);
    woq_buffer_destroy(&o->copy);
    woq_commands_destroy(&o->commands);
    woq_gemm_destroy(&o->gemm);
    woq_weights_destroy(&o->weights);
    woq_device_destroy(&o->device);
    const char *failed = life->control->failed ? life->control->failed : "nothing";
    check_left(life, failed);
    if (!st && !right(life))
        fail_msg("%s failed: Y is wrong", failed);
    return st;
}

void fault_life_expect(struct fault_life *life, const char *only, int code, int64_t n,
                       enum woq_status want, const char *mention)
{
    fault_arm(life->control, only, code, n);
    const enum woq_status st = fault_life_run(life);
    fault_disarm(life->control);
    if (!life->control->failed)
        fail_msg("call %lld of %s was never made", (long long)n, only);
    if (st != want || (mention && !strstr(life->message, mention)))
        fail_msg("%s number %lld gave %d: %s gave %s: \"%s\"; want %s and \"%s\"", only, (long long)n,
                 life->control->failed_code, life->call, woq_status_string(st), life->message,
                 woq_status_string(want), mention ? mention : "");
}

unsigned fault_life_sweep(struct fault_life *life, int code,
                          bool (*judge)(const struct fault_life *life))
{
    unsigned refused = 0, wrong = 0;
    int64_t n = 0;
    for (; n < LIMIT; n += TEST_STRIDE) {
        fault_arm(life->control, NULL, code, n);
        const enum woq_status st = fault_life_run(life);
        fault_disarm(life->control);
        if (!life->control->failed) {
            assert_int_equal(st, WOQ_OK);
            break;
        }
        refused += life->first != WOQ_OK;
        const bool vain = life->final && strstr(life->final, life->control->failed);
        if (life->retry && st && !vain)
            life->first = st; /* and the last message */
        else if (life->late ? !st : judge(life))
            continue;
        wrong++;
        fprintf(stderr, "call %lld, %s, gave %d%s: %s gave %s: \"%s\"\n", (long long)n,
                life->control->failed, life->control->failed_code, life->retry && st ? ", then a second try" : "",
                life->call, woq_status_string(life->first), life->message);
    }
    printf("%lld native calls, %u of them refused a call%s\n", (long long)n, refused,
           life->retry ? ", once" : "");
    assert_true(n < LIMIT);
    assert_int_equal(wrong, 0);
    return (unsigned)n;
}

void fault_list_sweep(struct fault_control *control, int64_t (*balance)(char *words, size_t size))
{
    struct woq_device_entry entries[64];
    char words[256];
    int64_t n = 0;
    for (; n < LIMIT; n++) {
        size_t count = sizeof(entries) / sizeof(entries[0]);
        memset(entries, 0, sizeof(entries));
        fault_arm(control, NULL, 0, n);
        const enum woq_status st = woq_devices_list(NULL, entries, &count);
        fault_disarm(control);
        if (st != WOQ_OK && st != WOQ_ERROR_OUT_OF_MEMORY)
            fail_msg("%s failed: %s", control->failed, woq_status_string(st));
        if (balance(words, sizeof(words)))
            fail_msg("%s failed: left:%s", control->failed, words);
        for (size_t i = 0; i < count; i++)
            assert_true(entries[i].usable ? entries[i].name[0] || control->failed
                                          : entries[i].reason[0] != 0);
        if (!control->failed)
            break;
    }
    assert_true(n > 0 && n < LIMIT);
    printf("%lld native calls to list the devices\n", (long long)n);
}

void fault_timeouts(struct woq_device *device)
{
    static const char *const lines[] = {
        "code=u4,group=128,n=512,k=512,m=64,x=f16,y=f32,data=integers",
        "code=u4,group=128,n=1024,k=1024,m=130,x=f16,y=f32,data=integers",
        "code=u4,group=128,n=2048,k=2048,m=512,x=f16,y=f32,data=integers",
    };
    bool seen[2] = {false, false};
    for (size_t i = 0; i < 3 && !(seen[0] && seen[1]); i++) {
        struct test_case c;
        struct product p;
        struct woq_gemm *gemm = NULL;
        struct woq_commands *commands = NULL;
        struct woq_binding bindings[5];
        struct woq_explain e = {.struct_size = sizeof(e)};
        size_t count = 0;
        assert_true(case_parse(lines[i], &c));
        assert_true(product_create(device, &c, &p));
        assert_true(product_gemm(&p, NULL, &gemm));
        assert_int_equal(woq_commands_create(device, NULL, &commands), WOQ_OK);
        assert_true(product_record(&p, gemm, commands, bindings, &count));
        assert_int_equal(woq_commands_end(commands), WOQ_OK);
        assert_int_equal(woq_commands_prepare(commands), WOQ_OK);
        assert_int_equal(woq_commands_run(commands, bindings, count, NULL), WOQ_OK);
        for (int t = 0; t < 2; t++) {
            const enum woq_status st = woq_commands_wait(commands, 1, t ? 1000000 : 1);
            assert_true(st == WOQ_OK || st == WOQ_ERROR_TIMEOUT);
            seen[t] |= st == WOQ_ERROR_TIMEOUT;
            assert_true(!st || strstr(woq_last_message(), t ? "1000000 ns" : " 1 ns"));
        }
        assert_int_equal(woq_commands_wait(commands, 1, WOQ_FOREVER), WOQ_OK);
        assert_int_equal(woq_gemm_explain(gemm, (uint32_t)c.m, &e), WOQ_OK);
        assert_true(i == 2 || product_check(&p, e.math));
        woq_commands_destroy(&commands);
        woq_gemm_destroy(&gemm);
        product_destroy(&p);
    }
    assert_true(seen[0] && seen[1]);
}
