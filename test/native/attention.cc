#include <numeric>

#include "check.h"
#include "ops/device.h"
#include "ops/library_attention.h"

namespace lp::check {
namespace {

struct Shape {
  std::vector<int32_t> queries, keys;  // of each sequence
  int64_t heads, size;
  int64_t group = 1;
  bool causal = false;
  int64_t window = 0;
  bool alibi = false;
  bool serves_fp32 = true, serves_bf16 = true;  // whether what LibTorch has for a GPU serves, where it may
};

Tensor ends(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> cu{0};
  for (const int32_t n : lengths) cu.push_back(cu.back() + n);
  return here(at::tensor(cu, at::kInt));
}

/// What is added to the scores of one query head.
Tensor score_bias(int64_t nq, int64_t nk, const Shape& s, double slope) {
  Tensor bias = at::zeros({nq, nk}, at::kDouble);
  for (int64_t i = 0; i < nq; ++i)
    for (int64_t j = 0; j < nk; ++j) {
      const int64_t distance = i + nk - nq - j;
      double& b = bias.mutable_data_ptr<double>()[i * nk + j];
      b = -slope * static_cast<double>(distance);
      if ((s.causal && distance < 0) || (s.window > 0 && distance >= s.window)) b = -1e30;
    }
  return here(bias);
}

/// Softmax attention written out, sequence by sequence and head by head.
Tensor written_out(const Tensor& q, const Tensor& k, const Tensor& v, const Shape& s, const Tensor& mask,
                   const Tensor& slopes, const Dropout& dropout) {
  std::vector<Tensor> sequences;
  const int64_t all = s.heads * s.group;
  int64_t q0 = 0, k0 = 0;
  for (size_t b = 0; b < s.queries.size(); ++b) {
    const int64_t nq = s.queries[b], nk = s.keys[b];
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < all; ++h) {
      const auto part = [&](const Tensor& t, int64_t at, int64_t n, int64_t head) {
        return t.narrow(0, at, n).narrow(1, head * s.size, s.size);
      };
      Tensor p = at::mm(part(q, q0, nq, h), part(k, k0, nk, h / s.group).t()) / std::sqrt(static_cast<double>(s.size));
      p = at::softmax(p + score_bias(nq, nk, s, slopes.defined() ? slopes[h].item<double>() : 0), 1);
      Tensor f = at::empty({nq, nk}, at::kDouble);
      for (int64_t i = 0; i < nq; ++i)
        for (int64_t j = 0; j < nk; ++j)
          f.mutable_data_ptr<double>()[i * nk + j] = dropout_factor(dropout, (q0 + i) * all + h, j, nk);
      Tensor context = at::mm(p * here(f), part(v, k0, nk, h / s.group));
      heads.push_back(mask.defined() ? context * mask[h / s.group] : context);
    }
    sequences.push_back(at::cat(heads, 1));
    q0 += nq;
    k0 += nk;
  }
  return at::cat(sequences, 0);
}

std::string name_of(const Shape& s, bool masked, bool drops) {
  const auto sum = [](const std::vector<int32_t>& n) { return std::to_string(std::accumulate(n.begin(), n.end(), 0)); };
  return std::to_string(s.heads) + "x" + std::to_string(s.size) + (s.group > 1 ? " group " + std::to_string(s.group) : "") +
         (s.causal ? " causal" : "") + (s.window > 0 ? " window" : "") + (s.alibi ? " alibi" : "") + " of " +
         sum(s.queries) + " on " + sum(s.keys) + (masked ? " masked" : "") + (drops ? " dropout" : "");
}

/// Attention and its gradients of one shape, by this project's kernels or by what LibTorch has for a GPU.
void attend(const Shape& shape, at::ScalarType dtype, bool masked, bool drops, bool library) {
  Sequences s;
  s.cu_q = ends(shape.queries);
  const Tensor cu_k = shape.queries == shape.keys ? s.cu_q : ends(shape.keys);
  const auto count = static_cast<int64_t>(shape.keys.size());
  if (library) s.cu_k = cu_k;
  s.k_begin = cu_k.narrow(0, 0, count);
  s.k_end = cu_k.narrow(0, 1, count);
  s.longest_q = *std::max_element(shape.queries.begin(), shape.queries.end());
  s.longest_k = *std::max_element(shape.keys.begin(), shape.keys.end());
  const int64_t tq = s.cu_q[-1].item<int32_t>(), tk = cu_k[-1].item<int32_t>(), narrow = shape.heads * shape.size,
                width = narrow * shape.group;
  const Dropout dropout = drops ? make_dropout(0.2, step_key(3, 1, 4), 1) : Dropout{};
  const Tensor q = random({tq, width}, dtype, 1), k = random({tk, narrow}, dtype, 2), v = random({tk, narrow}, dtype, 3),
               dc = random({tq, width}, dtype, 4);
  const Tensor mask = masked ? random({shape.heads}, at::kFloat, 5) : Tensor();
  AttentionConfig config{shape.heads,  shape.group,  1 / std::sqrt(static_cast<double>(shape.size)),
                         shape.causal, shape.window, {}};
  if (shape.alibi) config.slopes = random({shape.heads * shape.group}, at::kFloat, 6).abs() * 0.1;

  AttentionSaved saved;
  const Tensor context = attention_forward(q, k, v, s, config, mask, dropout, &saved);
  const Tensor mask_grad = masked ? zeros({shape.heads}) : Tensor(), salience = masked ? ones({shape.heads}) : Tensor();
  const AttentionGrads grads = attention_backward(dc, saved, s, config, mask, {mask_grad, salience});
  const std::string op = (library ? "library " : "attention ") + name_of(shape, masked, drops);
  const bool wide = dtype == at::kFloat;
  // The saved context is rounded, and its product with the gradient is subtracted from each.
  const double bound = wide ? 1e-5 : 0x1p-7;
  const Tensor dc64 = dc.to(at::kDouble);
  const bool serves = library_serves(q, s, config, dropout);
  // With dropout the version decides, too.
  if (library && !drops)
    compare(op, "serves", dtype, at::tensor(double(serves)), at::tensor(double(wide ? shape.serves_fp32 : shape.serves_bf16)), 0);
  if (serves && drops) {
    // It drops what it will. Whatever that was, the context is linear in the values and in the masks, and the scores
    // are in queries and in keys.
    const auto product_of = [](const Tensor& a, const Tensor& b) { return a.to(at::kDouble) * b.to(at::kDouble); };
    const Tensor product = product_of(context, dc).sum(), sizes = product_of(context, dc).abs().sum();
    compare(op, "dv", dtype, product_of(grads.v, v).sum(), product, bound, sizes);
    compare(op, "dq and dk", dtype, product_of(grads.q, q).sum(), product_of(grads.k, k).sum(), bound,
            product_of(grads.q, q).abs().sum());
    if (masked) compare(op, "dmask", dtype, (mask_grad * mask).sum(), product, bound, sizes);
    return;
  }
  const Tensor q64 = leaf(q), k64 = leaf(k), v64 = leaf(v), mask64 = masked ? leaf(mask) : Tensor();
  const Tensor truth = written_out(q64, k64, v64, shape, mask64, config.slopes, dropout);
  truth.backward(dc64);
  compare(op, "value", dtype, context, truth, wide ? 5e-6 : 0x1p-8);
  compare(op, "dq", dtype, grads.q, q64.grad(), bound);
  compare(op, "dk", dtype, grads.k, k64.grad(), bound);
  compare(op, "dv", dtype, grads.v, v64.grad(), bound);
  if (!masked) return;
  const Tensor unmasked = written_out(q64, k64, v64, shape, Tensor(), config.slopes, dropout);
  const Tensor products = (unmasked * dc64).view({tq, shape.heads, shape.group, shape.size}).sum(3).abs().sum({0, 2});
  // A sum of products of rounded contexts, which may cancel.
  compare(op, "dmask", dtype, mask_grad, mask64.grad(), bound, products);
  compare(op, "salience", dtype, salience, 1 + products, bound);
}

void attend_all(const std::vector<Shape>& shapes, bool library) {
  for (const auto dtype : kTypes)
    for (const Shape& shape : shapes)
      for (const bool masked : {false, true})
        for (const bool drops : {false, true}) attend(shape, dtype, masked, drops, library);
}

}  // namespace

