#pragma once
// LoRA's projection on the processor's bf16 dot products. Each weight is the sum of two bf16 numbers, side by
// side in a panel's lanes, so that nothing of note is lost beside fp32: at most 2^-17 of a weight.
#include "ops/kernels/product.h"
#include "ops/kernels/turn.h"

#ifdef __AVX512BF16__

namespace lp::LP_ISA {

/// Two sums for each row hide a dot product's latency; more rows would not, as rows a power of two apart have
/// few places in the first cache.
constexpr int kProjectRows = 6;
constexpr int64_t kProjectColumns = 512;  // of rows that dropout is applied to at once

/// What rounding gives of 16 floats, and what it leaves.
struct Parts {
  __m256i high;
  __m512 rest;
};
LP_INLINE Parts parts_of(__m512 x) {
  const __m256i high = (__m256i)_mm512_cvtneps_pbh(x);
  return {high, _mm512_sub_ps(x, (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16))};
}

LP_INLINE __m512i joined(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

/// See RankPanels.
inline void pack_ranks(const RankPanels& a, int64_t begin, int64_t end) {
  for (int64_t k0 = 0; k0 < a.rank; k0 += kPanelRanks) {
    bf16* panel = static_cast<bf16*>(a.panels) + (k0 / kPanelRanks) * strip_depth(a.width) * W;
    for (int64_t c = begin * kBlock; c < end * kBlock; c += kBlock) {
      __m512i v[16];
#pragma GCC unroll 8
      for (int k = 0; k < kPanelRanks; ++k) {
        v[k] = v[kPanelRanks + k] = _mm512_setzero_si512();
        if (k0 + k >= a.rank) continue;
        const Block w = load_block(a.w + (k0 + k) * a.width + c, a.width - c);
        const Parts low = parts_of((__m512)w.v[0]), high = parts_of((__m512)w.v[1]);
        v[k] = joined(low.high, high.high);
        v[kPanelRanks + k] =
            joined((__m256i)_mm512_cvtneps_pbh(low.rest), (__m256i)_mm512_cvtneps_pbh(high.rest));
      }
      turn(v);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(panel + (c / 2 + i) * 2 * W, v[i]);
    }
  }
}

/// sum += R rows of x, `stride` apart, times a panel of ranks.
template <int R>
LP_INLINE void add_projection(const bf16* x, int64_t stride, int64_t depth, const bf16* panel,
                              F (&sum)[R][1]) {
  F odd[R] = {};
  int64_t k = 0;
  for (; k + 4 <= depth; k += 4) {
    const __m512i first = _mm512_loadu_si512(panel + k * W), second = _mm512_loadu_si512(panel + (k + 2) * W);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      sum[r][0] = dot(sum[r][0], both(x + r * stride + k), first);
      odd[r] = dot(odd[r], both(x + r * stride + k + 2), second);
    }
  }
  add_product<R, 1>(x + k, stride, depth - k, panel + k * W, 0, sum);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) sum[r][0] += odd[r];
}

LP_INLINE const bf16* rank_panel(const RankProject& a, int64_t k0) {
  return static_cast<const bf16*>(a.panels) + (k0 / kPanelRanks) * strip_depth(a.width) * W;
}

/// What dropout leaves of columns [c0, c0 + n) of a row, and zeros up to the next multiple of 32.
LP_INLINE void keep_row(const RankProject& a, int64_t row, int64_t c0, int64_t n, bf16* to) {
  const bf16* x = static_cast<const bf16*>(a.x) + row * a.width + c0;
  const uint32_t counter = static_cast<uint32_t>(row) * dropout_stride(a.width);
  for (int64_t c = 0; c < n; c += kBlock) {
    const __mmask32 exists = n - c < kBlock ? (1u << (n - c)) - 1 : ~0u;
    const __mmask32 kept = a.dropout.active() ? kept_columns(a.dropout, counter, c0 + c) : ~0u;
    _mm512_storeu_si512(to + c, _mm512_maskz_loadu_epi16(kept & exists, x + c));
  }
}

/// Writes what the two halves of a row's sums are together.
LP_INLINE void write_projection(const RankProject& a, int64_t row, int64_t k0, F sum) {
  const int64_t ranks = a.rank - k0 < kPanelRanks ? a.rank - k0 : kPanelRanks;
  const float scale = a.dropout.active() ? a.scale * a.dropout.scale : a.scale;
  const __m512 both = (__m512)sum;
  const __m256 p = _mm256_mul_ps(_mm256_add_ps(_mm512_castps512_ps256(both), _mm512_extractf32x8_ps(both, 1)),
                                 _mm256_set1_ps(scale));
  _mm256_mask_storeu_ps(a.p + row * a.rank + k0, static_cast<__mmask8>((1 << ranks) - 1), p);
}

template <int R>
LP_INLINE void project_tile(const RankProject& a, int64_t row) {
  const bf16* x = static_cast<const bf16*>(a.x) + row * a.width;
  alignas(64) bf16 kept[R * kProjectColumns];
  for (int64_t k0 = 0; k0 < a.rank; k0 += kPanelRanks) {
    const bf16* panel = rank_panel(a, k0);
    F sum[R][1] = {};
    if (!a.dropout.active()) add_projection<R>(x, a.width, a.width, panel, sum);
    for (int64_t c0 = 0; a.dropout.active() && c0 < a.width; c0 += kProjectColumns) {
      const int64_t n = a.width - c0 < kProjectColumns ? a.width - c0 : kProjectColumns;
      for (int r = 0; r < R; ++r) keep_row(a, row + r, c0, n, kept + r * kProjectColumns);
      add_projection<R>(kept, kProjectColumns, n, panel + c0 * W, sum);
    }
    for (int r = 0; r < R; ++r) write_projection(a, row + r, k0, sum[r][0]);
  }
}

inline void rank_project_bf16(const RankProject& a, int64_t begin, int64_t end) {
  int64_t row = begin;
  for (; row + kProjectRows <= end; row += kProjectRows) project_tile<kProjectRows>(a, row);
  for (; row + 2 <= end; row += 2) project_tile<2>(a, row);
  for (; row < end; ++row) project_tile<1>(a, row);
}

}  // namespace lp::LP_ISA
#endif
