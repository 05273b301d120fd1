/* bench_startup.c: opening a device for the first time in a process, with cold and with warm caches. */
#include "bench_startup.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench_child.h"

/* The first product: W4A16 in groups of 128, one row; planned for more, as applications do. */
static const struct tool_shape shape = {BENCH_FIRST, BENCH_FIRST};
static const struct woq_format format = {sizeof(struct woq_format), WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC,
                                         WOQ_F16, 128, false};

struct task {
    const struct bench_options *options;
    const char *selector, *caches; /* caches: a folder */
    const struct bench_matrix *matrix;
    const uint8_t *x;
};

struct sample {
    bool done, usage;
    char reason[TOOL_WHY];
    struct woq_device_info device;
    struct bench_startup_times times;
};

struct product {
    struct woq_weights *weights;
    struct woq_gemm *gemm;
    struct woq_buffer *x, *y;
    struct woq_commands *commands;
};

static enum woq_status create(const struct task *task, struct woq_device *device, struct product *p)
{
    struct woq_weights_source source = bench_matrix_source(task->matrix);
    const struct woq_weights_params weights = {sizeof weights, &source, 1, false};
    struct woq_gemm_params gemm = WOQ_GEMM_PARAMS_INIT;
    const struct woq_buffer_params x = {sizeof x, shape.k * 2, 0}, y = {sizeof y, shape.n * 2, 0};
    enum woq_status st = woq_weights_create(device, &weights, &p->weights);
    gemm.weights = p->weights;
    gemm.max_m = BENCH_FIRST_M;
    if (!st)
        st = woq_gemm_create(device, &gemm, &p->gemm);
    if (!st)
        st = woq_buffer_create(device, &x, &p->x);
    if (!st)
        st = woq_buffer_create(device, &y, &p->y);
    if (!st)
        st = woq_buffer_write(p->x, 0, task->x, shape.k * 2);
    return st;
}

static enum woq_status run_product(const struct task *task, struct woq_device *device)
{
    struct product p = {NULL, NULL, NULL, NULL, NULL};
    uint32_t m, x, y;
    uint8_t *result = tool_alloc(shape.n, 2);
    enum woq_status st = create(task, device, &p);
    if (!st)
        st = woq_commands_create(device, NULL, &p.commands);
    if (!st)
        st = woq_commands_slot_m(p.commands, 1, &m);
    if (!st)
        st = woq_commands_slot_view(p.commands, WOQ_ACCESS_READ, &x);
    if (!st)
        st = woq_commands_slot_view(p.commands, WOQ_ACCESS_WRITE, &y);
    if (!st)
        st = woq_commands_gemm(p.commands, p.gemm, m, x, y, WOQ_NO_SLOT, WOQ_NO_SLOT);
    if (!st)
        st = woq_commands_end(p.commands);
    if (!st) {
        const struct woq_binding b[] = {{m, 1, {NULL, 0, 0}}, {x, 0, {p.x, 0, 0}}, {y, 0, {p.y, 0, 0}}};
        st = woq_commands_run(p.commands, b, 3, NULL);
    }
    if (!st)
        st = woq_buffer_read(p.y, 0, result, shape.n * 2);
    free(result);
    woq_commands_destroy(&p.commands);
    woq_gemm_destroy(&p.gemm);
    woq_weights_destroy(&p.weights);
    woq_buffer_destroy(&p.x);
    woq_buffer_destroy(&p.y);
    return st;
}

/* In a child: drivers take their cache's place from the environment, and are not loaded yet. */
static void measure(const void *argument, void *result)
{
    const struct task *task = argument;
    struct sample *sample = result;
    struct woq_device_params params = tool_device_params(task->options->log);
    struct woq_device *device = NULL;
    char *own = tool_text("%s/woq", task->caches);
    setenv("XDG_CACHE_HOME", task->caches, 1);
    params.cache_dir = own;
    const double start = tool_seconds();
    enum woq_status st = woq_device_open(task->selector, &params, &device);
    sample->times.open = tool_seconds() - start;
    sample->usage = st == WOQ_ERROR_INVALID_ARGUMENT;
    if (!st) {
        sample->device = *woq_device_get_info(device);
        st = run_product(task, device);
        sample->times.first = tool_seconds() - start;
    }
    if (st)
        snprintf(sample->reason, sizeof sample->reason, "%s", woq_last_message());
    sample->done = !st;
    woq_device_destroy(&device);
    free(own);
}

/* ---- Folders of caches ---- */

static char *make_folder(char *why)
{
    const char *base = getenv("TMPDIR");
    char *path = tool_text("%s/woq-startup-XXXXXX", base && *base ? base : "/tmp");
    if (mkdtemp(path))
        return path;
    snprintf(why, TOOL_WHY, "no temporary folder '%.300s': %s", path, strerror(errno));
    free(path);
    return NULL;
}

/* The folder and all in it; links are not followed. */
static void remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *e; folder && (e = readdir(folder));) {
        struct stat info;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        char *entry = tool_text("%s/%s", path, e->d_name);
        if (!lstat(entry, &info) && S_ISDIR(info.st_mode))
            remove_folder(entry);
        else
            unlink(entry);
        free(entry);
    }
    if (folder)
        closedir(folder);
    rmdir(path);
}

/* ---- One device ---- */

/* `count` samples, odd, after one that is not counted if the caches are to be warm; their medians. */
static bool series(struct task *task, bool warm, int count, struct bench_startup_row *row,
                   struct bench_startup_times *out)
{
    double open[BENCH_WARM], first[BENCH_WARM];
    struct sample sample;
    char *folder = NULL;
    bool good = true;
    for (int i = warm ? -1 : 0; i < count && good; i++) {
        if (!folder && !(folder = make_folder(row->reason)))
            return false;
        task->caches = folder;
        bench_progress(task->options, "%s: %s, %d of %d", task->selector ? task->selector : "(default)",
                       warm ? "warm" : "cold", i < 0 ? 0 : i + 1, count);
        good = bench_in_child(measure, task, &sample, sizeof sample, row->reason) && !bench_interrupted();
        if (good && !sample.done) {
            snprintf(row->reason, sizeof row->reason, "%s", sample.reason);
            row->usage = sample.usage;
            good = false;
        }
        if (good && i >= 0) {
            open[i] = sample.times.open;
            first[i] = sample.times.first;
            row->device = sample.device;
        }
        if (!warm || !good || i + 1 == count) {
            remove_folder(folder);
            free(folder);
            folder = NULL;
        }
    }
    bench_progress(task->options, "%s", "");
    if (!good)
        return false;
    bench_sort(open, (size_t)count);
    bench_sort(first, (size_t)count);
    *out = (struct bench_startup_times){open[count / 2], first[count / 2]};
    return true;
}

void bench_startup_run(const struct bench_options *options, const char *selector,
                       struct bench_startup_row *row)
{
    struct bench_matrix matrix;
    struct task task = {options, selector, NULL, &matrix, NULL};
    *row = (struct bench_startup_row){0};
    if (!bench_matrix_create(&format, shape, &matrix, row->reason))
        return;
    uint8_t *x = bench_activations(WOQ_F16, shape.k);
    task.x = x;
    if (x)
        row->done = series(&task, false, BENCH_COLD, row, &row->cold) &&
                    series(&task, true, BENCH_WARM, row, &row->warm);
    else
        snprintf(row->reason, sizeof row->reason, "no host memory for X");
    free(x);
    bench_matrix_destroy(&matrix);
}
