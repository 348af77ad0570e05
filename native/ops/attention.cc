// Attention by this project's kernels, or on a GPU by LibTorch's where that serves.
#include "base/team.h"
#include "ops/arguments.h"
#include "ops/device.h"
#include "ops/library_attention.h"
#include "ops/ops.h"
#include "ops/shares.h"

namespace lp {
namespace {

/// At least so many floats of the calling thread's own, until it asks again.
float* thread_scratch(int64_t floats) {
  thread_local Tensor scratch;
  if (!scratch.defined() || scratch.numel() < floats) scratch = fresh({floats}, at::kFloat);
  return scratch.mutable_data_ptr<float>();
}

// (sequence, head) pairs cost what the sequence's length squared says, so threads take them one at a time;
// each writes a place of its own, and the result does not depend on who takes which.
template <class Work>
void over_heads(const Sequences& s, int64_t heads, int64_t size, const Work& work) {
  const int64_t pairs = (s.cu_q.size(0) - 1) * heads;
  const int64_t floats = kernels().attention_scratch(s.longest_q, s.longest_k, size);
  parallel_tasks(pairs, [&](int64_t i) { work(thread_scratch(floats), i / heads, i % heads); });
}

/// total [heads] += the sum of what its sequences have, [B, heads], or nothing.
void add_partial(const Tensor& partial, Tensor total) {
  if (!partial.defined()) return;
  if (device_kernels(partial))
    total.add_(partial.sum(0));
  else
    add_rows(floats(partial), partial.size(0), partial.size(1), mutable_floats(total));
}

AttentionBias bias_of(const AttentionConfig& g) { return {g.causal, g.window, floats(g.slopes)}; }

}  // namespace

Tensor attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                         const AttentionConfig& config, const Tensor& head_mask, const Dropout& dropout,
                         AttentionSaved* saved) {
  const int64_t heads = config.heads, all = heads * config.group, size = q.size(1) / all;
  if (library_serves(q, s, config, dropout))
    return library_forward(q, k, v, s, config, head_mask, dropout, saved);
  Tensor context = fresh_like(q), unmasked, lse = fresh({all, q.size(0)}, q.options().dtype(at::kFloat));
  if (saved && head_mask.defined()) unmasked = fresh_like(q);
  const AttentionForward a{q.const_data_ptr(),
                           k.const_data_ptr(),
                           v.const_data_ptr(),
                           s.cu_q.const_data_ptr<int32_t>(),
                           s.k_begin.const_data_ptr<int32_t>(),
                           s.k_end.const_data_ptr<int32_t>(),
                           floats(head_mask),
                           context.mutable_data_ptr(),
                           unmasked.defined() ? unmasked.mutable_data_ptr() : nullptr,
                           mutable_floats(lse),
                           heads,
                           config.group,
                           size,
                           q.size(0),
                           static_cast<float>(config.scale),
                           bias_of(config),
                           dropout};
  if (const DeviceKernels* kernels = device_kernels(q)) {
    kernels->attention_forward(a, s.k_begin.size(0), launch_on(q));
  } else {
    const auto kernel = typed(q).attention_forward;
    over_heads(s, heads, size, [&](float* scratch, int64_t b, int64_t h) { kernel(a, scratch, b, h); });
  }
  if (saved) *saved = {q, k, v, unmasked.defined() ? unmasked : context, lse, dropout};
  return context;
}

AttentionGrads attention_backward(const Tensor& d_context, const AttentionSaved& saved, const Sequences& s,
                                  const AttentionConfig& config, const Tensor& head_mask,
                                  const MaskTotals& totals) {
  const int64_t heads = config.heads, all = heads * config.group, size = d_context.size(1) / all;
  if (library_serves(saved.q, s, config, saved.dropout))
    return library_backward(d_context, saved, s, config, head_mask, totals);
  AttentionGrads grads{fresh_like(saved.q), fresh_like(saved.k), fresh_like(saved.v)};
  const auto partial = [&](const Tensor& total) {
    return total.defined() ? fresh({s.cu_q.size(0) - 1, heads}, total.options()) : Tensor();
  };
  Tensor gradient = partial(totals.gradient), salience = partial(totals.salience);
  const AttentionBackward a{saved.q.const_data_ptr(),
                            saved.k.const_data_ptr(),
                            saved.v.const_data_ptr(),
                            saved.unmasked.const_data_ptr(),
                            d_context.const_data_ptr(),
                            s.cu_q.const_data_ptr<int32_t>(),
                            s.k_begin.const_data_ptr<int32_t>(),
                            s.k_end.const_data_ptr<int32_t>(),
                            floats(head_mask),
                            floats(saved.lse),
                            grads.q.mutable_data_ptr(),
                            grads.k.mutable_data_ptr(),
                            grads.v.mutable_data_ptr(),
                            {mutable_floats(gradient), mutable_floats(salience)},
                            heads,
                            config.group,
                            size,
                            d_context.size(0),
                            static_cast<float>(config.scale),
                            bias_of(config),
                            saved.dropout};
  if (const DeviceKernels* kernels = device_kernels(d_context)) {
    const Tensor room = fresh({all, d_context.size(0)}, d_context.options().dtype(at::kFloat));
    kernels->attention_backward(a, s.k_begin.size(0), saved.k.size(0), launch_on(d_context, room));
  } else {
    const auto kernel = typed(d_context).attention_backward;
    over_heads(s, heads, size, [&](float* scratch, int64_t b, int64_t h) { kernel(a, scratch, b, h); });
  }
  add_partial(gradient, totals.gradient);
  add_partial(salience, totals.salience);
  return grads;
}

}  // namespace lp
