#include "train/reconstruction.h"

#include "base/error.h"
#include "train/initial.h"

namespace lp {
namespace {

// A weight moves as far as it pays: the squares of its change count like so much of the inputs' mean
// variance, more where there are few rows to tell it from.
constexpr double kRidge = 0.01, kRidgeOfFew = 0.1;
// Where rounding has eaten the ridge it grows, so often, by so much.
constexpr int kTries = 6;
constexpr double kMore = 10;
// Until a subspace of the largest effects is found well enough; the rest is small.
constexpr int kTurns = 6;

/// Sums of a linear regression of y [T, h] on x [T, n], with an intercept, both less what they are in the
/// mean of the first rows: means may be far larger than what varies.
class Regression {
 public:
  /// @param weight of each row
  void add(const Tensor& x, const Tensor& y, double weight = 1) {
    if (weight != weight_) gather();
    weight_ = weight;
    inputs_.push_back(x);
    outputs_.push_back(y);
    waiting_ += x.size(0);
    if (waiting_ >= kTogether) gather();
  }

  /// The best correction of rank `rank`, and the shift of the bias beside it; undefined where y is nothing.
  std::pair<Correction, Tensor> solve(int64_t rank) {
    gather();
    if (!any_) return {};
    const Tensor x = x_ / count_, y = y_ / count_;
    const int64_t n = x.numel(), h = y.numel();
    const auto single = [](const Tensor& t) { return t.to(at::kFloat).contiguous(); };
    const Tensor mean = single(y + from_y_.cpu());
    require_finite(mean);
    if (n == 0) return {{}, mean};
    xx_.addr_(x_, x, 1, -1);
    xy_.addr_(x_, y, 1, -1);
    const Tensor d = solution();
    if (!d.defined()) return {{}, mean};
    // The directions of y that x d moves most: of d^T xx d the largest eigenvectors, by orthogonal iteration.
    Tensor v = at::empty({h, std::min({rank, n, h})}, at::kFloat);
    fill_uniform(v, 1, 0, 0);
    v = v.to(at::kDouble);
    for (int turn = 0; turn < kTurns; ++turn)
      v = std::get<0>(at::linalg_qr(at::mm(d.t(), at::mm(xx_, at::mm(d, v)))));
    const Tensor dv = at::mm(d, v);  // [n, r]
    const Tensor shift = y + from_y_.cpu() - at::mv(v, at::mv(dv.t(), x + from_x_.cpu()));
    require_finite(shift);
    return {{single(dv.t()), single(v)}, single(shift)};
  }

 private:
  /// Adds what is waiting.
  void gather() {
    if (inputs_.empty()) return;
    Tensor inputs = at::cat(inputs_).to(at::kFloat), outputs = at::cat(outputs_).to(at::kFloat);
    if (count_ == 0) {
      from_x_ = inputs.mean(0);
      from_y_ = outputs.mean(0);
    }
    inputs = inputs - from_x_;
    outputs = outputs - from_y_;
    gather(xx_, at::mm(inputs.t(), inputs));
    gather(xy_, at::mm(inputs.t(), outputs));
    gather(x_, inputs.sum(0));
    gather(y_, outputs.sum(0));
    any_ = any_ || outputs.any().item<bool>() || from_y_.any().item<bool>();
    rows_ += static_cast<double>(waiting_);
    count_ += weight_ * static_cast<double>(waiting_);
    inputs_.clear();
    outputs_.clear();
    waiting_ = 0;
  }

  void gather(Tensor& sum, const Tensor& more) const {
    if (!sum.defined()) sum = at::zeros(more.sizes(), at::kDouble);
    sum.add_(more.cpu(), weight_);
  }

  static void require_finite(const Tensor& t) {
    if (!t.isfinite().all().item<bool>())
      throw Error("NOT_FINITE", "what a cut leaves gives values that are not finite");
  }

