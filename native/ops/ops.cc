#include "ops/ops.h"

#include <cmath>

#include "base/error.h"
#include "base/team.h"

namespace lp {
namespace {

const TypedKernels& typed(const Tensor& t) {
  if (t.scalar_type() == at::kFloat) return kernels().f32;
  require(t.scalar_type() == at::kBFloat16, "activations are fp32 or bf16");
  return kernels().bf16;
}

const float* floats(const Tensor& t) { return t.defined() ? t.const_data_ptr<float>() : nullptr; }
float* mutable_floats(const Tensor& t) { return t.defined() ? t.mutable_data_ptr<float>() : nullptr; }
const void* data(const Tensor& t) { return t.defined() ? t.const_data_ptr() : nullptr; }

// Rows that make a share worth a thread: about 16 thousand elements.
template <class Work>
void over_rows(int64_t rows, int64_t width, const Work& work) {
  parallel(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, width)), work);
}

template <class Work>
void over_columns(int64_t width, int64_t rows, const Work& work) {
  parallel((width + 31) / 32, std::max<int64_t>(1, 512 / std::max<int64_t>(1, rows)), work);
}

/// At least so many floats of the calling thread's own, until it asks again.
float* thread_scratch(int64_t floats) {
  thread_local Tensor scratch;
  if (!scratch.defined() || scratch.numel() < floats) scratch = at::empty({floats}, at::kFloat);
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

}  // namespace

Tensor activation_forward(const Tensor& z, const Tensor& mask, Activation kind) {
  Tensor g = at::empty_like(z);
  const ActivationForward a{z.const_data_ptr(), floats(mask), g.mutable_data_ptr(), z.size(1), kind};
  const auto kernel = typed(z).activation_forward;
  over_rows(z.size(0), z.size(1), [&](int64_t b, int64_t e) { kernel(a, b, e); });
  return g;
}

void activation_backward(Tensor z, Tensor dg, const Tensor& mask, const MaskTotals& totals, Activation kind) {
  const ActivationBackward a{z.mutable_data_ptr(),
                             dg.mutable_data_ptr(),
                             floats(mask),
                             {mutable_floats(totals.gradient), mutable_floats(totals.salience)},
                             z.size(1),
                             z.size(0),
                             kind};
  const auto kernel = typed(z).activation_backward;
  over_columns(z.size(1), z.size(0), [&](int64_t b, int64_t e) { kernel(a, b, e); });
}

Tensor gated_forward(const Tensor& z, const Tensor& u, const Tensor& mask, Activation kind) {
  Tensor y = at::empty_like(z);
  const GatedForward a{z.const_data_ptr(),   u.const_data_ptr(), floats(mask),
                       y.mutable_data_ptr(), z.size(1),          kind};
  const auto kernel = typed(z).gated_forward;
  over_rows(z.size(0), z.size(1), [&](int64_t b, int64_t e) { kernel(a, b, e); });
  return y;
}

void gated_backward(Tensor z, Tensor u, Tensor dy, const Tensor& mask, const MaskTotals& totals,
                    Activation kind) {
  const GatedBackward a{z.mutable_data_ptr(),
                        u.mutable_data_ptr(),
                        dy.mutable_data_ptr(),
                        floats(mask),
                        {mutable_floats(totals.gradient), mutable_floats(totals.salience)},
                        z.size(1),
                        z.size(0),
                        kind};
  const auto kernel = typed(z).gated_backward;
  over_columns(z.size(1), z.size(0), [&](int64_t b, int64_t e) { kernel(a, b, e); });
}

void add_moments(const Tensor& x, Tensor sum, Tensor square) {
  const Moments a{x.const_data_ptr(), mutable_floats(sum), mutable_floats(square), x.size(1), x.size(0)};
  const auto kernel = typed(x).moments;
  over_columns(x.size(1), x.size(0), [&](int64_t b, int64_t e) { kernel(a, b, e); });
}

Tensor norm_forward(const Tensor& z, const Tensor& residual, const NormWeights& w, const Dropout& dropout,
                    NormSaved* saved, Tensor* sum) {
  Tensor y = at::empty_like(z), normalized, rstd;
  if (sum) *sum = at::empty_like(z);
  if (saved) {
    rstd = at::empty({z.size(0)}, at::kFloat);
    if (w.keep_normalized) normalized = at::empty_like(z);
  }
  const NormForward a{z.const_data_ptr(),
                      data(residual),
                      floats(w.gamma),
                      floats(w.beta),
                      y.mutable_data_ptr(),
                      sum ? sum->mutable_data_ptr() : nullptr,
                      normalized.defined() ? normalized.mutable_data_ptr() : nullptr,
                      mutable_floats(rstd),
                      z.size(1),
                      static_cast<float>(w.eps),
                      w.centered(),
                      dropout};
  const auto kernel = typed(z).norm_forward;
  over_rows(z.size(0), z.size(1), [&](int64_t b, int64_t e) { kernel(a, b, e); });
  if (saved) *saved = {y, normalized, rstd, dropout};
  return y;
}

NormGrads norm_backward(const Tensor& dy, const NormWeights& w, const NormSaved& saved, const Tensor& past) {
  NormGrads grads;
  grads.residual = at::empty_like(dy);
  grads.z = saved.dropout.active() ? at::empty_like(dy) : grads.residual;
  const NormBackward a{dy.const_data_ptr(),
                       data(past),
                       data(saved.y),
                       data(saved.normalized),
                       floats(w.gamma),
                       floats(w.beta),
                       floats(saved.rstd),
                       grads.residual.mutable_data_ptr(),
                       saved.dropout.active() ? grads.z.mutable_data_ptr() : nullptr,
                       dy.size(1),
                       w.centered(),
                       saved.dropout};
  const auto kernel = typed(dy).norm_backward;
  over_rows(dy.size(0), dy.size(1), [&](int64_t b, int64_t e) { kernel(a, b, e); });
  return grads;
}

