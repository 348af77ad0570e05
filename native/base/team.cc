#include "base/team.h"

#include "base/aten.h"

namespace lp {
namespace {

// Some hundred microseconds: longer than what lies between two loops of a step, of two steps too.
constexpr int kSpins = 20000;

}  // namespace

Team::Team(int threads) : shares_(threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { serve(i); });
}

Team::~Team() {
  stopping_.store(true);
  loops_.fetch_add(1);
  loops_.notify_all();
  for (auto& worker : workers_) worker.join();
}

Team& Team::current() {
  thread_local Team team(at::get_num_threads());
  return team;
}

void Team::work_on(Share& share) {
  const auto first = [](uint64_t left) -> int64_t { return static_cast<uint32_t>(left); };
  const auto any = [first](uint64_t left) { return first(left) < static_cast<int64_t>(left >> 32); };
  // Only looked at where it is empty: who writes to it takes it from its owner's cache.
  int64_t done = 0;
  while (any(share.left.load(std::memory_order_relaxed))) {
    const uint64_t left = share.left.fetch_add(1, std::memory_order_acq_rel);
    if (!any(left)) break;
    const int64_t begin = first(left) * loop_.each;
    try {
      loop_.work(loop_.context, begin, std::min(loop_.n, begin + loop_.each));
    } catch (...) {
      const std::lock_guard lock(mutex_);
      error_ = std::current_exception();
    }
    ++done;
  }
  if (done > 0) unfinished_.fetch_sub(done, std::memory_order_release);
}

void Team::work(size_t thread) {
  for (size_t i = 0; i < shares_.size(); ++i) work_on(shares_[(thread + i) % shares_.size()]);
}

void Team::serve(size_t thread) {
  for (;;) {
    const uint32_t seen = loops_.load(std::memory_order_acquire);
    if (stopping_.load()) return;
    work(thread);
    for (int i = 0; i < kSpins && loops_.load(std::memory_order_acquire) == seen; ++i) __builtin_ia32_pause();
    loops_.wait(seen, std::memory_order_acquire);
  }
}

void Team::run(int64_t n, int64_t each, Work work_of, const void* context) {
  const int64_t pieces = (n + each - 1) / each, threads = static_cast<int64_t>(shares_.size());
  loop_ = {n, each, work_of, context};
  error_ = nullptr;
  unfinished_.store(pieces, std::memory_order_relaxed);
  for (int64_t i = 0; i < threads; ++i) {
    const uint64_t begin = pieces * i / threads, end = pieces * (i + 1) / threads;
    shares_[i].left.store(end << 32 | begin, std::memory_order_release);
  }
  loops_.fetch_add(1, std::memory_order_release);
  loops_.notify_all();
  work(0);
  while (unfinished_.load(std::memory_order_acquire) > 0) __builtin_ia32_pause();
  if (error_) std::rethrow_exception(error_);
}

}  // namespace lp
