#include "ops/ops.h"

#include <cmath>

#include "base/team.h"
#include "ops/arguments.h"
#include "ops/device.h"

namespace lp {
namespace {

/// Rows that make a share worth a thread: about 16 thousand elements.
int64_t worthwhile_rows(const Tensor& x) {
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
    const Tensor room = at::empty({row_chunks(x.size(0)), sums, x.size(1)}, x.options().dtype(at::kFloat));
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

}  // namespace

Tensor activation_forward(const Tensor& z, const Tensor& mask, Activation kind) {
  Tensor g = at::empty_like(z);
  const ActivationForward a{z.const_data_ptr(), floats(mask), g.mutable_data_ptr(), z.size(1), kind};
  by_rows(&DeviceKernels::activation_forward, &TypedKernels::activation_forward, a, z);
  return g;
}

void activation_backward(Tensor z, Tensor dg, const Tensor& mask, const MaskTotals& totals, Activation kind) {
  const ActivationBackward a{z.mutable_data_ptr(),
                             dg.mutable_data_ptr(),
                             floats(mask),
                             {mutable_floats(totals.gradient), mutable_floats(totals.salience)},
                             z.size(1),
                             z.size(0),
                             kind};
  by_columns_or_rows(&DeviceKernels::activation_backward, &TypedKernels::activation_backward, a, z, totals,
                     {&ActivationBackward::z, &ActivationBackward::dg});
}

Tensor gated_forward(const Tensor& z, const Tensor& u, const Tensor& mask, Activation kind) {
  Tensor y = at::empty_like(z);
  const GatedForward a{z.const_data_ptr(),   u.const_data_ptr(), floats(mask),
                       y.mutable_data_ptr(), z.size(1),          kind};
  by_rows(&DeviceKernels::gated_forward, &TypedKernels::gated_forward, a, z);
  return y;
}

void gated_backward(Tensor z, Tensor u, Tensor dy, const Tensor& mask, const MaskTotals& totals,
                    Activation kind) {
  const GatedBackward a{z.mutable_data_ptr(),
                        u.mutable_data_ptr(),
                        dy.mutable_data_ptr(),
                        floats(mask),
                        {mutable_floats(totals.gradient), mutable_floats(totals.salience)},
                        z.size(1),
                        z.size(0),
                        kind};
  by_columns_or_rows(&DeviceKernels::gated_backward, &TypedKernels::gated_backward, a, z, totals,
                     {&GatedBackward::z, &GatedBackward::u, &GatedBackward::dy});
}

void add_moments(const Tensor& x, Tensor sum, Tensor square, const Tensor& counted) {
  const Moments a{x.const_data_ptr(), mutable_floats(sum), mutable_floats(square),
                  x.size(1),          x.size(0),           floats(counted)};
  by_columns(&DeviceKernels::moments, &TypedKernels::moments, a, x, 2);
}

Tensor norm_forward(const Tensor& z, const Tensor& residual, const NormWeights& w, const Dropout& dropout,
                    NormSaved* saved, Tensor* sum) {
  Tensor y = at::empty_like(z), normalized, rstd;
  if (sum) *sum = at::empty_like(z);
  if (saved) {
    rstd = at::empty({z.size(0)}, w.gamma.options());
    if (w.keep_normalized) normalized = at::empty_like(z);
  }
  const NormForward a{z.const_data_ptr(),
                      data(residual),
                      floats(w.gamma),
                      floats(w.beta),
                      y.mutable_data_ptr(),
                      sum ? sum->mutable_data_ptr() : nullptr,
                      normalized.defined() ? normalized.mutable_data_ptr() : nullptr,
                      mutable_floats(rstd),
                      z.size(1),
                      static_cast<float>(w.eps),
                      w.centered(),
                      dropout};
  by_rows(&DeviceKernels::norm_forward, &TypedKernels::norm_forward, a, z);
  if (saved) *saved = {y, normalized, rstd, dropout};
  return y;
}

NormGrads norm_backward(const Tensor& dy, const NormWeights& w, const NormSaved& saved, const Tensor& past) {
  NormGrads grads;
  grads.residual = at::empty_like(dy);
  grads.z = saved.dropout.active() ? at::empty_like(dy) : grads.residual;
  const NormBackward a{dy.const_data_ptr(),
                       data(past),
                       data(saved.y),
                       data(saved.normalized),
                       floats(w.gamma),
                       floats(w.beta),
                       floats(saved.rstd),
                       grads.residual.mutable_data_ptr(),
                       saved.dropout.active() ? grads.z.mutable_data_ptr() : nullptr,
                       dy.size(1),
                       w.centered(),
                       saved.dropout};
  by_rows(&DeviceKernels::norm_backward, &TypedKernels::norm_backward, a, dy);
  return grads;
}

void norm_gradient(const Tensor& dy, const NormWeights& w, const NormSaved& saved, Tensor d_gamma,
                   Tensor d_beta) {
  const NormGradient a{dy.const_data_ptr(),    data(saved.y),  data(saved.normalized),
                       floats(w.gamma),        floats(w.beta), mutable_floats(d_gamma),
                       mutable_floats(d_beta), dy.size(1),     dy.size(0)};
  by_columns(&DeviceKernels::norm_gradient, &TypedKernels::norm_gradient, a, dy, 2);
}

Tensor apply_dropout(const Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return x;
  Tensor y = at::empty_like(x);
  const DropoutApply a{x.const_data_ptr(), y.mutable_data_ptr(), x.size(1), dropout};
  by_rows(&DeviceKernels::dropout_apply, &TypedKernels::dropout_apply, a, x);
  return y;
}

Tensor rank_project(const Tensor& x, const Tensor& w, double scale, const Dropout& dropout) {
  const int64_t rank = w.size(0), width = w.size(1);
  Tensor p = at::empty({x.size(0), rank}, w.options()), panels;
  if (x.scalar_type() == at::kBFloat16 && !device_kernels(x) && kernels().pack_ranks) {
    const int64_t pairs = strip_depth(width) / 2;
    panels = at::empty({(rank + kPanelRanks - 1) / kPanelRanks, pairs, 2 * kPanelRanks, 2}, x.options());
    const RankPanels a{floats(w), panels.mutable_data_ptr(), width, rank};
    parallel(pairs / 16, 32, [&](int64_t b, int64_t e) { kernels().pack_ranks(a, b, e); });
  }
  const RankProject a{x.const_data_ptr(),        floats(w), data(panels), mutable_floats(p), width, rank,
                      static_cast<float>(scale), dropout};
  by_rows(&DeviceKernels::rank_project, &TypedKernels::rank_project, a, x);
  return p;
}

Tensor rank_expand(const Tensor& p, const Tensor& w, Tensor y, double scale, const Dropout& dropout,
                   bool want_ratio) {
  Tensor ratio;
  if (want_ratio) ratio = at::empty({y.size(0)}, p.options());
  const RankExpand a{floats(p), floats(w), y.mutable_data_ptr(),      mutable_floats(ratio),
                     y.size(1), w.size(0), static_cast<float>(scale), dropout};
  const Tensor room = want_ratio && device_kernels(y)
                          ? at::empty({y.size(0), column_tiles(y.size(1)), 2}, p.options())
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
Tensor outer_sums(const Tensor& p, const Tensor& x, const Dropout& dropout) {
  const int64_t rows = p.size(0), rank = p.size(1), width = x.size(1), blocks = (rows + 31) / 32,
                most = std::clamp<int64_t>(kMostValues / std::max<int64_t>(1, rank * width), 1, kMostSums),
                least = (rows + most - 1) / most, each = std::max(kSumRows, (least + 31) / 32 * 32),
                count = (rows + each - 1) / each;
  Tensor turned;
  if (x.scalar_type() == at::kBFloat16 && kernels().turn_ranks) {
    turned = at::empty({(rank + kPanelRanks - 1) / kPanelRanks, blocks, 32, 32}, x.options());
    const TurnedRanks t{floats(p), turned.mutable_data_ptr(), rows, rank};
    parallel(blocks, 16, [&](int64_t b, int64_t e) { kernels().turn_ranks(t, b, e); });
  }
  const Tensor sums = at::empty({count, rank, width}, p.options());
  const auto kernel = typed(x).rank_outer;
  constexpr int64_t kColumns = 256;
  const int64_t across = (width + kColumns - 1) / kColumns;
  parallel_tasks(count * across, [&](int64_t i) {
    const int64_t sum = i / across, column = i % across * kColumns, end = std::min(width, column + kColumns);
    float* const to = sums.mutable_data_ptr<float>() + sum * rank * width;
    for (int64_t k = 0; k < rank; ++k) std::fill(to + k * width + column, to + k * width + end, 0.f);
    RankOuter a{floats(p),
                data(turned),
                x.const_data_ptr(),
                to,
                width,
                rank,
                std::min(rows, (sum + 1) * each),
                dropout,
                1,
                false};
    a.first = sum * each;
    a.turned_blocks = blocks;
    kernel(a, column / 32, (end + 31) / 32);
  });
  return sums;
}

}  // namespace

void rank_outer(const Tensor& p, const Tensor& x, Tensor grad, const Dropout& dropout) {
  const int64_t rank = p.size(1), width = x.size(1);
  if (device_kernels(x)) return outer_there(p, x, grad, dropout, 1, false);
  const Tensor sums = outer_sums(p, x, dropout);
  const float* const from = sums.const_data_ptr<float>();
  float* const to = mutable_floats(grad);
  const int64_t count = sums.size(0), all = rank * width;
  parallel(all, 4096, [=](int64_t begin, int64_t end) {
    for (int64_t s = 0; s < count; ++s)
      for (int64_t i = begin; i < end; ++i) to[i] += from[s * all + i];
  });
}

void rank_outer_transposed(const Tensor& p, const Tensor& x, Tensor grad, double scale) {
  const int64_t rank = p.size(1), width = x.size(1);
  const auto factor = static_cast<float>(scale);
  if (device_kernels(x)) return outer_there(p, x, grad, Dropout{}, factor, true);
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

Tensor rotated(const Tensor& x, const Angles& angles, int64_t size, bool back) {
  if (!angles.cos.defined()) return x;
  Tensor y = at::empty_like(x);
  const Rotate a{x.const_data_ptr(),     floats(angles.cos), floats(angles.sin),
                 y.mutable_data_ptr(),   x.size(1) / size,   size,
                 2 * angles.cos.size(1), angles.interleaved, back ? -1.f : 1.f};
  by_rows(&DeviceKernels::rotate, &TypedKernels::rotate, a, x);
  return y;
}

Tensor gathered(const Tensor& matrix, const Tensor& rows, const Tensor& columns, const Tensor& scale) {
  const DeviceKernels* const kernels = device_kernels(matrix);
  if (!kernels) {
    Tensor m = matrix;
    if (rows.defined()) m = m.index_select(0, rows);
    if (columns.defined()) m = m.index_select(1, columns);
    return scale.defined() ? m.to(at::kFloat) * scale : m;
  }
  const auto numbers = [](const Tensor& t) { return t.defined() ? t.const_data_ptr<int64_t>() : nullptr; };
  const Tensor found = at::empty(
      {rows.defined() ? rows.size(0) : matrix.size(0), columns.defined() ? columns.size(0) : matrix.size(1)},
      matrix.options());
  const Gather a{matrix.const_data_ptr(), found.mutable_data_ptr(), numbers(rows), numbers(columns),
                 floats(scale),           matrix.size(1),           found.size(1)};
  kernels->gather(a, launch_on(found));
  return found;
}

}  // namespace lp
