/*
 * clones.h: functions compiled for several sets of instructions, of which the program's start picks one.
 *
 * The tree is compiled without contraction to fused multiply-add, so all clones give the same bits.
 */
#ifndef WOQI_CLONES_H
#define WOQI_CLONES_H

#include <stdint.h> /* defines __GLIBC__ where it is the C library */

/* What picks is run by the loader, before a sanitizer is ready for it. */
#if defined __x86_64__ && defined __gnu_linux__ && defined __GLIBC__ && !defined __clang__ && \
    !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
#define WOQI_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WOQI_CLONES __attribute__((noinline)) /* as clones are: registers go to their loops */
#endif

#endif
