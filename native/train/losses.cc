#include "train/losses.h"

#include <cmath>

#include "base/error.h"

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

}  // namespace

Tensor loss_and_gradient(const Tensor& logits, const std::vector<float>& labels, bool regression,
                         double denominator, double* loss, int64_t* labelled) {
  const int64_t n = logits.size(0), classes = logits.size(1);
  Tensor gradient = at::zeros_like(logits);
  const float* x = logits.const_data_ptr<float>();
  float* g = gradient.mutable_data_ptr<float>();
  *loss = 0;
  *labelled = 0;
  for (int64_t b = 0; b < n; ++b, x += classes, g += classes) {
    if (std::isnan(labels[b])) continue;
    ++*labelled;
    if (regression) {  // squared error
      const double difference = static_cast<double>(x[0]) - labels[b];
      *loss += difference * difference;
      g[0] = static_cast<float>(2 * difference / denominator);
      continue;
    }
    const int64_t label = std::lround(labels[b]);
    if (label < 0 || label >= classes)
      throw Error("BAD_LABEL", "a label is outside 0.." + std::to_string(classes - 1));
    double top = x[0], total = 0;
    for (int64_t c = 1; c < classes; ++c) top = std::max<double>(top, x[c]);
    for (int64_t c = 0; c < classes; ++c) total += std::exp(x[c] - top);
    *loss += std::log(total) + top - x[label];
    for (int64_t c = 0; c < classes; ++c)
      g[c] = static_cast<float>((std::exp(x[c] - top) / total - (c == label)) / denominator);
  }
  return gradient;
}

void add_teacher(const Tensor& logits, const Batch& batch, const Distillation& d, bool regression,
                 double denominator, Tensor gradient, double* loss) {
  if (batch.teacher_logits.empty() || d.logits == 0) return;
  const int64_t classes = logits.size(1);
  if (static_cast<int64_t>(batch.teacher_logits.size()) != logits.numel())
    throw Error("BAD_DATA", "a teacher's logits are of another number of labels");
  gradient.mul_(1 - d.logits);
  *loss *= 1 - d.logits;
  const float *x = logits.const_data_ptr<float>(), *t = batch.teacher_logits.data();
  float* g = gradient.mutable_data_ptr<float>();
  for (const float label : batch.labels) {
    if (!std::isnan(label)) {
      if (regression) {
        const double difference = static_cast<double>(x[0]) - t[0];
        *loss += d.logits * difference * difference;
        g[0] += static_cast<float>(d.logits * 2 * difference / denominator);
      } else {
        const auto student = log_softmax(x, classes, d.temperature),
                   teacher = log_softmax(t, classes, d.temperature);
        for (int64_t c = 0; c < classes; ++c) {
          const double p = std::exp(teacher[c]);
          *loss += d.logits * d.temperature * d.temperature * p * (teacher[c] - student[c]);
          g[c] += static_cast<float>(d.logits * d.temperature * (std::exp(student[c]) - p) / denominator);
        }
      }
    }
    x += classes;
    t += classes;
    g += classes;
  }
}

Tensor states_gradient(const Tensor& states, const Batch& batch, const Distillation& d, double denominator,
                       double* loss) {
  if (batch.teacher_states.empty() || d.states == 0) return {};
  if (static_cast<int64_t>(batch.teacher_states.size()) != states.numel())
    throw Error("BAD_DATA", "a teacher's states are of another size");
  const Tensor teacher =
      at::from_blob(const_cast<float*>(batch.teacher_states.data()), states.sizes(), at::kFloat);
  std::vector<float> counts;
  const size_t choices = states.size(0) / std::max<size_t>(1, batch.labels.size());
  for (const float label : batch.labels) counts.insert(counts.end(), choices, std::isnan(label) ? 0.f : 1.f);
  const Tensor difference = (states - teacher) * at::tensor(counts).unsqueeze(1);
  const double each = d.states / static_cast<double>(states.size(1));
  *loss += each * difference.square().sum().item<double>();
  return difference * (2 * each / denominator);
}

Tensor tag_loss(const Tensor& outputs, const std::vector<int32_t>& labels, double denominator, double* loss,
                int64_t* labelled) {
  std::vector<float> of_tokens;
  for (const int32_t label : labels) of_tokens.push_back(label < 0 ? NAN : static_cast<float>(label));
  return loss_and_gradient(outputs, of_tokens, false, denominator, loss, labelled);
}

Tensor span_loss(const Tensor& outputs, const Batch& batch, double denominator, double* loss,
                 int64_t* labelled) {
  Tensor gradient = at::zeros_like(outputs);
  *loss = 0;
  *labelled = 0;
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    if (batch.spans[2 * b] < 0) continue;
    ++*labelled;
    const int64_t begin = batch.cu_seqlens[b], length = batch.cu_seqlens[b + 1] - begin;
    for (int64_t end = 0; end < 2; ++end) {
      double each = 0;
      int64_t told = 0;
      const Tensor logits = outputs.narrow(0, begin, length).select(1, end).contiguous().view({1, length});
      const Tensor d = loss_and_gradient(logits, {static_cast<float>(batch.spans[2 * b + end])}, false,
                                         2 * denominator, &each, &told);
      *loss += each / 2;
      gradient.narrow(0, begin, length).select(1, end).copy_(d.view({length}));
    }
  }
  return gradient;
}

}  // namespace lp
