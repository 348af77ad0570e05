#pragma once
// Products of few ranks, as LoRA has them: [T, h] by [r, h]^T and by [r, h]. Shapes: T tokens, h width, r
// rank.
#include "ops/ops.h"

namespace lp {

/// A factor w [r, n] of a low-rank product, with what kernels read in its stead.
class RankFactor {
 public:
  RankFactor() = default;
  /// @param values w in fp32, or its transpose [n, r]; not read before `follow`
  /// @param dtype of the activations that it meets
  RankFactor(const Tensor& values, bool transposed, at::ScalarType dtype);

  /// Takes what the values are now.
  void follow();
  const Tensor& w() const { return w_; }
  const Tensor& panels() const { return panels_; }
  const Tensor& strips() const { return strips_; }

 private:
  Tensor values_, w_, panels_, strips_;
};

/// Factors [T, r] of a low-rank product.
struct Projection {
  Tensor p;              // fp32
  Tensor split, turned;  // as RankProject has them, where kernels want that
};

/// scale * dropout(x) w^T.
/// @param then what a product with another factor multiplies it by
/// @param turns whether a gradient is to be taken of it
Projection rank_project(const Tensor& x, const RankFactor& w, double scale, const Dropout& dropout,
                        double then, bool turns);
/// y += dropout * scale * p w; returns the per-row ratio of norms |added| / |y before| where asked.
Tensor rank_expand(const Tensor& p, const Tensor& w, Tensor y, double scale, const Dropout& dropout,
                   bool want_ratio);
/// grad [r, h] += p^T dropout(x).
void rank_outer(const Projection& p, const Tensor& x, Tensor grad, const Dropout& dropout);
/// grad [h, r] += scale * x^T p.
void rank_outer_transposed(const Projection& p, const Tensor& x, Tensor grad, double scale);

}  // namespace lp
