#include "train/importance.h"

#include <numeric>

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

RunningSum::RunningSum(std::string name, std::vector<int64_t> sizes)
    : name_(std::move(name)), sizes_(std::move(sizes)) {}

int64_t RunningSum::size() const { return std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0}); }

void RunningSum::keep(const Tensor& now, const Tensor& sum) {
  all_now_ = now;
  sum_ = sum;
  now_ = now.split_with_sizes(sizes_);
}

std::vector<Tensor> RunningSum::over(const Tensor& sum, const Tensor& by) const {
  std::vector<Tensor> pieces = sum.split_with_sizes(sizes_);
  for (size_t i = 0; i < pieces.size(); ++i)
    pieces[i] = (pieces[i] / by[by.size(0) == 1 ? 0 : static_cast<int64_t>(i)].clamp_min(1)).to(at::kFloat);
  return pieces;
}

Importance::Importance(const Model& model, const std::vector<int64_t>& module_ranks, bool masks)
    : head_taylor("headTaylor", by_layer(model, masks, heads_of)),
      neuron_taylor("neuronTaylor", by_layer(model, masks, neurons_of)),
      head_salience("headSalience", by_layer(model, masks, heads_of)),
      neuron_salience("neuronSalience", by_layer(model, masks, neurons_of)),
      context_sum("contextMean", by_layer(model, true, width_of)),
      context_square("contextSquare", by_layer(model, true, width_of)),
      neuron_sum("neuronMean", by_layer(model, true, neurons_of)),
      neuron_square("neuronSquare", by_layer(model, true, neurons_of)),
      tokens("tokens", by_layer(model, true, one)),
      ratios("ratios", std::vector<int64_t>(module_ranks.size(), 1)),
      ranks("ranks", module_ranks),
      rank_taylor("rankTaylor", module_ranks),
      steps(at::zeros({1}, at::TensorOptions(model.device()).dtype(at::kDouble))) {
  int64_t total = 0, first = 0;
  for (const RunningSum* sum : all()) total += sum->size();
  now_ = at::zeros({total}, steps.options().dtype(at::kFloat));
  sum_ = at::zeros({total}, steps.options());
  for (RunningSum* sum : all()) {
    sum->keep(now_.narrow(0, first, sum->size()), sum_.narrow(0, first, sum->size()));
    first += sum->size();
  }
}

std::vector<RunningSum*> Importance::all() {
  return {&head_taylor, &neuron_taylor, &head_salience, &neuron_salience, &context_sum, &context_square,
          &neuron_sum,  &neuron_square, &tokens,        &ratios,          &ranks,       &rank_taylor};
}

void Importance::begin() { now_.zero_(); }

void Importance::accept(int64_t step_tokens, const Tensor& counts) {
  ratios.all_now().div_(static_cast<double>(std::max<int64_t>(1, step_tokens)));
  now_.masked_fill_(counts.logical_not(), 0);  // what does not count may not be finite
  sum_.add_(now_);
  steps.add_(counts);
}

std::vector<std::pair<std::string, std::vector<Tensor>>> Importance::means() {
  const Tensor host = sum_.cpu(), taken = steps.cpu();  // all at once: a device is waited for
  const auto of = [&](const RunningSum& sum) {
    return host.narrow(0, sum.sum().storage_offset(), sum.size());
  };
  std::vector<std::pair<std::string, std::vector<Tensor>>> found;
  for (const RunningSum* sum : all()) {
    const bool moment =
        sum == &context_sum || sum == &context_square || sum == &neuron_sum || sum == &neuron_square;
    if (sum != &tokens) found.emplace_back(sum->name(), sum->over(of(*sum), moment ? of(tokens) : taken));
  }
  return found;
}

}  // namespace lp
