/* test_cache.c: the on-disk cache against corruption, other processes and kills; off; where it
 * lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/alloc.h"
#include "core/cache.h"
#include "core/object.h"
#include "support/data.h"
#include "support/device.h"

static char folder[] = "/tmp/woq-test-cache-XXXXXX";
static struct woq_device *dev;

static struct woq_device *open_with(const char *cache_dir)
{
    struct woq_device_params params = test_params();
    struct woq_device *device = NULL;
    params.cache_dir = cache_dir;
    assert_int_equal(woq_device_open("reference", &params, &device), WOQ_OK);
    return device;
}

/* Calls fn for each file of a folder; returns their number. */
static unsigned each_file(const char *path, void (*fn)(const char *file))
{
    char file[1024];
    unsigned count = 0;
    struct dirent *entry;
    DIR *dir = opendir(path);
    while (dir && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        count++;
        if (fn)
            fn(file);
    }
    if (dir)
        closedir(dir);
    return count;
}

static char only_file[1024];

static void remember(const char *file)
{
    snprintf(only_file, sizeof(only_file), "%s", file);
}

static void erase(const char *file)
{
    remove(file);
}

static void assert_entry(const char *key, const void *content, size_t size)
{
    void *data = NULL;
    size_t got = 99;
    assert_true(woqi_cache_load(dev, key, &data, &got));
    assert_int_equal(got, size);
    if (size)
        assert_memory_equal(data, content, size);
    woqi_free(dev, data);
}

static bool is_absent(const char *key)
{
    void *data = &data;
    size_t size = 99;
    const bool found = woqi_cache_load(dev, key, &data, &size);
    if (!found)
        return data == NULL && size == 0;
    woqi_free(dev, data);
    return false;
}

