#include "train/vocabulary.h"

#include "base/error.h"
#include "ops/arguments.h"
#include "ops/device.h"

namespace lp {

// Logits that exist at a time: 64 MiB of fp32.
constexpr int64_t kAtOnce = 1 << 24;

Vocabulary::Vocabulary(const Model& model, Backbone* backbone)
    : model_(&model), backbone_(backbone), weight_(model.vocabulary.to(model.dtype).contiguous()) {
  if (model.vocabulary_bias.defined()) bias_ = model.vocabulary_bias.to(at::kFloat);
}

Vocabulary::Read Vocabulary::read(const Tensor& states, bool saves) const {
  Read r;
  r.x = states.to(weight_.scalar_type());
  if (model_->vocabulary_dense.out() == 0) {
    r.out = r.x;
    return r;
  }
  r.z = linear_forward(r.x, model_->vocabulary_dense, nullptr, nullptr);
  r.out = norm_forward(activation_forward(r.z, Tensor(), model_->spec.vocabulary_activation), Tensor(),
                       model_->vocabulary_norm, Dropout{}, saves ? &r.norm : nullptr);
  return r;
}

Tensor Vocabulary::read_backward(const Tensor& d_out, const Read& r) const {
  if (!r.z.defined()) return d_out;
  const Tensor d = d_out.to(weight_.scalar_type());
  if (backbone_) backbone_->norm(model_->vocabulary_norm, d, r.norm);
  const Tensor dz = norm_backward(d, model_->vocabulary_norm, r.norm).residual;
  activation_backward(r.z, dz, Tensor(), {}, model_->spec.vocabulary_activation);
  if (backbone_) backbone_->linear(model_->vocabulary_dense, r.x, dz);
  return linear_backward(LinearGradient{dz, &model_->vocabulary_dense, {}}, Tensor()).to(at::kFloat);
}

Tensor Vocabulary::products(const Tensor& out) const {
  const Tensor logits = at::mm(out, weight_.t()).to(at::kFloat);
  return bias_.defined() ? logits + bias_ : logits;
}

void Vocabulary::token_losses(const DeviceKernels& kernels, const Tensor& logits, const Tensor& labels,
                              double denominator, const Tensor& right, LossSum& loss) const {
  const Tensor losses = at::empty(labels.sizes(), labels.options().dtype(at::kDouble));
  const TokenLoss a{logits.mutable_data_ptr(),
                    floats(bias_),
                    labels.const_data_ptr<int64_t>(),
                    losses.mutable_data_ptr<double>(),
                    mutable_floats(right),
                    logits.size(1),
                    denominator};
  kernels.token_loss(a, launch_on(logits));
  loss.add(losses.sum(), 1);
}

void Vocabulary::gradients(const Tensor& out, const Tensor& d, const Tensor& d_out) const {
  if (backbone_ && bias_.defined()) backbone_->bias(model_->vocabulary_bias, d.sum(0, false, at::kFloat));
  const Tensor narrow = d.to(weight_.scalar_type());
  d_out.copy_(at::mm(narrow, weight_));
  if (backbone_) backbone_->table(model_->tied ? model_->word : model_->vocabulary, out, narrow);
}

Tensor Vocabulary::logits(const Tensor& states) const { return products(read(states, false).out); }

Tensor Vocabulary::loss(const Tensor& states, const std::vector<int32_t>& labels, double denominator,
                        LossSum& loss, Tensor* right) const {
  if (static_cast<int64_t>(labels.size()) != states.size(0))
    throw Error("BAD_DATA", "there is not one label for each token");
  const int64_t size = weight_.size(0);
  std::vector<int64_t> rows, wanted;
  for (size_t t = 0; t < labels.size(); ++t) {
    if (labels[t] < 0) continue;
    if (labels[t] >= size) throw Error("BAD_LABEL", "a token to be told is outside the vocabulary");
    rows.push_back(static_cast<int64_t>(t));
    wanted.push_back(labels[t]);
  }
  const auto counted = static_cast<int64_t>(rows.size());
  if (right) *right = at::full({states.size(0)}, std::nan(""), states.options());
  Tensor gradient = at::zeros_like(states);
  if (rows.empty()) return gradient;
  const Tensor places = queued(rows, states.device()), labels_there = queued(wanted, states.device());
  const Read told = read(states.index_select(0, places), !right);
  Tensor d_out = at::empty(told.out.sizes(), states.options());
  const int64_t each = std::max<int64_t>(1, kAtOnce / size);
  for (int64_t begin = 0; begin < counted; begin += each) {
    const int64_t n = std::min(each, counted - begin);
    const Tensor out = told.out.narrow(0, begin, n), label = labels_there.narrow(0, begin, n).unsqueeze(1);
    if (const DeviceKernels* kernels = device_kernels(out)) {
      const Tensor d = at::mm(out, weight_.t());
      Tensor each_right;
      if (right) each_right = at::empty({n}, states.options());
      token_losses(*kernels, d, labels_there.narrow(0, begin, n), denominator, each_right, loss);
      if (right)
        right->index_copy_(0, places.narrow(0, begin, n), each_right);
      else
        gradients(out, d, d_out.narrow(0, begin, n));
      continue;
    }
    const Tensor log_p = at::log_softmax(products(out), 1);
    loss.add(log_p.gather(1, label).sum(at::kDouble), -1);
    if (right) {
      right->index_copy_(0, places.narrow(0, begin, n), log_p.argmax(1).eq(label.squeeze(1)).to(at::kFloat));
      continue;
    }
    Tensor d = log_p.exp();
    d.scatter_add_(1, label, at::full({n, 1}, -1.f, d.options()));
    d.div_(denominator);
    gradients(out, d, d_out.narrow(0, begin, n));
  }
  if (!right) gradient.index_copy_(0, places, read_backward(d_out, told));
  return gradient;
}

}  // namespace lp
