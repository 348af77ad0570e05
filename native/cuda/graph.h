#pragma once
// Work for a device that is recorded once and run again as a whole (CUDA graphs).
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace lp {

class Graph {
 public:
  /// Records what `work` queues, without running it. It must not wait for the device nor read the host's
  /// memory, and the tensors that it makes stay where they are for as long as this lives.
  /// Memory of what it does not keep is shared with `beside`: both must not run at once.
  void record(std::function<void()> work, const Graph* beside);
  /// Queues all of it on the calling thread's stream.
  void run() { run_(); }

 private:
  std::function<void()> run_;
  std::pair<uint64_t, uint64_t> pool_{0, 0};  // none yet
};

#ifndef LIGHT_PEFT_CUDA
/// Without CUDA the work itself is kept.
inline void Graph::record(std::function<void()> work, const Graph*) { run_ = std::move(work); }
#endif

}  // namespace lp
