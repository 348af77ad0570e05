#pragma once
// Linear layers with what is trained beside them. In bf16, where the processor has bf16 products of
// its own, weights are packed for one kernel that adds bias and branch before it rounds; elsewhere ATen
// multiplies.
#include <memory>
#include <optional>

#include "ops/rank.h"

namespace lp {

class Linear {
 public:
  Linear() = default;
  /// weight [out, in] and bias [out] of any floating type, kept in `dtype` (the bias in fp32); without a
  /// bias, zeros.
  Linear(const Tensor& weight, const Tensor& bias, at::ScalarType dtype);

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  bool packed() const { return forward_.defined(); }
  /// [out, in], laid out plainly again where it is packed.
  Tensor weight() const;
  const Tensor& bias() const { return bias_; }
  const Tensor& typed_bias() const { return typed_bias_; }
  /// Whether it was made with a bias.
  bool biased() const { return biased_; }
  /// What it gives where it has no inputs, [rows, out].
  Tensor constant(int64_t rows) const { return bias_.to(dtype_).expand({rows, out_}).contiguous(); }
  const Tensor& forward_panels() const { return forward_; }
  /// Made when a backward pass first needs them.
  const Tensor& backward_panels() const;

 private:
  struct Backward;

  int64_t in_ = 0, out_ = 0;
  at::ScalarType dtype_ = at::kFloat;
  bool biased_ = false;
  Tensor weight_, bias_, forward_;
  Tensor typed_bias_;  // in `dtype`, beside a weight that is not packed
  std::shared_ptr<Backward> backward_;
};

/// A low-rank branch: scale * dropout(p w).
struct LowRank {
  Projection p;         // [T, r], split for this scale
  const RankFactor* w;  // [r, n]
  double scale = 1;
  Dropout dropout;
};

/// y = x W^T + b + branch, [T, out]. With `ratio`, also |branch| / |x W^T + b| of each token, fp32 [T].
Tensor linear_forward(const Tensor& x, const Linear& linear, const LowRank* branch, Tensor* ratio);

struct LinearGradient {
  Tensor dy;  // [T, out]
  const Linear* linear;
  std::optional<LowRank> branch;
};
/// start + sum over the parts of dy W + branch, [T, in]; `start`, if it is defined, is overwritten.
Tensor linear_backward(at::ArrayRef<LinearGradient> parts, Tensor start);

}  // namespace lp
