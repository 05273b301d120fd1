/* fuzz_tuning.c: whatever bytes a file of tuning records has. */
#include "core/alloc.h"
#include "core/tuning.h"
#include "fuzz_driver.h"

static bool parse(const char *text, size_t size, struct woqi_tuning *out, char *why, size_t why_size)
{
    return woqi_tuning_parse(&woqi_default_allocator, "f", text, size, out, why, why_size);
}

/* What a record says is in order, and ends. */
static void check_ways(const struct woqi_tuning_record *r)
{
    struct woqi_tuning_way way;
    uint32_t m = 1;
    for (unsigned steps = 0; m; steps++) {
        woqi_tuning_way(r, m, &way);
        if (way.last < m || steps > WOQ_TUNING_LINE)
            abort();
        m = way.last + 1; /* 0 after the last */
    }
    if (!woqi_tuning_fingerprint(r))
        abort();
}

/* A record alone, as it would be written to a file, is the same record. */
static void check_again(const struct woqi_tuning_record *r)
{
    char text[3 * WOQ_TUNING_LINE], why[512];
    struct woqi_tuning again;
    const int size = snprintf(text, sizeof text, "woq-tuning 1\n%s\n%s %s%s%s", r->head, r->product, r->ways,
                              *r->comment ? " # " : "", r->comment);
    if (!parse(text, (size_t)size, &again, why, sizeof why) || again.count != 1 ||
        strcmp(again.records[0].comment, r->comment) ||
        woqi_tuning_fingerprint(&again.records[0]) != woqi_tuning_fingerprint(r))
        abort();
    woqi_tuning_free(&woqi_default_allocator, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct woqi_tuning tuning;
    char why[512];
    if (parse((const char *)data, size, &tuning, why, sizeof why)) {
        for (size_t i = 0; i < tuning.count; i++) {
            check_ways(&tuning.records[i]);
            check_again(&tuning.records[i]);
        }
    } else {
        if (!*why)
            abort();
        for (const char *c = why; *c; c++)
            if ((unsigned char)*c < 32 || *c == 127)
                abort();
    }
    woqi_tuning_free(&woqi_default_allocator, &tuning);
    return 0;
}
