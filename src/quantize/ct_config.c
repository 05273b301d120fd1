/*
 * ct_config.c: config.json of a compressed-tensors checkpoint: the source's own with quantization_config added, or,
 * from GGUF, made from what woq_checkpoint_config found.
 *
 * quantization_config as compressed-tensors 0.20 accepts it; it forbids unknown keys under `weights`. Names of `ignore`
 * are modules, so layers that are kept stand there one by one.
 */
#include "quantizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yyjson.h>

static enum woq_status no_memory(void)
{
    return woq_report(WOQ_ERROR_OUT_OF_MEMORY, "out of memory for config.json");
}

/* The shortest decimal number that is this float. */
static double shortest(float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return strtod(text, NULL);
}

static yyjson_mut_val *make_ignore(const struct woqi_plan *plan, yyjson_mut_doc *doc)
{
    yyjson_mut_val *list = yyjson_mut_arr(doc);
    bool fine = yyjson_mut_arr_add_str(doc, list, "lm_head");
    for (size_t i = 0; i < woq_checkpoint_tensor_count(plan->checkpoint) && fine; i++) {
        const char *name = woq_checkpoint_tensor(plan->checkpoint, i)->name;
        size_t size = woqi_linear_name(name);
        if (size && name[size] && plan->use[i] == WOQI_USE_KEEP)
            fine = yyjson_mut_arr_add_strncpy(doc, list, name, size);
    }
    return fine ? list : NULL;
}

/* Of a tensor that is quantized: index of the first tensor with the same format. Formats that are written alike, one
 * scale for a row and for a tensor, are the same. */
static size_t first_alike(const struct woqi_plan *plan, size_t index)
{
    const struct woq_format *f = &plan->formats[index];
    const bool row = f->group == WOQ_GROUP_TENSOR || f->group == WOQ_GROUP_CHANNEL;
    for (size_t i = 0; i < index; i++) {
        const struct woq_format *g = &plan->formats[i];
        const bool alike = row ? g->group == WOQ_GROUP_TENSOR || g->group == WOQ_GROUP_CHANNEL : g->group == f->group;
        if (plan->use[i] == WOQI_USE_QUANTIZE && g->code == f->code && g->zero == f->zero && alike)
            return i;
    }
    return index;
}

/* A group of config_groups without its targets. */
static yyjson_mut_val *make_group(const struct woq_format *f, yyjson_mut_doc *doc, yyjson_mut_val *targets)
{
    const bool row = f->group == WOQ_GROUP_CHANNEL || f->group == WOQ_GROUP_TENSOR;
    yyjson_mut_val *group = yyjson_mut_obj(doc), *weights = yyjson_mut_obj(doc);
    bool fine = yyjson_mut_obj_add_uint(doc, weights, "num_bits", f->code == WOQ_CODE_U4 ? 4 : 8) &&
                yyjson_mut_obj_add_str(doc, weights, "type", "int") &&
                yyjson_mut_obj_add_bool(doc, weights, "symmetric", f->zero == WOQ_ZERO_SYMMETRIC) &&
                yyjson_mut_obj_add_str(doc, weights, "strategy", row ? "channel" : "group") &&
                (row ? yyjson_mut_obj_add_null(doc, weights, "group_size")
                     : yyjson_mut_obj_add_uint(doc, weights, "group_size", f->group)) &&
                yyjson_mut_obj_add_bool(doc, weights, "dynamic", false) &&
                yyjson_mut_obj_add_val(doc, group, "targets", targets) &&
                yyjson_mut_obj_add_val(doc, group, "weights", weights) &&
                yyjson_mut_obj_add_null(doc, group, "input_activations") &&
                yyjson_mut_obj_add_null(doc, group, "output_activations");
    return fine ? group : NULL;
}

/*
 * A group for each format, in the order of the tensors. A lone one is for the class "Linear". Of several each lists its
 * modules: loaders look for names before classes, but vLLM finds the class of a fused module before the names of its
 * parts, so a class beside names would take what is not its own.
 */
