/*
 * lapack.h: the functions of LAPACK that are used, by their Fortran names, as Debian's OpenBLAS has no LAPACKE.
 *
 * Matrices are column-major: a symmetric one is the same row-major, and "U" is what is its lower triangle there.
 * info: 0, or where it stopped. Behind the arguments come the lengths of the strings.
 */
#ifndef WOQI_LAPACK_H
#define WOQI_LAPACK_H

#include <stddef.h>

/* A = UᵀU ("U") or LLᵀ ("L"), in place. */
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t uplo_length);
/* The inverse of a triangular matrix, in place. */
void dtrtri_(const char *uplo, const char *diag, const int *n, double *a, const int *lda, int *info,
             size_t uplo_length, size_t diag_length);
/* b [nrhs][n] becomes the solutions of A·x = b; a as dpotrf_ left it. */
void dpotrs_(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda, double *b,
             const int *ldb, int *info, size_t uplo_length);

#endif
