#pragma once
// LoRA's skinny products on the processor's tile unit (AMX): numbers that are not bf16 are two that are, what
// rounding gives and what it leaves, in a tile's two halves.
#include "ops/kernels/rank_bf16.h"
#include "ops/kernels/tiled_product.h"

#ifdef __AVX512BF16__

namespace lp::LP_ISA {

template <bool Two>
LP_INLINE void project_tiles(const RankProject& a, int64_t row, int64_t count, int64_t k0, float* sums) {
  alignas(64) bf16 kept[kTiledRows * kProjectColumns];
  const bf16* panel = rank_panel(a, k0);
  clear_tiles<Two, false>();
  for (int64_t c0 = 0; c0 < a.width; c0 += kProjectColumns) {
    const int64_t n = a.width - c0 < kProjectColumns ? a.width - c0 : kProjectColumns;
    const bool whole = !a.dropout.active() && n % kTileDepth == 0;
    if (!whole)
      for (int64_t r = 0; r < count; ++r) keep_row(a, row + r, c0, n, kept + r * kProjectColumns);
    settle_memory();
    const bf16* x = whole ? static_cast<const bf16*>(a.x) + row * a.width + c0 : kept;
    const int64_t bytes = (whole ? a.width : kProjectColumns) * sizeof(bf16);
    for (int64_t c = 0; c < n; c += kTileDepth) {
      const bf16* b = panel + (c0 + c) * W;
      add_tiles<Two, false>(x + c, bytes, b, b);
    }
  }
  store_tiles<Two, false>(sums, W);
}

constexpr int kTurned = kTiledRows * kTileDepth;  // values of 8 ranks and 32 rows

/// Of the rows [row, row + count), no more than 32, what RankProject says of `turned`.
inline void turn_projection(const RankProject& a, int64_t row, int64_t count) {
  const int64_t blocks = (a.rows + kTiledRows - 1) / kTiledRows, block = row / kTiledRows;
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i places = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(static_cast<int>(a.rank)));
  for (int64_t k0 = 0; k0 < a.rank; k0 += kPanelRanks) {
    bf16* to = static_cast<bf16*>(a.turned) + ((k0 / kPanelRanks) * blocks + block) * kTurned;
    std::memset(to, 0, kTurned * sizeof(bf16));
    for (int64_t r = 0; r < count; r += W) {
      const __mmask16 there = count - r >= W ? 0xFFFF : static_cast<__mmask16>((1 << (count - r)) - 1);
      for (int64_t k = 0; k < kPanelRanks && k0 + k < a.rank; ++k) {
        Parts p{{},
                _mm512_mask_i32gather_ps(_mm512_setzero_ps(), there, places,
                                         a.p + (row + r) * a.rank + k0 + k, 4)};
        for (int part = 0; part < 3; ++part) {
          p = parts_of(p.rest);
          std::memcpy(to + (part * kPanelRanks + k) * kTileDepth + r, &p.high, sizeof p.high);
        }
      }
    }
  }
}

/// Of the rows [begin, end) what RankProject says of `split`.
inline void split_projection(const RankProject& a, int64_t begin, int64_t end) {
  const int64_t depth = strip_depth(3 * a.rank);
  for (int64_t row = begin; row < end; ++row) {
    auto* x = static_cast<uint16_t*>(a.split) + row * depth;
    std::memset(x + 3 * a.rank, 0, (depth - 3 * a.rank) * sizeof(uint16_t));
    for (int64_t k = 0; k < a.rank; k += W) {
      const __mmask16 there = a.rank - k >= W ? 0xFFFF : static_cast<__mmask16>((1 << (a.rank - k)) - 1);
      const __m512 p =
          _mm512_mul_ps(_mm512_maskz_loadu_ps(there, a.p + row * a.rank + k), _mm512_set1_ps(a.split_scale));
      const Parts parts = parts_of(p);
      _mm256_mask_storeu_epi16(x + k, there, parts.high);
      _mm256_mask_storeu_epi16(x + a.rank + k, there, parts.high);
      _mm256_mask_storeu_epi16(x + 2 * a.rank + k, there, (__m256i)_mm512_cvtneps_pbh(parts.rest));
    }
  }
}

inline void rank_project_tiled(const RankProject& a, int64_t begin, int64_t end) {
  alignas(64) float sums[kTiledRows * W];
  for (int64_t row = begin; row < end; row += kTiledRows) {
    const int64_t count = end - row < kTiledRows ? end - row : kTiledRows;
    set_shapes(count);
    for (int64_t k0 = 0; k0 < a.rank; k0 += kPanelRanks) {
      if (count > kTile)
        project_tiles<true>(a, row, count, k0, sums);
      else
        project_tiles<false>(a, row, count, k0, sums);
      for (int64_t r = 0; r < count; ++r) write_projection(a, row + r, k0, load(sums + r * W));
    }
    if (a.split) split_projection(a, row, row + count);
    if (a.turned) turn_projection(a, row, count);
  }
  _tile_release();
}

