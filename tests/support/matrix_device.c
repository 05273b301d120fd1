/* matrix_device.c: a table of the reference backend's functions, but for three. */
#include "matrix_device.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static enum woqi_layout frag16b(struct woq_device *device, const struct woq_format *format)
{
    (void)device, (void)format;
    return WOQI_LAYOUT_FRAG16B;
}

struct woq_device *matrix_device_open(const struct woq_device_params *params, woqi_kernel_probe_fn *probe,
                                      woqi_sequence_submit_fn *submit)
{
    static struct woqi_backend backend;
    struct woq_device *device = NULL;
    backend = woqi_backend_reference;
    backend.layout = frag16b;
    backend.kernel_probe = probe;
    backend.sequence_submit = submit;
    assert_int_equal(woq_device_open("reference", params, &device), WOQ_OK);
    device->backend = &backend;
    device->info.compute_units = 64;
    return device;
}
