#pragma once
// A transformer: its Spec, its weights (mapped from the checkpoint where the dtype allows), and what a
// Plan left of each layer.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ops/linear.h"

namespace lp {

/// Rotary positions: of each head the first 2 * frequencies values are turned.
struct Rotary {
  std::vector<double> frequencies;  // radians a position; empty: there are none
  double factor = 1;                // of cosines and sines (YaRN's temperature)
  bool interleaved = false;
};

/// What lib/checkpoint/spec.ts says; `heads` are those with keys and values of their own.
struct Spec {
  int64_t layers, hidden, embedding, heads, group, head_size, ffn, vocab, positions, position_offset,
      type_vocab, pad_id;
  bool pad_positions;  // a pad token within a text has the pad's position and is not counted
  bool causal, norm_first, parallel, gated, rms, embedding_norm, final_norm, query_key_norm, fused,
      fused_by_head;
  double norm_eps, attention_scale;
  double embedding_dropout, hidden_dropout, attention_output_dropout, attention_dropout;
  Activation activation, vocabulary_activation;
  Rotary rotary;
  std::vector<float> slopes;     // [heads * group], ALiBi's, or empty
  std::vector<int64_t> windows;  // [layers], 0: all keys; or empty
};

/// One tensor of a checkpoint's file.
struct WeightRef {
  std::string site, dtype, file;
  std::vector<int64_t> shape;
  int64_t offset = 0, bytes = 0;
  bool transposed = false;  // the file has [in, out]
};

/// The places of a layer where a PEFT module can sit. A layer has kFused or the three that it stands for;
/// kGate only where FFNs are gated.
enum Site : int { kQuery, kKey, kValue, kAttentionOutput, kIntermediate, kOutput, kGate, kFused, kSites };
/// When a site comes in the forward pass of its layer.
enum Stage : int { kAttends, kAttended, kWidens, kNarrows, kNever };
Stage stage_of(int site);
Site site_of(const std::string& name);  // throws BAD_OPTION
const char* site_name(int site);

struct Layer {
  Linear linear[kSites];
  /// After each half and its residual or, with norm_first, before it.
  NormWeights attention_norm, output_norm;
  bool shared_norm = false;          // both are one
  NormWeights query_norm, key_norm;  // of each head, where the Spec has them
  int64_t heads = 0, window = 0;
  Tensor slopes;  // fp32 [heads * group] or undefined
};

/// b a, which is added to a weight [h, in]: fp32 [r, in] and [h, r], or undefined.
struct Correction {
  Tensor a, b;
};

/// What a Plan keeps of one layer, and what becomes of it; undefined tensors change nothing.
struct LayerCut {
  std::vector<int64_t> heads, neurons;
  Tensor head_scale, neuron_scale;       // fp32, of those kept, folded into the weights that read them
  Tensor attention_shift, output_shift;  // fp32 [h], added to the biases that follow
  Correction attention_correction, output_correction;  // of the weights that read what is kept, once scaled
};

/// Euclidean norms of a layer's weights, fp32.
struct LayerNorms {
  Tensor context, neuron_out;  // of the columns of attention output [H * group * size] and of FFN output [F]
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
  Tensor word, position, type;  // embedding tables in the checkpoint's dtype; only words always have one
  NormWeights embedding_norm, final_norm;
  Linear projection, projection_back;  // of embeddings of another width than the layers', and to it
  Tensor vocabulary, vocabulary_bias;  // of a token's logits [vocab, embedding], [vocab]
  bool tied = false;                   // `vocabulary` is `word`
  // What comes before it where masked tokens are told, or nothing.
  Linear vocabulary_dense;  // [embedding, h]
  NormWeights vocabulary_norm;
  std::vector<Layer> layers;
  std::vector<WeightRef> refs;  // where the files have it all

  at::Device device() const { return word.device(); }
  /// Of what the head reads.
  int64_t state_width() const { return projection_back.out() > 0 ? projection_back.out() : spec.hidden; }

  /// Every site must be in `weights`, of the shapes that the Spec implies (lib/checkpoint has checked both).
  static std::shared_ptr<const Model> load(const Spec& spec, const std::vector<WeightRef>& weights,
                                           at::ScalarType dtype, const at::Device& device);
  /// The smaller model that keeps the given heads and neurons of each layer; embeddings are shared.
  std::shared_ptr<const Model> cut(const std::vector<LayerCut>& plan) const;

  std::vector<LayerNorms> norms() const;
  /// The mean output of the heads and neurons that a cut does not keep, which FLAP (An et al. 2024) adds to
  /// the biases that follow.
  std::vector<LayerShift> shifts(const std::vector<LayerCut>& plan,
                                 const std::vector<LayerMeans>& means) const;
};

/// The linear with a correction of its weight and a shift of its bias, fp32 [out]; undefined tensors change
/// nothing. Throws BAD_ADAPTER where they do not fit.
Linear corrected(const Linear& linear, const Correction& correction, const Tensor& shift,
                 at::ScalarType dtype);

/// gamma and beta (or undefined) of any floating type.
NormWeights norm_of(const Tensor& gamma, const Tensor& beta, double eps);

/// The rows of query, key and value (0, 1, 2) of some heads in a fused weight of so many.
Tensor fused_rows(const Spec& spec, int part, const Tensor& heads, int64_t all_heads);

/// The tensors of `weights` by site, memory-mapped (one mapping for each file).
std::map<std::string, Tensor> map_weights(const std::vector<WeightRef>& weights);

}  // namespace lp