/// Of 32 rows and the columns [c, c + 32) of what dropout leaves of x two tiles, rows by pairs.
template <bool Drops, bool Whole>
LP_INLINE void pair_rows(const RankOuter& a, int64_t row, int64_t c, __mmask32 exists, bf16* tiles) {
  alignas(64) static constexpr uint16_t kFirst[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                                      37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                                      11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i first = _mm512_load_si512(kFirst), second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
  const uint32_t stride = dropout_stride(a.width);
  const auto kept = [&](int64_t r) {
    if (!Whole && r >= a.rows) return _mm512_setzero_si512();
    const bf16* x = static_cast<const bf16*>(a.x) + r * a.width + c;
    prefetch(x + kAhead);
    const __mmask32 mask = Drops ? kept_columns(a.dropout, static_cast<uint32_t>(r) * stride, c) : ~0u;
    return _mm512_maskz_loadu_epi16(mask & exists, x);
  };
#pragma GCC unroll 4
  for (int i = 0; i < kTile; ++i) {
    const __m512i one = kept(row + 2 * i), other = kept(row + 2 * i + 1);
    _mm512_store_si512(tiles + i * kTileDepth, _mm512_permutex2var_epi16(one, first, other));
    _mm512_store_si512(tiles + (kTile + i) * kTileDepth, _mm512_permutex2var_epi16(one, second, other));
  }
}

/// Adds the gradients of eight ranks from k0 on for 32 columns.
template <bool Drops>
LP_INLINE void outer_tiles(const RankOuter& a, int64_t c, int64_t k0) {
  alignas(64) bf16 tiles[2 * kTile * kTileDepth];
  alignas(64) float sums[kTiledRows * kBlock];
  constexpr int64_t stride = kTileDepth * sizeof(bf16);
  const int64_t n = a.width - c, first = a.first / kTiledRows;
  const __mmask32 exists = n < kBlock ? (1u << n) - 1 : ~0u;
  const bf16* p =
      static_cast<const bf16*>(a.turned) + ((k0 / kPanelRanks) * a.turned_blocks + first) * kTurned;
  clear_tiles<true, true>();
  for (int64_t row = a.first; row < a.rows; row += kTiledRows, p += kTurned) {
    if (row + kTiledRows <= a.rows)
      pair_rows<Drops, true>(a, row, c, exists, tiles);
    else
      pair_rows<Drops, false>(a, row, c, exists, tiles);
    settle_memory();
    _tile_loadd(4, p, stride);
    _tile_loadd(5, p + kTile * kTileDepth, stride);
    _tile_loadd(6, tiles, stride);
    _tile_loadd(7, tiles + kTile * kTileDepth, stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    settle_memory();
  }
  store_tiles<true, true>(sums, kBlock);
  const F scale = splat(a.dropout.active() ? a.dropout.scale : 1.f);
  for (int64_t k = 0; k < kPanelRanks && k0 + k < a.rank; ++k) {
    float* const to = a.grad + (k0 + k) * a.width + c;
    Block b = load_block(to, n);
    for (int i = 0; i < NV; ++i) {
      const float* from = sums + k * kBlock + i * W;
      const F least = load(from + kPanelRanks * kBlock) + load(from + 2 * kPanelRanks * kBlock);
      b.v[i] += (load(from) + least) * scale;
    }
    store_block(to, b, n);
  }
}

inline void rank_outer_tiled(const RankOuter& a, int64_t begin, int64_t end) {
  set_shapes(kTiledRows);
  for (int64_t c = begin * kBlock; c < end * kBlock; c += kBlock)
    for (int64_t k0 = 0; k0 < a.rank; k0 += kPanelRanks)
      a.dropout.active() ? outer_tiles<true>(a, c, k0) : outer_tiles<false>(a, c, k0);
  _tile_release();
}

/// See RankStrips.
inline void strip_ranks(const RankStrips& a, int64_t begin, int64_t end) {
  const int64_t depth = strip_depth(3 * a.rank);
  for (int64_t strip = begin; strip < end; ++strip) {
    const int64_t n = a.n - strip * W;
    const __mmask16 there = n >= W ? 0xFFFF : static_cast<__mmask16>((1 << n) - 1);
    // A row of the three times as many: high, low, high again.
    const auto row = [&](int64_t k) {
      if (k >= 3 * a.rank) return _mm512_setzero_si512();
      const __m512 w = _mm512_maskz_loadu_ps(there, a.w + k % a.rank * a.n + strip * W);
      const Parts parts = parts_of(w);
      return _mm512_cvtepu16_epi32(k / a.rank == 1 ? (__m256i)_mm512_cvtneps_pbh(parts.rest) : parts.high);
    };
    bf16* to = static_cast<bf16*>(a.strips) + strip * depth * W;
    for (int64_t k = 0; k < depth; k += 2, to += 2 * W)
      _mm512_storeu_si512(to, _mm512_or_si512(row(k), _mm512_slli_epi32(row(k + 1), 16)));
  }
}

}  // namespace lp::LP_ISA
#endif
