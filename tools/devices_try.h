/* devices_try.h: trials of kernels that a driver may not survive, each in a process of its own. */
#ifndef WOQ_DEVICES_TRY_H
#define WOQ_DEVICES_TRY_H

#include "tool.h"

/* Tries what is in doubt on any device, each set of instructions for `seconds` at most, and says on stderr what it does
 * and found. No device may have been opened and no thread started in this process. Returns TOOL_OK, whatever the
 * verdicts; a reported failure's exit code if the devices cannot be listed. */
int devices_try(const char *command, enum woq_log_level log, unsigned seconds);

#endif
