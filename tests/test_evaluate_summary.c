/* test_evaluate_summary.c: statistics of benchmark tasks, on numbers that are worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>

#include "evaluate_data.h"

static bool near(double a, double b)
{
    return fabs(a - b) < 1e-12;
}

static void test_lambada_summary(void **state)
{
    struct woq_task_params p = params(
        WOQ_TASK_LAMBADA,
        write_file("d.jsonl", "{\"text\":\"a b\"}\n{\"text\":\"a b\"}\n{\"text\":\"a b\"}\n{\"text\":\"a b\"}\n"));
    struct woq_task *task = open_task(&p);
    struct woq_task_summary s;
    /* mean −2, deviations 1 −1 0 0: sample variance 2/3, error of the mean √(2/3/4). */
    const struct woq_prediction x[4] = {{.log_probability = -1, .answer = 1, .correct = 1},
                                        {.log_probability = -3, .truncated = 7},
                                        {.log_probability = -2, .answer = 1, .correct = 1},
                                        {.log_probability = -2, .answer = 1, .correct = 1}};
    (void)state;
    EXPECT_OK(woq_task_summarize(task, x, 4, &s));
    test_expectations_met();
    assert_true(s.examples == 4 && s.correct == 3 && s.truncated == 1 && s.group_count == 1 && !s.category_count);
    assert_true(s.accuracy == 0.75 && near(s.accuracy_error, 0.25)); /* √(3/16/3) */
    assert_true(near(s.perplexity, exp(2)) && near(s.perplexity_error, exp(2) * sqrt(1.0 / 6)));
    assert_true(s.groups[0].examples == 4 && s.groups[0].accuracy == 0.75 && !s.groups[0].category);
    woq_task_summary_release(&s);
    assert_true(!s.groups && !s.categories && !s.group_count);
    woq_task_summary_release(&s);
    woq_task_summary_release(NULL);
    EXPECT_OK(woq_task_summarize(task, x, 1, &s));
    assert_true(s.accuracy == 1 && s.accuracy_error == 0 && near(s.perplexity, exp(1)) && s.perplexity_error == 0);
    woq_task_summary_release(&s);
    EXPECT_BAD("count is 5; must be 1 … 4", woq_task_summarize(task, x, 5, &s));
    EXPECT_BAD("count is 0", woq_task_summarize(task, x, 0, &s));
    EXPECT_BAD("predictions is NULL", woq_task_summarize(task, NULL, 4, &s));
    EXPECT_BAD("task is NULL", woq_task_summarize(NULL, x, 4, &s));
    test_expectations_met();
    woq_task_close(&task);
}

static void test_mmlu_summary(void **state)
{
    struct woq_task_params p = params(WOQ_TASK_MMLU, root);
    struct woq_task_summary s;
    struct woq_prediction x[6] = {{.correct = 1}, {.correct = 0}, {.correct = 1}, {.correct = 1}, {.correct = 0},
                                  {.correct = 1}};
    (void)state;
    write_file("dev/moral_disputes_dev.csv", "P1,a,b,c,d,D\n");
    write_file("test/moral_disputes_test.csv", "S1,a,b,c,d,B\nS2,w,x,y,z,C\nS3,a,b,c,d,A\n");
    write_file("dev/prehistory_dev.csv", "P1,a,b,c,d,D\n");
    write_file("test/prehistory_test.csv", "P1,a,b,c,d,D\n");
    write_file("dev/virology_dev.csv", "P1,a,b,c,d,D\n");
    write_file("test/virology_test.csv", "V1,a,b,c,d,D\nV2,a,b,c,d,A\n");
    struct woq_task *task = open_task(&p);
    EXPECT_OK(woq_task_summarize(task, x, 6, &s));
    test_expectations_met();
    assert_true(s.examples == 6 && s.correct == 4 && near(s.accuracy, 4.0 / 6));
    assert_true(near(s.accuracy_error, sqrt(4.0 / 6 * 2 / 6 / 5)) && s.perplexity == 0 && s.perplexity_error == 0);
    assert_int_equal(s.group_count, 3);
    assert_true(!strcmp(s.groups[0].name, "moral_disputes") && s.groups[0].examples == 3);
    assert_true(near(s.groups[0].accuracy, 2.0 / 3) && near(s.groups[0].accuracy_error, sqrt(2.0 / 9 / 2)));
    assert_true(!strcmp(s.groups[1].name, "prehistory") && s.groups[1].examples == 1 && s.groups[1].accuracy == 1);
    assert_true(s.groups[1].accuracy_error == 0);
    assert_true(!strcmp(s.groups[2].category, "other") && s.groups[2].accuracy == 0.5);
    assert_int_equal(s.category_count, 2); /* humanities by size: 3 of 4 */
    assert_true(!strcmp(s.categories[0].name, "humanities") && s.categories[0].examples == 4);
    assert_true(s.categories[0].accuracy == 0.75 && near(s.categories[0].accuracy_error, 0.25));
    assert_true(!strcmp(s.categories[1].name, "other") && s.categories[1].accuracy == 0.5);
    woq_task_summary_release(&s);
    EXPECT_OK(woq_task_summarize(task, x, 4, &s)); /* the last subject is not reached */
    assert_true(s.groups[2].examples == 0 && s.groups[2].accuracy == 0 && s.category_count == 1);
    woq_task_summary_release(&s);
    test_expectations_met();
    woq_task_close(&task);
}

