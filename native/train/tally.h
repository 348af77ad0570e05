#pragma once
// What steps have come to. It is kept where they are taken, so that a device goes from one to the next by
// itself and nobody waits before somebody asks.
#include <vector>

#include "ops/device.h"

namespace lp {

class Tally {
 public:
  explicit Tally(const at::Device& device);

  /// TallyNumbers where the steps are taken, for who takes them: fp64 [4].
  const at::Tensor& there() const { return there_; }
  /// Whether the last step counted: bool [1], likewise.
  at::Tensor counts() const;
  /// A step of so many tokens was queued.
  void add(int64_t tokens) { tokens_.push_back(tokens); }

  struct Seen {
    double loss = 0, norm = 0;  // as TallyNumbers
    int64_t queued = 0;         // steps
    int64_t steps = 0;          // that counted, and their tokens
    int64_t tokens = 0;
    bool stopped = false;
  };
  /// Of the steps since it was last asked. Waits for them.
  Seen take();
  /// Steps count again.
  void reset();

 private:
  at::Tensor there_;
  std::vector<int64_t> tokens_;  // of the steps since it was last asked
};

}  // namespace lp
