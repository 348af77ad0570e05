#pragma once
#include <cstdint>
#include <vector>

namespace lp {

/// Sequences of T tokens in all, packed without padding.
struct Batch {
  std::vector<int32_t> ids, type_ids;  // [T]
  std::vector<int32_t> cu_seqlens;     // [B + 1]
  std::vector<float> labels;           // of each example: class index or value; NaN: unlabelled
  std::vector<int32_t> token_labels;  // [T], or empty: what comes after each token; -100: that does not count
  // What a teacher makes of the texts, or empty: logits of each example, and what its head reads [B * h].
  std::vector<float> teacher_logits, teacher_states;
};

}  // namespace lp