static int setup(void **state)
{
    (void)state;
    dev = open_with(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    each_file(folder, erase);
    return !test_close(&dev);
}

static void test_entries(void **state)
{
    (void)state;
    assert_true(is_absent("key"));
    woqi_cache_store(dev, "key", "content", 8);
    assert_entry("key", "content", 8);
    woqi_cache_store(dev, "failed", NULL, 0); /* negative */
    assert_entry("failed", NULL, 0);
    woqi_cache_store(dev, "key", "other, longer content", 22);
    assert_entry("key", "other, longer content", 22);
    assert_int_equal(each_file(folder, NULL), 2);
    woqi_cache_drop(dev, "key");
    assert_true(is_absent("key"));
    woqi_cache_drop(dev, "key");
    assert_entry("failed", NULL, 0);
    char text[17];
    woqi_hash_text("abc", 3, text);
    assert_int_equal(strspn(text, "0123456789abcdef"), 16);
}

struct found {
    unsigned count;
    char rest[2][16];
    size_t sizes[2];
};

static void note(void *user, const char *rest, const void *data, size_t size)
{
    struct found *f = user;
    assert_true(f->count < 2);
    snprintf(f->rest[f->count], sizeof(f->rest[0]), "%s", rest);
    f->sizes[f->count++] = size;
    assert_true(!size || !memcmp(data, "content", size));
}

/* Entries by the beginning of their key. */
static void test_each(void **state)
{
    struct found f = {0};
    (void)state;
    woqi_cache_store(dev, "a | one", "content", 8);
    woqi_cache_store(dev, "a | two", NULL, 0);
    woqi_cache_store(dev, "b | one", "other", 5);
    woqi_cache_each(dev, "a | ", note, &f);
    assert_int_equal(f.count, 2);
    const unsigned one = strcmp(f.rest[0], "one") != 0;
    assert_string_equal(f.rest[one], "one");
    assert_int_equal(f.sizes[one], 8);
    assert_string_equal(f.rest[!one], "two");
    assert_int_equal(f.sizes[!one], 0);
    f.count = 0;
    woqi_cache_each(dev, "a | one and more", note, &f);
    assert_int_equal(f.count, 0);
    assert_entry("b | one", "other", 5); /* none was taken for corrupt */
}

static size_t read_file(const char *path, uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size = fread(bytes, 1, size, file);
    fclose(file);
    return size;
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

/* Any byte changed, any length: absent, and the file is gone. */
static void test_corrupt(void **state)
{
    uint8_t bytes[512];
    (void)state;
    woqi_cache_store(dev, "a key of some length", "0123456789abcdef", 16);
    assert_int_equal(each_file(folder, remember), 1);
    const size_t size = read_file(only_file, bytes, sizeof(bytes) - 1);
    assert_in_range(size, 36, sizeof(bytes) - 2);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 0x40;
        write_file(only_file, bytes, size);
        assert_true(is_absent("a key of some length"));
        assert_int_equal(each_file(folder, NULL), 0);
        bytes[i] ^= 0x40;
    }
    for (size_t length = 0; length < size; length++) {
        write_file(only_file, bytes, length);
        assert_true(is_absent("a key of some length"));
    }
    bytes[size] = 0;
    write_file(only_file, bytes, size + 1);
    assert_true(is_absent("a key of some length"));
    write_file(only_file, bytes, size);
    assert_entry("a key of some length", "0123456789abcdef", 16);
}

/* A whole entry of another key under this key's name. */
static void test_foreign(void **state)
{
    uint8_t bytes[512];
    char mine[1024];
    (void)state;
    woqi_cache_store(dev, "mine", "1", 1);
    each_file(folder, remember);
    memcpy(mine, only_file, sizeof(mine));
    each_file(folder, erase);
    woqi_cache_store(dev, "them", "2", 1);
    each_file(folder, remember);
    const size_t size = read_file(only_file, bytes, sizeof(bytes));
    write_file(mine, bytes, size);
    assert_true(is_absent("mine"));
    assert_entry("them", "2", 1);
}

static void test_off(void **state)
{
    struct woq_device *off = open_with("");
    void *data;
    size_t size;
    (void)state;
    assert_null(off->cache);
    woqi_cache_store(off, "key", "1", 1);
    assert_false(woqi_cache_load(off, "key", &data, &size));
    woqi_cache_drop(off, "key");
    woq_device_destroy(&off);
    off = open_with("/dev/null/folder"); /* cannot be made: off */
    assert_null(off->cache);
    woq_device_destroy(&off);
    assert_int_equal(each_file(folder, NULL), 0);
}

static void test_places(void **state)
{
    char path[256];
    (void)state;
    const char *xdg = getenv("XDG_CACHE_HOME");
    char *saved = xdg ? strdup(xdg) : NULL;
    setenv("XDG_CACHE_HOME", folder, 1);
    struct woq_device *device = open_with(NULL);
    assert_non_null(device->cache);
    woqi_cache_store(device, "key", "1", 1);
    woq_device_destroy(&device);
    snprintf(path, sizeof(path), "%s/woq", folder);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(each_file(path, erase), 1);
    remove(path);
    if (saved)
        setenv("XDG_CACHE_HOME", saved, 1);
    else
        unsetenv("XDG_CACHE_HOME");
    free(saved);
}

/* ---- other processes ---- */

#define LARGE 200000

/* An entry that shows whether it is whole: one byte, repeated, size by the byte. */
static void store_pattern(struct woq_device *device, uint8_t *bytes, uint8_t value)
{
    memset(bytes, value, LARGE);
    woqi_cache_store(device, "shared", bytes, LARGE - value * 100u);
}

/* Absent is fine, half is not. */
static bool is_whole(struct woq_device *device, unsigned *found)
{
    void *data = NULL;
    size_t size = 0;
    bool whole = true;
    if (!woqi_cache_load(device, "shared", &data, &size))
        return true;
    (*found)++;
    const uint8_t *bytes = data;
    whole = size > 0 && size == LARGE - bytes[0] * 100u;
    for (size_t i = 0; whole && i < size; i++)
        whole = bytes[i] == bytes[0];
    woqi_free(device, data);
    return whole;
}

/* Stores and loads until it is killed, or `rounds` are over; exits with 0 if all was whole. */
static void child(unsigned rounds, uint64_t seed)
{
    struct test_random r = {seed};
    unsigned found = 0;
    struct woq_device *device = open_with(folder);
    uint8_t *bytes = malloc(LARGE);
    bool whole = bytes != NULL;
    for (unsigned i = 0; i < rounds && whole; i++) {
        if (random_below(&r, 10) == 0)
            woqi_cache_drop(device, "shared");
        store_pattern(device, bytes, (uint8_t)random_below(&r, 256));
        whole = is_whole(device, &found);
    }
    free(bytes);
    woq_device_destroy(&device);
    _exit(whole ? 0 : 1);
}

static pid_t start(unsigned rounds, uint64_t seed)
{
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(rounds, seed);
    return pid;
}

static void test_two_processes(void **state)
{
    pid_t pids[3];
    unsigned found = 0;
    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        pids[i] = start(150, i);
    for (int i = 0; i < 300; i++)
        assert_true(is_whole(dev, &found));
    for (int i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_true(is_whole(dev, &found));
    assert_true(found > 0);
}

static void test_killed(void **state)
{
    struct test_random r = {11};
    unsigned found = 0;
    (void)state;
    for (int i = 0; i < 25; i++) {
        const struct timespec pause = {0, (long)(1000000 + random_below(&r, 12000000))};
        int status;
        const pid_t pid = start(1u << 30, (uint64_t)i);
        nanosleep(&pause, NULL);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_true(is_whole(dev, &found));
    }
    assert_true(found > 0);
    uint8_t *bytes = malloc(LARGE);
    assert_non_null(bytes);
    store_pattern(dev, bytes, 7); /* what the killed left lying does no harm */
    memset(bytes, 7, LARGE);
    assert_entry("shared", bytes, LARGE - 700);
    free(bytes);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_entries), TEST(test_each),   TEST(test_corrupt),       TEST(test_foreign),
        TEST(test_off),     TEST(test_places), TEST(test_two_processes), TEST(test_killed)};
#undef TEST
    if (!mkdtemp(folder))
        return 1;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
