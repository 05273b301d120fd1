/*
 * fault_opencl.h: the OpenCL layer of fault_opencl.c, for the program that loads it.
 *
 * The layer is a module of its own, which the ICD loader opens because OPENCL_LAYERS names it. A program
 * opens the same file before and finds these functions in it.
 *
 * Besides functions of OpenCL, fault_control.only may be FAULT_EVENT_STATUS: then clGetEventInfo tells of
 * work that ended with the code.
 */
#ifndef TEST_FAULT_OPENCL_H
#define TEST_FAULT_OPENCL_H

#include "faults.h"

#define FAULT_EVENT_STATUS "event status"

/* Symbol "fault_opencl_control". */
struct fault_control *fault_opencl_control(void);

/* Symbol "fault_opencl_balance": references that the program holds; their kinds in words. Programs that
 * were built from source so far go to *built, if not NULL. */
int64_t fault_opencl_balance(char *words, size_t size, unsigned *built);

#endif
