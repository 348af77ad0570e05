#pragma once
// Everything trainable in one flat fp32 buffer, with its gradient and Adam's moments beside it: the optimizer
// is one pass, the norm one reduction, a checkpoint three copies.
#include <string>
#include <vector>

#include "ops/device.h"
#include "ops/ops.h"

namespace lp {

struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset = 0, size = 0;
  double rate = 1;                       // multiplies the learning rate
  bool decays = true;                    // weight decay applies
  bool rests = false;                    // stays as it is
  Tensor value, grad, moment1, moment2;  // views, once `freeze` has laid them out
};

struct OptimizerSettings {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, max_grad_norm = 1;
};

class Parameters {
 public:
  /// Declares a parameter; its index. Sizes are padded to 32 floats so that every view is aligned.
  size_t add(std::string name, std::vector<int64_t> shape, double rate, bool decays);
  void freeze(const at::Device& device);
  /// What `rests` says of each has changed.
  void follow();
  Parameter& operator[](size_t i) { return all_[i]; }
  std::vector<Parameter>& all() { return all_; }
  void zero_grad() { grad_.zero_(); }
  /// One AdamW update with the gradient clipped to max_grad_norm (0: not at all), which the tally gets to
  /// know; if the loss or the gradient is not finite, or was not before, nothing changes. On a device it is
  /// queued and not waited for.
  /// @param numbers of numbers_of, like all others where the parameters are
  /// @param loss fp64 [1], a sum over the step's examples
  /// @param tally TallyNumbers
  void step(const OptimizerSettings& o, const Tensor& numbers, const Tensor& loss, Tensor tally);
  /// StepNumbers of the step of that number, from 1, in the host's memory: fp64 [4].
  static Tensor numbers_of(const OptimizerSettings& o, double learning_rate, int64_t count, int64_t examples);

  Tensor value() const { return value_; }
  Tensor grad() const { return grad_; }
  Tensor moment1() const { return m_; }
  Tensor moment2() const { return v_; }

 private:
  void queue_step(const DeviceKernels& kernels, AdamPieces& a) const;
  double gradient_norm() const;

  std::vector<Parameter> all_;
  int64_t size_ = 0;
  Tensor value_, grad_, m_, v_;
  std::vector<AdamPiece> pieces_;  // of all that does not rest
  Tensor pieces_there_;            // the same, on a device
};

}  // namespace lp
