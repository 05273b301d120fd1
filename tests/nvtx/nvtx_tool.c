/* nvtx_tool.c: a tool as NVTX loads it from NVTX_INJECTION64_PATH; keeps what ranges it was told of. */
#include <nvtx3/nvToolsExt.h>
#include <stdio.h>
#include <string.h>

const char *nvtx_tool_text(void);
int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table);

static char text[1024];

static void append(const char *format, const char *what)
{
    const size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, format, what);
}

static nvtxDomainHandle_t domain_create(const char *name)
{
    append("domain %s\n", name);
    return (nvtxDomainHandle_t)(void *)text;
}

static int range_push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t *range)
{
    append(domain == (nvtxDomainHandle_t)(void *)text ? "+%s\n" : "another domain: %s\n", range->message.ascii);
    return 0;
}

static int range_pop(nvtxDomainHandle_t domain)
{
    (void)domain;
    append("%s", "-\n");
    return 0;
}

const char *nvtx_tool_text(void)
{
    return text;
}

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table)
{
    const NvtxExportTableCallbacks *callbacks = get_table(NVTX_ETID_CALLBACKS);
    NvtxFunctionTable table = NULL;
    unsigned int size = 0;
    if (!callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) ||
        size <= NVTX_CBID_CORE2_DomainCreateA)
        return 0;
    *table[NVTX_CBID_CORE2_DomainCreateA] = (NvtxFunctionPointer)domain_create;
    *table[NVTX_CBID_CORE2_DomainRangePushEx] = (NvtxFunctionPointer)range_push;
    *table[NVTX_CBID_CORE2_DomainRangePop] = (NvtxFunctionPointer)range_pop;
    return 1;
}
