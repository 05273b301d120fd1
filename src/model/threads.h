/*
 * threads.h: how many threads the host's work takes: OpenMP's, and those of the BLAS.
 */
#ifndef WOQI_MODEL_THREADS_H
#define WOQI_MODEL_THREADS_H

#include <stdint.h>

/* CPUs that this process may use: those of its affinity, fewer where a control group has a quota of their time. */
uint32_t woqi_cpus(void);
/* The least quota, in CPUs and rounded up, of a process's control group and those above it; 0 = none. `list`: the
 * process's /proc/self/cgroup; `mount`: /sys/fs/cgroup. Version 2 (cpu.max) and version 1 (cpu.cfs_quota_us). */
uint32_t woqi_cpu_quota(const char *list, const char *mount);

/* Threads for `jobs` that were asked for, 0 = all: at most woqi_cpus, OpenMP's own limit (OMP_NUM_THREADS) where it is
 * all, and 256. */
uint32_t woqi_jobs(uint32_t jobs);
/* Of OpenMP, for what the host computes between products. */
int woqi_host_threads(void);

/* What was before woqi_threads_begin. */
struct woqi_threads {
    int openmp, blas; /* blas 0: it has no such setting */
};

/* Until woqi_threads_end, loops of OpenMP that this thread begins take woqi_jobs(jobs) threads, and OpenBLAS as many
 * or, where it had fewer, those. Its number is a setting of the process: of calls at once, one's holds for all. */
void woqi_threads_begin(uint32_t jobs, struct woqi_threads *before);
void woqi_threads_end(const struct woqi_threads *before);

#endif
