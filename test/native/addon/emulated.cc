// Has every operation of the addon that it is linked into done by the CUDA kernels, as the host runs them. The
// emulated device has memory for LIGHT_PEFT_EMULATED_TOKENS tokens at once, or for any number.
#include <cstdlib>

#include "base/aten.h"
#include "ops/cuda/launches.h"
#include "ops/device.h"

namespace lp {
namespace {

void attention_forward(const AttentionForward& a, int64_t sequences, const Launch& launch) {
  const char* const most = std::getenv("LIGHT_PEFT_EMULATED_TOKENS");
  TORCH_CHECK_WITH(OutOfMemoryError, !most || launch.rows <= std::atoll(most), "the emulated device has no memory for ",
                   launch.rows, " tokens");
  cuda::attention_forward(a, sequences, launch);
}

[[maybe_unused]] const bool emulated = [] {
  static DeviceKernels kernels = cuda::table;
  kernels.attention_forward = attention_forward;
  emulate_device(&kernels);
  return true;
}();

}  // namespace
}  // namespace lp
