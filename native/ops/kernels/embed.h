#pragma once
#include "ops/kernels/kernels.h"
#include "ops/kernels/simd.h"

namespace lp::LP_ISA {

template <class T>
void embed(const Embed& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row)
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t n = a.width - c;
      Block sum = {};
      for (int i = 0; i < a.count; ++i) {
        const Embed::Table& table = a.tables[i];
        const int64_t at = table.rows[row] * a.width + c;
        const Block b = table.narrow ? load_block(static_cast<const bf16*>(table.values) + at, n)
                                     : load_block(static_cast<const float*>(table.values) + at, n);
        for (int v = 0; v < NV; ++v) sum.v[v] += b.v[v];
      }
      store_block(static_cast<T*>(a.y) + row * a.width + c, sum, n);
    }
}

}  // namespace lp::LP_ISA
