/* cmd_inspect.c: `woq inspect`: what is in a model file: metadata, tensors, formats, sizes. */
#include "inspect_statistics.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <woq/checkpoint.h>

static const char command[] = "woq inspect";

static const char help[] =
    "usage: woq inspect MODEL [--json]\n\n"
    "Lists what a model file holds: its metadata, each tensor with shape, format, bytes and bits\n"
    "per weight, and the sums for each format. MODEL is a .gguf or .safetensors file, or a "
    "Hugging\n"
    "Face directory. The file is mapped and checked, its data is not read. A file of calibration\n"
    "statistics is summed up instead: each input's largest |x|, mean |x|, and how far its largest\n"
    "channel stands out.\n\n"
    "  -j, --json      as JSON; metadata values and names come whole there\n"
    "  -l, --log LEVEL warnings about the file on stderr: error, warning, info or debug\n"
    "  -h, --help      this text\n\n"
    "Examples:\n"
    "  woq inspect SmolLM2.gguf\n"
    "  woq inspect SmolLM2-w4 --json | jq '.tensors[] | select(.format == \"I32\") | .name'\n";

enum { SHOWN_VALUE = 100, TYPES = WOQ_TENSOR_OTHER + 1 };

/* Weights and bytes of a set of tensors. */
struct sum {
    uint64_t tensors, weights, bytes;
};

static uint64_t elements(const struct woq_tensor *t)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        count *= t->shape[i];
    return count;
}

static bool ends_in(const char *name, const char *suffix)
{
    const size_t size = strlen(name), tail = strlen(suffix);
    return size >= tail && !strcmp(name + size - tail, suffix);
}

/* Of a packed layer the codes count as the matrix they stand for, and its scales as overhead. */
static uint64_t weights_of(const struct woq_checkpoint *c, const struct woq_tensor *t)
{
    static const char packed[] = ".weight_packed";
    static const char *const overhead[] = {".weight_scale", ".weight_zero_point", ".weight_shape"};
    for (size_t i = 0; i < sizeof overhead / sizeof *overhead; i++)
        if (ends_in(t->name, overhead[i]))
            return 0;
    if (!ends_in(t->name, packed))
        return elements(t);
    char *name = tool_text("%.*s.weight_shape", (int)(strlen(t->name) - strlen(packed)), t->name);
    const struct woq_tensor *shape = woq_checkpoint_find(c, name);
    int64_t extent[2] = {0, 0};
    free(name);
    if (!shape || shape->type != WOQ_TENSOR_I64 || shape->bytes != sizeof extent)
        return elements(t);
    memcpy(extent, shape->data, sizeof extent);
    const uint64_t bits = t->bytes * 8;
    if (extent[0] <= 0 || extent[1] <= 0 || (uint64_t)extent[0] > bits ||
        (uint64_t)extent[1] > bits / (uint64_t)extent[0])
        return elements(t);
    return (uint64_t)extent[0] * (uint64_t)extent[1];
}

static double bits_per_weight(uint64_t bytes, uint64_t weights)
{
    return weights ? 8.0 * (double)bytes / (double)weights : 0;
}

static void add(struct sum *to, uint64_t weights, uint64_t bytes)
{
    to->tensors++;
    to->weights += weights;
    to->bytes += bytes;
}

static struct sum sum_up(const struct woq_checkpoint *c, struct sum by_type[TYPES])
{
    struct sum all = {0, 0, 0};
    memset(by_type, 0, TYPES * sizeof *by_type);
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++) {
        const struct woq_tensor *t = woq_checkpoint_tensor(c, i);
        const uint64_t weights = weights_of(c, t);
        add(&by_type[t->type], weights, t->bytes);
        add(&all, weights, t->bytes);
    }
    return all;
}

/* "[49152, 576]" */
static void shape_text(const struct woq_tensor *t, char out[96])
{
    int used = snprintf(out, 96, "[");
    for (uint32_t i = 0; i < t->rank; i++)
        used += snprintf(out + used, 96 - (size_t)used, "%s%" PRIu64, i ? ", " : "", t->shape[i]);
    snprintf(out + used, 96 - (size_t)used, "]");
}

/* ---- Text ---- */

static void print_config(const struct woq_model_config *m)
{
    static const char *const scaling[] = {"", ", linear", ", llama3", ", yarn"};
    printf("Model     %s, %" PRIu32 " layers, hidden %" PRIu32 ", %" PRIu32 " heads of %" PRIu32
           " (%" PRIu32 " key-value), intermediate %" PRIu32 "\n",
           m->architecture, m->layers, m->hidden, m->heads, m->head_dim, m->kv_heads,
           m->intermediate);
    printf("          vocabulary %" PRIu32 ", context %" PRIu32 ", rope theta %g%s, %s%s%s\n",
           m->vocabulary, m->context, (double)m->rope_theta, scaling[m->rope_scaling],
           m->tied_embeddings ? "tied embeddings" : "own lm_head",
           m->qkv_bias ? ", q/k/v biases" : "", m->qk_norm ? ", q/k norms" : "");
}

