/*
 * csv.h: records of comma separated values, as RFC 4180 has them: fields in quotes may hold commas, line breaks and
 * doubled quotes; lines end in LF or CRLF.
 *
 * Beyond the RFC, as Python's csv and pandas read it: a quote inside a field that does not begin with one stands for
 * itself, empty lines are no records, and a byte order mark in front is no part of the first field.
 */
#ifndef WOQI_CSV_H
#define WOQI_CSV_H

#include <woq/checkpoint.h>

enum { WOQI_CSV_FIELDS = 16 };

struct woqi_csv {
    const char *file; /* for messages */
    char *at, *end;   /* what is to be read; it is overwritten */
    uint64_t line;    /* of `at`, from 1 on */
};

struct woqi_csv_record {
    uint64_t line;   /* that it begins in */
    size_t count;    /* 0 = the end; may exceed WOQI_CSV_FIELDS, beyond which fields are only counted */
    struct woq_text fields[WOQI_CSV_FIELDS]; /* in the text, quotes undone */
};

/* text: borrowed, and changed by reading. */
void woqi_csv_begin(const char *file, char *text, size_t size, struct woqi_csv *out);
/* Returns WOQ_OK; INVALID_DATA (a quote not closed; something between a closing quote and the comma: file and line). */
enum woq_status woqi_csv_next(struct woqi_csv *csv, struct woqi_csv_record *out);

#endif
