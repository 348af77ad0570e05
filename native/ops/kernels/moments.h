#pragma once
#include "ops/kernels/kernels.h"
#include "ops/kernels/simd.h"

namespace lp::LP_ISA {

template <class T>
void moments(const Moments& a, int64_t begin, int64_t end) {
  for (int64_t first = 0; first < a.rows; first += kRowBlock) {
    const int64_t last = first + kRowBlock < a.rows ? first + kRowBlock : a.rows;
    for (int64_t c = begin * kBlock; c < end * kBlock; c += kBlock) {
      const int64_t n = a.width - c;
      Block sum = {}, square = {};
      for (int64_t row = first; row < last; ++row) {
        const T* x = static_cast<const T*>(a.x) + row * a.width + c;
        prefetch(x + kAhead);
        const Block b = load_block(x, n);
        for (int i = 0; i < NV; ++i) {
          sum.v[i] += b.v[i];
          square.v[i] += b.v[i] * b.v[i];
        }
      }
      add_block(a.sum + c, sum, n);
      if (a.square) add_block(a.square + c, square, n);
    }
  }
}

}  // namespace lp::LP_ISA
