#pragma once
// Vectors of the instruction set that this file is compiled for (AVX2: 8 floats, AVX-512: 16), in GCC's
// vector extension, so that one source serves both. Included by kernels only; nothing here may be seen by
// code that runs before the instruction set is known.
#include <cstdint>
#include <cstring>

#include "base/random.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#if defined(__AVX512BF16__)
#define LP_ISA avx512_bf16
#define LP_WIDTH 16
#elif defined(__AVX512F__)
#define LP_ISA avx512
#define LP_WIDTH 16
#else
#define LP_ISA avx2
#define LP_WIDTH 8
#endif

namespace lp::LP_ISA {

constexpr int W = LP_WIDTH;
constexpr int kBlock = 32;  // columns that a kernel handles at a time: what one draw of dropout covers twice
/// Rows that are walked together where shares are columns: their pages fit the processor's table of
/// addresses.
constexpr int64_t kRowBlock = 64;
constexpr int NV = kBlock / W;  // vectors in a block
/// How far ahead (in columns) such a walk asks for what it reads: processors guess along rows only. The first
/// level of the cache has no room for rows that lie a power of two apart; the second has.
constexpr int64_t kAhead = 2 * kBlock;

typedef float F __attribute__((vector_size(4 * LP_WIDTH)));
typedef int32_t I __attribute__((vector_size(4 * LP_WIDTH)));
typedef uint32_t U __attribute__((vector_size(4 * LP_WIDTH)));
typedef uint16_t H __attribute__((vector_size(2 * LP_WIDTH)));

struct bf16 {
  uint16_t bits;
};

#define LP_INLINE inline __attribute__((always_inline))

LP_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }

LP_INLINE F splat(float x) { return F{} + x; }
LP_INLINE F as_float(U x) { return (F)x; }
LP_INLINE U as_bits(F x) { return (U)x; }

LP_INLINE F load(const float* p) {
  F v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
#ifdef __AVX512F__
LP_INLINE F load(const bf16* p) {
  const __m256i h = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (F)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
}
#else
LP_INLINE F load(const bf16* p) {
  H h;
  std::memcpy(&h, p, sizeof h);
  return as_float(__builtin_convertvector(h, U) << 16);
}
#endif
LP_INLINE void store(float* p, F v) { std::memcpy(p, &v, sizeof v); }
#ifdef __AVX512BF16__
LP_INLINE void store(bf16* p, F v) {
  const __m256i h = (__m256i)_mm512_cvtneps_pbh((__m512)v);
  std::memcpy(p, &h, sizeof h);
}
#else
/// Rounds to nearest even; a NaN stays one because its quiet bit is set.
LP_INLINE void store(bf16* p, F v) {
  const U u = as_bits(v);
  const U rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
  const U nan = (u >> 16) | 0x40u;
  const H h = __builtin_convertvector((v == v) ? rounded : nan, H);
  std::memcpy(p, &h, sizeof h);
}
#endif

LP_INLINE float to_float(float x) { return x; }
LP_INLINE float to_float(bf16 x) {
  const uint32_t u = static_cast<uint32_t>(x.bits) << 16;
  float f;
  std::memcpy(&f, &u, 4);
  return f;
}

/// 32 columns.
struct Block {
  F v[NV];
};

template <class T>
LP_INLINE Block load_block(const T* p, int64_t n) {
  Block b;
  if (n >= kBlock) {
    for (int i = 0; i < NV; ++i) b.v[i] = load(p + i * W);
  } else {  // the end of a row: what lies past it reads as zero
    T tail[kBlock] = {};
    std::memcpy(tail, p, n * sizeof(T));
    for (int i = 0; i < NV; ++i) b.v[i] = load(tail + i * W);
  }
  return b;
}

template <class T>
LP_INLINE void store_block(T* p, const Block& b, int64_t n) {
  if (n >= kBlock) {
    for (int i = 0; i < NV; ++i) store(p + i * W, b.v[i]);
  } else {
    T tail[kBlock];
    for (int i = 0; i < NV; ++i) store(tail + i * W, b.v[i]);
    std::memcpy(p, tail, n * sizeof(T));
  }
}

template <class T>
LP_INLINE void add_block(T* p, const Block& b, int64_t n) {
  Block total = load_block(p, n);
  for (int i = 0; i < NV; ++i) total.v[i] += b.v[i];
  store_block(p, total, n);
}

/// W of random.h's draws, for counters whose products with its first multiplier are given.
LP_INLINE U draws(const Dropout& d, U multiplied) {
  U x = multiplied + d.key0;
  x = (x ^ (x >> 16)) * kMix1;
  x = (x ^ (x >> 15) ^ d.key1) * kMix2;
  return x ^ (x >> 16);
}

/// What the low and the high halves of draws leave of two vectors.
LP_INLINE void drop_halves(const Dropout& d, U x, F& low, F& high) {
  const F zero = {};
  const U edge = U{} + (d.threshold << 16);
  low = ((x << 16) < edge) ? zero : low * d.scale;
  high = (x < edge) ? zero : high * d.scale;
}

/// Drops from columns [column, column + 32) of a row; `column` is a multiple of 32.
LP_INLINE void drop(const Dropout& d, uint32_t row_counter, int64_t column, Block& b) {
  constexpr int kHalf = 16 / W;
  U lane;
  for (int i = 0; i < W; ++i) lane[i] = i * kMix0;
  for (int g = 0; g < kHalf; ++g) {
    const uint32_t first = (row_counter + static_cast<uint32_t>(column / 2) + g * W) * kMix0;
    drop_halves(d, draws(d, lane + first), b.v[g], b.v[g + kHalf]);
  }
}

#ifdef __AVX512F__
LP_INLINE float sum(F v) { return _mm512_reduce_add_ps((__m512)v); }
LP_INLINE float max_lane(F v) { return _mm512_reduce_max_ps((__m512)v); }
#else
LP_INLINE float sum(F v) {
  float lanes[W];
  std::memcpy(lanes, &v, sizeof v);
  for (int step = W / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  return lanes[0];
}
LP_INLINE float max_lane(F v) {
  float lanes[W];
  std::memcpy(lanes, &v, sizeof v);
  float m = lanes[0];
  for (int i = 1; i < W; ++i) m = lanes[i] > m ? lanes[i] : m;
  return m;
}
#endif

/// Each of a block's vectors has sums of its own till the end: one alone would have each addition wait for
/// the last.
LP_INLINE float sum(const Block& b) {
  F all = b.v[0];
  for (int i = 1; i < NV; ++i) all += b.v[i];
  return sum(all);
}

LP_INLINE F vmax(F a, F b) { return a > b ? a : b; }
LP_INLINE F vmin(F a, F b) { return a < b ? a : b; }

}  // namespace lp::LP_ISA
