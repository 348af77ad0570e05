#pragma once
// One thread that does a handle's work in order, so that nothing heavy runs on the thread that calls.
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace lp {

/// How many threads a parallel loop of ours runs on, called from here.
int parallel_threads();

class Lane {
 public:
  /// `threads`: OpenMP threads of the work in this lane; they belong to the lane, so they are set inside it.
  explicit Lane(int threads);
  /// Finishes the task that runs, drops those that wait.
  ~Lane();
  void post(std::function<void()> task);

 private:
  void run(int threads);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace lp
