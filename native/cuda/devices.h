#pragma once
#include <cstdint>

namespace lp {

/// How many CUDA devices the engine can use, counted from the first. 0 in a build for the CPU, and where
/// there is no driver. Asked once.
#ifdef LIGHT_PEFT_CUDA
int cuda_devices();
#else
inline int cuda_devices() { return 0; }
#endif

/// The most bytes that tensors have had at once on a CUDA device.
#ifdef LIGHT_PEFT_CUDA
int64_t cuda_memory_peak(int device);
#else
inline int64_t cuda_memory_peak(int) { return 0; }
#endif

/// Whether products in fp32 may be rounded to TF32 on CUDA devices; not before it is asked for.
#ifdef LIGHT_PEFT_CUDA
void allow_tf32(bool allowed);
#else
inline void allow_tf32(bool) {}
#endif

/// Batches of all lengths come and go: segments of the device's memory that grow leave fewer holes than those
/// of fixed sizes. What PYTORCH_ALLOC_CONF or
/// PYTORCH_CUDA_ALLOC_CONF says goes before. To be called before the first tensor.
#ifdef LIGHT_PEFT_CUDA
void choose_cuda_memory();
#else
inline void choose_cuda_memory() {}
#endif

}  // namespace lp
