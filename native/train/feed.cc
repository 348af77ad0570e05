#include "train/feed.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/device.h"

namespace lp {
namespace {

/// Where a sequence's first token of the batch stands.
int64_t begin_of(size_t sequence, const KeyValueCache* cache, const Batch& batch) {
  return cache ? cache->length(sequence) - (batch.cu_seqlens[sequence + 1] - batch.cu_seqlens[sequence]) : 0;
}

int64_t longest_of(const Batch& batch) {
  int64_t longest = 0;
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b)
    longest = std::max<int64_t>(longest, batch.cu_seqlens[b + 1] - batch.cu_seqlens[b]);
  return longest;
}

/// Cosines and sines of rotary positions.
std::pair<Tensor, Tensor> angles_of(const Rotary& rotary, const Batch& batch, const KeyValueCache* cache) {
  const auto pairs = static_cast<int64_t>(rotary.frequencies.size());
  if (pairs == 0) return {};
  const auto tokens = static_cast<int64_t>(batch.ids.size());
  const Tensor all_cos = at::empty({tokens, pairs}, at::kFloat), all_sin = at::empty_like(all_cos);
  float *cos = all_cos.mutable_data_ptr<float>(), *sin = all_sin.mutable_data_ptr<float>();
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    int64_t position = begin_of(b, cache, batch);
    for (int64_t t = batch.cu_seqlens[b]; t < batch.cu_seqlens[b + 1]; ++t, ++position)
      for (const double frequency : rotary.frequencies) {
        const double angle = static_cast<double>(position) * frequency;
        *cos++ = static_cast<float>(std::cos(angle) * rotary.factor);
        *sin++ = static_cast<float>(std::sin(angle) * rotary.factor);
      }
  }
  return {all_cos, all_sin};
}

/// int64 [3, T]: ids, types and positions.
Tensor places_of(const Spec& spec, const Batch& batch, const KeyValueCache* cache) {
  const auto tokens = static_cast<int64_t>(batch.ids.size());
  Tensor places = at::empty({3, tokens}, at::kLong);
  int64_t *id = places.mutable_data_ptr<int64_t>(), *type = id + tokens, *position = type + tokens;
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    // A pad token inside a text keeps the pad's position, as transformers counts.
    int64_t next = spec.position_offset + begin_of(b, cache, batch);
    for (int64_t t = batch.cu_seqlens[b]; t < batch.cu_seqlens[b + 1]; ++t) {
      id[t] = batch.ids[t];
      type[t] = std::max<int64_t>(0, std::min<int64_t>(batch.type_ids[t], spec.type_vocab - 1));
      position[t] = spec.pad_positions && id[t] == spec.pad_id ? spec.pad_id : next++;
      if (id[t] < 0 || id[t] >= spec.vocab)
        throw Error("BAD_DATA", "token id " + std::to_string(id[t]) + " is outside the model's vocabulary");
      if (spec.positions > 0 && position[t] >= spec.positions)
        throw Error("BAD_DATA", "a sequence is longer than the model's positions");
    }
  }
  return places;
}

}  // namespace

Rows rows_of(const Spec& spec, const Layout& all) {
  const Sequences& s = all.sequences;
  const int64_t count = s.k_begin.size(0);
  Rows rows;
  rows.which =
      spec.causal ? s.cu_q.narrow(0, 1, count).to(at::kLong) - 1 : s.cu_q.narrow(0, 0, count).to(at::kLong);
  rows.layout = {{at::arange(count + 1, s.cu_q.options()), s.cu_k, s.k_begin, s.k_end, 1, s.longest_k},
                 {},
                 all.keys,
                 all.causal};
  if (all.queries.cos.defined())
    rows.layout.queries = {all.queries.cos.index_select(0, rows.which),
                           all.queries.sin.index_select(0, rows.which), all.queries.interleaved};
  return rows;
}

FeedTensors feed_tensors(const Model& model, const Batch& batch, const KeyValueCache* cache,
                         size_t uncounted) {
  FeedTensors feed{places_of(model.spec, batch, cache),
                   at::tensor(at::ArrayRef<int32_t>(batch.cu_seqlens), at::kInt),
                   {},
                   {},
                   {}};
  std::tie(feed.cos, feed.sin) = angles_of(model.spec.rotary, batch, cache);
  if (uncounted > 0) {
    const int64_t tokens = feed.places.size(1),
                  count = batch.cu_seqlens[batch.cu_seqlens.size() - 1 - uncounted];
    feed.counted = at::ones({tokens}, at::kFloat);
    feed.counted.narrow(0, count, tokens - count).zero_();
  }
  return feed;
}

Feed feed_of(const Model& model, const FeedTensors& there, int64_t longest, bool causal,
             const KeyValueCache* cache) {
  const int64_t count = there.cu.size(0) - 1;
  Sequences s;
  s.cu_q = there.cu;
  if (!cache) s.cu_k = there.cu;
  s.k_begin = cache ? cache->k_begin() : there.cu.narrow(0, 0, count);
  s.k_end = cache ? cache->k_end() : there.cu.narrow(0, 1, count);
  s.longest_q = longest;
  s.longest_k = cache ? cache->longest() : longest;
  const Angles angles{there.cos, there.sin, model.spec.rotary.interleaved};
  return {there.places[0],
          there.places[1],
          there.places[2],
          {s, angles, angles, model.spec.causal || causal},
          there.counted};
}

Feed feed_of(const Model& model, const Batch& batch, const KeyValueCache* cache) {
  FeedTensors feed = feed_tensors(model, batch, cache);
  for (Tensor* t : {&feed.places, &feed.cu, &feed.cos, &feed.sin})
    if (t->defined()) *t = queued(*t, model.device());
  return feed_of(model, feed, longest_of(batch), batch.causal, cache);
}

}  // namespace lp
