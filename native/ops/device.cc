#include "ops/device.h"

#include <array>
#include <atomic>

#include "base/error.h"
#ifdef LIGHT_PEFT_CUDA
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include "ops/cuda/launches.h"
#endif

namespace lp {
namespace {

std::atomic<const DeviceKernels*> emulated{nullptr};
std::atomic<bool> library_emulated{false};

}  // namespace

const DeviceKernels* device_kernels(const at::Tensor& t) {
#ifdef LIGHT_PEFT_CUDA
  if (t.is_cuda()) return &cuda::table;
#endif
  return t.is_cpu() ? emulated.load(std::memory_order_relaxed) : nullptr;
}

bool library_kernels(const at::Tensor& t) {
  return t.is_cuda() || (device_kernels(t) && library_emulated.load(std::memory_order_relaxed));
}

Launch launch_on(const at::Tensor& t, const at::Tensor& room) {
  require(t.scalar_type() == at::kFloat || t.scalar_type() == at::kBFloat16, "activations are fp32 or bf16");
  Launch launch{t.scalar_type() == at::kFloat ? Element::f32 : Element::bf16, t.size(0), nullptr,
                room.defined() ? room.mutable_data_ptr<float>() : nullptr};
#ifdef LIGHT_PEFT_CUDA
  if (t.is_cuda()) {
    c10::cuda::set_device(t.device().index());  // kernels go where the thread is
    launch.stream = c10::cuda::getCurrentCUDAStream().stream();
  }
#endif
  return launch;
}

at::Tensor placed(const at::Tensor& t, const at::Device& device) {
  const at::Tensor there = t.to(device);
  // Of a file that is mapped into the host's memory.
  return device_kernels(there) && there.is_same(t) ? t.clone() : there;
}

// A device reads by itself only memory that stays where it is. LibTorch keeps the copy there until it was
// read.
at::Tensor queued(const at::Tensor& host, const at::Device& device) {
  return device.is_cuda() ? host.pin_memory().to(device, host.scalar_type(), /*non_blocking=*/true) : host;
}

void queue_copy(const at::Tensor& host, at::Tensor there) {
  there.copy_(there.is_cuda() ? host.pin_memory() : host, /*non_blocking=*/true);
}

DeviceTurn::DeviceTurn(const at::Tensor& beside) {
  static std::array<std::mutex, 128> turns;  // more than LibTorch has GPUs
  if (library_kernels(beside))
    lock_ = std::unique_lock(turns.at(static_cast<size_t>(beside.is_cuda() ? beside.device().index() : 0)));
}

void emulate_device(const DeviceKernels* kernels, bool library) {
  emulated = kernels;
  library_emulated = library;
}

}  // namespace lp
