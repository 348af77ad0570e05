#pragma once
// The threads of one thread's parallel loops. Each has a share of a loop's pieces, the same part of all
// loops, so that what it wrote in one is in its own cache in the next; it takes them one at a time, then
// those of the others, so that a thread that wakes late costs nothing. Between loops threads wait awhile
// before they sleep: the loops of a small model's step take less time than waking up does.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace lp {

class Team {
 public:
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  /// The calling thread's own, of as many threads as ATen's loops have where it is first asked for.
  static Team& current();
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  using Work = void (*)(const void* context, int64_t begin, int64_t end);
  /// Calls work(begin, end) for pieces of [0, n), `each` long and less than 2^31; returns when all are done.
  /// What one throws is thrown here.
  void run(int64_t n, int64_t each, Work work, const void* context);

 private:
  struct Loop {
    int64_t n = 0, each = 1;
    Work work = nullptr;
    const void* context = nullptr;
  };

  /// The pieces of one thread that are left: the first in the low half of the number, their end in the high
  /// half.
  struct alignas(64) Share {
    std::atomic<uint64_t> left{0};
  };

  /// Does what is left of a loop, beginning with a thread's own share.
  void work(size_t thread);
  void work_on(Share& share);
  void serve(size_t thread);

  Loop loop_;  // written while no piece is left, read by those who have taken one
  std::vector<Share> shares_;
  // Away from what is read for each piece.
  alignas(64) std::atomic<int64_t> unfinished_{0};
  alignas(64) std::atomic<uint32_t> loops_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::exception_ptr error_;
  std::vector<std::thread> workers_;
};

/// work(begin, end) over pieces of [0, n), each at least `grain` long but for the last.
template <class F>
void parallel(int64_t n, int64_t grain, const F& work) {
  if (n <= 0) return;
  Team& team = Team::current();
  const int64_t many = 4 * team.threads(), each = std::max<int64_t>(grain, (n + many - 1) / many);
  if (team.threads() == 1 || n <= each) return work(0, n);
  team.run(
      n, each, [](const void* f, int64_t begin, int64_t end) { (*static_cast<const F*>(f))(begin, end); },
      &work);
}

/// work(i) for i in [0, n), of which each is worth a turn.
template <class F>
void parallel_tasks(int64_t n, const F& work) {
  const auto run = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work(i);
  };
  Team& team = Team::current();
  if (team.threads() == 1 || n <= 1) return run(0, n);
  using Run = decltype(run);
  team.run(
      n, 1, [](const void* f, int64_t begin, int64_t end) { (*static_cast<const Run*>(f))(begin, end); },
      &run);
}

}  // namespace lp
