#pragma once
// CUDA's way to write kernels, run by the host: the blocks of a grid one after another, the threads of a block
// in turns, each until it waits for others. It tells whether a kernel computes what it should, that no thread
// waits in vain and that shuffles are met by whole warps; nothing of time, and nothing of races that turns
// hide. What kernels read of other threads' results has to be waited for, or the order of turns shows.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
// One block runs at a time.
#define __shared__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace lp::cuda {

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

/// Runs `thread` for every thread of every block; a block that can go on no more ends the process.
void emulate(dim3 grid, dim3 block, const std::function<void()>& thread);

/// Waits for all threads of the block, or of the warp, that have not returned.
void __syncthreads();
void __syncwarp();

/// What lane `lane` of this thread's warp gives, bits of 4 or 8 bytes.
uint64_t exchange(uint64_t mine, int lane);
int lane_of_thread();

template <class T>
T __shfl_sync(unsigned, T x, int lane) {
  uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof x);
  bits = exchange(bits, lane);
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

template <class T>
T __shfl_xor_sync(unsigned all, T x, int apart) {
  return __shfl_sync(all, x, lane_of_thread() ^ apart);
}

inline float __uint_as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// Rounded to the nearest, ties to even.
inline uint16_t __float2bfloat16_rn(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
inline uint16_t __bfloat16_as_ushort(uint16_t bits) { return bits; }

using std::isfinite;
using std::isnan;

}  // namespace lp::cuda
