#include "train/recorded_step.h"

#include <cmath>
#include <cstddef>

#include "ops/device.h"

namespace lp {
namespace {

// Where StepNumbers have by how many examples a loss is divided.
constexpr int64_t kExamples = offsetof(StepNumbers, examples) / sizeof(double);

int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

void take(const Tensor& from, const at::Device& device, Tensor& to) {
  if (!from.defined()) return;
  if (to.defined())
    queue_copy(from, to);
  else
    to = from.to(device, from.scalar_type(), false, /*copy=*/true);
}

}  // namespace

std::optional<StepKind> kind_of(const Spec& spec, const Batch& batch, bool scored) {
  int64_t longest = 0;
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b)
    longest = std::max<int64_t>(longest, batch.cu_seqlens[b + 1] - batch.cu_seqlens[b]);
  longest = round_up(longest, 32);
  const auto tokens = static_cast<int64_t>(batch.ids.size());
  const int64_t all = round_up(tokens + 1, longest);
  if (spec.positions > 0 && spec.position_offset + all - tokens > spec.positions) return {};
  return StepKind{all, longest, static_cast<int64_t>(batch.cu_seqlens.size()), batch.causal, scored};
}

Batch filled(const Batch& batch, const StepKind& kind, Told told) {
  Batch full = batch;
  full.ids.resize(kind.tokens, batch.ids[0]);
  full.type_ids.resize(kind.tokens, 0);
  full.cu_seqlens.push_back(static_cast<int32_t>(kind.tokens));
  if (told == Told::labels) full.labels.push_back(NAN);
  if (told == Told::tags) full.token_labels.resize(kind.tokens, -100);
  if (told == Told::spans) full.spans.insert(full.spans.end(), 2, -1);
  return full;
}

void RecordedStep::fill(const FeedTensors& from, const Targets& of, uint64_t step_key,
                        const Tensor& step_numbers, const at::Device& device) {
  take(from.places, device, feed.places);
  take(from.cu, device, feed.cu);
  take(from.cos, device, feed.cos);
  take(from.sin, device, feed.sin);
  take(from.counted, device, feed.counted);
  const TargetsThere host = there_of(of, at::kCPU);
  take(host.values, device, targets.values);
  take(host.cu, device, targets.cu);
  take(at::tensor({static_cast<int64_t>(step_key)}, at::kLong), device, key);
  take(step_numbers, device, numbers);
  targets.denominator = numbers.narrow(0, kExamples, 1);
}

}  // namespace lp
