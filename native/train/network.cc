#include "train/network.h"

#include <cmath>
#include <unordered_map>

#include "base/error.h"

namespace lp {
namespace {

void fill_uniform(Tensor t, double bound, uint64_t seed, uint64_t stream) {
  float* p = t.mutable_data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i)
    p[i] = static_cast<float>(((mix64(mix64(seed ^ mix64(stream)) + i) >> 11) * 0x1p-53 * 2 - 1) * bound);
}

void fill_normal(Tensor t, double deviation, uint64_t seed, uint64_t stream) {
  float* p = t.mutable_data_ptr<float>();
  for (int64_t i = 0; i < t.numel(); ++i) {  // Box-Muller
    const uint64_t a = mix64(mix64(seed ^ mix64(stream)) + 2 * i),
                   b = mix64(mix64(seed ^ mix64(stream)) + 2 * i + 1);
    const double u = ((a >> 11) + 1) * 0x1p-53, v = (b >> 11) * 0x1p-53;
    p[i] = static_cast<float>(deviation * std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
  }
}

Tensor head_activation(const Tensor& x, HeadActivation kind) {
  if (kind == HeadActivation::tanh) return x.tanh();
  return kind == HeadActivation::gelu ? at::gelu(x) : x.relu();
}

Tensor head_activation_backward(const Tensor& dy, const Tensor& x, const Tensor& y, HeadActivation kind) {
  if (kind == HeadActivation::tanh) return dy * (1 - y.square());
  return kind == HeadActivation::gelu ? at::gelu_backward(dy, x) : dy * (x > 0);
}

Sequences sequences_of(const Batch& batch) {
  Sequences s;
  s.cu_q = at::tensor(at::ArrayRef<int32_t>(batch.cu_seqlens), at::kInt);
  s.cu_k = s.cu_q;
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b)
    s.longest_q = std::max<int64_t>(s.longest_q, batch.cu_seqlens[b + 1] - batch.cu_seqlens[b]);
  s.longest_k = s.longest_q;
  return s;
}

}  // namespace

int64_t Saved::bytes() const {
  std::unordered_map<const void*, int64_t> memories;
  const auto add = [&](std::initializer_list<Tensor> tensors) {
    for (const Tensor& t : tensors)
      if (t.defined()) memories[t.storage().data()] = static_cast<int64_t>(t.storage().nbytes());
  };
  for (const LayerSaved& l : layers) {
    add({l.x, l.queried, l.context, l.z, l.middle});
    add({l.attention.q, l.attention.k, l.attention.v, l.attention.unmasked, l.attention.lse});
    for (const NormSaved* norm : {&l.attention_norm, &l.output_norm})
      add({norm->y, norm->normalized, norm->rstd});
    for (const LoraSaved& lora : l.lora) add({lora.p});
  }
  add({pooled, before, dense, dropped});
  int64_t sum = 0;
  for (const auto& [memory, bytes] : memories) sum += bytes;
  return sum;
}

Network::Network(std::shared_ptr<const Model> model, const NetworkConfig& config)
    : model_(std::move(model)), config_(config) {
  const int64_t h = model_->spec.hidden;
  const size_t layers = model_->layers.size();
  modules_.resize(layers * kSites);
  order_.assign(layers * kSites, -1);
  lowest_ = config.masks ? 0 : layers;
  for (size_t i = 0; i < config.modules.size(); ++i) {
    const ModuleConfig& m = config.modules[i];
    if (m.layer < 0 || m.layer >= static_cast<int64_t>(layers))
      throw Error("BAD_OPTION", "no such layer: " + m.name);
    const size_t at = m.layer * kSites + m.site;
    const FrozenLinear& base = model_->layers[m.layer].linear[m.site];
    modules_[at] = LoraModule{parameters_.add(m.name + ".lora_A.weight", {m.rank, base.in()}, 1, true),
                              parameters_.add(m.name + ".lora_B.weight", {base.out(), m.rank}, 1, true),
                              m.rank, m.scale, m.dropout};
    order_[at] = static_cast<int>(i);
    lowest_ = std::min<size_t>(lowest_, m.layer);
  }
  if (config.masks)
    for (size_t l = 0; l < layers; ++l) {
      const std::string at = "masks." + std::to_string(l);
      head_masks_.push_back(
          parameters_.add(at + ".heads", {model_->layers[l].heads}, config.head_mask_rate, false));
      neuron_masks_.push_back(parameters_.add(
          at + ".neurons", {model_->layers[l].linear[kIntermediate].out()}, config.neuron_mask_rate, false));
    }
  const double dense_rate = config.frozen_dense ? 0 : 1;
  dense_weight_ = parameters_.add("classifier.dense.weight", {h, h}, dense_rate, true);
  dense_bias_ = parameters_.add("classifier.dense.bias", {h}, dense_rate, true);
  out_weight_ = parameters_.add("classifier.out_proj.weight", {config.labels, h}, 1, true);
  out_bias_ = parameters_.add("classifier.out_proj.bias", {config.labels}, 1, true);
  parameters_.freeze();
  // The last layer computes only what the head reads: it is no part of a prefix.
  if (config.prefix_cache > 0 && lowest_ > 0 && lowest_ < layers)
    prefix_cache_.emplace(h, model_->dtype, config.prefix_cache, config.prefix_folder);
  // As PEFT and transformers initialise: A uniform with Kaiming's bound for a = sqrt(5), B zero; the head
  // normal, 0.02.
  for (size_t i = 0; i < modules_.size(); ++i)
    if (modules_[i]) {
      Tensor a = parameters_[modules_[i]->a].value;
      fill_uniform(a, 1 / std::sqrt(static_cast<double>(a.size(1))), config.seed, i);
    }
  fill_normal(parameters_[dense_weight_].value, 0.02, config.seed, 1u << 20);
  fill_normal(parameters_[out_weight_].value, 0.02, config.seed, (1u << 20) + 1);
  for (const auto* masks : {&head_masks_, &neuron_masks_})
    for (const size_t i : *masks) parameters_[i].value.fill_(1);
}

