#include "train/backbone.h"

#include "base/error.h"
#include "base/team.h"

namespace lp {

Backbone::Backbone(const Model& model, bool vocabulary, Parameters& parameters)
    : parameters_(parameters), model_(std::make_shared<Model>(model)) {
  Model& m = *model_;
  add("embeddings.word", m.word);
  add("embeddings.position", m.position);
  add("embeddings.type", m.type);
  add("embeddings.norm", m.embedding_norm);
  add("embeddings.project", m.projection);
  for (size_t l = 0; l < m.layers.size(); ++l) {
    const std::string at = "layers." + std::to_string(l) + ".";
    Layer& layer = m.layers[l];
    for (int site = 0; site < kSites; ++site) add(at + site_name(site), layer.linear[site]);
    add(at + "attention.norm", layer.attention_norm);
    if (layer.shared_norm)
      places_[&layer.output_norm] = places_.at(&layer.attention_norm);
    else
      add(at + "output.norm", layer.output_norm);
    add(at + "query.norm", layer.query_norm);
    add(at + "key.norm", layer.key_norm);
  }
  add("final.norm", m.final_norm);
  add("project.back", m.projection_back);
  if (!vocabulary) return;
  add("vocabulary.dense", m.vocabulary_dense);
  add("vocabulary.norm", m.vocabulary_norm);
  if (!m.tied) add("vocabulary.weight", m.vocabulary);
  add("vocabulary.bias", m.vocabulary_bias);
}

void Backbone::declare(Part part, std::vector<int64_t> weight, std::vector<int64_t> bias) {
  const bool named = part.table != nullptr;
  // As transformers' Trainer has it, biases and norms do not decay.
  const bool decays = part.linear || (named && weight.size() > 1);
  part.weight = parameters_.add(part.site + (named ? "" : ".weight"), std::move(weight), 1, decays);
  part.biased = !bias.empty();
  if (part.biased) part.bias = parameters_.add(part.site + ".bias", std::move(bias), 1, false);
  parts_.push_back(std::move(part));
}

void Backbone::add(const std::string& site, Linear& linear) {
  if (linear.in() + linear.out() == 0) return;
  places_[&linear] = parts_.size();
  Part part{site};
  part.linear = &linear;
  declare(std::move(part), {linear.out(), linear.in()},
          linear.biased() ? std::vector<int64_t>{linear.out()} : std::vector<int64_t>{});
}

void Backbone::add(const std::string& site, NormWeights& norm) {
  if (!norm.gamma.defined()) return;
  places_[&norm] = parts_.size();
  Part part{site};
  part.norm = &norm;
  declare(std::move(part), norm.gamma.sizes().vec(),
          norm.beta.defined() ? norm.beta.sizes().vec() : std::vector<int64_t>{});
}

void Backbone::add(const std::string& site, Tensor& table) {
  if (!table.defined()) return;
  places_[&table] = parts_.size();
  Part part{site};
  part.table = &table;
  declare(std::move(part), table.sizes().vec(), {});
}

void Backbone::begin() {
  const auto files = map_weights(model_->refs);
  const auto fill = [&](size_t parameter, const Tensor& has) {
    Parameter& p = parameters_[parameter];
    const auto found = files.find(p.name);
    // What a Plan has cut is in no file.
    p.value.copy_(found != files.end() && found->second.sizes() == has.sizes() ? found->second : has);
  };
  for (const Part& part : parts_) {
    if (part.table) fill(part.weight, *part.table);
    if (part.linear) fill(part.weight, part.linear->weight());
    if (part.norm) fill(part.weight, part.norm->gamma);
    if (part.biased) fill(part.bias, part.linear ? part.linear->bias() : part.norm->beta);
  }
  follow();
}

void Backbone::follow() {
  for (const Part& part : parts_) {
    const Tensor weight = parameters_[part.weight].value,
                 bias = part.biased ? parameters_[part.bias].value : Tensor();
    if (part.linear) *part.linear = Linear(weight, bias, model_->dtype);
    if (part.norm) *part.norm = norm_of(weight, bias, part.norm->eps);
    if (part.table) *part.table = weight;
  }
  for (Layer& layer : model_->layers)
    if (layer.shared_norm) layer.output_norm = layer.attention_norm;
  if (model_->tied) model_->vocabulary = model_->word;
}

const Backbone::Part& Backbone::part_of(const void* thing) const {
  const auto found = places_.find(thing);
  require(found != places_.end(), "a gradient is of a part of the model");
  return parts_[found->second];
}

void Backbone::weight(const Part& part, const Tensor& x, const Tensor& dy) {
  Tensor grad = parameters_[part.weight].grad;
  if (x.scalar_type() == at::kFloat)
    grad.addmm_(dy.t(), x);
  else
    grad.add_(at::mm(dy.t(), x));
}

void Backbone::table(const Tensor& table, const Tensor& x, const Tensor& dy) {
  weight(part_of(&table), x, dy);
}

void Backbone::linear(const Linear& linear, const Tensor& x, const Tensor& dy) {
  const Part& part = part_of(&linear);
  weight(part, x, dy);
  if (part.biased) parameters_[part.bias].grad.add_(dy.sum(0, false, at::kFloat));
}

void Backbone::norm(const NormWeights& norm, const Tensor& dy, const NormSaved& saved) {
  const Part& part = part_of(&norm);
  norm_gradient(dy, norm, saved, parameters_[part.weight].grad,
                part.biased ? parameters_[part.bias].grad : Tensor());
}

void Backbone::rows(const Tensor& table, const Tensor& rows, const Tensor& d) {
  const Tensor values = d.to(at::kFloat).contiguous();
  const int64_t width = values.size(1), count = values.size(0);
  Tensor into = parameters_[part_of(&table).weight].grad;
  if (!values.is_cpu()) {
    into.index_add_(0, rows, values);
    return;
  }
  const int64_t* row = rows.const_data_ptr<int64_t>();
  const float* from = values.const_data_ptr<float>();
  float* grad = into.mutable_data_ptr<float>();
  // Columns are shared out: a row may come more than once.
  parallel(width, 64, [&](int64_t begin, int64_t end) {
    for (int64_t t = 0; t < count; ++t)
      for (int64_t c = begin; c < end; ++c) grad[row[t] * width + c] += from[t * width + c];
  });
}

void Backbone::bias(const Tensor& thing, const Tensor& d) {
  parameters_[part_of(&thing).weight].grad.add_(d);
}

}  // namespace lp
