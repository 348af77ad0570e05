#include "ops/rank.h"

#include <algorithm>

#include "ops/shares.h"

namespace lp {
namespace {

// Rows of a tile, and columns of a panel's share.
constexpr int64_t kBlock = 32;

int64_t blocks_of(int64_t n) { return (n + kBlock - 1) / kBlock; }
int64_t panels_of(int64_t rank) { return (rank + kPanelRanks - 1) / kPanelRanks; }

}  // namespace

RankFactor::RankFactor(const Tensor& values, bool transposed, at::ScalarType dtype)
    : values_(values), w_(transposed ? fresh({values.size(1), values.size(0)}, values.options()) : values) {
  if (dtype != at::kBFloat16 || device_kernels(values)) return;
  const int64_t rank = w_.size(0), n = w_.size(1);
  const at::TensorOptions options = at::TensorOptions().dtype(at::kBFloat16);
  if (kernels().pack_ranks)
    panels_ = fresh({panels_of(rank), strip_depth(n) / 2, 2 * kPanelRanks, 2}, options);
  if (kernels().strip_ranks) strips_ = fresh({strips_of(n), strip_depth(3 * rank), kStrip}, options);
}

void RankFactor::follow() {
  const int64_t rank = w_.size(0), n = w_.size(1);
  if (device_kernels(w_)) {
    if (!w_.is_same(values_)) w_.copy_(values_.t());
    return;
  }
  if (!w_.is_same(values_)) {
    const float* const from = values_.const_data_ptr<float>();
    float* const to = w_.mutable_data_ptr<float>();
    for (int64_t c = 0; c < n; ++c)
      for (int64_t k = 0; k < rank; ++k) to[k * n + c] = from[c * rank + k];
  }
  if (panels_.defined())
    kernels().pack_ranks({floats(w_), panels_.mutable_data_ptr(), n, rank}, 0, strip_depth(n) / kBlock);
  if (strips_.defined())
    kernels().strip_ranks({floats(w_), strips_.mutable_data_ptr(), rank, n}, 0, strips_of(n));
}

Projection rank_project(const Tensor& x, const RankFactor& w, double scale, const Dropout& dropout,
                        double then, bool turns) {
  const int64_t rows = x.size(0), rank = w.w().size(0);
  Projection found{fresh({rows, rank}, w.w().options()), {}, {}};
  RankProject a{x.const_data_ptr(), floats(w.w()), data(w.panels()),          mutable_floats(found.p),
                w.w().size(1),      rank,          static_cast<float>(scale), dropout};
  if (!w.strips().defined()) {
    by_rows(&DeviceKernels::rank_project, &TypedKernels::rank_project, a, x);
    return found;
  }
  found.split = fresh({rows, strip_depth(3 * rank)}, x.options());
  a.split = found.split.mutable_data_ptr();
  a.split_scale = static_cast<float>(then);
  a.rows = rows;
  if (turns) {
    found.turned = fresh({panels_of(rank), blocks_of(rows), kBlock, kBlock}, x.options());
    a.turned = found.turned.mutable_data_ptr();
  }
  const auto kernel = typed(x).rank_project;
  parallel(blocks_of(rows), (worthwhile_rows(x) + kBlock - 1) / kBlock,
           [&](int64_t begin, int64_t end) { kernel(a, begin * kBlock, std::min(rows, end * kBlock)); });
  return found;
}

Tensor rank_expand(const Tensor& p, const Tensor& w, Tensor y, double scale, const Dropout& dropout,
                   bool want_ratio) {
  Tensor ratio;
  if (want_ratio) ratio = fresh({y.size(0)}, p.options());
  const RankExpand a{floats(p), floats(w), y.mutable_data_ptr(),      mutable_floats(ratio),
                     y.size(1), w.size(0), static_cast<float>(scale), dropout};
  const Tensor room = want_ratio && device_kernels(y)
                          ? fresh({y.size(0), column_tiles(y.size(1)), 2}, p.options())
                          : Tensor();
  by_rows(&DeviceKernels::rank_expand, &TypedKernels::rank_expand, a, y, room);
  return ratio;
}

namespace {

/// On a device, whose kernel adds the sums itself.
void outer_there(const Tensor& p, const Tensor& x, const Tensor& grad, const Dropout& dropout, float scale,
                 bool transposed) {
  const RankOuter a{floats(p), nullptr,   x.const_data_ptr(), mutable_floats(grad),
                    x.size(1), p.size(1), x.size(0),          dropout,
                    scale,     transposed};
  by_columns(&DeviceKernels::rank_outer, &TypedKernels::rank_outer, a, x, p.size(1));
}

// Rows are summed by so many, no more than so often and into no more values, so that each thread takes the
// rows that it has in its cache; whatever the threads are, the sums are the same.
constexpr int64_t kSumRows = 128, kMostSums = 16, kMostValues = 1 << 20;

/// Sums over rows of p^T dropout(x), fp32 [sums, rank, width].
Tensor outer_sums(const Projection& of, const Tensor& x, const Dropout& dropout) {
  const Tensor& p = of.p;
  const int64_t rows = p.size(0), rank = p.size(1), width = x.size(1),
                most = std::clamp<int64_t>(kMostValues / std::max<int64_t>(1, rank * width), 1, kMostSums),
                least = (rows + most - 1) / most, each = std::max(kSumRows, blocks_of(least) * kBlock),
                count = (rows + each - 1) / each;
  const Tensor sums = fresh({count, rank, width}, p.options());
  const auto kernel = typed(x).rank_outer;
  constexpr int64_t kColumns = 256;
  const int64_t across = (width + kColumns - 1) / kColumns;
  parallel_tasks(count * across, [&](int64_t i) {
    const int64_t sum = i / across, column = i % across * kColumns, end = std::min(width, column + kColumns);
    float* const to = sums.mutable_data_ptr<float>() + sum * rank * width;
    for (int64_t k = 0; k < rank; ++k) std::fill(to + k * width + column, to + k * width + end, 0.f);
    RankOuter a{floats(p),
                data(of.turned),
                x.const_data_ptr(),
                to,
                width,
                rank,
                std::min(rows, (sum + 1) * each),
                dropout,
                1,
                false};
    a.first = sum * each;
    a.turned_blocks = blocks_of(rows);
    kernel(a, column / kBlock, blocks_of(end));
  });
  return sums;
}

}  // namespace

void rank_outer(const Projection& p, const Tensor& x, Tensor grad, const Dropout& dropout) {
  const int64_t rank = grad.size(0), width = x.size(1);
  if (device_kernels(x)) return outer_there(p.p, x, grad, dropout, 1, false);
  const Tensor sums = outer_sums(p, x, dropout);
  const float* const from = sums.const_data_ptr<float>();
  float* const to = mutable_floats(grad);
  const int64_t count = sums.size(0), all = rank * width;
  parallel(all, 4096, [=](int64_t begin, int64_t end) {
    for (int64_t s = 0; s < count; ++s)
      for (int64_t i = begin; i < end; ++i) to[i] += from[s * all + i];
  });
}

void rank_outer_transposed(const Projection& p, const Tensor& x, Tensor grad, double scale) {
  const int64_t rank = grad.size(1), width = x.size(1);
  const auto factor = static_cast<float>(scale);
  if (device_kernels(x)) return outer_there(p.p, x, grad, Dropout{}, factor, true);
  const Tensor sums = outer_sums(p, x, Dropout{});
  const float* const from = sums.const_data_ptr<float>();
  float* const to = mutable_floats(grad);
  const int64_t count = sums.size(0);
  parallel(width, 512, [=](int64_t begin, int64_t end) {
    for (int64_t k = 0; k < rank; ++k)
      for (int64_t c = begin; c < end; ++c) {
        float sum = 0;
        for (int64_t s = 0; s < count; ++s) sum += from[(s * rank + k) * width + c];
        to[c * rank + k] += factor * sum;
      }
  });
}

}  // namespace lp
