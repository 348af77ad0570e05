#pragma once
// Keys and values of sequences that go on: generation computes each token's once.
#include "model/model.h"

namespace lp {

class KeyValueCache {
 public:
  /// For so many sequences over the layers of a model.
  KeyValueCache(const Model& model, int64_t sequences);

  int64_t sequences() const { return static_cast<int64_t>(lengths_.size()); }
  /// Tokens of a sequence so far.
  int64_t length(size_t sequence) const { return lengths_[sequence]; }
  /// Makes room for more tokens of each sequence; these are then the last ones.
  void extend(const std::vector<int32_t>& cu_seqlens);
  /// Keys and values of the new tokens [T, ...] to their places; all that a layer has, rows of sequence b
  /// from k_begin()[b] to k_end()[b].
  std::pair<Tensor, Tensor> put(size_t layer, const Tensor& k, const Tensor& v);
  const Tensor& k_begin() const { return k_begin_; }
  const Tensor& k_end() const { return k_end_; }
  int64_t longest() const;
  /// Sequence b becomes what sequence from[b] is.
  void choose(const std::vector<int64_t>& from);

 private:
  void grow(int64_t capacity);
  void place();

  std::vector<Tensor> keys_, values_;  // of each layer, [sequences * capacity, heads * size]
  std::vector<int64_t> lengths_;
  int64_t capacity_ = 0;
  Tensor k_begin_, k_end_;  // int32 [sequences]
  Tensor new_rows_;         // int64 [T], where the newest tokens are
};

}  // namespace lp
