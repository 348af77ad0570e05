#include "train/parameters.h"

#include <cmath>

#include "base/team.h"

namespace lp {
namespace {

// Elements that are worth a turn of a thread.
constexpr int64_t kPiece = 1 << 13;

}  // namespace

size_t Parameters::add(std::string name, std::vector<int64_t> shape, double rate, bool decays) {
  Parameter p;
  p.name = std::move(name);
  p.shape = std::move(shape);
  p.size = 1;
  for (const int64_t n : p.shape) p.size *= n;
  p.offset = size_;
  p.rate = rate;
  p.decays = decays;
  size_ += (p.size + 31) / 32 * 32;
  all_.push_back(std::move(p));
  return all_.size() - 1;
}

void Parameters::freeze() {
  for (Tensor* t : {&value_, &grad_, &m_, &v_}) *t = at::zeros({size_}, at::kFloat);
  for (auto& p : all_) {
    const auto view = [&](const Tensor& t) { return t.narrow(0, p.offset, p.size).view(p.shape); };
    p.value = view(value_);
    p.grad = view(grad_);
    p.moment1 = view(m_);
    p.moment2 = view(v_);
  }
}

double Parameters::gradient_norm() const {
  const float* grad = grad_.const_data_ptr<float>();
  // Each piece has a sum of its own, so that the norm does not depend on the threads. The padding is zero.
  const int64_t pieces = (size_ + kPiece - 1) / kPiece;
  std::vector<double> sums(pieces);
  parallel(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      sums[i] = kernels().square_sum(grad + i * kPiece, std::min(kPiece, size_ - i * kPiece));
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

double Parameters::step(const OptimizerSettings& o, double learning_rate, int64_t count) {
  const double norm = gradient_norm();
  if (!std::isfinite(norm)) return norm;
  const double clip = o.max_grad_norm > 0 ? std::min(1.0, o.max_grad_norm / (norm + 1e-6)) : 1.0;
  AdamW a{};
  a.beta1 = static_cast<float>(o.beta1);
  a.beta2 = static_cast<float>(o.beta2);
  a.eps = static_cast<float>(o.eps);
  a.grad_scale = static_cast<float>(clip);
  a.correction1 = static_cast<float>(1 - std::pow(o.beta1, count));
  a.correction2_sqrt = static_cast<float>(std::sqrt(1 - std::pow(o.beta2, count)));
  struct Piece {
    const Parameter* parameter;
    int64_t begin, end;
  };
  std::vector<Piece> pieces;
  for (const auto& p : all_)
    for (int64_t begin = 0; begin < p.size; begin += kPiece)
      pieces.push_back({&p, begin, std::min(p.size, begin + kPiece)});
  float *value = value_.mutable_data_ptr<float>(), *m = m_.mutable_data_ptr<float>(),
        *v = v_.mutable_data_ptr<float>();
  const float* grad = grad_.const_data_ptr<float>();
  parallel(static_cast<int64_t>(pieces.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Parameter& p = *pieces[i].parameter;
      AdamW of = a;
      of.parameter = value + p.offset;
      of.grad = grad + p.offset;
      of.m = m + p.offset;
      of.v = v + p.offset;
      of.learning_rate = static_cast<float>(learning_rate * p.rate);
      of.weight_decay = p.decays ? static_cast<float>(o.weight_decay) : 0.f;
      kernels().adamw(of, pieces[i].begin, pieces[i].end);
    }
  });
  return norm;
}

}  // namespace lp
