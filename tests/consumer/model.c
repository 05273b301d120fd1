/* model.c MODEL: continues three tokens with that model, on the reference device. */
#include <stdio.h>
#include <woq/model.h>

int main(int argc, char **argv)
{
    struct woq_device *device = NULL;
    struct woq_checkpoint *checkpoint = NULL;
    struct woq_model *model = NULL;
    struct woq_model_params params = WOQ_MODEL_PARAMS_INIT;
    struct woq_model_info info = {.struct_size = sizeof info};
    const int32_t prompt[] = {1, 2, 3};
    int32_t next[4];
    size_t made = 0;
    if (argc != 2)
        return 2;
    params.context = params.batch = 8;
    const int failed = woq_device_open("reference", NULL, &device) ||
                       woq_checkpoint_open(argv[1], NULL, &checkpoint) ||
                       woq_model_create(device, checkpoint, &params, &model) ||
                       woq_model_get_info(model, &info) ||
                       woq_model_generate(model, prompt, 3, -1, next, 4, &made);
    if (failed)
        fprintf(stderr, "%s\n", woq_last_message());
    else
        printf("%s %s: %s, %u layers, %zu tokens\n", woq_version_string(), info.format,
               info.config.architecture, info.config.layers, made);
    woq_model_destroy(&model);
    woq_checkpoint_close(&checkpoint);
    woq_device_destroy(&device);
    return failed;
}
