#include "train/prefix_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

namespace lp {
namespace {

constexpr int64_t kChunkBytes = 32 << 20;

/// Memory of a file that was unlinked at once: whoever ends the process ends the file. Undefined where the
/// folder has no room for it.
at::Tensor mapped(const std::string& folder, int64_t bytes) {
  std::string path = folder + "/prefix-XXXXXX";
  const int file = mkstemp(path.data());
  if (file < 0) return {};
  unlink(path.c_str());
  // Real blocks: a full disk is told here, not by a signal at the first write.
  const bool fits = posix_fallocate(file, 0, bytes) == 0;
  void* const memory = fits ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  close(file);
  if (memory == MAP_FAILED) return {};
  return at::from_blob(
      memory, {bytes}, [bytes](void* p) { munmap(p, bytes); }, at::kByte);
}

}  // namespace

PrefixCache::PrefixCache(int64_t width, const at::TensorOptions& options, int64_t budget, std::string folder)
    : width_(width), options_(options), budget_(budget), folder_(std::move(folder)) {}

bool PrefixCache::reserve(int64_t rows) {
  if (!chunks_.empty() && used_ + rows <= chunks_.back().size(0)) return true;
  const int64_t each = width_ * static_cast<int64_t>(options_.dtype().itemsize());
  const int64_t room = std::max(rows, std::min(kChunkBytes, std::max<int64_t>(0, budget_)) / each),
                bytes = room * each;
  if (bytes_ + bytes <= budget_)
    chunks_.push_back(at::empty({room, width_}, options_));
  else if (const at::Tensor memory = folder_.empty() ? at::Tensor() : mapped(folder_, bytes);
           memory.defined())
    chunks_.push_back(memory.view(options_.dtype().toScalarType()).view({room, width_}));
  else {
    folder_.clear();  // a full disk is full for the next text, too
    return false;
  }
  bytes_ += bytes;
  used_ = 0;
  return true;
}

at::Tensor PrefixCache::find(const std::string& text) const {
  const auto found = places_.find(text);
  if (found == places_.end()) return {};
  const Place& place = found->second;
  return chunks_[place.chunk].narrow(0, place.row, place.rows);
}

void PrefixCache::put(const std::string& text, const at::Tensor& rows) {
  const int64_t n = rows.size(0);
  if (!reserve(n)) return;
  chunks_.back().narrow(0, used_, n).copy_(rows);
  places_[text] = {chunks_.size() - 1, used_, n};
  used_ += n;
}

}  // namespace lp
