#pragma once
// A small fp32 matrix product for operands that sit in the cache: what attention needs per sequence and head.
#include "ops/kernels/simd.h"

namespace lp::LP_ISA {

constexpr int kRows = W == 16 ? 8 : 4;  // accumulators: kRows * NV vectors, the most that the registers hold

template <int R>
LP_INLINE void gemm_tile(const float* a, int64_t a_row, int64_t a_col, const float* b, int64_t ldb, float* c,
                         int64_t ldc, int64_t depth, bool accumulate) {
  F acc[R][NV];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < NV; ++i) acc[r][i] = accumulate ? load(c + r * ldc + i * W) : F{};
  for (int64_t k = 0; k < depth; ++k) {
    F bk[NV];
    for (int i = 0; i < NV; ++i) bk[i] = load(b + k * ldb + i * W);
    for (int r = 0; r < R; ++r) {
      const F ar = splat(a[r * a_row + k * a_col]);
      for (int i = 0; i < NV; ++i) acc[r][i] += ar * bk[i];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < NV; ++i) store(c + r * ldc + i * W, acc[r][i]);
}

/// C[m, n] (+)= A[m, depth] B[depth, n], where A's element (i, k) is a[i * a_row + k * a_col] (so that a
/// transposed A needs no copy) and n is padded to a multiple of 32 in both B and C.
inline void gemm(const float* a, int64_t a_row, int64_t a_col, const float* b, int64_t ldb, float* c,
                 int64_t ldc, int64_t m, int64_t n, int64_t depth, bool accumulate) {
  for (int64_t j = 0; j < n; j += kBlock) {
    int64_t i = 0;
    for (; i + kRows <= m; i += kRows)
      gemm_tile<kRows>(a + i * a_row, a_row, a_col, b + j, ldb, c + i * ldc + j, ldc, depth, accumulate);
    for (; i < m; ++i)
      gemm_tile<1>(a + i * a_row, a_row, a_col, b + j, ldb, c + i * ldc + j, ldc, depth, accumulate);
  }
}

}  // namespace lp::LP_ISA
