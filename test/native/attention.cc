#include "check.h"

namespace lp::check {
namespace {

struct Shape {
  std::vector<int32_t> queries, keys;  // of each sequence
  int64_t heads, size;
};

Tensor ends(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> cu{0};
  for (const int32_t n : lengths) cu.push_back(cu.back() + n);
  return at::tensor(cu, at::kInt);
}

/// Softmax attention written out, sequence by sequence and head by head.
Tensor written_out(const Tensor& q, const Tensor& k, const Tensor& v, const Shape& s, const Tensor& mask,
                   const Dropout& dropout) {
  std::vector<Tensor> sequences;
  int64_t q0 = 0, k0 = 0;
  for (size_t b = 0; b < s.queries.size(); ++b) {
    const int64_t nq = s.queries[b], nk = s.keys[b];
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < s.heads; ++h) {
      const auto part = [&](const Tensor& t, int64_t at, int64_t n) {
        return t.narrow(0, at, n).narrow(1, h * s.size, s.size);
      };
      Tensor p = at::mm(part(q, q0, nq), part(k, k0, nk).t()) / std::sqrt(static_cast<double>(s.size));
      p = at::softmax(p, 1);
      Tensor f = at::empty({nq, nk}, at::kDouble);
      for (int64_t i = 0; i < nq; ++i)
        for (int64_t j = 0; j < nk; ++j)
          f.mutable_data_ptr<double>()[i * nk + j] = dropout_factor(dropout, (q0 + i) * s.heads + h, j, nk);
      Tensor context = at::mm(p * f, part(v, k0, nk));
      heads.push_back(mask.defined() ? context * mask[h] : context);
    }
    sequences.push_back(at::cat(heads, 1));
    q0 += nq;
    k0 += nk;
  }
  return at::cat(sequences, 0);
}

}  // namespace

void attention() {
  const Shape shapes[] = {
      {{1}, {1}, 1, 1},
      {{5, 1, 33}, {5, 1, 33}, 3, 12},
      {{64, 65, 7}, {64, 65, 7}, 2, 64},
      {{130}, {130}, 2, 32},
      {{1, 1, 1}, {9, 40, 3}, 2, 16},  // one query for each sequence, as the last layer of a classifier needs
  };
  for (const auto dtype : kTypes)
    for (const Shape& shape : shapes)
      for (const bool masked : {false, true})
        for (const bool drops : {false, true}) {
          Sequences s;
          s.cu_q = ends(shape.queries);
          s.cu_k = ends(shape.keys);
          s.longest_q = *std::max_element(shape.queries.begin(), shape.queries.end());
          s.longest_k = *std::max_element(shape.keys.begin(), shape.keys.end());
          const int64_t tq = s.cu_q[-1].item<int32_t>(), tk = s.cu_k[-1].item<int32_t>(),
                        width = shape.heads * shape.size;
          const Dropout dropout = drops ? make_dropout(0.2, 3, 1, 4, 1) : Dropout{};
          const Tensor q = random({tq, width}, dtype, 1), k = random({tk, width}, dtype, 2),
                       v = random({tk, width}, dtype, 3), dc = random({tq, width}, dtype, 4);
          const Tensor mask = masked ? random({shape.heads}, at::kFloat, 5) : Tensor();
          const Tensor q64 = leaf(q), k64 = leaf(k), v64 = leaf(v), mask64 = masked ? leaf(mask) : Tensor();
          const Tensor truth = written_out(q64, k64, v64, shape, mask64, dropout);
          truth.backward(dc.to(at::kDouble));

          AttentionSaved saved;
          const Tensor context = attention_forward(q, k, v, s, shape.heads, mask, dropout, &saved);
          const Tensor mask_grad = masked ? at::zeros({shape.heads}, at::kFloat) : Tensor(),
                       salience = masked ? at::ones({shape.heads}, at::kFloat) : Tensor();
          const AttentionGrads grads = attention_backward(dc, saved, s, shape.heads, mask, {mask_grad, salience});
          const std::string op = "attention " + std::to_string(shape.heads) + "x" + std::to_string(shape.size) +
                                 " of " + std::to_string(tq) + " on " + std::to_string(tk) +
                                 (masked ? " masked" : "") + (drops ? " dropout" : "");
          const bool wide = dtype == at::kFloat;
          // The saved context is rounded, and its product with the gradient is subtracted from each.
          const double bound = wide ? 1e-5 : 0x1p-7;
          compare(op, "value", dtype, context, truth, wide ? 5e-6 : 0x1p-8);
          compare(op, "dq", dtype, grads.q, q64.grad(), bound);
          compare(op, "dk", dtype, grads.k, k64.grad(), bound);
          compare(op, "dv", dtype, grads.v, v64.grad(), bound);
          if (!masked) continue;
          compare(op, "dmask", dtype, mask_grad, mask64.grad(), bound);
          const Tensor unmasked = written_out(q64, k64, v64, shape, Tensor(), dropout);
          const Tensor products = (unmasked * dc.to(at::kDouble)).view({tq, shape.heads, shape.size}).sum(2);
          compare(op, "salience", dtype, salience, 1 + products.abs().sum(0), bound);
        }
}

}  // namespace lp::check
