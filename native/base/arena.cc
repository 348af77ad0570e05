#include "base/arena.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "base/aten.h"
#include "base/error.h"

namespace lp {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = 2 << 20;  // chunks are whole ones: fewer addresses for the processor to look up
constexpr size_t kChunk = 64 << 20;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// Sizes of little memory: the first eight multiples of the alignment, then four between a power of two and
// the next.
constexpr size_t class_of(size_t n) {
  const size_t units = (n + kAlignment - 1) / kAlignment;
  if (units <= 8) return units - 1;
  const int shift = std::bit_width(units - 1) - 3;
  return 4 * shift + ((units - 1) >> shift);
}
constexpr size_t size_of(size_t c) { return (c < 8 ? c + 1 : (c % 4 + 5) << (c / 4 - 1)) * kAlignment; }

struct Block;

/// What lies before all memory that is given out.
struct alignas(kAlignment) Header {
  Block* block;  // or null: the size is that of a class
  size_t size_class;
};
Header* header_of(void* p) { return static_cast<Header*>(p) - 1; }

/// Memory for little: what was given back lies ready by size, as glibc has no such lists for aligned memory.
class Smalls {
 public:
  static constexpr size_t kMost = 32 << 10;

  /// @param n from 1 to kMost; null where there is no memory
  void* take(size_t n) {
    const size_t c = class_of(n);
    std::vector<void*>& ready = ready_[c];
    if (!ready.empty()) {
      void* const found = ready.back();
      ready.pop_back();
      return found;
    }
    void* const all = std::aligned_alloc(kAlignment, sizeof(Header) + size_of(c));
    if (!all) return nullptr;
    return new (all) Header{nullptr, c} + 1;
  }

  void put(void* p) { ready_[header_of(p)->size_class].push_back(p); }

  void trim() {
    for (auto& ready : ready_) {
      for (void* const p : ready) std::free(header_of(p));
      ready.clear();
    }
  }

 private:
  std::array<std::vector<void*>, class_of(kMost) + 1> ready_;
};

using Sizes = std::multimap<size_t, Block*>;

struct Block {
  char* begin;
  size_t size;
  Block *before = nullptr, *after = nullptr;  // of the same chunk
  bool free = false;
  Sizes::iterator by_size{};
};

/// Best fit over chunks, neighbours joined when they are free.
class Blocks {
 public:
  void* take(size_t n) {
    const size_t size = sizeof(Header) + round_up(n, kAlignment);
    auto fit = free_.lower_bound(size);
    if (fit == free_.end()) fit = grow(size);
    Block* const block = fit->second;
    free_.erase(fit);
    block->free = false;
    if (block->size > size) {
      auto* const rest = new Block{block->begin + size, block->size - size, block, block->after};
      if (rest->after) rest->after->before = rest;
      block->after = rest;
      block->size = size;
      add_free(rest);
    }
    return new (block->begin) Header{block, 0} + 1;
  }

  void put(Block* block) {
    if (block->after && block->after->free) {
      free_.erase(block->after->by_size);
      join(block, block->after);
    }
    if (block->before && block->before->free) {
      block = block->before;
      free_.erase(block->by_size);
      join(block, block->after);
    }
    add_free(block);
  }

  void trim() {
    for (auto at = free_.begin(); at != free_.end();) {
      Block* const block = at->second;
      if (block->before || block->after) {
        ++at;
        continue;
      }
      munmap(block->begin, block->size);
      delete block;
      at = free_.erase(at);
    }
  }

 private:
  void add_free(Block* block) {
    block->free = true;
    block->by_size = free_.insert({block->size, block});
  }

  static void join(Block* block, Block* next) {
    block->size += next->size;
    block->after = next->after;
    if (block->after) block->after->before = block;
    delete next;
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
    auto* const block = new Block{chunk, size};
    add_free(block);
    return block->by_size;
  }

  Sizes free_;
};

class Arena final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t n) override {
    void* const found = take(n);
    return {found, found, &give_back, at::Device(at::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }

  void trim() {
    const std::lock_guard lock(mutex_);
    smalls_.trim();
    blocks_.trim();
  }

  static Arena& get() {
    static auto* const arena = new Arena;  // tensors may outlive every other static object
    return *arena;
  }

 private:
  void* take(size_t n) {
    if (n == 0) return nullptr;
    const std::lock_guard lock(mutex_);
    if (n > Smalls::kMost) return blocks_.take(n);
    void* const found = smalls_.take(n);
    if (!found) throw Error("OUT_OF_MEMORY", "no memory for " + std::to_string(n) + " bytes");
    return found;
  }

  static void give_back(void* p) {
    if (!p) return;
    Arena& arena = get();
    const std::lock_guard lock(arena.mutex_);
    if (Block* const block = header_of(p)->block)
      arena.blocks_.put(block);
    else
      arena.smalls_.put(p);
  }

  std::mutex mutex_;
  Smalls smalls_;
  Blocks blocks_;
};

}  // namespace

void install_arena() { c10::SetCPUAllocator(&Arena::get(), 1); }

void trim_arena() { Arena::get().trim(); }

}  // namespace lp
