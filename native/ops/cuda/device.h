#pragma once
// What the CUDA kernels share. They see no header of LibTorch, so that nvcc alone compiles them; over
// test/native/emulation.h the host's compiler does, and a test runs them without a GPU.
#include "base/error.h"
#include "ops/cuda/launches.h"

#ifdef LP_EMULATED
#include "emulation.h"
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <tuple>
#endif

namespace lp::cuda {

constexpr int kWarp = 32;

struct bf16 {
  uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
__device__ __forceinline__ void put(float* p, float x) { *p = x; }
__device__ __forceinline__ void put(bf16* p, float x) {
  p->bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

/// N values that lie side by side, read and written at once: 16 bytes where a width allows it.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};

template <int N>
struct Values {
  float v[N];
};

template <int N, class T>
__device__ __forceinline__ Values<N> load(const T* p) {
  Values<N> x;
  constexpr int kAtOnce = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;
#pragma unroll
  for (int i = 0; i < N; i += kAtOnce) {
    const auto pack = *reinterpret_cast<const Pack<T, kAtOnce>*>(p + i);
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) x.v[i + j] = to_float(pack.v[j]);
  }
  return x;
}

template <int N, class T>
__device__ __forceinline__ void store(T* p, const Values<N>& x) {
  constexpr int kAtOnce = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;
#pragma unroll
  for (int i = 0; i < N; i += kAtOnce) {
    Pack<T, kAtOnce> pack;
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) put(&pack.v[j], x.v[i + j]);
    *reinterpret_cast<Pack<T, kAtOnce>*>(p + i) = pack;
  }
}

template <int N>
__device__ __forceinline__ Values<N> filled(float x) {
  Values<N> all;
#pragma unroll
  for (int i = 0; i < N; ++i) all.v[i] = x;
  return all;
}

/// Multiplies by the factors that `dropout` has for columns [column, column + N) of a row.
template <int N>
__device__ __forceinline__ void drop(const Dropout& dropout, int64_t row, int64_t column, int64_t width,
                                     Values<N>& x) {
  if (!dropout.active()) return;
#pragma unroll
  for (int i = 0; i < N; ++i) x.v[i] *= dropout_factor(dropout, row, column + i, width);
}

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, apart);
  return x;
}

__device__ __forceinline__ double warp_sum(double x) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, apart);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int apart = kWarp / 2; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, apart));
  return x;
}

/// The sum over all threads of a block of one dimension, in each of them. `places` has one for each warp and
/// may be used again after this.
template <class F>
__device__ __forceinline__ F block_sum(F x, F* places) {
  x = warp_sum(x);
  const int warps = blockDim.x / kWarp;
  if (warps == 1) return x;
  if (threadIdx.x % kWarp == 0) places[threadIdx.x / kWarp] = x;
  __syncthreads();
  F total = 0;
  for (int i = 0; i < warps; ++i) total += places[i];
  __syncthreads();
  return total;
}

/// The largest of all threads of a block, likewise.
__device__ __forceinline__ float block_max(float x, float* places) {
  x = warp_max(x);
  const int warps = blockDim.x / kWarp;
  if (threadIdx.x % kWarp == 0) places[threadIdx.x / kWarp] = x;
  __syncthreads();
  float largest = places[0];
  for (int i = 1; i < warps; ++i) largest = fmaxf(largest, places[i]);
  __syncthreads();
  return largest;
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Queues a kernel; a block's y of more than the 65,535 that CUDA allows is for the kernel to fold.
template <class... P, class... A>
void run(void (*kernel)(P...), dim3 grid, dim3 block, void* stream, const A&... arguments) {
  if (grid.x == 0 || grid.y == 0) return;
#ifdef LP_EMULATED
  (void)stream;
  emulate(grid, block, [&] { kernel(arguments...); });
#else
  std::tuple<P...> values{arguments...};
  const cudaError_t error = std::apply(
      [&](P&... value) {
        void* pointers[] = {&value...};
        return cudaLaunchKernel(kernel, grid, block, pointers, 0, static_cast<cudaStream_t>(stream));
      },
      values);
  if (error == cudaSuccess) return;
  cudaGetLastError();  // told here, and not by whoever asks next
  throw Error("DEVICE_FAILED", cudaGetErrorString(error));
#endif
}

/// f(T{}) for the type of the elements.
template <class F>
void for_element(Element element, const F& f) {
  if (element == Element::f32)
    f(float{});
  else
    f(bf16{});
}

template <int N>
struct Count {
  static constexpr int n = N;
};

/// f(Count<N>) for how many elements of a row may be taken at once: 16 bytes, or one of a width that these do
/// not divide.
template <class T, class F>
void for_width(int64_t width, const F& f) {
  constexpr int kMost = 16 / sizeof(T);
  if (width % kMost == 0)
    f(Count<kMost>{});
  else
    f(Count<1>{});
}

}  // namespace lp::cuda
