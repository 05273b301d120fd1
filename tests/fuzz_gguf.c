/* fuzz_gguf.c: whatever bytes a GGUF file has: refused with a message, or read without harm. */
#include "fuzz_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct woq_checkpoint *c;
    if (!woqi_ckpt_open_memory(WOQ_CONTAINER_GGUF, data, size, &c))
        fuzz_checkpoint(c);
    else if (c)
        abort();
    else
        fuzz_refused();
    woq_checkpoint_close(&c);
    return 0;
}
