#include "train/session.h"

#include <algorithm>

#include "base/error.h"
#include "base/team.h"
#include "ops/device.h"
#include "ops/library_attention.h"
#include "train/halves.h"
#include "train/losses.h"

namespace lp {

namespace {

// Of steps that are recorded, each with memory of its own for what it reads.
constexpr size_t kMostKinds = 256;

std::vector<int64_t> ranks_of(const NetworkConfig& config) {
  std::vector<int64_t> ranks;
  for (const auto& m : config.modules) ranks.push_back(m.rank);
  return ranks;
}

double examples_of(const Tensor& numbers) {
  return static_cast<const StepNumbers*>(numbers.const_data_ptr())->examples;
}

}  // namespace

Session::Session(std::shared_ptr<const Model> model, const SessionConfig& config)
    : config_(config),
      network_(std::move(model), config.network),
      tally_(network_.model().device()),
      importance_(network_.model(), ranks_of(config.network), config.network.masks) {}

Tensor Session::by_example(const Tensor& outputs) const {
  return config_.choices == 1 ? outputs : outputs.reshape({-1, config_.choices});
}

void Session::check(const Batch& batch) const {
  batch.check();
  const auto sequences = static_cast<int64_t>(batch.cu_seqlens.size()) - 1;
  const Told told = config_.network.told;
  if (told == Told::spans && static_cast<int64_t>(batch.spans.size()) != 2 * sequences)
    throw Error("BAD_DATA", "there are not two ends of a span for each text");
  if (told == Told::tags && batch.token_labels.size() != batch.ids.size())
    throw Error("BAD_DATA", "there is not one tag for each token");
  if (told != Told::labels) return;  // a vocabulary looks at its labels itself
  if (sequences != static_cast<int64_t>(batch.labels.size()) * config_.choices)
    throw Error("BAD_DATA", std::to_string(sequences) + " texts for " + std::to_string(batch.labels.size()) +
                                " labels of " + std::to_string(config_.choices) + " choices");
}

int64_t Session::counted(const Batch& batch) const {
  const auto told = [](int32_t label) { return label >= 0; };
  return config_.network.told == Told::tokens
             ? std::count_if(batch.token_labels.begin(), batch.token_labels.end(), told)
             : targets_of(batch).counted;
}

Targets Session::targets_of(const Batch& batch) const {
  if (config_.network.told == Told::tokens) return {};
  const int64_t classes = config_.choices > 1 ? config_.choices : config_.network.head.outputs;
  return lp::targets_of(batch, config_.network.told, config_.regression, classes);
}

Tensor Session::loss_of(const Tensor& outputs, const Batch& batch, const There& there, double denominator,
                        LossSum& loss) const {
  return target_loss(by_example(outputs), there.targets, there.targets_there, batch.teacher_logits,
                     config_.distillation, denominator, loss)
      .view_as(outputs);
}

void Session::learn(const Batch& batch, const There& there, const Pass& pass, double denominator,
                    Importance* scored, LossSum& loss) {
  Saved saved;
  const Tensor states = network_.encode(batch, pass, &saved, scored, there.feed);
  Tensor d_read;
  if (config_.network.told == Told::tokens) {
    d_read = network_.vocabulary().loss(states, batch.token_labels, denominator, loss);
  } else {
    const Tensor outputs = network_.outputs(states, pass, &saved);
    const Tensor d = loss_of(outputs, batch, there, denominator, loss);
    const Tensor d_states = states_gradient(states, batch, config_.distillation, denominator, loss);
    d_read = network_.outputs_backward(d, saved);
    if (d_states.defined()) d_read = d_read + d_states;
  }
  if (const int64_t tokens = static_cast<int64_t>(batch.ids.size()); tokens > most_tokens_) {
    most_tokens_ = tokens;
    metrics_.activation_bytes = std::max(metrics_.activation_bytes, saved.bytes());
  }
  network_.backward(d_read, saved, scored);
}

Pass Session::training_pass() const {
  Pass pass;
  pass.train = pass.saves = true;
  pass.every = config_.network.told != Told::labels;
  return pass;
}

Session::~Session() {
  if (recorded_.empty()) return;
  const DeviceTurn turn(network_.parameters().value());
  recorded_.clear();
}

void Session::score_and_penalize(bool score) {
  // Taken of the values before the update, kept only if there is one.
  if (score) first_order_.take(network_, importance_);
  network_.penalize(config_.l1_heads, config_.l1_neurons);
}

void Session::step(const std::vector<Batch>& batches, double learning_rate, bool score, bool rests) {
  if (metrics_.not_finite >= 0) return;  // the last good state stays
  for (const auto& batch : batches) check(batch);
  const DeviceTurn turn(network_.parameters().value());
  if (network_.rest(rests)) recorded_.clear();
  int64_t examples = 0, tokens = 0;
  for (const auto& batch : batches) {
    examples += counted(batch);
    tokens += static_cast<int64_t>(batch.ids.size());
  }
  const Tensor numbers = Parameters::numbers_of(config_.optimizer, learning_rate,
                                                config_.optimizer_steps + steps_ + 1, examples);
  bool done = false;
  if (const std::optional<StepKind> kind = kind_of(batches, score)) {
    try {
      recorded_step(batches[0], *kind, numbers);
      done = true;
    } catch (const c10::OutOfMemoryError&) {
      records_ = false;  // it may fit as it is, or in halves
      recorded_.clear();
    }
  }
  if (!done) launched_step(batches, numbers, score);
  ++steps_;
  tally_.add(tokens);
  network_.follow();
  if (score) importance_.accept(tokens, tally_.counts());
  if (!device_kernels(tally_.there())) settle();  // there is nothing to wait for
}

void Session::settle() {
  const Tally::Seen seen = tally_.take();
  if (seen.queued == 0) return;
  steps_ -= seen.queued - seen.steps;
  metrics_.steps += seen.steps;
  metrics_.loss += seen.loss;
  metrics_.tokens += seen.tokens;
  metrics_.grad_norm = seen.norm;
  if (seen.stopped) metrics_.not_finite = steps_;
}

int64_t Session::steps_done() {
  settle();
  return steps_;
}

void Session::launched_step(std::vector<Batch> batches, const Tensor& numbers, bool score) {
  // What was too much once is too much again.
  for (int64_t i = 0; i < halvings_; ++i) batches = halved(batches, config_.choices);
  for (;;) {
    try {
      return launch(batches, numbers, score);
    } catch (const c10::OutOfMemoryError&) {
      if (!config_.smaller_batches) throw;
      std::vector<Batch> smaller = halved(batches, config_.choices);
      if (smaller.size() == batches.size()) throw;
      batches = std::move(smaller);
    }
    ++halvings_;
  }
}

void Session::launch(const std::vector<Batch>& batches, const Tensor& numbers, bool score) {
  Parameters& parameters = network_.parameters();
  const at::Device device = network_.model().device();
  parameters.zero_grad();
  LossSum losses;
  Importance* const scored = score ? &importance_ : nullptr;
  if (scored) scored->begin();
  for (size_t i = 0; i < batches.size(); ++i) {
    Pass pass = training_pass();
    pass.key = step_key(config_.network.seed, static_cast<uint64_t>(steps_), i);
    seed_library(parameters.value(), pass.key);
    const Targets targets = targets_of(batches[i]);
    const TargetsThere there =
        device_kernels(parameters.value()) ? there_of(targets, device) : TargetsThere{};
    learn(batches[i], {nullptr, targets, there}, pass, examples_of(numbers), scored, losses);
  }
  score_and_penalize(score);
  parameters.step(config_.optimizer, queued(numbers, device), losses.there(device), tally_.there());
}

std::optional<StepKind> Session::kind_of(const std::vector<Batch>& batches, bool score) {
  const NetworkConfig& network = config_.network;
  // What else a step may have to do makes tensors of other sizes every time, or asks the host.
  const bool fixed =
      config_.graphs && records_ && halvings_ == 0 && device_kernels(network_.parameters().value()) &&
      batches.size() == 1 && config_.choices == 1 && !network.full && network.told != Told::tokens &&
      !network_.keeps_prefix() && batches[0].teacher_logits.empty() && batches[0].teacher_states.empty();
  if (!fixed) return {};
  const std::optional<StepKind> kind = lp::kind_of(network_.model().spec, batches[0], score);
  return kind && (recorded_.size() < kMostKinds || recorded_.count(*kind)) ? kind : std::nullopt;
}

void Session::recorded_step(const Batch& batch, const StepKind& kind, const Tensor& numbers) {
  const Model& model = network_.model();
  const Batch full = filled(batch, kind, config_.network.told);
  const Targets targets = targets_of(full);
  const FeedTensors feed = feed_tensors(model, full, nullptr, 1);
  std::unique_ptr<RecordedStep>& kept = recorded_[kind];
  const bool first = !kept;
  if (first) kept = std::make_unique<RecordedStep>();
  RecordedStep& step = *kept;
  const uint64_t key = step_key(config_.network.seed, static_cast<uint64_t>(steps_), 0);
  step.fill(feed, targets, key, numbers, model.device());
  seed_library(network_.parameters().value(), key);
  if (first) {
    // Once as it is, for what is made when it is first needed: a kind may never come again.
    step.work = work_of(step, full, targets, kind);
    step.work();
  } else {
    if (!step.graph.recorded()) step.graph.record(step.work, any_graph());
    step.graph.run();
    ++metrics_.recorded;
  }
}

const Graph* Session::any_graph() const {
  for (const auto& [kind, step] : recorded_)
    if (step && step->graph.recorded()) return &step->graph;
  return nullptr;
}

std::function<void()> Session::work_of(RecordedStep& step, const Batch& full, const Targets& targets,
                                       const StepKind& kind) {
  return [this, &step, full, targets, kind] {
    Parameters& parameters = network_.parameters();
    parameters.zero_grad();
    if (kind.scored) importance_.begin();
    Pass pass = training_pass();
    pass.key_there = static_cast<const uint64_t*>(step.key.const_data_ptr());
    const Feed feed = feed_of(network_.model(), step.feed, kind.longest, kind.causal);
    LossSum losses;
    // Over how many is told there.
    learn(full, {&feed, targets, step.targets}, pass, 1, kind.scored ? &importance_ : nullptr, losses);
    score_and_penalize(kind.scored);
    parameters.step(config_.optimizer, step.numbers, losses.there(step.numbers.device()), tally_.there());
  };
}

Session::Evaluation Session::evaluate(const Batch& batch) {
  const DeviceTurn turn(network_.parameters().value());
  check(batch);
  Evaluation result;
  LossSum losses;
  Pass pass;
  pass.every = config_.network.told != Told::labels;
  result.states = network_.encode(batch, pass, nullptr, nullptr).contiguous();
  if (config_.network.told == Told::tokens) {
    network_.vocabulary().loss(result.states, batch.token_labels, 1, losses, &result.logits);
  } else {
    const Tensor outputs = network_.outputs(result.states, pass, nullptr).contiguous();
    const Targets targets = targets_of(batch);
    loss_of(outputs, batch, {nullptr, targets, there_of(targets, outputs.device())}, 1, losses);
    result.logits = by_example(outputs);
  }
  result.loss = losses.value();
  result.labelled = counted(batch);
  result.logits = result.logits.cpu();
  result.states = result.states.cpu();
  return result;
}

Tensor Session::logits(const Batch& batch) {
  const DeviceTurn turn(network_.parameters().value());
  require_vocabulary();
  batch.check();
  Pass pass;
  pass.every = true;
  return network_.vocabulary().logits(network_.encode(batch, pass, nullptr, nullptr)).cpu();
}

void Session::require_vocabulary() const {
  if (config_.network.told != Told::tokens)
    throw Error("BAD_OPTION", "this session tells labels, not the next token");
}

void Session::begin(int64_t sequences) {
  require_vocabulary();
  if (sequences < 1) throw Error("BAD_OPTION", "there must be a sequence to begin");
  cache_.emplace(network_.model(), sequences);
}

Tensor Session::next(const Batch& batch) {
  const DeviceTurn turn(network_.parameters().value());
  if (!cache_) throw Error("BAD_OPTION", "nothing has begun");
  batch.check();
  // What fails half-way leaves sequences of which nobody knows how long they are: they have to begin again.
  std::optional<KeyValueCache> cache;
  cache.swap(cache_);
  Pass pass;
  pass.cache = &*cache;
  const Tensor logits = network_.vocabulary().logits(network_.encode(batch, pass, nullptr, nullptr)).cpu();
  cache_.swap(cache);
  return logits;
}

void Session::choose(const std::vector<int64_t>& from) {
  if (!cache_) throw Error("BAD_OPTION", "nothing has begun");
  cache_->choose(from);
}

std::vector<LayerReconstruction> Session::reconstruct(Session& small, const std::vector<Batch>& batches,
                                                      int64_t rank) {
  const DeviceTurn turn(network_.parameters().value());
  for (const Batch& batch : batches) batch.check();
  return lp::reconstruct(network_, small.network_, batches, rank);
}

Metrics Session::take_metrics() {
  settle();
  Metrics m = metrics_;
  m.halvings = halvings_;
  const int64_t not_finite = metrics_.not_finite;
  metrics_ = {};
  metrics_.not_finite = not_finite;
  most_tokens_ = 0;
  return m;
}

Scores Session::scores() {
  Scores s;
  for (size_t l = 0; config_.network.masks && l < network_.model().layers.size(); ++l) {
    s.heads.push_back(network_.head_mask(l).to(at::kCPU, at::kFloat, false, /*copy=*/true));
    s.neurons.push_back(network_.neuron_mask(l).to(at::kCPU, at::kFloat, false, /*copy=*/true));
  }
  s.steps = static_cast<int64_t>(importance_.steps.item<double>());
  s.measures = importance_.means();
  return s;
}

std::vector<std::pair<std::string, Tensor>> Session::state() {
  Parameters& p = network_.parameters();
  std::vector<std::pair<std::string, Tensor>> state = {{"parameters", p.value()},
                                                       {"moment1", p.moment1()},
                                                       {"moment2", p.moment2()},
                                                       {"scores.steps", importance_.steps}};
  for (RunningSum* sum : importance_.all()) state.emplace_back("scores." + sum->name(), sum->sum());
  return state;
}

}  // namespace lp
