/* folder.h: files in a test program's own temporary folder. Include after cmocka.h. */
#ifndef TEST_FOLDER_H
#define TEST_FOLDER_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <woq/base.h>

/* The program gives the name to mkdtemp before anything else here is called. */
static char root[64] = "/tmp/woq-test-XXXXXX";

/* The path lives for the next 511 calls. */
static inline const char *in_root(const char *name)
{
    static char paths[512][160];
    static unsigned next;
    char *path = paths[next++ % 512];
    snprintf(path, sizeof paths[0], "%s/%.90s", root, name);
    return path;
}

static inline bool exists(const char *name)
{
    struct stat info;
    return !lstat(in_root(name), &info);
}

static inline void delete(const char *name)
{
    char line[192];
    snprintf(line, sizeof line, "rm -rf '%s'", in_root(name));
    assert_int_equal(system(line), 0);
}

static inline void assert_says(const char *text)
{
    if (!strstr(woq_last_message(), text))
        fail_msg("'%s' does not say '%s'", woq_last_message(), text);
}

#endif
