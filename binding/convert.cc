#include "convert.h"

#include <cstring>

#include "base/error.h"

namespace lp::binding {
namespace {

int64_t integer(const Napi::Object& o, const char* key) { return o.Get(key).ToNumber().Int64Value(); }
double number(const Napi::Object& o, const char* key) { return o.Get(key).ToNumber().DoubleValue(); }
std::string text(const Napi::Object& o, const char* key) { return o.Get(key).ToString().Utf8Value(); }
bool flag(const Napi::Object& o, const char* key) { return o.Get(key).ToBoolean().Value(); }

template <class T>
std::vector<T> values(const Napi::Value& v) {
  const auto typed = v.As<Napi::TypedArrayOf<T>>();
  return {typed.Data(), typed.Data() + typed.ElementLength()};
}

template <class T>
std::vector<T> numbers(const Napi::Value& v) {
  const auto a = v.As<Napi::Array>();
  std::vector<T> out(a.Length());
  for (uint32_t i = 0; i < a.Length(); ++i) out[i] = static_cast<T>(a.Get(i).ToNumber().DoubleValue());
  return out;
}

/// fp32 [n], or undefined where there is none.
at::Tensor vector(const Napi::Value& v) {
  if (v.IsUndefined()) return {};
  auto a = v.As<Napi::Float32Array>();
  return at::from_blob(a.Data(), {static_cast<int64_t>(a.ElementLength())}, at::kFloat).clone();
}

Activation activation(const std::string& name) {
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_tanh") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  if (name == "silu") return Activation::silu;
  throw Error("UNSUPPORTED_MODEL", "unknown activation " + name);
}

HeadActivation head_activation(const std::string& name) {
  if (name == "tanh") return HeadActivation::tanh;
  return name == "gelu" ? HeadActivation::gelu : HeadActivation::relu;
}

Told told(const std::string& name) {
  if (name == "tags") return Told::tags;
  if (name == "spans") return Told::spans;
  return name == "tokens" ? Told::tokens : Told::labels;
}

}  // namespace

std::vector<int64_t> to_integers(const Napi::Value& v) { return numbers<int64_t>(v); }

Spec to_spec(const Napi::Object& o) {
  Spec s{};
  s.layers = integer(o, "layers");
  s.hidden = integer(o, "hidden");
  s.embedding = integer(o, "embedding");
  s.heads = integer(o, "heads");
  s.group = integer(o, "group");
  s.head_size = integer(o, "headSize");
  s.ffn = integer(o, "ffn");
  s.vocab = integer(o, "vocab");
  s.positions = integer(o, "positions");
  s.position_offset = integer(o, "positionOffset");
  s.type_vocab = integer(o, "typeVocab");
  s.pad_id = integer(o, "padId");
  s.pad_positions = flag(o, "padPositions");
  s.causal = flag(o, "causal");
  s.norm_first = flag(o, "normFirst");
  s.parallel = flag(o, "parallel");
  s.gated = flag(o, "gated");
  s.rms = text(o, "norm") == "rms";
  s.embedding_norm = flag(o, "embeddingNorm");
  s.final_norm = flag(o, "finalNorm");
  s.query_key_norm = flag(o, "queryKeyNorm");
  const std::string fused = text(o, "fused");
  s.fused = fused != "no";
  s.fused_by_head = fused == "by head";
  s.attention_scale = number(o, "attentionScale");
  const auto rotary = o.Get("rotary").As<Napi::Object>();
  s.rotary = {numbers<double>(rotary.Get("frequencies")), number(rotary, "factor"),
              flag(rotary, "interleaved")};
  s.slopes = numbers<float>(o.Get("slopes"));
  s.windows = to_integers(o.Get("windows"));
  s.norm_eps = number(o, "normEps");
  s.embedding_dropout = number(o, "embeddingDropout");
  s.hidden_dropout = number(o, "hiddenDropout");
  s.attention_output_dropout = number(o, "attentionOutputDropout");
  s.attention_dropout = number(o, "attentionDropout");
  s.activation = activation(text(o, "activation"));
  s.vocabulary_activation = activation(text(o, "vocabularyActivation"));
  return s;
}

std::vector<WeightRef> to_weights(const Napi::Array& a) {
  std::vector<WeightRef> out;
  for (uint32_t i = 0; i < a.Length(); ++i) {
    const auto o = a.Get(i).As<Napi::Object>();
    out.push_back({text(o, "site"), text(o, "dtype"), text(o, "file"), to_integers(o.Get("shape")),
                   integer(o, "offset"), integer(o, "bytes"), flag(o, "transposed")});
  }
  return out;
}

Correction to_correction(const Napi::Value& v) {
  if (!v.IsObject()) return {};
  const auto o = v.As<Napi::Object>();
  const int64_t rank = o.Get("rank").ToNumber().Int64Value();
  return {vector(o.Get("a")).view({rank, -1}), vector(o.Get("b")).view({-1, rank})};
}

std::vector<LayerCut> to_cuts(const Napi::Array& a) {
  std::vector<LayerCut> out;
  for (uint32_t i = 0; i < a.Length(); ++i) {
    const auto o = a.Get(i).As<Napi::Object>();
    out.push_back({to_integers(o.Get("heads")), to_integers(o.Get("neurons")), vector(o.Get("headScale")),
                   vector(o.Get("neuronScale")), vector(o.Get("attentionShift")),
                   vector(o.Get("outputShift")), to_correction(o.Get("attentionCorrection")),
                   to_correction(o.Get("outputCorrection"))});
  }
  return out;
}

std::vector<Tensor> to_vectors(const Napi::Array& a) {
  std::vector<Tensor> out;
  for (uint32_t i = 0; i < a.Length(); ++i) out.push_back(vector(a.Get(i)));
  return out;
}

std::vector<Batch> to_batches(const Napi::Array& a) {
  std::vector<Batch> out;
  for (uint32_t i = 0; i < a.Length(); ++i) out.push_back(to_batch(a.Get(i).As<Napi::Object>()));
  return out;
}

Tensor Parameter::*to_part(const Napi::Value& v) {
  const auto name = v.ToString().Utf8Value();
  if (name == "gradient") return &Parameter::grad;
  if (name == "moment1") return &Parameter::moment1;
  if (name == "moment2") return &Parameter::moment2;
  return &Parameter::value;
}

at::ScalarType to_dtype(const Napi::Value& v) {
  return v.ToString().Utf8Value() == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

SessionConfig to_session_config(const Napi::Object& o) {
  SessionConfig c;
  const auto modules = o.Get("modules").As<Napi::Array>();
  for (uint32_t i = 0; i < modules.Length(); ++i) {
    const auto m = modules.Get(i).As<Napi::Object>();
    c.network.modules.push_back({text(m, "name"), integer(m, "layer"), integer(m, "rank"),
                                 site_of(text(m, "site")), number(m, "scale"), number(m, "dropout"),
                                 m.Has("rate") ? number(m, "rate") : 1});
  }
  c.network.full = flag(o, "full");
  c.network.told = told(text(o, "told"));
  const auto head = o.Get("head").As<Napi::Object>();
  c.network.head = {integer(head, "outputs"), flag(head, "dense"),
                    flag(head, "bias"),       flag(head, "dropoutFirst"),
                    flag(head, "frozen"),     head_activation(text(head, "activation")),
                    number(head, "dropout")};
  c.regression = flag(o, "regression");
  c.network.masks = flag(o, "masks");
  c.network.ratios = flag(o, "ratios");
  c.network.head_mask_rate = number(o, "headMaskRate");
  c.network.neuron_mask_rate = number(o, "neuronMaskRate");
  c.network.prefix_cache = integer(o, "prefixCacheBytes");
  c.network.prefix_folder = text(o, "prefixCacheFolder");
  c.network.seed = static_cast<uint64_t>(integer(o, "seed"));
  c.optimizer.beta2 = number(o, "adamBeta2");
  c.optimizer.weight_decay = number(o, "weightDecay");
  c.optimizer.max_grad_norm = number(o, "maxGradNorm");
  c.optimizer_steps = integer(o, "optimizerSteps");
  c.distillation = {number(o, "distill"), number(o, "distillTemperature"), number(o, "distillStates")};
  c.choices = integer(o, "choices");
  c.smaller_batches = flag(o, "smallerBatches");
  c.graphs = flag(o, "graphs");
  c.l1_heads = number(o, "l1Heads");
  c.l1_neurons = number(o, "l1Neurons");
  return c;
}

Batch to_batch(const Napi::Object& o) {
  const auto optional = [&](const char* key) {
    return o.Get(key).IsUndefined() ? std::vector<float>{} : values<float>(o.Get(key));
  };
  const auto integers = [&](const char* key) {
    return o.Get(key).IsUndefined() ? std::vector<int32_t>{} : values<int32_t>(o.Get(key));
  };
  return {values<int32_t>(o.Get("ids")),
          values<int32_t>(o.Get("typeIds")),
          values<int32_t>(o.Get("cuSeqlens")),
          values<float>(o.Get("labels")),
          integers("tokenLabels"),
          integers("spans"),
          flag(o, "causal"),
          optional("teacherLogits"),
          optional("teacherStates")};
}

Napi::Value from_floats(Napi::Env env, const Tensor& t) {
  const Tensor f = t.to(at::kFloat).contiguous();
  auto out = Napi::Float32Array::New(env, f.numel());
  std::memcpy(out.Data(), f.const_data_ptr(), f.numel() * sizeof(float));
  return out;
}

Napi::Value from_list(Napi::Env env, const std::vector<Tensor>& tensors) {
  auto a = Napi::Array::New(env, tensors.size());
  for (uint32_t i = 0; i < tensors.size(); ++i) a.Set(i, from_floats(env, tensors[i]));
  return a;
}

Napi::Value from_metrics(Napi::Env env, const Metrics& m) {
  auto o = Napi::Object::New(env);
  o.Set("steps", static_cast<double>(m.steps));
  o.Set("recorded", static_cast<double>(m.recorded));
  o.Set("loss", m.loss);
  o.Set("tokens", static_cast<double>(m.tokens));
  o.Set("gradNorm", m.grad_norm);
  o.Set("activationBytes", static_cast<double>(m.activation_bytes));
  o.Set("halvings", static_cast<double>(m.halvings));
  o.Set("notFinite", static_cast<double>(m.not_finite));
  return o;
}

Napi::Value from_scores(Napi::Env env, const Scores& s) {
  auto o = Napi::Object::New(env), measures = Napi::Object::New(env);
  for (const auto& [name, tensors] : s.measures) measures.Set(name, from_list(env, tensors));
  o.Set("steps", static_cast<double>(s.steps));
  o.Set("heads", from_list(env, s.heads));
  o.Set("neurons", from_list(env, s.neurons));
  o.Set("measures", measures);
  return o;
}

Napi::Value from_reconstruction(Napi::Env env, const std::vector<LayerReconstruction>& layers) {
  const auto half = [env](const Tensor& shift, const Correction& correction) {
    auto o = Napi::Object::New(env);
    if (shift.defined()) o.Set("shift", from_floats(env, shift));
    if (!correction.a.defined()) return o;
    auto product = Napi::Object::New(env);
    product.Set("rank", static_cast<double>(correction.a.size(0)));
    product.Set("a", from_floats(env, correction.a));
    product.Set("b", from_floats(env, correction.b));
    o.Set("correction", product);
    return o;
  };
  auto list = Napi::Array::New(env, layers.size());
  for (uint32_t l = 0; l < layers.size(); ++l) {
    auto o = Napi::Object::New(env);
    o.Set("attention", half(layers[l].attention_shift, layers[l].attention));
    o.Set("output", half(layers[l].output_shift, layers[l].output));
    list.Set(l, o);
  }
  return list;
}

}  // namespace lp::binding
