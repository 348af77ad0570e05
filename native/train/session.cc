#include "train/session.h"

#include <cmath>

#include "base/error.h"

namespace lp {

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

Session::Session(std::shared_ptr<const Model> model, const SessionConfig& config)
    : config_(config), network_(std::move(model), config.network) {
  int64_t ranks = 0;
  for (const auto& m : config.network.modules) ranks += m.rank;
  ratio_sum_ = at::zeros({static_cast<int64_t>(config.network.modules.size())}, at::kDouble);
  rank_sum_ = at::zeros({ranks}, at::kDouble);
  scored_ = at::zeros({1}, at::kDouble);
}

void Session::step(const std::vector<Batch>& batches, double learning_rate, bool score) {
  if (metrics_.not_finite >= 0) return;  // the last good state stays
  int64_t examples = 0;
  for (const auto& batch : batches)
    for (const float label : batch.labels) examples += !std::isnan(label);
  Parameters& parameters = network_.parameters();
  parameters.zero_grad();
  double loss = 0;
  int64_t tokens = 0;
  std::vector<double> ratios(config_.network.modules.size(), 0);
  for (size_t i = 0; i < batches.size(); ++i) {
    Saved saved;
    const Pass pass{true, true, score, static_cast<uint64_t>(steps_), i};
    const Tensor logits = network_.forward(batches[i], pass, &saved);
    metrics_.activation_bytes = std::max(metrics_.activation_bytes, saved.bytes());
    double part = 0;
    int64_t labelled = 0;
    const Tensor d = loss_and_gradient(logits, batches[i].labels, config_.network.regression,
                                       std::max<int64_t>(1, examples), &part, &labelled);
    network_.backward(d, saved);
    loss += part;
    tokens += static_cast<int64_t>(batches[i].ids.size());
    if (score)
      for (size_t m = 0; m < ratios.size(); ++m) ratios[m] += network_.ratios()[m];
  }
  loss /= std::max<int64_t>(1, examples);
  network_.penalize(config_.l1_heads, config_.l1_neurons);
  // Taken of the values before the update, kept only if there is one.
  const Tensor ranks = score ? rank_scores() : Tensor();
  const double norm =
      std::isfinite(loss) ? parameters.step(config_.optimizer, learning_rate, steps_ + 1) : std::nan("");
  metrics_.grad_norm = norm;
  if (!std::isfinite(norm)) {
    metrics_.not_finite = steps_;
    return;
  }
  if (score) {
    double* sums = ratio_sum_.mutable_data_ptr<double>();
    for (size_t m = 0; m < ratios.size(); ++m) sums[m] += ratios[m] / std::max<int64_t>(1, tokens);
    rank_sum_ += ranks;
    scored_ += 1;
  }
  ++steps_;
  ++metrics_.steps;
  metrics_.loss += loss;
  metrics_.tokens += tokens;
}

/// First order (Light-PEFT): |mean over inputs of A_k dA_k| + |mean over outputs of B_k dB_k| for each rank
/// k.
Tensor Session::rank_scores() {
  Parameters& parameters = network_.parameters();
  Tensor ranks = at::zeros_like(rank_sum_);
  int64_t at = 0;
  for (const auto& c : config_.network.modules) {
    const LoraModule& m = *network_.module(c.layer, c.site);
    const Tensor a = (parameters[m.a].value.to(at::kDouble) * parameters[m.a].grad).mean(1).abs();
    const Tensor b = (parameters[m.b].value.to(at::kDouble) * parameters[m.b].grad).mean(0).abs();
    ranks.narrow(0, at, m.rank) += (a + b).nan_to_num(0, 0, 0);
    at += m.rank;
  }
  return ranks;
}

Session::Evaluation Session::evaluate(const Batch& batch) {
  Evaluation result;
  result.logits = network_.forward(batch, Pass{}, nullptr).contiguous();
  loss_and_gradient(result.logits, batch.labels, config_.network.regression, 1, &result.loss,
                    &result.labelled);
  return result;
}

Metrics Session::take_metrics() {
  const Metrics m = metrics_;
  const int64_t not_finite = metrics_.not_finite;
  metrics_ = {};
  metrics_.not_finite = not_finite;
  return m;
}

Scores Session::scores() const {
  Scores s;
  auto& network = const_cast<Network&>(network_);
  for (size_t l = 0; config_.network.masks && l < network.model().layers.size(); ++l) {
    s.heads.push_back(network.head_mask(l).clone());
    s.neurons.push_back(network.neuron_mask(l).clone());
  }
  s.steps = static_cast<int64_t>(scored_.item<double>());
  const double n = std::max(1.0, scored_.item<double>());
  int64_t at = 0;
  for (size_t m = 0; m < config_.network.modules.size(); ++m) {
    const int64_t rank = config_.network.modules[m].rank;
    s.ratios.push_back(ratio_sum_[m].item<double>() / n);
    s.ranks.push_back((rank_sum_.narrow(0, at, rank) / n).to(at::kFloat));
    at += rank;
  }
  return s;
}

std::vector<std::pair<std::string, Tensor>> Session::state() {
  Parameters& p = network_.parameters();
  return {{"parameters", p.value()},     {"moment1", p.moment1()},    {"moment2", p.moment2()},
          {"scores.ratios", ratio_sum_}, {"scores.ranks", rank_sum_}, {"scores.steps", scored_}};
}

}  // namespace lp
