#include "train/importance.h"

namespace lp {
namespace {

std::vector<int64_t> by_layer(const Model& model, bool any, int64_t (*size)(const Model&, const Layer&)) {
  std::vector<int64_t> sizes;
  for (const Layer& layer : model.layers)
    if (any) sizes.push_back(size(model, layer));
  return sizes;
}

int64_t heads_of(const Model&, const Layer& l) { return l.heads; }
int64_t width_of(const Model&, const Layer& l) { return l.linear[kAttentionOutput].in(); }
int64_t neurons_of(const Model&, const Layer& l) { return l.linear[kOutput].in(); }
int64_t one(const Model&, const Layer&) { return 1; }

}  // namespace

RunningSum::RunningSum(std::string name, const std::vector<int64_t>& sizes, const at::Device& device)
    : name_(std::move(name)) {
  int64_t total = 0;
  for (const int64_t n : sizes) total += n;
  const at::TensorOptions options(device);
  all_now_ = at::zeros({total}, options.dtype(at::kFloat));
  sum_ = at::zeros({total}, options.dtype(at::kDouble));
  int64_t offset = 0;
  for (const int64_t n : sizes) {
    now_.push_back(all_now_.narrow(0, offset, n));
    offset += n;
  }
}

std::vector<Tensor> RunningSum::over(const Tensor& by) const {
  std::vector<Tensor> pieces;
  int64_t offset = 0;
  for (size_t i = 0; i < now_.size(); ++i) {
    const Tensor n = by.size(0) == 1 ? by[0] : by[static_cast<int64_t>(i)];
    pieces.push_back((sum_.narrow(0, offset, now_[i].size(0)) / n.clamp_min(1)).to(at::kCPU, at::kFloat));
    offset += now_[i].size(0);
  }
  return pieces;
}

Importance::Importance(const Model& model, const std::vector<int64_t>& module_ranks, bool masks)
    : head_taylor("headTaylor", by_layer(model, masks, heads_of), model.device()),
      neuron_taylor("neuronTaylor", by_layer(model, masks, neurons_of), model.device()),
      head_salience("headSalience", by_layer(model, masks, heads_of), model.device()),
      neuron_salience("neuronSalience", by_layer(model, masks, neurons_of), model.device()),
      context_sum("contextMean", by_layer(model, true, width_of), model.device()),
      context_square("contextSquare", by_layer(model, true, width_of), model.device()),
      neuron_sum("neuronMean", by_layer(model, true, neurons_of), model.device()),
      neuron_square("neuronSquare", by_layer(model, true, neurons_of), model.device()),
      tokens("tokens", by_layer(model, true, one), model.device()),
      ratios("ratios", std::vector<int64_t>(module_ranks.size(), 1), model.device()),
      ranks("ranks", module_ranks, model.device()),
      rank_taylor("rankTaylor", module_ranks, model.device()),
      steps(at::zeros({1}, at::TensorOptions(model.device()).dtype(at::kDouble))) {}

std::vector<RunningSum*> Importance::all() {
  return {&head_taylor, &neuron_taylor, &head_salience, &neuron_salience, &context_sum, &context_square,
          &neuron_sum,  &neuron_square, &tokens,        &ratios,          &ranks,       &rank_taylor};
}

void Importance::begin() {
  for (RunningSum* sum : all()) sum->begin();
}

void Importance::accept(int64_t step_tokens) {
  for (RunningSum* sum : all())
    sum->accept(sum == &ratios ? 1.0 / static_cast<double>(std::max<int64_t>(1, step_tokens)) : 1.0);
  steps += 1;
}

std::vector<std::pair<std::string, std::vector<Tensor>>> Importance::means() {
  std::vector<std::pair<std::string, std::vector<Tensor>>> found;
  for (RunningSum* sum : all()) {
    const bool moment =
        sum == &context_sum || sum == &context_square || sum == &neuron_sum || sum == &neuron_square;
    if (sum != &tokens) found.emplace_back(sum->name(), sum->over(moment ? tokens.sum() : steps));
  }
  return found;
}

}  // namespace lp
