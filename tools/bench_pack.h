/* bench_pack.h: what `woq bench --pack` measures. */
#ifndef WOQ_BENCH_PACK_H
#define WOQ_BENCH_PACK_H

#include "bench.h"

/* Medians, in seconds, of woq_weights_create from host memory. */
struct bench_pack_row {
    bool done;
    char reason[TOOL_WHY]; /* why not */
    struct tool_shape shape;
    const struct tool_format *format;
    bool device_packed;
    uint64_t bytes; /* codes, scales and zeros, in canonical form */
    uint32_t runs;
    double create; /* all of it */
    double pack;   /* the device's packing alone, by its clock; 0 = by the host, or it has no clock */
    double write;  /* woq_buffer_write of `bytes` bytes, by the rate for the codes as they are */
};

/* shapes × formats of one device. */
struct bench_pack_device {
    bool done, usage;      /* done: at least one row; usage: the selector is malformed */
    char reason[TOOL_WHY]; /* why it could not be opened */
    struct woq_device_info device;
    struct bench_pack_row *rows; /* to be freed */
    size_t count;
};

void bench_pack_run(const struct bench_options *options, const char *selector, struct bench_pack_device *out);
void bench_pack_print(char *const *selectors, const struct bench_pack_device *devices, size_t count, FILE *out);
int bench_pack_write_json(const char *command, char *const *selectors, const struct bench_pack_device *devices,
                          size_t count, const char *file);

#endif
