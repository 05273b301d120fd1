/*
 * statistics_data.h: files of calibration statistics as `woq inspect` and `woq report` read them: safetensors with, for
 * each input of a model's linear layers, the vectors NAME.absmax, NAME.mean_abs and NAME.second_moment over its
 * channels, and NAME.histogram over all elements.
 */
#ifndef WOQ_STATISTICS_DATA_H
#define WOQ_STATISTICS_DATA_H

#include <stdbool.h>
#include <woq/checkpoint.h>

enum { STATISTICS_BINS = 64 };

/* One input; a channel's mean is of |x|. */
struct statistics_input {
    char *name;
    uint64_t channels;
    float *most, *mean, *square; /* [channels] largest |x|, mean |x|, mean x²; square NULL: not in the file */
    double absmax, average, rms; /* of all channels; rms NAN without `square` */
    double ratio;                /* the largest channel's mean, as a multiple of all channels' */
    uint64_t largest;            /* that channel */
    bool counted;                /* there is a histogram: of |x|, two bins an octave; see statistics_bin */
    uint64_t histogram[STATISTICS_BINS];
    uint64_t not_finite;         /* elements, which count nowhere else */
};

bool statistics_is(const struct woq_checkpoint *checkpoint);
/* A value of __metadata__, by what is behind "woq."; NULL if it is not there. */
const char *statistics_meta(const struct woq_checkpoint *checkpoint, const char *key);
/* The number of rows that each input is of; 0 = unknown. */
uint64_t statistics_rows(const struct woq_checkpoint *checkpoint);
/* What begins with this tensor; false if it is no NAME.absmax, or its fellow is missing. To be released if true. */
bool statistics_read(const struct woq_checkpoint *checkpoint, const struct woq_tensor *tensor,
                     struct statistics_input *out);
void statistics_release(struct statistics_input *input);
/* Where a bin begins; bin 0 begins at 0, and bin STATISTICS_BINS would at 2^17.5. */
double statistics_bin(int bin);

#endif