void attention() {
  attend_all(
      {
          {{1}, {1}, 1, 1},
          {{5, 1, 33}, {5, 1, 33}, 3, 12},
          {{64, 65, 7}, {64, 65, 7}, 2, 64},
          {{130}, {130}, 2, 32},
          {{1, 1, 1}, {9, 40, 3}, 2, 16},  // one query for each sequence, as the last layer of a classifier needs
          {{70, 3}, {70, 3}, 2, 16, 1, true},
          {{130, 33}, {130, 33}, 2, 24, 3, true},
          {{1, 2}, {70, 5}, 2, 16, 2, true},  // the last of a sequence's queries, as generation needs
          {{100}, {100}, 1, 32, 2, true, 7},
          {{66, 5}, {66, 5}, 3, 8, 1, true, 0, true},
          {{40}, {40}, 2, 8, 2, true, 9, true},
          {{23, 1}, {70, 45}, 2, 96, 3, true},
          {{50, 9}, {50, 9}, 2, 32, 1, true, 0, true},
      },
      false);
}

void library_attention() {
  if (!library_kernels(zeros({1}))) return;
  attend_all(
      {
          {{5, 1, 33}, {5, 1, 33}, 3, 12, 1, false, 0, false, true, false},
          {{64, 65, 7}, {64, 65, 7}, 2, 64},
          {{1, 1, 1}, {9, 40, 3}, 2, 16},
          {{1, 1}, {9, 40}, 2, 16, 3, true},
          {{70, 3}, {70, 3}, 2, 16, 1, true},
          {{130, 33}, {130, 33}, 2, 24, 3, true},
          {{100, 31}, {100, 31}, 1, 32, 2, true, 7, false, false, true},
          {{40, 9}, {40, 9}, 2, 128},
          {{12, 50}, {12, 50}, 1, 256, 2, true},
      },
      true);
}

