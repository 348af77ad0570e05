#pragma once
// Outputs of the frozen layers below the lowest trained one, kept for each text from its first pass on.
#include <string>
#include <unordered_map>
#include <vector>

#include "base/aten.h"

namespace lp {

class PrefixCache {
 public:
  /// Rows of `width` values, of the dtype and the device that `options` say; up to `budget` bytes in memory,
  /// then in a file in `folder` that has no name and goes with the process. Without a folder, or where it has
  /// no room, nothing is kept past the budget.
  PrefixCache(int64_t width, const at::TensorOptions& options, int64_t budget, std::string folder);

  /// A text is named by all that its rows depend on. [n, width], or undefined.
  at::Tensor find(const std::string& text) const;
  void put(const std::string& text, const at::Tensor& rows);
  int64_t bytes() const { return bytes_; }

 private:
  struct Place {
    size_t chunk;
    int64_t row, rows;
  };
  /// Rows in a row of the last chunk; false where there is no room and none may be had.
  bool reserve(int64_t rows);

  int64_t width_;
  at::TensorOptions options_;
  int64_t budget_;
  std::string folder_;
  int64_t bytes_ = 0, used_ = 0;  // of all chunks; rows of the last one
  std::vector<at::Tensor> chunks_;
  std::unordered_map<std::string, Place> places_;
};

}  // namespace lp
