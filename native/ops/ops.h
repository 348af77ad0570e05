#pragma once
// The engine's own operations on tensors: each a plain forward and backward over the CPU kernels. Tensors are
// contiguous; activations are fp32 or bf16, everything trainable is fp32. Shapes: T tokens, h width, r rank.
#include "base/aten.h"
#include "ops/kernels/kernels.h"

namespace lp {

using at::Tensor;

Tensor activation_forward(const Tensor& z, const Tensor& mask, Activation kind);
/// What is summed for a mask: the products of its units' outputs (before the mask) with their gradients, and
/// the sizes of these products. fp32 [units] each, added to; either may be undefined.
struct MaskTotals {
  Tensor gradient, salience;
  bool any() const { return gradient.defined() || salience.defined(); }
};

/// Overwrites dg with dz and z with the activation's output.
void activation_backward(Tensor z, Tensor dg, const Tensor& mask, const MaskTotals& totals, Activation kind);

/// act(z) * u * mask: units of a gated FFN, whose gate is z.
Tensor gated_forward(const Tensor& z, const Tensor& u, const Tensor& mask, Activation kind);
/// Overwrites dy with dz, u with du and z with the units.
void gated_backward(Tensor z, Tensor u, Tensor dy, const Tensor& mask, const MaskTotals& totals,
                    Activation kind);

/// Adds the sums over tokens of x [T, n] and of its squares, fp32 [n]. On a device rows count as `counted`,
/// fp32 [T], says where it is defined.
void add_moments(const Tensor& x, Tensor sum, Tensor square, const Tensor& counted = {});

struct NormWeights {
  Tensor gamma, beta;  // fp32 [h]; RMSNorm has no beta
  double eps = 1e-5;
  bool keep_normalized =
      false;  // gamma is too small beside beta to recover the normalized values from the output
  bool centered() const { return beta.defined(); }
};
struct NormSaved {
  Tensor y, normalized, rstd;
  Dropout dropout;
};
/// LayerNorm or RMSNorm of residual + dropout(z), which `sum` receives where that is given; `residual` may be
/// undefined.
Tensor norm_forward(const Tensor& z, const Tensor& residual, const NormWeights& w, const Dropout& dropout,
                    NormSaved* saved, Tensor* sum = nullptr);
struct NormGrads {
  Tensor residual, z;  // the same tensor where there was no dropout
};
/// `past` is the gradient that reached the sum beside the norm; it may be undefined.
NormGrads norm_backward(const Tensor& dy, const NormWeights& w, const NormSaved& saved,
                        const Tensor& past = {});

/// Adds the gradients of gamma and beta, fp32 [h] each; `d_beta` may be undefined.
void norm_gradient(const Tensor& dy, const NormWeights& w, const NormSaved& saved, Tensor d_gamma,
                   Tensor d_beta);

Tensor apply_dropout(const Tensor& x, const Dropout& dropout);

/// Rows [T] (int64) of a table [any, h].
struct Lookup {
  Tensor table, rows;
};
/// The sum of what is looked up, up to three of it, of any floating types, added in fp32, [T, h].
Tensor embedded(at::ArrayRef<Lookup> lookups, at::ScalarType dtype);

/// The rows and columns of a matrix whose numbers (int64) are given, all where they are undefined, its
/// columns times `scale`, fp32, where that is.
Tensor gathered(const Tensor& matrix, const Tensor& rows, const Tensor& columns, const Tensor& scale);

struct Sequences {
  Tensor cu_q;            // int32 [B + 1]
  Tensor cu_k;            // the same of keys, where they lie side by side as queries do; else undefined
  Tensor k_begin, k_end;  // int32 [B]
  int64_t longest_q = 0, longest_k = 0;
};

/// Angles of rotary positions, fp32 [T, turned / 2].
struct Angles {
  Tensor cos, sin;
  bool interleaved = false;
};
/// x [T, heads * size] with the values of each head turned, or turned back; x itself where there are no
/// angles.
Tensor rotated(const Tensor& x, const Angles& angles, int64_t size, bool back);

/// How attention looks at keys.
struct AttentionConfig {
  int64_t heads = 1, group = 1;  // those with keys, and query heads to each
  double scale = 1;
  bool causal = false;
  int64_t window = 0;  // 0: all keys
  Tensor slopes;       // fp32 [heads * group], ALiBi's, or undefined
};
struct AttentionSaved {
  Tensor q, k, v, unmasked, lse;
  Dropout dropout;
  Tensor random, unused;  // of LibTorch's attention, where that was used
};
/// Context [Tq, H * group * d] of packed sequences, each head's times head_mask [H] where that is defined.
Tensor attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                         const AttentionConfig& config, const Tensor& head_mask, const Dropout& dropout,
                         AttentionSaved* saved);
struct AttentionGrads {
  Tensor q, k, v;
};
/// A head's product is that of its context and gradient, summed over the head's size.
AttentionGrads attention_backward(const Tensor& d_context, const AttentionSaved& saved, const Sequences& s,
                                  const AttentionConfig& config, const Tensor& head_mask,
                                  const MaskTotals& totals);

}  // namespace lp
