#pragma once
// Products of operands that sit in the cache, packed bf16 by rows of bf16 into fp32: what attention needs per
// sequence and head.
#include <type_traits>

#include "ops/kernels/tiled_product.h"

#ifdef __AVX512BF16__

namespace lp::LP_ISA {

LP_INLINE int64_t even(int64_t n) { return (n + 1) / 2 * 2; }

/// C [rows, n padded to 16] (+)= A [rows, depth] B, in fp32, on registers.
struct RegisterProducts {
  /// Rows that a packed B must have, zeros with them.
  static int64_t padded(int64_t depth) { return even(depth); }
  static bool fit(int64_t) { return true; }

  template <int R, int V>
  static LP_INLINE void tile(const bf16* a, int64_t stride, int64_t depth, const bf16* panel, float* c,
                             int64_t ldc, bool accumulate) {
    F sum[R][V];
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) sum[r][v] = accumulate ? load(c + r * ldc + v * W) : F{};
    add_product<R, V>(a, stride, depth, panel, even(depth) * W, sum);
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) store(c + r * ldc + v * W, sum[r][v]);
  }

  template <int V>
  static void all_rows(const bf16* a, int64_t stride, int64_t rows, int64_t depth, const bf16* panel,
                       float* c, int64_t ldc, bool accumulate) {
    int64_t r = 0;
    for (; r + kTileRows <= rows; r += kTileRows)
      tile<kTileRows, V>(a + r * stride, stride, depth, panel, c + r * ldc, ldc, accumulate);
    for (; r + 2 <= rows; r += 2)
      tile<2, V>(a + r * stride, stride, depth, panel, c + r * ldc, ldc, accumulate);
    for (; r < rows; ++r) tile<1, V>(a + r * stride, stride, depth, panel, c + r * ldc, ldc, accumulate);
  }

  void operator()(const bf16* a, int64_t stride, int64_t rows, int64_t depth, const bf16* strips, int64_t n,
                  float* c, int64_t ldc, bool accumulate) {
    for (int64_t first = 0; first < n; first += kPanel) {
      const bf16* panel = strips + first * even(depth);
      switch ((n - first + W - 1) / W) {
        case 1:
          all_rows<1>(a, stride, rows, depth, panel, c + first, ldc, accumulate);
          break;
        case 2:
          all_rows<2>(a, stride, rows, depth, panel, c + first, ldc, accumulate);
          break;
        case 3:
          all_rows<3>(a, stride, rows, depth, panel, c + first, ldc, accumulate);
          break;
        default:
          all_rows<4>(a, stride, rows, depth, panel, c + first, ldc, accumulate);
      }
    }
  }
};

/// The same on the tile unit: of A what fills the last tile's depth is there, and zero or met by B's zeros.
class TileProducts {
 public:
  static int64_t padded(int64_t depth) { return strip_depth(depth); }
  /// Whether rows of heads of a size are whole tiles.
  static bool fit(int64_t size) { return size % kTileDepth == 0; }
  ~TileProducts() {
    if (shaped_ > 0) _tile_release();
  }

  void operator()(const bf16* a, int64_t stride, int64_t rows, int64_t depth, const bf16* strips, int64_t n,
                  float* c, int64_t ldc, bool accumulate) {
    settle_memory();
    for (int64_t row = 0; row < rows; row += kTiledRows) {
      const int64_t count = rows - row < kTiledRows ? rows - row : kTiledRows;
      if (count != shaped_) set_shapes(count);
      shaped_ = count;
      const auto part = [&](auto two) {
        int64_t first = 0;
        for (; n - first > W; first += 2 * W)
          one<decltype(two)::value, true>(a + row * stride, stride, depth, strips, first, c + row * ldc, ldc,
                                          accumulate);
        if (first < n)
          one<decltype(two)::value, false>(a + row * stride, stride, depth, strips, first, c + row * ldc, ldc,
                                           accumulate);
      };
      if (count > kTile)
        part(std::true_type{});
      else
        part(std::false_type{});
    }
  }

 private:
  template <bool Two, bool Pair>
  static LP_INLINE void one(const bf16* a, int64_t stride, int64_t depth, const bf16* strips, int64_t first,
                            float* c, int64_t ldc, bool accumulate) {
    const int64_t deep = strip_depth(depth), strip = deep * W;
    const bf16* b = strips + first * deep;
    if (accumulate)
      load_sums<Two, Pair>(c + first, ldc);
    else
      clear_tiles<Two, Pair>();
    for (int64_t k = 0; k < deep; k += kTileDepth)
      add_tiles<Two, Pair>(a + k, stride * sizeof(bf16), b + k * W, b + strip + k * W);
    store_tiles<Two, Pair>(c + first, ldc);
  }

  int64_t shaped_ = 0;
};

}  // namespace lp::LP_ISA
#endif
