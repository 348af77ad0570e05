#pragma once
// How the threads share an operation's rows or columns, or a device's kernel takes them.
#include <algorithm>
#include <array>

#include "base/team.h"
#include "ops/arguments.h"
#include "ops/device.h"
#include "ops/ops.h"

namespace lp {

/// Rows that make a share worth a thread: about 16 thousand elements.
inline int64_t worthwhile_rows(const Tensor& x) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, x.size(1)));
}

template <class Arguments>
void by_rows(void (*DeviceKernels::*device)(const Arguments&, const Launch&),
             void (*TypedKernels::*host)(const Arguments&, int64_t, int64_t), const Arguments& a,
             const Tensor& x, const Tensor& room = {}) {
  if (const DeviceKernels* kernels = device_kernels(x)) return (kernels->*device)(a, launch_on(x, room));
  const auto kernel = typed(x).*host;
  parallel(x.size(0), worthwhile_rows(x), [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

/// The same of what is summed over rows, so many sums for each column; the host's threads take columns.
template <class Arguments>
void by_columns(void (*DeviceKernels::*device)(const Arguments&, const Launch&),
                void (*TypedKernels::*host)(const Arguments&, int64_t, int64_t), const Arguments& a,
                const Tensor& x, int64_t sums) {
  if (const DeviceKernels* kernels = device_kernels(x)) {
    const Tensor room = fresh({row_chunks(x.size(0)), sums, x.size(1)}, x.options().dtype(at::kFloat));
    return (kernels->*device)(a, launch_on(x, room));
  }
  const auto kernel = typed(x).*host;
  parallel((x.size(1) + 31) / 32, std::max<int64_t>(1, 512 / std::max<int64_t>(1, x.size(0))),
           [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

/// total[c] += sum over rows of x[row, c], in the host's memory.
inline void add_rows(const float* x, int64_t rows, int64_t width, float* total) {
  kernels().f32.moments({x, total, nullptr, width, rows, nullptr}, 0, (width + 31) / 32);
}

/// Where two sums over rows are added to, fp32 [width] each or null.
using Sums = std::array<float*, 2>;

/// The same of two sums; the host's threads take rows, as they do of what comes before and after, so that
/// what they read is in their caches. Each so many rows have sums of their own: a total does not depend on
/// the threads.
/// @param part (first, rows, sums) the arguments of some of the rows, with their sums
template <class Arguments, class Part>
void by_rows_summed(void (*DeviceKernels::*device)(const Arguments&, const Launch&),
                    void (*TypedKernels::*host)(const Arguments&, int64_t, int64_t), const Arguments& a,
                    const Tensor& x, const Sums& totals, const Part& part) {
  const bool summed = totals[0] || totals[1];
  if (device_kernels(x)) return by_columns(device, host, a, x, summed ? 2 : 0);
  constexpr int64_t kLeastRows = 32, kMostChunks = 64;
  const int64_t rows = x.size(0), width = x.size(1), blocks = (width + 31) / 32;
  const int64_t each = std::max(kLeastRows, (rows + kMostChunks - 1) / kMostChunks);
  const int64_t chunks = (rows + each - 1) / each;
  const Tensor room = fresh({2, summed ? chunks : 0, width}, x.options().dtype(at::kFloat));
  float* const sums = room.mutable_data_ptr<float>();
  const auto kernel = typed(x).*host;
  parallel(chunks, std::max<int64_t>(1, worthwhile_rows(x) / each), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Sums own{};
      for (int64_t which = 0; which < 2; ++which)
        if (totals[which]) own[which] = std::fill_n(sums + (which * chunks + i) * width, width, 0.f) - width;
      kernel(part(i * each, std::min(each, rows - i * each), own), 0, blocks);
    }
  });
  for (int64_t which = 0; which < 2; ++which)
    if (totals[which]) add_rows(sums + which * chunks * width, chunks, width, totals[which]);
}

}  // namespace lp
