#pragma once
// Logits of the token that comes next, and their loss.
#include "base/aten.h"

namespace lp {

using at::Tensor;

/// [vocab, width] in the compute dtype, and [vocab] in fp32 or undefined.
struct Vocabulary {
  Tensor weight, bias;
};

/// fp32 [N, vocab] of states [N, width].
Tensor next_token_logits(const Vocabulary& vocabulary, const Tensor& states);

/// The gradient, [T, width] in fp32, of the mean cross entropy over `denominator` tokens; the sum of losses
/// in `loss`. Tokens whose label is negative do not count, and the logits of a few others exist at a time.
/// @throws BAD_LABEL: a label is outside the vocabulary
/// `right`, where it is given, receives of each token whether its label is the likeliest: 1 or 0, NaN where
/// it does not count, fp32 [T]; there is no gradient then.
Tensor next_token_loss(const Vocabulary& vocabulary, const Tensor& states, const std::vector<int32_t>& labels,
                       double denominator, double* loss, int64_t* counted, Tensor* right = nullptr);

}  // namespace lp