static void test_compare(void **state)
{
    const struct woq_prediction a[4] = {{.log_probability = -1, .answer = 2, .correct = 1},
                                        {.log_probability = -2, .answer = 1, .correct = 0},
                                        {.log_probability = -3, .answer = 0, .correct = 1},
                                        {.log_probability = -4, .answer = 3, .correct = 0}};
    const struct woq_prediction b[4] = {{.log_probability = -2, .answer = 2, .correct = 1},
                                        {.log_probability = -1, .answer = 0, .correct = 1},
                                        {.log_probability = -6, .answer = 1, .correct = 0},
                                        {.log_probability = -5, .answer = 2, .correct = 1}};
    struct woq_task_comparison c;
    (void)state;
    EXPECT_OK(woq_task_compare(a, b, 4, &c));
    test_expectations_met();
    /* 0 1 −1 1: mean 1/4, squares of deviations 1/16 + 9/16 + 25/16 + 9/16 = 11/4. */
    assert_true(c.examples == 4 && c.accuracy_change == 0.25 && near(c.accuracy_change_error, sqrt(11.0 / 48)));
    assert_true(c.gained == 2 && c.lost == 1);
    assert_true(c.same_answers == 0.25 && near(c.same_answers_error, 0.25));
    /* 1 −1 3 1: mean 1, squares 0 + 4 + 4 + 0. */
    assert_true(near(c.log_perplexity_ratio, 1) && near(c.log_perplexity_ratio_error, sqrt(8.0 / 12)));
    assert_true(near(c.log_probability_distance, 1.5));
    EXPECT_OK(woq_task_compare(a, a, 4, &c));
    assert_true(c.accuracy_change == 0 && c.accuracy_change_error == 0 && c.same_answers == 1);
    assert_true(c.log_perplexity_ratio == 0 && c.log_probability_distance == 0 && !c.gained && !c.lost);
    EXPECT_OK(woq_task_compare(a, b, 1, &c));
    assert_true(c.accuracy_change_error == 0 && c.log_perplexity_ratio == 1);
    EXPECT_BAD("count is 0", woq_task_compare(a, b, 0, &c));
    EXPECT_BAD("baseline is NULL", woq_task_compare(NULL, b, 4, &c));
    EXPECT_BAD("predictions is NULL", woq_task_compare(a, NULL, 4, &c));
    EXPECT_BAD("out is NULL", woq_task_compare(a, b, 4, NULL));
    test_expectations_met();
}

/* As many questions gained as lost are no change at all, in whatever order: bounds of 0 hold. */
static void test_no_change(void **state)
{
    static const uint8_t before[8] = {0, 1, 0, 1, 1, 0, 0, 0}, after[8] = {1, 0, 0, 0, 0, 1, 0, 1};
    struct woq_prediction a[8] = {{0}}, b[8] = {{0}};
    struct woq_task_comparison c;
    (void)state;
    for (int i = 0; i < 8; i++) {
        a[i].correct = before[i];
        b[i].correct = after[i];
    }
    EXPECT_OK(woq_task_compare(a, b, 8, &c));
    test_expectations_met();
    assert_true(c.gained == 3 && c.lost == 3 && c.accuracy_change == 0);
    assert_true(near(c.accuracy_change_error, sqrt(6.0 / 56)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lambada_summary), cmocka_unit_test(test_mmlu_summary),
                                       cmocka_unit_test(test_compare), cmocka_unit_test(test_no_change)};
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
