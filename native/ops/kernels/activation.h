#pragma once
#include <type_traits>

#include "ops/kernels/kernels.h"
#include "ops/kernels/math.h"

namespace lp::LP_ISA {

struct ValueSlope {
  F value, slope;
};

/// act(z) and act'(z), as exactly as T can tell.
template <class T, Activation kind>
LP_INLINE ValueSlope activate(F z) {
  if constexpr (kind == Activation::gelu) {
    const Normal n = normal<T>(z);
    return {z * n.cdf, n.cdf + z * n.density};
  } else if constexpr (kind == Activation::gelu_tanh) {
    const F t = tanh<T>(0.797884561f * (z + 0.044715f * z * z * z));
    const F inner = 0.797884561f * (1.f + 0.134145f * z * z);
    return {0.5f * z * (1.f + t), 0.5f * (1.f + t) + 0.5f * z * (1.f - t * t) * inner};
  } else if constexpr (kind == Activation::relu) {
    const F zero = {}, one = splat(1.f);
    return {z > zero ? z : zero, z > zero ? one : zero};
  } else {
    const F s = inverse(1.f + exp_for<T>(-z));
    return {z * s, s * (1.f + z * (1.f - s))};
  }
}

template <class T, Activation kind>
void activation_forward_of(const ActivationForward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* z = static_cast<const T*>(a.z) + row * a.width;
    T* g = static_cast<T*>(a.g) + row * a.width;
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t n = a.width - c;
      Block b = load_block(z + c, n);
      for (int i = 0; i < NV; ++i) b.v[i] = activate<T, kind>(b.v[i]).value;
      if (a.mask) {
        const Block m = load_block(a.mask + c, n);
        for (int i = 0; i < NV; ++i) b.v[i] *= m.v[i];
      }
      store_block(g + c, b, n);
    }
  }
}

template <class T, Activation kind>
LP_INLINE void activation_backward_block(const ActivationBackward& a, int64_t begin, int64_t end, int64_t c) {
  const int64_t n = a.width - c;
  Block mask, gradient = {}, salience = {};
  for (int i = 0; i < NV; ++i) mask.v[i] = splat(1.f);
  if (a.mask) mask = load_block(a.mask + c, n);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * a.width + c;
    prefetch(static_cast<const T*>(a.z) + at + kAhead);
    prefetch(static_cast<const T*>(a.dg) + at + kAhead);
    Block z = load_block(static_cast<const T*>(a.z) + at, n),
          d = load_block(static_cast<const T*>(a.dg) + at, n);
    for (int i = 0; i < NV; ++i) {
      const ValueSlope f = activate<T, kind>(z.v[i]);
      const F product = d.v[i] * f.value;
      gradient.v[i] += product;
      salience.v[i] += vmax(product, -product);
      d.v[i] *= f.slope * mask.v[i];
      z.v[i] = f.value * mask.v[i];
    }
    store_block(static_cast<T*>(a.dg) + at, d, n);
    store_block(static_cast<T*>(a.z) + at, z, n);
  }
  if (a.sums.gradient) add_block(a.sums.gradient + c, gradient, n);
  if (a.sums.salience) add_block(a.sums.salience + c, salience, n);
}

template <class T, Activation kind>
void activation_backward_of(const ActivationBackward& a, int64_t begin, int64_t end) {
  for (int64_t row = 0; row < a.rows; row += kRowBlock) {
    const int64_t last = row + kRowBlock < a.rows ? row + kRowBlock : a.rows;
    for (int64_t c = begin; c < end; ++c) activation_backward_block<T, kind>(a, row, last, c * kBlock);
  }
}

