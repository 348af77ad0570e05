#include "train/losses.h"

#include <cmath>

#include "base/error.h"
#include "ops/device.h"

namespace lp {
namespace {

/// log softmax(x / temperature) of `classes` values.
std::vector<double> log_softmax(const float* x, int64_t classes, double temperature) {
  std::vector<double> out(classes);
  double top = x[0] / temperature, total = 0;
  for (int64_t c = 0; c < classes; ++c) top = std::max(top, out[c] = x[c] / temperature);
  for (const double value : out) total += std::exp(value - top);
  for (double& value : out) value -= top + std::log(total);
  return out;
}

/// A label of one row of logits, or NaN, beside what a teacher makes of it.
struct Target {
  float label;
  const float* teacher;  // or null
  double weight, temperature;
};

/// The loss of a row, g its gradient times `denominator`.
double row_loss(const float* x, int64_t classes, const Target& t, bool regression, double denominator,
                float* g) {
  const double own = t.teacher ? 1 - t.weight : 1;
  if (regression) {  // squared error
    const double far = static_cast<double>(x[0]) - t.label,
                 from_teacher = t.teacher ? static_cast<double>(x[0]) - t.teacher[0] : 0;
    g[0] = static_cast<float>(2 * (own * far + t.weight * from_teacher) / denominator);
    return own * far * far + t.weight * from_teacher * from_teacher;
  }
  const int64_t label = std::lround(t.label);
  const std::vector<double> log_p = log_softmax(x, classes, 1);
  double loss = -own * log_p[label];
  std::vector<double> d(classes);
  for (int64_t c = 0; c < classes; ++c) d[c] = own * (std::exp(log_p[c]) - (c == label));
  if (t.teacher) {
    const auto student = log_softmax(x, classes, t.temperature),
               teacher = log_softmax(t.teacher, classes, t.temperature);
    for (int64_t c = 0; c < classes; ++c) {
      const double p = std::exp(teacher[c]);
      loss += t.weight * t.temperature * t.temperature * p * (teacher[c] - student[c]);
      d[c] += t.weight * t.temperature * (std::exp(student[c]) - p);
    }
  }
  for (int64_t c = 0; c < classes; ++c) g[c] = static_cast<float>(d[c] / denominator);
  return loss;
}

/// Throws BAD_LABEL where a label is none of so many.
void check_label(float label, int64_t classes) {
  const int64_t whole = std::lround(label);
  if (whole < 0 || whole >= classes)
    throw Error("BAD_LABEL", "a label is outside 0.." + std::to_string(classes - 1));
}

/// The same as row_loss for all rows, by the CUDA kernel.
void losses_there(const DeviceKernels& kernels, const Tensor& outputs, const Targets& targets,
                  const TargetsThere& there, const std::vector<float>& teacher, const Distillation& d,
                  double denominator, const Tensor& gradient, LossSum& loss) {
  const Tensor taught = teacher.empty() ? Tensor() : queued(teacher, outputs.device()),
               losses = at::empty(there.values.sizes(), there.values.options().dtype(at::kDouble));
  LossRows a{};
  a.logits = outputs.const_data_ptr<float>();
  a.labels = there.values.const_data_ptr<float>();
  a.teacher = taught.defined() ? taught.const_data_ptr<float>() : nullptr;
  a.gradient = gradient.mutable_data_ptr<float>();
  a.losses = losses.mutable_data_ptr<double>();
  a.cu = targets.spans ? there.cu.const_data_ptr<int32_t>() : nullptr;
  a.count = outputs.size(1);
  a.regression = targets.regression;
  a.denominator = denominator;
  a.denominator_there = there.denominator.defined() ? there.denominator.const_data_ptr<double>() : nullptr;
  a.teacher_weight = d.logits;
  a.temperature = d.temperature;
  kernels.loss_rows(a, launch_on(there.values));
  loss.add(losses.sum(), targets.spans ? 0.5 : 1);
}

}  // namespace

void LossSum::add(const Tensor& loss, double factor) {
  later_ = later_.defined() ? at::add(later_, loss, factor) : loss * factor;
}

Tensor LossSum::there(const at::Device& device) const {
  if (!later_.defined()) return at::full({}, host_, at::TensorOptions(device).dtype(at::kDouble));
  return host_ == 0 ? later_ : later_ + host_;
}

double LossSum::value() const { return host_ + (later_.defined() ? later_.item<double>() : 0); }

Targets targets_of(const Batch& batch, Told told, bool regression, int64_t classes) {
  Targets targets;
  targets.regression = regression && told == Told::labels;
  if (told == Told::labels) targets.values = batch.labels;
  if (told == Told::tags)
    for (const int32_t tag : batch.token_labels)
      targets.values.push_back(tag < 0 ? NAN : static_cast<float>(tag));
  if (told == Told::spans) {
    targets.spans = true;
    targets.cu_seqlens = batch.cu_seqlens;
    for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b)
      for (size_t e = 2 * b; e < 2 * b + 2; ++e) {
        const bool counts = batch.spans[2 * b] >= 0;
        targets.values.push_back(counts ? static_cast<float>(batch.spans[e]) : NAN);
        if (counts) check_label(targets.values.back(), batch.cu_seqlens[b + 1] - batch.cu_seqlens[b]);
      }
  }
  for (const float value : targets.values) {
    if (std::isnan(value)) continue;
    ++targets.counted;
    if (!targets.regression && !targets.spans) check_label(value, classes);
  }
  if (targets.spans) targets.counted /= 2;
  return targets;
}

