/* inspect_statistics.h: what `woq inspect` says of a file of calibration statistics. */
#ifndef WOQ_INSPECT_STATISTICS_H
#define WOQ_INSPECT_STATISTICS_H

#include <woq/checkpoint.h>

#include "tool.h"

bool inspect_is_statistics(const struct woq_checkpoint *c);
void inspect_print_statistics(const struct woq_checkpoint *c);
/* Object with the metadata and an array of inputs. */
yyjson_mut_val *inspect_statistics_json(yyjson_mut_doc *doc, const struct woq_checkpoint *c);

#endif
