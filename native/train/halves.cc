#include "train/halves.h"

namespace lp {
namespace {

/// Of `all` values, which are as many for each of `count` things, those of [begin, end).
template <class T>
std::vector<T> part(const std::vector<T>& all, int64_t count, int64_t begin, int64_t end) {
  const int64_t each = count > 0 ? static_cast<int64_t>(all.size()) / count : 0;
  return {all.begin() + begin * each, all.begin() + end * each};
}

/// The examples [begin, end) of a batch.
Batch examples_of(const Batch& batch, int64_t begin, int64_t end, int64_t choices) {
  const auto sequences = static_cast<int64_t>(batch.cu_seqlens.size()) - 1, examples = sequences / choices;
  const auto tokens = static_cast<int64_t>(batch.ids.size());
  const int64_t first = batch.cu_seqlens[begin * choices], last = batch.cu_seqlens[end * choices];
  Batch some;
  some.ids = part(batch.ids, tokens, first, last);
  some.type_ids = part(batch.type_ids, tokens, first, last);
  for (int64_t b = begin * choices; b <= end * choices; ++b)
    some.cu_seqlens.push_back(batch.cu_seqlens[b] - static_cast<int32_t>(first));
  some.labels = part(batch.labels, examples, begin, end);
  some.token_labels = part(batch.token_labels, tokens, first, last);
  some.spans = part(batch.spans, sequences, begin * choices, end * choices);
  some.causal = batch.causal;
  some.teacher_logits = part(batch.teacher_logits, examples, begin, end);
  some.teacher_states = part(batch.teacher_states, sequences, begin * choices, end * choices);
  return some;
}

}  // namespace

std::vector<Batch> halved(const std::vector<Batch>& batches, int64_t choices) {
  std::vector<Batch> halves;
  for (const Batch& batch : batches) {
    const int64_t examples = (static_cast<int64_t>(batch.cu_seqlens.size()) - 1) / choices,
                  half = examples / 2;
    if (half > 0) halves.push_back(examples_of(batch, 0, half, choices));
    halves.push_back(examples_of(batch, half, examples, choices));
  }
  return halves;
}

}  // namespace lp
