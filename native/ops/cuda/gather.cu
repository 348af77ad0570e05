// Rows and columns of a weight that a cut leaves, scaled on the way.
#include "ops/cuda/device.h"

namespace lp::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) take(Gather a, int64_t rows) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= rows * a.to_width) return;
  const int64_t row = at / a.to_width, column = at % a.to_width;
  T* const to = static_cast<T*>(a.to) + at;
  const T value = static_cast<const T*>(
      a.from)[(a.rows ? a.rows[row] : row) * a.from_width + (a.columns ? a.columns[column] : column)];
  if (a.scale)
    put(to, to_float(value) * a.scale[column]);
  else
    *to = value;
}

}  // namespace

void gather(const Gather& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    run(take<decltype(t)>, dim3(static_cast<unsigned>(ceil_div(launch.rows * a.to_width, kThreads))),
        dim3(kThreads), launch.stream, a, launch.rows);
  });
}

}  // namespace lp::cuda
