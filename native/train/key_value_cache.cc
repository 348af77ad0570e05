#include "train/key_value_cache.h"

#include <algorithm>

#include "base/error.h"
#include "ops/device.h"

namespace lp {

// Tokens of room that are made at least.
constexpr int64_t kLeast = 64;

KeyValueCache::KeyValueCache(const Model& model, int64_t sequences) : lengths_(sequences, 0) {
  const auto options = at::TensorOptions(model.device()).dtype(model.dtype);
  for (const Layer& layer : model.layers)
    for (auto* all : {&keys_, &values_})
      all->push_back(at::empty({0, layer.heads * model.spec.head_size}, options));
}

int64_t KeyValueCache::longest() const {
  return lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
}

void KeyValueCache::grow(int64_t capacity) {
  for (auto* all : {&keys_, &values_})
    for (Tensor& old : *all) {
      Tensor wider = at::empty({sequences(), capacity, old.size(1)}, old.options());
      if (capacity_ > 0) wider.narrow(1, 0, capacity_).copy_(old.view({sequences(), capacity_, old.size(1)}));
      old = wider.view({sequences() * capacity, wider.size(2)});
    }
  capacity_ = capacity;
}

void KeyValueCache::place() {
  std::vector<int32_t> begin, end;
  for (int64_t b = 0; b < sequences(); ++b) {
    begin.push_back(static_cast<int32_t>(b * capacity_));
    end.push_back(static_cast<int32_t>(b * capacity_ + lengths_[b]));
  }
  k_begin_ = queued(begin, keys_[0].device());
  k_end_ = queued(end, keys_[0].device());
}

void KeyValueCache::extend(const std::vector<int32_t>& cu_seqlens) {
  if (static_cast<int64_t>(cu_seqlens.size()) != sequences() + 1)
    throw Error("BAD_DATA", "the sequences to be continued are others than those begun");
  const std::vector<int64_t> before = lengths_;
  for (int64_t b = 0; b < sequences(); ++b) lengths_[b] += cu_seqlens[b + 1] - cu_seqlens[b];
  if (longest() > capacity_) grow(std::max({kLeast, 2 * capacity_, longest()}));
  std::vector<int64_t> rows;
  for (int64_t b = 0; b < sequences(); ++b)
    for (int64_t t = before[b]; t < lengths_[b]; ++t) rows.push_back(b * capacity_ + t);
  new_rows_ = queued(rows, keys_[0].device());
  place();
}

std::pair<Tensor, Tensor> KeyValueCache::put(size_t layer, const Tensor& k, const Tensor& v) {
  keys_[layer].index_copy_(0, new_rows_, k);
  values_[layer].index_copy_(0, new_rows_, v);
  return {keys_[layer], values_[layer]};
}

void KeyValueCache::choose(const std::vector<int64_t>& from) {
  std::vector<int64_t> lengths;
  for (const int64_t b : from) {
    if (b < 0 || b >= sequences()) throw Error("BAD_DATA", "no such sequence: " + std::to_string(b));
    lengths.push_back(lengths_[b]);
  }
  const Tensor index = queued(from, keys_[0].device());
  for (auto* all : {&keys_, &values_})
    for (Tensor& old : *all) {
      const Tensor chosen = old.view({sequences(), capacity_, old.size(1)}).index_select(0, index);
      old = chosen.view({index.size(0) * capacity_, old.size(1)});
    }
  lengths_ = lengths;
  place();
}

}  // namespace lp
