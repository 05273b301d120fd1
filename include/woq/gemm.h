/*
 * woq/gemm.h: the product and its numeric contract.
 *
 *     struct woq_gemm_params p = WOQ_GEMM_PARAMS_INIT;
 *     p.weights = w; p.max_m = 512; p.x_type = p.y_type = WOQ_F16;
 *     struct woq_gemm *gemm = NULL;
 *     st = woq_gemm_create(dev, &p, &gemm);
 *
 *     Y[M,N] = act( X[M,K] · W[N,K]ᵀ + bias[N] ) + residual[M,N]
 *
 * With WOQ_ACTIVATION_SILU_MUL the weights hold gate and up rows (2·N of them) and
 *     Y = silu( X·gateᵀ + bias[0…N) ) · ( X·upᵀ + bias[N…2N) ) + residual.
 *
 * Threading: GEMM objects are immutable once made and may be used by any number of threads.
 *
 * ---- Numeric contract ---------------------------------------------------------------------------
 * u = 2^-24; γ(n) = n·u / (1 − n·u); rn_T = rounding to type T, to nearest, ties to even; sums are
 * FP32 in an order that is fixed for a device, path and M. For one output before the epilogue:
 *
 * EXACT     w = scale·(q − zero) or scale·q + offset as real numbers. Codes enter as integers and the
 *           scale is applied in FP32, before or after the sum over a group:
 *               |ŷ − Σ x·w| ≤ γ(K + 2G + 4) · Σ |x|·( |scale·(q − zero)|   or   |scale·q| + |offset| )
 *           (L products of a group: rounding of a product and L − 1 sums; one scaling; G sums.)
 * ROUNDED   ŵ = rn_X( rn_F32( scale·(q − zero) ) ), or rn_X( rn_F32( scale·q + offset ) ), rounded to
 *           the type of X; products of two 16-bit values are exact in FP32:
 *               |ŷ − Σ x·ŵ| ≤ γ(K + 1) · Σ |x·ŵ|
 *           With FP32 scales and offsets, or if one is subnormal in FP32, a device may round scale·q by itself: add
 *               2·ε_X·Σ|x·ŵ| + 2·u·Σ|x|·(|scale·q| + |offset|),
 *           where ε_X is 2^-11 for F16, 2^-8 for BF16 and 2^-24 for F32.
 * BF16 X on matrix units for FP16 (explain tells of a kernel "mma_…", and the weights are plain F16, or the device is
 *           without matrix_bf16; EXACT, or plain F16 weights): a row of X is
 *           divided by the power of two that brings its largest finite |x| to 2^15 … 2^16, and rounded to FP16; the
 *           sum is multiplied by it. Elements below 2^-32·max|x| lose bits, at most 2^-40·max|x| each: add
 *               2^-40·max|x| · (1 + γ(K + 2G + 4)) · Σ |w|,    max|x| over the finite elements of the row.
 * FP16 X on CUDA, up to 16 rows, weights of 4 bits with FP16 scales, groups of 64 columns or more (explain tells of
 *           a kernel "mma_u4_N224…"; EXACT): a group's Σ x·(q − zero) is Σ x·q − zero·Σ x. In the bound of EXACT
 *           |scale|·(q + zero) takes the place of |scale·(q − zero)|, and an infinity in X may make NaN of what would
 *           be infinite.
 * BF16 X on CPUs with dot products of BF16 (explain tells of a kernel "…_DPBF16"; EXACT): q − zero and x are BF16,
 *           their products are exact, and two of them are added to a sum at a time, in FP32.
 * FIXED16   on CPUs, if asked for. A row of X is cut into blocks B of 128 columns, in the order in which they are
 *           packed (g_idx: sorted by group); a block's elements become multiples of s, the least power of two with
 *           max|x| <= 32639·s, though at least 2^-112: x̂ = s·rn(x/s). Codes multiply as integers, exactly; then as in
 *           EXACT:
 *               |x − x̂| ≤ s/2 ≤ δ_B = max(max|x|, 2^-98) / 32639,    max|x| over B; 0 where x is a multiple of s, as
 *                                   are F16 X from 2^-3 and BF16 X from 2^-6 of max|x| on, and a block of zeros;
 *               |ŷ − Σ x·w| ≤ γ(K + 2G + 4) · Σ |x|·v + (1 + γ(K + 2G + 4)) · Σ_B δ_B · Σ_{k in B} v,
 *               v = |scale·(q − zero)|   or   |scale·q| + |offset|.
 *           Integers fit 32 bits: a sum of a block is at most 128·32639·255 < 2^30. A NaN or infinity in a row of X
 *           makes its whole row of ŷ NaN; from 2^112 on, |x| may give infinities. Groups: all of K, multiples of 128
 *           columns, or 8, 16, 32, 64.
 * Plain F16 and BF16 weights: w is the stored value in all modes and the bound that of EXACT, G = 0;
 * ROUNDED does not convert them, and FIXED16 not X.
 *
 * All: FP32 subnormals may be flushed to zero by a device, those of X, scales, offsets and plain weights too. A
 * flushed x loses what its weight makes of it, a flushed scale q − zero times its x; else a sum or a product is
 * lost: add at most
 *           (2K + 2G + 2) · 2^-126 · max(1, 256·max|x|, 256·max|scale| + max|offset|);
 *           plain weights:  (2K + 2) · 2^-126 · max(1, max|x|, max|w|);    each over the output's row of X or W.
 * Each bound holds provided that scale·(q − zero), scale·q + offset, their terms, products and partial sums, before and
 * after scaling, all stay below 2^128 in magnitude; where one does not, infinity or NaN may take the place of ŷ.
 * FP32 X uses FP32 multiplications, never TF32. No product is rounded and no sum is kept in half
 * precision. NaN and infinities in X, bias and residual propagate by IEEE rules, those in X but as above.
 *
 * Epilogue, in FP32: v = ŷ + bias, one rounding. none and ReLU (v < 0 ? 0 : v; NaN stays) are exact.
 * GELU and SiLU: the error e of v grows to 1.13·e + 2^-20·(1 + |v|). SILU_MUL: product of the two
 * errors' bounds by the product rule, plus u. silu(v) = v / (1 + exp(−v)), gelu_erf(v) =
 * v/2·(1 + erf(v/√2)), gelu_tanh(v) = v/2·(1 + tanh(√(2/π)·(v + 0.044715·v³))) (Hendrycks and Gimpel,
 * arXiv:1606.08415); −Inf may give NaN where the formula does. Residual: one rounding. Storing Y: rn_Y.
 *
 * The same library, driver, device, tuning records, M and views give the same bits.
 */