static void print_metadata(const struct woq_checkpoint *c)
{
    struct tool_table table;
    puts("\nMetadata");
    tool_table_begin(&table, "ll");
    for (size_t i = 0; i < woq_checkpoint_meta_count(c); i++) {
        const char *key, *value;
        if (woq_checkpoint_meta(c, i, &key, &value))
            continue;
        size_t size = strcspn(value, "\n\t");
        const bool cut = value[size] || size > SHOWN_VALUE;
        if (size > SHOWN_VALUE)
            size = SHOWN_VALUE;
        while (cut && size && ((unsigned char)value[size] & 0xc0) == 0x80)
            size--; /* not within a character */
        tool_table_add(&table, "%s", key);
        tool_table_add(&table, "%.*s%s", (int)size, value, cut ? "…" : "");
    }
    tool_table_end(&table, stdout);
}

static void print_tensors(const struct woq_checkpoint *c)
{
    struct tool_table table;
    puts("\nTensors");
    tool_table_begin(&table, "lllrr");
    tool_table_add(&table, "name");
    tool_table_add(&table, "shape");
    tool_table_add(&table, "format");
    tool_table_add(&table, "bytes");
    tool_table_add(&table, "bits");
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++) {
        const struct woq_tensor *t = woq_checkpoint_tensor(c, i);
        const uint64_t weights = weights_of(c, t);
        char shape[96];
        shape_text(t, shape);
        tool_table_add(&table, "%s", t->name);
        tool_table_add(&table, "%s", shape);
        tool_table_add(&table, "%s", t->type_name);
        tool_table_add(&table, "%" PRIu64, t->bytes);
        if (weights)
            tool_table_add(&table, "%.2f", bits_per_weight(t->bytes, weights));
        else
            tool_table_add(&table, "-");
    }
    tool_table_end(&table, stdout);
}

static void print_sums(const struct sum by_type[TYPES], const struct sum *all)
{
    struct tool_table table;
    char bytes[24];
    puts("\nFormats");
    tool_table_begin(&table, "lrrrr");
    tool_table_add(&table, "format");
    tool_table_add(&table, "tensors");
    tool_table_add(&table, "weights");
    tool_table_add(&table, "size");
    tool_table_add(&table, "bits");
    for (int i = 0; i <= TYPES; i++) {
        const struct sum *s = i < TYPES ? &by_type[i] : all;
        if (!s->tensors && i < TYPES)
            continue;
        tool_table_add(&table, "%s",
                       i < TYPES ? woq_tensor_type_name((enum woq_tensor_type)i) : "all");
        tool_table_add(&table, "%" PRIu64, s->tensors);
        tool_table_add(&table, "%" PRIu64, s->weights);
        tool_table_add(&table, "%s", tool_bytes(s->bytes, bytes));
        if (s->weights)
            tool_table_add(&table, "%.2f", bits_per_weight(s->bytes, s->weights));
        else
            tool_table_add(&table, "-");
    }
    tool_table_end(&table, stdout);
}

static int print_text(const struct woq_checkpoint *c)
{
    struct sum by_type[TYPES];
    struct woq_model_config config;
    const struct sum all = sum_up(c, by_type);
    printf("File      %s\nContainer %s\n", woq_checkpoint_path(c),
           woq_checkpoint_container(c) == WOQ_CONTAINER_GGUF ? "GGUF" : "safetensors");
    if (inspect_is_statistics(c)) {
        inspect_print_statistics(c);
        return TOOL_OK;
    }
    if (!woq_checkpoint_config(c, &config))
        print_config(&config);
    else
        printf("Model     none that woq runs: %s\n", woq_last_message());
    if (woq_checkpoint_meta_count(c))
        print_metadata(c);
    if (woq_checkpoint_tensor_count(c))
        print_tensors(c);
    print_sums(by_type, &all);
    return TOOL_OK;
}

/* ---- JSON ---- */

static yyjson_mut_val *sum_json(yyjson_mut_doc *doc, const struct sum *s)
{
    yyjson_mut_val *out = yyjson_mut_obj(doc);
    yyjson_mut_obj_add_uint(doc, out, "tensors", s->tensors);
    yyjson_mut_obj_add_uint(doc, out, "weights", s->weights);
    yyjson_mut_obj_add_uint(doc, out, "bytes", s->bytes);
    tool_json_real(doc, out, "bits_per_weight", bits_per_weight(s->bytes, s->weights));
    return out;
}

static yyjson_mut_val *config_json(yyjson_mut_doc *doc, const struct woq_model_config *m)
{
    yyjson_mut_val *out = yyjson_mut_obj(doc);
    yyjson_mut_obj_add_strcpy(doc, out, "architecture", m->architecture);
    yyjson_mut_obj_add_uint(doc, out, "layers", m->layers);
    yyjson_mut_obj_add_uint(doc, out, "hidden", m->hidden);
    yyjson_mut_obj_add_uint(doc, out, "heads", m->heads);
    yyjson_mut_obj_add_uint(doc, out, "kv_heads", m->kv_heads);
    yyjson_mut_obj_add_uint(doc, out, "head_dim", m->head_dim);
    yyjson_mut_obj_add_uint(doc, out, "intermediate", m->intermediate);
    yyjson_mut_obj_add_uint(doc, out, "vocabulary", m->vocabulary);
    yyjson_mut_obj_add_uint(doc, out, "context", m->context);
    tool_json_real(doc, out, "rope_theta", (double)m->rope_theta);
    tool_json_real(doc, out, "norm_epsilon", (double)m->norm_epsilon);
    yyjson_mut_obj_add_bool(doc, out, "tied_embeddings", m->tied_embeddings);
    return out;
}

