/*
 * page.h: what the pages of `woq report` and `woq eval` share: their frame, and the file that they become.
 */
#ifndef WOQ_PAGE_H
#define WOQ_PAGE_H

#include "tool.h"

#include <stdint.h>
#include <stdio.h>

/* In this order: page_begin, the title's text, page_heading, the rest of the <header>, sections, page_end. */
void page_begin(FILE *out);
typedef void page_style(FILE *out);                /* writes CSS */
void page_heading(FILE *out, page_style *more);    /* an <h1> is open; more: beyond report_style, NULL = none */
void page_end(FILE *out, const char *woq);         /* the version that is named */
void page_card(FILE *out, const char *label);      /* a <b> is open, in a <div> */
void page_verdict(FILE *out, const char *label, bool good); /* the same, of the class good or bad; CSS is the page's */
void page_fact(FILE *out, const char *what, const char *text); /* of a <dl>; what is markup */

/* Cells of a table. The script sorts by `sort`, the value or the count; what is not finite comes last. */
void page_text_cell(FILE *out, const char *text);
void page_cell(FILE *out, double sort, const char *format, ...) TOOL_PRINTF(3, 4); /* the format's text is markup */
void page_number_cell(FILE *out, double value); /* as report_number */
void page_count_cell(FILE *out, uint64_t value);
void page_no_cells(FILE *out, int count);

typedef void page_writer(FILE *out, const void *data);

/* TOOL_FAILED, and said, if the page would be written over its source. */
int page_check(const char *command, const char *source, const char *target);
/* The page is there whole or, on failure, what was there before; "-" = standard output. Returns TOOL_OK or
 * TOOL_FAILED, and says why. */
int page_write(const char *command, const char *file, page_writer *write, const void *data);

#endif
