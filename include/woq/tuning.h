/*
 * woq/tuning.h: tuning records: measured choices between variants of kernel paths.
 *
 *     char head[WOQ_TUNING_LINE], product[WOQ_TUNING_LINE], text[4 * WOQ_TUNING_LINE], file[512];
 *     woq_tuning_device(dev, WOQ_TUNING_DEVICE, head);
 *     woq_tuning_product(gemm, product);
 *     snprintf(text, sizeof text, "woq-tuning 1\n%s\n%s 1-8 gemv/gemv\n", head, product);
 *     if (!woq_tuning_file(NULL, file, sizeof file))
 *         st = woq_tuning_merge(file, text);
 *
 * `woq tune` measures and does this. A device asks, when a product is planned, first the records of its own file, then
 * those that are part of the library; what fits neither goes by the library's order of preference. woq_gemm_explain
 * names the record that decided, and its fingerprint. With batch_invariant, and where woq_gemm_params.path names a
 * variant, no record is asked; where it names a path, none that wants another path counts.
 *
 * A product's bits may depend on the variant: they are the same for the same library, driver, device, records, M and
 * views.
 *
 * ---- Format -------------------------------------------------------------------------------------
 * Text in UTF-8, at most 1 MiB; lines of at most WOQ_TUNING_LINE - 1 bytes; # begins a comment. The first line that is
 * not empty is
 *     woq-tuning 1
 * A line that begins a section says whose records follow, with names as woq_device_info has them (" in them is '):
 *     device opencl "cpu-haswell-AMD EPYC" 2 "Portable Computing Language 6.0"    name, compute units, driver
 *     architecture cuda "sm_90"
 *     vendor vulkan "AMD"
 * Records of a device are asked with another driver, too, but after those for its own. Then the records, one a line:
 *     u4 symmetric g128 f16 default 4096x4096 1-8 gemv/gemv 9-64 gemm/xprep+gemm
 *   u4        codes: u4, u8, f16, bf16
 *   symmetric zeros: symmetric, point, offset; none with f16 and bf16
 *   g128      columns of a group, rounded down to a power of two, 128 at most; all: of all columns, or no scales; a p
 *             at its end: columns in any order (g_idx)
 *   f16       X: f16, bf16, f32
 *   default   math mode that was asked for: default, exact, rounded, fixed16
 *   NxK       of the weights, all stacked rows; it serves for N and K of half to twice as much each, if none is nearer
 *   then rows of X, first and last, in rising order, and the variant for them (woq_variant_name). For other numbers
 *   of rows, which may be all, the library's order of preference is the best that is known.
 *
 * Threading: all functions may be called from any thread; two threads or processes that merge into one file at once
 * leave it whole, but with the records of one of them only.
 */
#ifndef WOQ_TUNING_H
#define WOQ_TUNING_H

#include <woq/gemm.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WOQ_TUNING_LINE 1024 /* bytes of a line at most, its end included */

enum woq_tuning_scope { WOQ_TUNING_DEVICE = 0, WOQ_TUNING_ARCHITECTURE, WOQ_TUNING_VENDOR };

/* The line that begins the records of this device, or of all like it.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, unknown scope); UNSUPPORTED (the device does not tell its architecture). */
WOQ_API enum woq_status woq_tuning_device(const struct woq_device *device, enum woq_tuning_scope scope,
                                          char out[WOQ_TUNING_LINE]);

/* What the record for this product begins with. Returns WOQ_OK; INVALID_ARGUMENT. */
WOQ_API enum woq_status woq_tuning_product(const struct woq_gemm *gemm, char out[WOQ_TUNING_LINE]);

/* The file that devices opened with these parameters (NULL = the defaults) read, whether there is one or not.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, struct_size unknown); UNSUPPORTED (they read none, or `size` is too
 * small). */
WOQ_API enum woq_status woq_tuning_file(const struct woq_device_params *params, char *out, size_t size);

/*
 * Adds the records of `text`, which has the format above, to a file: they take the place of those of the same section
 * and product. The file is made if it does not exist, with its folder, written aside and renamed; comments stay behind
 * records, others do not.
 * Returns WOQ_OK; INVALID_ARGUMENT (NULL, the text is not in the format); INVALID_DATA (the file is not, and stays as
 * it is); OUT_OF_MEMORY; DRIVER (it cannot be read or written; the message has the system's reason).
 */
WOQ_API enum woq_status woq_tuning_merge(const char *file, const char *text);

#ifdef __cplusplus
}
#endif
#endif
