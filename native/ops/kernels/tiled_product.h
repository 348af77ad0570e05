#pragma once
// The same products on the processor's tile unit (AMX): 32 rows and 32 columns at a time, whose sums lie in
// four tiles until the depth is done. Strips are laid out as tiles read them: rows of pairs.
#include "ops/kernels/product.h"

#ifdef __AVX512BF16__

namespace lp::LP_ISA {

constexpr int kTile = 16;              // rows of a tile, and floats in one of its rows
constexpr int kTileDepth = 2 * kTile;  // bf16 values in a row
constexpr int kTiledRows = 2 * kTile;  // rows that are multiplied together

/// What the processor is told of its tiles (Intel 64 SDM, volume 1, 18.2).
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Tiles 0 to 3 are sums (two halves of the rows by two vectors of columns), 4 and 5 rows of x, 6 and 7 of the
// panel.
LP_INLINE TileShapes shapes_for(int64_t count) {
  const auto upper = static_cast<uint8_t>(count < kTile ? count : kTile),
             lower = static_cast<uint8_t>(count > kTile ? count - kTile : 1);
  TileShapes shapes;
  for (const int tile : {0, 1, 4}) shapes.rows[tile] = upper;
  for (const int tile : {2, 3, 5}) shapes.rows[tile] = lower;
  for (const int tile : {6, 7}) shapes.rows[tile] = kTile;
  for (int tile = 0; tile < 8; ++tile) shapes.row_bytes[tile] = 64;
  return shapes;
}

/// GCC 12 does not know that tiles read and write memory: what is written before is there now, and what is
/// read later is read later.
LP_INLINE void settle_memory() { asm volatile("" ::: "memory"); }

LP_INLINE void set_shapes(int64_t count) {
  const TileShapes shapes = shapes_for(count);
  settle_memory();
  _tile_loadconfig(&shapes);
}

/// sums += x b for one tile's depth: rows of x so many bytes apart, one or two strips of the panel.
template <bool Two, bool Pair>
LP_INLINE void add_tiles(const bf16* x, int64_t bytes, const bf16* b, const bf16* b2) {
  constexpr int64_t stride = 2 * W * sizeof(bf16);
  _tile_loadd(4, x, bytes);
  _tile_loadd(6, b, stride);
  if constexpr (Two) _tile_loadd(5, x + kTile * bytes / static_cast<int64_t>(sizeof(bf16)), bytes);
  if constexpr (Pair) _tile_loadd(7, b2, stride);
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (Two) _tile_dpbf16ps(2, 5, 6);
  if constexpr (Pair) _tile_dpbf16ps(1, 4, 7);
  if constexpr (Two && Pair) _tile_dpbf16ps(3, 5, 7);
  settle_memory();
}

/// Adds a segment to the sums of `count` rows and one or two of the panel's V strips.
template <bool Two, bool Pair>
LP_INLINE void add_segment(const ProductSegment& part, int64_t panel, int64_t row, int64_t count, int first) {
  const int64_t strip = strip_depth(part.depth) * W;
  const bf16* x = static_cast<const bf16*>(part.x) + row * part.depth;
  const bf16* b = panel_of(part, panel) + first * strip;
  int64_t k = 0;
  for (; k + kTileDepth <= part.depth; k += kTileDepth, b += kTile * W * 2)
    add_tiles<Two, Pair>(x + k, part.depth * sizeof(bf16), b, b + strip);
  if (k == part.depth) return;
  // Tiles that reach past a row would read another's values, which the strip's zeros need not silence.
  alignas(64) bf16 rest[kTiledRows * kTileDepth];
  const __mmask32 there = (1u << (part.depth - k)) - 1;
  for (int64_t r = 0; r < count; ++r)
    _mm512_store_si512(rest + r * kTileDepth, _mm512_maskz_loadu_epi16(there, x + r * part.depth + k));
  settle_memory();
  add_tiles<Two, Pair>(rest, kTileDepth * sizeof(bf16), b, b + strip);
}

template <bool Two, bool Pair>
LP_INLINE void clear_tiles() {
  _tile_zero(0);
  if constexpr (Pair) _tile_zero(1);
  if constexpr (Two) _tile_zero(2);
  if constexpr (Two && Pair) _tile_zero(3);
}

/// From rows of `width` floats.
template <bool Two, bool Pair>
LP_INLINE void load_sums(const float* from, int64_t width) {
  const int64_t bytes = width * sizeof(float);
  _tile_loadd(0, from, bytes);
  if constexpr (Pair) _tile_loadd(1, from + W, bytes);
  if constexpr (Two) _tile_loadd(2, from + kTile * width, bytes);
  if constexpr (Two && Pair) _tile_loadd(3, from + kTile * width + W, bytes);
}

/// To rows of `width` floats.
template <bool Two, bool Pair>
LP_INLINE void store_tiles(float* to, int64_t width) {
  const int64_t bytes = width * sizeof(float);
  _tile_stored(0, to, bytes);
  if constexpr (Pair) _tile_stored(1, to + W, bytes);
  if constexpr (Two) _tile_stored(2, to + kTile * width, bytes);
  if constexpr (Two && Pair) _tile_stored(3, to + kTile * width + W, bytes);
  settle_memory();
}

/// The sums over segments for `count` rows (two halves where Two) of a panel of V strips.
template <int V, bool Two>
LP_INLINE void multiply_panel(const ProductSegment* segments, int64_t segment_count, int64_t panel,
                              int64_t row, int64_t count, float* sums) {
  int first = 0;
  for (; first + 2 <= V; first += 2) {
    clear_tiles<Two, true>();
    for (int64_t s = 0; s < segment_count; ++s) add_segment<Two, true>(segments[s], panel, row, count, first);
    store_tiles<Two, true>(sums + first * W, V * W);
  }
  if (first == V) return;
  clear_tiles<Two, false>();
  for (int64_t s = 0; s < segment_count; ++s) add_segment<Two, false>(segments[s], panel, row, count, first);
  store_tiles<Two, false>(sums + first * W, V * W);
}

template <int V>
LP_INLINE void multiply_rows(const ProductSegment* segments, int64_t segment_count, int64_t panel,
                             int64_t row, int64_t count, float* sums) {
  if (count > kTile)
    multiply_panel<V, true>(segments, segment_count, panel, row, count, sums);
  else
    multiply_panel<V, false>(segments, segment_count, panel, row, count, sums);
}

/// sums += what a term's dropout leaves of `added`.
template <int V>
LP_INLINE void add_kept(const Product& a, const RankTerm& term, int64_t panel, int64_t row, int64_t count,
                        const float* added, float* sums) {
  const F scale = splat(term.dropout.scale);
  for (int64_t r = 0; r < count; ++r) {
    const uint32_t counter = static_cast<uint32_t>(row + r) * dropout_stride(a.n);
#pragma GCC unroll 2
    for (int v = 0; v < V; v += NV) {
      const __mmask32 kept = kept_columns(term.dropout, counter, panel * kPanel + v * W);
#pragma GCC unroll 2
      for (int i = 0; i < NV && v + i < V; ++i) {
        float* const at = sums + (r * V + v + i) * W;
        const F more = load(added + (r * V + v + i) * W);
        store(at, (F)_mm512_mask3_fmadd_ps((__m512)more, (__m512)scale, (__m512)load(at),
                                           static_cast<__mmask16>(kept >> (i * W))));
      }
    }
  }
}

template <int R, int V>
LP_INLINE void finish_rows(const Product& a, int64_t panel, int64_t row, const float* sums) {
  F sum[R][V];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = load(sums + (r * V + v) * W);
  add_bias<R, V>(a, panel, sum);
  // Their norms want terms apart from the rest.
  if (a.norms) add_terms<R, V>(a, panel, row, last_columns<V>(a, panel), sum);
  write_tile<R, V>(a, panel, row, sum);
}

struct ByTiles {
  template <int V>
  static void rows(const Product& a, int64_t panel, int64_t begin, int64_t end) {
    alignas(64) float sums[kTiledRows * V * W], added[kTiledRows * V * W];
    int64_t shaped = 0;
    for (int64_t row = begin; row < end; row += kTiledRows) {
      const int64_t count = end - row < kTiledRows ? end - row : kTiledRows;
      if (count != shaped) {
        set_shapes(count);
        shaped = count;
      }
      multiply_rows<V>(a.segments, a.segment_count, panel, row, count, sums);
      for (int64_t t = 0; !a.norms && t < a.term_count; ++t) {
        multiply_rows<V>(&a.terms[t].split, 1, panel, row, count, added);
        add_kept<V>(a, a.terms[t], panel, row, count, added, sums);
      }
      int64_t r = 0;
      for (; r + kTileRows <= count; r += kTileRows)
        finish_rows<kTileRows, V>(a, panel, row + r, sums + r * V * W);
      for (; r + 2 <= count; r += 2) finish_rows<2, V>(a, panel, row + r, sums + r * V * W);
      for (; r < count; ++r) finish_rows<1, V>(a, panel, row + r, sums + r * V * W);
    }
    // A thread that is set aside with tiles in use takes eight KiB of them along.
    _tile_release();
  }
};

}  // namespace lp::LP_ISA
#endif
