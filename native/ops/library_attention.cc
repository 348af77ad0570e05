#include "ops/library_attention.h"

#include <ATen/Context.h>
#include <torch/version.h>

#include "ops/arguments.h"
#include "ops/device.h"

namespace lp {
namespace {

Tensor by_heads(const Tensor& x, int64_t heads) { return x.view({x.size(0), heads, x.size(1) / heads}); }

double probability(const Dropout& dropout) { return dropout.threshold / 65536.0; }

/// The context before masks, and what the backward pass needs beside it.
struct Forward {
  Tensor context, lse, random, unused;
};

struct Window {
  std::optional<int64_t> left, right;
};
Window window_of(const AttentionConfig& config) {
  if (config.window == 0) return {};
  return {config.window - 1, config.causal ? 0 : -1};
}

Forward flash_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                      const AttentionConfig& config, const Dropout& dropout) {
  const Window window = window_of(config);
  const auto [out, lse, random, unused, debug] = at::_flash_attention_forward(
      by_heads(q, config.heads * config.group), by_heads(k, config.heads), by_heads(v, config.heads), s.cu_q,
      s.cu_k, s.longest_q, s.longest_k, probability(dropout), config.causal, false, config.scale, window.left,
      window.right);
  return {out, lse, random, unused};
}

AttentionGrads flash_backward(const Tensor& d, const AttentionSaved& saved, const Sequences& s,
                              const AttentionConfig& config) {
  const int64_t all = config.heads * config.group;
  const Window window = window_of(config);
  const auto [dq, dk, dv] = at::_flash_attention_backward(
      by_heads(d, all), by_heads(saved.q, all), by_heads(saved.k, config.heads),
      by_heads(saved.v, config.heads), by_heads(saved.unmasked, all), saved.lse, s.cu_q, s.cu_k, s.longest_q,
      s.longest_k, probability(saved.dropout), config.causal, saved.random, saved.unused, config.scale,
      window.left, window.right);
  return {dq, dk, dv};
}

// Before 2.14 memory-efficient attention's forward pass took packed keys for none where it draws dropout, and
// its backward pass did not: other elements fell there.
constexpr bool kDropsAlike = TORCH_VERSION_MAJOR > 2 ||
                             (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 14);

/// One batch [1, T, heads * group, size] of what has `heads` heads, each as often as queries share it.
Tensor repeated(const Tensor& x, const AttentionConfig& config) {
  const Tensor heads = by_heads(x, config.heads);
  return (config.group == 1 ? heads : heads.repeat_interleave(config.group, 1)).unsqueeze(0);
}

// Of masks memory-efficient attention has none and, where queries are the keys' own, that of earlier keys
// alone. A sequence's only query, which the last layer has, is its last one and sees all.
int64_t efficient_mask(const Sequences& s, const AttentionConfig& config) {
  return config.causal && s.longest_q > 1 ? 1 : 0;
}

Forward efficient_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                          const AttentionConfig& config, const Dropout& dropout) {
  const auto found = at::_efficient_attention_forward(
      by_heads(q, config.heads * config.group).unsqueeze(0), repeated(k, config), repeated(v, config), {},
      s.cu_q, s.cu_k, s.longest_q, s.longest_k, probability(dropout), efficient_mask(s, config),
      /*compute_log_sumexp=*/true, config.scale);
  return {std::get<0>(found), std::get<1>(found), std::get<2>(found), std::get<3>(found)};
}

AttentionGrads efficient_backward(const Tensor& d, const AttentionSaved& saved, const Sequences& s,
                                  const AttentionConfig& config) {
  const int64_t all = config.heads * config.group;
  const auto batch = [&](const Tensor& x) { return by_heads(x, all).unsqueeze(0); };
  // Split keys would add to the queries' gradients as they come.
  const auto [dq, dk, dv, d_bias] = at::_efficient_attention_backward(
      batch(d), batch(saved.q), repeated(saved.k, config), repeated(saved.v, config), {},
      batch(saved.unmasked), s.cu_q, s.cu_k, s.longest_q, s.longest_k, saved.lse, probability(saved.dropout),
      saved.random, saved.unused, efficient_mask(s, config), /*bias_requires_grad=*/false, config.scale,
      /*num_splits_key=*/1);
  const auto shared = [&](const Tensor& x) {
    return config.group == 1 ? x : x.view({x.size(1), config.heads, config.group, x.size(3)}).sum(2);
  };
  return {dq, shared(dk), shared(dv)};
}

