/* evaluate_data.h: what tests of benchmark tasks share. Include after cmocka.h. */
#ifndef TEST_EVALUATE_DATA_H
#define TEST_EVALUATE_DATA_H

#include <woq/evaluate.h>

#include "support/expect.h"
#include "support/folder.h"

static inline const char *write_file(const char *name, const char *text)
{
    FILE *f = fopen(in_root(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    return in_root(name);
}

/* With one example before a question of MMLU. */
static inline struct woq_task_params params(enum woq_task_kind kind, const char *path)
{
    struct woq_task_params p = WOQ_TASK_PARAMS_INIT;
    p.kind = kind;
    p.path = path;
    p.shots = 1;
    return p;
}

static inline struct woq_task *open_task(const struct woq_task_params *p)
{
    struct woq_task *task = NULL;
    EXPECT_OK(woq_task_open(p, &task));
    test_expectations_met();
    return task;
}

static inline struct woq_task_info info_of(const struct woq_task *task)
{
    struct woq_task_info info;
    EXPECT_OK(woq_task_get_info(task, &info));
    test_expectations_met();
    return info;
}

static inline void check_prompt(const struct woq_task *task, uint64_t index, const char *want)
{
    char *text;
    size_t size;
    EXPECT_OK(woq_task_prompt(task, index, &text, &size));
    test_expectations_met();
    assert_string_equal(text, want);
    assert_int_equal(size, strlen(want));
    free(text);
}

/* Set-up and tear-down: the program's folder, with those of MMLU's splits. */
static inline int make_folders(void **state)
{
    (void)state;
    return mkdtemp(root) && !mkdir(in_root("dev"), 0700) && !mkdir(in_root("test"), 0700) ? 0 : -1;
}

static inline int remove_folders(void **state)
{
    (void)state;
    delete ("");
    return 0;
}

#endif