void norm_gradient(const Tensor& dy, const NormWeights& w, const NormSaved& saved, Tensor d_gamma,
                   Tensor d_beta) {
  const NormGradient a{dy.const_data_ptr(),    data(saved.y),  data(saved.normalized),
                       floats(w.gamma),        floats(w.beta), mutable_floats(d_gamma),
                       mutable_floats(d_beta), dy.size(1),     dy.size(0)};
  const auto kernel = typed(dy).norm_gradient;
  over_columns(dy.size(1), dy.size(0), [&](int64_t b, int64_t e) { kernel(a, b, e); });
}

Tensor apply_dropout(const Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return x;
  Tensor y = at::empty_like(x);
  const DropoutApply a{x.const_data_ptr(), y.mutable_data_ptr(), x.size(1), dropout};
  const auto kernel = typed(x).dropout_apply;
  over_rows(x.size(0), x.size(1), [&](int64_t b, int64_t e) { kernel(a, b, e); });
  return y;
}

Tensor rank_project(const Tensor& x, const Tensor& w, double scale, const Dropout& dropout) {
  const int64_t rank = w.size(0), width = w.size(1);
  Tensor p = at::empty({x.size(0), rank}, at::kFloat), panels;
  if (x.scalar_type() == at::kBFloat16 && kernels().pack_ranks) {
    const int64_t pairs = (width + 1) / 2;
    panels = at::empty({(rank + kPanelRanks - 1) / kPanelRanks, pairs, 2 * kPanelRanks, 2}, x.options());
    const RankPanels a{floats(w), panels.mutable_data_ptr(), width, rank};
    parallel(pairs, 512, [&](int64_t b, int64_t e) { kernels().pack_ranks(a, b, e); });
  }
  const RankProject a{x.const_data_ptr(),        floats(w), data(panels), mutable_floats(p), width, rank,
                      static_cast<float>(scale), dropout};
  const auto kernel = typed(x).rank_project;
  over_rows(x.size(0), x.size(1), [&](int64_t b, int64_t e) { kernel(a, b, e); });
  return p;
}

Tensor rank_expand(const Tensor& p, const Tensor& w, Tensor y, double scale, const Dropout& dropout,
                   bool want_ratio) {
  Tensor ratio;
  if (want_ratio) ratio = at::empty({y.size(0)}, at::kFloat);
  const RankExpand a{floats(p), floats(w), y.mutable_data_ptr(),      mutable_floats(ratio),
                     y.size(1), w.size(0), static_cast<float>(scale), dropout};
  const auto kernel = typed(y).rank_expand;
  over_rows(y.size(0), y.size(1), [&](int64_t b, int64_t e) { kernel(a, b, e); });
  return ratio;
}

void rank_outer(const Tensor& p, const Tensor& x, Tensor grad, const Dropout& dropout) {
  const RankOuter a{floats(p), x.const_data_ptr(), mutable_floats(grad), x.size(1), p.size(1), x.size(0),
                    dropout};
  const auto kernel = typed(x).rank_outer;
  over_columns(x.size(1), x.size(0), [&](int64_t b, int64_t e) { kernel(a, b, e); });
}

Tensor rotated(const Tensor& x, const Angles& angles, int64_t size, bool back) {
  if (!angles.cos.defined()) return x;
  Tensor y = at::empty_like(x);
  const Rotate a{x.const_data_ptr(),     floats(angles.cos), floats(angles.sin),
                 y.mutable_data_ptr(),   x.size(1) / size,   size,
                 2 * angles.cos.size(1), angles.interleaved, back ? -1.f : 1.f};
  const auto kernel = typed(x).rotate;
  over_rows(x.size(0), x.size(1), [&](int64_t b, int64_t e) { kernel(a, b, e); });
  return y;
}

namespace {

AttentionBias bias_of(const AttentionConfig& g) { return {g.causal, g.window, floats(g.slopes)}; }

}  // namespace

Tensor attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                         const AttentionConfig& config, const Tensor& head_mask, const Dropout& dropout,
                         AttentionSaved* saved) {
  const int64_t heads = config.heads, all = heads * config.group, size = q.size(1) / all;
  Tensor context = at::empty_like(q), unmasked, lse = at::empty({all, q.size(0)}, at::kFloat);
  if (saved && head_mask.defined()) unmasked = at::empty_like(q);
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
  const auto kernel = typed(q).attention_forward;
  over_heads(s, heads, size, [&](float* scratch, int64_t b, int64_t h) { kernel(a, scratch, b, h); });
  if (saved) *saved = {q, k, v, unmasked.defined() ? unmasked : context, lse, dropout};
  return context;
}

AttentionGrads attention_backward(const Tensor& d_context, const AttentionSaved& saved, const Sequences& s,
                                  const AttentionConfig& config, const Tensor& head_mask,
                                  const MaskTotals& totals) {
  const int64_t heads = config.heads, size = d_context.size(1) / (heads * config.group);
  AttentionGrads grads{at::empty_like(saved.q), at::empty_like(saved.k), at::empty_like(saved.v)};
  const auto partial = [&](const Tensor& total) {
    return total.defined() ? at::empty({s.cu_q.size(0) - 1, heads}, at::kFloat) : Tensor();
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
  const auto kernel = typed(d_context).attention_backward;
  over_heads(s, heads, size, [&](float* scratch, int64_t b, int64_t h) { kernel(a, scratch, b, h); });
  if (gradient.defined()) totals.gradient.add_(gradient.sum(0));
  if (salience.defined()) totals.salience.add_(salience.sum(0));
  return grads;
}

}  // namespace lp
