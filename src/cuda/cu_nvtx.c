/* cu_nvtx.c: ranges through NVTX 3, which is a header that looks for a tool at run time. */
#include "cu_nvtx.h"

#ifdef WOQ_HAVE_NVTX
#include <nvtx3/nvToolsExt.h>
#include <pthread.h>
#include <stdio.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static nvtxDomainHandle_t domain; /* NULL: no tool listens */

static void create_domain(void)
{
    domain = nvtxDomainCreateA("woq");
}

void woqi_cu_range_begin(const char *verb, const char *name)
{
    pthread_once(&once, create_domain);
    if (!domain)
        return;
    char text[96]; /* the tool copies it */
    nvtxEventAttributes_t range = {0};
    snprintf(text, sizeof(text), "%s %s", verb, name);
    range.version = NVTX_VERSION;
    range.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    range.messageType = NVTX_MESSAGE_TYPE_ASCII;
    range.message.ascii = text;
    nvtxDomainRangePushEx(domain, &range);
}

void woqi_cu_range_end(void)
{
    if (domain)
        nvtxDomainRangePop(domain);
}
#else
void woqi_cu_range_begin(const char *verb, const char *name)
{
    (void)verb;
    (void)name;
}

void woqi_cu_range_end(void)
{
}
#endif
