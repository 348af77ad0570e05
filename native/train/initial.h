#pragma once
// Values that parameters begin with, from a seed and a stream of their own.
#include <cmath>

#include "base/random.h"
#include "ops/ops.h"

namespace lp {

inline void fill_uniform(Tensor to, double bound, uint64_t seed, uint64_t stream) {
  const Tensor t = at::empty(to.sizes(), at::kFloat);
  float* p = t.mutable_data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i)
    p[i] = static_cast<float>(((mix64(mix64(seed ^ mix64(stream)) + i) >> 11) * 0x1p-53 * 2 - 1) * bound);
  to.copy_(t);
}

inline void fill_normal(Tensor to, double deviation, uint64_t seed, uint64_t stream) {
  const Tensor t = at::empty(to.sizes(), at::kFloat);
  float* p = t.mutable_data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {  // Box-Muller
    const uint64_t a = mix64(mix64(seed ^ mix64(stream)) + 2 * i),
                   b = mix64(mix64(seed ^ mix64(stream)) + 2 * i + 1);
    const double u = ((a >> 11) + 1) * 0x1p-53, v = (b >> 11) * 0x1p-53;
    p[i] = static_cast<float>(deviation * std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
  }
  to.copy_(t);
}

}  // namespace lp
