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

/// Losses as they come, on a device without waiting for it.
class LossSum {
 public:
  void add(double loss) { host_ += loss; }
  /// A number in fp64 on a device, with its factor.
  void add(const Tensor& loss, double factor);
  void scale(double factor);
  /// Waits for what is on a device.
  double value() const;
  int64_t labelled = 0;  // examples, or tokens

 private:
  double host_ = 0;
  Tensor later_;
};

/// The gradient by the logits [examples, classes or 1] of the labels' mean loss and the teacher's, of
/// labelled examples alone.
/// @throws BAD_LABEL: a label is no class
Tensor label_loss(const Tensor& logits, const Batch& batch, const Distillation& d, bool regression,
                  double denominator, LossSum& loss);
/// The gradient of the squared error of what the head reads; undefined where there is no such loss.
Tensor states_gradient(const Tensor& states, const Batch& batch, const Distillation& d, double denominator,
                       LossSum& loss);

/// Of tags of tokens: outputs [T, tags] and labels [T], of which negative ones do not count.
Tensor tag_loss(const Tensor& outputs, const std::vector<int32_t>& labels, double denominator, LossSum& loss);
/// Of where spans begin and end: outputs [T, 2], each sequence's tokens told apart; half the sum of both.
/// @throws BAD_LABEL: an end is outside its sequence
Tensor span_loss(const Tensor& outputs, const Batch& batch, double denominator, LossSum& loss);

}  // namespace lp
