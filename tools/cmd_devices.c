/* cmd_devices.c: `woq devices`: what is there, what it can do, and why a driver was refused. */
#include "devices_try.h"

#include <stdlib.h>
#include <string.h>

static const char command[] = "woq devices";

static const char help[] =
    "usage: woq devices [--verbose] [--json] [--try [--seconds SECONDS]]\n\n"
    "Lists every device of every backend, with the name that WOQ_DEVICE and --device take, and\n"
    "each backend or driver that could not be used, with the reason. Kernels that gave wrong\n"
    "numbers when they were tested on a device are named as its quarantine; none is tested for it.\n\n"
    "Kernels that use a CPU's instructions are for drivers that are known to compile them. On others\n"
    "they stand in doubt: --try compiles and runs each in a process of its own, which a driver may\n"
    "end, and keeps the verdict for all programs that use this cache.\n\n"
    "  -v, --verbose   all limits\n"
    "  -j, --json      as JSON, with everything that --verbose shows\n"
    "  -t, --try       first tries the kernels that are in doubt, even if they were tried before\n"
    "      --seconds SECONDS   for those of one set of instructions; then they count as refused (default 600)\n"
    "  -l, --log LEVEL the library's messages on stderr: error, warning, info or debug\n"
    "  -h, --help      this text\n\n"
    "Examples:\n"
    "  woq devices\n"
    "  WOQ_EMULATE=max_binding=1M,no_fp16 woq devices --verbose\n"
    "  woq devices --try\n"
    "  woq devices --json | jq -r '.devices[].selector'\n";

/* A listed device, opened: as it is used, and as it would be without WOQ_EMULATE. */
struct found {
    const struct woq_device_entry *entry;
    struct woq_device_info info, plain;
    struct woq_memory_budget budget;
    struct woq_quarantined *quarantine;
    size_t quarantined;
    struct woq_trial *trials;
    size_t trial_count;
    bool open;        /* info is valid */
    bool emulated;    /* plain is valid and info was lowered by WOQ_EMULATE */
    char reason[512]; /* why it could not be opened */
};

/* One limit by its name in reports and JSON. */
struct limit {
    const char *key, *what;
    uint64_t value, plain;
    bool bytes;
};
enum { LIMITS = 10, FEATURES = 9 };

static void list_limits(const struct found *f, struct limit out[LIMITS])
{
    const struct woq_device_info *i = &f->info, *p = f->emulated ? &f->plain : &f->info;
    const struct limit all[LIMITS] = {
        {"max_allocation", "largest buffer", i->max_allocation, p->max_allocation, true},
        {"max_binding", "largest window a kernel sees", i->max_binding, p->max_binding, true},
        {"binding_alignment", "alignment of such a window", i->binding_alignment,
         p->binding_alignment, true},
        {"shared_memory", "work-group memory", i->shared_memory, p->shared_memory, true},
        {"max_workgroup", "invocations of a work-group", i->max_workgroup, p->max_workgroup, false},
        {"max_groups_x", "work-groups in x", i->max_groups[0], p->max_groups[0], false},
        {"max_groups_y", "work-groups in y", i->max_groups[1], p->max_groups[1], false},
        {"max_groups_z", "work-groups in z", i->max_groups[2], p->max_groups[2], false},
        {"compute_units", "compute units", i->compute_units, p->compute_units, false},
        {"subgroup_size", "subgroup width", i->subgroup_size, p->subgroup_size, false},
    };
    memcpy(out, all, sizeof all);
}

/* "fp16, storage16" of the bits; "none". */
static const char *features(uint32_t bits, char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (uint32_t b = 0; b < FEATURES && used < size; b++)
        if (bits & 1u << b)
            used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "",
                                     woq_feature_name(1u << b));
    return used ? out : "none";
}

static enum woq_status examine(struct found *f, enum woq_log_level level)
{
    struct woq_device_params params = tool_device_params(level);
    struct woq_device *dev = NULL;
    const struct woq_device_entry *e = f->entry;
    enum woq_status st = woq_device_open_index(e->backend, e->index, &params, &dev);
    if (st) {
        snprintf(f->reason, sizeof f->reason, "%s", woq_last_message());
        return st;
    }
    f->info = *woq_device_get_info(dev);
    f->open = true;
    if (woq_device_memory(dev, &f->budget))
        f->budget = (struct woq_memory_budget){f->info.memory, 0, 0};
    woq_device_quarantine(dev, NULL, &f->quarantined);
    f->quarantine = tool_alloc(f->quarantined, sizeof *f->quarantine);
    woq_device_quarantine(dev, f->quarantine, &f->quarantined);
    woq_device_trials(dev, NULL, &f->trial_count);
    f->trials = tool_alloc(f->trial_count, sizeof *f->trials);
    woq_device_trials(dev, f->trials, &f->trial_count);
    woq_device_destroy(&dev);

