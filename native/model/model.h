#pragma once
// A frozen encoder: its Spec, its weights (mapped from the checkpoint where the dtype allows), and what a
// Plan left of each layer.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ops/linear.h"

namespace lp {

enum class HeadActivation : int { tanh, gelu, relu };

struct Spec {
  int64_t layers, hidden, embedding, heads, head_size, ffn, vocab, positions, position_offset, type_vocab,
      pad_id;
  bool pad_positions;  // a pad token within a text has the pad's position and is not counted
  double norm_eps, hidden_dropout, attention_output_dropout, attention_dropout, head_dropout;
  Activation activation;
  HeadActivation head_activation;
  bool head_dropout_first;
};

/// One tensor of a safetensors file.
struct WeightRef {
  std::string site, dtype, file;
  std::vector<int64_t> shape;
  int64_t offset = 0, bytes = 0;
};

/// The places of a layer where a PEFT module can sit, in the order of the forward pass.
enum Site : int { kQuery, kKey, kValue, kAttentionOutput, kIntermediate, kOutput, kSites };
Site site_of(const std::string& name);  // throws BAD_OPTION
const char* site_name(int site);

struct Layer {
  FrozenLinear linear[kSites];
  NormWeights attention_norm, output_norm;
  int64_t heads = 0;
};

/// What a Plan keeps of one layer, and what becomes of it; undefined tensors change nothing.
struct LayerCut {
  std::vector<int64_t> heads, neurons;
  Tensor head_scale, neuron_scale;       // fp32, of those kept, folded into the weights that read them
  Tensor attention_shift, output_shift;  // fp32 [h], added to the biases that follow
};

/// Euclidean norms of a layer's weights, fp32.
struct LayerNorms {
  Tensor context, neuron_out;  // of the columns of attention output [H * size] and of FFN output [F]
  Tensor heads, neurons;       // of all weights of a head [H] and of a neuron [F]
};

/// Means of what a layer's attention output [H * size] and FFN output [F] read, fp32.
struct LayerMeans {
  Tensor context, neurons;
};

/// What biases gain where the mean of what was cut is put in its place, fp32 [h].
struct LayerShift {
  Tensor attention, output;
};

struct Model {
  Spec spec;
  at::ScalarType dtype;
  Tensor word, position, type;  // embedding tables in the checkpoint's dtype; there may be none of types
  NormWeights embedding_norm;
  FrozenLinear projection;  // of embeddings of another width than the layers'
  std::vector<Layer> layers;

  /// Every site must be in `weights`, of the shapes that the Spec implies (lib/checkpoint has checked both).
  static std::shared_ptr<const Model> load(const Spec& spec, const std::vector<WeightRef>& weights,
                                           at::ScalarType dtype);
  /// The smaller model that keeps the given heads and neurons of each layer; embeddings are shared.
  std::shared_ptr<const Model> cut(const std::vector<LayerCut>& plan) const;

  std::vector<LayerNorms> norms() const;
  /// The mean output of the heads and neurons that a cut does not keep, which FLAP (An et al. 2024) adds to
  /// the biases that follow.
  std::vector<LayerShift> shifts(const std::vector<LayerCut>& plan,
                                 const std::vector<LayerMeans>& means) const;
};

/// The tensors of `weights` by site, memory-mapped (one mapping for each file).
std::map<std::string, Tensor> map_weights(const std::vector<WeightRef>& weights);

}  // namespace lp
