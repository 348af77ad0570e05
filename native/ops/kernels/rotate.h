#pragma once
#include "ops/kernels/kernels.h"
#include "ops/kernels/simd.h"

namespace lp::LP_ISA {

/// Rounded to the nearest, ties to even.
LP_INLINE void put(float* p, float value) { *p = value; }
LP_INLINE void put(bf16* p, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const auto half = static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  std::memcpy(p, &half, sizeof(half));
}

template <class T>
void rotate(const Rotate& a, int64_t begin, int64_t end) {
  const int64_t pairs = a.turned / 2, apart = a.interleaved ? 1 : pairs, step = a.interleaved ? 2 : 1;
  for (int64_t row = begin; row < end; ++row) {
    const float *cos = a.cos + row * pairs, *sin = a.sin + row * pairs;
    for (int64_t h = 0; h < a.heads; ++h) {
      const int64_t at = (row * a.heads + h) * a.size;
      const T* x = static_cast<const T*>(a.x) + at;
      T* y = static_cast<T*>(a.y) + at;
      for (int64_t i = 0; i < pairs; ++i) {
        const float s = sin[i] * a.direction, first = to_float(x[i * step]),
                    second = to_float(x[i * step + apart]);
        put(y + i * step, first * cos[i] - second * s);
        put(y + i * step + apart, second * cos[i] + first * s);
      }
      if (x != y)
        for (int64_t i = a.turned; i < a.size; ++i) y[i] = x[i];
    }
  }
}

}  // namespace lp::LP_ISA