    const char *emulate = getenv("WOQ_EMULATE");
    if (!emulate || !*emulate)
        return WOQ_OK;
    params.emulate = "";
    if (woq_device_open_index(e->backend, e->index, &params, &dev))
        return WOQ_OK;
    f->plain = *woq_device_get_info(dev);
    f->emulated = true;
    woq_device_destroy(&dev);
    return WOQ_OK;
}

static void amount(const struct limit *l, uint64_t value, char *out)
{
    if (value >= (l->bytes ? UINT64_C(1) << 60 : UINT32_MAX))
        snprintf(out, 24, "no limit");
    else if (l->bytes)
        tool_bytes(value, out);
    else
        snprintf(out, 24, "%llu", (unsigned long long)value);
}

/* What WOQ_EMULATE took away, or that it took nothing. */
static void print_emulation(const struct found *f)
{
    struct limit limits[LIMITS];
    char a[24], b[24], lost[256];
    const char *separator = "";
    list_limits(f, limits);
    printf("    emulated    ");
    for (size_t i = 0; i < LIMITS; i++) {
        if (limits[i].value == limits[i].plain)
            continue;
        amount(&limits[i], limits[i].plain, a);
        amount(&limits[i], limits[i].value, b);
        printf("%s%s %s instead of %s", separator, limits[i].key, b, a);
        separator = ", ";
    }
    uint32_t taken = f->plain.features & ~f->info.features;
    if (taken)
        printf("%swithout %s", separator, features(taken, lost, sizeof lost));
    if (f->plain.kind != f->info.kind)
        printf("%splanned for as a %s", taken ? ", " : separator, tool_kind(f->info.kind));
    else if (!taken && !*separator)
        printf("nothing: WOQ_EMULATE asks for no less than the device has");
    putchar('\n');
}

/* "VNNI, AVX512" of those in this state; how many. */
static size_t name_trials(const struct found *f, enum woq_trial_state state, char *out, size_t size)
{
    size_t used = 0, count = 0;
    out[0] = 0;
    for (size_t i = 0; i < f->trial_count && used < size; i++)
        if (f->trials[i].state == state)
            used += (size_t)snprintf(out + used, size - used, "%s%s", count++ ? ", " : "", f->trials[i].instructions);
    return count;
}

static void print_trials(const struct found *f)
{
    char names[128];
    if (name_trials(f, WOQ_TRIAL_PASSED, names, sizeof names))
        printf("    tried       kernels for %s passed\n", names);
    for (size_t i = 0; i < f->trial_count; i++)
        if (f->trials[i].state == WOQ_TRIAL_FAILED)
            printf("    refused     kernels for %s: %s\n", f->trials[i].instructions, f->trials[i].found);
    if (name_trials(f, WOQ_TRIAL_NONE, names, sizeof names))
        printf("    in doubt    kernels for %s: not used before `woq devices --try`\n", names);
}

static void print_device(const struct found *f, bool verbose)
{
    const struct woq_device_info *i = &f->info;
    char a[24], b[24], c[24], have[256], lack[256];
    printf("%s%s  %s\n", i->selector, f->entry->is_default ? " (default)" : "", i->name);
    printf("    kind        %s", tool_kind(i->kind));
    if (i->compute_units)
        printf(", %u compute unit%s", i->compute_units, i->compute_units == 1 ? "" : "s");
    if (i->subgroup_size)
        printf(", subgroups of %u", i->subgroup_size);
    printf("%s%s\n    driver      %s (%s)\n", *i->architecture ? ", " : "", i->architecture, i->driver, i->vendor);
    printf("    memory      %s", tool_bytes(f->budget.total, a));
    if (f->budget.available)
        printf(", %s available", tool_bytes(f->budget.available, b));
    putchar('\n');
    uint32_t all = (1u << FEATURES) - 1;
    printf("    features    %s\n", features(i->features & all, have, sizeof have));
    if (all & ~i->features)
        printf("    without     %s\n", features(all & ~i->features, lack, sizeof lack));
    struct limit limits[LIMITS];
    list_limits(f, limits);
    amount(&limits[0], i->max_allocation, a);
    if (!verbose)
        printf("    limits      buffer %s, binding %s, work-group %u, shared %s\n", a,
               tool_bytes(i->max_binding, b), i->max_workgroup, tool_bytes(i->shared_memory, c));
    if (f->emulated)
        print_emulation(f);
    if (tool_untried(i))
        printf("    note        %s\n", tool_untried(i));
    for (size_t q = 0; q < f->quarantined; q++)
        printf("    %-10s  %s: %s\n", q ? "" : "quarantine", f->quarantine[q].kernel,
               f->quarantine[q].found);
    print_trials(f);
    if (!verbose)
        return;
    for (size_t l = 0; l < LIMITS; l++) {
        amount(&limits[l], limits[l].value, a);
        printf("    %-17s  %12s  %s\n", limits[l].key, a, limits[l].what);
    }
    if (i->timestamp_period > 0)
        printf("    %-17s  %9.3g ns  %s\n", "timestamp_period", i->timestamp_period, "one tick");
}