Dropout Network::dropout(double p, const Pass& pass, size_t layer, int place) const {
  if (!pass.train || p == 0) return {};
  return make_dropout(p, config_.seed, pass.step, pass.micro, layer * 64 + place);
}

Tensor Network::embed(const Batch& batch, const Pass& pass) {
  const Spec& spec = model_->spec;
  const int64_t tokens = static_cast<int64_t>(batch.ids.size());
  Tensor ids = at::empty({tokens}, at::kLong), types = at::empty({tokens}, at::kLong),
         positions = at::empty({tokens}, at::kLong);
  int64_t *id = ids.mutable_data_ptr<int64_t>(), *type = types.mutable_data_ptr<int64_t>(),
          *position = positions.mutable_data_ptr<int64_t>();
  for (size_t b = 0; b + 1 < batch.cu_seqlens.size(); ++b) {
    int64_t next =
        spec.position_offset;  // a pad token inside a text keeps the pad's position, as transformers counts
    for (int64_t t = batch.cu_seqlens[b]; t < batch.cu_seqlens[b + 1]; ++t) {
      id[t] = batch.ids[t];
      type[t] = std::max<int64_t>(0, std::min<int64_t>(batch.type_ids[t], spec.type_vocab - 1));
      position[t] = spec.pad_positions && id[t] == spec.pad_id ? spec.pad_id : next++;
      if (id[t] < 0 || id[t] >= spec.vocab)
        throw Error("BAD_DATA", "token id " + std::to_string(id[t]) + " is outside the model's vocabulary");
      if (position[t] >= spec.positions)
        throw Error("BAD_DATA", "a sequence is longer than the model's positions");
    }
  }
  Tensor sum = model_->word.index_select(0, ids).to(at::kFloat);
  sum += model_->position.index_select(0, positions);
  if (model_->type.defined()) sum += model_->type.index_select(0, types);
  const Tensor normed =
      norm_forward(sum.to(model_->dtype), Tensor(), model_->embedding_norm, Dropout{}, nullptr);
  const Tensor x = apply_dropout(normed, dropout(spec.hidden_dropout, pass, 0, kEmbeddings));
  return spec.embedding == spec.hidden ? x : linear_forward(x, model_->projection, nullptr, nullptr);
}

Tensor Network::prefix(const Batch& batch) {
  const size_t sequences = batch.cu_seqlens.size() - 1;
  std::vector<std::string> texts;
  std::vector<Tensor> rows(sequences);
  std::vector<size_t> places;  // of the missing ones
  Batch missing;
  missing.cu_seqlens = {0};
  for (size_t b = 0; b < sequences; ++b) {
    std::string text;
    const auto name = [&](const std::vector<int32_t>& values) {
      text.append(reinterpret_cast<const char*>(values.data() + batch.cu_seqlens[b]),
                  (batch.cu_seqlens[b + 1] - batch.cu_seqlens[b]) * sizeof(int32_t));
    };
    name(batch.ids);
    name(batch.type_ids);
    rows[b] = prefix_cache_->find(text);
    texts.push_back(std::move(text));
    if (rows[b].defined()) continue;
    const auto add = [&](std::vector<int32_t>& to, const std::vector<int32_t>& from) {
      to.insert(to.end(), from.begin() + batch.cu_seqlens[b], from.begin() + batch.cu_seqlens[b + 1]);
    };
    add(missing.ids, batch.ids);
    add(missing.type_ids, batch.type_ids);
    missing.cu_seqlens.push_back(static_cast<int32_t>(missing.ids.size()));
    places.push_back(b);
  }
  if (!places.empty()) {
    const Sequences s = sequences_of(missing);
    Tensor x = embed(missing, Pass{});
    for (size_t l = 0; l < lowest_; ++l) x = layer_forward(l, x, s, nullptr, Pass{}, nullptr);
    for (size_t i = 0; i < places.size(); ++i) {
      const int64_t begin = missing.cu_seqlens[i], end = missing.cu_seqlens[i + 1];
      rows[places[i]] = x.narrow(0, begin, end - begin);
      prefix_cache_->put(texts[places[i]], rows[places[i]]);
    }
  }
  return at::cat(rows);
}

