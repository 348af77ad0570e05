#pragma once
// The functions that table.cu lists; table.h says what they take.
#include "ops/cuda/table.h"

namespace lp::cuda {

void activation_forward(const ActivationForward&, const Launch&);
void activation_backward(const ActivationBackward&, const Launch&);
void gated_forward(const GatedForward&, const Launch&);
void gated_backward(const GatedBackward&, const Launch&);
void moments(const Moments&, const Launch&);
void norm_forward(const NormForward&, const Launch&);
void norm_backward(const NormBackward&, const Launch&);
void norm_gradient(const NormGradient&, const Launch&);
void rank_project(const RankProject&, const Launch&);
void rank_expand(const RankExpand&, const Launch&);
void rank_outer(const RankOuter&, const Launch&);
void dropout_apply(const DropoutApply&, const Launch&);
void rotate(const Rotate&, const Launch&);
void attention_forward(const AttentionForward&, int64_t sequences, const Launch&);
void attention_backward(const AttentionBackward&, int64_t sequences, int64_t keys, const Launch&);
void head_sums(const AttentionBackward&, int64_t sequences, const Launch&);
void scale_heads(const HeadScale&, const Launch&);
void loss_rows(const LossRows&, const Launch&);
void token_loss(const TokenLoss&, const Launch&);
void rank_scores(const RankScores&, const Launch&);
void gather(const Gather&, const Launch&);
void square_sums(const float* x, const AdamPiece* pieces, double* squares, const Launch&);
void adamw(const AdamPieces&, const Launch&);

/// All of them.
extern const DeviceKernels table;

}  // namespace lp::cuda
