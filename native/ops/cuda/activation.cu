// Activations with a neuron mask, plain and gated. The backward passes compute the units again and leave them
// where their inputs were.
#include "ops/cuda/tiles.h"

namespace lp::cuda {
namespace {

struct ValueSlope {
  float value, slope;
};

template <Activation kind>
__device__ __forceinline__ ValueSlope activate(float z) {
  if constexpr (kind == Activation::gelu) {
    const float cdf = 0.5f * (1.f + erff(z * 0.707106781f));
    return {z * cdf, cdf + z * 0.398942280f * expf(-0.5f * z * z)};
  } else if constexpr (kind == Activation::gelu_tanh) {
    const float t = tanhf(0.797884561f * (z + 0.044715f * z * z * z));
    const float inner = 0.797884561f * (1.f + 0.134145f * z * z);
    return {0.5f * z * (1.f + t), 0.5f * (1.f + t) + 0.5f * z * (1.f - t * t) * inner};
  } else if constexpr (kind == Activation::relu) {
    return {z > 0.f ? z : 0.f, z > 0.f ? 1.f : 0.f};
  } else {
    const float s = 1.f / (1.f + expf(-z));
    return {z * s, s * (1.f + z * (1.f - s))};
  }
}

template <class T, Activation kind, int N, bool gated>
struct Forward {
  const T *z, *u;
  const float* mask;
  T* y;
  int64_t width;
  Values<N> m;

  __device__ void begin(int64_t column) { m = mask ? load<N>(mask + column) : filled<N>(1.f); }
  __device__ void row(int64_t row, int64_t column, Values<N>*) {
    const int64_t at = row * width + column;
    Values<N> x = load<N>(z + at);
#pragma unroll
    for (int i = 0; i < N; ++i) x.v[i] = activate<kind>(x.v[i]).value * m.v[i];
    if constexpr (gated) {
      const Values<N> up = load<N>(u + at);
#pragma unroll
      for (int i = 0; i < N; ++i) x.v[i] *= up.v[i];
    }
    store<N>(y + at, x);
  }
};

template <class T, Activation kind, int N, bool gated, bool sums>
struct Backward {
  T *z, *u, *d;
  const float* mask;
  int64_t width;
  Values<N> m;

  __device__ void begin(int64_t column) { m = mask ? load<N>(mask + column) : filled<N>(1.f); }
  __device__ void row(int64_t row, int64_t column, Values<N>* total) {
    const int64_t at = row * width + column;
    Values<N> x = load<N>(z + at), g = load<N>(d + at), up = filled<N>(1.f);
    if constexpr (gated) up = load<N>(u + at);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const ValueSlope f = activate<kind>(x.v[i]);
      const float unit = f.value * up.v[i], masked = g.v[i] * m.v[i];
      if constexpr (sums) {
        const float product = g.v[i] * unit;
        total[0].v[i] += product;
        total[1].v[i] += fabsf(product);
      }
      x.v[i] = unit * m.v[i];
      g.v[i] = masked * up.v[i] * f.slope;
      up.v[i] = masked * f.value;
    }
    store<N>(d + at, g);
    store<N>(z + at, x);
    if constexpr (gated) store<N>(u + at, up);
  }
};

/// f with the activation as a constant.
template <Activation kind>
struct Kind {
  static constexpr Activation value = kind;
};
template <class F>
void for_activation(Activation kind, const F& f) {
  switch (kind) {
    case Activation::gelu:
      return f(Kind<Activation::gelu>{});
    case Activation::gelu_tanh:
      return f(Kind<Activation::gelu_tanh>{});
    case Activation::relu:
      return f(Kind<Activation::relu>{});
    case Activation::silu:
      return f(Kind<Activation::silu>{});
  }
}

template <bool gated>
void forward(const void* z, const void* u, const float* mask, void* y, int64_t width, Activation activation,
             const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(width, [&](auto count) {
      constexpr int N = decltype(count)::n;
      for_activation(activation, [&](auto kind) {
        const Forward<T, decltype(kind)::value, N, gated> body{
            static_cast<const T*>(z), static_cast<const T*>(u), mask, static_cast<T*>(y), width, {}};
        over_tiles<N>(body, width, launch);
      });
    });
  });
}

template <bool gated>
void backward(void* z, void* u, void* d, const float* mask, const MaskSums& sums, int64_t width,
              Activation activation, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(width, [&](auto count) {
      constexpr int N = decltype(count)::n;
      for_activation(activation, [&](auto kind) {
        constexpr Activation act = decltype(kind)::value;
        auto *const tz = static_cast<T*>(z), *const tu = static_cast<T*>(u), *const td = static_cast<T*>(d);
        if (sums.gradient || sums.salience)
          over_summed_tiles<N>(Backward<T, act, N, gated, true>{tz, tu, td, mask, width, {}},
                               Totals<2>{{sums.gradient, sums.salience}}, width, launch);
        else
          over_tiles<N>(Backward<T, act, N, gated, false>{tz, tu, td, mask, width, {}}, width, launch);
      });
    });
  });
}

}  // namespace

void activation_forward(const ActivationForward& a, const Launch& launch) {
  forward<false>(a.z, nullptr, a.mask, a.g, a.width, a.kind, launch);
}

void activation_backward(const ActivationBackward& a, const Launch& launch) {
  backward<false>(a.z, nullptr, a.dg, a.mask, a.sums, a.width, a.kind, launch);
}

void gated_forward(const GatedForward& a, const Launch& launch) {
  forward<true>(a.z, a.u, a.mask, a.y, a.width, a.kind, launch);
}

void gated_backward(const GatedBackward& a, const Launch& launch) {
  backward<true>(a.z, a.u, a.dy, a.mask, a.sums, a.width, a.kind, launch);
}

}  // namespace lp::cuda
