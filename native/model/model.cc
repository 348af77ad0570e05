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

/// Columns of a weight times a scale each, rounded once.
void fold(Linear& reader, const Tensor& scale) {
  reader.weight = (reader.weight.to(at::kFloat) * scale).to(reader.weight.scalar_type());
}

void shift(Linear& linear, const Tensor& by) {
  linear.bias = (linear.bias.to(at::kFloat) + by).to(linear.bias.scalar_type());
}

Tensor keep(const Tensor& t, int64_t dim, const Tensor& index) {
  return t.index_select(dim, index).contiguous();
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
  model->type = get("embeddings.type");
  model->embedding_norm = norm("embeddings.norm");
  for (int64_t l = 0; l < spec.layers; ++l) {
    const std::string at = "layers." + std::to_string(l) + ".";
    Layer layer;
    layer.heads = spec.heads;
    for (int s = 0; s < kSites; ++s)
      layer.linear[s] = {get(at + kSiteNames[s] + ".weight").to(dtype),
                         get(at + kSiteNames[s] + ".bias").to(dtype)};
    layer.attention_norm = norm(at + "attention.norm");
    layer.output_norm = norm(at + "output.norm");
    model->layers.push_back(std::move(layer));
  }
  return model;
}

std::shared_ptr<const Model> Model::cut(const std::vector<LayerCut>& plan) const {
  if (plan.size() != layers.size())
    throw Error("BAD_PLAN", "the Plan has another number of layers than the model");
  auto small = std::make_shared<Model>(*this);
  for (size_t l = 0; l < layers.size(); ++l) {
    Layer& layer = small->layers[l];
    const int64_t d = spec.head_size;
    if (static_cast<int64_t>(plan[l].heads.size()) < layer.heads) {
      const Tensor heads = at::tensor(plan[l].heads, at::kLong);
      const Tensor rows = (heads.unsqueeze(1) * d + at::arange(d, at::kLong)).flatten();
      for (int s : {kQuery, kKey, kValue})
        layer.linear[s] = {keep(layer.linear[s].weight, 0, rows), keep(layer.linear[s].bias, 0, rows)};
      layer.linear[kAttentionOutput].weight = keep(layer.linear[kAttentionOutput].weight, 1, rows);
      layer.heads = heads.size(0);
    }
    if (static_cast<int64_t>(plan[l].neurons.size()) < layer.linear[kIntermediate].weight.size(0)) {
      const Tensor rows = at::tensor(plan[l].neurons, at::kLong);
      Linear& up = layer.linear[kIntermediate];
      up = {keep(up.weight, 0, rows), keep(up.bias, 0, rows)};
      layer.linear[kOutput].weight = keep(layer.linear[kOutput].weight, 1, rows);
    }
    Linear &after_heads = layer.linear[kAttentionOutput], &after_neurons = layer.linear[kOutput];
    if (plan[l].head_scale.defined()) fold(after_heads, plan[l].head_scale.repeat_interleave(d));
    if (plan[l].neuron_scale.defined()) fold(after_neurons, plan[l].neuron_scale);
    if (plan[l].attention_shift.defined()) shift(after_heads, plan[l].attention_shift);
    if (plan[l].output_shift.defined()) shift(after_neurons, plan[l].output_shift);
  }
  return small;
}

}  // namespace lp
