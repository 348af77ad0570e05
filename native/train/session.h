#pragma once
// One training or evaluation run: a network, its optimizer and its running scores. Every method runs in the
// session's lane; nothing here knows of JavaScript.
#include "train/first_order.h"
#include "train/losses.h"
#include "train/network.h"
#include "train/reconstruction.h"
#include "train/recorded_step.h"
#include "train/tally.h"

namespace lp {

struct SessionConfig {
  NetworkConfig network;
  OptimizerSettings optimizer;
  int64_t optimizer_steps = 0;  // that the moments have behind them where they are another run's
  double l1_heads = 0, l1_neurons = 0;
  Distillation distillation;
  int64_t choices = 1;  // sequences of an example, whose logits are told apart
  bool regression = false;
  bool smaller_batches = false;  // where a step's memory is not to be had, it is done in halves
  bool graphs = false;  // on a device, steps of a kind that comes again are recorded and run as a whole
};

struct Metrics {
  int64_t steps = 0;     // optimizer steps since the last read
  int64_t recorded = 0;  // steps that ran again from a recording
  double loss = 0;       // sum over all steps of the mean loss, without the L1 term
  int64_t tokens = 0;
  double grad_norm = 0;          // of the last step, before clipping
  int64_t activation_bytes = 0;  // kept for the backward pass, of the largest micro-batch that was launched
  int64_t halvings = 0;          // of all steps' micro-batches, as memory was short
  int64_t not_finite = -1;  // the step whose loss or gradient was not finite; nothing was changed from it on
};

struct Scores {
  int64_t steps = 0;
  std::vector<Tensor> heads, neurons;                                 // the masks as they are now
  std::vector<std::pair<std::string, std::vector<Tensor>>> measures;  // Importance's
};

class Session {
 public:
  Session(std::shared_ptr<const Model> model, const SessionConfig& config);
  /// In turn where steps were recorded: LibTorch's generator forgets them.
  ~Session();

  /// One optimizer step over micro-batches; the loss is the mean over their labelled examples together. On a
  /// device it is queued and not waited for.
  /// @param rests whether only the topmost layer with modules and the head learn of it
  void step(const std::vector<Batch>& batches, double learning_rate, bool score, bool rests = false);
  struct Evaluation {
    Tensor logits;  // [examples, labels or choices], [T, tags or 2], or of tokens whether they are right [T]
    Tensor states;  // [B, h], what the head reads
    double loss = 0;  // sum over labelled examples, or tokens
    int64_t labelled = 0;
  };
  Evaluation evaluate(const Batch& batch);
  /// Logits of the token after each of a batch's, fp32 [T, vocab].
  Tensor logits(const Batch& batch);
  /// Begins to generate so many sequences.
  void begin(int64_t sequences);
  /// Goes on with more tokens of each: logits of what comes after the last of them, fp32 [B, vocab].
  Tensor next(const Batch& batch);
  /// Sequence b becomes what sequence from[b] is.
  void choose(const std::vector<int64_t>& from);
  /// What a session over a cut of this one's model has lost, as far as the rest can give it back.
  std::vector<LayerReconstruction> reconstruct(Session& small, const std::vector<Batch>& batches,
                                               int64_t rank);
  Metrics take_metrics();
  Scores scores();

  Network& network() { return network_; }
  int64_t steps_done();
  /// Everything a resumed run needs beside the data order: (name, tensor) pairs to copy out or in.
  std::vector<std::pair<std::string, Tensor>> state();
  /// After the tensors of a good state were copied in: goes on from there.
  void resume_at(int64_t steps) {
    steps_ = steps;
    tally_.reset();
    metrics_ = {};
    most_tokens_ = 0;
  }

 private:
  /// Throws BAD_DATA where a batch has not as many texts as its labels need.
  void check(const Batch& batch) const;
  /// Logits [N, choices] of outputs [N * choices, 1].
  Tensor by_example(const Tensor& outputs) const;
  /// What a batch's outputs are to be, none where tokens are told.
  Targets targets_of(const Batch& batch) const;
  /// Where a micro-batch is, and what it is to be.
  struct There {
    const Feed* feed;  // or null: it is taken there
    const Targets& targets;
    const TargetsThere& targets_there;
  };
  /// The gradient by a head's outputs.
  Tensor loss_of(const Tensor& outputs, const Batch& batch, const There& there, double denominator,
                 LossSum& loss) const;
  /// Adds a micro-batch's losses, and to all gradients.
  void learn(const Batch& batch, const There& there, const Pass& pass, double denominator, Importance* scored,
             LossSum& loss);
  Pass training_pass() const;
  /// What comes after all micro-batches and before the update.
  void score_and_penalize(bool score);
  /// The kind of a step that may be recorded.
  std::optional<StepKind> kind_of(const std::vector<Batch>& batches, bool score);
  /// `numbers` are the step's StepNumbers, in the host's memory.
  void launched_step(std::vector<Batch> batches, const Tensor& numbers, bool score);
  /// The same, all at once.
  void launch(const std::vector<Batch>& batches, const Tensor& numbers, bool score);
  void recorded_step(const Batch& batch, const StepKind& kind, const Tensor& numbers);
  /// Takes note of what the steps have come to. Waits for them.
  void settle();
  /// What is to be recorded: what launched_step does, of a batch like `full`.
  std::function<void()> work_of(RecordedStep& step, const Batch& full, const Targets& targets,
                                const StepKind& kind);
  /// Of one of the recorded ones, or null.
  const Graph* any_graph() const;
  /// Throws BAD_OPTION where labels are told.
  void require_vocabulary() const;
  /// How many labels of a batch count.
  int64_t counted(const Batch& batch) const;

  SessionConfig config_;
  Network network_;
  int64_t steps_ = 0, halvings_ = 0;  // until they are settled steps count
  Tally tally_;
  int64_t most_tokens_ = 0;  // of a micro-batch since the last read
  Metrics metrics_;
  Importance importance_;
  FirstOrder first_order_;
  std::map<StepKind, std::unique_ptr<RecordedStep>> recorded_;
  bool records_ = true;  // until there is no memory for it
  std::optional<KeyValueCache> cache_;
};

}  // namespace lp
