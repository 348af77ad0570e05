// LayerNorm and RMSNorm of residual + dropout(z). A block has one row; where each of its threads has N values
// of it, they stay in registers and memory is read once.
#include "ops/cuda/tiles.h"

namespace lp::cuda {
namespace {

constexpr int kMostThreads = 1024;

/// What is normalized, [column, column + N) of a row.
template <class T, int N>
__device__ __forceinline__ Values<N> summed(const NormForward& a, int64_t row, int64_t column) {
  const int64_t at = row * a.width + column;
  Values<N> s = load<N>(static_cast<const T*>(a.z) + at);
  drop<N>(a.dropout, row, column, a.width, s);
  if (a.residual) {
    const Values<N> r = load<N>(static_cast<const T*>(a.residual) + at);
#pragma unroll
    for (int i = 0; i < N; ++i) s.v[i] += r.v[i];
  }
  return s;
}

template <class T, int N, bool once>
__global__ void __launch_bounds__(kMostThreads) forward(NormForward a) {
  __shared__ float places[kMostThreads / kWarp];
  a.dropout = keyed(a.dropout);
  const int64_t row = blockIdx.x, begin = row * a.width;
  const int64_t first = threadIdx.x * N, step = blockDim.x * N;
  const float inverse = 1.f / static_cast<float>(a.width);
  Values<N> s;
  float total = 0.f;
  for (int64_t c = first; c < a.width; c += step) {
    s = summed<T, N>(a, row, c);
    if (a.sum) store<N>(static_cast<T*>(a.sum) + begin + c, s);
#pragma unroll
    for (int i = 0; i < N; ++i) total += s.v[i];
  }
  const float mean = a.centered ? block_sum(total, places) * inverse : 0.f;
  float squares = 0.f;
  for (int64_t c = first; c < a.width; c += step) {
    if constexpr (!once) s = summed<T, N>(a, row, c);
#pragma unroll
    for (int i = 0; i < N; ++i) squares += (s.v[i] - mean) * (s.v[i] - mean);
  }
  const float rstd = 1.f / sqrtf(block_sum(squares, places) * inverse + a.eps);
  if (a.rstd && threadIdx.x == 0) a.rstd[row] = rstd;
  for (int64_t c = first; c < a.width; c += step) {
    if constexpr (!once) s = summed<T, N>(a, row, c);
    const Values<N> gamma = load<N>(a.gamma + c), beta = a.beta ? load<N>(a.beta + c) : filled<N>(0.f);
#pragma unroll
    for (int i = 0; i < N; ++i) s.v[i] = (s.v[i] - mean) * rstd;
    if (a.normalized) store<N>(static_cast<T*>(a.normalized) + begin + c, s);
#pragma unroll
    for (int i = 0; i < N; ++i) s.v[i] = s.v[i] * gamma.v[i] + beta.v[i];
    store<N>(static_cast<T*>(a.y) + begin + c, s);
  }
}

/// The normalized values: stored, or (y - beta) / gamma.
template <class T, int N, class Arguments>
__device__ __forceinline__ Values<N> normalized(const Arguments& a, const Values<N>& gamma, int64_t at,
                                                int64_t c) {
  if (a.normalized) return load<N>(static_cast<const T*>(a.normalized) + at);
  Values<N> hat = load<N>(static_cast<const T*>(a.y) + at);
  const Values<N> beta = a.beta ? load<N>(a.beta + c) : filled<N>(0.f);
#pragma unroll
  for (int i = 0; i < N; ++i) hat.v[i] = gamma.v[i] != 0.f ? (hat.v[i] - beta.v[i]) / gamma.v[i] : 0.f;
  return hat;
}

/// dy * gamma and the normalized values.
template <int N>
struct Pair {
  Values<N> g, hat;
};
template <class T, int N>
__device__ __forceinline__ Pair<N> pair_of(const NormBackward& a, int64_t begin, int64_t column) {
  const Values<N> gamma = load<N>(a.gamma + column);
  Pair<N> x{load<N>(static_cast<const T*>(a.dy) + begin + column),
            normalized<T, N>(a, gamma, begin + column, column)};
#pragma unroll
  for (int i = 0; i < N; ++i) x.g.v[i] *= gamma.v[i];
  return x;
}

template <class T, int N, bool once>
__global__ void __launch_bounds__(kMostThreads) backward(NormBackward a) {
  __shared__ float places[kMostThreads / kWarp];
  a.dropout = keyed(a.dropout);
  const int64_t row = blockIdx.x, begin = row * a.width;
  const int64_t first = threadIdx.x * N, step = blockDim.x * N;
  const float inverse = 1.f / static_cast<float>(a.width);
  Pair<N> x;
  float sum1 = 0.f, sum2 = 0.f;
  for (int64_t c = first; c < a.width; c += step) {
    x = pair_of<T, N>(a, begin, c);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      sum1 += x.g.v[i];
      sum2 += x.g.v[i] * x.hat.v[i];
    }
  }
  const float mean1 = a.centered ? block_sum(sum1, places) * inverse : 0.f,
              mean2 = block_sum(sum2, places) * inverse, rstd = a.rstd[row];
  for (int64_t c = first; c < a.width; c += step) {
    if constexpr (!once) x = pair_of<T, N>(a, begin, c);
    Values<N> d;
#pragma unroll
    for (int i = 0; i < N; ++i) d.v[i] = rstd * (x.g.v[i] - mean1 - x.hat.v[i] * mean2);
    if (a.start) {
      const Values<N> past = load<N>(static_cast<const T*>(a.start) + begin + c);
#pragma unroll
      for (int i = 0; i < N; ++i) d.v[i] += past.v[i];
    }
    store<N>(static_cast<T*>(a.d_residual) + begin + c, d);
    if (a.dz) {
      drop<N>(a.dropout, row, c, a.width, d);
      store<N>(static_cast<T*>(a.dz) + begin + c, d);
    }
  }
}

template <class T, int N>
struct Gradient {
  NormGradient a;
  Values<N> gamma;

