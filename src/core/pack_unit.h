/*
 * pack_unit.h: 16 rows × 64 columns of weights from one order to another, whole words at a time.
 *
 * All orders of packed weights (layout.h) repeat after 64 columns, and all but ROWS after 16 rows: that many elements
 * are a unit. It holds its rows in canonical order (woq/format.h): row j begins at byte j · WOQI_UNIT_PITCH and takes
 * 8 · bits bytes, bits being 4, 8 or 16 an element; what lies behind them in a row is neither read nor written.
 */
#ifndef WOQI_PACK_UNIT_H
#define WOQI_PACK_UNIT_H

#include <stdint.h>

#define WOQI_UNIT_ROWS    16
#define WOQI_UNIT_COLUMNS 64
#define WOQI_UNIT_PITCH   128

struct woqi_unit {
    uint8_t rows[WOQI_UNIT_ROWS][WOQI_UNIT_PITCH];
};

/* 64 columns as a panel of PANEL16 has them, and as a strip of FRAG16B has them: 128 · bits bytes, all written. */
void woqi_unit_to_panel(const struct woqi_unit *unit, unsigned bits, uint8_t *out);
void woqi_unit_to_strip(const struct woqi_unit *unit, unsigned bits, uint8_t *out);

/* The inverse of woqi_unit_to_panel; bits: 4 or 8. */
void woqi_unit_from_panel(const uint8_t *panel, unsigned bits, struct woqi_unit *unit);

#endif
