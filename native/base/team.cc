#include "base/team.h"

#include "base/aten.h"

namespace lp {
namespace {

// About fifty microseconds: longer than what lies between two loops of a step, shorter than waking up.
constexpr int kSpins = 3000;

}  // namespace

Team::Team(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { serve(); });
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

bool Team::take_one() {
  const int64_t left = left_.fetch_sub(1, std::memory_order_acq_rel);
  if (left <= 0) return false;
  const int64_t begin = (loop_.pieces - left) * loop_.each;
  try {
    loop_.work(loop_.context, begin, std::min(loop_.n, begin + loop_.each));
  } catch (...) {
    const std::lock_guard lock(mutex_);
    error_ = std::current_exception();
  }
  unfinished_.fetch_sub(1, std::memory_order_release);
  return true;
}

void Team::serve() {
  for (;;) {
    const uint32_t seen = loops_.load(std::memory_order_acquire);
    if (stopping_.load()) return;
    while (take_one()) {
    }
    for (int i = 0; i < kSpins && loops_.load(std::memory_order_acquire) == seen; ++i) __builtin_ia32_pause();
    loops_.wait(seen, std::memory_order_acquire);
  }
}

void Team::run(int64_t n, int64_t each, Work work, const void* context) {
  const int64_t pieces = (n + each - 1) / each;
  loop_ = {n, each, pieces, work, context};
  error_ = nullptr;
  unfinished_.store(pieces, std::memory_order_relaxed);
  left_.store(pieces, std::memory_order_release);
  loops_.fetch_add(1, std::memory_order_release);
  loops_.notify_all();
  while (take_one()) {
  }
  while (unfinished_.load(std::memory_order_acquire) > 0) __builtin_ia32_pause();
  if (error_) std::rethrow_exception(error_);
}

}  // namespace lp