template <class T, Activation kind>
void gated_forward_of(const GatedForward& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T *z = static_cast<const T*>(a.z) + row * a.width, *u = static_cast<const T*>(a.u) + row * a.width;
    T* y = static_cast<T*>(a.y) + row * a.width;
    for (int64_t c = 0; c < a.width; c += kBlock) {
      const int64_t n = a.width - c;
      Block b = load_block(z + c, n);
      const Block up = load_block(u + c, n);
      for (int i = 0; i < NV; ++i) b.v[i] = activate<T, kind>(b.v[i]).value * up.v[i];
      if (a.mask) {
        const Block m = load_block(a.mask + c, n);
        for (int i = 0; i < NV; ++i) b.v[i] *= m.v[i];
      }
      store_block(y + c, b, n);
    }
  }
}

template <class T, Activation kind>
LP_INLINE void gated_backward_block(const GatedBackward& a, int64_t begin, int64_t end, int64_t c) {
  const int64_t n = a.width - c;
  Block mask, gradient = {}, salience = {};
  for (int i = 0; i < NV; ++i) mask.v[i] = splat(1.f);
  if (a.mask) mask = load_block(a.mask + c, n);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t at = row * a.width + c;
    Block z = load_block(static_cast<const T*>(a.z) + at, n),
          u = load_block(static_cast<const T*>(a.u) + at, n),
          d = load_block(static_cast<const T*>(a.dy) + at, n);
    for (int i = 0; i < NV; ++i) {
      const ValueSlope f = activate<T, kind>(z.v[i]);
      const F unit = f.value * u.v[i], product = d.v[i] * unit, dm = d.v[i] * mask.v[i];
      gradient.v[i] += product;
      salience.v[i] += vmax(product, -product);
      z.v[i] = unit * mask.v[i];
      d.v[i] = dm * u.v[i] * f.slope;
      u.v[i] = dm * f.value;
    }
    store_block(static_cast<T*>(a.dy) + at, d, n);
    store_block(static_cast<T*>(a.z) + at, z, n);
    store_block(static_cast<T*>(a.u) + at, u, n);
  }
  if (a.sums.gradient) add_block(a.sums.gradient + c, gradient, n);
  if (a.sums.salience) add_block(a.sums.salience + c, salience, n);
}

template <class T, Activation kind>
void gated_backward_of(const GatedBackward& a, int64_t begin, int64_t end) {
  for (int64_t row = 0; row < a.rows; row += kRowBlock) {
    const int64_t last = row + kRowBlock < a.rows ? row + kRowBlock : a.rows;
    for (int64_t c = begin; c < end; ++c) gated_backward_block<T, kind>(a, row, last, c * kBlock);
  }
}

/// Calls f with the activation as a constant.
template <class F>
LP_INLINE void for_activation(Activation kind, const F& f) {
  switch (kind) {
    case Activation::gelu:
      return f(std::integral_constant<Activation, Activation::gelu>{});
    case Activation::gelu_tanh:
      return f(std::integral_constant<Activation, Activation::gelu_tanh>{});
    case Activation::relu:
      return f(std::integral_constant<Activation, Activation::relu>{});
    case Activation::silu:
      return f(std::integral_constant<Activation, Activation::silu>{});
  }
}

template <class T>
void activation_forward(const ActivationForward& a, int64_t begin, int64_t end) {
  for_activation(a.kind, [&](auto kind) { activation_forward_of<T, kind()>(a, begin, end); });
}

template <class T>
void activation_backward(const ActivationBackward& a, int64_t begin, int64_t end) {
  for_activation(a.kind, [&](auto kind) { activation_backward_of<T, kind()>(a, begin, end); });
}

template <class T>
void gated_forward(const GatedForward& a, int64_t begin, int64_t end) {
  for_activation(a.kind, [&](auto kind) { gated_forward_of<T, kind()>(a, begin, end); });
}

template <class T>
void gated_backward(const GatedBackward& a, int64_t begin, int64_t end) {
  for_activation(a.kind, [&](auto kind) { gated_backward_of<T, kind()>(a, begin, end); });
}

}  // namespace lp::LP_ISA
