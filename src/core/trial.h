/*
 * trial.h: verdicts on kernels for a CPU's instructions that its driver is not known to compile.
 *
 * The self-test cannot find out: a compiler that gives up ends the process. woq_device_try (woq/device.h) is for a
 * process that may end. A verdict is that on all programs for a set of instructions, one for each kind of codes, zeros
 * and scales: of two that differ in these alone one has ended a process, and the other has not. Before a program is
 * compiled, the verdict on disk is that it ended the process; so it stands when nobody is left to write it.
 *
 * Key on disk: device->doubted_key, library version, set of instructions.
 */
#ifndef WOQI_TRIAL_H
#define WOQI_TRIAL_H

#include "object.h"

/* Of device->doubted, which is set: those that passed. Logs why others are not used. For a backend's open. */
uint32_t woqi_trials_passed(struct woq_device *device);

#endif
