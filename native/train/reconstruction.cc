#include "train/reconstruction.h"

#include "train/initial.h"

namespace lp {
namespace {

// A weight moves as far as it pays: squares of its change count like so much of the inputs' mean square.
constexpr double kRidge = 0.01;
// Until a subspace of the largest effects is found well enough; the rest is small.
constexpr int kTurns = 6;

/// Sums of a linear regression of y [T, h] on x [T, n], with an intercept.
class Regression {
 public:
  Regression(int64_t n, int64_t h)
      : xx_(at::zeros({n, n}, at::kDouble)),
        xy_(at::zeros({n, h}, at::kDouble)),
        x_(at::zeros({n}, at::kDouble)),
        y_(at::zeros({h}, at::kDouble)) {}

  void add(const Tensor& x, const Tensor& y) {
    const Tensor inputs = x.to(at::kFloat), outputs = y.to(at::kFloat);
    xx_ += at::mm(inputs.t(), inputs).cpu();
    xy_ += at::mm(inputs.t(), outputs).cpu();
    x_ += inputs.sum(0).cpu();
    y_ += outputs.sum(0).cpu();
    count_ += static_cast<double>(x.size(0));
  }

  /// The best correction of rank `rank`, and the shift of the bias beside it.
  std::pair<Correction, Tensor> solve(int64_t rank) const {
    const Tensor x = x_ / count_, y = y_ / count_;
    const int64_t n = x.numel(), h = y.numel();
    if (n == 0) return {{}, y.to(at::kFloat)};
    const Tensor xx = xx_ - at::outer(x_, x), xy = xy_ - at::outer(x_, y);
    const Tensor ridge = at::eye(n, at::kDouble) * (xx_.diagonal().mean() * kRidge);
    const Tensor d = at::cholesky_solve(xy, at::linalg_cholesky(xx + ridge));  // [n, h]
    // The directions of y that x d moves most: of d^T xx d the largest eigenvectors, by orthogonal iteration.
    Tensor v = at::empty({h, std::min({rank, n, h})}, at::kFloat);
    fill_uniform(v, 1, 0, 0);
    v = v.to(at::kDouble);
    for (int turn = 0; turn < kTurns; ++turn)
      v = std::get<0>(at::linalg_qr(at::mm(d.t(), at::mm(xx, at::mm(d, v)))));
    const Tensor dv = at::mm(d, v);  // [n, r]
    const Tensor shift = y - at::mv(v, at::mv(dv.t(), x));
    const auto single = [](const Tensor& t) { return t.to(at::kFloat).contiguous(); };
    return {{single(dv.t()), single(v)}, single(shift)};
  }

 private:
  Tensor xx_, xy_, x_, y_;
  double count_ = 0;
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
    for (const Batch& batch : batches) {
      feeds_.push_back(feed_of(whole.model(), batch, nullptr));
      reads_.push_back({whole.embed(feeds_.back(), Pass{}, nullptr), {}});
      reads_.back().second = reads_.back().first;
    }
  }

  LayerReconstruction of(size_t layer) {
    // What each half gives of the whole model, by batch.
    std::vector<Tensor> attended(feeds_.size()), narrowed(feeds_.size());
    for (size_t b = 0; b < feeds_.size(); ++b) {
      LayerSaved saved;
      Tensor& x = reads_[b].first;
      x = whole_.layer_forward(layer, x, feeds_[b].layout, nullptr, Pass{}, &saved);
      attended[b] = output(whole_, layer, kAttentionOutput, saved, x.size(0));
      narrowed[b] = output(whole_, layer, kOutput, saved, x.size(0));
    }
    LayerReconstruction result;
    std::tie(result.attention, result.attention_shift) = corrected_half(layer, kAttentionOutput, attended);
    std::tie(result.output, result.output_shift) = corrected_half(layer, kOutput, narrowed);
    for (size_t b = 0; b < feeds_.size(); ++b) {
      Tensor& x = reads_[b].second;
      x = small_.layer_forward(layer, x, feeds_[b].layout, nullptr, Pass{}, nullptr);
    }
    return result;
  }

 private:
  /// What the linear at the end of a half reads, [T, n]; undefined where the half has none.
  static Tensor inputs(Network& network, size_t layer, int site, const LayerSaved& saved) {
    if (site == kAttentionOutput) return saved.context;
    const Spec& spec = network.model().spec;
    const Tensor mask = network.neuron_mask(layer);
    if (!saved.z.defined()) return {};
    return spec.gated ? gated_forward(saved.z, saved.up, mask, spec.activation)
                      : activation_forward(saved.z, mask, spec.activation);
  }

  static Tensor output(Network& network, size_t layer, int site, const LayerSaved& saved, int64_t tokens) {
    const Tensor x = inputs(network, layer, site, saved);
    if (!x.defined()) return network.model().layers[layer].linear[site].constant(tokens);
    return network.site_forward(layer, site, x, Pass{}, nullptr);
  }

  /// Corrects a half of the smaller model's layer so that it gives what is wanted.
  std::pair<Correction, Tensor> corrected_half(size_t layer, int site, const std::vector<Tensor>& wanted) {
    Linear& linear = model_->layers[layer].linear[site];
    Regression sums(linear.in(), linear.out());
    for (size_t b = 0; b < feeds_.size(); ++b) {
      LayerSaved saved;
      small_.layer_forward(layer, reads_[b].second, feeds_[b].layout, nullptr, Pass{}, &saved);
      const Tensor x = inputs(small_, layer, site, saved);
      const int64_t tokens = wanted[b].size(0);
      const Tensor missing =
          wanted[b].to(at::kFloat) - output(small_, layer, site, saved, tokens).to(at::kFloat);
      sums.add(x.defined() ? x : missing.narrow(1, 0, 0), missing);
    }
    auto found = sums.solve(rank_);
    linear = corrected(linear, found.first, found.second, model_->dtype);
    return found;
  }

  Network& whole_;
  std::shared_ptr<Model> model_;  // the smaller one, as far as it is corrected
  Network small_;
  int64_t rank_;
  std::vector<Feed> feeds_;
  std::vector<std::pair<Tensor, Tensor>>
      reads_;  // what the layer to come reads in the whole model and the smaller
};

std::vector<LayerReconstruction> reconstruct(Network& whole, Network& small,
                                             const std::vector<Batch>& batches, int64_t rank) {
  Reconstruction work(whole, small, batches, rank);
  std::vector<LayerReconstruction> layers;
  for (size_t l = 0; l < whole.model().layers.size(); ++l) layers.push_back(work.of(l));
  return layers;
}

}  // namespace lp
