#include "base/arena.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

#include "base/aten.h"
#include "base/error.h"

namespace lp {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmallest = 32 << 10;  // below this the C library is as good
constexpr size_t kHugePage = 2 << 20;   // chunks are whole ones: fewer addresses for the processor to look up
constexpr size_t kChunk = 64 << 20;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/// Best fit over chunks, neighbours joined when they are free.
class Arena final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t n) override {
    void* found = nullptr;
    if (n >= kSmallest)
      found = take(round_up(n, kAlignment));
    else if (n > 0)
      found = std::aligned_alloc(kAlignment, round_up(n, kAlignment));
    return {found, found, &give_back, at::Device(at::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (auto at = blocks_.begin(); at != blocks_.end();) {
      Block& b = at->second;
      if (b.free && b.first && b.last) {
        sizes_.erase(b.by_size);
        munmap(at->first, b.size);
        at = blocks_.erase(at);
      } else {
        ++at;
      }
    }
  }

  static Arena& get() {
    static auto* const arena = new Arena;  // tensors may outlive every other static object
    return *arena;
  }

 private:
  using Sizes = std::multimap<size_t, char*>;
  struct Block {
    size_t size;
    bool free, first, last;  // first and last of their chunk
    Sizes::iterator by_size;
  };
  using Blocks = std::map<char*, Block>;

  void* take(size_t n) {
    const std::lock_guard lock(mutex_);
    auto fit = sizes_.lower_bound(n);
    if (fit == sizes_.end()) fit = grow(n);
    const auto at = blocks_.find(fit->second);
    sizes_.erase(fit);
    Block& block = at->second;
    block.free = false;
    if (block.size > n) {
      const auto rest = blocks_.insert({at->first + n, {block.size - n, true, false, block.last, {}}}).first;
      rest->second.by_size = sizes_.insert({rest->second.size, rest->first});
      block.size = n;
      block.last = false;
    }
    return at->first;
  }

  Sizes::iterator grow(size_t n) {
    const size_t size = round_up(n > kChunk ? n : kChunk, kHugePage);
    // Longer by a page than needed, so that a chunk can begin at one.
    void* mapped =
        mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) throw Error("OUT_OF_MEMORY", "no memory for " + std::to_string(n) + " bytes");
    auto* const begin = static_cast<char*>(mapped);
    auto* const chunk = reinterpret_cast<char*>(round_up(reinterpret_cast<size_t>(begin), kHugePage));
    if (chunk > begin) munmap(begin, chunk - begin);
    if (begin + kHugePage > chunk) munmap(chunk + size, begin + kHugePage - chunk);
    madvise(chunk, size, MADV_HUGEPAGE);
    const auto at = blocks_.insert({chunk, {size, true, true, true, {}}}).first;
    return at->second.by_size = sizes_.insert({size, chunk});
  }

  static void give_back(void* p) { get().put(static_cast<char*>(p)); }

  void put(char* p) {
    const std::lock_guard lock(mutex_);
    auto at = blocks_.find(p);
    if (at == blocks_.end()) return std::free(p);  // a small one
    if (!at->second.last) {
      const auto next = std::next(at);
      if (next->second.free) {
        at->second.size += next->second.size;
        at->second.last = next->second.last;
        sizes_.erase(next->second.by_size);
        blocks_.erase(next);
      }
    }
    if (!at->second.first) {
      const auto before = std::prev(at);
      if (before->second.free) {
        before->second.size += at->second.size;
        before->second.last = at->second.last;
        sizes_.erase(before->second.by_size);
        blocks_.erase(at);
        at = before;
      }
    }
    at->second.free = true;
    at->second.by_size = sizes_.insert({at->second.size, at->first});
  }

  std::mutex mutex_;
  Blocks blocks_;
  Sizes sizes_;  // of the free ones
};

}  // namespace

void install_arena() { c10::SetCPUAllocator(&Arena::get(), 1); }

void trim_arena() { Arena::get().trim(); }

}  // namespace lp
