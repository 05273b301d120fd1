/* inspect_statistics.c: files of calibration statistics, summed up. */
#include "inspect_statistics.h"
#include "statistics_data.h"

#include <inttypes.h>

bool inspect_is_statistics(const struct woq_checkpoint *c)
{
    return statistics_is(c);
}

static const char *known(const struct woq_checkpoint *c, const char *key)
{
    const char *text = statistics_meta(c, key);
    return text ? text : "unknown";
}

void inspect_print_statistics(const struct woq_checkpoint *c)
{
    struct tool_table table;
    uint64_t not_finite = 0;
    struct statistics_input in;
    printf("Contents  statistics of the inputs of linear layers, channel by channel\nModel     %s\n"
           "Samples   %s of %s tokens, drawn by the seed %s from %s\n\nInputs\n",
           known(c, "model"), known(c, "samples"), known(c, "window"),
           known(c, "seed"), known(c, "text"));
    tool_table_begin(&table, "lrrrr");
    tool_table_add(&table, "name");
    tool_table_add(&table, "channels");
    tool_table_add(&table, "max |x|");
    tool_table_add(&table, "mean |x|");
    tool_table_add(&table, "largest channel");
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++) {
        if (!statistics_read(c, woq_checkpoint_tensor(c, i), &in))
            continue;
        tool_table_add(&table, "%s", in.name);
        tool_table_add(&table, "%" PRIu64, in.channels);
        tool_table_add(&table, "%.4g", in.absmax);
        tool_table_add(&table, "%.4g", in.average);
        tool_table_add(&table, "%.1fx", in.ratio);
        not_finite += in.not_finite;
        statistics_release(&in);
    }
    tool_table_end(&table, stdout);
    puts("Largest channel: its mean |x|, as a multiple of the mean of all.");
    if (not_finite)
        printf("%" PRIu64 " elements were not finite, and count nowhere.\n", not_finite);
}

yyjson_mut_val *inspect_statistics_json(yyjson_mut_doc *doc, const struct woq_checkpoint *c)
{
    static const char *const keys[] = {"model", "samples", "window", "seed", "rows", "text"};
    yyjson_mut_val *out = yyjson_mut_obj(doc), *inputs = yyjson_mut_arr(doc);
    struct statistics_input in;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (statistics_meta(c, keys[i]))
            yyjson_mut_obj_add_str(doc, out, keys[i], statistics_meta(c, keys[i]));
    for (size_t i = 0; i < woq_checkpoint_tensor_count(c); i++) {
        if (!statistics_read(c, woq_checkpoint_tensor(c, i), &in))
            continue;
        yyjson_mut_val *input = yyjson_mut_obj(doc);
        tool_json_text(doc, input, "name", in.name);
        yyjson_mut_obj_add_uint(doc, input, "channels", in.channels);
        tool_json_real(doc, input, "absmax", in.absmax);
        tool_json_real(doc, input, "mean_abs", in.average);
        tool_json_real(doc, input, "largest_channel_ratio", in.ratio);
        yyjson_mut_obj_add_uint(doc, input, "not_finite", in.not_finite);
        yyjson_mut_arr_append(inputs, input);
        statistics_release(&in);
    }
    yyjson_mut_obj_add_val(doc, out, "inputs", inputs);
    return out;
}
