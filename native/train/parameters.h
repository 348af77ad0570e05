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
  double gradient_norm() const;
  /// One AdamW update with the gradient clipped to max_grad_norm (0: not at all). Returns the norm before
  /// clipping; if it is not finite nothing changes.
  double step(const OptimizerSettings& o, double learning_rate, int64_t count);

  /// The same of a device's, queued and not waited for: the norm, fp64 [1]. `schedule` is of schedule_of.
  Tensor queue_step(const OptimizerSettings& o, const Tensor& schedule);
  /// What changes from step to step: learning rate, 1 - beta1^count, sqrt(1 - beta2^count).
  static std::vector<double> schedule_of(const OptimizerSettings& o, double learning_rate, int64_t count);

  Tensor value() const { return value_; }
  Tensor grad() const { return grad_; }
  Tensor moment1() const { return m_; }
  Tensor moment2() const { return v_; }

 private:
  /// Squares of the gradient of each piece, fp64.
  Tensor squares_on(const DeviceKernels& kernels) const;

  std::vector<Parameter> all_;
  int64_t size_ = 0;
  Tensor value_, grad_, m_, v_;
  std::vector<AdamPiece> pieces_;  // of all that does not rest
  Tensor pieces_there_;            // the same, on a device
};

}  // namespace lp
