/* test_evaluate_tasks.c: benchmark tasks without a model: their files and prompts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "evaluate/csv.h"
#include "evaluate/task.h"
#include "evaluate_data.h"

#define HEADER "question,choice0,choice1,choice2,choice3,answer\n"

/* ---- CSV ---- */

static void test_csv(void **state)
{
    /* Fields of each record between | and ends of records as ; */
    static const struct {
        const char *text, *want;
    } cases[] = {{"a,b\nc,d\n", "a|b;c|d;"},
                 {"a,b\r\n\r\n\nc,", "a|b;c|;"},
                 {"\xef\xbb\xbf\"a\",\"b,\"\"c\"\"\r\nd\"\n", "a|b,\"c\"\r\nd;"},
                 {",,\n", "||;"},
                 {"\"\"\n\"\"\"\"", ";\";"},
                 {"5\" pipe,a\rb\n", "5\" pipe|a\rb;"},
                 {"", ""},
                 {"\n\r\n", ""}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64], got[128] = "";
        struct woqi_csv csv;
        struct woqi_csv_record r;
        strcpy(text, cases[i].text);
        woqi_csv_begin("some.csv", text, strlen(text), &csv);
        for (EXPECT_OK(woqi_csv_next(&csv, &r)); r.count; EXPECT_OK(woqi_csv_next(&csv, &r))) {
            for (size_t f = 0; f < r.count; f++)
                snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", f ? "|" : "",
                         (int)r.fields[f].size, r.fields[f].text);
            strcat(got, ";");
        }
        test_expectations_met();
        assert_string_equal(got, cases[i].want);
    }
}

static void test_csv_lines(void **state)
{
    char text[] = "a\n\n\"b\n\nc\",d\n1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18\n\"x\"y\n";
    struct woqi_csv csv;
    struct woqi_csv_record r;
    (void)state;
    woqi_csv_begin("some.csv", text, strlen(text), &csv);
    EXPECT_OK(woqi_csv_next(&csv, &r));
    assert_true(r.line == 1 && r.count == 1);
    EXPECT_OK(woqi_csv_next(&csv, &r));
    assert_true(r.line == 3 && r.count == 2);
    EXPECT_OK(woqi_csv_next(&csv, &r));
    assert_true(r.line == 6 && r.count == 18 && r.fields[15].size == 2);
    EXPECT(WOQ_ERROR_INVALID_DATA, "some.csv:7: text follows a closing quote", woqi_csv_next(&csv, &r));
    char open[] = "a,b\n\"c\n\n";
    woqi_csv_begin("some.csv", open, strlen(open), &csv);
    EXPECT_OK(woqi_csv_next(&csv, &r));
    EXPECT(WOQ_ERROR_INVALID_DATA, "some.csv:2: a quote is opened and not closed", woqi_csv_next(&csv, &r));
    char last[] = "\"";
    woqi_csv_begin("some.csv", last, 1, &csv);
    EXPECT(WOQ_ERROR_INVALID_DATA, "some.csv:1: a quote is opened", woqi_csv_next(&csv, &r));
    test_expectations_met();
}

/* ---- LAMBADA ---- */

static void test_lambada(void **state)
{
    static const char lines[] = "{\"text\":\"He went home\"}\n\n{\"text\":\"A.\\n\\n  \\\"B\\u00e9\\\"\"}\n"
                                "{\"text\":\" x y\\n\"}";
    struct woq_task_params p = params(WOQ_TASK_LAMBADA, write_file("a.jsonl", lines));
    struct woq_task *task = open_task(&p);
    struct woq_task_info info = info_of(task);
    struct woq_task_example e;
    (void)state;
    assert_true(info.kind == WOQ_TASK_LAMBADA && info.examples == 3 && info.groups == 1 && !info.chat && !info.shots);
    assert_string_equal(info.name, "lambada");
    check_prompt(task, 0, "He went");
    check_prompt(task, 1, "A.");
    check_prompt(task, 2, " x");
    static const char *const targets[] = {" home", "\n\n  \"B\xc3\xa9\"", " y\n"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(task->questions.at[i].target.size, strlen(targets[i]));
        assert_memory_equal(task->questions.at[i].target.text, targets[i], strlen(targets[i]));
    }
    EXPECT_OK(woq_task_get_example(task, 1, &e));
    assert_true(e.number == 1 && e.answer == 1 && !strcmp(e.group, "lambada"));
    assert_int_equal(task->questions.at[1].line, 3);
    EXPECT_BAD("index is 3; the task has 3", woq_task_get_example(task, 3, &e));
    EXPECT_BAD("text is NULL", woq_task_prompt(task, 0, NULL, &(size_t){0}));
    EXPECT_BAD("size is NULL", woq_task_prompt(task, 0, &(char *){NULL}, NULL));
    test_expectations_met();
    woq_task_close(&task);
    assert_null(task);
    woq_task_close(&task);
}

