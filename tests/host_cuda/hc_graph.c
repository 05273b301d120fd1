/* hc_graph.c: graphs. Of the nodes whose predecessors are done, the youngest is next. */
#include <stdlib.h>

#include "hc_driver.h"

struct CUgraphNode_st {
    struct CUgraph_st *graph;
    uint32_t index;
    struct hc_work work;
    unsigned cluster;
    uint32_t *after; /* [after_count], indices */
    size_t after_count;
    bool programmatic; /* an edge of its is */
};

struct CUgraph_st {
    CUgraphNode nodes[HC_MAX_NODES];
    uint32_t count;
};

/* What a node was when the graph was instantiated, or set to since. */
struct CUgraphExec_st {
    uint32_t count;
    struct {
        CUgraphNode node; /* the identity, and its edges */
        struct hc_work work;
        uint32_t *after;
        size_t after_count;
        bool enabled;
    } nodes[];
};

CUresult CUDAAPI host_graph_create(CUgraph *out, unsigned flags)
{
    hc_lock();
    CUresult result = hc_enter("cuGraphCreate", CUDA_ERROR_OUT_OF_MEMORY, false);
    *out = result ? NULL : calloc(1, sizeof **out);
    hc_count(HC_GRAPH, *out != NULL);
    hc_unlock();
    return result ? result : flags || !*out ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult CUDAAPI host_graph_destroy(CUgraph graph)
{
    for (uint32_t i = 0; i < graph->count; i++) {
        free(graph->nodes[i]->after);
        free(graph->nodes[i]);
    }
    free(graph);
    hc_count(HC_GRAPH, -1);
    return CUDA_SUCCESS;
}

static CUresult add_edges(CUgraphNode node, const CUgraphNode *after, size_t count)
{
    uint32_t *all = realloc(node->after, (node->after_count + count + 1) * sizeof *all);
    if (!all)
        return CUDA_ERROR_OUT_OF_MEMORY;
    node->after = all;
    for (size_t i = 0; i < count; i++) {
        if (after[i]->graph != node->graph || after[i]->index >= node->index)
            return CUDA_ERROR_INVALID_VALUE;
        all[node->after_count++] = after[i]->index;
    }
    return CUDA_SUCCESS;
}

static CUresult add_node(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count,
                         const struct hc_work *work)
{
    if (graph->count == HC_MAX_NODES || (count && !after))
        return CUDA_ERROR_INVALID_VALUE;
    CUgraphNode node = calloc(1, sizeof *node);
    if (!node)
        return CUDA_ERROR_OUT_OF_MEMORY;
    node->graph = graph;
    node->index = graph->count;
    node->work = *work;
    node->work.context = hc_current();
    graph->nodes[graph->count++] = node; /* which owns it, edges or not */
    *out = node;
    return add_edges(node, after, count);
}

static struct hc_work kernel_work(const CUDA_KERNEL_NODE_PARAMS_v2 *p)
{
    struct hc_work work = {.kind = HC_LAUNCH};
    work.launch = (struct hc_launch){p->func,
                                     {p->gridDimX, p->gridDimY, p->gridDimZ},
                                     {p->blockDimX, p->blockDimY, p->blockDimZ},
                                     p->sharedMemBytes,
                                     {{0}, {0}, {0}}};
    hc_take_parameters(p->kernelParams, &work.launch.parameters);
    return work;
}

CUresult CUDAAPI host_graph_add_kernel_node(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count,
                                            const CUDA_KERNEL_NODE_PARAMS_v2 *params)
{
    const struct hc_work work = kernel_work(params);
    hc_lock();
    CUresult result = hc_enter("cuGraphAddKernelNode", CUDA_ERROR_INVALID_VALUE, true);
    result = result ? result : hc_check_launch(&work.launch, 0);
    result = result ? result : add_node(out, graph, after, count, &work);
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_graph_kernel_node_set_attribute(CUgraphNode node, CUkernelNodeAttrID which,
                                                      const CUkernelNodeAttrValue *value)
{
    hc_lock();
    CUresult result = hc_enter("cuGraphKernelNodeSetAttribute", CUDA_ERROR_INVALID_VALUE, false);
    if (!result && which != CU_KERNEL_NODE_ATTRIBUTE_CLUSTER_DIMENSION)
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        node->cluster = value->clusterDim.x;
    hc_unlock();
    return result;
}

/* Within device memory alone, a line of it. */
static CUresult copy_work(const CUDA_MEMCPY3D *c, CUcontext context, struct hc_work *out)
{
    *out = (struct hc_work){.kind = HC_COPY, .to = c->dstDevice, .from = c->srcDevice, .bytes = c->WidthInBytes};
    if (c->srcMemoryType != CU_MEMORYTYPE_DEVICE || c->dstMemoryType != CU_MEMORYTYPE_DEVICE || c->Height != 1 ||
        c->Depth != 1 || !c->WidthInBytes || !hc_is_memory(context, out->to, out->bytes) ||
        !hc_is_memory(context, out->from, out->bytes))
        return CUDA_ERROR_INVALID_VALUE;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI host_graph_add_memcpy_node(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count,
                                            const CUDA_MEMCPY3D *params, CUcontext context)
{
    struct hc_work work;
    hc_lock();
    CUresult result = hc_enter("cuGraphAddMemcpyNode", CUDA_ERROR_INVALID_VALUE, true);
    result = result ? result : copy_work(params, context, &work);
    result = result ? result : add_node(out, graph, after, count, &work);
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_graph_add_event_node(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count,
                                           CUevent event)
{
    const struct hc_work work = {.kind = HC_RECORD, .event = event};
    hc_lock();
    CUresult result = hc_enter("cuGraphAddEventRecordNode", CUDA_ERROR_INVALID_VALUE, true);
    result = result ? result : add_node(out, graph, after, count, &work);
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_graph_add_empty_node(CUgraphNode *out, CUgraph graph, const CUgraphNode *after, size_t count)
{
    const struct hc_work work = {.kind = HC_EMPTY};
    hc_lock();
    CUresult result = hc_enter("cuGraphAddEmptyNode", CUDA_ERROR_INVALID_VALUE, true);
    result = result ? result : add_node(out, graph, after, count, &work);
    hc_unlock();
    return result;
}

#if CUDA_VERSION >= 12030
CUresult CUDAAPI host_graph_add_edges(CUgraph graph, const CUgraphNode *from, const CUgraphNode *to,
                                      const CUgraphEdgeData *data, size_t count)
{
    hc_lock();
    CUresult result = hc_enter("cuGraphAddDependencies", CUDA_ERROR_INVALID_VALUE, false);
    for (size_t i = 0; !result && i < count; i++) {
        const bool kernels = from[i]->work.kind == HC_LAUNCH && to[i]->work.kind == HC_LAUNCH;
        if (to[i]->graph != graph || (data && data[i].type == CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC && !kernels))
            result = CUDA_ERROR_INVALID_VALUE;
        else
            result = add_edges(to[i], &from[i], 1);
        if (data && data[i].type == CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC)
            from[i]->programmatic = to[i]->programmatic = true;
    }
    hc_unlock();
    return result;
}
#endif

/* ---- instances ---- */

static void destroy_exec(CUgraphExec exec)
{
    for (uint32_t i = 0; i < exec->count; i++)
        free(exec->nodes[i].after);
    free(exec);
    hc_count(HC_EXEC, -1);
}

CUresult CUDAAPI host_graph_instantiate(CUgraphExec *out, CUgraph graph, unsigned long long flags)
{
    hc_lock();
    CUresult result = hc_enter("cuGraphInstantiateWithFlags", CUDA_ERROR_OUT_OF_MEMORY, true);
    if (!result && flags)
        result = CUDA_ERROR_INVALID_VALUE;
    CUgraphExec exec = result ? NULL : calloc(1, sizeof *exec + graph->count * sizeof exec->nodes[0]);
    hc_count(HC_EXEC, exec != NULL);
    for (uint32_t i = 0; exec && i < graph->count; i++) {
        const CUgraphNode node = graph->nodes[i];
        if (node->work.kind == HC_LAUNCH && hc_check_launch(&node->work.launch, node->cluster))
            result = CUDA_ERROR_INVALID_VALUE;
        exec->nodes[i].node = node;
        exec->nodes[i].work = node->work;
        exec->nodes[i].enabled = true;
        exec->nodes[i].after = malloc((node->after_count + 1) * sizeof(uint32_t));
        exec->count = i + 1;
        if (!exec->nodes[i].after) {
            result = CUDA_ERROR_OUT_OF_MEMORY;
            break;
        }
        if (node->after_count)
            memcpy(exec->nodes[i].after, node->after, node->after_count * sizeof(uint32_t));
        exec->nodes[i].after_count = node->after_count;
    }
    if (result && exec)
        destroy_exec(exec);
    *out = result ? NULL : exec;
    hc_unlock();
    return result ? result : exec ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult CUDAAPI host_graph_exec_destroy(CUgraphExec exec)
{
    hc_lock();
    destroy_exec(exec); /* runs have what they need */
    hc_unlock();
    return CUDA_SUCCESS;
}

CUresult CUDAAPI host_graph_upload(CUgraphExec exec, CUstream stream)
{
    (void)exec, (void)stream;
    hc_lock();
    const CUresult result = hc_enter("cuGraphUpload", CUDA_ERROR_OUT_OF_MEMORY, true);
    hc_unlock();
    return result;
}

/* Into the stream in an order that the edges allow: of what could be next, the youngest. What programmatic edges of a
 * node that is off mean CUDA does not say. */
CUresult CUDAAPI host_graph_launch(CUgraphExec exec, CUstream stream)
{
    static bool done[HC_MAX_NODES];
    hc_lock();
    CUresult result = hc_enter("cuGraphLaunch", CUDA_ERROR_LAUNCH_FAILED, true);
    memset(done, 0, sizeof done);
    for (uint32_t n = 0; !result && n < exec->count; n++) {
        uint32_t next = exec->count;
        for (uint32_t i = exec->count; next == exec->count && i-- > 0;) {
            bool ready = !done[i];
            for (size_t j = 0; ready && j < exec->nodes[i].after_count; j++)
                ready = done[exec->nodes[i].after[j]];
            if (ready)
                next = i;
        }
        done[next] = true;
        if (!exec->nodes[next].enabled && exec->nodes[next].node->programmatic)
            result = CUDA_ERROR_NOT_SUPPORTED;
        if (!result && exec->nodes[next].enabled)
            result = hc_submit(stream, &exec->nodes[next].work);
    }
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_graph_node_set_enabled(CUgraphExec exec, CUgraphNode node, unsigned enabled)
{
    hc_lock();
    CUresult result = hc_enter("cuGraphNodeSetEnabled", CUDA_ERROR_INVALID_VALUE, false);
    if (!result && (node->index >= exec->count || exec->nodes[node->index].node != node))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result)
        exec->nodes[node->index].enabled = enabled != 0;
    hc_unlock();
    return result;
}

/* The function stays, and so do nodes' clusters. */
CUresult CUDAAPI host_graph_exec_set_kernel(CUgraphExec exec, CUgraphNode node,
                                            const CUDA_KERNEL_NODE_PARAMS_v2 *params)
{
    const struct hc_work work = kernel_work(params);
    hc_lock();
    CUresult result = hc_enter("cuGraphExecKernelNodeSetParams", CUDA_ERROR_INVALID_VALUE, true);
    if (!result && (node->index >= exec->count || exec->nodes[node->index].work.kind != HC_LAUNCH ||
                    exec->nodes[node->index].work.launch.function != params->func))
        result = CUDA_ERROR_INVALID_VALUE;
    result = result ? result : hc_check_launch(&work.launch, node->cluster);
    if (!result)
        exec->nodes[node->index].work.launch = work.launch;
    hc_unlock();
    return result;
}

CUresult CUDAAPI host_graph_exec_set_memcpy(CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D *params,
                                            CUcontext context)
{
    struct hc_work work;
    hc_lock();
    CUresult result = hc_enter("cuGraphExecMemcpyNodeSetParams", CUDA_ERROR_INVALID_VALUE, true);
    result = result ? result : copy_work(params, context, &work);
    if (!result && (node->index >= exec->count || exec->nodes[node->index].work.kind != HC_COPY))
        result = CUDA_ERROR_INVALID_VALUE;
    if (!result) {
        work.context = exec->nodes[node->index].work.context;
        exec->nodes[node->index].work = work;
    }
    hc_unlock();
    return result;
}
