#pragma once
// What a head's outputs cost, and the gradients by them. Losses are sums, gradients those of the mean over
// `denominator` examples or tokens.
#include "base/aten.h"
#include "train/batch.h"

namespace lp {

using at::Tensor;

/// How much a teacher counts (Hinton et al. 2015): loss = (1 - logits) * loss of the labels + logits * T^2 *
/// KL(teacher / T || student / T), or the squared error of a value, + states * the mean squared error of what
/// the heads read.
struct Distillation {
  double logits = 0, temperature = 1, states = 0;
};

/// Mean loss over `denominator` examples and its gradient by the logits; sum of losses in `loss`.
Tensor loss_and_gradient(const Tensor& logits, const std::vector<float>& labels, bool regression,
                         double denominator, double* loss, int64_t* labelled);
/// Weighs the labels' loss and gradient down and adds the teacher's, of labelled examples alone.
void add_teacher(const Tensor& logits, const Batch& batch, const Distillation& d, bool regression,
                 double denominator, Tensor gradient, double* loss);
/// The gradient of the squared error of what the head reads; undefined where there is no such loss.
Tensor states_gradient(const Tensor& states, const Batch& batch, const Distillation& d, double denominator,
                       double* loss);

/// Of tags of tokens: outputs [T, tags] and labels [T], of which negative ones do not count.
Tensor tag_loss(const Tensor& outputs, const std::vector<int32_t>& labels, double denominator, double* loss,
                int64_t* labelled);
/// Of where spans begin and end: outputs [T, 2], each sequence's tokens told apart; half the sum of both.
/// @throws BAD_LABEL: an end is outside its sequence
Tensor span_loss(const Tensor& outputs, const Batch& batch, double denominator, double* loss,
                 int64_t* labelled);

}  // namespace lp
