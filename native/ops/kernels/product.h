#pragma once
// Products of bf16 activations and frozen, packed weights on the processor's own bf16 dot products: tiles of
// 6 rows and 64 columns whose sums never leave the registers before bias, LoRA branch and rounding are done.
#include "ops/kernels/kernels.h"
#include "ops/kernels/simd.h"

#ifdef __AVX512BF16__

namespace lp::LP_ISA {

static_assert(kStrip == W);
constexpr int kTileRows = 6;

LP_INLINE F dot(F sum, __m512i a, __m512i b) {
  return (F)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}

/// Two neighbours of a row in every lane.
LP_INLINE __m512i both(const bf16* x) {
  int32_t pair;
  std::memcpy(&pair, x, 4);
  return _mm512_set1_epi32(pair);
}

/// sum += the tile's rows of x (depth values each, `stride` apart) times V strips, so far apart.
template <int R, int V>
LP_INLINE void add_product(const bf16* x, int64_t stride, int64_t depth, const bf16* strips, int64_t apart,
                           F (&sum)[R][V]) {
  int64_t k = 0;
  for (; k + 2 <= depth; k += 2, strips += 2 * W) {
    __m512i b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) b[v] = _mm512_loadu_si512(strips + v * apart);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const __m512i a = both(x + r * stride + k);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = dot(sum[r][v], a, b[v]);
    }
  }
  if (k < depth)  // the pair's other half lies outside of the row
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r) {
      const __m512i a = _mm512_set1_epi32(x[r * stride + k].bits);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = dot(sum[r][v], a, _mm512_loadu_si512(strips + v * apart));
    }
}

/// Which values dropout leaves, by the low and the high halves of draws.
struct Kept {
  __mmask16 low, high;
};
LP_INLINE Kept kept_halves(const Dropout& d, U x) {
  const __m512i edge = _mm512_set1_epi32(static_cast<int>(d.threshold << 16));
  return {_mm512_cmpge_epu32_mask((__m512i)(x << 16), edge), _mm512_cmpge_epu32_mask((__m512i)x, edge)};
}

/// Which of the columns [column, column + 32) of a row dropout leaves.
LP_INLINE __mmask32 kept_columns(const Dropout& d, uint32_t row_counter, int64_t column) {
  U lane;
  for (int i = 0; i < W; ++i) lane[i] = i * kMix0;
  const Kept kept =
      kept_halves(d, draws(d, lane + (row_counter + static_cast<uint32_t>(column / 2)) * kMix0));
  return _mm512_kunpackw(kept.high, kept.low);
}

/// V neighbours of a row of floats, of which `last` exist in the last vector.
template <int V>
LP_INLINE void load_row(const float* from, __mmask16 last, F (&row)[V]) {
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v)
    row[v] = v + 1 < V ? load(from + v * W) : (F)_mm512_maskz_loadu_ps(last, from + v * W);
}

/// What a term adds to one row of a tile.
template <int V>
LP_INLINE void add_term(const Product& a, const RankTerm& term, int64_t row, int64_t column, __mmask16 last,
                        F (&added)[V]) {
  __mmask16 kept[V];
  const uint32_t counter = static_cast<uint32_t>(row) * dropout_stride(a.n);
  for (int v = 0; v < V; v += NV) {
    const __mmask32 both = term.dropout.active() ? kept_columns(term.dropout, counter, column + v * W) : ~0u;
    kept[v] = static_cast<__mmask16>(both);
    if (v + 1 < V) kept[v + 1] = static_cast<__mmask16>(both >> 16);
  }
  const float scale = term.dropout.active() ? term.scale * term.dropout.scale : term.scale;
  for (int64_t k = 0; k < term.rank; ++k) {
    F w[V];
    load_row<V>(term.w + k * a.n + column, last, w);
    const F p = splat(term.p[row * term.rank + k] * scale);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      added[v] = (F)_mm512_mask3_fmadd_ps((__m512)p, (__m512)w[v], (__m512)added[v], kept[v]);
  }
}

/// A term without dropout for all rows of a tile at once, its weights read once.
template <int R, int V>
LP_INLINE void add_whole_term(const Product& a, const RankTerm& term, int64_t row, int64_t column,
                              __mmask16 last, F (&sum)[R][V]) {
  for (int64_t k = 0; k < term.rank; ++k) {
    F w[V];
    load_row<V>(term.w + k * a.n + column, last, w);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) w[v] *= term.scale;
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const F p = splat(term.p[(row + r) * term.rank + k]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] += p * w[v];
    }
  }
}

