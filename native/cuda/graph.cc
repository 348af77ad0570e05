#include "cuda/graph.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>

namespace lp {

void Graph::record(std::function<void()> work, const Graph* beside) {
  const auto graph = std::make_shared<at::cuda::CUDAGraph>();
  // What was queued before is done when recording begins: it happens on another stream.
  c10::cuda::device_synchronize();
  {
    const c10::cuda::CUDAStreamGuard guard(c10::cuda::getStreamFromPool());
    // Other sessions' threads go on meanwhile.
    graph->capture_begin(beside ? beside->pool_ : pool_, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      graph->capture_end();
      throw;
    }
    graph->capture_end();
  }
  pool_ = graph->pool();
  run_ = [graph] { graph->replay(); };
}

}  // namespace lp
