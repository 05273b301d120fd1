#include <stdio.h>
#include <woq/command.h>

int main(void)
{
    enum { M = 2, N = 3, K = 128 };
    uint8_t codes[N * K / 2]; /* 4-bit codes, two a byte */
    float scales[N] = {0.5f, 1.0f, 2.0f}, x[M * K], y[M * N];
    for (int i = 0; i < N * K / 2; i++) codes[i] = 0x99; /* w = scale * (9 - 8) */
    for (int i = 0; i < M * K; i++) x[i] = i < K ? 1.0f : 2.0f;
    struct woq_device *dev = NULL;
    struct woq_buffer *bx = NULL, *by = NULL;
    struct woq_gemm *gemm = NULL;
    struct woq_commands *cmds = NULL;
    struct woq_weights_source w = WOQ_WEIGHTS_SOURCE_INIT;
    w.format = (struct woq_format){sizeof w.format, WOQ_CODE_U4, WOQ_ZERO_SYMMETRIC, WOQ_F32, K, 0};
    w.n = N, w.k = K, w.codes = codes, w.scales = scales;
    struct woq_weights_params weights = {sizeof weights, &w, 1, false};
    struct woq_gemm_params product = WOQ_GEMM_PARAMS_INIT;
    product.max_m = M, product.x_type = product.y_type = WOQ_F32;
    struct woq_buffer_params xp = {sizeof xp, sizeof x, 0}, yp = {sizeof yp, sizeof y, 0};
    uint32_t m, sx, sy; /* slots: M and the matrices are bound at each run */
    bool ok = !woq_device_open(NULL, NULL, &dev) && !woq_buffer_create(dev, &xp, &bx) &&
              !woq_buffer_create(dev, &yp, &by) && !woq_buffer_write(bx, 0, x, sizeof x) &&
              !woq_weights_create(dev, &weights, &product.weights) &&
              !woq_gemm_create(dev, &product, &gemm) && !woq_commands_create(dev, NULL, &cmds) &&
              !woq_commands_slot_m(cmds, M, &m) &&
              !woq_commands_slot_view(cmds, WOQ_ACCESS_READ, &sx) &&
              !woq_commands_slot_view(cmds, WOQ_ACCESS_WRITE, &sy) &&
              !woq_commands_gemm(cmds, gemm, m, sx, sy, WOQ_NO_SLOT, WOQ_NO_SLOT) &&
              !woq_commands_end(cmds);
    struct woq_binding b[] = {{m, M, {0}}, {sx, 0, {bx, 0, 0}}, {sy, 0, {by, 0, 0}}};
    ok = ok && !woq_commands_run(cmds, b, 3, NULL) && !woq_buffer_read(by, 0, y, sizeof y);
    if (ok) printf("%g %g %g\n%g %g %g\n", y[0], y[1], y[2], y[3], y[4], y[5]);
    else fprintf(stderr, "%s\n", woq_last_message());
    woq_commands_destroy(&cmds), woq_gemm_destroy(&gemm), woq_weights_destroy(&product.weights);
    woq_buffer_destroy(&bx), woq_buffer_destroy(&by), woq_device_destroy(&dev);
    return !ok;
}
