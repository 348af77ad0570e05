#pragma once
// LoRA's skinny products: one side is the rank (a handful), the other a model width. Memory-bound, so each
// streams its wide operand once and draws dropout on the way.
#include "ops/kernels/kernels.h"
#include "ops/kernels/simd.h"

namespace lp::LP_ISA {

/// acc += N rows of x and R of w over the columns [c, c + 32), of which `n` exist.
template <class T, int N, int R>
LP_INLINE void project_block(const RankProject& a, int64_t row, int64_t k0, int64_t c, int64_t n,
                             F (&acc)[N][R]) {
  Block b[N];
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r) {
    b[r] = load_block(static_cast<const T*>(a.x) + (row + r) * a.width + c, n);
    if (a.dropout.active())
      drop(a.dropout, static_cast<uint32_t>(row + r) * dropout_stride(a.width), c, b[r]);
  }
#pragma GCC unroll 8
  for (int k = 0; k < R; ++k) {
    const Block w = load_block(a.w + (k0 + k) * a.width + c, n);
#pragma GCC unroll 8
    for (int r = 0; r < N; ++r)
#pragma GCC unroll 8
      for (int i = 0; i < NV; ++i) acc[r][k] += b[r].v[i] * w.v[i];
  }
}

/// N rows and R ranks at once, so that each piece of w serves several rows.
template <class T, int N, int R>
LP_INLINE void project_ranks(const RankProject& a, int64_t row, int64_t k0) {
  F acc[N][R] = {};
  int64_t c = 0;
  for (; c + kBlock <= a.width; c += kBlock) project_block<T>(a, row, k0, c, kBlock, acc);
  if (c < a.width) project_block<T>(a, row, k0, c, a.width - c, acc);
#pragma GCC unroll 8
  for (int r = 0; r < N; ++r)
#pragma GCC unroll 8
    for (int k = 0; k < R; ++k) a.p[(row + r) * a.rank + k0 + k] = a.scale * sum(acc[r][k]);
}

template <class T, int N>
LP_INLINE void project_rows(const RankProject& a, int64_t row) {
  int64_t k = 0;
  for (; k + 8 <= a.rank; k += 8) project_ranks<T, N, 8>(a, row, k);
  for (; k + 4 <= a.rank; k += 4) project_ranks<T, N, 4>(a, row, k);
  for (; k < a.rank; ++k) project_ranks<T, N, 1>(a, row, k);
}

template <class T>
void rank_project(const RankProject& a, int64_t begin, int64_t end) {
  constexpr int kTogether = W == 16 ? 2 : 1;  // AVX2 has no registers for more
  int64_t row = begin;
  for (; row + kTogether <= end; row += kTogether) project_rows<T, kTogether>(a, row);
  for (; row < end; ++row) project_rows<T, 1>(a, row);
}

template <class T>
void rank_expand(const RankExpand& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    T* y = static_cast<T*>(a.y) + row * a.width;
    const float* p = a.p + row * a.rank;
    const uint32_t counter = static_cast<uint32_t>(row) * dropout_stride(a.width);
    F base2 = {}, added2 = {};
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t n = a.width - c;
      Block added = {};
      for (int64_t k = 0; k < a.rank; ++k) {
        const Block w = load_block(a.w + k * a.width + c, n);
        for (int i = 0; i < NV; ++i) added.v[i] += w.v[i] * p[k];
      }
      for (int i = 0; i < NV; ++i) added.v[i] *= a.scale;
      if (a.dropout.active()) drop(a.dropout, counter, c, added);
      Block b = load_block(y + c, n);
      for (int i = 0; i < NV; ++i) {
        base2 += b.v[i] * b.v[i];
        added2 += added.v[i] * added.v[i];
        b.v[i] += added.v[i];
      }
      store_block(y + c, b, n);
    }
    if (a.ratio) a.ratio[row] = __builtin_sqrtf(sum(added2)) / __builtin_sqrtf(sum(base2));
  }
}

template <class T, int R>
LP_INLINE void outer_ranks(const RankOuter& a, int64_t begin, int64_t end, int64_t c, int64_t k0) {
  const int64_t n = a.width - c;
  const uint32_t stride = dropout_stride(a.width);
  Block acc[R];
  for (int k = 0; k < R; ++k) acc[k] = load_block(a.grad + (k0 + k) * a.width + c, n);
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(a.x) + row * a.width + c;
    prefetch(x + kAhead);
    Block b = load_block(x, n);
    if (a.dropout.active()) drop(a.dropout, static_cast<uint32_t>(row) * stride, c, b);
    const float* p = a.p + row * a.rank + k0;
    for (int k = 0; k < R; ++k)
      for (int i = 0; i < NV; ++i) acc[k].v[i] += b.v[i] * p[k];
  }
  for (int k = 0; k < R; ++k) store_block(a.grad + (k0 + k) * a.width + c, acc[k], n);
}

template <class T>
void rank_outer(const RankOuter& a, int64_t begin, int64_t end) {
  for (int64_t row = a.first; row < a.rows; row += kRowBlock) {
    const int64_t last = row + kRowBlock < a.rows ? row + kRowBlock : a.rows;
    for (int64_t c = begin * kBlock; c < end * kBlock; c += kBlock) {
      int64_t k = 0;
      for (; k + 8 <= a.rank; k += 8) outer_ranks<T, 8>(a, row, last, c, k);
      for (; k + 4 <= a.rank; k += 4) outer_ranks<T, 4>(a, row, last, c, k);
      for (; k < a.rank; ++k) outer_ranks<T, 1>(a, row, last, c, k);
    }
  }
}

template <class T>
void dropout_apply(const DropoutApply& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const uint32_t counter = static_cast<uint32_t>(row) * dropout_stride(a.width);
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t at = row * a.width + c, n = a.width - c;
      Block b = load_block(static_cast<const T*>(a.x) + at, n);
      drop(a.dropout, counter, c, b);
      store_block(static_cast<T*>(a.y) + at, b, n);
    }
  }
}

}  // namespace lp::LP_ISA
