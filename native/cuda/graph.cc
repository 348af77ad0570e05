#include "cuda/graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>

namespace lp {

namespace {

/// A graph that may go while it still runs: its memory would be others' meanwhile, as it belongs to another
/// stream than those that it is run on.
struct Recording {
  at::cuda::CUDAGraph graph;
  c10::cuda::CUDAStream last = c10::cuda::getCurrentCUDAStream();  // that it was run on

  void run() {
    last = c10::cuda::getCurrentCUDAStream();
    graph.replay();
  }
  ~Recording() {
    try {
      last.synchronize();
    } catch (...) {  // it has failed, and ends nothing but itself
    }
  }
};

}  // namespace

struct Graph::Place {
  c10::cuda::CUDAStream stream;
  at::cuda::MempoolId_t pool{0, 0};  // none yet
};

void Graph::record(std::function<void()> work, const Graph* beside) {
  // LibTorch's allocator gives free memory again only on the stream that had it.
  const auto place = beside && beside->place_
                         ? beside->place_
                         : std::make_shared<Place>(Place{c10::cuda::getStreamFromPool(), {0, 0}});
  // What is queued may still read what LibTorch's generator keeps on the device, which recording writes.
  c10::cuda::getCurrentCUDAStream().synchronize();
  // The allocator cannot give back what it keeps for others while it records.
  c10::cuda::CUDACachingAllocator::emptyCache();
  const auto recording = std::make_shared<Recording>();
  at::cuda::CUDAGraph& graph = recording->graph;
  {
    const c10::cuda::CUDAStreamGuard guard(place->stream);
    // Other threads go on meanwhile.
    graph.capture_begin(place->pool, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      try {
        graph.capture_end();
      } catch (...) {  // says no more than what has ended it
      }
      throw;
    }
    graph.capture_end();
  }
  place->pool = graph.pool();
  place_ = place;
  run_ = [recording] { recording->run(); };
}

}  // namespace lp
