#include "train/prefix_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"

namespace lp {
namespace {

constexpr int64_t kChunkBytes = 32 << 20;

/// Memory of a file that was unlinked at once: whoever ends the process ends the file.
at::Tensor mapped(const std::string& folder, int64_t bytes) {
  std::string path = folder + "/prefix-XXXXXX";
  const int file = mkstemp(path.data());
  const auto fail = [&](const char* what) {
    const std::string why = std::strerror(errno);
    if (file >= 0) close(file);
    throw Error("IO", std::string(what) + " the cache of frozen layers in " + folder + ": " + why);
  };
  if (file < 0) fail("cannot create");
  unlink(path.c_str());
  // Real blocks: a full disk is told here, not by a signal at the first write.
  if (const int code = posix_fallocate(file, 0, bytes)) {
    errno = code;
    fail("cannot extend");
  }
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) fail("cannot map");
  close(file);
  return at::from_blob(
      memory, {bytes}, [bytes](void* p) { munmap(p, bytes); }, at::kByte);
}

}  // namespace

PrefixCache::PrefixCache(int64_t width, at::ScalarType dtype, int64_t budget, std::string folder)
    : width_(width), dtype_(dtype), budget_(budget), folder_(std::move(folder)) {}

bool PrefixCache::reserve(int64_t rows) {
  if (!chunks_.empty() && used_ + rows <= chunks_.back().size(0)) return true;
  const int64_t each = width_ * static_cast<int64_t>(at::elementSize(dtype_));
  const int64_t room = std::max(rows, kChunkBytes / each), bytes = room * each;
  if (bytes_ + bytes <= budget_)
    chunks_.push_back(at::empty({room, width_}, dtype_));
  else if (!folder_.empty())
    chunks_.push_back(mapped(folder_, bytes).view(dtype_).view({room, width_}));
  else
    return false;
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
