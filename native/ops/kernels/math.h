#pragma once
// exp, log, the normal distribution and tanh on vectors, accurate to a few units in the last place of fp32
// where the result is stored as such.
#include "ops/kernels/simd.h"

namespace lp::LP_ISA {

/// exp(x): x = n ln 2 + r with |r| <= ln 2 / 2, then the Taylor polynomial of degree 7 (error below 1e-9)
/// times 2^n. Below -87.3 the result is flushed towards 0 through the clamp; above 88.7 it saturates.
LP_INLINE F exp(F x) {
  x = vmin(splat(88.7f), vmax(splat(-87.3f), x));  // in this order a NaN stays one
  const F magic = splat(12582912.f);               // 1.5 * 2^23: adding it rounds to the nearest integer
  const F n = (x * 1.44269504f + magic) - magic;
  const F r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  F p = splat(1.98412698e-4f);
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
#ifdef __AVX512F__
  return (F)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  // Two factors, because 2^128 is no float although exp(88.7) is.
  const I k = __builtin_convertvector(n, I), half = k >> 1;
  return p * (F)((half + 127) << 23) * (F)((k - half + 127) << 23);
#endif
}

#ifdef __AVX512F__
/// 2^t, half as long as exp: t = n + r with 0 <= r < 1 and a polynomial fitted to 2^r, relative error below
/// 1e-7 beside that of t itself. 0 and infinity past what a float holds.
LP_INLINE F power_of_two(F t) {
  const F r = (F)_mm512_reduce_ps((__m512)t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  F p = splat(0.00187757661f);
  p = p * r + 0.00898934025f;
  p = p * r + 0.0558263179f;
  p = p * r + 0.240153617f;
  p = p * r + 0.693153073f;
  p = p * r + 0.999999925f;
  return (F)_mm512_scalef_ps((__m512)p, (__m512)t);  // by 2^floor(t)
}
#endif

/// The natural logarithm of positive normal numbers: x = 2^n m with sqrt(1/2) <= m < sqrt(2), and log m by
/// the polynomial of Cephes' logf, to two units in the last place.
LP_INLINE F log(F x) {
  constexpr uint32_t kRoot = 0x3f3504f3;  // sqrt(1/2)
  const U from_root = as_bits(x) - kRoot;
  const F n = __builtin_convertvector((I)from_root >> 23, F);
  const F m = as_float((from_root & 0x007fffffu) + kRoot) - 1.f;
  F p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const F square = m * m;
  const F low = p * m * square - n * 2.12194440e-4f - 0.5f * square;
  return m + low + n * 0.693359375f;
}

constexpr float kLog2e = 1.44269504f;

/// exp(x), as exactly as T can tell; no more than exp(80).
template <class T>
LP_INLINE F exp_for(F x) {
#ifdef __AVX512F__
  if constexpr (sizeof(T) == 2) return power_of_two(vmin(splat(80 * kLog2e), x * kLog2e));
#endif
  return exp(vmin(splat(80), x));
}

/// 1 / x of x between 1 and 2^126.
LP_INLINE F inverse(F x) {
#ifdef __AVX512F__
  const F y = (F)_mm512_rcp14_ps((__m512)x);
  return y + y * (1.f - x * y);  // Newton's step
#else
  return 1.f / x;
#endif
}

/// The standard normal distribution function and its density. Abramowitz and Stegun 7.1.26: erf(x) = 1 - (a
/// polynomial of 1 / (1 + 0.3275911 x)) exp(-x^2) for x >= 0, to 1.5e-7; the density needs the same
/// exponential.
struct Normal {
  F cdf, density;
};
template <class T>
LP_INLINE Normal normal(F z) {
  const F zero = {}, size = vmin(splat(100.f), z < zero ? -z : z);
  const F e = exp_for<T>(z * z * -0.5f);
  const F t = inverse(1.f + 0.231641889f * size);  // 0.3275911 / sqrt(2)
  F p = splat(0.5f * 1.061405429f);
  p = p * t - 0.5f * 1.453152027f;
  p = p * t + 0.5f * 1.421413741f;
  p = p * t - 0.5f * 0.284496736f;
  p = p * t + 0.5f * 0.254829592f;
  const F tail = p * t * e;
  return {z < zero ? tail : 1.f - tail, e * 0.398942280f};
}

/// tanh(x) = 1 - 2 / (exp(2x) + 1); small arguments by the odd series, where that difference would lose
/// digits.
template <class T>
LP_INLINE F tanh(F x) {
  const F big = 1.f - 2.f * inverse(exp_for<T>(x + x) + 1.f);
  const F t = x * x;
  const F small = x + x * t * (-0.333333333f + t * (0.133333333f - t * 0.0539682540f));
  return (t < 0.04f) ? small : big;
}

}  // namespace lp::LP_ISA