  /// [n, h], or undefined where no input varies.
  Tensor solution() const {
    const double scale = xx_.diagonal().mean().item<double>();
    if (!(scale > 0)) return {};
    double ridge = kRidge + kRidgeOfFew * static_cast<double>(xx_.size(0)) / rows_;
    for (int i = 0; i < kTries; ++i, ridge *= kMore) {
      Tensor raised = xx_.clone();
      raised.diagonal().add_(scale * ridge);
      const auto [factor, wrong] = at::linalg_cholesky_ex(raised);
      if (wrong.item<int>() == 0) return at::cholesky_solve(xy_, factor);
    }
    return {};
  }

  // Sums in fp64 cost as much as products of few rows.
  static constexpr int64_t kTogether = 2048;
  std::vector<Tensor> inputs_, outputs_;  // that wait to be added, of these rows and this weight
  int64_t waiting_ = 0;
  double weight_ = 1;

  Tensor xx_, xy_, x_, y_, from_x_, from_y_;
  double rows_ = 0, count_ = 0;
  bool any_ = false;
};

}  // namespace

class Reconstruction {
 public:
  Reconstruction(Network& whole, Network& small, const std::vector<Batch>& batches, int64_t rank)
      : whole_(whole),
        model_(std::make_shared<Model>(small.model())),
        small_(model_, small.config()),
        rank_(rank) {
    small_.parameters().value().copy_(small.parameters().value());
    whole_.follow_modules();
    small_.follow_modules();
    for (const Batch& batch : batches) {
      feeds_.push_back(feed_of(whole.model(), batch, nullptr));
      const Tensor x = whole.embed(feeds_.back(), Pass{}, nullptr);
      reads_.push_back({x, x});
    }
  }

  LayerReconstruction of(size_t layer) {
    std::vector<Halves> halves(feeds_.size());
    for (size_t b = 0; b < feeds_.size(); ++b) take_whole(layer, b, halves[b]);
    for (size_t b = 0; b < feeds_.size(); ++b) take_attention(layer, b, halves[b]);
    LayerReconstruction result;
    std::tie(result.attention, result.attention_shift) = corrected_half(layer, kAttentionOutput, halves);
    for (size_t b = 0; b < feeds_.size(); ++b) take_ffn(layer, b, halves[b]);
    std::tie(result.output, result.output_shift) = corrected_half(layer, kOutput, halves);
    for (size_t b = 0; b < feeds_.size(); ++b)
      reads_[b].small =
          small_.after(layer, output(layer, kOutput, halves[b]), halves[b].past, Pass{}, nullptr);
    return result;
  }

 private:
  /// Of a layer, by batch.
  struct Halves {
    /// What attention and FFN give of the whole model, each with what passes it by, fp32 [T, h].
    Tensor attended, given;
    /// Of the half of the smaller model at hand: what the linear at its end reads, [T, n], undefined where
    /// nothing is left; what passes the half by; and both together, fp32 [T, h].
    Tensor inputs, past, sum;
  };

  static Tensor together(const Tensor& past, const Tensor& half) { return past.to(at::kFloat) + half; }

  /// What passes an FFN by: a norm has rounded it, a sum need not be rounded.
  static Tensor past_ffn(const Network& network, const Tensor& attended, const Tensor& past) {
    return network.model().spec.norm_first ? attended : past;
  }

  void take_whole(size_t layer, size_t b, Halves& halves) {
    Tensor& x = reads_[b].whole;
    const Tensor o = whole_.attended(layer, x, x, feeds_[b].layout, nullptr, Pass{}, nullptr);
    const auto [middle, past] = whole_.between(layer, x, o, Pass{}, nullptr);
    const Tensor u = whole_.ffn_half(layer, middle, Pass{}, nullptr);
    halves.attended = together(x, o);
    halves.given = together(past_ffn(whole_, halves.attended, past), u);
    x = whole_.after(layer, u, past, Pass{}, nullptr);
  }

  void take_attention(size_t layer, size_t b, Halves& halves) {
    const Tensor& x = reads_[b].small;
    LayerSaved saved;
    const Tensor o = small_.attended(layer, x, x, feeds_[b].layout, nullptr, Pass{}, &saved);
    halves.inputs = saved.context;
    halves.past = x;
    halves.sum = together(x, o);
  }

