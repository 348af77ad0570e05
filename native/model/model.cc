#include "model/model.h"

#include <algorithm>

#include "base/error.h"
#include "ops/device.h"

namespace lp {
namespace {

const char* const kSiteNames[kSites] = {"query",        "key",    "value", "attention.output",
                                        "intermediate", "output", "gate",  "qkv"};

at::ScalarType dtype_of(const std::string& name) {
  if (name == "F32") return at::kFloat;
  if (name == "F16") return at::kHalf;
  if (name == "BF16") return at::kBFloat16;
  if (name == "F64") return at::kDouble;
  throw Error("BAD_CHECKPOINT", "weights of dtype " + name + " are not supported (F32, F16, BF16, F64 are)");
}

/// The linear with some of its outputs.
Linear some_rows(const Linear& l, const Tensor& rows, at::ScalarType dtype) {
  return {gathered(l.weight(), rows, {}, {}), l.biased() ? l.bias().index_select(0, rows) : Tensor(), dtype};
}

/// The values of some heads among those of all, `each` of a head.
Tensor values_of(const Tensor& heads, int64_t each) {
  return (heads.unsqueeze(1) * each + at::arange(each, heads.options())).flatten();
}

/// The sums over each head's rows, [heads].
Tensor by_head(const Tensor& rows, int64_t heads) { return rows.view({heads, -1}).sum(1); }

/// The layer's linear with other inputs: those kept, each times its scale. Undefined tensors change nothing.
Linear narrowed(const Linear& l, const Tensor& kept, const Tensor& scale, at::ScalarType dtype) {
  if (!kept.defined() && !scale.defined()) return l;
  return {gathered(l.weight(), {}, kept, scale), l.biased() ? l.bias() : Tensor(), dtype};
}

}  // namespace

Linear corrected(const Linear& l, const Correction& correction, const Tensor& shift, at::ScalarType dtype) {
  const auto &a = correction.a, &b = correction.b;
  if (!a.defined() && !shift.defined()) return l;
  if (a.defined() && (a.size(1) != l.in() || b.size(0) != l.out() || a.size(0) != b.size(1)))
    throw Error("BAD_ADAPTER", "the correction of a weight is of another size");
  if (shift.defined() && shift.numel() != l.out())
    throw Error("BAD_ADAPTER", "the shift of a bias is of another size");
  Tensor weight = l.weight();
  const auto there = [&weight](const Tensor& t) { return t.to(weight.device()); };
  if (a.defined()) weight = at::addmm(weight.to(at::kFloat), there(b), there(a));
  if (shift.defined()) return {weight, l.bias() + there(shift), dtype};
  return {weight, l.biased() ? l.bias() : Tensor(), dtype};
}

/// The output of LayerNorm gives its normalized values back only where beta does not drown gamma: past a
/// factor of 16 the rounding of y would show in the gradient.
NormWeights norm_of(const Tensor& gamma, const Tensor& beta, double eps) {
  NormWeights w{gamma.to(at::kFloat).contiguous(), {}, eps, false};
  if (beta.defined()) w.beta = beta.to(at::kFloat).contiguous();
  const auto ratio = (beta.defined() ? w.beta.abs() : at::zeros_like(w.gamma)) / w.gamma.abs();
  w.keep_normalized = !(ratio < 16.0).all().item<bool>();
  return w;
}

Site site_of(const std::string& name) {
  for (int i = 0; i < kSites; ++i)
    if (name == kSiteNames[i]) return static_cast<Site>(i);
  throw Error("BAD_OPTION", "no such module site: " + name);
}

const char* site_name(int site) { return kSiteNames[site]; }

Stage stage_of(int site) {
  if (site == kAttentionOutput) return kAttended;
  if (site == kIntermediate || site == kGate) return kWidens;
  return site == kOutput ? kNarrows : kAttends;
}

Tensor fused_rows(const Spec& spec, int part, const Tensor& heads, int64_t all_heads) {
  const int64_t d = spec.head_size;
  if (spec.fused_by_head)
    return (heads.unsqueeze(1) * 3 * d + part * d + at::arange(d, heads.options())).flatten();
  return values_of(heads, d) + part * all_heads * d;
}

std::map<std::string, Tensor> map_weights(const std::vector<WeightRef>& weights) {
  std::map<std::string, int64_t> ends;
  for (const auto& w : weights) ends[w.file] = std::max(ends[w.file], w.offset + w.bytes);
  std::map<std::string, Tensor> files, tensors;
  for (const auto& [file, end] : ends) files[file] = at::from_file(file, /*shared=*/false, end, at::kByte);
  for (const auto& w : weights) {
    Tensor bytes = files[w.file].narrow(0, w.offset, w.bytes);
    const auto dtype = dtype_of(w.dtype);
    if (w.offset % static_cast<int64_t>(at::elementSize(dtype)) != 0) bytes = bytes.clone();
    const Tensor tensor = bytes.view(dtype).view(w.shape);
    tensors[w.site] = w.transposed ? tensor.t() : tensor;
  }
  return tensors;
}

namespace {

/// What a checkpoint has, by site.
class Weights {
 public:
  Weights(const std::vector<WeightRef>& weights, const Spec& spec, at::ScalarType dtype,
          const at::Device& device)
      : tensors_(map_weights(weights)), spec_(spec), dtype_(dtype), device_(device) {}

