// Dropout, rotary positions and moments.
#include "ops/cuda/tiles.h"

namespace lp::cuda {
namespace {

template <class T, int N>
struct Drop {
  const T* x;
  T* y;
  int64_t width;
  Dropout dropout;

  __device__ void begin(int64_t) { dropout = keyed(dropout); }
  __device__ void row(int64_t row, int64_t column, Values<N>*) {
    Values<N> v = load<N>(x + row * width + column);
    drop<N>(dropout, row, column, width, v);
    store<N>(y + row * width + column, v);
  }
};

template <class T, int N>
struct Squares {
  const T* x;
  const float* counted;
  int64_t width;

  __device__ void begin(int64_t) {}
  __device__ void row(int64_t row, int64_t column, Values<N>* total) {
    if (counted && counted[row] == 0.f) return;
    const Values<N> v = load<N>(x + row * width + column);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      total[0].v[i] += v.v[i];
      total[1].v[i] += v.v[i] * v.v[i];
    }
  }
};

/// A thread has one pair of a head, or one of the values that are not turned.
template <class T>
__global__ void __launch_bounds__(256) turn(Rotate a, int64_t rows) {
  const int64_t pairs = a.turned / 2, units = pairs + (a.size - a.turned), all = a.heads * units;
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (at >= rows * all) return;
  const int64_t row = at / all, head = at % all / units, unit = at % units;
  const int64_t begin = (row * a.heads + head) * a.size;
  const T* x = static_cast<const T*>(a.x) + begin;
  T* y = static_cast<T*>(a.y) + begin;
  if (unit >= pairs) {
    y[a.turned + unit - pairs] = x[a.turned + unit - pairs];
    return;
  }
  const int64_t step = a.interleaved ? 2 : 1, apart = a.interleaved ? 1 : pairs;
  const float c = a.cos[row * pairs + unit], s = a.sin[row * pairs + unit] * a.direction;
  const float first = to_float(x[unit * step]), second = to_float(x[unit * step + apart]);
  put(y + unit * step, first * c - second * s);
  put(y + unit * step + apart, second * c + first * s);
}

}  // namespace

void dropout_apply(const DropoutApply& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(a.width, [&](auto count) {
      constexpr int N = decltype(count)::n;
      over_tiles<N>(Drop<T, N>{static_cast<const T*>(a.x), static_cast<T*>(a.y), a.width, a.dropout}, a.width,
                    launch);
    });
  });
}

void moments(const Moments& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(a.width, [&](auto count) {
      constexpr int N = decltype(count)::n;
      over_summed_tiles<N>(Squares<T, N>{static_cast<const T*>(a.x), a.counted, a.width},
                           Totals<2>{{a.sum, a.square}}, a.width, launch);
    });
  });
}

void rotate(const Rotate& a, const Launch& launch) {
  const int64_t each = a.heads * (a.turned / 2 + a.size - a.turned);
  for_element(launch.element, [&](auto t) {
    run(turn<decltype(t)>, dim3(static_cast<unsigned>(ceil_div(launch.rows * each, 256))), dim3(256),
        launch.stream, a, launch.rows);
  });
}

}  // namespace lp::cuda