static yyjson_mut_val *tensor_json(yyjson_mut_doc *doc, const struct woq_checkpoint *c,
                                   const struct woq_tensor *t)
{
    yyjson_mut_val *out = yyjson_mut_obj(doc), *shape = yyjson_mut_arr(doc);
    const uint64_t weights = weights_of(c, t);
    yyjson_mut_obj_add_str(doc, out, "name", t->name);
    yyjson_mut_obj_add_str(doc, out, "file_name", t->file_name);
    yyjson_mut_obj_add_str(doc, out, "format", t->type_name);
    for (uint32_t i = 0; i < t->rank; i++)
        yyjson_mut_arr_add_uint(doc, shape, t->shape[i]);
    yyjson_mut_obj_add_val(doc, out, "shape", shape);
    yyjson_mut_obj_add_uint(doc, out, "weights", weights);
    yyjson_mut_obj_add_uint(doc, out, "bytes", t->bytes);
    if (weights)
        tool_json_real(doc, out, "bits_per_weight", bits_per_weight(t->bytes, weights));
    else
        yyjson_mut_obj_add_null(doc, out, "bits_per_weight");
    return out;
}

static int print_json(const struct woq_checkpoint *c)
{
    struct sum by_type[TYPES];
    struct woq_model_config config;
    const struct sum all = sum_up(c, by_type);
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = yyjson_mut_obj(doc), *meta = yyjson_mut_obj(doc);
    yyjson_mut_val *tensors = yyjson_mut_arr(doc), *formats = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "file", woq_checkpoint_path(c));
    yyjson_mut_obj_add_str(doc, root, "container",
                           woq_checkpoint_container(c) == WOQ_CONTAINER_GGUF ? "gguf"
                                                                             : "safetensors");
    if (!woq_checkpoint_config(c, &config))
        yyjson_mut_obj_add_val(doc, root, "model", config_json(doc, &config));
    else
        yyjson_mut_obj_add_null(doc, root, "model");
    for (size_t i = 0; i < woq_checkpoint_meta_count(c); i++) {
        const char *key, *value;
        if (!woq_checkpoint_meta(c, i, &key, &value))
            yyjson_mut_obj_add_str(doc, meta, key, value);
    }
    yyjson_mut_obj_add_val(doc, root, "metadata", meta);
    if (inspect_is_statistics(c))
        yyjson_mut_obj_add_val(doc, root, "statistics", inspect_statistics_json(doc, c));
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++)
        yyjson_mut_arr_append(tensors, tensor_json(doc, c, woq_checkpoint_tensor(c, i)));
    yyjson_mut_obj_add_val(doc, root, "tensors", tensors);
    for (int i = 0; i < TYPES; i++)
        if (by_type[i].tensors)
            yyjson_mut_obj_add_val(doc, formats, woq_tensor_type_name((enum woq_tensor_type)i),
                                   sum_json(doc, &by_type[i]));
    yyjson_mut_obj_add_val(doc, root, "formats", formats);
    yyjson_mut_obj_add_val(doc, root, "all", sum_json(doc, &all));
    return tool_json_write(command, doc, "-");
}

/* ---- Command ---- */

static void log_line(void *user, enum woq_log_level level, const char *message)
{
    if (level <= *(const enum woq_log_level *)user)
        fprintf(stderr, "%s\n", message);
}

int cmd_inspect(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"log", required_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    enum woq_log_level level = WOQ_LOG_WARNING;
    char why[TOOL_WHY];
    bool json = false;
    int result;
    opterr = 0;
    while ((result = getopt_long(argc, argv, ":jl:h", options, NULL)) != -1) {
        switch (result) {
        case 'j':
            json = true;
            break;
        case 'l':
            if (!tool_parse_log(optarg, &level, why))
                return tool_usage(command, "--log: %s", why);
            break;
        case 'h':
            fputs(help, stdout);
            return TOOL_OK;
        default:
            return tool_bad_option(command, result, argv, options);
        }
    }
    if (optind == argc)
        return tool_usage(command,
                          "which model? give a .gguf or .safetensors file, or a directory");
    if (optind + 1 < argc)
        return tool_usage(command, "unexpected '%s'; it takes one model", argv[optind + 1]);
    struct woq_checkpoint_params params = WOQ_CHECKPOINT_PARAMS_INIT;
    struct woq_checkpoint *c = NULL;
    params.log = log_line;
    params.log_user = &level;
    if (woq_checkpoint_open(argv[optind], &params, &c))
        return tool_failed(command, "%s", woq_last_message());
    const int status = json ? print_json(c) : print_text(c);
    woq_checkpoint_close(&c);
    return status;
}
