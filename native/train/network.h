#pragma once
// A model with what is trained on it, PEFT modules, masks and a task head, or trained itself; one forward and
// one backward pass over a packed batch, written out by hand.
#include <memory>
#include <optional>

#include "model/model.h"
#include "peft/lora.h"
#include "train/backbone.h"
#include "train/batch.h"
#include "train/feed.h"
#include "train/head.h"
#include "train/importance.h"
#include "train/prefix_cache.h"
#include "train/vocabulary.h"

namespace lp {

struct ModuleConfig {
  std::string name;  // as Python peft names it, without the prefix and ".lora_A.weight"
  int64_t layer = 0, rank = 0;
  Site site = kQuery;
  double scale = 1, dropout = 0;
  double rate = 1;  // multiplier of the learning rate
};

struct NetworkConfig {
  std::vector<ModuleConfig> modules;
  bool full = false;  // the model itself is trained
  Told told = Told::labels;
  HeadConfig head;
  bool masks = false;
  bool ratios = false;  // scored steps measure modules by |branch| / |base|, over all tokens
  double head_mask_rate = 1, neuron_mask_rate = 1;  // multipliers of the learning rate
  // Bytes of memory for the outputs of the layers below the lowest trained one; 0: they are computed every
  // time, with dropout. Past them the folder is used, where there is one.
  int64_t prefix_cache = 0;
  std::string prefix_folder;
  uint64_t seed = 0;
};

// Places in a layer that draw dropout: the module sites, then these.
enum Place : int {
  kProbabilities = 6,
  kAfterAttention,
  kAfterOutput,
  kEmbeddings,
  kHead0,
  kHead1,
  kLaterSites
};

/// How one forward pass runs.
struct Pass {
  bool train = false;  // dropout is on
  bool saves = false;  // a backward pass follows
  // What is measured, if anything is: modules, and what attention output and FFN output read.
  RunningSum* ratios = nullptr;
  Importance* moments = nullptr;
  uint64_t key = 0;                     // of what is drawn (step_key),
  const uint64_t* key_there = nullptr;  // or where it is read on a device
  bool every = false;                   // all tokens' states are wanted, not those alone that a head reads
  KeyValueCache* cache = nullptr;       // the sequences go on from what is in it
  Tensor counted, counted_rows;         // of a Feed, and of the tokens that the head reads

  /// How much each row of x counts.
  const Tensor& counts(const Tensor& x) const {
    return counted.defined() && x.size(0) != counted.size(0) ? counted_rows : counted;
  }
};

struct LayerSaved {
  Tensor x, queried;              // inputs of key and value, and of query
  Tensor context, z, up, middle;  // inputs of attention output; of the activation; beside a gate; of the FFN
  AttentionSaved attention;
  NormSaved attention_norm, output_norm, query_norm, key_norm;
  Dropout after_attention, after_output;  // of what is added to the residual without a norm
  LoraSaved lora[kSites];
};

/// Of the embeddings, where they are trained.
struct EmbeddingSaved {
  Tensor ids, types, positions;  // int64 [T]
  Tensor x;                      // what is projected
  NormSaved norm;
  Dropout dropout;
};

struct Saved {
  Layout layout;
  EmbeddingSaved embedding;
  std::vector<LayerSaved> layers;
  std::optional<Rows> rows;  // of the last layer, where it was not computed for all tokens
  NormSaved final_norm;
  Tensor last;  // what is projected back
  HeadSaved head;

  /// Of all tensors in it, each memory once.
  int64_t bytes() const;
};

class Network {
  // Works on layers one after the other.
  friend class Reconstruction;

 public:
  Network(std::shared_ptr<const Model> model, const NetworkConfig& config);

  /// What the head reads, [B, h] in fp32, or with pass.every [T, h]. Adds to `scored` what the forward pass
  /// tells.
  /// `feed` is the batch's, where it is there already.
  Tensor encode(const Batch& batch, const Pass& pass, Saved* saved, Importance* scored,
                const Feed* feed = nullptr);
  /// The head's outputs for states [N, h], fp32 [N, outputs].
  Tensor outputs(const Tensor& states, const Pass& pass, Saved* saved);
  /// Adds the head's gradients for those of its outputs; that of what it has read, [N, h] in fp32.
  Tensor outputs_backward(const Tensor& d_outputs, const Saved& saved);
  /// Of a network that tells tokens.
  const Vocabulary& vocabulary() const { return vocabulary_; }
  /// Adds the gradients for that of what encode gave, and to `scored` what masks tell beside theirs.
  void backward(const Tensor& d_states, const Saved& saved, Importance* scored);

