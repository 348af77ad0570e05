#include "train/parameters.h"

#include <cmath>

namespace lp {

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
    p.value = value_.narrow(0, p.offset, p.size).view(p.shape);
    p.grad = grad_.narrow(0, p.offset, p.size).view(p.shape);
  }
}

double Parameters::step(const OptimizerSettings& o, double learning_rate, int64_t count) {
  // In float64: the padding is zero and adds nothing.
  const double norm = std::sqrt(grad_.to(at::kDouble).square().sum().item<double>());
  if (!std::isfinite(norm)) return norm;
  const double clip = o.max_grad_norm > 0 ? std::min(1.0, o.max_grad_norm / (norm + 1e-6)) : 1.0;
  AdamW a{};
  a.beta1 = static_cast<float>(o.beta1);
  a.beta2 = static_cast<float>(o.beta2);
  a.eps = static_cast<float>(o.eps);
  a.grad_scale = static_cast<float>(clip);
  a.correction1 = static_cast<float>(1 - std::pow(o.beta1, count));
  a.correction2_sqrt = static_cast<float>(std::sqrt(1 - std::pow(o.beta2, count)));
  for (const auto& p : all_) {
    a.parameter = value_.mutable_data_ptr<float>() + p.offset;
    a.grad = grad_.const_data_ptr<float>() + p.offset;
    a.m = m_.mutable_data_ptr<float>() + p.offset;
    a.v = v_.mutable_data_ptr<float>() + p.offset;
    a.learning_rate = static_cast<float>(learning_rate * p.rate);
    a.weight_decay = p.decays ? static_cast<float>(o.weight_decay) : 0.f;
    kernels().adamw(a, 0, p.size);
  }
  return norm;
}

}  // namespace lp
