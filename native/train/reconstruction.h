#pragma once
// What a cut takes from the outputs of attention and FFN, given back by what is left of their inputs: least
// squares over some texts, layer by layer, so that each half and what passes by it are together what they are
// in the whole model (He et al. 2017, "Channel Pruning", equation 5), here as a change of low rank.
#include "train/network.h"

namespace lp {

/// What a layer of a smaller model gains.
struct LayerReconstruction {
  Correction attention, output;          // undefined where nothing is lost, or nothing left to tell it by
  Tensor attention_shift, output_shift;  // fp32 [h], or undefined where nothing is lost
};

/**
 * @param small a network over a cut of the whole one's model, with what is left of its adapter
 * @param rank of each correction, at most
 * @return one for each layer, on the CPU
 */
std::vector<LayerReconstruction> reconstruct(Network& whole, Network& small,
                                             const std::vector<Batch>& batches, int64_t rank);

}  // namespace lp
