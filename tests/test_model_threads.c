/* test_model_threads.c: how many threads the host's work takes. */
#define _GNU_SOURCE /* sched_setaffinity */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <omp.h>
#include <sched.h>
#include <unistd.h>

#include "model/threads.h"
#include "support/folder.h"

extern int openblas_get_num_threads(void) __attribute__((weak));

/* A file of the folder, with the folders above it. */
static void put(const char *name, const char *text)
{
    char line[512];
    snprintf(line, sizeof line, "mkdir -p \"$(dirname '%s')\" && printf -- '%s' > '%s'", in_root(name), text,
             in_root(name));
    assert_int_equal(system(line), 0);
}

static uint32_t quota_of(const char *list)
{
    char file[160];
    snprintf(file, sizeof file, "%s", in_root("cgroup"));
    put("cgroup", list);
    return woqi_cpu_quota(file, in_root("fs"));
}

static void test_quota(void **state)
{
    (void)state;
    assert_int_equal(woqi_cpu_quota(in_root("none"), in_root("none")), 0);
    assert_int_equal(quota_of("0::/a/b\\n"), 0); /* no such files */
    put("fs/a/b/cpu.max", "max 100000\\n");
    assert_int_equal(quota_of("0::/a/b\\n"), 0);
    put("fs/a/b/cpu.max", "350000 100000\\n");
    assert_int_equal(quota_of("0::/a/b\\n"), 4);
    assert_int_equal(quota_of("0::/a\\n"), 0);
    put("fs/a/cpu.max", "200000 100000\\n"); /* the group above has less */
    assert_int_equal(quota_of("0::/a/b\\n"), 2);
    assert_int_equal(quota_of("0::/a/c\\n"), 2);
    put("fs/cpu.max", "1000 100000\\n"); /* a container's own group: the host's path is not there */
    assert_int_equal(quota_of("0::/host/path\\n"), 1);
    assert_int_equal(quota_of("0::/\\n"), 1);
    put("fs/cpu.max", "lots\\n");
    assert_int_equal(quota_of("0::/\\n"), 0);
    put("fs/cpu.max", "100000 0\\n");
    assert_int_equal(quota_of("0::/\\n"), 0);
    delete("fs");
    /* Version 1. */
    put("fs/cpu/box/cpu.cfs_quota_us", "250000\\n");
    assert_int_equal(quota_of("5:cpuset:/\\n4:cpu,cpuacct:/box\\n1:name=systemd:/\\n"), 0); /* no period */
    put("fs/cpu/box/cpu.cfs_period_us", "100000\\n");
    assert_int_equal(quota_of("5:cpuset:/\\n4:cpu,cpuacct:/box\\n1:name=systemd:/\\n"), 3);
    assert_int_equal(quota_of("4:cpuacct,cpu:/box\\n0::/\\n"), 3);
    assert_int_equal(quota_of("4:cpuacct:/box\\n"), 0);
    assert_int_equal(quota_of("nonsense\\n:\\n::\\n4:cpu"), 0);
    put("fs/cpu/box/cpu.cfs_quota_us", "-1\\n");
    assert_int_equal(quota_of("4:cpu,cpuacct:/box\\n"), 0);
}

static void test_jobs(void **state)
{
    const uint32_t cpus = woqi_cpus();
    (void)state;
    assert_true(cpus >= 1 && cpus <= (uint32_t)omp_get_num_procs());
    assert_int_equal(woqi_jobs(1), 1);
    assert_int_equal(woqi_jobs(UINT32_MAX), cpus < 256 ? cpus : 256);
    const int most = omp_get_max_threads();
    omp_set_num_threads(1000);
    assert_int_equal(woqi_jobs(0), woqi_jobs(UINT32_MAX));
    assert_int_equal(woqi_host_threads(), cpus + 1);
    omp_set_num_threads(1);
    assert_int_equal(woqi_jobs(0), 1);
    assert_int_equal(woqi_host_threads(), 1);
    omp_set_num_threads(most);
}

static void test_affinity(void **state)
{
    cpu_set_t all, one;
    int first = 0;
    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    while (!CPU_ISSET(first, &all))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(woqi_cpus(), 1);
    assert_int_equal(woqi_jobs(8), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

/* OpenMP's and the BLAS's, and both as they were again. */
static void test_begin_and_end(void **state)
{
    struct woqi_threads before, inner;
    const int openmp = omp_get_max_threads(), blas = openblas_get_num_threads ? openblas_get_num_threads() : 0;
    (void)state;
    woqi_threads_begin(0, &before);
    assert_int_equal(omp_get_max_threads(), woqi_jobs(0));
    assert_true(!blas || openblas_get_num_threads() <= (int)woqi_cpus());
    woqi_threads_begin(1, &inner);
    assert_int_equal(omp_get_max_threads(), 1);
    assert_true(!blas || openblas_get_num_threads() == 1);
    woqi_threads_end(&inner);
    assert_true(!blas || openblas_get_num_threads() <= (int)woqi_cpus());
    woqi_threads_end(&before);
    assert_int_equal(omp_get_max_threads(), openmp);
    assert_int_equal(openblas_get_num_threads ? openblas_get_num_threads() : 0, blas);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quota), cmocka_unit_test(test_jobs),
                                       cmocka_unit_test(test_affinity), cmocka_unit_test(test_begin_and_end)};
    if (!mkdtemp(root))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    delete("");
    return failed;
}
