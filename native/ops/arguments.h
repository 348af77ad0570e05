#pragma once
// Tensors as the kernels take them.
#include "base/aten.h"
#include "base/error.h"
#include "ops/kernels/kernels.h"

namespace lp {

/// The CPU's kernels of a tensor's element type.
inline const TypedKernels& typed(const at::Tensor& t) {
  if (t.scalar_type() == at::kFloat) return kernels().f32;
  require(t.scalar_type() == at::kBFloat16, "activations are fp32 or bf16");
  return kernels().bf16;
}

/// Memory for values to come, past LibTorch's dispatcher, which takes as long as some of the kernels do.
inline at::Tensor fresh(at::IntArrayRef sizes, const at::TensorOptions& options) {
  return options.device().is_cpu() ? at::Tensor(at::detail::empty_cpu(sizes, options))
                                   : at::empty(sizes, options);
}
inline at::Tensor fresh_like(const at::Tensor& t) { return fresh(t.sizes(), t.options()); }

// Null of an undefined tensor.
inline const float* floats(const at::Tensor& t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }
inline float* mutable_floats(const at::Tensor& t) {
  return t.defined() ? t.mutable_data_ptr<float>() : nullptr;
}
inline const void* data(const at::Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }

}  // namespace lp