static void test_lambada_refused(void **state)
{
    static const struct {
        const char *text, *mention;
    } cases[] = {{"{\"text\":\"a b\"}\n{\"text\":\"a b\"\n", "b.jsonl:2: is no JSON"},
                 {"{\"txt\":\"a b\"}", "b.jsonl:1: \"text\" is missing"},
                 {"\n{\"text\":[\"a b\"]}", "b.jsonl:2: \"text\" is no string"},
                 {"{\"text\":\"word\"}", "b.jsonl:1: \"text\" has no word before the last"},
                 {"{\"text\":\" word\"}", "b.jsonl:1: \"text\" has no word before the last"},
                 {"{\"text\":\"\"}", "b.jsonl:1: \"text\" has no word before the last"},
                 {"{\"text\":\"a b \"}", "b.jsonl:1: \"text\" ends in a space"},
                 {"", "b.jsonl: has no examples"},
                 {" \n\n", "b.jsonl: has no examples"}};
    struct woq_task *task;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct woq_task_params p = params(WOQ_TASK_LAMBADA, write_file("b.jsonl", cases[i].text));
        task = (struct woq_task *)&p;
        EXPECT(WOQ_ERROR_INVALID_DATA, cases[i].mention, woq_task_open(&p, &task));
        assert_null(task);
    }
    struct woq_task_params p = params(WOQ_TASK_LAMBADA, "/nowhere/at/all.jsonl");
    EXPECT_BAD("No such file", woq_task_open(&p, &task));
    p.path = root;
    EXPECT_BAD("Is a directory", woq_task_open(&p, &task));
    p.path = NULL;
    EXPECT_BAD("path is NULL", woq_task_open(&p, &task));
    p = params((enum woq_task_kind)3, "x");
    EXPECT_BAD("kind is 3", woq_task_open(&p, &task));
    p.struct_size = 1;
    EXPECT_BAD("struct_size is 1", woq_task_open(&p, &task));
    EXPECT_BAD("params is NULL", woq_task_open(NULL, &task));
    EXPECT_BAD("out is NULL", woq_task_open(&p, NULL));
    test_expectations_met();
}

/* ---- MMLU ---- */

static void make_mmlu(void)
{
    write_file("dev/virology_dev.csv", HEADER "Q1,a,b,c,d,2\n\" Q2\n\",e,f,g,h,0\n");
    write_file("test/virology_test.csv", HEADER "\"Say \"\"x, y\"\"\",\"1\n2\",,3,4,3\nT2,a,b,c,d,0\n");
    write_file("dev/moral_disputes_dev.csv", "P1,a,b,c,d,D\r\nP2,a,b,c,d,A\r\nP3,a,b,c,d,B\r\n");
    write_file("test/moral_disputes_test.csv", "S1,a,b,c,d,B\nS2,w,x,y,z,C\nS3,a,b,c,d,A\n");
}

