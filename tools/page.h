/*
 * page.h: what the pages of `woq report` share: their frame, and the file that they become.
 */
#ifndef WOQ_PAGE_H
#define WOQ_PAGE_H

#include <stdio.h>

/* In this order: page_begin, the title's text, page_heading, the rest of the <header>, sections, page_end. */
void page_begin(FILE *out);
void page_heading(FILE *out);                  /* an <h1> is open */
void page_end(FILE *out, const char *woq);     /* the version that is named */
void page_card(FILE *out, const char *label);  /* a <b> is open, in a <div>; label is markup */
void page_fact(FILE *out, const char *what, const char *text); /* of a <dl>; what is markup */

typedef void page_writer(FILE *out, const void *data);

/* TOOL_FAILED, and said, if the page would be written over its source. */
int page_check(const char *command, const char *source, const char *target);
/* The page is there whole or, on failure, what was there before; "-" = standard output. Returns TOOL_OK or
 * TOOL_FAILED, and says why. */
int page_write(const char *command, const char *file, page_writer *write, const void *data);

#endif