static yyjson_mut_val *make_groups(const struct woqi_plan *plan, yyjson_mut_doc *doc)
{
    const size_t count = woq_checkpoint_tensor_count(plan->checkpoint);
    yyjson_mut_val *groups = yyjson_mut_obj(doc);
    size_t made = 0;
    bool fine = groups;
    for (size_t i = 0; i < count && fine; i++) {
        if (plan->use[i] != WOQI_USE_QUANTIZE || first_alike(plan, i) != i)
            continue;
        yyjson_mut_val *targets = yyjson_mut_arr(doc);
        bool lone = made == 0;
        for (size_t t = 0; t < count && fine; t++) {
            const char *name = woq_checkpoint_tensor(plan->checkpoint, t)->name;
            if (plan->use[t] != WOQI_USE_QUANTIZE)
                continue;
            if (first_alike(plan, t) == i)
                fine = yyjson_mut_arr_add_strncpy(doc, targets, name, woqi_linear_name(name));
            else
                lone = false;
        }
        if (lone) {
            targets = yyjson_mut_arr(doc);
            fine = fine && yyjson_mut_arr_add_str(doc, targets, "Linear");
        }
        char key[32];
        snprintf(key, sizeof key, "group_%zu", made++);
        fine = fine && yyjson_mut_obj_add(groups, yyjson_mut_strcpy(doc, key),
                                          make_group(&plan->formats[i], doc, targets));
    }
    return fine ? groups : NULL;
}

static yyjson_mut_val *make_quantization(const struct woqi_plan *plan, yyjson_mut_doc *doc)
{
    yyjson_mut_val *q = yyjson_mut_obj(doc);
    bool fine = yyjson_mut_obj_add_str(doc, q, "quant_method", "compressed-tensors") &&
                yyjson_mut_obj_add_str(doc, q, "format", "pack-quantized") &&
                yyjson_mut_obj_add_str(doc, q, "quantization_status", "compressed") &&
                yyjson_mut_obj_add_val(doc, q, "config_groups", make_groups(plan, doc)) &&
                yyjson_mut_obj_add_val(doc, q, "ignore", make_ignore(plan, doc));
    return fine ? q : NULL;
}

/* Both spellings: transformers 4 reads torch_dtype, 5 prefers dtype. */
static bool set_dtype(const struct woqi_plan *plan, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    const char *name = plan->dtype == WOQ_BF16 ? "bfloat16" : "float16";
    bool old = yyjson_mut_obj_get(root, "dtype") == NULL;
    yyjson_mut_obj_remove_key(root, "dtype");
    yyjson_mut_obj_remove_key(root, "torch_dtype");
    return yyjson_mut_obj_add_str(doc, root, old ? "torch_dtype" : "dtype", name);
}

static bool add_rope(const struct woq_model_config *m, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
    static const char *const names[] = {[WOQ_ROPE_LINEAR] = "linear", [WOQ_ROPE_LLAMA3] = "llama3",
                                        [WOQ_ROPE_YARN] = "yarn"};
    bool fine = yyjson_mut_obj_add_real(doc, root, "rope_theta", shortest(m->rope_theta));
    if (m->rope_scaling == WOQ_ROPE_NONE)
        return fine && yyjson_mut_obj_add_null(doc, root, "rope_scaling");
    yyjson_mut_val *rope = yyjson_mut_obj(doc);
    fine = fine && yyjson_mut_obj_add_str(doc, rope, "rope_type", names[m->rope_scaling]) &&
           yyjson_mut_obj_add_real(doc, rope, "factor", shortest(m->rope_factor));
    if (m->rope_scaling == WOQ_ROPE_LLAMA3)
        fine = fine &&
               yyjson_mut_obj_add_real(doc, rope, "low_freq_factor", shortest(m->rope_low_freq_factor)) &&
               yyjson_mut_obj_add_real(doc, rope, "high_freq_factor", shortest(m->rope_high_freq_factor));
    if (m->rope_scaling != WOQ_ROPE_LINEAR)
        fine = fine && yyjson_mut_obj_add_uint(doc, rope, "original_max_position_embeddings",
                                               m->rope_original_context);
    return fine && yyjson_mut_obj_add_val(doc, root, "rope_scaling", rope);
}

static bool add_token(yyjson_mut_doc *doc, yyjson_mut_val *root, const char *key, int32_t id)
{
    return id < 0 ? yyjson_mut_obj_add_null(doc, root, key) : yyjson_mut_obj_add_int(doc, root, key, id);
}