  /// Where they go.
  const at::Device& device() const { return device_; }

  bool has(const std::string& site) const { return tensors_.count(site) > 0; }
  Tensor get(const std::string& site) const {
    const auto found = tensors_.find(site);
    if (found == tensors_.end()) throw Error("BAD_CHECKPOINT", "the checkpoint lacks " + site);
    return placed(found->second, device_);
  }
  Tensor find(const std::string& site) const { return has(site) ? get(site) : Tensor(); }
  NormWeights norm(const std::string& at) const {
    return norm_of(get(at + ".weight"), spec_.rms ? Tensor() : get(at + ".bias"), spec_.norm_eps);
  }
  Linear linear(const std::string& at) const { return {get(at + ".weight"), find(at + ".bias"), dtype_}; }

 private:
  std::map<std::string, Tensor> tensors_;
  const Spec& spec_;
  at::ScalarType dtype_;
  at::Device device_;
};

Layer layer_of(const Weights& weights, const Spec& spec, int64_t index) {
  const std::string at = "layers." + std::to_string(index) + ".";
  Layer layer;
  layer.heads = spec.heads;
  for (int s = 0; s < kSites; ++s)
    if (weights.has(at + kSiteNames[s] + ".weight")) layer.linear[s] = weights.linear(at + kSiteNames[s]);
  layer.attention_norm = weights.norm(at + "attention.norm");
  // One norm may serve both halves.
  layer.shared_norm = !weights.has(at + "output.norm.weight");
  layer.output_norm = layer.shared_norm ? layer.attention_norm : weights.norm(at + "output.norm");
  if (spec.query_key_norm) {
    layer.query_norm = weights.norm(at + "query.norm");
    layer.key_norm = weights.norm(at + "key.norm");
  }
  if (!spec.slopes.empty()) layer.slopes = at::tensor(spec.slopes).to(weights.device());
  if (!spec.windows.empty()) layer.window = spec.windows[index];
  return layer;
}

}  // namespace

std::shared_ptr<const Model> Model::load(const Spec& spec, const std::vector<WeightRef>& refs,
                                         at::ScalarType dtype, const at::Device& device) {
  const Weights weights(refs, spec, dtype, device);
  // A row of a norm lies on the stack.
  if (std::max({spec.hidden, spec.embedding, spec.query_key_norm ? spec.head_size : 0}) > kMaxNormWidth)
    throw Error("UNSUPPORTED_MODEL",
                "a norm of more than " + std::to_string(kMaxNormWidth) + " values is not supported");
  if (spec.fused && spec.group != 1)
    throw Error("UNSUPPORTED_MODEL", "one weight for query, key and value has as many heads of each");
  auto model = std::make_shared<Model>();
  model->spec = spec;
  model->dtype = dtype;
  model->refs = refs;
  model->word = weights.get("embeddings.word");
  if (spec.positions > 0) model->position = weights.get("embeddings.position");
  if (spec.type_vocab > 0) model->type = weights.get("embeddings.type");
  if (weights.has("embeddings.project.weight")) model->projection = weights.linear("embeddings.project");
  if (weights.has("project.back.weight")) model->projection_back = weights.linear("project.back");
  if (spec.embedding_norm) model->embedding_norm = weights.norm("embeddings.norm");
  if (spec.final_norm) model->final_norm = weights.norm("final.norm");
  model->tied = !weights.has("vocabulary.weight");
  model->vocabulary = model->tied ? model->word : weights.get("vocabulary.weight");
  model->vocabulary_bias = weights.find("vocabulary.bias");
  if (weights.has("vocabulary.dense.weight")) {
    model->vocabulary_dense = weights.linear("vocabulary.dense");
    model->vocabulary_norm =
        norm_of(weights.get("vocabulary.norm.weight"), weights.get("vocabulary.norm.bias"), spec.norm_eps);
  }
  for (int64_t l = 0; l < spec.layers; ++l) model->layers.push_back(layer_of(weights, spec, l));
  return model;
}

std::vector<LayerNorms> Model::norms() const {
  std::vector<LayerNorms> all;
  for (const Layer& layer : layers) {
    const auto squares = [&](int site, int64_t over) {
      return layer.linear[site].weight().to(at::kFloat).square().sum(over);
    };
    const Tensor context = squares(kAttentionOutput, 0), out = squares(kOutput, 0);
    Tensor heads = by_head(context, layer.heads), neurons = squares(kIntermediate, 1) + out;
    if (spec.fused) {
      const Tensor rows = squares(kFused, 1), each = at::arange(layer.heads, rows.options().dtype(at::kLong));
      for (int part = 0; part < 3; ++part)
        heads = heads + by_head(rows.index_select(0, fused_rows(spec, part, each, layer.heads)), layer.heads);
    } else {
      for (const int site : {kQuery, kKey, kValue}) heads = heads + by_head(squares(site, 1), layer.heads);
    }
    if (spec.gated) neurons = neurons + squares(kGate, 1);
    const auto root = [](const Tensor& squared) { return squared.sqrt().cpu(); };
    all.push_back({root(context), root(out), root(heads), root(neurons)});
  }
  return all;
}

std::vector<LayerShift> Model::shifts(const std::vector<LayerCut>& plan,
                                      const std::vector<LayerMeans>& means) const {
  if (plan.size() != layers.size() || means.size() != layers.size())
    throw Error("BAD_PLAN", "the Plan has another number of layers than the model");
  std::vector<LayerShift> all;
  for (size_t l = 0; l < layers.size(); ++l) {
    const auto removed = [this](const Tensor& mean, const std::vector<int64_t>& kept, int64_t each) {
      Tensor rest = mean.clone();
      if (!kept.empty()) rest.view({-1, each}).index_fill_(0, at::tensor(kept, at::kLong), 0);
      return rest.to(device());
    };
    const auto shift = [&](int site, const Tensor& mean) {
      return at::mv(layers[l].linear[site].weight().to(at::kFloat), mean).cpu();
    };
    all.push_back(
        {shift(kAttentionOutput, removed(means[l].context, plan[l].heads, spec.group * spec.head_size)),
         shift(kOutput, removed(means[l].neurons, plan[l].neurons, 1))});
  }
  return all;
}

std::shared_ptr<const Model> Model::cut(const std::vector<LayerCut>& plan) const {
  if (plan.size() != layers.size())
    throw Error("BAD_PLAN", "the Plan has another number of layers than the model");
  auto small = std::make_shared<Model>(*this);
  small->refs.clear();
  const int64_t d = spec.head_size, each = spec.group * d;
  for (size_t l = 0; l < layers.size(); ++l) {
    Layer& layer = small->layers[l];
    const LayerCut& cut = plan[l];
    Tensor context, neurons;  // what stays; undefined where all stay
    const auto keep = [&](int site, const Tensor& rows) {
      layer.linear[site] = some_rows(layer.linear[site], rows, dtype);
    };
    if (static_cast<int64_t>(cut.heads.size()) < layer.heads) {
      const Tensor heads = at::tensor(cut.heads, at::kLong).to(device());
      context = values_of(heads, each);
      if (spec.fused) {
        std::vector<Tensor> parts;
        for (int part = 0; part < 3; ++part) parts.push_back(fused_rows(spec, part, heads, layer.heads));
        keep(kFused, spec.fused_by_head ? std::get<0>(at::cat(parts).sort()) : at::cat(parts));
      } else {
        keep(kQuery, context);
        for (const int site : {kKey, kValue}) keep(site, values_of(heads, d));
      }
      if (layer.slopes.defined()) layer.slopes = layer.slopes.index_select(0, values_of(heads, spec.group));
      layer.heads = heads.size(0);
    }
    if (static_cast<int64_t>(cut.neurons.size()) < layer.linear[kIntermediate].out()) {
      neurons = at::tensor(cut.neurons, at::kLong).to(device());
      keep(kIntermediate, neurons);
      if (spec.gated) keep(kGate, neurons);
    }
    const auto there = [this](const Tensor& t) { return t.defined() ? t.to(device()) : t; };
    const Tensor head_scale =
        cut.head_scale.defined() ? there(cut.head_scale.repeat_interleave(each)) : Tensor();
    Linear &after_heads = layer.linear[kAttentionOutput], &after_neurons = layer.linear[kOutput];
    after_heads = corrected(narrowed(after_heads, context, head_scale, dtype), cut.attention_correction,
                            cut.attention_shift, dtype);
    after_neurons = corrected(narrowed(after_neurons, neurons, there(cut.neuron_scale), dtype),
                              cut.output_correction, cut.output_shift, dtype);
  }
  return small;
}

}  // namespace lp