  __device__ void begin(int64_t column) { gamma = load<N>(a.gamma + column); }
  __device__ void row(int64_t row, int64_t column, Values<N>* total) {
    const int64_t at = row * a.width + column;
    const Values<N> dy = load<N>(static_cast<const T*>(a.dy) + at),
                    hat = normalized<T, N>(a, gamma, at, column);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      total[0].v[i] += dy.v[i] * hat.v[i];
      total[1].v[i] += dy.v[i];
    }
  }
};

/// f(Count<N>, Count<whether a thread has no more than N values of a row>, threads).
template <class T, class F>
void for_row(int64_t width, const F& f) {
  for_width<T>(width, [&](auto count) {
    const int64_t needed = ceil_div(width / decltype(count)::n, kWarp) * kWarp;
    if (needed <= kMostThreads)
      f(count, Count<1>{}, static_cast<unsigned>(needed));
    else
      f(count, Count<0>{}, static_cast<unsigned>(kMostThreads));
  });
}

}  // namespace

void norm_forward(const NormForward& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    for_row<decltype(t)>(a.width, [&](auto n, auto once, unsigned threads) {
      run(forward<decltype(t), decltype(n)::n, decltype(once)::n == 1>,
          dim3(static_cast<unsigned>(launch.rows)), dim3(threads), launch.stream, a);
    });
  });
}

void norm_backward(const NormBackward& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    for_row<decltype(t)>(a.width, [&](auto n, auto once, unsigned threads) {
      run(backward<decltype(t), decltype(n)::n, decltype(once)::n == 1>,
          dim3(static_cast<unsigned>(launch.rows)), dim3(threads), launch.stream, a);
    });
  });
}

void norm_gradient(const NormGradient& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(a.width, [&](auto count) {
      constexpr int N = decltype(count)::n;
      over_summed_tiles<N>(Gradient<T, N>{a, {}}, Totals<2>{{a.d_gamma, a.d_beta}}, a.width, launch);
    });
  });
}

}  // namespace lp::cuda
