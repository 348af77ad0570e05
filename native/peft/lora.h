#pragma once
// LoRA (Hu et al. 2021) beside one frozen linear: y = x W^T + b + scale * (dropout(x) A^T) B^T.
#include "ops/linear.h"
#include "train/parameters.h"

namespace lp {

struct LoraModule {
  size_t a = 0, b = 0;  // indices of A [r, in] and B [out, r] in the parameters
  int64_t rank = 0;
  double scale = 1, dropout = 0;
  RankFactor down, up;  // A and B^T [r, out], as lora_follow found them
};

/// What the backward pass needs beside x.
struct LoraSaved {
  Projection p;  // [T, r]
  Dropout dropout;
};

/// Takes what A and B are now; before any pass over values that have changed.
/// @param dtype of the activations
void lora_follow(LoraModule& m, Parameters& parameters, at::ScalarType dtype);
/// The branch that is added to the frozen output.
LowRank lora_forward(const LoraModule& m, const Tensor& x, const Dropout& dropout, LoraSaved* saved);
/// Adds to the gradient of B; the branch that is added to the gradient of x.
LowRank lora_backward(const LoraModule& m, Parameters& parameters, const Tensor& dy, const LoraSaved& saved);
/// Adds to the gradient of A, which needs the input and what lora_backward gave.
void lora_gradient_a(const LoraModule& m, Parameters& parameters, const Tensor& x, const LowRank& branch);

}  // namespace lp
