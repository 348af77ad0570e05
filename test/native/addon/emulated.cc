// Has every operation of the addon that it is linked into done by the CUDA kernels, as the host runs them.
#include "ops/cuda/launches.h"
#include "ops/device.h"

namespace lp {
namespace {

[[maybe_unused]] const bool emulated = (emulate_device(&cuda::table), true);

}  // namespace
}  // namespace lp
