#include "train/parameters.h"

#include <cmath>

#include "base/team.h"

namespace lp {
namespace {

// Elements that are worth a turn of a thread.
constexpr int64_t kPiece = kAdamPiece;

AdamW arguments(const OptimizerSettings& o) {
  AdamW a{};
  a.beta1 = static_cast<float>(o.beta1);
  a.beta2 = static_cast<float>(o.beta2);
  a.eps = static_cast<float>(o.eps);
  return a;
}

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

Tensor Parameters::squares_on(const DeviceKernels& kernels) const {
  const auto count = static_cast<int64_t>(pieces_.size());
  Tensor squares = at::empty({count}, value_.options().dtype(at::kDouble));
  Launch launch = launch_on(grad_);
  launch.rows = count;
  kernels.square_sums(grad_.const_data_ptr<float>(),
                      static_cast<const AdamPiece*>(pieces_there_.const_data_ptr()),
                      squares.mutable_data_ptr<double>(), launch);
  return squares;
}

std::vector<double> Parameters::schedule_of(const OptimizerSettings& o, double learning_rate, int64_t count) {
  return {learning_rate, 1 - std::pow(o.beta1, count), std::sqrt(1 - std::pow(o.beta2, count))};
}

Tensor Parameters::queue_step(const OptimizerSettings& o, const Tensor& schedule) {
  const DeviceKernels& kernels = *device_kernels(value_);
  const Tensor squares = squares_on(kernels), norm = at::empty({1}, squares.options());
  AdamPieces a{};
  a.all = arguments(o);
  a.all.parameter = value_.mutable_data_ptr<float>();
  a.all.grad = grad_.const_data_ptr<float>();
  a.all.m = m_.mutable_data_ptr<float>();
  a.all.v = v_.mutable_data_ptr<float>();
  a.all.weight_decay = static_cast<float>(o.weight_decay);
  a.pieces = static_cast<const AdamPiece*>(pieces_there_.const_data_ptr());
  a.squares = squares.const_data_ptr<double>();
  a.norm = norm.mutable_data_ptr<double>();
  a.max_norm = o.max_grad_norm;
  a.schedule = schedule.const_data_ptr<double>();
  Launch launch = launch_on(grad_);
  launch.rows = squares.size(0);
  kernels.adamw(a, launch);
  return norm;
}

double Parameters::gradient_norm() const {
  if (const DeviceKernels* kernels = device_kernels(grad_))
    return std::sqrt(squares_on(*kernels).sum().item<double>());
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

double Parameters::step(const OptimizerSettings& o, double learning_rate, int64_t count) {
  const std::vector<double> schedule = schedule_of(o, learning_rate, count);
  if (device_kernels(value_))
    return queue_step(o, at::tensor(at::ArrayRef<double>(schedule)).to(value_.device())).item<double>();
  const double norm = gradient_norm();
  if (!std::isfinite(norm)) return norm;
  AdamW a = arguments(o);
  a.correction1 = static_cast<float>(schedule[1]);
  a.correction2_sqrt = static_cast<float>(schedule[2]);
  a.grad_scale = static_cast<float>(o.max_grad_norm > 0 ? std::min(1.0, o.max_grad_norm / (norm + 1e-6)) : 1);
  a.parameter = value_.mutable_data_ptr<float>();
  a.m = m_.mutable_data_ptr<float>();
  a.v = v_.mutable_data_ptr<float>();
  a.grad = grad_.const_data_ptr<float>();
  parallel(static_cast<int64_t>(pieces_.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      AdamW of = a;
      of.learning_rate = static_cast<float>(learning_rate * pieces_[i].rate);
      of.weight_decay = pieces_[i].decays ? static_cast<float>(o.weight_decay) : 0.f;
      kernels().adamw(of, pieces_[i].begin, pieces_[i].end);
    }
  });
  return norm;
}

}  // namespace lp
