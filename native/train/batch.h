#pragma once
#include <cstdint>
#include <vector>

namespace lp {

/// Sequences of T tokens in all, packed without padding.
struct Batch {
  std::vector<int32_t> ids, type_ids;  // [T]
  std::vector<int32_t> cu_seqlens;     // [B + 1]
  std::vector<float> labels;           // [B]: class index or value; NaN: unlabelled
};

}  // namespace lp
