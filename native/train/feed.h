#pragma once
// A batch as a network reads it, where the model is.
#include "model/model.h"
#include "train/batch.h"
#include "train/key_value_cache.h"

namespace lp {

/// Where the tokens of a batch stand: in their sequences, and in rotary positions.
struct Layout {
  Sequences sequences;
  Angles queries, keys;
  bool causal = false;
};

/// A batch where the model is.
struct Feed {
  Tensor ids, types, positions;  // int64 [T]
  Layout layout;
  Tensor counted;  // fp32 [T], 0 of tokens that fill a batch up and are not scored; undefined: all count
};
/// What a Feed is made of, in the host's memory or a device's.
struct FeedTensors {
  Tensor places;    // int64 [3, T]: ids, types, positions
  Tensor cu;        // int32 [B + 1]
  Tensor cos, sin;  // fp32 [T, pairs], or undefined
  Tensor counted;
};
/// In the host's memory; of the last sequences so many do not count.
/// @throws BAD_DATA: a token is not in the vocabulary, or a sequence too long
FeedTensors feed_tensors(const Model& model, const Batch& batch, const KeyValueCache* cache,
                         size_t uncounted = 0);
/// Of these, where the model is. `longest` is no less than the longest sequence.
Feed feed_of(const Model& model, const FeedTensors& there, int64_t longest, bool causal,
             const KeyValueCache* cache = nullptr);

/// Of a batch as it is.
Feed feed_of(const Model& model, const Batch& batch, const KeyValueCache* cache);

/// The tokens that the head reads, one of each sequence: the first or, where attention is causal, the last.
struct Rows {
  Tensor which;  // int64 [B]
  Layout layout;
};

/// Of the tokens that a head reads.
Rows rows_of(const Spec& spec, const Layout& all);

}  // namespace lp