TargetsThere there_of(const Targets& targets, const at::Device& device) {
  TargetsThere there{queued(targets.values, device), {}, {}};
  if (targets.spans) there.cu = queued(targets.cu_seqlens, device);
  return there;
}

Tensor target_loss(const Tensor& outputs, const Targets& targets, const TargetsThere& there,
                   const std::vector<float>& teacher, const Distillation& d, double denominator,
                   LossSum& loss) {
  const bool taught = !teacher.empty() && d.logits != 0;
  if (taught && static_cast<int64_t>(teacher.size()) != outputs.numel())
    throw Error("BAD_DATA", "a teacher's logits are of another number of labels");
  const double over = targets.spans ? 2 * denominator : denominator;
  Tensor gradient = at::zeros_like(outputs);
  if (const DeviceKernels* kernels = device_kernels(outputs)) {
    losses_there(*kernels, outputs, targets, there, taught ? teacher : std::vector<float>{}, d, over,
                 gradient, loss);
    return gradient;
  }
  for (size_t row = 0; row < targets.values.size(); ++row) {
    if (std::isnan(targets.values[row])) continue;
    const auto at = static_cast<int64_t>(row);
    if (!targets.spans) {
      const Target target{targets.values[row], taught ? teacher.data() + at * outputs.size(1) : nullptr,
                          d.logits, d.temperature};
      loss.add(row_loss(outputs.const_data_ptr<float>() + at * outputs.size(1), outputs.size(1), target,
                        targets.regression, over, gradient.mutable_data_ptr<float>() + at * outputs.size(1)));
      continue;
    }
    const int64_t begin = targets.cu_seqlens[row / 2], length = targets.cu_seqlens[row / 2 + 1] - begin;
    const Tensor logits = outputs.narrow(0, begin, length).select(1, at % 2).contiguous();
    const Tensor slopes = at::empty_like(logits);
    loss.add(row_loss(logits.const_data_ptr<float>(), length, {targets.values[row], nullptr, 0, 1}, false,
                      over, slopes.mutable_data_ptr<float>()) /
             2);
    gradient.narrow(0, begin, length).select(1, at % 2).copy_(slopes);
  }
  return gradient;
}

Tensor states_gradient(const Tensor& states, const Batch& batch, const Distillation& d, double denominator,
                       LossSum& loss) {
  if (batch.teacher_states.empty() || d.states == 0) return {};
  if (static_cast<int64_t>(batch.teacher_states.size()) != states.numel())
    throw Error("BAD_DATA", "a teacher's states are of another size");
  const Tensor teacher = queued(batch.teacher_states, states.device()).view(states.sizes());
  std::vector<float> counts;
  const size_t choices = states.size(0) / std::max<size_t>(1, batch.labels.size());
  for (const float label : batch.labels) counts.insert(counts.end(), choices, std::isnan(label) ? 0.f : 1.f);
  const Tensor difference = (states - teacher) * queued(counts, states.device()).unsqueeze(1);
  const double each = d.states / static_cast<double>(states.size(1));
  loss.add(difference.square().sum(at::kDouble), each);
  return difference * (2 * each / denominator);
}

}  // namespace lp
