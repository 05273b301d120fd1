/* threads.c: see threads.h. */
#include "threads.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* OpenBLAS's, NULL with another LAPACK or none. */
extern void openblas_set_num_threads(int count) __attribute__((weak));
extern int openblas_get_num_threads(void) __attribute__((weak));

/* ---- CPUs ---- */

enum { PATH = 4096 };

/* How many of two numbers begin the file. */
static int read_numbers(const char *folder, const char *name, long long out[2])
{
    char path[PATH + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    const int got = f ? fscanf(f, "%lld %lld", &out[0], &out[1]) : 0;
    if (f)
        fclose(f);
    return got;
}

/* A folder's quota in CPUs, rounded up; 0 = none, which is "max" or −1. */
static uint32_t folder_quota(const char *folder)
{
    long long v[2] = {0, 0}, period[2] = {0, 0};
    if (read_numbers(folder, "cpu.max", v) < 2) {
        if (!read_numbers(folder, "cpu.cfs_quota_us", v) || !read_numbers(folder, "cpu.cfs_period_us", period))
            return 0;
        v[1] = period[0];
    }
    if (v[0] <= 0 || v[1] <= 0 || (v[0] - 1) / v[1] >= UINT32_MAX)
        return 0;
    return (uint32_t)((v[0] - 1) / v[1] + 1);
}

/* The least of root/path and all folders above it, down to root. A container may see paths that are the host's: those
 * are not there, and its own group is the root. */
static uint32_t least_quota(const char *root, const char *path, uint32_t least)
{
    char folder[PATH];
    const size_t top = strlen(root);
    if ((size_t)snprintf(folder, sizeof folder, "%s%s", root, strcmp(path, "/") ? path : "") >= sizeof folder)
        return least;
    for (;;) {
        const uint32_t quota = folder_quota(folder);
        least = quota && (!least || quota < least) ? quota : least;
        char *slash = strrchr(folder + top, '/');
        if (!slash)
            return least;
        *slash = 0;
    }
}

uint32_t woqi_cpu_quota(const char *list, const char *mount)
{
    char line[PATH], root[PATH];
    uint32_t least = 0;
    FILE *f = fopen(list, "r");
    while (f && fgets(line, sizeof line, f)) { /* "4:cpu,cpuacct:/path"; version 2: "0::/path" */
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(++controllers, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        path[strcspn(path, "\n")] = 0;
        snprintf(root, sizeof root, "%.*s%s", PATH - 8, mount, *controllers ? "/cpu" : "");
        char *rest = controllers, *name;
        bool ours = !*controllers;
        while (!ours && (name = strtok_r(rest, ",", &rest)))
            ours = !strcmp(name, "cpu");
        if (ours)
            least = least_quota(root, path, least);
    }
    if (f)
        fclose(f);
    return least;
}

static pthread_once_t quota_once = PTHREAD_ONCE_INIT;
static uint32_t quota;

static void read_quota(void)
{
    quota = woqi_cpu_quota("/proc/self/cgroup", "/sys/fs/cgroup");
}

uint32_t woqi_cpus(void)
{
    uint32_t cpus = 1;
#ifdef _OPENMP
    cpus = (uint32_t)omp_get_num_procs(); /* by affinity, also where threads are bound to places */
#endif
    pthread_once(&quota_once, read_quota);
    return quota && quota < cpus ? quota : cpus;
}

/* ---- Threads ---- */

uint32_t woqi_jobs(uint32_t jobs)
{
    const uint32_t cpus = woqi_cpus();
#ifdef _OPENMP
    jobs = jobs ? jobs : (uint32_t)omp_get_max_threads();
#endif
    jobs = jobs && jobs < cpus ? jobs : cpus;
    return jobs < 256 ? jobs : 256;
}

/*
 * One thread more than there are CPUs. With as many as CPUs, GCC's OpenMP lets threads spin for
 * milliseconds when they wait for others or for work, which takes the CPU from the device's threads
 * where it is the device; with more it lets them sleep at once. Measured on two shared cores: a
 * third less CPU time. Loops hand out work in small pieces, so that the extra thread costs nothing.
 */
int woqi_host_threads(void)
{
#ifdef _OPENMP
    const int most = omp_get_max_threads(), cpus = (int)woqi_cpus();
    return most >= cpus && most > 1 ? cpus + 1 : most;
#else
    return 1;
#endif
}

void woqi_threads_begin(uint32_t jobs, struct woqi_threads *before)
{
    const int count = (int)woqi_jobs(jobs);
    *before = (struct woqi_threads){1, 0};
#ifdef _OPENMP
    before->openmp = omp_get_max_threads();
#endif
    if (openblas_set_num_threads && openblas_get_num_threads) {
        before->blas = openblas_get_num_threads();
        openblas_set_num_threads(count < before->blas ? count : before->blas); /* OPENBLAS_NUM_THREADS holds */
    }
#ifdef _OPENMP
    omp_set_num_threads(count); /* behind the BLAS, which may be OpenMP's too */
#endif
}

void woqi_threads_end(const struct woqi_threads *before)
{
    if (before->blas)
        openblas_set_num_threads(before->blas);
#ifdef _OPENMP
    omp_set_num_threads(before->openmp);
#endif
}
