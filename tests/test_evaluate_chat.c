/* test_evaluate_chat.c: prompts in the forms of chat, and the templates that name them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "evaluate/task.h"
#include "evaluate_data.h"
#include "support/file_bytes.h"
#include "support/tiny_model.h"

#define USER "message['content']"
/* What Jinja makes of the models' templates (here without turns of other roles) for one user's turn " X Y". */
static const struct {
    const char *template, *name, *want;
    bool bos;
} chats[] = {
    {"{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + " USER " + '<|im_end|>' + '\\n'}}"
     "{% endfor %}",
     "chatml", "<|im_start|>user\n X<|im_end|>\n<|im_start|>assistant\n", false},
    {"{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant "
     "named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n'}}",
     "chatml",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
     "<|im_start|>user\n X<|im_end|>\n<|im_start|>assistant\n",
     false},
    {"{%- if tools %}{{- '<|im_start|>system\\n' }}{%- else %}{{- '<|im_start|>system\\n' + messages[0]['content'] + "
     "'<|im_end|>\\n' }}{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
     "<|im_end|>\\n' }}",
     "chatml",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
     "<|im_start|>user\n X<|im_end|>\n<|im_start|>assistant\n",
     false},
    {"{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ " USER " | trim + "
     "'<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}",
     "llama-3",
     "<|start_header_id|>user<|end_header_id|>\n\nX<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", true},
    {"{{ '<start_of_turn>' + role + '\n' + " USER " | trim + '<end_of_turn>\n' }}", "gemma",
     "<start_of_turn>user\nX<end_of_turn>\n<start_of_turn>model\n", true},
    {"{{ bos_token }}{{'<|user|>' + '\n' + " USER " + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}", "phi-3",
     "<|user|>\n X<|end|>\n<|assistant|>\n", true},
    {"{{ '<|user|>\n' + " USER " + eos_token }}{{ '<|assistant|>' }}", "zephyr", "<|user|>\n X</s>\n<|assistant|>\n",
     false},
    {"{{ bos_token }}{{ '[INST] ' + " USER " + ' [/INST]' }}", "llama-2", "[INST]  X [/INST]", true},
    {"{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}", "llama-2", "[INST] X [/INST]", true},
};

static void test_chat(void **state)
{
    struct woq_task_params p = params(WOQ_TASK_LAMBADA, write_file("c.jsonl", "{\"text\":\" X Y\"}"));
    struct woq_task *task;
    (void)state;
    for (size_t i = 0; i < sizeof chats / sizeof *chats; i++) {
        p.chat = chats[i].template;
        task = open_task(&p);
        assert_string_equal(info_of(task).chat, chats[i].name);
        assert_int_equal(task->chat.bos, chats[i].bos);
        check_prompt(task, 0, chats[i].want);
        woq_task_close(&task);
    }
    static const struct {
        const char *name, *want;
    } named[] = {{"chatml", "<|im_start|>user\n X<|im_end|>\n<|im_start|>assistant\n"},
                 {"phi-3", "<|user|>\n X<|end|>\n<|assistant|>\n"},
                 {"llama-2", "[INST] X [/INST]"}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        p.chat = named[i].name;
        task = open_task(&p);
        check_prompt(task, 0, named[i].want);
        woq_task_close(&task);
    }
    static const char *const unknown[] = {
        "{{ 'Human: ' + message['content'] + '\\n\\nAssistant: ' }}",
        "{{ bos_token + '[INST] ' + content + '[/INST]' }}", /* Mistral's third */
        "{{ '<|im_start|>' + 'user' + '<|im_sep|>' + '<|im_end|>' }}"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        p.chat = unknown[i];
        EXPECT(WOQ_ERROR_UNSUPPORTED, "is of no known form (chatml, llama-3, gemma, phi-3, zephyr, llama-2)",
               woq_task_open(&p, &task));
        assert_says("<|im_start|> with <|im_end|>");
    }
    p.chat = "vicuna";
    EXPECT_BAD("chat 'vicuna' is no form's name; must be chatml,", woq_task_open(&p, &task));
    p.chat = "";
    EXPECT_BAD("chat '' is no form's name", woq_task_open(&p, &task));
    test_expectations_met();
}

static void check_template(const char *path, const char *want)
{
    struct woq_checkpoint *c = NULL;
    char *text = NULL;
    EXPECT_OK(woq_checkpoint_open(path, NULL, &c));
    EXPECT_OK(woq_chat_template_read(c, &text));
    test_expectations_met();
    assert_int_equal(!text, !want);
    if (want)
        assert_string_equal(text, want);
    free(text);
    woq_checkpoint_close(&c);
}

static void test_template_files(void **state)
{
    static const struct tiny_model model = {.architecture = "llama", .layers = 1, .hidden = 16, .heads = 2,
                                            .kv_heads = 2, .head_dim = 8, .intermediate = 16, .tied = true};
    static struct file_bytes gguf;
    struct woq_checkpoint *c = NULL;
    char *text = NULL;
    (void)state;
    assert_true(tiny_write(&model, NULL, in_root("model")));
    check_template(in_root("model"), NULL);
    write_file("model/tokenizer_config.json", "{\"bos_token\": \"<s>\"}");
    check_template(in_root("model"), NULL);
    write_file("model/tokenizer_config.json", "{\"chat_template\": \"{{ 'a\\n' }}\"}");
    check_template(in_root("model"), "{{ 'a\n' }}");
    write_file("model/tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"},"
                                              "{\"name\": \"default\", \"template\": \"d\"}]}");
    check_template(in_root("model"), "d");
    check_template(in_root("model/model.safetensors"), NULL);
    write_file("model/chat_template.jinja", "{{ 'j' }}\n");
    check_template(in_root("model"), "{{ 'j' }}\n");
    delete ("model/chat_template.jinja");
    write_file("model/tokenizer_config.json", "{\"chat_template\": ");
    EXPECT_OK(woq_checkpoint_open(in_root("model"), NULL, &c));
    EXPECT(WOQ_ERROR_INVALID_DATA, "tokenizer_config.json: no valid JSON", woq_chat_template_read(c, &text));
    assert_null(text);
    EXPECT_BAD("text is NULL", woq_chat_template_read(c, NULL));
    EXPECT_BAD("checkpoint is NULL", woq_chat_template_read(NULL, &text));
    woq_checkpoint_close(&c);
    for (int there = 0; there < 2; there++) {
        gguf.size = 0;
        gguf_begin(&gguf, 3, 0, 1);
        gguf_text(&gguf, there ? "tokenizer.chat_template" : "general.name", "{{ 'g' }}");
        EXPECT_OK(woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, gguf.data, gguf.size, &c));
        EXPECT_OK(woq_chat_template_read(c, &text));
        test_expectations_met();
        assert_int_equal(!text, !there);
        if (there)
            assert_string_equal(text, "{{ 'g' }}");
        free(text);
        woq_checkpoint_close(&c);
    }
    tiny_remove(in_root("model"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chat), cmocka_unit_test(test_template_files)};
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
