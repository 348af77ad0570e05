#pragma once
// 16 vectors of 16 lanes turned round in registers, or each of them folded to one lane.
#include "ops/kernels/simd.h"

#ifdef __AVX512F__

namespace lp::LP_ISA {

/// Row k in lane order of 16 vectors becomes lane k of each.
LP_INLINE void turn(__m512i (&v)[16]) {
  __m512i t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512i low = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88),
                  high = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xDD),
                  low2 = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88),
                  high2 = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xDD);
    t[i] = _mm512_shuffle_i32x4(low, low2, 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(high, high2, 0x88);
    t[i + 8] = _mm512_shuffle_i32x4(low, low2, 0xDD);
    t[i + 12] = _mm512_shuffle_i32x4(high, high2, 0xDD);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

/// Lane k: what `fold` (of two vectors, in any order) makes of all lanes of v[k].
template <class Fold>
LP_INLINE F folded(const F (&v)[16], const Fold& fold) {
  F pairs[8], fours[4], eights[2];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const __m512 a = (__m512)v[2 * i], b = (__m512)v[2 * i + 1];
    pairs[i] = fold((F)_mm512_unpacklo_ps(a, b), (F)_mm512_unpackhi_ps(a, b));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512d a = (__m512d)pairs[2 * i], b = (__m512d)pairs[2 * i + 1];
    fours[i] = fold((F)_mm512_unpacklo_pd(a, b), (F)_mm512_unpackhi_pd(a, b));
  }
  const auto across = [&](F a, F b) {
    return fold((F)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0x88),
                (F)_mm512_shuffle_f32x4((__m512)a, (__m512)b, 0xDD));
  };
  for (int i = 0; i < 2; ++i) eights[i] = across(fours[2 * i], fours[2 * i + 1]);
  return across(eights[0], eights[1]);
}

/// Lane k: the sum of all lanes of v[k].
LP_INLINE F sums(const F (&v)[16]) {
  return folded(v, [](F a, F b) { return a + b; });
}

}  // namespace lp::LP_ISA
#endif