static void test_mmlu(void **state)
{
    struct woq_task_params p = params(WOQ_TASK_MMLU, root);
    struct woq_task_example e;
    (void)state;
    make_mmlu();
    struct woq_task *task = open_task(&p);
    struct woq_task_info info = info_of(task);
    assert_true(info.kind == WOQ_TASK_MMLU && info.examples == 5 && info.groups == 2 && info.shots == 1);
    assert_string_equal(info.name, "mmlu");
    check_prompt(task, 1,
                 "The following are multiple choice questions (with answers) about moral disputes.\n\n"
                 "P1\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\n"
                 "S2\nA. w\nB. x\nC. y\nD. z\nAnswer:");
    check_prompt(task, 3,
                 "The following are multiple choice questions (with answers) about virology.\n\n"
                 "Q1\nA. a\nB. b\nC. c\nD. d\nAnswer: C\n\n"
                 "Say \"x, y\"\nA. 1\n2\nB. \nC. 3\nD. 4\nAnswer:");
    EXPECT_OK(woq_task_get_example(task, 3, &e));
    assert_true(e.number == 0 && e.answer == 3 && !strcmp(e.group, "virology"));
    EXPECT_OK(woq_task_get_example(task, 1, &e));
    assert_true(e.number == 1 && e.answer == 2 && !strcmp(e.group, "moral_disputes"));
    test_expectations_met();
    woq_task_close(&task);
    p.shots = 0;
    task = open_task(&p);
    check_prompt(task, 1,
                 "The following are multiple choice questions (with answers) about moral disputes.\n\n"
                 "S2\nA. w\nB. x\nC. y\nD. z\nAnswer:");
    woq_task_close(&task);
    p.shots = 2;
    p.chat = "chatml";
    task = open_task(&p);
    check_prompt(task, 4,
                 "<|im_start|>user\nThe following are multiple choice questions (with answers) about virology.\n\n"
                 "Q1\nA. a\nB. b\nC. c\nD. d\nAnswer: C\n\nQ2\nA. e\nB. f\nC. g\nD. h\nAnswer: A\n\n"
                 "T2\nA. a\nB. b\nC. c\nD. d\nAnswer:<|im_end|>\n<|im_start|>assistant\n");
    assert_string_equal(info_of(task).chat, "chatml");
    woq_task_close(&task);
    /* A question of dev is not its own example. */
    p.chat = NULL;
    p.shots = 1;
    p.split = "dev";
    task = open_task(&p);
    check_prompt(task, 0,
                 "The following are multiple choice questions (with answers) about moral disputes.\n\n"
                 "P2\nA. a\nB. b\nC. c\nD. d\nAnswer: A\n\nP1\nA. a\nB. b\nC. c\nD. d\nAnswer:");
    check_prompt(task, 2,
                 "The following are multiple choice questions (with answers) about moral disputes.\n\n"
                 "P1\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\nP3\nA. a\nB. b\nC. c\nD. d\nAnswer:");
    woq_task_close(&task);
    p.shots = 2; /* all others */
    EXPECT(WOQ_ERROR_INVALID_DATA, "virology_dev.csv: has 2 questions; 2 examples besides a question need 3",
           woq_task_open(&p, &task));
    write_file("dev/virology_dev.csv", HEADER "q,a,b,c,d,1\nr,a,b,c,d,1\ns,a,b,c,d,1\n");
    task = open_task(&p);
    check_prompt(task, 2,
                 "The following are multiple choice questions (with answers) about moral disputes.\n\n"
                 "P1\nA. a\nB. b\nC. c\nD. d\nAnswer: D\n\nP2\nA. a\nB. b\nC. c\nD. d\nAnswer: A\n\n"
                 "P3\nA. a\nB. b\nC. c\nD. d\nAnswer:");
    woq_task_close(&task);
    write_file("dev/virology_dev.csv", HEADER "q,a,b,c,d,1\n");
    EXPECT(WOQ_ERROR_INVALID_DATA, "virology_dev.csv: has one question, and no example besides it",
           woq_task_open(&p, &task));
    test_expectations_met();
}

static void test_mmlu_refused(void **state)
{
    static const struct {
        const char *text, *mention;
    } cases[] = {{HEADER "a,b,c,d,1\n", "virology_test.csv:2: has 5 columns"},
                 {HEADER "q,a,b,c,d,1\nq,a,b,c,d,e,1\n", "virology_test.csv:3: has 7 columns"},
                 {HEADER "q,a,b,c,d,4\n", "virology_test.csv:2: the answer is '4'; must be 0 … 3, below the header"},
                 {HEADER "q,a,b,c,d,A\n", "virology_test.csv:2: the answer is 'A'; must be 0 … 3"},
                 {"q,a,b,c,d,E\n", "virology_test.csv:1: the answer is 'E'; must be A … D, in a file without"},
                 {"q,a,b,c,d,1\n", "virology_test.csv:1: the answer is '1'; must be A … D"},
                 {"q,a,b,c,d,\n", "virology_test.csv:1: the answer is ''"},
                 {"q,a,b,c,d,\x1b[1m\xff\xc3\xa9\n", "virology_test.csv:1: the answer is '?[1m?\xc3\xa9'"},
                 {"Question,choice0,choice1,choice2,choice3,answer\n", "virology_test.csv:1: the answer is 'answer'"},
                 {HEADER "q,a,b,\"c,d,0\n", "virology_test.csv:2: a quote is opened"},
                 {HEADER, "virology_test.csv: has no questions"},
                 {"", "virology_test.csv: has no questions"}};
    struct woq_task_params p = params(WOQ_TASK_MMLU, root);
    struct woq_task *task;
    (void)state;
    make_mmlu();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file("test/virology_test.csv", cases[i].text);
        EXPECT(WOQ_ERROR_INVALID_DATA, cases[i].mention, woq_task_open(&p, &task));
        assert_null(task);
    }
    make_mmlu();
    p.shots = 3;
    EXPECT(WOQ_ERROR_INVALID_DATA, "virology_dev.csv: has 2 questions; 3 examples need as many",
           woq_task_open(&p, &task));
    p.shots = 1;
    write_file("dev/virology_dev.csv", HEADER "q,a,b,c,d,7\n");
    EXPECT(WOQ_ERROR_INVALID_DATA, "virology_dev.csv:2: the answer is '7'", woq_task_open(&p, &task));
    delete ("dev/virology_dev.csv");
    EXPECT_BAD("dev/virology_dev.csv: cannot be opened: No such file", woq_task_open(&p, &task));
    p.split = "validation";
    EXPECT_BAD("/validation: cannot be opened", woq_task_open(&p, &task));
    p.split = "empty";
    assert_int_equal(mkdir(in_root("empty"), 0700), 0);
    EXPECT_BAD("/empty: has no files SUBJECT_empty.csv", woq_task_open(&p, &task));
    p.split = "../test";
    EXPECT_BAD("split is '../test'", woq_task_open(&p, &task));
    p.split = "";
    EXPECT_BAD("split is ''", woq_task_open(&p, &task));
    p.split = NULL;
    p.path = "/nowhere";
    EXPECT_BAD("/nowhere/test: cannot be opened: No such file", woq_task_open(&p, &task));
    test_expectations_met();
}

