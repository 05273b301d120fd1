/* fuzz_safetensors.c: whatever bytes a safetensors file has; and, if they begin with a brace, a
 * config.json. */
#include <yyjson.h>

#include "fuzz_files.h"

static void try_config(const uint8_t *data, size_t size)
{
    struct woq_checkpoint c = {.container = WOQ_CONTAINER_SAFETENSORS, .path = "config"};
    struct yyjson_doc *doc = NULL;
    if (!woqi_ckpt_json_text(&c, "config.json", data, size, &doc) &&
        !woqi_ckpt_json_flatten(&c, "", yyjson_doc_get_root(doc)) && !woqi_ckpt_meta_finish(&c))
        fuzz_checkpoint(&c);
    yyjson_doc_free(doc);
    woqi_ckpt_arena_free(&c.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct woq_checkpoint *c;
    if (size && *data == '{') {
        try_config(data, size);
        return 0;
    }
    if (!woqi_ckpt_open_memory(WOQ_CONTAINER_SAFETENSORS, data, size, &c))
        fuzz_checkpoint(c);
    else if (c)
        abort();
    else
        fuzz_refused();
    woq_checkpoint_close(&c);
    return 0;
}
