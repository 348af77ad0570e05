#include "train/first_order.h"

#include <cmath>

#include "base/team.h"
#include "ops/device.h"

namespace lp {
namespace {

void take_units(Network& network, Importance& importance) {
  const auto taylor = [](const Parameter& mask, Tensor now) {
    at::mul_out(now, mask.value, mask.grad).abs_();
  };
  for (size_t l = 0; network.config().masks && l < network.model().layers.size(); ++l) {
    taylor(network.head_mask_parameter(l), importance.head_taylor.now(l));
    taylor(network.neuron_mask_parameter(l), importance.neuron_taylor.now(l));
  }
}

/// What the gradients of a rank's rows of A and B are multiplied by: means over inputs and over outputs.
float both(int64_t in, int64_t out) { return 1.f / static_cast<float>(in) + 1.f / static_cast<float>(out); }

/// Where A of a module is, and how many outputs B has.
struct Shape {
  int64_t rank, in, out;
  const Parameter* a;
};
Shape shape_of(Network& network, const ModuleConfig& at) {
  const LoraModule& m = *network.module(at.layer, at.site);
  const Parameter& a = network.parameters()[m.a];
  return {m.rank, a.shape[1], network.parameters()[m.b].shape[0], &a};
}

Tensor rows_of(Network& network) {
  std::vector<RankRow> rows;
  for (const ModuleConfig& at : network.config().modules) {
    const Shape m = shape_of(network, at);
    for (int64_t k = 0; k < m.rank; ++k) rows.push_back({m.a->offset + k * m.in, m.in, both(m.in, m.out)});
  }
  return on_device_of(network.parameters().value(), rows);
}

void take_ranks(Network& network, Importance& importance) {
  const auto& modules = network.config().modules;
  parallel(static_cast<int64_t>(modules.size()), 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Shape m = shape_of(network, modules[i]);
      const float *value = m.a->value.const_data_ptr<float>(), *grad = m.a->grad.const_data_ptr<float>();
      float *ranks = importance.ranks.now(i).mutable_data_ptr<float>(),
            *taylor = importance.rank_taylor.now(i).mutable_data_ptr<float>();
      for (int64_t k = 0; k < m.rank; ++k) {
        const double dot = kernels().dot(value + k * m.in, grad + k * m.in, m.in);
        const auto size = std::isfinite(dot) ? static_cast<float>(std::abs(dot)) : 0.f;
        taylor[k] = size;
        // Scaling A_k does what scaling B_k does, so that B_k . dB_k is the same number.
        ranks[k] = size * both(m.in, m.out);
      }
    }
  });
}

}  // namespace

void FirstOrder::take_ranks_on(const DeviceKernels& kernels, Network& network, Importance& importance) {
  if (!rows_.defined()) rows_ = rows_of(network);
  const Parameters& parameters = network.parameters();
  const RankScores a{parameters.value().const_data_ptr<float>(), parameters.grad().const_data_ptr<float>(),
                     static_cast<const RankRow*>(rows_.const_data_ptr()),
                     importance.ranks.all_now().mutable_data_ptr<float>(),
                     importance.rank_taylor.all_now().mutable_data_ptr<float>()};
  kernels.rank_scores(a, launch_on(importance.ranks.all_now()));
}

void FirstOrder::take(Network& network, Importance& importance) {
  take_units(network, importance);
  if (const DeviceKernels* kernels = device_kernels(network.parameters().value()))
    take_ranks_on(*kernels, network, importance);
  else
    take_ranks(network, importance);
}

}  // namespace lp
