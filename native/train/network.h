#pragma once
// A frozen model with what is trained on it: PEFT modules, masks and a task head; one forward and one
// backward pass over a packed batch, written out by hand.
#include <memory>
#include <optional>

#include "model/model.h"
#include "peft/lora.h"
#include "train/batch.h"
#include "train/importance.h"
#include "train/prefix_cache.h"

namespace lp {

struct ModuleConfig {
  std::string name;  // as Python peft names it, without the prefix and ".lora_A.weight"
  int64_t layer = 0, rank = 0;
  Site site = kQuery;
  double scale = 1, dropout = 0;
};

struct NetworkConfig {
  std::vector<ModuleConfig> modules;
  int64_t labels = 2;
  bool regression = false;
  bool masks = false;
  bool frozen_dense = false;  // the head's dense is a part of the base, whose values it is given
  bool ratios = false;        // scored steps measure modules by |branch| / |base|, over all tokens
  double head_mask_rate = 1, neuron_mask_rate = 1;  // multipliers of the learning rate
  // Bytes of memory for the outputs of the layers below the lowest trained one; 0: they are computed every
  // time, with dropout. Past them the folder is used, where there is one.
  int64_t prefix_cache = 0;
  std::string prefix_folder;
  uint64_t seed = 0;
};

// Places in a layer that draw dropout: the module sites, then these.
enum Place : int { kProbabilities = kSites, kAfterAttention, kAfterOutput, kEmbeddings, kHead0, kHead1 };

/// How one forward pass runs. Dropout streams are keyed by (seed, step, micro, site).
struct Pass {
  bool train = false;  // dropout is on
  bool saves = false;  // a backward pass follows
  // What is measured, if anything is: modules, and what attention output and FFN output read.
  RunningSum* ratios = nullptr;
  Importance* moments = nullptr;
  uint64_t step = 0, micro = 0;
};

/// The tokens that the head reads, one of each sequence.
struct Rows {
  Tensor first;  // int64 [B]
  Sequences queries;
};

struct LayerSaved {
  Tensor x, queried;          // inputs of key and value, and of query
  Tensor context, z, middle;  // inputs of attention output; of the activation; of the FFN
  AttentionSaved attention;
  NormSaved attention_norm, output_norm;
  LoraSaved lora[kSites];
};

struct Saved {
  Sequences sequences;
  std::vector<LayerSaved> layers;
  Rows rows;
  Tensor pooled, before, dense, dropped;  // the head's: of dense, before and after its activation
  Dropout head_dropout0, head_dropout1;

  /// Of all tensors in it, each memory once.
  int64_t bytes() const;
};

class Network {
 public:
  Network(std::shared_ptr<const Model> model, const NetworkConfig& config);

  /// What the head reads, [B, h] in fp32. Adds to `scored` what the forward pass tells.
  Tensor encode(const Batch& batch, const Pass& pass, Saved* saved, Importance* scored);
  /// Logits [B, labels] in fp32.
  Tensor classify(const Tensor& states, const Pass& pass, Saved* saved);
  /// Adds the gradients for d_logits [B, labels] and, where it is defined, d_states [B, h], and to `scored`
  /// what masks tell beside theirs.
  void backward(const Tensor& d_logits, const Tensor& d_states, const Saved& saved, Importance* scored);

  Parameters& parameters() { return parameters_; }
  const Model& model() const { return *model_; }
  const NetworkConfig& config() const { return config_; }
  Tensor head_mask(size_t layer) { return config_.masks ? parameters_[head_masks_[layer]].value : Tensor(); }
  Tensor neuron_mask(size_t layer) {
    return config_.masks ? parameters_[neuron_masks_[layer]].value : Tensor();
  }
  Parameter& head_mask_parameter(size_t layer) { return parameters_[head_masks_[layer]]; }
  Parameter& neuron_mask_parameter(size_t layer) { return parameters_[neuron_masks_[layer]]; }
  /// Adds lambda * sign(mask) to the masks' gradients, the gradient of lambda * |mask|_1. Those of masks that
  /// are not trained have served the scores alone and are cleared: they are no part of the gradient's norm.
  void penalize(double heads, double neurons);
  LoraModule* module(size_t layer, int site) {
    return modules_[layer * kSites + site] ? &*modules_[layer * kSites + site] : nullptr;
  }

 private:
  Tensor embed(const Batch& batch, const Pass& pass);
  /// What the layers below the lowest trained one make of a training batch, without dropout; kept by text.
  Tensor prefix(const Batch& batch);
  Tensor site_forward(size_t layer, int site, const Tensor& x, const Pass& pass, LayerSaved* saved);
  /// Adds the gradient of B of a site's module; its part of the gradient of x.
  LinearGradient site_backward(size_t layer, int site, const Tensor& dy, const LayerSaved& saved);
  /// Adds the gradient of A, for the input x that the site has seen.
  void input_seen(size_t layer, int site, const Tensor& x, const LinearGradient& part);
  /// What a half of a layer gives of [T, h] or, of attention, of `queried` alone; where nothing is left of
  /// it, the bias of its output.
  Tensor attention_half(size_t layer, const Tensor& x, const Tensor& queried, const Sequences& s,
                        const Pass& pass, LayerSaved* saved);
  Tensor ffn_half(size_t layer, const Tensor& middle, const Pass& pass, LayerSaved* saved);
  Tensor layer_forward(size_t layer, const Tensor& x, const Sequences& s, const Rows* rows, const Pass& pass,
                       LayerSaved* saved);
  Tensor ffn_backward(size_t layer, const NormGrads& out, const LayerSaved& saved, const MaskTotals& neurons,
                      int first);
  Tensor attention_half_backward(size_t layer, const NormGrads& attention, const Sequences& s,
                                 const Rows* rows, const LayerSaved& saved, const MaskTotals& heads,
                                 int first);
  Tensor layer_backward(size_t layer, const Tensor& dy, const Sequences& s, const Rows* rows,
                        const LayerSaved& saved, Importance* scored);
  Dropout dropout(double p, const Pass& pass, size_t layer, int place) const;

  std::shared_ptr<const Model> model_;
  NetworkConfig config_;
  Parameters parameters_;
  std::vector<std::optional<LoraModule>> modules_;  // [layers * kSites]
  std::vector<int> order_;                          // the same places to the config's order, -1: none
  std::vector<size_t> head_masks_, neuron_masks_;
  size_t dense_weight_, dense_bias_, out_weight_, out_bias_;
  size_t lowest_ = 0;  // the lowest layer with something trainable: no backward below it
  std::optional<PrefixCache> prefix_cache_;
};

}  // namespace lp
