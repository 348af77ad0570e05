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
  /// fp64, where the losses are.
  Tensor there(const at::Device& device) const;
  /// Waits for what is on a device.
  double value() const;

 private:
  double host_ = 0;
  Tensor later_;
};

/// What rows of a head's outputs are to be: class indices, values, or ends of spans; NaN: a row does not
/// count.
struct Targets {
  std::vector<float> values;
  bool regression = false;
  // Where rows are ends of spans, 2b + e that of column e of the outputs [T, 2] of sequence b.
  bool spans = false;
  std::vector<int32_t> cu_seqlens;
  int64_t counted = 0;  // examples, or tokens
};
/// @throws BAD_DATA, BAD_LABEL: there are others than there may be; `classes` of an output that has so many
Targets targets_of(const Batch& batch, Told told, bool regression, int64_t classes);

/// Targets where the outputs are.
struct TargetsThere {
  Tensor values;       // fp32
  Tensor cu;           // int32, of spans
  Tensor denominator;  // fp64 [1], a factor of it that is read there, or undefined
};
TargetsThere there_of(const Targets& targets, const at::Device& device);

/// The gradient by the outputs [N, classes or 1] or, of spans, [T, 2], of the targets' mean loss and the
/// teacher's; of spans half the sum of both ends', each over its sequence. `there` may be empty where the
/// outputs are the host's.
Tensor target_loss(const Tensor& outputs, const Targets& targets, const TargetsThere& there,
                   const std::vector<float>& teacher, const Distillation& d, double denominator,
                   LossSum& loss);
/// The gradient of the squared error of what the head reads; undefined where there is no such loss.
Tensor states_gradient(const Tensor& states, const Batch& batch, const Distillation& d, double denominator,
                       LossSum& loss);

}  // namespace lp
