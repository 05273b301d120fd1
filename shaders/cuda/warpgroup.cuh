/*
 * warpgroup.cuh: what sm_90a adds, as functions: products of a warpgroup (wgmma), barriers in shared memory (mbarrier)
 * bulk copies that arrive at them. See the PTX ISA for each.
 */
#ifndef WOQ_WARPGROUP_CUH
#define WOQ_WARPGROUP_CUH

#include "common.cuh"

/* ---- products: sums[64 × N] (+)= A[64 × 16] · B[16 × N], FP32 sums ----
 *
 * A lies in registers: warp w of the warpgroup has rows 16w … 16w+15 as operand A of mma.m16n8k16. B lies in shared
 * memory, as `matrix` describes it. Thread's sums: element 4i + 2j + e is row g + 8j, column 8i + 2t + e. */

#define WOQ_SUMS_4(d, i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define WOQ_SUMS_16(d, i) WOQ_SUMS_4(d, i), WOQ_SUMS_4(d, (i) + 4), WOQ_SUMS_4(d, (i) + 8), WOQ_SUMS_4(d, (i) + 12)
#define WOQ_SUMS_32(d, i) WOQ_SUMS_16(d, i), WOQ_SUMS_16(d, (i) + 16)
#define WOQ_SUMS_64(d, i) WOQ_SUMS_32(d, i), WOQ_SUMS_32(d, (i) + 32)
#define WOQ_SUMS_128(d, i) WOQ_SUMS_64(d, i), WOQ_SUMS_64(d, (i) + 64)

#define WOQ_NAMES_16 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define WOQ_NAMES_32                                                                               \
    WOQ_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WOQ_NAMES_64                                                                               \
    WOQ_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, " \
                 "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WOQ_NAMES_128                                                                              \
    WOQ_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, " \
                 "%83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, " \
                 "%102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, " \
                 "%118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

template <bool BF16, int N> struct woq_product;

/* n, registers of the sums, and the numbers of the operands behind them. */
#define WOQ_PRODUCT(bf16, type, n, count, a0, a1, a2, a3, b, add)                                  \
    template <> struct woq_product<bf16, n> {                                                      \
        static __device__ __forceinline__ void run(float (&sums)[count], const woq_u32 (&a)[4],    \
                                                   unsigned long long matrix, bool onto)           \
        {                                                                                          \
            asm volatile("{\n"                                                                     \
                         ".reg .pred onto;\n"                                                      \
                         "setp.ne.b32 onto, %" #add ", 0;\n"                                       \
                         "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type           \
                         " {" WOQ_NAMES_##count "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #b \
                         ", onto, 1, 1, 0;\n"                                                      \
                         "}"                                                                       \
                         : WOQ_SUMS_##count(sums, 0)                                               \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(matrix), "r"((int)onto)); \
        }                                                                                          \
    };
WOQ_PRODUCT(false, "f16", 32, 16, 16, 17, 18, 19, 20, 21)
WOQ_PRODUCT(true, "bf16", 32, 16, 16, 17, 18, 19, 20, 21)
WOQ_PRODUCT(false, "f16", 64, 32, 32, 33, 34, 35, 36, 37)
WOQ_PRODUCT(true, "bf16", 64, 32, 32, 33, 34, 35, 36, 37)
WOQ_PRODUCT(false, "f16", 128, 64, 64, 65, 66, 67, 68, 69)
WOQ_PRODUCT(true, "bf16", 128, 64, 64, 65, 66, 67, 68, 69)
WOQ_PRODUCT(false, "f16", 256, 128, 128, 129, 130, 131, 132, 133)
WOQ_PRODUCT(true, "bf16", 256, 128, 128, 129, 130, 131, 132, 133)
#undef WOQ_PRODUCT

/* Columns of B of 64 elements: 128 bytes each, groups of 8 of them 1024 bytes apart, swizzled by 128 bytes: the 16-byte
 * chunk c of column i lies at c ^ (i mod 8). Elements 16p … of k: + 2p. The low word says where. */
static __device__ __forceinline__ woq_u32 woq_matrix_low(woq_u32 at)
{
    return 1u << 16 | (at & 0x3ffffu) >> 4;
}

static __device__ __forceinline__ unsigned long long woq_matrix(woq_u32 low)
{
    return 1ull << 62 | 64ull << 32 | low;
}

/* Before the first product, and when registers changed that products read. */
static __device__ __forceinline__ void woq_products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

/* Ends a group of products. */
static __device__ __forceinline__ void woq_products_end()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Until at most `LEFT` groups are under way. */
template <int LEFT> static __device__ __forceinline__ void woq_products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

/* ---- barriers, at addresses in shared memory ---- */

static __device__ __forceinline__ void woq_barrier_make(woq_u32 at, woq_u32 arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(arrivals) : "memory");
}

/* After all are made, before others see them; a barrier of the block follows. */
static __device__ __forceinline__ void woq_barriers_made()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* Arrives, and asks for so many bytes more. */
static __device__ __forceinline__ void woq_barrier_expect(woq_u32 at, woq_u32 bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
}

static __device__ __forceinline__ void woq_barrier_arrive(woq_u32 at)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory");
}

