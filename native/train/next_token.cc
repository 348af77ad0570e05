#include "train/next_token.h"

#include <cmath>

#include "base/error.h"

namespace lp {

// Logits that exist at a time: 64 MiB of fp32.
constexpr int64_t kAtOnce = 1 << 24;

Tensor next_token_logits(const Vocabulary& vocabulary, const Tensor& states) {
  const Tensor logits =
      at::mm(states.to(vocabulary.weight.scalar_type()), vocabulary.weight.t()).to(at::kFloat);
  return vocabulary.bias.defined() ? logits + vocabulary.bias : logits;
}

Tensor next_token_loss(const Vocabulary& vocabulary, const Tensor& states, const std::vector<int32_t>& labels,
                       double denominator, double* loss, int64_t* counted, Tensor* right) {
  if (static_cast<int64_t>(labels.size()) != states.size(0))
    throw Error("BAD_DATA", "there is not one label for each token");
  const int64_t size = vocabulary.weight.size(0);
  std::vector<int64_t> rows, wanted;
  for (size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] < 0) continue;
    if (labels[t] >= size) throw Error("BAD_LABEL", "a token to be told is outside the vocabulary");
    rows.push_back(static_cast<int64_t>(t));
    wanted.push_back(labels[t]);
  }
  Tensor gradient = at::zeros_like(states);
  *loss = 0;
  if (right) *right = at::full({states.size(0)}, std::nan(""), at::kFloat);
  *counted = static_cast<int64_t>(rows.size());
  const int64_t each = std::max<int64_t>(1, kAtOnce / size);
  for (int64_t begin = 0; begin < *counted; begin += each) {
    const int64_t n = std::min(each, *counted - begin);
    const Tensor index = at::tensor(at::ArrayRef<int64_t>(rows.data() + begin, n), at::kLong),
                 label = at::tensor(at::ArrayRef<int64_t>(wanted.data() + begin, n), at::kLong).unsqueeze(1);
    const Tensor log_p = at::log_softmax(next_token_logits(vocabulary, states.index_select(0, index)), 1);
    *loss -= log_p.gather(1, label).sum(at::kDouble).item<double>();
    if (right) right->index_copy_(0, index, log_p.argmax(1).eq(label.squeeze(1)).to(at::kFloat));
    if (right) continue;
    Tensor d = log_p.exp();
    d.scatter_add_(1, label, at::full({n, 1}, -1.f));
    d.div_(denominator);
    gradient.index_copy_(0, index,
                         at::mm(d.to(vocabulary.weight.scalar_type()), vocabulary.weight).to(at::kFloat));
  }
  return gradient;
}

}  // namespace lp
