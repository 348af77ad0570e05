#include "ops/flash.h"

#include <ATen/Context.h>

#include "ops/arguments.h"
#include "ops/device.h"

namespace lp {
namespace {

Tensor by_heads(const Tensor& x, int64_t heads) { return x.view({x.size(0), heads, x.size(1) / heads}); }

double probability(const Dropout& dropout) { return dropout.threshold / 65536.0; }

struct Window {
  std::optional<int64_t> left, right;
};
Window window_of(const AttentionConfig& config) {
  if (config.window == 0) return {};
  return {config.window - 1, config.causal ? 0 : -1};
}

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

void seed_flash(const at::Device& device, uint64_t key) {
  if (!device.is_cuda()) return;
  at::Generator generator = at::globalContext().defaultGenerator(device);
  const std::lock_guard lock(generator.mutex());
  generator.set_current_seed(key);
}

bool flash_serves(const Tensor& q, const Sequences& s, const AttentionConfig& config) {
  const int64_t size = q.size(1) / (config.heads * config.group);
  return q.is_cuda() && q.scalar_type() == at::kBFloat16 && s.cu_k.defined() && !config.slopes.defined() &&
         size % 8 == 0 && size <= 256;
}

Tensor flash_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                     const AttentionConfig& config, const Tensor& head_mask, const Dropout& dropout,
                     AttentionSaved* saved) {
  const Window window = window_of(config);
  const auto [out, lse, random, unused, debug] = at::_flash_attention_forward(
      by_heads(q, config.heads * config.group), by_heads(k, config.heads), by_heads(v, config.heads), s.cu_q,
      s.cu_k, s.longest_q, s.longest_k, probability(dropout), config.causal, false, config.scale, window.left,
      window.right);
  const Tensor context = out.view(q.sizes());
  if (saved) *saved = {q, k, v, context, lse, dropout, random, unused};
  return head_mask.defined() ? masked(context, head_mask, config) : context;
}

AttentionGrads flash_backward(const Tensor& d_context, const AttentionSaved& saved, const Sequences& s,
                              const AttentionConfig& config, const Tensor& head_mask,
                              const MaskTotals& totals) {
  if (totals.any()) add_totals(d_context, saved.unmasked, s, config, totals);
  const int64_t all = config.heads * config.group;
  const Window window = window_of(config);
  const Tensor d = head_mask.defined() ? masked(d_context, head_mask, config) : d_context;
  const auto [dq, dk, dv] = at::_flash_attention_backward(
      by_heads(d, all), by_heads(saved.q, all), by_heads(saved.k, config.heads),
      by_heads(saved.v, config.heads), by_heads(saved.unmasked, all), saved.lse, s.cu_q, s.cu_k, s.longest_q,
      s.longest_k, probability(saved.dropout), config.causal, saved.random, saved.unused, config.scale,
      window.left, window.right);
  return {dq.reshape(saved.q.sizes()), dk.reshape(saved.k.sizes()), dv.reshape(saved.v.sizes())};
}

}  // namespace lp
