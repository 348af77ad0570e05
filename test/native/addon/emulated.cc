// Has every operation of the addon that it is linked into done as on a GPU: by the CUDA kernels, as the host runs them,
// and by what stands for LibTorch's. The emulated device has memory for LIGHT_PEFT_EMULATED_TOKENS tokens at once, or for any number.
#include <cstdlib>

#include "base/aten.h"
#include "ops/cuda/launches.h"
#include "ops/device.h"

namespace lp {
namespace {

void norm_forward(const NormForward& a, const Launch& launch) {
  const char* const most = std::getenv("LIGHT_PEFT_EMULATED_TOKENS");
  TORCH_CHECK_WITH(OutOfMemoryError, !most || launch.rows <= std::atoll(most), "the emulated device has no memory for ",
                   launch.rows, " tokens");
  cuda::norm_forward(a, launch);
}

[[maybe_unused]] const bool emulated = [] {
  static DeviceKernels kernels = cuda::table;
  kernels.norm_forward = norm_forward;
  emulate_device(&kernels, /*library=*/true);
  return true;
}();

}  // namespace
}  // namespace lp
