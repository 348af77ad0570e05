#pragma once
// How the threads share an operation's rows or columns, or a device's kernel takes them.
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

/// The same of what is summed over rows, so many sums for each column.
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

/// The same of what is summed only where `totals` are asked for: else threads take rows, as they do of what
/// comes before and after.
/// @param pointers of `a`, to rows of x and of what has its shape
template <class Arguments>
void by_columns_or_rows(void (*DeviceKernels::*device)(const Arguments&, const Launch&),
                        void (*TypedKernels::*host)(const Arguments&, int64_t, int64_t), const Arguments& a,
                        const Tensor& x, const MaskTotals& totals,
                        std::initializer_list<void * Arguments::*> pointers) {
  if (totals.any() || device_kernels(x)) return by_columns(device, host, a, x, totals.any() ? 2 : 0);
  const auto kernel = typed(x).*host;
  const int64_t bytes = x.size(1) * x.element_size(), blocks = (x.size(1) + 31) / 32;
  parallel(x.size(0), worthwhile_rows(x), [&](int64_t begin, int64_t end) {
    Arguments some = a;
    for (const auto pointer : pointers) some.*pointer = static_cast<char*>(some.*pointer) + begin * bytes;
    some.rows = end - begin;
    kernel(some, 0, blocks);
  });
}

}  // namespace lp
