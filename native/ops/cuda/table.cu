#include "ops/cuda/launches.h"

namespace lp::cuda {

const DeviceKernels table = {activation_forward,
                             activation_backward,
                             gated_forward,
                             gated_backward,
                             moments,
                             norm_forward,
                             norm_backward,
                             norm_gradient,
                             rank_project,
                             rank_expand,
                             rank_outer,
                             dropout_apply,
                             rotate,
                             attention_forward,
                             attention_backward,
                             head_sums,
                             scale_heads,
                             loss_rows,
                             token_loss,
                             rank_scores,
                             gather,
                             square_sums,
                             adamw};

}  // namespace lp::cuda
