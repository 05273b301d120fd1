/* bench_child.c: a function in a process of its own, and its result through a pipe. */
#include "bench_child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Reads or writes all of it. */
static bool transfer(int file, bool out, void *data, size_t size)
{
    char *at = data;
    while (size) {
        const ssize_t moved = out ? write(file, at, size) : read(file, at, size);
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved <= 0)
            return false;
        at += moved;
        size -= (size_t)moved;
    }
    return true;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = number;
}

void bench_catch_interrupt(void)
{
    struct sigaction action;
    if (sigaction(SIGINT, NULL, &action) || action.sa_handler == SIG_IGN)
        return; /* as under nohup */
    action = (struct sigaction){.sa_handler = on_interrupt}; /* in the place of a driver's, which ends the process */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
}

/* In the child. */
static void leave_interrupt(void)
{
    struct sigaction action;
    if (sigaction(SIGINT, NULL, &action) || action.sa_handler != on_interrupt)
        return;
    action.sa_handler = SIG_DFL;
    sigaction(SIGINT, &action, NULL);
}

bool bench_interrupted(void)
{
    return interrupted;
}

static void say_end(int status, char *why)
{
    if (interrupted)
        snprintf(why, TOOL_WHY, "interrupted");
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(why, TOOL_WHY, "the driver did not come back in time");
    else if (WIFSIGNALED(status))
        snprintf(why, TOOL_WHY, "the driver or this program crashed: signal %d, %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(why, TOOL_WHY, "the driver or this program gave up: exit status %d", WEXITSTATUS(status));
}

bool bench_in_child(bench_child_fn *work, const void *argument, void *result, size_t size, char *why)
{
    int ends[2], status = 0;
    memset(result, 0, size);
    if (pipe(ends)) {
        snprintf(why, TOOL_WHY, "no pipe: %s", strerror(errno));
        return false;
    }
    fflush(NULL); /* or the child would print it again */
    const pid_t child = fork();
    if (!child) {
        leave_interrupt();
        close(ends[0]);
        work(argument, result);
        fflush(NULL);
        /* Without the drivers' own exit handlers: what they might do is not part of the measurement. */
        _exit(transfer(ends[1], true, result, size) ? TOOL_OK : TOOL_FAILED);
    }
    close(ends[1]);
    if (child < 0)
        snprintf(why, TOOL_WHY, "no process: %s", strerror(errno));
    const bool whole = child > 0 && transfer(ends[0], false, result, size);
    close(ends[0]);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (child > 0 && !whole)
        say_end(status, why);
    return whole;
}

struct listing {
    enum woq_log_level log;
    const char *command;
};
struct listed {
    int code;
    size_t count;
    char names[64][16];
};

static void list(const void *argument, void *result)
{
    const struct listing *what = argument;
    struct listed *out = result;
    struct woq_device_entry *entries;
    size_t count;
    out->code = tool_list(what->command, what->log, &entries, &count);
    for (size_t i = 0; i < count && out->count < sizeof out->names / sizeof *out->names; i++)
        if (entries[i].usable)
            snprintf(out->names[out->count++], sizeof *out->names, "%s:%u",
                     woq_backend_name(entries[i].backend), entries[i].index % 10000);
}

int bench_all_devices(const char *command, enum woq_log_level log, char ***out, size_t *count)
{
    struct listed all;
    char why[TOOL_WHY];
    if (!bench_in_child(list, &(struct listing){log, command}, &all, sizeof all, why))
        return tool_failed(command, "the devices cannot be listed: %s", why);
    if (all.code)
        return all.code;
    *out = tool_alloc(all.count, sizeof **out);
    *count = all.count;
    for (size_t i = 0; i < all.count; i++)
        (*out)[i] = tool_text("%s", all.names[i]);
    return TOOL_OK;
}
