#pragma once
#include <cstdint>
#include <vector>

#include "base/error.h"

namespace lp {

/// What is told: of each sequence labels, of each token a tag, in each sequence where a span begins and ends,
/// or tokens of the vocabulary, for which there is no head.
enum class Told : int { labels, tags, spans, tokens };

/// Sequences of T tokens in all, packed without padding.
struct Batch {
  std::vector<int32_t> ids, type_ids;  // [T]
  std::vector<int32_t> cu_seqlens;     // [B + 1]
  std::vector<float> labels;           // of each example: class index or value; NaN: unlabelled
  std::vector<int32_t> token_labels;   // [T], or empty: each token's tag or what it tells; -100: none
  std::vector<int32_t> spans;          // [2 * B], or empty: first and last token of each sequence's; -1: none
  bool causal = false;                 // tokens see none that come after them, whatever the model is
  // What a teacher makes of the texts, or empty: logits of each example, and what its head reads [B * h].
  std::vector<float> teacher_logits, teacher_states;

  /// Throws BAD_DATA where lengths do not fit each other, or a sequence has no token.
  void check() const {
    const auto tokens = static_cast<int32_t>(ids.size());
    bool fits = tokens > 0 && type_ids.size() == ids.size() && cu_seqlens.size() > 1 &&
                cu_seqlens.front() == 0 && cu_seqlens.back() == tokens &&
                (token_labels.empty() || token_labels.size() == ids.size());
    for (size_t b = 1; fits && b < cu_seqlens.size(); ++b) fits = cu_seqlens[b - 1] < cu_seqlens[b];
    if (!fits)
      throw Error("BAD_DATA", "the lengths of a batch do not fit each other, or a text has no token");
  }
};

}  // namespace lp