Tensor Network::encode(const Batch& batch, const Pass& how, Saved* saved, Importance* scored) {
  const int64_t sequences = static_cast<int64_t>(batch.cu_seqlens.size()) - 1;
  const Sequences s = sequences_of(batch);
  if (saved) {
    saved->sequences = s;
    saved->layers.assign(model_->layers.size(), {});
  }
  Rows rows;
  rows.first = s.cu_q.narrow(0, 0, sequences).to(at::kLong);
  rows.queries = {at::arange(sequences + 1, at::kInt), s.cu_k, 1, s.longest_k};
  const size_t last = model_->layers.size() - 1;
  Pass pass = how;
  pass.moments = scored;
  pass.ratios = scored && config_.ratios ? &scored->ratios : nullptr;
  const bool cached = prefix_cache_ && pass.train;
  Tensor x = cached ? prefix(batch) : embed(batch, pass);
  for (size_t l = cached ? lowest_ : 0; l < last; ++l)
    x = layer_forward(l, x, s, nullptr, pass, saved && l >= lowest_ ? &saved->layers[l] : nullptr);
  // Of the last layer the head's rows are enough, except for its ratios, which are means over all tokens.
  pass.moments = nullptr;
  if (pass.ratios) layer_forward(last, x, s, nullptr, pass, nullptr);
  pass.moments = scored;
  pass.ratios = nullptr;
  x = layer_forward(last, x, s, &rows, pass, saved && last >= lowest_ ? &saved->layers[last] : nullptr);
  if (saved) saved->rows = rows;
  return x.to(at::kFloat);
}

Tensor Network::classify(const Tensor& states, const Pass& pass, Saved* saved) {
  const Spec& spec = model_->spec;
  const double p = spec.head_dropout;
  const Dropout drop0 = dropout(spec.head_dropout_first ? p : 0, pass, 0, kHead0),
                drop1 = dropout(p, pass, 0, kHead1);
  const Tensor pooled = apply_dropout(states, drop0);
  const Tensor before =
      at::addmm(parameters_[dense_bias_].value, pooled, parameters_[dense_weight_].value.t());
  const Tensor dense = head_activation(before, spec.head_activation);
  const Tensor dropped = apply_dropout(dense, drop1);
  if (saved) {
    saved->pooled = pooled;
    saved->before = before;
    saved->dense = dense;
    saved->dropped = dropped;
    saved->head_dropout0 = drop0;
    saved->head_dropout1 = drop1;
  }
  return at::addmm(parameters_[out_bias_].value, dropped, parameters_[out_weight_].value.t());
}

void Network::backward(const Tensor& d_logits, const Tensor& d_states, const Saved& saved,
                       Importance* scored) {
  parameters_[out_weight_].grad.addmm_(d_logits.t(), saved.dropped);
  parameters_[out_bias_].grad.add_(d_logits.sum(0));
  Tensor d = apply_dropout(at::mm(d_logits, parameters_[out_weight_].value), saved.head_dropout1);
  d = head_activation_backward(d, saved.before, saved.dense, model_->spec.head_activation);
  if (!config_.frozen_dense) {
    parameters_[dense_weight_].grad.addmm_(d.t(), saved.pooled);
    parameters_[dense_bias_].grad.add_(d.sum(0));
  }
  const size_t layers = model_->layers.size();
  if (lowest_ == layers) return;
  d = apply_dropout(at::mm(d, parameters_[dense_weight_].value), saved.head_dropout0);
  if (d_states.defined()) d = d + d_states;
  Tensor dx = d.to(model_->dtype);
  for (size_t l = layers; l-- > lowest_;)
    dx = layer_backward(l, dx, saved.sequences, l + 1 == layers ? &saved.rows : nullptr, saved.layers[l],
                        scored);
}

void Network::penalize(double heads, double neurons) {
  const auto add = [](Parameter& mask, double lambda) {
    if (mask.rate == 0)
      mask.grad.zero_();
    else
      mask.grad.add_(mask.value.sign(), lambda);
  };
  for (size_t l = 0; l < head_masks_.size(); ++l) {
    add(parameters_[head_masks_[l]], heads);
    add(parameters_[neuron_masks_[l]], neurons);
  }
}

}  // namespace lp
