#pragma once
// Work for a device that is recorded once and run again as a whole (CUDA graphs).
#include <functional>
#include <memory>
#include <utility>

namespace lp {

class Graph {
 public:
  /// Records what `work` queues, without running it. It must not wait for the device nor read the host's
  /// memory, and the tensors that it makes stay where they are for as long as this lives. Memory of what it
  /// does not keep is shared with `beside`: both must not run at once.
  void record(std::function<void()> work, const Graph* beside);
  bool recorded() const { return run_ != nullptr; }
  /// Queues all of it on the calling thread's stream.
  void run() { run_(); }

 private:
  struct Place;  // the memory, and the stream that it belongs to

  std::function<void()> run_;
  std::shared_ptr<Place> place_;
};

#ifndef LIGHT_PEFT_CUDA
/// Without CUDA the work itself is kept.
inline void Graph::record(std::function<void()> work, const Graph*) { run_ = std::move(work); }
#endif

}  // namespace lp
