#pragma once
// LoRA (Hu et al. 2021) beside one frozen linear: y = x W^T + b + scale * (dropout(x) A^T) B^T.
#include "train/parameters.h"

namespace lp {

struct LoraModule {
  size_t a = 0, b = 0;  // indices of A [r, in] and B [out, r] in the parameters
  int64_t rank = 0;
  double scale = 1, dropout = 0;
};

/// What the backward pass needs beside x.
struct LoraSaved {
  Tensor p;  // [T, r]
  Dropout dropout;
};

/// Adds the module's branch to y = base(x); the per-token ratio of norms |branch| / |base| where asked.
Tensor lora_forward(const LoraModule& m, Parameters& parameters, const Tensor& x, Tensor y,
                    const Dropout& dropout, bool want_ratio, LoraSaved* saved);
/// Adds to the gradients of A and B, and to dx where that is defined.
void lora_backward(const LoraModule& m, Parameters& parameters, const Tensor& x, const Tensor& dy, Tensor dx,
                   const LoraSaved& saved);

}  // namespace lp
