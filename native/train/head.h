#pragma once
// What makes numbers for labels of a model's states: dropout, dense, activation, dropout, projection; or
// dropout and a projection alone. Everything in it is fp32.
#include "ops/ops.h"
#include "train/parameters.h"

namespace lp {

enum class HeadActivation : int { tanh, gelu, relu };

struct HeadConfig {
  int64_t outputs = 2;
  bool dense = true, bias = true;
  bool dropout_first = true;  // before the dense, too
  bool frozen_dense = false;  // the dense is a part of the base, whose values it is given
  HeadActivation activation = HeadActivation::tanh;
  double dropout = 0;
};

struct HeadSaved {
  Tensor pooled, before, dense, dropped;  // of dense, before and after its activation
  Dropout dropout0, dropout1;
};

class Head {
 public:
  /// Declares its parameters, for states of so many values.
  Head(const HeadConfig& config, int64_t width, Parameters& parameters);

  /// As transformers initialises it: weights normal, 0.02, biases zero.
  void initialise(uint64_t seed);
  /// Outputs [N, outputs] of states [N, width]; the dropouts count where they are active.
  Tensor forward(const Tensor& states, const Dropout& first, const Dropout& second, HeadSaved* saved) const;
  /// Adds its gradients for those of the outputs; that of the states, [N, width].
  Tensor backward(const Tensor& d_outputs, const HeadSaved& saved);
  const HeadConfig& config() const { return config_; }

 private:
  HeadConfig config_;
  Parameters& parameters_;
  size_t dense_weight_ = 0, dense_bias_ = 0, out_weight_ = 0, out_bias_ = 0;
};

}  // namespace lp
