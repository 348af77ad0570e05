#pragma once
// exp, erf and tanh on vectors, accurate to a few units in the last place of fp32.
#include "ops/kernels/simd.h"

namespace lp::LP_ISA {

/// exp(x): x = n ln 2 + r with |r| <= ln 2 / 2, then the Taylor polynomial of degree 7 (error below 1e-9)
/// times 2^n. Below -87.3 the result is flushed towards 0 through the clamp; above 88.7 it saturates.
LP_INLINE F exp(F x) {
  x = vmin(vmax(x, splat(-87.3f)), splat(88.7f));
  const F magic = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to the nearest integer
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
  // Two factors, because 2^128 is no float although exp(88.7) is.
  const I k = __builtin_convertvector(n, I), half = k >> 1;
  return p * (F)((half + 127) << 23) * (F)((k - half + 127) << 23);
}

/// erf(x) = x P(x^2) / Q(x^2) on [-3.92, 3.92], +-1 outside (1 - erf(3.92) is 3e-8). Coefficients: least
/// squares in float64 on Chebyshev nodes; absolute error in fp32 at most 4e-7.
LP_INLINE F erf(F x) {
  x = vmin(vmax(x, splat(-3.92f)), splat(3.92f));
  const F t = x * x;
  F p = splat(2.025934008997865e-06f);
  p = p * t + 2.846836287062615e-4f;
  p = p * t + 3.8079943042248487e-3f;
  p = p * t + 5.2874933928251266e-2f;
  p = p * t + 1.915464550256729e-1f;
  p = p * t + 1.1283791065216064f;
  F q = splat(3.783185456995852e-05f);
  q = q * t + 1.1706844670698047e-3f;
  q = q * t + 1.505475677549839e-2f;
  q = q * t + 1.1455802619457245e-1f;
  q = q * t + 5.030863285064697e-1f;
  q = q * t + 1.f;
  return x * p / q;
}

/// tanh(x) = 1 - 2 / (exp(2x) + 1); small arguments by the odd series, where that difference would lose
/// digits.
LP_INLINE F tanh(F x) {
  const F big = 1.f - 2.f / (exp(x + x) + 1.f);
  const F t = x * x;
  const F small = x + x * t * (-0.333333333f + t * (0.133333333f - t * 0.0539682540f));
  return (t < 0.04f) ? small : big;
}

}  // namespace lp::LP_ISA