/* config.json as transformers' classes of the architecture name its members. */
static yyjson_mut_doc *from_model(const struct woqi_plan *plan)
{
    static const struct {
        const char *architecture, *class;
    } classes[] = {{"llama", "LlamaForCausalLM"},
                   {"mistral", "MistralForCausalLM"},
                   {"qwen2", "Qwen2ForCausalLM"},
                   {"qwen3", "Qwen3ForCausalLM"}};
    const struct woq_model_config *m = &plan->config;
    const char *class = classes[0].class;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (!strcmp(classes[i].architecture, m->architecture))
            class = classes[i].class;
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *names = yyjson_mut_arr(doc);
    bool bias = m->qkv_bias && strcmp(m->architecture, "qwen2");
    bool fine = yyjson_mut_arr_add_str(doc, names, class) &&
                yyjson_mut_obj_add_val(doc, root, "architectures", names) &&
                yyjson_mut_obj_add_str(doc, root, "model_type", m->architecture) &&
                yyjson_mut_obj_add_uint(doc, root, "hidden_size", m->hidden) &&
                yyjson_mut_obj_add_uint(doc, root, "intermediate_size", m->intermediate) &&
                yyjson_mut_obj_add_uint(doc, root, "num_hidden_layers", m->layers) &&
                yyjson_mut_obj_add_uint(doc, root, "num_attention_heads", m->heads) &&
                yyjson_mut_obj_add_uint(doc, root, "num_key_value_heads", m->kv_heads) &&
                yyjson_mut_obj_add_uint(doc, root, "head_dim", m->head_dim) &&
                yyjson_mut_obj_add_uint(doc, root, "vocab_size", m->vocabulary) &&
                yyjson_mut_obj_add_uint(doc, root, "max_position_embeddings", m->context) &&
                yyjson_mut_obj_add_real(doc, root, "rms_norm_eps", shortest(m->norm_epsilon)) &&
                yyjson_mut_obj_add_str(doc, root, "hidden_act", "silu") &&
                yyjson_mut_obj_add_bool(doc, root, "tie_word_embeddings", m->tied_embeddings) &&
                yyjson_mut_obj_add_bool(doc, root, "attention_bias", bias) &&
                yyjson_mut_obj_add_bool(doc, root, "use_cache", true) && add_rope(m, doc, root) &&
                add_token(doc, root, "bos_token_id", m->bos) && add_token(doc, root, "eos_token_id", m->eos);
    yyjson_mut_doc_set_root(doc, root);
    if (fine)
        return doc;
    yyjson_mut_doc_free(doc);
    return NULL;
}

static enum woq_status from_file(const struct woqi_plan *plan, yyjson_mut_doc **out)
{
    const char *directory = woq_checkpoint_path(plan->checkpoint);
    size_t size = strlen(directory) + sizeof "/config.json";
    char *path = malloc(size);
    if (!path)
        return no_memory();
    snprintf(path, size, "%s/config.json", directory);
    yyjson_read_err error = {0};
    yyjson_doc *doc = yyjson_read_file(path, 0, NULL, &error);
    enum woq_status st = WOQ_OK;
    if (!doc || !yyjson_is_obj(yyjson_doc_get_root(doc)))
        st = woq_report(WOQ_ERROR_INVALID_DATA, "%s: %s", path, doc ? "must be an object" : error.msg);
    else if (!(*out = yyjson_doc_mut_copy(doc, NULL)))
        st = no_memory();
    yyjson_doc_free(doc);
    free(path);
    return st;
}

enum woq_status woqi_ct_write_config(const struct woqi_plan *plan, struct woqi_atomic_dir *dir)
{
    yyjson_mut_doc *doc = NULL;
    enum woq_status st = WOQ_OK;
    if (woq_checkpoint_container(plan->checkpoint) == WOQ_CONTAINER_GGUF) {
        if (!(doc = from_model(plan)))
            st = no_memory();
    } else {
        st = from_file(plan, &doc);
    }
    if (!st) {
        yyjson_mut_val *root = yyjson_mut_doc_get_root(doc);
        yyjson_mut_obj_remove_key(root, "quantization_config");
        if (!set_dtype(plan, doc, root) ||
            !yyjson_mut_obj_add_val(doc, root, "quantization_config", make_quantization(plan, doc)))
            st = no_memory();
    }
    if (!st)
        st = woqi_atomic_dir_json(dir, "config.json", doc);
    yyjson_mut_doc_free(doc);
    return st;
}
