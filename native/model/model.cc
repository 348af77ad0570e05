#include "model/model.h"

#include "base/error.h"

namespace lp {
namespace {

const char* const kSiteNames[kSites] = {"query",        "key",   "value", "attention.output",
                                        "intermediate", "output"};

at::ScalarType dtype_of(const std::string& name) {
  if (name == "F32") return at::kFloat;
  if (name == "F16") return at::kHalf;
  if (name == "BF16") return at::kBFloat16;
  if (name == "F64") return at::kDouble;
  throw Error("BAD_CHECKPOINT", "weights of dtype " + name + " are not supported (F32, F16, BF16, F64 are)");
}

/// The output of LayerNorm gives its normalized values back only where beta does not drown gamma: past a
/// factor of 16 the rounding of y would show in the gradient.
NormWeights norm_of(Tensor gamma, Tensor beta, double eps) {
  NormWeights w{gamma.to(at::kFloat).contiguous(), beta.to(at::kFloat).contiguous(), eps, false};
  const auto ratio = w.beta.abs() / w.gamma.abs();
  w.keep_normalized = !(ratio < 16.0).all().item<bool>();
  return w;
}

Tensor rows_of(const Tensor& t, const Tensor& index) { return t.index_select(0, index); }

/// The layer's linear with other inputs: those kept, each times its scale, and a shift of the bias. Undefined
/// tensors change nothing.
FrozenLinear narrowed(const FrozenLinear& l, const Tensor& kept, const Tensor& scale, const Tensor& shift,
                      at::ScalarType dtype) {
  if (!kept.defined() && !scale.defined() && !shift.defined()) return l;
  Tensor weight = l.weight();
  if (kept.defined()) weight = weight.index_select(1, kept);
  if (scale.defined()) weight = weight.to(at::kFloat) * scale;
  return {weight, shift.defined() ? l.bias() + shift : l.bias(), dtype};
}

}  // namespace

Site site_of(const std::string& name) {
  for (int i = 0; i < kSites; ++i)
    if (name == kSiteNames[i]) return static_cast<Site>(i);
  throw Error("BAD_OPTION", "no such module site: " + name);
}

const char* site_name(int site) { return kSiteNames[site]; }

std::map<std::string, Tensor> map_weights(const std::vector<WeightRef>& weights) {
  std::map<std::string, int64_t> ends;
  for (const auto& w : weights) ends[w.file] = std::max(ends[w.file], w.offset + w.bytes);
  std::map<std::string, Tensor> files, tensors;
  for (const auto& [file, end] : ends) files[file] = at::from_file(file, /*shared=*/false, end, at::kByte);
  for (const auto& w : weights) {
    Tensor bytes = files[w.file].narrow(0, w.offset, w.bytes);
    const auto dtype = dtype_of(w.dtype);
    if (w.offset % static_cast<int64_t>(at::elementSize(dtype)) != 0) bytes = bytes.clone();
    tensors[w.site] = bytes.view(dtype).view(w.shape);
  }
  return tensors;
}

std::shared_ptr<const Model> Model::load(const Spec& spec, const std::vector<WeightRef>& weights,
                                         at::ScalarType dtype) {
  const auto tensors = map_weights(weights);
  const auto get = [&](const std::string& site) -> const Tensor& {
    const auto found = tensors.find(site);
    if (found == tensors.end()) throw Error("BAD_CHECKPOINT", "the checkpoint lacks " + site);
    return found->second;
  };
  if (spec.hidden > kMaxNormWidth)
    throw Error("UNSUPPORTED_MODEL",
                "a hidden size above " + std::to_string(kMaxNormWidth) + " is not supported");
  const auto norm = [&](const std::string& at) {
    return norm_of(get(at + ".weight"), get(at + ".bias"), spec.norm_eps);
  };
  auto model = std::make_shared<Model>();
  model->spec = spec;
  model->dtype = dtype;
  model->word = get("embeddings.word");
  model->position = get("embeddings.position");
  if (spec.type_vocab > 0) model->type = get("embeddings.type");
  if (spec.embedding != spec.hidden)
    model->projection = {get("embeddings.project.weight"), get("embeddings.project.bias"), dtype};
  model->embedding_norm = norm("embeddings.norm");
  for (int64_t l = 0; l < spec.layers; ++l) {
    const std::string at = "layers." + std::to_string(l) + ".";
    Layer layer;
    layer.heads = spec.heads;
    for (int s = 0; s < kSites; ++s)
      layer.linear[s] = {get(at + kSiteNames[s] + ".weight"), get(at + kSiteNames[s] + ".bias"), dtype};
    layer.attention_norm = norm(at + "attention.norm");
    layer.output_norm = norm(at + "output.norm");
    model->layers.push_back(std::move(layer));
  }
  return model;
}

std::vector<LayerNorms> Model::norms() const {
  std::vector<LayerNorms> all;
  for (const Layer& layer : layers) {
    const auto squares = [&](int site, int64_t over) {
      return layer.linear[site].weight().to(at::kFloat).square().sum(over);
    };
    const Tensor context = squares(kAttentionOutput, 0), out = squares(kOutput, 0);
    const Tensor rows = squares(kQuery, 1) + squares(kKey, 1) + squares(kValue, 1) + context;
    all.push_back({context.sqrt(), out.sqrt(), rows.view({layer.heads, -1}).sum(1).sqrt(),
                   (squares(kIntermediate, 1) + out).sqrt()});
  }
  return all;
}

std::vector<LayerShift> Model::shifts(const std::vector<LayerCut>& plan,
                                      const std::vector<LayerMeans>& means) const {
  if (plan.size() != layers.size() || means.size() != layers.size())
    throw Error("BAD_PLAN", "the Plan has another number of layers than the model");
  std::vector<LayerShift> all;
  for (size_t l = 0; l < layers.size(); ++l) {
    const int64_t d = spec.head_size;
    const auto removed = [](const Tensor& mean, const std::vector<int64_t>& kept, int64_t each) {
      Tensor rest = mean.clone();
      if (!kept.empty()) rest.view({-1, each}).index_fill_(0, at::tensor(kept, at::kLong), 0);
      return rest;
    };
    const auto shift = [&](int site, const Tensor& mean) {
      return at::mv(layers[l].linear[site].weight().to(at::kFloat), mean);
    };
    all.push_back({shift(kAttentionOutput, removed(means[l].context, plan[l].heads, d)),
                   shift(kOutput, removed(means[l].neurons, plan[l].neurons, 1))});
  }
  return all;
}

std::shared_ptr<const Model> Model::cut(const std::vector<LayerCut>& plan) const {
  if (plan.size() != layers.size())
    throw Error("BAD_PLAN", "the Plan has another number of layers than the model");
  auto small = std::make_shared<Model>(*this);
  for (size_t l = 0; l < layers.size(); ++l) {
    Layer& layer = small->layers[l];
    const LayerCut& cut = plan[l];
    const int64_t d = spec.head_size;
    Tensor rows, neurons;  // undefined where all stay
    if (static_cast<int64_t>(cut.heads.size()) < layer.heads) {
      const Tensor heads = at::tensor(cut.heads, at::kLong);
      rows = (heads.unsqueeze(1) * d + at::arange(d, at::kLong)).flatten();
      for (int s : {kQuery, kKey, kValue})
        layer.linear[s] = {rows_of(layer.linear[s].weight(), rows), rows_of(layer.linear[s].bias(), rows),
                           dtype};
      layer.heads = heads.size(0);
    }
    if (static_cast<int64_t>(cut.neurons.size()) < layer.linear[kIntermediate].out()) {
      neurons = at::tensor(cut.neurons, at::kLong);
      FrozenLinear& up = layer.linear[kIntermediate];
      up = {rows_of(up.weight(), neurons), rows_of(up.bias(), neurons), dtype};
    }
    const Tensor head_scale = cut.head_scale.defined() ? cut.head_scale.repeat_interleave(d) : Tensor();
    FrozenLinear &after_heads = layer.linear[kAttentionOutput], &after_neurons = layer.linear[kOutput];
    after_heads = narrowed(after_heads, rows, head_scale, cut.attention_shift, dtype);
    after_neurons = narrowed(after_neurons, neurons, cut.neuron_scale, cut.output_shift, dtype);
  }
  return small;
}

}  // namespace lp
