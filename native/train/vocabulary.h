#pragma once
// Logits of tokens, the one that comes next or one that was masked, and their loss.
#include "ops/device.h"
#include "train/backbone.h"
#include "train/losses.h"

namespace lp {

class Vocabulary {
 public:
  Vocabulary() = default;
  /// Of the model as it is now. `backbone`, where the model is trained, is told its gradients.
  Vocabulary(const Model& model, Backbone* backbone);

  /// fp32 [N, vocab] of states [N, h].
  Tensor logits(const Tensor& states) const;

  /// The gradient, [T, h] in fp32, of the mean cross entropy over `denominator` tokens. Tokens whose label is
  /// negative do not count, and the logits of a few others exist at a time.
  /// @throws BAD_LABEL: a label is outside the vocabulary
  /// `right`, where it is given, receives of each token whether its label is the likeliest: 1 or 0, NaN where
  /// it does not count, fp32 [T]; there is no gradient then.
  Tensor loss(const Tensor& states, const std::vector<int32_t>& labels, double denominator, LossSum& loss,
              Tensor* right = nullptr) const;

 private:
  struct Read {
    Tensor x, z, out;  // states, before the activation, and what the table is multiplied with [N, embedding]
    NormSaved norm;
  };
  Read read(const Tensor& states, bool saves) const;
  Tensor products(const Tensor& out) const;
  /// On a device: `logits` become their gradient, or `right` is told.
  void token_losses(const DeviceKernels& kernels, const Tensor& logits, const Tensor& labels,
                    double denominator, const Tensor& right, LossSum& loss) const;
  /// Of the logits' gradient d [N, vocab]: that of what the table was multiplied with, into d_out.
  void gradients(const Tensor& out, const Tensor& d, const Tensor& d_out) const;
  Tensor read_backward(const Tensor& d_out, const Read& read) const;

  const Model* model_ = nullptr;
  Backbone* backbone_ = nullptr;
  Tensor weight_, bias_;  // [vocab, embedding] in the compute dtype; fp32 [vocab] or undefined
};

}  // namespace lp
