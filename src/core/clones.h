/*
 * clones.h: functions compiled for several sets of x86-64's instructions, of which the program's start picks one.
 *
 * WOQI_CLONES is for plain loops, which the compiler makes vectors of, as wide as the CPU has them; WOQI_CLONES_256 for
 * those whose types are vectors of 32 bytes. The tree is compiled without contraction to fused multiply-add, so all
 * clones give the same bits.
 */
#ifndef WOQI_CLONES_H
#define WOQI_CLONES_H

#include <stdint.h> /* defines __GLIBC__ where it is the C library */

/* What picks is run by the loader, before a sanitizer is ready for it, and other C libraries' loaders cannot. */
#if defined __x86_64__ && defined __gnu_linux__ && defined __GLIBC__ && !defined __clang__ && \
    !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
#define WOQI_CLONES     __attribute__((target_clones("avx512f", "avx2", "default")))
#define WOQI_CLONES_256 __attribute__((target_clones("avx2", "default")))
#else
#define WOQI_CLONES     __attribute__((noinline)) /* as clones are: registers go to their loops */
#define WOQI_CLONES_256 __attribute__((noinline))
#endif

#endif