/* ---- a cluster of blocks: what lies at an address in one's shared memory has the same one in the other's ---- */

static __device__ __forceinline__ woq_u32 woq_cluster_size()
{
    woq_u32 size;
    asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(size));
    return size;
}

/* The block's number in its cluster. */
static __device__ __forceinline__ woq_u32 woq_cluster_rank()
{
    woq_u32 rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* Of what lies at `at` in block `rank`'s shared memory, an address for functions that say so. */
static __device__ __forceinline__ woq_u32 woq_address_in(woq_u32 at, woq_u32 rank)
{
    woq_u32 there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(at), "r"(rank));
    return there;
}

/* To an address in another block, whose barrier, one too, counts 16 bytes when they are there. */
static __device__ __forceinline__ void woq_store_remote(woq_u32 to, float a, float b, float c, float d, woq_u32 barrier)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 "
                 "[%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
                 "f"(a), "f"(b), "f"(c), "f"(d), "r"(barrier)
                 : "memory");
}

/* At a barrier in block `rank` of the cluster. */
static __device__ __forceinline__ void woq_barrier_arrive_at(woq_u32 at, woq_u32 rank)
{
    asm volatile("{\n"
                 ".reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n"
                 "}" ::"r"(at), "r"(rank)
                 : "memory");
}

/* Until all threads of the cluster that have not ended are here; what they stored before is seen. In two halves, or
 * whole. */
static __device__ __forceinline__ void woq_cluster_arrive()
{
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}

static __device__ __forceinline__ void woq_cluster_wait()
{
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}

static __device__ __forceinline__ void woq_cluster_barrier()
{
    woq_cluster_arrive();
    woq_cluster_wait();
}

/* What this thread has stored in shared memory is what products see that begin after others know of it. */
static __device__ __forceinline__ void woq_products_see()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Until the phase of this parity has ended. */
static __device__ __forceinline__ void woq_barrier_wait(woq_u32 at, woq_u32 parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "again:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n"
                 "}" ::"r"(at), "r"(parity)
                 : "memory");
}

/* Contiguous bytes, a multiple of 16, aligned likewise; `barrier` counts them. */
static __device__ __forceinline__ void woq_bulk_copy(woq_u32 to, const woq_u8 *from, woq_u32 bytes, woq_u32 barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}

/* The same to both blocks of a cluster of two, each of whose barriers counts them. */
static __device__ __forceinline__ void woq_bulk_copy_both(woq_u32 to, const woq_u8 *from, woq_u32 bytes, woq_u32 barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier), "h"((unsigned short)3)
                 : "memory");
}

/* A matrix in memory, as cuTensorMapEncodeTiled describes it: 64 columns of 16 bits and so many rows are a box. */
struct __align__(64) woq_tensor_map {
    unsigned long long opaque[16];
};

/* It is fetched before the first box is. */
static __device__ __forceinline__ void woq_prefetch_map(const woq_tensor_map &map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/* The box at this column and row, its rows 128 bytes each, swizzled as products want it; `barrier` counts all bytes of
 * it. What is beyond the matrix is 0. */
static __device__ __forceinline__ void woq_tensor_copy(woq_u32 to, const woq_tensor_map &map, woq_u32 column,
                                                       woq_u32 row, woq_u32 barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
                 "l"(&map), "r"(column), "r"(row), "r"(barrier)
                 : "memory");
}

/* The same to both blocks of a cluster of two. */
static __device__ __forceinline__ void woq_tensor_copy_both(woq_u32 to, const woq_tensor_map &map, woq_u32 column,
                                                            woq_u32 row, woq_u32 barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
                 "l"(&map), "r"(column), "r"(row), "r"(barrier), "h"((unsigned short)3)
                 : "memory");
}

#endif
