#pragma once
// Steps of one kind, recorded on a device and run again with other texts: nothing of them is launched one by
// one, and the host does not wait inside.
#include <compare>
#include <map>

#include "cuda/graph.h"
#include "train/losses.h"
#include "train/network.h"

namespace lp {

/// What must be the same of two steps for one recording to serve both.
struct StepKind {
  int64_t tokens, longest, sequences;
  bool causal, scored;
  auto operator<=>(const StepKind&) const = default;
};

/// The kind of a batch that is filled up by one more sequence, of some token, to a number of tokens that
/// others have too: the next multiple of its longest text, in 32s. Undefined where the model has no positions
/// for it.
std::optional<StepKind> kind_of(const Spec& spec, const Batch& batch, bool scored);
/// The batch so filled up; nothing of the last sequence counts.
Batch filled(const Batch& batch, const StepKind& kind, Told told);

struct RecordedStep {
  FeedTensors feed;
  TargetsThere targets;
  Tensor key, numbers;  // int64 [1], fp64 [4]: what dropout is drawn from; StepNumbers
  Graph graph;
  std::function<void()> work;  // what it records

  /// Takes new values to where the recording reads them; the first time makes these places.
  void fill(const FeedTensors& feed, const Targets& targets, uint64_t key, const Tensor& numbers,
            const at::Device& device);
};

}  // namespace lp
