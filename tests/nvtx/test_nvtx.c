/* test_nvtx.c: ranges reach a tool; needs no GPU. usage: test_nvtx nvtx_tool.so */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/cu_nvtx.h"

int main(int argc, char **argv)
{
    static const char expected[] = "domain woq\n+build floor\n+submit floor and 2 more\n-\n-\n";
    const char *(*text)(void) = NULL;
    if (argc < 2 || setenv("NVTX_INJECTION64_PATH", argv[1], 1))
        return 1;
    woqi_cu_range_begin("build", "floor");
    woqi_cu_range_begin("submit", "floor and 2 more");
    woqi_cu_range_end();
    woqi_cu_range_end();
    void *tool = dlopen(argv[1], RTLD_NOW), *address = tool ? dlsym(tool, "nvtx_tool_text") : NULL;
    memcpy(&text, &address, sizeof text);
    if (!text || strcmp(text(), expected)) {
        printf("the tool heard\n%s\nand should have heard\n%s", text ? text() : "nothing", expected);
        return 1;
    }
    return 0;
}
