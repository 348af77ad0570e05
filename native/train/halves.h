#pragma once
#include "train/batch.h"

namespace lp {

/// Every batch of more than one example in two, each with half of its examples of so many sequences; of as
/// many batches where none has more.
std::vector<Batch> halved(const std::vector<Batch>& batches, int64_t choices);

}  // namespace lp
