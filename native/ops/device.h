#pragma once
// Which tensors the CUDA kernels work on.
#include <mutex>

#include "base/aten.h"
#include "ops/cuda/table.h"

namespace lp {

/// The CUDA kernels, where they work on this tensor: one in the memory of a GPU.
const DeviceKernels* device_kernels(const at::Tensor& t);

/// Whether LibTorch's own kernels for a GPU work on this tensor, too.
bool library_kernels(const at::Tensor& t);

/// How they are to work on the rows of a [rows, ..] tensor: on the stream that the calling thread queues on,
/// with room to write to, fp32, where they ask for any.
Launch launch_on(const at::Tensor& t, const at::Tensor& room = {});

/// A tensor in a device's memory, where it lies as kernels read it, 16 bytes at once.
at::Tensor placed(const at::Tensor& t, const at::Device& device);

/// A tensor of the host's memory on a device: its copy is queued and not waited for.
at::Tensor queued(const at::Tensor& host, const at::Device& device);
template <class T>
at::Tensor queued(const std::vector<T>& list, const at::Device& device) {
  return queued(at::tensor(at::ArrayRef<T>(list)), device);
}
/// The same to where the device has its place already.
void queue_copy(const at::Tensor& host, at::Tensor there);

/// A list's bytes where a tensor is.
template <class T>
at::Tensor on_device_of(const at::Tensor& t, const std::vector<T>& list) {
  const auto bytes = static_cast<int64_t>(list.size() * sizeof(T));
  return at::from_blob(const_cast<T*>(list.data()), {bytes}, at::kByte)
      .to(t.device(), at::kByte, false, true);
}

/// A GPU does the work of one session at a time: LibTorch has one generator for all, and what one records
/// must not meet what others queue. Nothing on the CPU.
class DeviceTurn {
 public:
  explicit DeviceTurn(const at::Tensor& beside);

 private:
  std::unique_lock<std::mutex> lock_;
};

/// Has kernels that are compiled for the host work on the tensors in its memory, for tests; null: no more.
/// @param library whether LibTorch's operations for a GPU are there for them as well
void emulate_device(const DeviceKernels* kernels, bool library = false);

}  // namespace lp
