#pragma once
#include "ops/kernels/kernels.h"
#include "ops/kernels/simd.h"

namespace lp::LP_ISA {

/// A row of the sum is held in fp32 on the stack: in y's place it would be rounded.
template <class T>
void norm_forward(const NormForward& a, int64_t begin, int64_t end) {
  alignas(64) float s[kMaxNormWidth];
  const float inverse = 1.f / static_cast<float>(a.width);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * a.width;
    const uint32_t counter = static_cast<uint32_t>(row) * dropout_stride(a.width);
    Block total = {};
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t n = a.width - c;
      Block b = load_block(static_cast<const T*>(a.z) + at + c, n);
      if (a.dropout.active()) drop(a.dropout, counter, c, b);
      if (a.residual) {
        const Block r = load_block(static_cast<const T*>(a.residual) + at + c, n);
        for (int i = 0; i < NV; ++i) b.v[i] += r.v[i];
      }
      if (a.sum) store_block(static_cast<T*>(a.sum) + at + c, b, n);
      for (int i = 0; i < NV; ++i) {
        total.v[i] += b.v[i];
        store(s + c + i * W, b.v[i]);
      }
    }
    const float mean = a.centered ? sum(total) * inverse : 0.f;
    Block squares = {};
    for (int64_t c = 0; c < a.width; c += kBlock) {
      Block b = load_block(s + c, a.width - c);
      for (int i = 0; i < NV; ++i) b.v[i] -= mean;
      store_block(s + c, b, a.width - c);
      if (a.width - c < kBlock) b = load_block(s + c, a.width - c);  // zeros past the end
      for (int i = 0; i < NV; ++i) squares.v[i] += b.v[i] * b.v[i];
    }
    const float rstd = 1.f / __builtin_sqrtf(sum(squares) * inverse + a.eps);
    if (a.rstd) a.rstd[row] = rstd;
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t n = a.width - c;
      Block b = load_block(s + c, n);
      const Block gamma = load_block(a.gamma + c, n);
      Block beta = {};
      if (a.beta) beta = load_block(a.beta + c, n);
      for (int i = 0; i < NV; ++i) b.v[i] *= rstd;
      if (a.normalized) store_block(static_cast<T*>(a.normalized) + at + c, b, n);
      for (int i = 0; i < NV; ++i) b.v[i] = b.v[i] * gamma.v[i] + beta.v[i];
      store_block(static_cast<T*>(a.y) + at + c, b, n);
    }
  }
}

/// 1 / gamma, and 0 where that is 0: a division takes as long as all else that is done to a block.
LP_INLINE Block inverse_of(const Block& gamma) {
  Block inverse;
  const F zero = {};
  for (int i = 0; i < NV; ++i) inverse.v[i] = (gamma.v[i] != zero) ? splat(1.f) / gamma.v[i] : zero;
  return inverse;
}

/// The normalized values of a block: stored, or (y - beta) / gamma.
template <class T, class Arguments>
LP_INLINE Block normalized_block(const Arguments& a, const Block& inverse, int64_t at, int64_t c, int64_t n) {
  if (a.normalized) return load_block(static_cast<const T*>(a.normalized) + at + c, n);
  Block b = load_block(static_cast<const T*>(a.y) + at + c, n);
  Block beta = {};
  if (a.beta) beta = load_block(a.beta + c, n);
  for (int i = 0; i < NV; ++i) b.v[i] = (b.v[i] - beta.v[i]) * inverse.v[i];
  return b;
}

template <class T>
void norm_backward(const NormBackward& a, int64_t begin, int64_t end) {
  const float share = 1.f / static_cast<float>(a.width);
  alignas(64) float inverses[kMaxNormWidth], hats[kMaxNormWidth];
  for (int64_t c = 0; c < a.width; c += kBlock)
    store_block(inverses + c, inverse_of(load_block(a.gamma + c, a.width - c)), a.width - c);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * a.width;
    const uint32_t counter = static_cast<uint32_t>(row) * dropout_stride(a.width);
    Block sum1 = {}, sum2 = {};
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t n = a.width - c;
      const Block gamma = load_block(a.gamma + c, n);
      const Block dy = load_block(static_cast<const T*>(a.dy) + at + c, n);
      const Block hat = normalized_block<T>(a, load_block(inverses + c, n), at, c, n);
      store_block(hats + c, hat, n);
      for (int i = 0; i < NV; ++i) {
        const F g = dy.v[i] * gamma.v[i];
        sum1.v[i] += g;
        sum2.v[i] += g * hat.v[i];
      }
    }
    const float mean1 = a.centered ? sum(sum1) * share : 0.f, mean2 = sum(sum2) * share, rstd = a.rstd[row];
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t n = a.width - c;
      const Block gamma = load_block(a.gamma + c, n);
      const Block hat = load_block(hats + c, n);
      Block d = load_block(static_cast<const T*>(a.dy) + at + c, n);
      for (int i = 0; i < NV; ++i) d.v[i] = rstd * (d.v[i] * gamma.v[i] - mean1 - hat.v[i] * mean2);
      if (a.start) {
        const Block past = load_block(static_cast<const T*>(a.start) + at + c, n);
        for (int i = 0; i < NV; ++i) d.v[i] += past.v[i];
      }
      store_block(static_cast<T*>(a.d_residual) + at + c, d, n);
      if (a.dz) {
        drop(a.dropout, counter, c, d);
        store_block(static_cast<T*>(a.dz) + at + c, d, n);
      }
    }
  }
}

template <class T>
void norm_gradient(const NormGradient& a, int64_t begin, int64_t end) {
  for (int64_t first = 0; first < a.rows; first += kRowBlock) {
    const int64_t last = first + kRowBlock < a.rows ? first + kRowBlock : a.rows;
    for (int64_t c = begin * kBlock; c < end * kBlock; c += kBlock) {
      const int64_t n = a.width - c;
      const Block inverse = inverse_of(load_block(a.gamma + c, n));
      Block products = {}, sums = {};
      for (int64_t row = first; row < last; ++row) {
        const int64_t at = row * a.width;
        const Block dy = load_block(static_cast<const T*>(a.dy) + at + c, n);
        const Block hat = normalized_block<T>(a, inverse, at, c, n);
        for (int i = 0; i < NV; ++i) {
          products.v[i] += dy.v[i] * hat.v[i];
          sums.v[i] += dy.v[i];
        }
      }
      add_block(a.d_gamma + c, products, n);
      if (a.d_beta) add_block(a.d_beta + c, sums, n);
    }
  }
}

}  // namespace lp::LP_ISA
