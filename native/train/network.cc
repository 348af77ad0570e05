#include "train/network.h"

#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "base/team.h"
#include "ops/device.h"
#include "train/initial.h"

namespace lp {
namespace {

/// Sites that came later draw past the others, whose numbers of long ago stay theirs.
uint64_t initial_stream(size_t layer, int site) {
  return site <= kOutput ? layer * (kOutput + 1) + site : (1u << 19) + layer * kSites + site;
}

}  // namespace

int64_t Saved::bytes() const {
  std::unordered_map<const void*, int64_t> memories;
  const auto add = [&](std::initializer_list<Tensor> tensors) {
    for (const Tensor& t : tensors)
      if (t.defined()) memories[t.storage().data()] = static_cast<int64_t>(t.storage().nbytes());
  };
  for (const LayerSaved& l : layers) {
    add({l.x, l.queried, l.context, l.z, l.up, l.middle});
    add({l.attention.q, l.attention.k, l.attention.v, l.attention.unmasked, l.attention.lse});
    for (const NormSaved* norm : {&l.attention_norm, &l.output_norm, &l.query_norm, &l.key_norm})
      add({norm->y, norm->normalized, norm->rstd});
    for (const LoraSaved& lora : l.lora) add({lora.p.p, lora.p.turned});
  }
  for (const NormSaved* norm : {&final_norm, &embedding.norm}) add({norm->y, norm->normalized, norm->rstd});
  add({head.pooled, head.before, head.dense, head.dropped, embedding.x, last});
  int64_t sum = 0;
  for (const auto& [memory, bytes] : memories) sum += bytes;
  return sum;
}

Network::Network(std::shared_ptr<const Model> model, const NetworkConfig& config)
    : model_(std::move(model)), config_(config) {
  const size_t layers = model_->layers.size();
  modules_.resize(layers * kSites);
  order_.assign(layers * kSites, -1);
  lowest_ = config.masks || config.full ? 0 : layers;
  if (config.full) {
    backbone_.emplace(*model_, config.told == Told::tokens, parameters_);
    model_ = backbone_->model();
  }
  for (size_t i = 0; i < config.modules.size(); ++i) {
    const ModuleConfig& m = config.modules[i];
    if (m.layer < 0 || m.layer >= static_cast<int64_t>(layers))
      throw Error("BAD_OPTION", "no such layer: " + m.name);
    const size_t at = m.layer * kSites + m.site;
    const Linear& base = model_->layers[m.layer].linear[m.site];
    if (base.in() + base.out() == 0) throw Error("BAD_OPTION", "the model has no " + m.name);
    modules_[at] = LoraModule{parameters_.add(m.name + ".lora_A.weight", {m.rank, base.in()}, m.rate, true),
                              parameters_.add(m.name + ".lora_B.weight", {base.out(), m.rank}, m.rate, true),
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
  if (config.told != Told::tokens) head_.emplace(config.head, model_->state_width(), parameters_);
  bottom_ = lowest_;
  parameters_.freeze(model_->device());
  // The last layer computes only what the head reads: it is no part of a prefix.
  if (config.prefix_cache > 0 && lowest_ > 0 && lowest_ < layers)
    prefix_cache_.emplace(model_->spec.hidden, at::TensorOptions(model_->device()).dtype(model_->dtype),
                          config.prefix_cache, config.prefix_folder);
  // As PEFT initialises: A uniform with Kaiming's bound for a = sqrt(5), B zero.
  for (size_t i = 0; i < modules_.size(); ++i)
    if (modules_[i]) {
      Tensor a = parameters_[modules_[i]->a].value;
      fill_uniform(a, 1 / std::sqrt(static_cast<double>(a.size(1))), config.seed,
                   initial_stream(i / kSites, static_cast<int>(i % kSites)));
    }
  if (head_) head_->initialise(config.seed);
  for (const auto* masks : {&head_masks_, &neuron_masks_})
    for (const size_t i : *masks) parameters_[i].value.fill_(1);
  if (backbone_) backbone_->begin();
  if (config.told == Told::tokens) vocabulary_ = Vocabulary(*model_, backbone_ ? &*backbone_ : nullptr);
}

bool Network::rest(bool rests) {
  size_t bottom = lowest_;
  if (rests && !config_.masks && !backbone_)  // else all of it learns
    for (size_t at = 0; at < modules_.size(); ++at)
      if (modules_[at]) bottom = at / kSites;
  if (bottom == bottom_) return false;
  bottom_ = bottom;
  for (size_t at = 0; at < modules_.size(); ++at)
    if (modules_[at])
      for (const size_t part : {modules_[at]->a, modules_[at]->b})
        parameters_[part].rests = at / kSites < bottom_;
  parameters_.follow();
  return true;
}

void Network::follow() {
  modules_follow_ = false;
  if (!backbone_) return;
  backbone_->follow();
  if (config_.told == Told::tokens) vocabulary_ = Vocabulary(*model_, &*backbone_);
}

void Network::follow_modules() {
  std::vector<LoraModule*> modules;
  for (auto& module : modules_)
    if (module) modules.push_back(&*module);
  const auto follow = [&](int64_t i) { lora_follow(*modules[i], parameters_, model_->dtype); };
  const auto count = static_cast<int64_t>(modules.size());
  if (device_kernels(parameters_.value()))
    for (int64_t i = 0; i < count; ++i) follow(i);
  else
    parallel_tasks(count, follow);
  modules_follow_ = true;
}

Dropout Network::dropout(double p, const Pass& pass, size_t layer, int place) const {
  if (!pass.train || p == 0) return {};
  const uint64_t site = layer * 64 + place;
  return pass.key_there ? make_dropout(p, pass.key_there, site) : make_dropout(p, pass.key, site);
}

Tensor Network::embed(const Feed& feed, const Pass& pass, EmbeddingSaved* saved) {
  const Spec& spec = model_->spec;
  const Tensor &ids = feed.ids, &types = feed.types, &positions = feed.positions;
  const Tensor& position = model_->position;
  const bool late = position.defined() && position.size(1) != model_->word.size(1);
  std::vector<Lookup> lookups{{model_->word, ids}};
  if (position.defined() && !late) lookups.push_back({position, positions});
  if (model_->type.defined()) lookups.push_back({model_->type, types});
  Tensor x = embedded(lookups, model_->dtype);
  if (spec.embedding_norm)
    x = norm_forward(x, Tensor(), model_->embedding_norm, Dropout{}, saved ? &saved->norm : nullptr);
  const Dropout drop = dropout(spec.embedding_dropout, pass, 0, kEmbeddings);
  x = apply_dropout(x, drop);
  if (saved) {
    saved->ids = ids;
    saved->types = types;
    saved->positions = positions;
    saved->x = x;
    saved->dropout = drop;
  }
  if (model_->projection.out() > 0) x = linear_forward(x, model_->projection, nullptr, nullptr);
  if (late) x += position.index_select(0, positions);
  return x;
}

void Network::embed_backward(const Tensor& dx, const EmbeddingSaved& saved) {
  const Model& m = *model_;
  Tensor d = dx;
  const bool late = m.position.defined() && m.position.size(1) != m.word.size(1);
  if (late) backbone_->rows(m.position, saved.positions, d);
  if (m.projection.out() > 0) {
    backbone_->linear(m.projection, saved.x, d);
    d = linear_backward(LinearGradient{d, &m.projection, {}}, Tensor());
  }
  d = apply_dropout(d, saved.dropout);
  if (m.spec.embedding_norm) d = norm_gradients(d, m.embedding_norm, saved.norm).residual;
  backbone_->rows(m.word, saved.ids, d);
  if (m.position.defined() && !late) backbone_->rows(m.position, saved.positions, d);
  if (m.type.defined()) backbone_->rows(m.type, saved.types, d);
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
    const Feed feed = feed_of(*model_, missing, nullptr);
    Tensor x = embed(feed, Pass{}, nullptr);
    for (size_t l = 0; l < lowest_; ++l) x = layer_forward(l, x, feed.layout, nullptr, Pass{}, nullptr);
    for (size_t i = 0; i < places.size(); ++i) {
      const int64_t begin = missing.cu_seqlens[i], end = missing.cu_seqlens[i + 1];
      rows[places[i]] = x.narrow(0, begin, end - begin);
      prefix_cache_->put(texts[places[i]], rows[places[i]]);
    }
  }
  for (Tensor& some : rows) some = some.to(model_->device());  // a file's are in the host's memory
  return at::cat(rows);
}

Tensor Network::finish(const Tensor& last, Saved* saved) {
  Tensor x = last;
  if (model_->spec.final_norm)
    x = norm_forward(x, Tensor(), model_->final_norm, Dropout{}, saved ? &saved->final_norm : nullptr);
  if (saved) saved->last = x;
  if (model_->projection_back.out() > 0) x = linear_forward(x, model_->projection_back, nullptr, nullptr);
  return x.to(at::kFloat);
}

Tensor Network::encode(const Batch& batch, const Pass& how, Saved* saved, Importance* scored,
                       const Feed* given) {
  if (how.cache) how.cache->extend(batch.cu_seqlens);
  // What a device records must do it every time.
  if (!modules_follow_ || device_kernels(parameters_.value())) follow_modules();
  const Feed feed = given ? *given : feed_of(*model_, batch, how.cache);
  const Layout& layout = feed.layout;
  std::optional<Rows> rows;
  if (!how.every) rows = rows_of(model_->spec, layout);
  if (saved) {
    saved->layout = layout;
    saved->layers.assign(model_->layers.size(), {});
    saved->rows = rows;
  }
  const size_t last = model_->layers.size() - 1;
  Pass pass = how;
  pass.counted = feed.counted;
  if (rows && feed.counted.defined()) pass.counted_rows = feed.counted.index_select(0, rows->which);
  pass.moments = scored;
  pass.ratios = scored && config_.ratios ? &scored->ratios : nullptr;
  const bool cached = prefix_cache_ && pass.train;
  Tensor x = cached ? prefix(batch) : embed(feed, pass, saved && backbone_ ? &saved->embedding : nullptr);
  for (size_t l = cached ? lowest_ : 0; l < last; ++l)
    x = layer_forward(l, x, layout, nullptr, pass, saved && l >= bottom_ ? &saved->layers[l] : nullptr);
  // Of the last layer the head's rows are enough, except for its ratios, which are means over all tokens.
  if (rows && pass.ratios) {
    pass.moments = nullptr;
    layer_forward(last, x, layout, nullptr, pass, nullptr);
    pass.moments = scored;
    pass.ratios = nullptr;
  }
  x = layer_forward(last, x, layout, rows ? &*rows : nullptr, pass,
                    saved && last >= bottom_ ? &saved->layers[last] : nullptr);
  return finish(x, saved);
}

Tensor Network::outputs(const Tensor& states, const Pass& pass, Saved* saved) {
  const double p = config_.head.dropout;
  return head_->forward(states, dropout(config_.head.dropout_first ? p : 0, pass, 0, kHead0),
                        dropout(p, pass, 0, kHead1), saved ? &saved->head : nullptr);
}

Tensor Network::outputs_backward(const Tensor& d_outputs, const Saved& saved) {
  return head_->backward(d_outputs, saved.head);
}

void Network::backward(const Tensor& d_states, const Saved& saved, Importance* scored) {
  const size_t layers = model_->layers.size();
  if (bottom_ == layers) return;
  Tensor dx = d_states.to(model_->dtype);
  if (model_->projection_back.out() > 0) {
    if (backbone_) backbone_->linear(model_->projection_back, saved.last, dx);
    dx = linear_backward(LinearGradient{dx, &model_->projection_back, {}}, Tensor());
  }
  if (model_->spec.final_norm) dx = norm_gradients(dx, model_->final_norm, saved.final_norm).residual;
  for (size_t l = layers; l-- > bottom_;)
    dx = layer_backward(l, dx, saved.layout, l + 1 == layers && saved.rows ? &*saved.rows : nullptr,
                        saved.layers[l], scored);
  if (backbone_) embed_backward(dx, saved.embedding);
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
