#include "train/tally.h"

#include <cstddef>
#include <numeric>

namespace lp {
namespace {

static_assert(sizeof(TallyNumbers) == 4 * sizeof(double), "a tally is a tensor of its numbers");
constexpr int64_t kNumbers = sizeof(TallyNumbers) / sizeof(double);
constexpr int64_t kStopped = offsetof(TallyNumbers, stopped) / sizeof(double);

}  // namespace

Tally::Tally(const at::Device& device)
    : there_(at::zeros({kNumbers}, at::TensorOptions(device).dtype(at::kDouble))) {}

at::Tensor Tally::counts() const { return there_.narrow(0, kStopped, 1).eq(0); }

Tally::Seen Tally::take() {
  if (tokens_.empty()) return {};
  const at::Tensor host = there_.cpu();
  const auto& found = *static_cast<const TallyNumbers*>(host.const_data_ptr());
  Seen seen{
      found.loss, found.norm,        static_cast<int64_t>(tokens_.size()), static_cast<int64_t>(found.steps),
      0,          found.stopped != 0};
  seen.tokens = std::accumulate(tokens_.begin(), tokens_.begin() + seen.steps, int64_t{0});
  tokens_.clear();
  there_.narrow(0, 0, kStopped).zero_();
  return seen;
}

void Tally::reset() {
  tokens_.clear();
  there_.zero_();
}

}  // namespace lp
