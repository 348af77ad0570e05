#include "train/parameters.h"

#include <cmath>

#include "base/team.h"

namespace lp {
namespace {

// Elements that are worth a turn of a thread.
constexpr int64_t kPiece = kAdamPiece;

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

void Parameters::freeze(const at::Device& device) {
  for (Tensor* t : {&value_, &grad_, &m_, &v_})
    *t = at::zeros({size_}, at::TensorOptions(device).dtype(at::kFloat));
  for (auto& p : all_) {
    const auto view = [&](const Tensor& t) { return t.narrow(0, p.offset, p.size).view(p.shape); };
    p.value = view(value_);
    p.grad = view(grad_);
    p.moment1 = view(m_);
    p.moment2 = view(v_);
  }
  follow();
}

void Parameters::follow() {
  pieces_.clear();
  for (const Parameter& p : all_)
    for (int64_t begin = 0; begin < p.size && !p.rests; begin += kPiece)
      pieces_.push_back({p.offset + begin, p.offset + std::min(p.size, begin + kPiece),
                         static_cast<float>(p.rate), p.decays});
  if (device_kernels(value_)) pieces_there_ = on_device_of(value_, pieces_);
}

Tensor Parameters::numbers_of(const OptimizerSettings& o, double learning_rate, int64_t count,
                              int64_t examples) {
  static_assert(sizeof(StepNumbers) == 4 * sizeof(double), "they are a tensor in this order");
  return at::tensor({learning_rate, 1 - std::pow(o.beta1, count), std::sqrt(1 - std::pow(o.beta2, count)),
                     static_cast<double>(std::max<int64_t>(1, examples))},
                    at::kDouble);
}

void Parameters::queue_step(const DeviceKernels& kernels, AdamPieces& a) const {
  const auto count = static_cast<int64_t>(pieces_.size());
  Tensor squares = at::empty({count}, value_.options().dtype(at::kDouble));
  Launch launch = launch_on(grad_);
  launch.rows = count;
  a.pieces = static_cast<const AdamPiece*>(pieces_there_.const_data_ptr());
  a.squares = squares.const_data_ptr<double>();
  kernels.square_sums(a.all.grad, a.pieces, squares.mutable_data_ptr<double>(), launch);
  kernels.adamw(a, launch);
}

double Parameters::gradient_norm() const {
  const float* grad = grad_.const_data_ptr<float>();
  // Each piece has a sum of its own, so that the norm does not depend on the threads. The padding is zero.
  const int64_t pieces = (size_ + kPiece - 1) / kPiece;
  std::vector<double> sums(pieces);
  parallel(pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      sums[i] = kernels().dot(grad + i * kPiece, grad + i * kPiece, std::min(kPiece, size_ - i * kPiece));
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

void Parameters::step(const OptimizerSettings& o, const Tensor& numbers, const Tensor& loss, Tensor tally) {
  AdamW all{};
  all.beta1 = static_cast<float>(o.beta1);
  all.beta2 = static_cast<float>(o.beta2);
  all.eps = static_cast<float>(o.eps);
  all.weight_decay = static_cast<float>(o.weight_decay);
  all.parameter = value_.mutable_data_ptr<float>();
  all.grad = grad_.const_data_ptr<float>();
  all.m = m_.mutable_data_ptr<float>();
  all.v = v_.mutable_data_ptr<float>();
  const auto& n = *static_cast<const StepNumbers*>(numbers.const_data_ptr());
  auto& t = *static_cast<TallyNumbers*>(tally.mutable_data_ptr());
  if (const DeviceKernels* kernels = device_kernels(value_)) {
    AdamPieces pieces{all, nullptr, nullptr, o.max_grad_norm, loss.const_data_ptr<double>(), &n, &t};
    queue_step(*kernels, pieces);
    return;
  }
  if (t.stopped != 0) return;
  const double sum = loss.item<double>();
  t.norm = std::isfinite(sum) ? gradient_norm() : std::nan("");
  if (!std::isfinite(t.norm)) {
    t.stopped = 1;
    return;
  }
  t.loss += sum / n.examples;
  t.steps += 1;
  all.correction1 = static_cast<float>(n.correction1);
  all.correction2_sqrt = static_cast<float>(n.correction2_sqrt);
  all.grad_scale =
      static_cast<float>(o.max_grad_norm > 0 ? std::min(1.0, o.max_grad_norm / (t.norm + 1e-6)) : 1);
  parallel(static_cast<int64_t>(pieces_.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      AdamW of = all;
      of.learning_rate = static_cast<float>(n.learning_rate * pieces_[i].rate);
      of.weight_decay = pieces_[i].decays ? all.weight_decay : 0.f;
      kernels().adamw(of, pieces_[i].begin, pieces_[i].end);
    }
  });
}

}  // namespace lp