  Parameters& parameters() { return parameters_; }
  /// Whether what is below the topmost layer with modules rests: it learns nothing, and no backward pass goes
  /// there. Tells whether that is news.
  bool rest(bool rests);
  /// The values of parameters have changed.
  void follow();
  /// Modules take their values; `encode` begins with it where they have changed.
  void follow_modules();
  /// Whether outputs of frozen layers are kept by text.
  bool keeps_prefix() const { return prefix_cache_.has_value(); }
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
  Tensor embed(const Feed& feed, const Pass& pass, EmbeddingSaved* saved);
  void embed_backward(const Tensor& dx, const EmbeddingSaved& saved);
  /// What comes after the last layer, to fp32.
  Tensor finish(const Tensor& x, Saved* saved);
  /// What the layers below the lowest trained one make of a training batch, without dropout; kept by text.
  Tensor prefix(const Batch& batch);
  Tensor site_forward(size_t layer, int site, const Tensor& x, const Pass& pass, LayerSaved* saved);
  /// Adds the gradient of B of a site's module; its part of the gradient of x.
  LinearGradient site_backward(size_t layer, int site, const Tensor& dy, const LayerSaved& saved);
  /// Adds the gradient of A, for the input x that the site has seen, or that of the site's own weights.
  void input_seen(size_t layer, int site, const Tensor& x, const LinearGradient& part);
  /// The same of a site that has no inputs left.
  void nothing_seen(size_t layer, int site, const Tensor& dy);
  /// Query, key and value of x, of the query those of `rows` alone, with norms and positions.
  AttentionGrads projected(size_t layer, const Tensor& x, const Tensor& queried, const Layout& layout,
                           const Rows* rows, const Pass& pass, LayerSaved* saved);
  /// What a half of a layer gives of [T, h] or, of attention, of `queried` alone; where nothing is left of
  /// it, the bias of its output.
  Tensor attention_half(size_t layer, const Tensor& x, const Tensor& queried, const Layout& layout,
                        const Rows* rows, const Pass& pass, LayerSaved* saved);
  Tensor ffn_half(size_t layer, const Tensor& middle, const Pass& pass, LayerSaved* saved);
  /// What attention gives of a layer's input x [T, h] to `residual`, which is x or the rows of it that are
  /// wanted.
  Tensor attended(size_t layer, const Tensor& x, const Tensor& residual, const Layout& layout,
                  const Rows* rows, const Pass& pass, LayerSaved* saved);
  /// What the FFN of a layer reads, and what passes it by.
  struct Between {
    Tensor middle, past;
  };
  Between between(size_t layer, const Tensor& residual, const Tensor& o, const Pass& pass, LayerSaved* saved);
  /// The layer's output, of what its FFN gives and what has passed it by.
  Tensor after(size_t layer, const Tensor& u, const Tensor& past, const Pass& pass, LayerSaved* saved);
  Tensor layer_forward(size_t layer, const Tensor& x, const Layout& layout, const Rows* rows,
                       const Pass& pass, LayerSaved* saved);
  AttentionConfig attention_config(size_t layer, const Layout& layout) const;
  /// Of a norm of the model, for what came before it; where the model is trained, adds to its gradient.
  NormGrads norm_gradients(const Tensor& dy, const NormWeights& w, const NormSaved& saved,
                           const Tensor& past = {});
  Tensor ffn_backward(size_t layer, const Tensor& du, const Tensor& past, const LayerSaved& saved,
                      const MaskTotals& neurons, int first);
  Tensor attention_half_backward(size_t layer, const Tensor& d_o, const Tensor& past, const Layout& layout,
                                 const Rows* rows, const LayerSaved& saved, const MaskTotals& heads,
                                 int first);
  Tensor layer_backward(size_t layer, const Tensor& dy, const Layout& layout, const Rows* rows,
                        const LayerSaved& saved, Importance* scored);
  Dropout dropout(double p, const Pass& pass, size_t layer, int place) const;

  std::shared_ptr<const Model> model_;
  NetworkConfig config_;
  Parameters parameters_;
  std::vector<std::optional<LoraModule>> modules_;  // [layers * kSites]
  std::vector<int> order_;                          // the same places to the config's order, -1: none
  std::vector<size_t> head_masks_, neuron_masks_;
  std::optional<Backbone> backbone_;
  std::optional<Head> head_;
  bool modules_follow_ = false;
  size_t lowest_ = 0;  // the lowest layer with something trainable
  size_t bottom_ = 0;  // the lowest one that learns: no backward below it
  std::optional<PrefixCache> prefix_cache_;
  Vocabulary vocabulary_;
};

}  // namespace lp
