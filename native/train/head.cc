#include "train/head.h"

#include "train/initial.h"

namespace lp {
namespace {

Tensor activated(const Tensor& x, HeadActivation kind) {
  if (kind == HeadActivation::tanh) return x.tanh();
  return kind == HeadActivation::gelu ? at::gelu(x) : x.relu();
}

Tensor activation_gradient(const Tensor& dy, const Tensor& x, const Tensor& y, HeadActivation kind) {
  if (kind == HeadActivation::tanh) return dy * (1 - y.square());
  return kind == HeadActivation::gelu ? at::gelu_backward(dy, x) : dy * (x > 0);
}

}  // namespace

Head::Head(const HeadConfig& config, int64_t width, Parameters& parameters)
    : config_(config), parameters_(parameters) {
  if (config.dense) {
    const double rate = config.frozen_dense ? 0 : 1;
    dense_weight_ = parameters.add("classifier.dense.weight", {width, width}, rate, true);
    dense_bias_ = parameters.add("classifier.dense.bias", {width}, rate, true);
  }
  out_weight_ = parameters.add("classifier.out_proj.weight", {config.outputs, width}, 1, true);
  if (config.bias) out_bias_ = parameters.add("classifier.out_proj.bias", {config.outputs}, 1, true);
}

void Head::initialise(uint64_t seed) {
  if (config_.dense) fill_normal(parameters_[dense_weight_].value, 0.02, seed, 1u << 20);
  fill_normal(parameters_[out_weight_].value, 0.02, seed, (1u << 20) + 1);
}

Tensor Head::forward(const Tensor& states, const Dropout& first, const Dropout& second,
                     HeadSaved* saved) const {
  HeadSaved s;
  if (config_.dense) {
    s.dropout0 = first;
    s.pooled = apply_dropout(states, first);
    s.before = at::addmm(parameters_[dense_bias_].value, s.pooled, parameters_[dense_weight_].value.t());
    s.dense = activated(s.before, config_.activation);
  }
  s.dropout1 = second;
  s.dropped = apply_dropout(config_.dense ? s.dense : states, second);
  if (saved) *saved = s;
  const Tensor weight = parameters_[out_weight_].value.t();
  return config_.bias ? at::addmm(parameters_[out_bias_].value, s.dropped, weight)
                      : at::mm(s.dropped, weight);
}

Tensor Head::backward(const Tensor& d_outputs, const HeadSaved& saved) {
  parameters_[out_weight_].grad.addmm_(d_outputs.t(), saved.dropped);
  if (config_.bias) parameters_[out_bias_].grad.add_(d_outputs.sum(0));
  Tensor d = apply_dropout(at::mm(d_outputs, parameters_[out_weight_].value), saved.dropout1);
  if (!config_.dense) return d;
  d = activation_gradient(d, saved.before, saved.dense, config_.activation);
  if (!config_.frozen_dense) {
    parameters_[dense_weight_].grad.addmm_(d.t(), saved.pooled);
    parameters_[dense_bias_].grad.add_(d.sum(0));
  }
  return apply_dropout(at::mm(d, parameters_[dense_weight_].value), saved.dropout0);
}

}  // namespace lp
