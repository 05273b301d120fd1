/*
 * fault_life.h: the whole life of one small product, from opening the device to reading Y, under native
 * calls that fail.
 *
 * The product takes every branch: sorted columns, padded groups, bias, residual, a copy, timestamps where
 * the device has them. Its data are small integers, so that Y is the same bits whatever path a driver's
 * answers lead to; it is not its own residual, so that a run may be made again.
 */
#ifndef TEST_FAULT_LIFE_H
#define TEST_FAULT_LIFE_H

#include <woq/command.h>

#include "faults.h"
#include "support/data.h"
#include "support/device.h"

enum { LIFE_M = 9, LIFE_N = 20, LIFE_K = 40 };

struct fault_life {
    /* Opens the device under test. */
    enum woq_status (*open)(void *user, const struct woq_device_params *params,
                            struct woq_device **out);
    void *user;
    /* Records the product into the application's own queue and executes it; NULL = no such thing, and
     * timestamps instead. */
    enum woq_status (*record)(struct fault_life *life, const struct woq_binding *bindings, size_t count);
    const char *cache_dir;
    woq_log_fn *log; /* NULL = test_log */
    void *log_user;
    struct fault_control *control;
    /* Native objects that are alive, with their kinds in words. */
    int64_t (*balance)(char *words, size_t size);
    struct test_case c;
    struct test_data data;
    struct test_heap *heap;
    bool retry; /* the call that fails first is made again, with no more faults */
    const char *final; /* with retry: names of native calls after whose failure that is in vain; NULL = none */

    /* Of the last life: */
    enum woq_status first; /* of the call that failed first, what it said, and the call */
    char message[1024];
    const char *call;
    bool late; /* nothing had failed when it came to destroying */
    float result[LIFE_M * LIFE_N];
    struct fault_objects {
        struct woq_device *device;
        struct woq_weights *weights;
        struct woq_gemm *gemm;
        struct woq_commands *commands;
        struct woq_buffer *x, *y, *bias, *residual, *copy;
        uint32_t slots[6];
    } o;
};

/* Fills case, data, heap; the caller sets the rest. */
void fault_life_create(struct fault_life *life);
void fault_life_destroy(struct fault_life *life);

/* Lives once and destroys everything. Fails the test if anything is left, of the library's or the
 * driver's, or if Y is wrong although every call succeeded. */
enum woq_status fault_life_run(struct fault_life *life);

/* fault_life_run with the n-th call of `only` failing with `code`; expects `want` and that the message
 * has `mention`. */
void fault_life_expect(struct fault_life *life, const char *only, int code, int64_t n,
                       enum woq_status want, const char *mention);

/* For every TEST_STRIDE-th n (from the build) until none is left the n-th call fails, with `code`
 * (0 = its usual one). `judge` says whether life->first was right; with `retry` the life must succeed
 * too. Faults while objects are destroyed must not show. Returns the number of calls, or up to
 * TEST_STRIDE − 1 more. */
unsigned fault_life_sweep(struct fault_life *life, int code,
                          bool (*judge)(const struct fault_life *life));

/* woq_devices_list with each of its native calls failing: rows with reasons, or OUT_OF_MEMORY. */
void fault_list_sweep(struct fault_control *control, int64_t (*balance)(char *words, size_t size));

/* Waits with 1 ns and 1 ms for a product that takes longer: TIMEOUT, and right in the end. */
void fault_timeouts(struct woq_device *device);

#endif
