// Compiled once per instruction set (CMakeLists.txt): everything in it lives in that set's namespace.
#include "ops/kernels/activation.h"
#include "ops/kernels/attention.h"
#include "ops/kernels/attention_bf16.h"
#include "ops/kernels/embed.h"
#include "ops/kernels/moments.h"
#include "ops/kernels/norm.h"
#include "ops/kernels/rank.h"
#include "ops/kernels/rank_bf16.h"
#include "ops/kernels/rotate.h"
#include "ops/kernels/tiled_rank.h"

namespace lp::LP_ISA {
namespace {

void adamw(const AdamW& a, int64_t begin, int64_t end) {
  const float decay = 1.f - a.learning_rate * a.weight_decay;
  for (int64_t i = begin; i < end; i += kBlock) {
    const int64_t n = end - i;
    Block p = load_block(a.parameter + i, n), m = load_block(a.m + i, n), v = load_block(a.v + i, n);
    const Block g = load_block(a.grad + i, n);
    for (int x = 0; x < NV; ++x) {
      const F grad = g.v[x] * a.grad_scale;
      m.v[x] = m.v[x] * a.beta1 + grad * (1.f - a.beta1);
      v.v[x] = v.v[x] * a.beta2 + grad * grad * (1.f - a.beta2);
      F root;
      for (int l = 0; l < W; ++l) root[l] = __builtin_sqrtf(v.v[x][l]);
      p.v[x] =
          p.v[x] * decay - (a.learning_rate / a.correction1) * m.v[x] / (root / a.correction2_sqrt + a.eps);
    }
    store_block(a.parameter + i, p, n);
    store_block(a.m + i, m, n);
    store_block(a.v + i, v, n);
  }
}

double dot(const float* x, const float* y, int64_t n) {
  double sums[W] = {};
  int64_t i = 0;
  for (; i + W <= n; i += W)
    for (int l = 0; l < W; ++l) sums[l] += static_cast<double>(x[i + l]) * y[i + l];
  for (; i < n; ++i) sums[0] += static_cast<double>(x[i]) * y[i];
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

template <class T>
constexpr TypedKernels typed() {
  return {activation_forward<T>,
          activation_backward<T>,
          moments<T>,
          norm_forward<T>,
          norm_backward<T>,
          norm_gradient<T>,
          rank_project<T>,
          rank_expand<T>,
          rank_outer<T>,
          embed<T>,
          dropout_apply<T>,
          rotate<T>,
          gated_forward<T>,
          gated_backward<T>,
          attention_forward<T>,
          attention_backward<T>};
}

}  // namespace

#ifdef __AVX512BF16__
constexpr TypedKernels typed_bf16() {
  TypedKernels t = typed<bf16>();
  t.rank_project = rank_project_bf16;
  t.attention_forward = attention_forward_bf16<RegisterProducts>;
  t.attention_backward = attention_backward_bf16<RegisterProducts>;
  return t;
}

int64_t scratch_of(int64_t queries, int64_t keys, int64_t size) {
  const int64_t narrow = attention_scratch_bf16(keys, size), wide = attention_scratch(queries, keys, size);
  return narrow > wide ? narrow : wide;
}

constexpr TypedKernels tiled_bf16() {
  TypedKernels t = typed_bf16();
  t.rank_project = rank_project_tiled;
  t.rank_outer = rank_outer_tiled;
  t.attention_forward = attention_forward_bf16<TileProducts>;
  t.attention_backward = attention_backward_bf16<TileProducts>;
  return t;
}

const Kernels table = {typed<float>(), typed_bf16(), adamw,   dot,       product<ByRegisters>,
                       kTileRows,      pack_ranks,   nullptr, scratch_of};
const Kernels tiled = {typed<float>(), tiled_bf16(), adamw,       dot,       product<ByTiles>,
                       kTiledRows,     pack_ranks,   strip_ranks, scratch_of};
#else
const Kernels table = {typed<float>(), typed<bf16>(),    adamw, dot, nullptr, 0, nullptr,
                       nullptr,        attention_scratch};
#endif

}  // namespace lp::LP_ISA
