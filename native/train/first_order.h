#pragma once
// What a step's gradients tell, to first order, of what the loss would lose without a unit or a rank.
#include "train/network.h"

namespace lp {

class FirstOrder {
 public:
  /// Writes what the values and gradients of the network's masks and modules tell of the step under way:
  /// head_taylor, neuron_taylor, ranks and rank_taylor of `importance`. To be called before they are updated.
  void take(Network& network, Importance& importance);

 private:
  void take_ranks_on(const DeviceKernels& kernels, Network& network, Importance& importance);

  Tensor rows_;  // RankRow of each rank, on a device; made when it first takes them
};

}  // namespace lp
