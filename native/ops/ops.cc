#include "ops/ops.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "ops/shares.h"

namespace lp {
namespace {

/// Row `first` of what x's kernels take as a pointer to its first row, or null.
template <class Void>
Void* row_of(Void* rows, const Tensor& x, int64_t first) {
  using Byte = std::conditional_t<std::is_const_v<Void>, const char, char>;
  return rows ? static_cast<Byte*>(rows) + first * x.size(1) * x.element_size() : nullptr;
}

}  // namespace

Tensor activation_forward(const Tensor& z, const Tensor& mask, Activation kind) {
  Tensor g = fresh_like(z);
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
  by_rows_summed(&DeviceKernels::activation_backward, &TypedKernels::activation_backward, a, z,
                 {a.sums.gradient, a.sums.salience}, [&](int64_t first, int64_t rows, const Sums& sums) {
                   ActivationBackward some = a;
                   some.z = row_of(a.z, z, first);
                   some.dg = row_of(a.dg, z, first);
                   some.sums = {sums[0], sums[1]};
                   some.rows = rows;
                   return some;
                 });
}

Tensor gated_forward(const Tensor& z, const Tensor& u, const Tensor& mask, Activation kind) {
  Tensor y = fresh_like(z);
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
  by_rows_summed(&DeviceKernels::gated_backward, &TypedKernels::gated_backward, a, z,
                 {a.sums.gradient, a.sums.salience}, [&](int64_t first, int64_t rows, const Sums& sums) {
                   GatedBackward some = a;
                   some.z = row_of(a.z, z, first);
                   some.u = row_of(a.u, z, first);
                   some.dy = row_of(a.dy, z, first);
                   some.sums = {sums[0], sums[1]};
                   some.rows = rows;
                   return some;
                 });
}

void add_moments(const Tensor& x, Tensor sum, Tensor square, const Tensor& counted) {
  const Moments a{x.const_data_ptr(), mutable_floats(sum), mutable_floats(square),
                  x.size(1),          x.size(0),           floats(counted)};
  by_rows_summed(&DeviceKernels::moments, &TypedKernels::moments, a, x, {a.sum, a.square},
                 [&](int64_t first, int64_t rows, const Sums& sums) {
                   Moments some = a;
                   some.x = row_of(a.x, x, first);
                   some.sum = sums[0];
                   some.square = sums[1];
                   some.rows = rows;
                   return some;
                 });
}

Tensor norm_forward(const Tensor& z, const Tensor& residual, const NormWeights& w, const Dropout& dropout,
                    NormSaved* saved, Tensor* sum) {
  Tensor y = fresh_like(z), normalized, rstd;
  if (sum) *sum = fresh_like(z);
  if (saved) {
    rstd = fresh({z.size(0)}, w.gamma.options());
    if (w.keep_normalized) normalized = fresh_like(z);
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
  grads.residual = fresh_like(dy);
  grads.z = saved.dropout.active() ? fresh_like(dy) : grads.residual;
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
  by_rows_summed(&DeviceKernels::norm_gradient, &TypedKernels::norm_gradient, a, dy, {a.d_gamma, a.d_beta},
                 [&](int64_t first, int64_t rows, const Sums& sums) {
                   NormGradient some = a;
                   some.dy = row_of(a.dy, dy, first);
                   some.y = row_of(a.y, dy, first);
                   some.normalized = row_of(a.normalized, dy, first);
                   some.d_gamma = sums[0];
                   some.d_beta = sums[1];
                   some.rows = rows;
                   return some;
                 });
}

Tensor apply_dropout(const Tensor& x, const Dropout& dropout) {
  if (!dropout.active()) return x;
  Tensor y = fresh_like(x);
  const DropoutApply a{x.const_data_ptr(), y.mutable_data_ptr(), x.size(1), dropout};
  by_rows(&DeviceKernels::dropout_apply, &TypedKernels::dropout_apply, a, x);
  return y;
}

Tensor embedded(at::ArrayRef<Lookup> lookups, at::ScalarType dtype) {
  const Tensor &first = lookups[0].table, &rows = lookups[0].rows;
  const bool known = std::all_of(lookups.begin(), lookups.end(), [](const Lookup& of) {
    return of.table.scalar_type() == at::kFloat || of.table.scalar_type() == at::kBFloat16;
  });
  if (!known || device_kernels(first)) {
    Tensor sum = first.index_select(0, rows).to(at::kFloat);
    for (const Lookup& more : lookups.slice(1)) sum += more.table.index_select(0, more.rows);
    return sum.to(dtype);
  }
  Tensor y = fresh({rows.size(0), first.size(1)}, first.options().dtype(dtype));
  Embed a{{}, 0, y.mutable_data_ptr(), y.size(1)};
  require(lookups.size() <= std::size(a.tables), "no more than three embeddings are summed");
  for (const auto& [table, places] : lookups)
    a.tables[a.count++] = {table.const_data_ptr(), places.const_data_ptr<int64_t>(),
                           table.scalar_type() == at::kBFloat16};
  const auto kernel = typed(y).embed;
  parallel(y.size(0), worthwhile_rows(y), [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
  return y;
}

Tensor rotated(const Tensor& x, const Angles& angles, int64_t size, bool back) {
  if (!angles.cos.defined()) return x;
  Tensor y = fresh_like(x);
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
  const Tensor found = fresh(
      {rows.defined() ? rows.size(0) : matrix.size(0), columns.defined() ? columns.size(0) : matrix.size(1)},
      matrix.options());
  const Gather a{matrix.const_data_ptr(), found.mutable_data_ptr(), numbers(rows), numbers(columns),
                 floats(scale),           matrix.size(1),           found.size(1)};
  kernels->gather(a, launch_on(found));
  return found;
}

}  // namespace lp
