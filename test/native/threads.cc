// Loops over a team's threads: every element once, whatever the sizes, and what a piece throws.
#include <stdexcept>

#include "base/team.h"
#include "check.h"

namespace lp::check {

void threads() {
  Team team(3);
  int64_t wrong = 0, caught = 0;
  for (int64_t round = 0; round < 4000; ++round) {
    const int64_t n = 1 + round * 7919 % 500, each = 1 + round % 9;
    std::vector<int> seen(n);
    const auto count = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++seen[i];
    };
    using Count = decltype(count);
    team.run(
        n, each, [](const void* f, int64_t begin, int64_t end) { (*static_cast<const Count*>(f))(begin, end); },
        &count);
    for (const int times : seen) wrong += times != 1;
    try {
      team.run(
          n, each, [](const void*, int64_t begin, int64_t) { if (begin == 0) throw std::runtime_error("piece"); },
          nullptr);
    } catch (const std::runtime_error&) {
      ++caught;
    }
  }
  compare("threads", "elements", at::kFloat, at::tensor(wrong), at::tensor(int64_t{0}), 0);
  compare("threads", "errors", at::kFloat, at::tensor(caught), at::tensor(int64_t{4000}), 0);
}

}  // namespace lp::check
