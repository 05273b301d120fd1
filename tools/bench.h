/*
 * bench.h: the parts of `woq bench`.
 *
 *   bench_data    random weights and activations in canonical form
 *   bench_oracle  the same product in double, and the bound of woq/gemm.h
 *   bench_time    how long recorded batches take
 *   bench_work    one product on one device: checked, and timed over copies of its weights
 *   bench_run     one device: its copy bandwidth, and each shape × format × M
 *   bench_report  tables and JSON        bench_svg  a bar chart
 *
 * bench_model.h, bench_startup.h, bench_host.h and bench_pack.h have what else it measures.
 */
#ifndef WOQ_BENCH_H
#define WOQ_BENCH_H

#include <woq/command.h>

#include "tool.h"

/* ---- Data ---- */

struct bench_matrix {
    struct woq_format format;
    struct woq_format_sizes sizes;
    uint64_t n, k;
    uint8_t *codes, *scales, *zeros;
    uint32_t *g_idx;
};

/* Random codes; scales that keep products near 1 and every weight a normal binary16. False, and
 * why, if the format refuses the shape. */
bool bench_matrix_create(const struct woq_format *format, struct tool_shape shape,
                         struct bench_matrix *out, char *why);
void bench_matrix_destroy(struct bench_matrix *matrix);
struct woq_weights_source bench_matrix_source(const struct bench_matrix *matrix);

/* count uniform numbers in ±1 of the type; to be freed. */
uint8_t *bench_activations(enum woq_type type, size_t count);

/* Element `index` of an array of `type`, decoded here and not by the library. */
double bench_element(enum woq_type type, const uint8_t *array, uint64_t index);

uint64_t bench_random(uint64_t *state);
uint64_t bench_host_memory(void); /* bytes of the machine, whoever uses them */

/* ---- Oracle ---- */

struct bench_product {
    const struct bench_matrix *matrix;
    const uint8_t *x, *y; /* dense */
    uint32_t m;
    enum woq_type x_type, y_type;
    enum woq_math math; /* EXACT, ROUNDED or FIXED16, as explain says */
};
struct bench_error {
    double fraction; /* largest error ÷ (bound + rounding of the store); infinite for NaN */
    uint64_t checked; /* outputs */
};
struct bench_error bench_check(const struct bench_product *product);

/* ---- Timing ---- */

struct bench_times {
    double seconds;  /* median over batches of the time of one recorded operation */
    double fastest;
    uint32_t batches;
    bool device_clock; /* timestamps of the device, else the host's clock around pipelined runs */
};
void bench_sort(double *values, size_t count); /* the least first */

/* Runs ended commands that hold `count` operations, between timestamps 0 and 1 if the device has
 * them, for about `seconds`. A run before bound the slots and took `first` seconds. warm: the device has just been at
 * work, so that its clocks need not rise. */
enum woq_status bench_measure(struct woq_device *device, struct woq_commands *commands,
                              uint32_t count, double first, double seconds, bool warm,
                              struct bench_times *out);

/* ---- Runs ---- */

struct bench_options {
    struct tool_shape *shapes;
    struct tool_format *formats;
    uint32_t *m;
    size_t shape_count, format_count, m_count;
    enum woq_type x, y;
    enum woq_math math;
    const char *path; /* NULL = the planner's choice */
    bool invariant;   /* batch_invariant, up to the largest of m */
    double seconds;   /* of measuring, for each row */
    uint32_t copies;  /* of the weights to go through; 0 = as rotate and seconds say */
    double most;      /* seconds that a product may take to be worth timing; 0 = any */
    uint64_t rotate;  /* bytes of weights to go through; UINT64_MAX = more than caches hold */
    enum woq_log_level log;
    bool progress;
};

struct bench_row {
    struct tool_shape shape;
    const struct tool_format *format;
    uint32_t m;
    bool done;
    char reason[TOOL_WHY]; /* why not */
    char variant[WOQ_VARIANT_NAME];
    char path[24], kernel[64], layout[24], math[16];
    struct bench_times times;
    struct bench_error error;
    uint64_t payload;  /* bytes of codes, scales and zeros: what a product reads at least */
    uint32_t copies;   /* of the weights, used in turn */
    bool cached;       /* too few of them to be out of the last-level cache */
    double gbs, share, gflops; /* share: of the read bandwidth, or where that is not known of copying, 0 … 1 */
    bool of_read;              /* and not of copying */
    enum woq_limit limit;      /* of what multiplies; NONE = not told, or not measured */
    double limit_share;        /* of that, 0 … 1 */
};

struct bench_device {
    struct woq_device *device;
    struct woq_device_info info;
    char selector[64];     /* as the user wrote it, until the device is open */
    char reason[TOOL_WHY]; /* why it could not be opened or its bandwidth not be measured */
    double copy_gbs;       /* bytes read plus bytes written; 0 = not measured */
    uint64_t copy_bytes;
    double limits[WOQ_LIMIT_COUNT]; /* a second, see woq/limits.h; 0 = not measured yet, < 0 = cannot be */
    uint64_t rotate;       /* bytes of weights that a batch goes through */
    struct bench_row *rows;
    size_t row_count;
};

/* Copies of the same weights, packed as they are needed: the same numbers at other addresses. */
#define BENCH_MOST_COPIES 256
struct bench_pool {
    struct woq_device *device;
    const struct bench_matrix *matrix;
    struct woq_weights *weights[BENCH_MOST_COPIES];
    uint32_t count;
};
void bench_pool_clear(struct bench_pool *pool);

/* Makes the row's product, runs it and checks what it gave. NULL, and the row's reason, if it cannot be made or is not
 * worth timing. All four arguments must live as long as the work. */
struct bench_work;
struct bench_work *bench_work_create(const struct bench_options *options, struct bench_device *device,
                                     struct bench_pool *pool, struct bench_row *row);
/* Fills the row's times, and what follows from them; as often as one likes. warm: as in bench_measure. */
bool bench_work_time(struct bench_work *work, double seconds, bool warm);
enum woq_limit bench_work_limit(const struct bench_work *work); /* of what multiplies; counts once it is measured */
void bench_work_destroy(struct bench_work *work); /* accepts NULL */

/* The device's limit, measured when it is first asked for; 0: it has none. */
double bench_limit(const struct bench_options *options, struct bench_device *device, enum woq_limit limit);

/* Bytes of weights that are surely more than the device's last-level cache. */
uint64_t bench_beyond_cache(const struct woq_device_info *info);

/* Measures all rows of one open device. */
void bench_run(const struct bench_options *options, struct bench_device *device);
void bench_progress(const struct bench_options *options, const char *format, ...) TOOL_PRINTF(2, 3);

/* ---- Reports ---- */

void bench_print(const struct bench_options *options, const struct bench_device *devices,
                 size_t count, FILE *out);
int bench_write_json(const char *command, const struct bench_options *options,
                     const struct bench_device *devices, size_t count, const char *file);
/* A document whose root has the version and the date; NULL if there is no host memory. */
yyjson_mut_doc *bench_json_begin(void);
void bench_json_device(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct woq_device_info *info);
/* One device more in `list`; info NULL: it could not be measured, for `reason`, and NULL is returned. selector NULL: the
 * default one. */
yyjson_mut_val *bench_json_measured(yyjson_mut_doc *doc, yyjson_mut_val *list, const struct woq_device_info *info,
                                    const char *selector, const char *reason);
/* Without the selector where it stands in front already. */
const char *bench_reason(const char *selector, const char *reason);
int bench_write_svg(const char *command, const struct bench_device *devices, size_t count,
                    const char *file);

#endif
