#include "cuda/devices.h"

#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include <cstdlib>

namespace lp {
namespace {

// The first part of the compute capability that native/ops/cuda/nvcc.flags begins with.
constexpr int kOldest = 8;

/// Stops at the first device that is too old, so that every number below the answer is a device's.
int count() {
  const int all = c10::cuda::device_count();
  for (int i = 0; i < all; ++i) {
    int major = 0;
    // Unlike a device's other properties, this is told without a context, which takes memory on the device.
    const auto told = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i);
    if (told != cudaSuccess || major < kOldest) return i;
  }
  return all;
}

}  // namespace

int cuda_devices() {
  static const int found = count();
  return found;
}

int64_t cuda_memory_peak(int device) {
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(static_cast<c10::DeviceIndex>(device));
  return stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

void allow_tf32(bool allowed) { at::globalContext().setAllowTF32CuBLAS(allowed); }

void choose_cuda_memory() {
  if (!std::getenv("PYTORCH_ALLOC_CONF"))
    setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", /*overwrite=*/0);
}

}  // namespace lp