/* The draw keeps the files' order, and leaves out subjects without examples; the hash tells draws and prompts apart. */
static void test_limit(void **state)
{
    struct woq_task_params p = params(WOQ_TASK_MMLU, root);
    struct woq_task_example e;
    uint64_t hashes[8], order = 0;
    bool one_group = false, two_groups = false;
    (void)state;
    make_mmlu();
    for (uint64_t seed = 0; seed < 12; seed++) {
        p.limit = 2;
        p.seed = seed;
        struct woq_task *task = open_task(&p);
        struct woq_task_info info = info_of(task);
        assert_int_equal(info.examples, 2);
        for (uint64_t i = 0; i < 2; i++) {
            EXPECT_OK(woq_task_get_example(task, i, &e));
            const uint64_t place = e.number + (strcmp(e.group, "virology") ? 0 : 3);
            assert_true(!i || place > order);
            order = place;
        }
        one_group = one_group || info.groups == 1;
        two_groups = two_groups || info.groups == 2;
        woq_task_close(&task);
    }
    assert_true(one_group && two_groups);
    for (int i = 0; i < 8; i++) {
        p = params(WOQ_TASK_MMLU, root);
        p.shots = i == 1 ? 0 : 1;
        p.limit = i == 2 ? 3 : i == 3 ? 5 : i == 7 ? UINT64_MAX : 0;
        p.chat = i == 4 ? "chatml" : i == 5 ? "gemma" : NULL;
        if (i == 6)
            write_file("test/virology_test.csv", HEADER "\"Say \"\"x, y\"\"\",\"1\n2\",,3,4,2\nT2,a,b,c,d,0\n");
        struct woq_task *task = open_task(&p);
        hashes[i] = info_of(task).hash;
        woq_task_close(&task);
        for (int j = 0; j < i; j++)
            assert_int_equal(hashes[i] == hashes[j], (i == 3 && j == 0) || (i == 7 && j == 6));
    }
}

/* All subjects by categories.py of the authors' evaluation code (github.com/hendrycks/test). */
static const struct {
    const char *name;
    unsigned count;
    const char *subjects;
} categories[] = {
    {"STEM", 18,
     "abstract_algebra astronomy college_biology college_chemistry college_computer_science college_mathematics "
     "college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics "
     "high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics "
     "high_school_physics high_school_statistics machine_learning"},
    {"humanities", 13,
     "formal_logic high_school_european_history high_school_us_history high_school_world_history international_law "
     "jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law "
     "world_religions"},
    {"social sciences", 12,
     "econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics "
     "high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations "
     "security_studies sociology us_foreign_policy"},
    {"other", 14,
     "anatomy business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing "
     "medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology"},
};

static void test_categories(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++) {
        char text[1024];
        unsigned count = 0;
        snprintf(text, sizeof text, "%s", categories[i].subjects);
        for (char *name = strtok(text, " "); name; name = strtok(NULL, " "), count++) {
            const char *got = woqi_mmlu_category(name);
            if (!got || strcmp(got, categories[i].name))
                fail_msg("%s: %s", name, got ? got : "unknown");
        }
        assert_int_equal(count, categories[i].count);
    }
    assert_null(woqi_mmlu_category("law"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_csv),    cmocka_unit_test(test_csv_lines),
                                       cmocka_unit_test(test_lambada), cmocka_unit_test(test_lambada_refused),
                                       cmocka_unit_test(test_mmlu),   cmocka_unit_test(test_mmlu_refused),
                                       cmocka_unit_test(test_limit),  cmocka_unit_test(test_categories)};
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
