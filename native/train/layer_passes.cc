// One layer of a network, forward and backward.
#include "train/network.h"

namespace lp {

Tensor Network::site_forward(size_t layer, int site, const Tensor& x, const Pass& pass, LayerSaved* saved) {
  const FrozenLinear& base = model_->layers[layer].linear[site];
  const size_t at = layer * kSites + site;
  if (!modules_[at]) return linear_forward(x, base, nullptr, nullptr);
  const LowRank branch =
      lora_forward(*modules_[at], parameters_, x, dropout(modules_[at]->dropout, pass, layer, site),
                   saved ? &saved->lora[site] : nullptr);
  Tensor ratio;
  const Tensor y = linear_forward(x, base, &branch, pass.ratios ? &ratio : nullptr);
  if (pass.ratios) pass.ratios->now(order_[at]).add_(ratio.nan_to_num(0, 0, 0).sum());
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
}

Tensor Network::attention_half(size_t layer, const Tensor& x, const Tensor& queried, const Sequences& s,
                               const Pass& pass, LayerSaved* saved) {
  const Layer& l = model_->layers[layer];
  if (l.heads == 0) return l.linear[kAttentionOutput].constant(queried.size(0));
  const Tensor q = site_forward(layer, kQuery, queried, pass, saved),
               k = site_forward(layer, kKey, x, pass, saved), v = site_forward(layer, kValue, x, pass, saved);
  const Tensor context =
      attention_forward(q, k, v, s, l.heads, head_mask(layer),
                        dropout(model_->spec.attention_dropout, pass, layer, kProbabilities),
                        saved ? &saved->attention : nullptr);
  if (Importance* const m = pass.moments)
    add_moments(context, m->context_sum.now(layer), m->context_square.now(layer));
  if (saved) saved->context = context;
  return site_forward(layer, kAttentionOutput, context, pass, saved);
}

Tensor Network::ffn_half(size_t layer, const Tensor& middle, const Pass& pass, LayerSaved* saved) {
  const Layer& l = model_->layers[layer];
  if (l.linear[kIntermediate].out() == 0) return l.linear[kOutput].constant(middle.size(0));
  const Tensor z = site_forward(layer, kIntermediate, middle, pass, saved);
  const Tensor g = activation_forward(z, neuron_mask(layer), model_->spec.activation);
  if (Importance* const m = pass.moments)
    add_moments(g, m->neuron_sum.now(layer), m->neuron_square.now(layer));
  if (saved) saved->z = z;
  return site_forward(layer, kOutput, g, pass, saved);
}

/// Of [T, h], or with `rows` of those alone [B, h].
Tensor Network::layer_forward(size_t layer, const Tensor& x, const Sequences& s, const Rows* rows,
                              const Pass& pass, LayerSaved* saved) {
  const Layer& l = model_->layers[layer];
  const Spec& spec = model_->spec;
  const Tensor queried = rows ? x.index_select(0, rows->first) : x;
  if (pass.moments) pass.moments->tokens.now(layer).add_(static_cast<double>(queried.size(0)));
  const Tensor o = attention_half(layer, x, queried, rows ? rows->queries : s, pass, saved);
  const Tensor middle = norm_forward(o, queried, l.attention_norm,
                                     dropout(spec.attention_output_dropout, pass, layer, kAfterAttention),
                                     saved ? &saved->attention_norm : nullptr);
  const Tensor u = ffn_half(layer, middle, pass, saved);
  if (saved) {
    saved->x = x;
    saved->queried = queried;
    saved->middle = middle;
  }
  return norm_forward(u, middle, l.output_norm, dropout(spec.hidden_dropout, pass, layer, kAfterOutput),
                      saved ? &saved->output_norm : nullptr);
}

/// Of what the layer's FFN has read, from its output's; undefined where nothing trainable comes before.
Tensor Network::ffn_backward(size_t layer, const NormGrads& out, const LayerSaved& saved,
                             const MaskTotals& neurons, int first) {
  const Spec& spec = model_->spec;
  // out.residual may be out.z itself, which has been read already: adding in place is safe.
  if (model_->layers[layer].linear[kIntermediate].out() == 0) return out.residual;
  const LinearGradient output = site_backward(layer, kOutput, out.z, saved);
  if (first >= kOutput) {
    input_seen(layer, kOutput, activation_forward(saved.z, neuron_mask(layer), spec.activation), output);
    return {};
  }
  // The activation's output is computed again rather than kept, and takes the place of its input.
  const Tensor dz = linear_backward(output, Tensor()), g = saved.z;
  activation_backward(g, dz, neuron_mask(layer), neurons, spec.activation);
  input_seen(layer, kOutput, g, output);
  const LinearGradient intermediate = site_backward(layer, kIntermediate, dz, saved);
  input_seen(layer, kIntermediate, saved.middle, intermediate);
  if (first >= kIntermediate) return {};
  return linear_backward(intermediate, out.residual);
}

/// Likewise of the layer's input.
Tensor Network::attention_half_backward(size_t layer, const NormGrads& attention, const Sequences& s,
                                        const Rows* rows, const LayerSaved& saved, const MaskTotals& heads,
                                        int first) {
  const Layer& l = model_->layers[layer];
  const auto whole = [&](const Tensor& of_rows) {
    if (!rows) return of_rows;
    Tensor dx = at::zeros_like(saved.x);
    dx.index_copy_(0, rows->first, of_rows);
    return dx;
  };
  if (l.heads == 0) return whole(attention.residual);
  const LinearGradient attended = site_backward(layer, kAttentionOutput, attention.z, saved);
  input_seen(layer, kAttentionOutput, saved.context, attended);
  if (first >= kAttentionOutput && !config_.masks) return {};
  const AttentionGrads d = attention_backward(linear_backward(attended, Tensor()), saved.attention,
                                              rows ? rows->queries : s, l.heads, head_mask(layer), heads);
  const LinearGradient query = site_backward(layer, kQuery, d.q, saved),
                       key = site_backward(layer, kKey, d.k, saved),
                       value = site_backward(layer, kValue, d.v, saved);
  input_seen(layer, kQuery, saved.queried, query);
  input_seen(layer, kKey, saved.x, key);
  input_seen(layer, kValue, saved.x, value);
  if (first >= kQuery) return {};
  if (!rows) return linear_backward({query, key, value}, attention.residual);
  Tensor dx = linear_backward({key, value}, Tensor());
  dx.index_add_(0, rows->first, linear_backward(query, attention.residual));
  return dx;
}

Tensor Network::layer_backward(size_t layer, const Tensor& dy, const Sequences& s, const Rows* rows,
                               const LayerSaved& saved, Importance* scored) {
  const Layer& l = model_->layers[layer];
  // The first trainable place of the layer; nothing needs a gradient before that of the lowest layer.
  int first = -1;
  if (layer == lowest_)
    for (first = 0; first < kSites && !modules_[layer * kSites + first];) ++first;
  if (config_.masks) first = std::min<int>(first, kAttentionOutput);
  MaskTotals neurons, heads;
  if (config_.masks) {
    neurons.gradient = parameters_[neuron_masks_[layer]].grad;
    heads.gradient = parameters_[head_masks_[layer]].grad;
    if (scored) {
      neurons.salience = scored->neuron_salience.now(layer);
      heads.salience = scored->head_salience.now(layer);
    }
  }
  const NormGrads out = norm_backward(dy, l.output_norm, saved.output_norm);
  const Tensor d_middle = ffn_backward(layer, out, saved, neurons, first);
  if (!d_middle.defined()) return {};
  const NormGrads attention = norm_backward(d_middle, l.attention_norm, saved.attention_norm);
  return attention_half_backward(layer, attention, s, rows, saved, heads, first);
}

}  // namespace lp
