// What LibTorch has for a GPU alone, done by the host as its documents and checks say: attention for packed sequences.
// So what is handed to it, and what is made of its answers, is tested without a GPU. Like the GPU's it draws dropout from
// a generator of its own, and throws where it would not serve.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/stack.h>
#include <torch/library.h>

#include <cmath>
#include <optional>

#include "base/aten.h"

namespace lp {
namespace {

using at::Tensor;
using MaybeTensor = std::optional<Tensor>;
using MaybeInt = std::optional<int64_t>;

/// The mask of a sequence's scores: query i sees key j where -right <= i + shift - j <= left.
struct Band {
  int64_t left, right;
  bool at_end;  // whether the last query stands where the last key does, or the first where the first does
};
constexpr int64_t kAny = int64_t{1} << 40;

struct Heads {
  const Tensor &q, &k, &v, &cu_q, &cu_k;  // [T, heads, size]
  double scale, dropout;
  Band band;
  int64_t seed;
};

/// Sequence b's rows of a head, in float64.
Tensor rows(const Tensor& x, const Tensor& cu, int64_t b, int64_t head) {
  const auto* const at = cu.const_data_ptr<int32_t>();
  return x.narrow(0, at[b], at[b + 1] - at[b]).select(1, head).to(at::kDouble);
}

Tensor scores(const Heads& h, const Tensor& q, const Tensor& k) {
  const int64_t nq = q.size(0), nk = k.size(0), shift = h.band.at_end ? nk - nq : 0;
  const Tensor distance = (at::arange(nq).unsqueeze(1) + shift) - at::arange(nk).unsqueeze(0);
  const Tensor hidden = distance.lt(-h.band.right).logical_or(distance.gt(h.band.left));
  return (at::mm(q, k.t()) * h.scale).masked_fill(hidden, -INFINITY);
}

/// What probabilities of head `head` in sequence b are multiplied by.
Tensor kept(const Heads& h, const Tensor& p, int64_t b, int64_t head) {
  if (h.dropout == 0) return at::ones_like(p);
  // A GPU's too are others where there are more tokens.
  const int64_t seed = h.seed + 1000 * b + head + 100000 * h.q.size(0);
  const auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(seed));
  return at::rand(p.sizes(), generator, p.options()).ge(h.dropout).to(at::kDouble) / (1 - h.dropout);
}

/// f(b, head) for all.
template <class F>
void over(const Heads& h, const F& f) {
  for (int64_t b = 0; b + 1 < h.cu_q.size(0); ++b)
    for (int64_t head = 0; head < h.q.size(1); ++head) f(b, head, head * h.k.size(1) / h.q.size(1));
}

Tensor put(const Tensor& x, const Tensor& cu, int64_t b, int64_t head) {
  const auto* const at = cu.const_data_ptr<int32_t>();
  return x.narrow(0, at[b], at[b + 1] - at[b]).select(1, head);
}

/// The context, and where(b, head) gets the logarithms of the denominators.
template <class F>
Tensor forward(const Heads& h, const F& where) {
  const Tensor out = at::empty_like(h.q);
  over(h, [&](int64_t b, int64_t head, int64_t key_head) {
    const Tensor s = scores(h, rows(h.q, h.cu_q, b, head), rows(h.k, h.cu_k, b, key_head));
    const Tensor lse = at::logsumexp(s, 1), p = (s - lse.unsqueeze(1)).exp();
    put(out, h.cu_q, b, head).copy_(at::mm(p * kept(h, p, b, head), rows(h.v, h.cu_k, b, key_head)));
    where(b, head).narrow(0, 0, lse.size(0)).copy_(lse);
  });
  return out;
}

template <class F>
std::tuple<Tensor, Tensor, Tensor> backward(const Heads& h, const Tensor& d, const Tensor& out, const F& where) {
  const Tensor dq = at::zeros_like(h.q, at::kDouble), dk = at::zeros_like(h.k, at::kDouble),
               dv = at::zeros_like(h.v, at::kDouble);
  over(h, [&](int64_t b, int64_t head, int64_t key_head) {
    const Tensor q = rows(h.q, h.cu_q, b, head), k = rows(h.k, h.cu_k, b, key_head), v = rows(h.v, h.cu_k, b, key_head),
                 dc = rows(d, h.cu_q, b, head);
    const Tensor lse = where(b, head).narrow(0, 0, q.size(0)).to(at::kDouble);
    const Tensor p = (scores(h, q, k) - lse.unsqueeze(1)).exp(), keep = kept(h, p, b, head);
    const Tensor delta = (dc * rows(out, h.cu_q, b, head)).sum(1, true);
    const Tensor ds = p * (at::mm(dc, v.t()) * keep - delta) * h.scale;
    put(dq, h.cu_q, b, head).add_(at::mm(ds, k));
    put(dk, h.cu_k, b, key_head).add_(at::mm(ds.t(), q));
    put(dv, h.cu_k, b, key_head).add_(at::mm((p * keep).t(), dc));
  });
  return {dq.to(h.q.scalar_type()), dk.to(h.k.scalar_type()), dv.to(h.v.scalar_type())};
}

void check_ends(const Tensor& cu_q, const Tensor& cu_k, const Tensor& q, const Tensor& k, int64_t longest_q,
                int64_t longest_k) {
  for (const Tensor* cu : {&cu_q, &cu_k})
    TORCH_CHECK(cu->scalar_type() == at::kInt && cu->dim() == 1 && cu->is_contiguous());
  TORCH_CHECK(cu_q.size(0) == cu_k.size(0));
  TORCH_CHECK(longest_q >= cu_q.diff().max().item<int64_t>() && longest_k >= cu_k.diff().max().item<int64_t>());
  TORCH_CHECK(cu_q[-1].item<int64_t>() == q.size(0) && cu_k[-1].item<int64_t>() == k.size(0));
}

int64_t drawn(double dropout) { return dropout > 0 ? at::randint(1 << 30, {1}, at::kLong).item<int64_t>() : 0; }

void check_flash(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& cu_q, const Tensor& cu_k,
                 int64_t longest_q, int64_t longest_k) {
  for (const Tensor* x : {&q, &k, &v})
    TORCH_CHECK(x->dim() == 3 && x->scalar_type() == at::kBFloat16 && x->stride(-1) == 1);
  TORCH_CHECK(q.size(2) % 8 == 0 && q.size(2) <= 256 && q.size(1) % k.size(1) == 0);
  check_ends(cu_q, cu_k, q, k, longest_q, longest_k);
}

Band flash_band(bool causal, MaybeInt left, MaybeInt right) {
  const auto end = [](MaybeInt n) { return n && *n >= 0 ? *n : kAny; };
  return {end(left), causal ? 0 : end(right), true};
}

/// What lse [heads, T] has of a sequence.
auto packed_lse(const Tensor& lse, const Tensor& cu) {
  return [lse, cu](int64_t b, int64_t head) {
    const auto* const at = cu.const_data_ptr<int32_t>();
    return lse[head].narrow(0, at[b], at[b + 1] - at[b]);
  };
}

/// Boxed, as versions of LibTorch hand over more or fewer arguments behind those that are used here.
void flash_forward(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const size_t count = op.schema().arguments().size();
  const auto given = [&](size_t i) -> const c10::IValue& { return torch::jit::peek(*stack, i, count); };
  const Tensor q = given(0).toTensor(), k = given(1).toTensor(), v = given(2).toTensor(), cu_q = given(3).toTensor(),
               cu_k = given(4).toTensor();
  const double dropout = given(7).toDouble(), scale = given(10).toDouble();
  const Band band = flash_band(given(8).toBool(), given(11).toOptional<int64_t>(), given(12).toOptional<int64_t>());
  check_flash(q, k, v, cu_q, cu_k, given(5).toInt(), given(6).toInt());
  const Tensor lse = at::empty({q.size(1), q.size(0)}, at::kFloat), seed = at::full({2}, drawn(dropout), at::kLong);
  const Heads h{q, k, v, cu_q, cu_k, scale, dropout, band, seed[0].item<int64_t>()};
  const Tensor context = forward(h, packed_lse(lse, cu_q));
  torch::jit::drop(*stack, count);
  torch::jit::push(*stack, context, lse, seed, at::empty({0}), at::empty({0}));
}

std::tuple<Tensor, Tensor, Tensor> flash_backward(const Tensor& d, const Tensor& q, const Tensor& k, const Tensor& v,
                                                  const Tensor& out, const Tensor& lse, const Tensor& cu_q,
                                                  const Tensor& cu_k, int64_t longest_q, int64_t longest_k,
                                                  double dropout, bool causal, const Tensor& seed, const Tensor&,
                                                  std::optional<double> scale, MaybeInt left, MaybeInt right) {
  check_flash(q, k, v, cu_q, cu_k, longest_q, longest_k);
  TORCH_CHECK(d.sizes() == q.sizes() && out.sizes() == q.sizes() && d.stride(-1) == 1);
  const Heads h{q, k, v, cu_q, cu_k, *scale, dropout, flash_band(causal, left, right), seed[0].item<int64_t>()};
  return backward(h, d, out, packed_lse(lse, cu_q));
}

void check_efficient(const Tensor& q, const Tensor& k, const Tensor& v, const MaybeTensor& bias, int64_t longest_q,
                     int64_t longest_k, MaybeInt window) {
  for (const Tensor* x : {&q, &k, &v})
    TORCH_CHECK(x->dim() == 4 && x->size(0) == 1 && x->scalar_type() == at::kFloat && x->stride(-1) == 1 &&
                x->stride(2) % 4 == 0 && x->stride(1) % 4 == 0 &&
                reinterpret_cast<uintptr_t>(x->const_data_ptr()) % 16 == 0);
  TORCH_CHECK(q.size(2) == k.size(2) && q.size(2) == v.size(2) && q.size(3) == k.size(3));
  TORCH_CHECK(longest_q <= q.size(1) && longest_k <= k.size(1));
  TORCH_CHECK(!bias && !window, "neither is used here");
}

Band efficient_band(int64_t mask) { return {kAny, mask == 0 ? kAny : 0, mask == 2}; }

/// What lse [sequences, heads, longest in whole 32s] has of a sequence.
auto padded_lse(const Tensor& lse) {
  return [lse](int64_t b, int64_t head) { return lse[b][head]; };
}

std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt> efficient_forward(
    const Tensor& q, const Tensor& k, const Tensor& v, const MaybeTensor& bias, const MaybeTensor& cu_q,
    const MaybeTensor& cu_k, std::optional<c10::SymInt> longest_q, std::optional<c10::SymInt> longest_k, double dropout,
    int64_t mask, bool saves, std::optional<double> scale, const MaybeTensor&, MaybeInt window) {
  const int64_t most_q = longest_q->expect_int(), most_k = longest_k->expect_int();
  check_efficient(q, k, v, bias, most_q, most_k, window);
  const Tensor q0 = q[0], k0 = k[0], v0 = v[0];
  check_ends(*cu_q, *cu_k, q0, k0, most_q, most_k);
  TORCH_CHECK(saves);
  const Tensor lse = at::full({cu_q->size(0) - 1, q.size(2), (most_q + 31) / 32 * 32}, NAN, at::kFloat),
               seed = at::full({}, drawn(dropout), at::kLong);
  const Heads h{q0, k0, v0, *cu_q, *cu_k, *scale, dropout, efficient_band(mask), seed.item<int64_t>()};
  return {forward(h, padded_lse(lse)).unsqueeze(0), lse, seed, at::zeros({}, at::kLong), most_q, most_k};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> efficient_backward(
    const Tensor& d, const Tensor& q, const Tensor& k, const Tensor& v, const MaybeTensor& bias, const Tensor& out,
    const MaybeTensor& cu_q, const MaybeTensor& cu_k, c10::SymInt longest_q, c10::SymInt longest_k, const Tensor& lse,
    double dropout, const Tensor& seed, const Tensor&, int64_t mask, bool bias_too, std::optional<double> scale, MaybeInt,
    MaybeInt window, bool) {
  check_efficient(q, k, v, bias, longest_q.expect_int(), longest_k.expect_int(), window);
  TORCH_CHECK(d.sizes() == q.sizes() && out.sizes() == q.sizes() && !bias_too && out.stride(-1) == 1);
  const Tensor q0 = q[0], k0 = k[0], v0 = v[0];
  const Heads h{q0, k0, v0, *cu_q, *cu_k, *scale, dropout, efficient_band(mask), seed.item<int64_t>()};
  const auto [dq, dk, dv] = backward(h, d[0], out[0], padded_lse(lse));
  return {dq.unsqueeze(0), dk.unsqueeze(0), dv.unsqueeze(0), Tensor()};
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, CPU, m) {
  m.impl("_flash_attention_forward", torch::CppFunction::makeFromBoxedFunction<&flash_forward>());
  m.impl("_flash_attention_backward", flash_backward);
  m.impl("_efficient_attention_forward", efficient_forward);
  m.impl("_efficient_attention_backward", efficient_backward);
}

}  // namespace lp
