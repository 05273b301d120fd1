/* evaluate_questions.h: what test_evaluate_run asks, and its files. Include after cmocka.h. */
#ifndef TEST_EVALUATE_QUESTIONS_H
#define TEST_EVALUATE_QUESTIONS_H

#include "evaluate_data.h"

enum { SHOTS = 2, QUESTIONS = 5, WORDS = 22 };

struct question {
    const char *text, *choices[4];
    int answer;
};
static const struct question dev_questions[SHOTS] = {
    {"Which of them is red?", {"the sky", "an apple", "the sea", "snow"}, 1},
    {"\"Hello\", said Tim. What did he say?", {"Hello", "Bye", "a, b", "No"}, 0},
};
static char long_question[160], endless_question[400];
static const struct question test_questions[QUESTIONS] = {
    {"Who went to the park?", {"Lily", "the dog", "a tree", "her mom"}, 3},
    {"What does the cat\nlike?", {"to play", "to swim", "cars", "books"}, 0},
    {long_question, {"one", "two", "three", "four"}, 2},
    {"  Where is the ball?\t", {"in the box", "up", "on a hill", "here"}, 1},
    {endless_question, {"a", "b", "c", "d"}, 1},
};

/* Context and target; the first is longer than the model's context. */
static char long_context[400];
static const char *const words[WORDS][2] = {
    {long_context, " home"},
    {"One day, a little girl named Lily went to the", " park"},
    {"Tim had a big red ball and he liked to", " play"},
    {"The sun was", " shining"},
    {"Mom said,", "  \"Yes"},
    {"Once upon a", " time"},
    {"She was very", " happy"},
    {"He saw a big", " dog"},
    {"They lived in a small", " house"},
    {"I want to eat an", " apple"},
    {"Let us go", " outside."},
    {"Na\xc3\xafve", " caf\xc3\xa9"},
    {"The bird flew up into the", " sky"},
    {"It was dark and she was", " scared"},
    {"A\n\nB", "\n C"},
    {"Lily and Tom are", " friends"},
    {"Can I help", " you"},
    {"Yes, you", " can"},
    {"He put it in the", " box"},
    {"The end of the", " day"},
    {"Thank", " you"},
    {"@", " play"}, /* for the small model only the begin-of-text token is before it */
};

static inline void repeat(char *out, size_t size, const char *text)
{
    for (size_t i = 0; i + 1 < size; i++)
        out[i] = text[i % strlen(text)];
    out[size - 1] = 0;
    while (out[strlen(out) - 1] == ' ')
        out[strlen(out) - 1] = 0;
}

static inline void write_field(FILE *f, const char *text)
{
    fputc('"', f);
    for (; *text; text++) {
        if (*text == '"')
            fputc('"', f);
        fputc(*text, f);
    }
    fputc('"', f);
}

static inline void write_csv(const char *name, bool header, const struct question *q, int count)
{
    FILE *f = fopen(in_root(name), "wb");
    assert_non_null(f);
    if (header)
        fputs("question,choice0,choice1,choice2,choice3,answer\n", f);
    for (int i = 0; i < count; i++) {
        write_field(f, q[i].text);
        for (int c = 0; c < 4; c++) {
            fputc(',', f);
            write_field(f, q[i].choices[c]);
        }
        fprintf(f, ",%c\n", (header ? '0' : 'A') + q[i].answer);
    }
    assert_int_equal(fclose(f), 0);
}

/* Of two subjects, one with a header. */
static inline void write_questions(void)
{
    repeat(long_question, sizeof long_question, "Tim and Lily like to play in the park. ");
    repeat(endless_question, sizeof endless_question, "There was a big dog. It was happy. ");
    write_csv("dev/high_school_physics_dev.csv", true, dev_questions, SHOTS);
    write_csv("test/high_school_physics_test.csv", true, test_questions, QUESTIONS);
    write_csv("dev/made_up_dev.csv", false, dev_questions, SHOTS);
    write_csv("test/made_up_test.csv", false, test_questions, QUESTIONS);
}

static inline void write_words(void)
{
    FILE *f = fopen(in_root("words.jsonl"), "wb");
    assert_non_null(f);
    repeat(long_context, sizeof long_context, "They walked and walked. ");
    for (int i = 0; i < WORDS; i++) {
        fputs("{\"text\": \"", f);
        for (int part = 0; part < 2; part++)
            for (const char *at = words[i][part]; *at; at++)
                if (*at == '\n')
                    fputs("\\n", f);
                else if (*at == '"')
                    fputs("\\\"", f);
                else
                    fputc(*at, f);
        fputs("\"}\n", f);
    }
    assert_int_equal(fclose(f), 0);
}

#endif
