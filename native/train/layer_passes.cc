// One layer of a network, forward and backward. Its two halves add what they give to what they were given:
// before a norm, or with norm_first after one.
#include "train/network.h"

namespace lp {
namespace {

/// [T, H * d] as rows of heads, and back.
Tensor by_heads(const Tensor& x, int64_t size) { return x.reshape({-1, size}); }

/// One of query, key and value of a fused projection's [T, 3 * H * d].
Tensor split(const Tensor& y, const Spec& spec, int64_t heads, int part) {
  const int64_t width = heads * spec.head_size;
  if (!spec.fused_by_head) return y.narrow(1, part * width, width).contiguous();
  // Of a single head the values would be a view.
  const Tensor of_heads = y.view({y.size(0), heads, 3, spec.head_size}).select(2, part);
  return of_heads.reshape({y.size(0), width}).contiguous();
}

/// The other way.
Tensor joined(const AttentionGrads& d, const Spec& spec, int64_t heads) {
  if (!spec.fused_by_head) return at::cat({d.q, d.k, d.v}, 1);
  const auto of_heads = [&](const Tensor& t) { return t.view({t.size(0), heads, spec.head_size}); };
  return at::stack({of_heads(d.q), of_heads(d.k), of_heads(d.v)}, 2).view({d.k.size(0), -1});
}

/// Rows among zeros for all the others.
Tensor spread(const Tensor& some, const Rows* rows, int64_t tokens) {
  if (!rows) return some;
  Tensor all = at::zeros({tokens, some.size(1)}, some.options());
  all.index_copy_(0, rows->which, some);
  return all;
}

}  // namespace

AttentionConfig Network::attention_config(size_t layer, const Layout& layout) const {
  const Spec& spec = model_->spec;
  const Layer& l = model_->layers[layer];
  return {l.heads, spec.group, spec.attention_scale, layout.causal, l.window, l.slopes};
}

Tensor Network::site_forward(size_t layer, int site, const Tensor& x, const Pass& pass, LayerSaved* saved) {
  const Linear& base = model_->layers[layer].linear[site];
  const size_t at = layer * kSites + site;
  if (!modules_[at]) return linear_forward(x, base, nullptr, nullptr);
  const int stream = site <= kOutput ? site : kLaterSites + site;
  const LowRank branch = lora_forward(*modules_[at], x, dropout(modules_[at]->dropout, pass, layer, stream),
                                      saved ? &saved->lora[site] : nullptr);
  Tensor ratio;
  const Tensor y = linear_forward(x, base, &branch, pass.ratios ? &ratio : nullptr);
  if (pass.ratios) {
    ratio = ratio.nan_to_num(0, 0, 0);
    pass.ratios->now(order_[at]).add_(pass.counted.defined() ? at::dot(ratio, pass.counts(x)) : ratio.sum());
  }
  return y;
}

LinearGradient Network::site_backward(size_t layer, int site, const Tensor& dy, const LayerSaved& saved) {
  LinearGradient part{dy, &model_->layers[layer].linear[site], {}};
  const size_t at = layer * kSites + site;
  if (modules_[at]) part.branch = lora_backward(*modules_[at], parameters_, dy, saved.lora[site]);
  return part;
}

void Network::input_seen(size_t layer, int site, const Tensor& x, const LinearGradient& part) {
  if (part.branch) lora_gradient_a(*modules_[layer * kSites + site], parameters_, x, *part.branch);
  if (backbone_) backbone_->linear(*part.linear, x, part.dy);
}

void Network::nothing_seen(size_t layer, int site, const Tensor& dy) {
  if (backbone_)
    backbone_->linear(model_->layers[layer].linear[site], at::empty({dy.size(0), 0}, dy.options()), dy);
}

NormGrads Network::norm_gradients(const Tensor& dy, const NormWeights& w, const NormSaved& saved,
                                  const Tensor& past) {
  if (backbone_) backbone_->norm(w, dy, saved);
  return norm_backward(dy, w, saved, past);
}

AttentionGrads Network::projected(size_t layer, const Tensor& x, const Tensor& queried, const Layout& layout,
                                  const Rows* rows, const Pass& pass, LayerSaved* saved) {
  const Layer& l = model_->layers[layer];
  const Spec& spec = model_->spec;
  AttentionGrads p;
  if (spec.fused) {
    const Tensor all = site_forward(layer, kFused, x, pass, saved);
    p = {split(all, spec, l.heads, 0), split(all, spec, l.heads, 1), split(all, spec, l.heads, 2)};
    if (rows) p.q = p.q.index_select(0, rows->which);
  } else {
    p.q = site_forward(layer, kQuery, queried, pass, saved);
    p.k = site_forward(layer, kKey, x, pass, saved);
    p.v = site_forward(layer, kValue, x, pass, saved);
  }
  if (spec.query_key_norm) {
    const auto normed = [&](const Tensor& t, const NormWeights& w, NormSaved* kept) {
      return norm_forward(by_heads(t, spec.head_size), Tensor(), w, Dropout{}, kept).view(t.sizes());
    };
    p.q = normed(p.q, l.query_norm, saved ? &saved->query_norm : nullptr);
    p.k = normed(p.k, l.key_norm, saved ? &saved->key_norm : nullptr);
  }
  p.q = rotated(p.q, layout.queries, spec.head_size, false);
  p.k = rotated(p.k, layout.keys, spec.head_size, false);
  return p;
}

Tensor Network::attention_half(size_t layer, const Tensor& x, const Tensor& queried, const Layout& all,
                               const Rows* rows, const Pass& pass, LayerSaved* saved) {
  const Layer& l = model_->layers[layer];
  if (l.heads == 0) return l.linear[kAttentionOutput].constant(queried.size(0));
  const Layout& layout = rows ? rows->layout : all;
  AttentionGrads p = projected(layer, x, queried, layout, rows, pass, saved);
  if (pass.cache) std::tie(p.k, p.v) = pass.cache->put(layer, p.k, p.v);
  const Tensor context =
      attention_forward(p.q, p.k, p.v, layout.sequences, attention_config(layer, layout), head_mask(layer),
                        dropout(model_->spec.attention_dropout, pass, layer, kProbabilities),
                        saved ? &saved->attention : nullptr);
  if (Importance* const m = pass.moments)
    add_moments(context, m->context_sum.now(layer), m->context_square.now(layer), pass.counts(context));
  if (saved) saved->context = context;
  return site_forward(layer, kAttentionOutput, context, pass, saved);
}

Tensor Network::ffn_half(size_t layer, const Tensor& middle, const Pass& pass, LayerSaved* saved) {
  const Layer& l = model_->layers[layer];
  const Spec& spec = model_->spec;
  if (l.linear[kIntermediate].out() == 0) return l.linear[kOutput].constant(middle.size(0));
  const Tensor wide = site_forward(layer, kIntermediate, middle, pass, saved);
  Tensor z = wide, g;
  if (spec.gated) {
    z = site_forward(layer, kGate, middle, pass, saved);
    g = gated_forward(z, wide, neuron_mask(layer), spec.activation);
  } else {
    g = activation_forward(z, neuron_mask(layer), spec.activation);
  }
  if (Importance* const m = pass.moments)
    add_moments(g, m->neuron_sum.now(layer), m->neuron_square.now(layer), pass.counts(g));
  if (saved) {
    saved->z = z;
    if (spec.gated) saved->up = wide;
  }
  return site_forward(layer, kOutput, g, pass, saved);
}

Tensor Network::attended(size_t layer, const Tensor& x, const Tensor& residual, const Layout& layout,
                         const Rows* rows, const Pass& pass, LayerSaved* saved) {
  Tensor read = x, queried = residual;
  if (model_->spec.norm_first) {
    read = norm_forward(x, Tensor(), model_->layers[layer].attention_norm, Dropout{},
                        saved ? &saved->attention_norm : nullptr);
    queried = rows ? read.index_select(0, rows->which) : read;
  }
  if (saved) {
    saved->x = read;
    saved->queried = queried;
  }
  return attention_half(layer, read, queried, layout, rows, pass, saved);
}

Network::Between Network::between(size_t layer, const Tensor& residual, const Tensor& o, const Pass& pass,
                                  LayerSaved* saved) {
  const Layer& l = model_->layers[layer];
  const Spec& spec = model_->spec;
  const Dropout drop = dropout(spec.attention_output_dropout, pass, layer, kAfterAttention);
  NormSaved* const attention_norm = saved ? &saved->attention_norm : nullptr;
  NormSaved* const output_norm = saved ? &saved->output_norm : nullptr;
  Between found;
  if (spec.parallel) {
    found.middle = norm_forward(residual, Tensor(), l.output_norm, Dropout{}, output_norm);
    found.past = residual + apply_dropout(o, drop);
  } else if (spec.norm_first) {
    found.middle = norm_forward(o, residual, l.output_norm, drop, output_norm, &found.past);
  } else {
    found.middle = found.past = norm_forward(o, residual, l.attention_norm, drop, attention_norm);
  }
  if (saved) {
    saved->middle = found.middle;
    saved->after_attention = drop;
  }
  return found;
}

Tensor Network::after(size_t layer, const Tensor& u, const Tensor& past, const Pass& pass,
                      LayerSaved* saved) {
  const Spec& spec = model_->spec;
  const Dropout drop = dropout(spec.hidden_dropout, pass, layer, kAfterOutput);
  if (saved) saved->after_output = drop;
  if (spec.norm_first) return past + apply_dropout(u, drop);
  return norm_forward(u, past, model_->layers[layer].output_norm, drop,
                      saved ? &saved->output_norm : nullptr);
}

/// Of [T, h], or with `rows` of those alone [B, h].
Tensor Network::layer_forward(size_t layer, const Tensor& x, const Layout& layout, const Rows* rows,
                              const Pass& pass, LayerSaved* saved) {
  const Tensor residual = rows ? x.index_select(0, rows->which) : x;
  if (pass.moments) {
    const Tensor tokens = pass.moments->tokens.now(layer);
    if (pass.counted.defined())
      tokens.add_(pass.counts(residual).sum());
    else
      tokens.add_(static_cast<double>(residual.size(0)));
  }
  const Tensor o = attended(layer, x, residual, layout, rows, pass, saved);
  const auto [middle, past] = between(layer, residual, o, pass, saved);
  return after(layer, ffn_half(layer, middle, pass, saved), past, pass, saved);
}

/// Of what the layer's FFN has read, from its output's, with what reached that past the FFN; undefined where
/// nothing trainable comes before.
Tensor Network::ffn_backward(size_t layer, const Tensor& du, const Tensor& past, const LayerSaved& saved,
                             const MaskTotals& neurons, int first) {
  const Spec& spec = model_->spec;
  const Tensor mask = neuron_mask(layer);
  // `past` may be du itself, which has been read already where it is overwritten.
  if (model_->layers[layer].linear[kIntermediate].out() == 0) {
    nothing_seen(layer, kOutput, du);
    return past.defined() ? past : at::zeros_like(du);
  }
  const LinearGradient output = site_backward(layer, kOutput, du, saved);
  if (first >= kNarrows) {
    input_seen(layer, kOutput,
               spec.gated ? gated_forward(saved.z, saved.up, mask, spec.activation)
                          : activation_forward(saved.z, mask, spec.activation),
               output);
    return {};
  }
  // The units' outputs are computed again rather than kept, and take the place of their inputs.
  const Tensor dz = linear_backward(output, Tensor()), g = saved.z;
  if (spec.gated)
    gated_backward(g, saved.up, dz, mask, neurons, spec.activation);
  else
    activation_backward(g, dz, mask, neurons, spec.activation);
  input_seen(layer, kOutput, g, output);
  const LinearGradient intermediate = site_backward(layer, kIntermediate, spec.gated ? saved.up : dz, saved);
  input_seen(layer, kIntermediate, saved.middle, intermediate);
  if (!spec.gated) return first >= kWidens ? Tensor() : linear_backward(intermediate, past);
  const LinearGradient gate = site_backward(layer, kGate, dz, saved);
  input_seen(layer, kGate, saved.middle, gate);
  return first >= kWidens ? Tensor() : linear_backward({intermediate, gate}, past);
}

/// Likewise of what attention has read, [T, h]; `past` reached what its queries were made from.
Tensor Network::attention_half_backward(size_t layer, const Tensor& d_o, const Tensor& past,
                                        const Layout& all, const Rows* rows, const LayerSaved& saved,
                                        const MaskTotals& heads, int first) {
  const Layer& l = model_->layers[layer];
  const Spec& spec = model_->spec;
  const int64_t tokens = saved.x.size(0);
  if (l.heads == 0) {
    nothing_seen(layer, kAttentionOutput, d_o);
    return past.defined() ? spread(past, rows, tokens) : at::zeros_like(saved.x);
  }
  const LinearGradient attended = site_backward(layer, kAttentionOutput, d_o, saved);
  input_seen(layer, kAttentionOutput, saved.context, attended);
  if (first >= kAttended && !config_.masks) return {};
  const Layout& layout = rows ? rows->layout : all;
  AttentionGrads d =
      attention_backward(linear_backward(attended, Tensor()), saved.attention, layout.sequences,
                         attention_config(layer, layout), head_mask(layer), heads);
  d.q = rotated(d.q, layout.queries, spec.head_size, true);
  d.k = rotated(d.k, layout.keys, spec.head_size, true);
  if (spec.query_key_norm) {
    const auto before = [&](const Tensor& t, const NormWeights& w, const NormSaved& kept) {
      return norm_gradients(by_heads(t, spec.head_size), w, kept).residual.view(t.sizes());
    };
    d.q = before(d.q, l.query_norm, saved.query_norm);
    d.k = before(d.k, l.key_norm, saved.key_norm);
  }
  if (spec.fused) {
    d.q = spread(d.q, rows, tokens);
    const LinearGradient fused = site_backward(layer, kFused, joined(d, spec, l.heads), saved);
    input_seen(layer, kFused, saved.x, fused);
    if (first >= kAttends) return {};
    return linear_backward(fused, past.defined() ? spread(past, rows, tokens) : past);
  }
  const LinearGradient query = site_backward(layer, kQuery, d.q, saved),
                       key = site_backward(layer, kKey, d.k, saved),
                       value = site_backward(layer, kValue, d.v, saved);
  input_seen(layer, kQuery, saved.queried, query);
  input_seen(layer, kKey, saved.x, key);
  input_seen(layer, kValue, saved.x, value);
  if (first >= kAttends) return {};
  if (!rows) return linear_backward({query, key, value}, past);
  Tensor dx = linear_backward({key, value}, Tensor());
  dx.index_add_(0, rows->which, linear_backward(query, past));
  return dx;
}

Tensor Network::layer_backward(size_t layer, const Tensor& dy, const Layout& layout, const Rows* rows,
                               const LayerSaved& saved, Importance* scored) {
  const Layer& l = model_->layers[layer];
  const Spec& spec = model_->spec;
  // The first trainable stage of the layer; nothing needs a gradient before that of the lowest layer.
  int first = -1;
  if (layer == bottom_ && !backbone_) {
    first = kNever;
    for (int site = 0; site < kSites; ++site)
      if (modules_[layer * kSites + site]) first = std::min<int>(first, stage_of(site));
  }
  if (config_.masks) first = std::min<int>(first, kAttended);
  MaskTotals neurons, heads;
  if (config_.masks) {
    neurons.gradient = parameters_[neuron_masks_[layer]].grad;
    heads.gradient = parameters_[head_masks_[layer]].grad;
    if (scored) {
      neurons.salience = scored->neuron_salience.now(layer);
      heads.salience = scored->head_salience.now(layer);
    }
  }
  if (!spec.norm_first) {
    const NormGrads out = norm_gradients(dy, l.output_norm, saved.output_norm);
    const Tensor d_middle = ffn_backward(layer, out.z, out.residual, saved, neurons, first);
    if (!d_middle.defined()) return {};
    const NormGrads attention = norm_gradients(d_middle, l.attention_norm, saved.attention_norm);
    return attention_half_backward(layer, attention.z, attention.residual, layout, rows, saved, heads, first);
  }
  const Tensor d_middle =
      ffn_backward(layer, apply_dropout(dy, saved.after_output), Tensor(), saved, neurons, first);
  if (!d_middle.defined()) return {};
  const NormGrads sum = norm_gradients(d_middle, l.output_norm, saved.output_norm, dy);
  const Tensor d_o = spec.parallel ? apply_dropout(dy, saved.after_attention) : sum.z;
  const Tensor d_read = attention_half_backward(layer, d_o, Tensor(), layout, rows, saved, heads, first);
  if (!d_read.defined()) return {};
  return norm_gradients(d_read, l.attention_norm, saved.attention_norm,
                        spread(sum.residual, rows, saved.x.size(0)))
      .residual;
}

}  // namespace lp
