/* test_model_progress.c: what woq_model_create tells while it loads, and that it can be stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/expect.h"
#include "support/tiny_model.h"

enum { LAYERS = 3, PARTS = LAYERS + 1 };

struct watch {
    uint32_t calls, stop_at;
};

static bool count_parts(void *user, uint32_t done, uint32_t total)
{
    struct watch *w = user;
    assert_int_equal(done, ++w->calls);
    assert_int_equal(total, PARTS);
    return done != w->stop_at;
}

static void test_progress(void **state)
{
    static const struct tiny_model tiny = {.architecture = "llama", .layers = LAYERS, .hidden = 48, .heads = 6,
                                           .kv_heads = 2, .head_dim = 8, .intermediate = 40, .tied = true};
    char directory[] = "/tmp/woq-progress-XXXXXX";
    struct woq_device *device = NULL;
    struct woq_checkpoint *c = NULL;
    (void)state;
    assert_non_null(mkdtemp(directory));
    assert_true(tiny_write(&tiny, NULL, directory));
    assert_int_equal(woq_device_open("reference", NULL, &device), WOQ_OK);
    assert_int_equal(woq_checkpoint_open(directory, NULL, &c), WOQ_OK);
    for (uint32_t stop = 0; stop <= PARTS; stop++) {
        struct woq_model_params p = WOQ_MODEL_PARAMS_INIT;
        struct watch w = {0, stop};
        struct woq_model *m = NULL;
        char mention[64];
        snprintf(mention, sizeof mention, "stopped after %u of %d parts", stop, PARTS);
        p.progress = count_parts;
        p.progress_user = &w;
        EXPECT(stop ? WOQ_ERROR_TIMEOUT : WOQ_OK, mention, woq_model_create(device, c, &p, &m));
        assert_int_equal(w.calls, stop ? stop : PARTS);
        assert_true(!stop == !!m);
        woq_model_destroy(&m);
    }
    woq_checkpoint_close(&c);
    woq_device_destroy(&device);
    tiny_remove(directory);
    test_expectations_met();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_progress)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