  /// After the attention before it has been corrected.
  void take_ffn(size_t layer, size_t b, Halves& halves) {
    const Tensor o = output(layer, kAttentionOutput, halves);
    const Tensor attended = together(halves.past, o);
    const auto [middle, past] = small_.between(layer, halves.past, o, Pass{}, nullptr);
    LayerSaved saved;
    const Tensor u = small_.ffn_half(layer, middle, Pass{}, &saved);
    halves.inputs = units(layer, saved);
    halves.past = past;
    halves.sum = together(past_ffn(small_, attended, past), u);
  }

  /// [T, F], undefined where no neuron is left.
  Tensor units(size_t layer, const LayerSaved& saved) {
    const Spec& spec = model_->spec;
    if (!saved.z.defined()) return {};
    const Tensor mask = small_.neuron_mask(layer);
    return spec.gated ? gated_forward(saved.z, saved.up, mask, spec.activation)
                      : activation_forward(saved.z, mask, spec.activation);
  }

  /// What a half of the smaller model gives now.
  Tensor output(size_t layer, int site, const Halves& halves) {
    if (!halves.inputs.defined()) return model_->layers[layer].linear[site].constant(halves.past.size(0));
    return small_.site_forward(layer, site, halves.inputs, Pass{}, nullptr);
  }

  /// Corrects a half of the smaller model's layer so that it gives what the whole one does.
  std::pair<Correction, Tensor> corrected_half(size_t layer, int site, const std::vector<Halves>& halves) {
    Regression sums;
    std::vector<Tensor> told, missing;
    for (const Halves& half : halves) {
      missing.push_back((site == kAttentionOutput ? half.attended : half.given) - half.sum);
      told.push_back(half.inputs.defined() ? half.inputs : missing.back().narrow(1, 0, 0));
      sums.add(told.back(), missing.back());
    }
    if (layer + 1 == model_->layers.size() && small_.config().told == Told::labels)
      add_read(sums, told, missing);
    auto found = sums.solve(rank_);
    Linear& linear = model_->layers[layer].linear[site];
    linear = corrected(linear, found.first, found.second, model_->dtype);
    return found;
  }

  /// Nothing reads the last layer's other rows than the head's, which are too many to be left out all the
  /// same: those count for as much as all.
  void add_read(Regression& sums, const std::vector<Tensor>& told, const std::vector<Tensor>& missing) const {
    int64_t tokens = 0, read = 0;
    std::vector<Tensor> rows;
    for (const Feed& feed : feeds_) {
      rows.push_back(rows_of(model_->spec, feed.layout).which);
      tokens += feed.ids.numel();
      read += rows.back().numel();
    }
    for (size_t b = 0; b < feeds_.size(); ++b)
      sums.add(told[b].index_select(0, rows[b]), missing[b].index_select(0, rows[b]),
               static_cast<double>(tokens) / static_cast<double>(read));
  }

  Network& whole_;
  std::shared_ptr<Model> model_;  // the smaller one, as far as it is corrected
  Network small_;
  int64_t rank_;
  std::vector<Feed> feeds_;
  /// What the layer to come reads in either model.
  struct Reads {
    Tensor whole, small;
  };
  std::vector<Reads> reads_;
};

std::vector<LayerReconstruction> reconstruct(Network& whole, Network& small,
                                             const std::vector<Batch>& batches, int64_t rank) {
  const Model &one = whole.model(), &other = small.model();
  require(one.layers.size() == other.layers.size() && one.spec.hidden == other.spec.hidden &&
              one.device() == other.device(),
          "the smaller model is a cut of the whole one");
  Reconstruction work(whole, small, batches, rank);
  std::vector<LayerReconstruction> layers;
  for (size_t l = 0; l < whole.model().layers.size(); ++l) layers.push_back(work.of(l));
  return layers;
}

}  // namespace lp
