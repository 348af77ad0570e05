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

Tensor on(const at::Device& device, const std::vector<float>& values) {
  return at::tensor(at::ArrayRef<float>(values)).to(device);
}

/// The same for all rows by the CUDA kernel, whose losses are summed there.
void rows_on_device(LossRows a, const Tensor& logits, const std::vector<float>& labels, double factor,
                    LossSum& loss) {
  const Tensor there = on(logits.device(), labels),
               losses = at::empty(there.sizes(), there.options().dtype(at::kDouble));
  a.logits = logits.const_data_ptr<float>();
  a.labels = there.const_data_ptr<float>();
  a.losses = losses.mutable_data_ptr<double>();
  device_kernels(logits)->loss_rows(a, launch_on(there));
  loss.add(losses.sum(), factor);
}

}  // namespace

void LossSum::add(const Tensor& loss, double factor) {
  later_ = later_.defined() ? at::add(later_, loss, factor) : loss * factor;
}

void LossSum::scale(double factor) {
  host_ *= factor;
  if (later_.defined()) later_ = later_ * factor;
}

double LossSum::value() const { return host_ + (later_.defined() ? later_.item<double>() : 0); }

Tensor label_loss(const Tensor& logits, const Batch& batch, const Distillation& d, bool regression,
                  double denominator, LossSum& loss) {
  const int64_t classes = logits.size(1);
  const bool taught = !batch.teacher_logits.empty() && d.logits != 0;
  if (taught && static_cast<int64_t>(batch.teacher_logits.size()) != logits.numel())
    throw Error("BAD_DATA", "a teacher's logits are of another number of labels");
  for (const float label : batch.labels) {
    if (std::isnan(label)) continue;
    ++loss.labelled;
    if (!regression) check_label(label, classes);
  }
  Tensor gradient = at::zeros_like(logits);
  if (device_kernels(logits)) {
    const Tensor teacher = taught ? on(logits.device(), batch.teacher_logits) : Tensor();
    LossRows a{};
    a.teacher = taught ? teacher.const_data_ptr<float>() : nullptr;
    a.gradient = gradient.mutable_data_ptr<float>();
    a.count = classes;
    a.regression = regression;
    a.denominator = denominator;
    a.teacher_weight = d.logits;
    a.temperature = d.temperature;
    rows_on_device(a, logits, batch.labels, 1, loss);
    return gradient;
  }
  const float* x = logits.const_data_ptr<float>();
  float* g = gradient.mutable_data_ptr<float>();
  for (size_t b = 0; b < batch.labels.size(); ++b) {
    const int64_t at = static_cast<int64_t>(b) * classes;
    if (std::isnan(batch.labels[b])) continue;
    const Target target{batch.labels[b], taught ? batch.teacher_logits.data() + at : nullptr, d.logits,
                        d.temperature};
    loss.add(row_loss(x + at, classes, target, regression, denominator, g + at));
  }
  return gradient;
}

Tensor states_gradient(const Tensor& states, const Batch& batch, const Distillation& d, double denominator,
                       LossSum& loss) {
  if (batch.teacher_states.empty() || d.states == 0) return {};
  if (static_cast<int64_t>(batch.teacher_states.size()) != states.numel())
    throw Error("BAD_DATA", "a teacher's states are of another size");
  const Tensor teacher = on(states.device(), batch.teacher_states).view(states.sizes());
  std::vector<float> counts;
  const size_t choices = states.size(0) / std::max<size_t>(1, batch.labels.size());
  for (const float label : batch.labels) counts.insert(counts.end(), choices, std::isnan(label) ? 0.f : 1.f);
  const Tensor difference = (states - teacher) * on(states.device(), counts).unsqueeze(1);
  const double each = d.states / static_cast<double>(states.size(1));
  loss.add(difference.square().sum(at::kDouble), each);
  return difference * (2 * each / denominator);
}

Tensor tag_loss(const Tensor& outputs, const std::vector<int32_t>& labels, double denominator,
                LossSum& loss) {
  Batch batch;
  for (const int32_t label : labels) batch.labels.push_back(label < 0 ? NAN : static_cast<float>(label));
  return label_loss(outputs, batch, {}, false, denominator, loss);
}

Tensor span_loss(const Tensor& outputs, const Batch& batch, double denominator, LossSum& loss) {
  std::vector<float> ends;
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    if (batch.spans[2 * b] >= 0) ++loss.labelled;
    for (size_t e = 2 * b; e < 2 * b + 2; ++e) {
      ends.push_back(batch.spans[2 * b] < 0 ? NAN : static_cast<float>(batch.spans[e]));
      if (batch.spans[2 * b] >= 0) check_label(ends.back(), batch.cu_seqlens[b + 1] - batch.cu_seqlens[b]);
    }
  }
  Tensor gradient = at::zeros_like(outputs);
  if (device_kernels(outputs)) {
    const Tensor cu = at::tensor(at::ArrayRef<int32_t>(batch.cu_seqlens), at::kInt).to(outputs.device());
    LossRows a{};
    a.gradient = gradient.mutable_data_ptr<float>();
    a.cu = cu.const_data_ptr<int32_t>();
    a.denominator = 2 * denominator;
    rows_on_device(a, outputs, ends, 0.5, loss);
    return gradient;
  }
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    const int64_t begin = batch.cu_seqlens[b], length = batch.cu_seqlens[b + 1] - begin;
    for (int64_t end = 0; end < 2; ++end) {
      const float label = ends[2 * b + end];
      if (std::isnan(label)) continue;
      const Tensor logits = outputs.narrow(0, begin, length).select(1, end).contiguous();
      const Tensor d = at::empty_like(logits);
      loss.add(row_loss(logits.const_data_ptr<float>(), length, {label, nullptr, 0, 1}, false,
                        2 * denominator, d.mutable_data_ptr<float>()) /
               2);
      gradient.narrow(0, begin, length).select(1, end).copy_(d);
    }
  }
  return gradient;
}

}  // namespace lp