#ifndef WOQ_GEMM_H
#define WOQ_GEMM_H

#include <woq/limits.h>
#include <woq/weights.h>

#ifdef __cplusplus
extern "C" {
#endif

struct woq_gemm;

enum woq_activation {
    WOQ_ACTIVATION_NONE = 0,
    WOQ_ACTIVATION_RELU,
    WOQ_ACTIVATION_GELU_TANH,
    WOQ_ACTIVATION_GELU_ERF,
    WOQ_ACTIVATION_SILU,
    WOQ_ACTIVATION_SILU_MUL /* gated; needs weights made with `gated` */
};

enum woq_math {
    WOQ_MATH_DEFAULT = 0, /* whichever the chosen path prefers; explain names it */
    WOQ_MATH_EXACT,
    WOQ_MATH_ROUNDED, /* refused for F16 X if the weights are not fp16_safe */
    WOQ_MATH_FIXED16  /* X as integers of 16 bits; never unless asked for; refused where nothing computes so */
};

struct woq_gemm_params {
    size_t struct_size;
    struct woq_weights *weights; /* kept alive by the GEMM */
    uint32_t max_m;              /* rows of X at most, >= 1 */
    enum woq_type x_type;
    enum woq_type y_type;        /* residual has the same type */
    enum woq_type bias_type;     /* WOQ_TYPE_NONE = no bias; bias[N] of all stacked rows, dense */
    bool residual;
    enum woq_activation activation;
    enum woq_math math;
    /* NULL = planner's choice; else only this path ("floor", "gemv", …), or this variant of one ("skinny/coop_C32X32"),
     * for as many rows as it can take, whatever the planner prefers. */
    const char *path;
    /* The bits of a row of Y depend on that row of X (residual) alone, not on the others, nor on M: one way for every M
     * in 1 … max_m, which for many of them is not the fastest; but FIXED16 loses nothing by it. Between views of X they
     * may differ, if offset and row stride are multiples of 16 bytes in one and not in the other. */
    bool batch_invariant;
};
#define WOQ_GEMM_PARAMS_INIT                                                                       \
    {sizeof(struct woq_gemm_params), NULL, 0, WOQ_F16, WOQ_F16, WOQ_TYPE_NONE, false,              \
     WOQ_ACTIVATION_NONE, WOQ_MATH_DEFAULT, NULL, false}

#define WOQ_EXPLAIN_MAX_REJECTED 16
#define WOQ_VARIANT_NAME 64 /* bytes that the name of a variant takes at most, its end included */

/* Strings belong to the GEMM and live as long. */
struct woq_explain {
    size_t struct_size;
    const char *path;      /* "floor", "gemv", "gemm", … */
    const char *kernel;    /* of the main step */
    const char *layout;    /* of the weights on the device */
    enum woq_math math;
    uint32_t steps;        /* steps for dense views */
    uint64_t workspace;    /* bytes for this m */
    uint32_t rejected_count;
    struct {
        const char *path;
        const char *reason;
    } rejected[WOQ_EXPLAIN_MAX_REJECTED]; /* tried before `path`, in order */
    uint64_t tuning;       /* fingerprint of the tuning record that decided (woq/tuning.h); 0 = none */
    uint64_t quarantine;   /* fingerprint of the device's quarantine record; 0 = empty */
    const char *variant;   /* of the path: "gemm/xhalf+nv2_V64X64"; woq_gemm_params.path takes it */
    /* What decided for it: "default", that is, the library's order of preference; "asked for"; or the tuning record:
     * its section, its product, and where it is. A record that could not be followed: "default, as …". */
    const char *decided;
    /* What its main kernel multiplies with (woq/limits.h; NONE = not told), and how many multiplications with an
     * addition one of X and W takes. */
    enum woq_limit limit;
    uint32_t limit_work;
};

/*
 * Plans for every M in 1…max_m. Blocks: kernels for matrix units that are new to this device and driver
 * are compiled and tested, on CUDA all are loaded. Others compile when a run, woq_commands_prepare or a
 * guest's recording first needs them. Ownership: *out is the caller's.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, unknown enum, max_m 0, gated activation on plain stacked
 * weights or the reverse, unknown path name, weights of another device); UNSUPPORTED (no path can do
 * it; the message gives each path's reason); OVERFLOW; OUT_OF_MEMORY; OUT_OF_DEVICE_MEMORY; COMPILE;
 * DEVICE_LOST; DRIVER.
 */
WOQ_API enum woq_status woq_gemm_create(struct woq_device *device,
                                        const struct woq_gemm_params *params,
                                        struct woq_gemm **out);

/* Writes NULL; accepts NULL. Commands that recorded the GEMM keep it alive. */
WOQ_API void woq_gemm_destroy(struct woq_gemm **gemm);

/* Columns of Y: the weights' n, half of it with SILU_MUL. 0 for NULL. */
WOQ_API uint64_t woq_gemm_n(const struct woq_gemm *gemm);

/* Bytes of workspace for any m up to max_m; known before anything is allocated.
 * Returns WOQ_OK; INVALID_ARGUMENT. */
WOQ_API enum woq_status woq_gemm_workspace(const struct woq_gemm *gemm, uint64_t *bytes);

/* Why and how a product of m rows runs. out->struct_size must be set.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, m 0 or > max_m). */
WOQ_API enum woq_status woq_gemm_explain(const struct woq_gemm *gemm, uint32_t m,
                                         struct woq_explain *out);

/* Names in this library's reports: "none", "relu", "gelu_tanh", …; "exact", "rounded", "fixed16"; "unknown". */
WOQ_API const char *woq_activation_name(enum woq_activation activation);
WOQ_API const char *woq_math_name(enum woq_math math);

/* The number of kernel paths the library knows, and their names: 0 ≤ index < count; else NULL. */
WOQ_API uint32_t woq_path_count(void);
WOQ_API const char *woq_path_name(uint32_t index);

/* The same for variants: a path's name, its kernels, and how the main one divides a product; _S2 is two parts of K, as
 * in "skinny/mma_N32M32K8_S2+reduce". False, and "", if there is no such index. */
WOQ_API uint32_t woq_variant_count(void);
WOQ_API bool woq_variant_name(uint32_t index, char out[WOQ_VARIANT_NAME]);

#ifdef __cplusplus
}
#endif
#endif