void head_parts() {
  const DeviceKernels* kernels = device_kernels(zeros({1}));
  if (!kernels) return;  // they stand beside a device's attention alone
  for (const auto dtype : kTypes) {
    constexpr int64_t rows = 45, heads = 3, group = 2, size = 12, width = heads * group * size;
    const Tensor x = random({rows, width}, dtype, 1), y = random({rows, width}, dtype, 2),
                 mask = random({heads}, at::kFloat, 3), scaled = at::empty_like(x), cu = ends({5, 40}),
                 sums = zeros({2, 2, heads}), room = zeros({heads * group, rows});
    const HeadScale scale{x.const_data_ptr(), mask.const_data_ptr<float>(), scaled.mutable_data_ptr(), heads,
                          group * size};
    kernels->scale_heads(scale, launch_on(x));
    const Tensor truth = x.to(at::kDouble).view({rows, heads, -1}) * mask.to(at::kDouble).view({1, heads, 1});
    compare("heads", "scaled", dtype, scaled, truth.view({rows, width}), 1e-7);
    AttentionBackward a{};
    a.unmasked = x.const_data_ptr();
    a.d_context = y.const_data_ptr();
    a.cu_q = cu.const_data_ptr<int32_t>();
    a.sums = {sums.mutable_data_ptr<float>(), sums.select(0, 1).mutable_data_ptr<float>()};
    a.heads = heads;
    a.group = group;
    a.size = size;
    a.q_rows = rows;
    kernels->head_sums(a, 2, launch_on(x, room));
    const Tensor products = (x.to(at::kDouble) * y.to(at::kDouble)).view({rows, heads, group, size}).sum(3);
    for (int64_t b = 0; b < 2; ++b) {
      const Tensor some = products.narrow(0, b * 5, b == 0 ? 5 : 40), sizes = some.abs().sum({0, 2});
      compare("heads", "products", at::kFloat, sums[0][b], some.sum({0, 2}), 1e-6, sizes);
      compare("heads", "sizes of products", at::kFloat, sums[1][b], sizes, 1e-6);
    }
  }
}

void rotations() {
  for (const auto dtype : kTypes)
    for (const bool interleaved : {false, true})
      for (const int64_t turned : {2, 6, 10}) {
        constexpr int64_t rows = 37, heads = 3, size = 10;
        const int64_t pairs = turned / 2;
        const Tensor x = random({rows, heads * size}, dtype, 1), dy = random({rows, heads * size}, dtype, 2);
        const Tensor angle = random({rows, pairs}, at::kFloat, 3, 5);
        const Angles angles{angle.cos(), angle.sin(), interleaved};
        const Tensor x64 = leaf(x), all = x64.view({rows, heads, size});
        const auto half = [&](int64_t which) {
          const Tensor part = all.narrow(2, 0, turned);
          return interleaved ? part.reshape({rows, heads, pairs, 2}).select(3, which)
                             : part.narrow(2, which * pairs, pairs);
        };
        const Tensor c = angles.cos.to(at::kDouble).unsqueeze(1), s = angles.sin.to(at::kDouble).unsqueeze(1);
        const Tensor first = half(0) * c - half(1) * s, second = half(1) * c + half(0) * s;
        const Tensor front = interleaved ? at::stack({first, second}, 3).reshape({rows, heads, turned})
                                         : at::cat({first, second}, 2);
        const Tensor y64 = at::cat({front, all.narrow(2, turned, size - turned)}, 2).view({rows, heads * size});
        y64.backward(dy.to(at::kDouble));
        const std::string op = std::string("rotation ") + (interleaved ? "interleaved " : "") + std::to_string(turned);
        compare(op, "value", dtype, rotated(x, angles, size, false), y64, 1e-6);
        compare(op, "dx", dtype, rotated(dy, angles, size, true), x64.grad(), 1e-6);
      }
}

}  // namespace lp::check