bool is_flash(const Tensor& q) { return q.scalar_type() == at::kBFloat16; }

/// x with each head's values times its mask.
Tensor masked(const Tensor& x, const Tensor& mask, const AttentionConfig& config) {
  Tensor y = at::empty_like(x);
  const HeadScale a{x.const_data_ptr(), floats(mask), y.mutable_data_ptr(), config.heads,
                    x.size(1) / config.heads};
  device_kernels(x)->scale_heads(a, launch_on(x));
  return y;
}

/// Adds to `totals` what the contexts and their gradients tell of the heads.
void add_totals(const Tensor& d_context, const Tensor& context, const Sequences& s,
                const AttentionConfig& config, const MaskTotals& totals) {
  const int64_t all = config.heads * config.group;
  const auto options = d_context.options().dtype(at::kFloat);
  const Tensor sums = at::empty({2, s.cu_q.size(0) - 1, config.heads}, options),
               room = at::empty({all, d_context.size(0)}, options);
  AttentionBackward a{};
  a.unmasked = context.const_data_ptr();
  a.d_context = d_context.const_data_ptr();
  a.cu_q = s.cu_q.const_data_ptr<int32_t>();
  a.sums = {sums.mutable_data_ptr<float>(), sums.select(0, 1).mutable_data_ptr<float>()};
  a.heads = config.heads;
  a.group = config.group;
  a.size = d_context.size(1) / all;
  a.q_rows = d_context.size(0);
  device_kernels(d_context)->head_sums(a, s.cu_q.size(0) - 1, launch_on(d_context, room));
  if (totals.gradient.defined()) totals.gradient.add_(sums.select(0, 0).sum(0));
  if (totals.salience.defined()) totals.salience.add_(sums.select(0, 1).sum(0));
}

}  // namespace

void seed_library(const Tensor& beside, uint64_t key) {
  if (!library_kernels(beside)) return;
  at::Generator generator = at::globalContext().defaultGenerator(beside.device());
  const std::lock_guard lock(generator.mutex());
  generator.set_current_seed(key);
}

bool library_serves(const Tensor& q, const Sequences& s, const AttentionConfig& config,
                    const Dropout& dropout) {
  const int64_t size = q.size(1) / (config.heads * config.group);
  if (!library_kernels(q) || !s.cu_k.defined() || config.slopes.defined()) return false;
  if (is_flash(q)) return size % 8 == 0 && size <= 256;
  const bool own = !config.causal || s.longest_q == 1 || s.cu_q.is_same(s.cu_k);
  return size % 4 == 0 && config.window == 0 && own && (!dropout.active() || kDropsAlike || !q.is_cuda());
}

Tensor library_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                       const AttentionConfig& config, const Tensor& head_mask, const Dropout& dropout,
                       AttentionSaved* saved) {
  const Forward f = (is_flash(q) ? flash_forward : efficient_forward)(q, k, v, s, config, dropout);
  const Tensor context = f.context.view(q.sizes());
  if (saved) *saved = {q, k, v, context, f.lse, dropout, f.random, f.unused};
  return head_mask.defined() ? masked(context, head_mask, config) : context;
}

AttentionGrads library_backward(const Tensor& d_context, const AttentionSaved& saved, const Sequences& s,
                                const AttentionConfig& config, const Tensor& head_mask,
                                const MaskTotals& totals) {
  if (totals.any()) add_totals(d_context, saved.unmasked, s, config, totals);
  const Tensor d = head_mask.defined() ? masked(d_context, head_mask, config) : d_context;
  const AttentionGrads grads = (is_flash(saved.q) ? flash_backward : efficient_backward)(d, saved, s, config);
  return {grads.q.reshape(saved.q.sizes()), grads.k.reshape(saved.k.sizes()),
          grads.v.reshape(saved.v.sizes())};
}

}  // namespace lp