/// All terms; where norms are asked for, of a row's values before and of what was added.
template <int R, int V>
LP_INLINE void add_terms(const Product& a, int64_t panel, int64_t row, __mmask16 last, F (&sum)[R][V]) {
  const int64_t column = panel * kPanel;
  if (!a.norms) {
    for (int64_t t = 0; t < a.term_count; ++t) {
      const RankTerm& term = a.terms[t];
      if (!term.dropout.active()) {
        add_whole_term<R, V>(a, term, row, column, last, sum);
        continue;
      }
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) add_term<V>(a, term, row + r, column, last, sum[r]);
    }
    return;
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
    F added[V] = {}, base2 = {}, added2 = {};
    for (int64_t t = 0; t < a.term_count; ++t) add_term<V>(a, a.terms[t], row + r, column, last, added);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      base2 += sum[r][v] * sum[r][v];  // past the end both are zero
      added2 += added[v] * added[v];
      sum[r][v] += added[v];
    }
    float* norms = a.norms + ((row + r) * ((a.n + kPanel - 1) / kPanel) + panel) * 2;
    norms[0] = lp::LP_ISA::sum(base2);
    norms[1] = lp::LP_ISA::sum(added2);
  }
}

LP_INLINE const bf16* panel_of(const ProductSegment& part, int64_t panel) {
  return static_cast<const bf16*>(part.panels) + panel * kPanel * strip_depth(part.depth);
}

/// Of the last of a panel's V vectors, the columns that exist.
template <int V>
LP_INLINE __mmask16 last_columns(const Product& a, int64_t panel) {
  const int64_t tail = a.n - panel * kPanel - (V - 1) * W;
  return tail >= W ? 0xFFFF : static_cast<__mmask16>((1 << tail) - 1);
}

/// What the tile ends with is asked for while it is multiplied.
template <int R, int V>
LP_INLINE void expect_tile(const Product& a, int64_t panel, int64_t row) {
  const bf16* y = static_cast<const bf16*>(a.y) + row * a.n + panel * kPanel;
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; v += 2) __builtin_prefetch(y + r * a.n + v * W, 1, 2);
}

template <int R, int V>
LP_INLINE void add_bias(const Product& a, int64_t panel, F (&sum)[R][V]) {
  if (!a.bias) return;
  F bias[V];
  load_row<V>(a.bias + panel * kPanel, last_columns<V>(a, panel), bias);
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] += bias[v];
}

/// Rounds the sums, with what they start from.
template <int R, int V>
LP_INLINE void write_tile(const Product& a, int64_t panel, int64_t row, F (&sum)[R][V]) {
  const __mmask16 last = last_columns<V>(a, panel);
  const int64_t n = a.n, first = row * n + panel * kPanel;
  bf16* y = static_cast<bf16*>(a.y) + first;
  if (a.start) {
    const bf16* start = static_cast<const bf16*>(a.start) + first;
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r, start += n)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const __m256i from = _mm256_maskz_loadu_epi16(v + 1 < V ? 0xFFFF : last, start + v * W);
        sum[r][v] += (F)_mm512_slli_epi32(_mm512_cvtepu16_epi32(from), 16);
      }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r, y += n)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      _mm256_mask_storeu_epi16(y + v * W, v + 1 < V ? 0xFFFF : last,
                               (__m256i)_mm512_cvtneps_pbh((__m512)sum[r][v]));
}

template <int R, int V>
void product_tile(const Product& a, int64_t panel, int64_t row) {
  expect_tile<R, V>(a, panel, row);
  F sum[R][V];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = F{};
  for (int64_t s = 0; s < a.segment_count; ++s) {
    const ProductSegment& part = a.segments[s];
    add_product<R, V>(static_cast<const bf16*>(part.x) + row * part.depth, part.depth, part.depth,
                      panel_of(part, panel), strip_depth(part.depth) * W, sum);
  }
  add_bias<R, V>(a, panel, sum);
  if (a.term_count) add_terms<R, V>(a, panel, row, last_columns<V>(a, panel), sum);
  write_tile<R, V>(a, panel, row, sum);
}

struct ByRegisters {
  template <int V>
  static void rows(const Product& a, int64_t panel, int64_t begin, int64_t end) {
    int64_t row = begin;
    for (; row + kTileRows <= end; row += kTileRows) product_tile<kTileRows, V>(a, panel, row);
    for (; row + 2 <= end; row += 2) product_tile<2, V>(a, panel, row);
    for (; row < end; ++row) product_tile<1, V>(a, panel, row);
  }
};

/// By a way of going over the rows of a panel that is V vectors wide.
template <class Way>
void product(const Product& a, int64_t panel, int64_t begin, int64_t end) {
  switch ((a.n - panel * kPanel + W - 1) / W) {
    case 1:
      return Way::template rows<1>(a, panel, begin, end);
    case 2:
      return Way::template rows<2>(a, panel, begin, end);
    case 3:
      return Way::template rows<3>(a, panel, begin, end);
    default:
      return Way::template rows<4>(a, panel, begin, end);
  }
}

}  // namespace lp::LP_ISA
#endif