static void print_text(const struct found *found, size_t count, bool verbose)
{
    size_t usable = 0, refused = 0, native = 0;
    for (size_t i = 0; i < count; i++) {
        if (!found[i].open) {
            refused++;
            continue;
        }
        if (usable++)
            putchar('\n');
        native += found[i].entry->backend != WOQ_BACKEND_REFERENCE;
        print_device(&found[i], verbose);
    }
    for (size_t i = 0; i < count; i++) {
        const struct woq_device_entry *e = found[i].entry;
        if (found[i].open)
            continue;
        if (refused) {
            printf("%sNot usable:\n", usable ? "\n" : "");
            refused = 0;
        }
        if (e->usable)
            printf("    %s:%u  %s: %s\n", woq_backend_name(e->backend), e->index, e->name,
                   found[i].reason);
        else
            printf("    %-9s  %s%s%s\n", woq_backend_name(e->backend), e->name,
                   *e->name ? ": " : "", e->reason);
    }
    if (usable && !native)
        puts("\nNo driver for OpenCL, Vulkan or CUDA can be used: only the reference backend is "
             "left.\nIt is plain C on the host, for checking results, not for speed.");
}

static void json_device(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct found *f)
{
    const struct woq_device_info *i = &f->info;
    struct limit limits[LIMITS];
    yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, list);
    yyjson_mut_obj_add_strcpy(doc, o, "selector", i->selector);
    yyjson_mut_obj_add_bool(doc, o, "default", f->entry->is_default);
    yyjson_mut_obj_add_str(doc, o, "backend", woq_backend_name(i->backend));
    yyjson_mut_obj_add_uint(doc, o, "index", i->index);
    yyjson_mut_obj_add_str(doc, o, "kind", tool_kind(i->kind));
    yyjson_mut_obj_add_strcpy(doc, o, "name", i->name);
    yyjson_mut_obj_add_strcpy(doc, o, "vendor", i->vendor);
    yyjson_mut_obj_add_strcpy(doc, o, "driver", i->driver);
    yyjson_mut_obj_add_strcpy(doc, o, "architecture", i->architecture);
    yyjson_mut_obj_add_uint(doc, o, "memory", f->budget.total);
    yyjson_mut_obj_add_uint(doc, o, "memory_available", f->budget.available);
    yyjson_mut_val *features_list = yyjson_mut_obj_add_arr(doc, o, "features");
    for (uint32_t b = 0; b < FEATURES; b++)
        if (i->features & 1u << b)
            yyjson_mut_arr_add_str(doc, features_list, woq_feature_name(1u << b));
    tool_json_real(doc, o, "timestamp_period", i->timestamp_period);
    list_limits(f, limits);
    for (size_t l = 0; l < LIMITS; l++)
        yyjson_mut_obj_add_uint(doc, o, limits[l].key, limits[l].value);
    if (tool_untried(i))
        yyjson_mut_obj_add_str(doc, o, "note", tool_untried(i));
    yyjson_mut_val *quarantine = yyjson_mut_obj_add_arr(doc, o, "quarantine");
    for (size_t q = 0; q < f->quarantined; q++) {
        yyjson_mut_val *kernel = yyjson_mut_arr_add_obj(doc, quarantine);
        yyjson_mut_obj_add_str(doc, kernel, "kernel", f->quarantine[q].kernel);
        yyjson_mut_obj_add_str(doc, kernel, "found", f->quarantine[q].found);
    }
    static const char *const states[] = {"none", "passed", "failed"};
    yyjson_mut_val *trials = yyjson_mut_obj_add_arr(doc, o, "trials");
    for (size_t t = 0; t < f->trial_count; t++) {
        yyjson_mut_val *trial = yyjson_mut_arr_add_obj(doc, trials);
        yyjson_mut_obj_add_str(doc, trial, "instructions", f->trials[t].instructions);
        yyjson_mut_obj_add_str(doc, trial, "state", states[f->trials[t].state]);
        if (*f->trials[t].found)
            tool_json_text(doc, trial, "found", f->trials[t].found);
    }
    if (!f->emulated)
        return;
    yyjson_mut_val *lowered = yyjson_mut_obj_add_obj(doc, o, "without_emulation");
    for (size_t l = 0; l < LIMITS; l++)
        if (limits[l].value != limits[l].plain)
            yyjson_mut_obj_add_uint(doc, lowered, limits[l].key, limits[l].plain);
    uint32_t taken = f->plain.features & ~i->features;
    if (taken) {
        features_list = yyjson_mut_obj_add_arr(doc, lowered, "features_lost");
        for (uint32_t b = 0; b < FEATURES; b++)
            if (taken & 1u << b)
                yyjson_mut_arr_add_str(doc, features_list, woq_feature_name(1u << b));
    }
}

