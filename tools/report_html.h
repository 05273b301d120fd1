/*
 * report_html.h: the page that shows what `woq quantize --report FILE.json` wrote.
 */
#ifndef WOQ_REPORT_HTML_H
#define WOQ_REPORT_HTML_H

/* Reads the JSON file and writes one HTML page that needs no other file; "-" = standard output. The page is there whole
 * or, on failure, what was there before. `command` begins the messages on stderr. Returns TOOL_OK or TOOL_FAILED. */
int report_html(const char *command, const char *json_file, const char *html_file);

#endif