static int print_json(const struct found *found, size_t count)
{
    yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
    if (!doc)
        return tool_failed(command, "no host memory for the JSON document");
    yyjson_mut_val *root = yyjson_mut_obj(doc);
    yyjson_mut_doc_set_root(doc, root);
    yyjson_mut_obj_add_str(doc, root, "woq", woq_version_string());
    const char *emulate = getenv("WOQ_EMULATE");
    if (emulate && *emulate)
        yyjson_mut_obj_add_str(doc, root, "emulate", emulate);
    yyjson_mut_val *devices = yyjson_mut_obj_add_arr(doc, root, "devices");
    yyjson_mut_val *refused = yyjson_mut_obj_add_arr(doc, root, "refused");
    for (size_t i = 0; i < count; i++) {
        const struct woq_device_entry *e = found[i].entry;
        if (found[i].open) {
            json_device(doc, devices, &found[i]);
            continue;
        }
        yyjson_mut_val *o = yyjson_mut_arr_add_obj(doc, refused);
        yyjson_mut_obj_add_str(doc, o, "backend", woq_backend_name(e->backend));
        yyjson_mut_obj_add_str(doc, o, "name", e->name);
        yyjson_mut_obj_add_str(doc, o, "reason", e->usable ? found[i].reason : e->reason);
    }
    return tool_json_write(command, doc, "-");
}

enum { OPTION_SECONDS = 256 };

int cmd_devices(int argc, char **argv)
{
    static const struct option options[] = {{"verbose", no_argument, NULL, 'v'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"try", no_argument, NULL, 't'},
                                            {"seconds", required_argument, NULL, OPTION_SECONDS},
                                            {"log", required_argument, NULL, 'l'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    bool verbose = false, json = false, try_all = false;
    double seconds = 600;
    enum woq_log_level level = (enum woq_log_level)0;
    char why[TOOL_WHY];
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, ":vjtl:h", options, NULL)) != -1;) {
        switch (c) {
        case 'v': verbose = true; break;
        case 'j': json = true; break;
        case 't': try_all = true; break;
        case OPTION_SECONDS:
            if (!tool_parse_seconds(optarg, &seconds, why))
                return tool_usage(command, "--seconds: %s", why);
            break;
        case 'l':
            if (!tool_parse_log(optarg, &level, why))
                return tool_usage(command, "--log: %s", why);
            break;
        case 'h': fputs(help, stdout); return TOOL_OK;
        default: return tool_bad_option(command, c, argv, options);
        }
    }
    if (optind < argc)
        return tool_bad_operand(command, argv[optind]);

    struct woq_device_entry *entries = NULL;
    size_t count = 0;
    int result = try_all ? devices_try(command, level, (unsigned)seconds + 1) : TOOL_OK;
    if (!result)
        result = tool_list(command, level, &entries, &count);
    if (result)
        return result;
    struct found *found = tool_alloc(count, sizeof *found);
    for (size_t i = 0; i < count && !result; i++) {
        found[i].entry = &entries[i];
        enum woq_status st = entries[i].usable ? examine(&found[i], level) : WOQ_OK;
        if (st == WOQ_ERROR_INVALID_ARGUMENT) /* nothing else was given than WOQ_EMULATE */
            result = tool_usage(command, "%s", found[i].reason);
    }
    if (!result && json)
        result = print_json(found, count);
    else if (!result)
        print_text(found, count, verbose);
    for (size_t i = 0; i < count; i++)
        free(found[i].quarantine), free(found[i].trials);
    free(found);
    free(entries);
    return result;
}
