// How long each op takes beside what ATen offers for the same work, and beside the best product of this machine. One
// line of JSON per case; scripts/bench reads them.
#include <ATen/core/dispatch/Dispatcher.h>

#include <chrono>
#include <cstdio>
#include <functional>

#include "check.h"

namespace lp::check {
namespace {

constexpr int kRounds = 9;

/// A GPU is timed over many, as waiting for it takes as long as some do.
int at_once() { return device.is_cpu() ? 1 : 20; }

/// Waits for what a GPU has been given, by asking it for a number.
void wait() {
  if (!device.is_cpu()) zeros({1}).item<float>();
}

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < at_once(); ++i) work();
  wait();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / at_once();
}

/// Medians of contenders that take turns.
std::vector<double> interleaved(const std::vector<std::function<void()>>& contenders) {
  std::vector<std::vector<double>> times(contenders.size());
  for (const auto& work : contenders) work();
  wait();
  for (int i = 0; i < kRounds; ++i)
    for (size_t c = 0; c < contenders.size(); ++c) times[c].push_back(seconds(contenders[c]));
  std::vector<double> medians;
  for (auto& t : times) {
    std::sort(t.begin(), t.end());
    medians.push_back(t[t.size() / 2]);
  }
  return medians;
}

void report(const char* op, int64_t rows, int64_t in, int64_t out, double ours, double aten, double flops,
            double bytes) {
  std::printf(
      "{\"op\":\"%s\",\"rows\":%ld,\"in\":%ld,\"out\":%ld,\"seconds\":%g,\"atenSeconds\":%g,\"flops\":%g,"
      "\"bytes\":%g}\n",
      op, rows, in, out, ours, aten, flops, bytes);
}

/// oneDNN's product with a weight that it has packed itself.
std::function<void()> packed_by_onednn(const Tensor& x, const Tensor& weight) {
  auto& dispatcher = c10::Dispatcher::singleton();
  const auto reorder = dispatcher.findSchema({"mkldnn::_reorder_linear_weight", ""});
  const auto product = dispatcher.findSchema({"mkldnn::_linear_pointwise", ""});
  if (!reorder || !product || !device.is_cpu()) return [=] { at::mm(x, weight.t()); };
  const Tensor packed = reorder->typed<Tensor(const Tensor&, std::optional<int64_t>)>().call(
      weight, std::optional<int64_t>(x.size(0)));
  return [=] {
    product
        ->typed<Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, c10::string_view,
                       c10::List<std::optional<at::Scalar>>, std::optional<c10::string_view>)>()
        .call(x, packed, std::nullopt, "none", c10::List<std::optional<at::Scalar>>(), std::nullopt);
  };
}

void products(int64_t rows, int64_t in, int64_t out) {
  const Tensor x = random({rows, in}, at::kBFloat16, 1), dy = random({rows, out}, at::kBFloat16, 2);
  const Linear linear(random({out, in}, at::kBFloat16, 3), random({out}, at::kFloat, 4), at::kBFloat16);
  const Tensor weight = linear.weight(), bias = linear.bias().to(at::kBFloat16);
  linear_backward(LinearGradient{dy, &linear, {}}, Tensor());  // packs
  const double flops = 2.0 * rows * in * out, bytes = 2.0 * (rows * (in + out) + in * out);
  auto t = interleaved({[&] { linear_forward(x, linear, nullptr, nullptr); },
                        [&] { at::addmm(bias, x, weight.t()); }, packed_by_onednn(x, weight)});
  report("linear forward", rows, in, out, t[0], t[1], flops, bytes);
  report("linear forward, packed by oneDNN", rows, in, out, t[2], t[1], flops, bytes);
  t = interleaved({[&] { linear_backward(LinearGradient{dy, &linear, {}}, Tensor()); },
                   [&] { at::mm(dy, weight); }});
  report("linear backward", rows, in, out, t[0], t[1], flops, bytes);

  const int64_t rank = 8;
  const Dropout dropout = make_dropout(0.05, step_key(1, 1, 1), 1);
  Parameters parameters;
  LoraModule m{parameters.add("a", {rank, in}, 1, true), parameters.add("b", {out, rank}, 1, true), rank, 2, 0};
  parameters.freeze(device);
  LoraSaved saved;
  const Tensor a = random({rank, in}, at::kBFloat16, 5), b = random({out, rank}, at::kBFloat16, 6);
  lora_follow(m, parameters, at::kBFloat16);
  t = interleaved({[&] { rank_project(x, m.down, 1, dropout, m.scale, true); },
                   [&] { at::mm(at::dropout(x, 0.05, true), a.t()); }});
  report("projection on ranks", rows, in, rank, t[0], t[1], 2.0 * rows * rank * in, 2.0 * rows * in);
  const Projection p = rank_project(x, m.down, 1, dropout, 1, true);
  const Tensor p16 = p.p.to(at::kBFloat16);
  t = interleaved({[&] { rank_outer(p, x, parameters[m.a].grad, dropout); },
                   [&] { at::mm(p16.t(), at::dropout(x, 0.05, true)); }});
  report("gradient of ranks", rows, in, rank, t[0], t[1], 2.0 * rows * rank * in, 2.0 * rows * in);
  t = interleaved({[&] {
                     lora_follow(m, parameters, at::kBFloat16);
                     const LowRank branch = lora_forward(m, x, dropout, &saved);
                     linear_forward(x, linear, &branch, nullptr);
                   },
                   [&] {
                     const Tensor dropped = at::dropout(x, 0.05, true);
                     at::addmm(bias, x, weight.t()) + at::mm(at::mm(dropped, a.t()), b.t()) * 2;
                   }});
  report("linear with LoRA forward", rows, in, out, t[0], t[1], flops + 2.0 * rows * rank * (in + out), bytes);
  t = interleaved({[&] {
                     const LowRank branch = lora_backward(m, parameters, dy, saved);
                     lora_gradient_a(m, parameters, x, branch);
                     linear_backward(LinearGradient{dy, &linear, branch}, Tensor());
                   },
                   [&] {
                     const Tensor g = at::mm(dy, b) * 2, dropped = at::dropout(x, 0.05, true);
                     at::mm(g.t(), dropped), at::mm(dy.t(), at::mm(dropped, a.t()));
                     at::mm(dy, weight) + at::dropout(at::mm(g, a), 0.05, true);
                   }});
  report("linear with LoRA backward", rows, in, out, t[0], t[1], flops + 4.0 * rows * rank * (in + out), bytes);
}

void rows_of(int64_t rows, int64_t hidden, int64_t ffn) {
  const Tensor x = random({rows, hidden}, at::kBFloat16, 1), r = random({rows, hidden}, at::kBFloat16, 2);
  const Tensor z = random({rows, ffn}, at::kBFloat16, 3), dz = random({rows, ffn}, at::kBFloat16, 4);
  NormWeights w{ones({hidden}), zeros({hidden}), 1e-5, false};
  const Tensor gamma = w.gamma.to(at::kBFloat16), beta = w.beta.to(at::kBFloat16);
  const Dropout dropout = make_dropout(0.1, step_key(1, 1, 1), 1);
  NormSaved saved;
  const double small = 2.0 * rows * hidden, large = 2.0 * rows * ffn;
  auto t = interleaved({[&] { norm_forward(x, r, w, dropout, &saved); },
                        [&] { at::layer_norm(at::dropout(x, 0.1, true) + r, {hidden}, gamma, beta); }});
  report("dropout, residual, norm forward", rows, hidden, hidden, t[0], t[1], 0, 3 * small);
  const auto parts = at::native_layer_norm(r, {hidden}, gamma, beta, 1e-5);
  t = interleaved({[&] { norm_backward(x, w, saved); },
                   [&] {
                     const auto d = at::native_layer_norm_backward(x, r, {hidden}, std::get<1>(parts),
                                                                   std::get<2>(parts), gamma, beta,
                                                                   {true, false, false});
                     std::get<0>(d) * r;
                   }});
  report("dropout, residual, norm backward", rows, hidden, hidden, t[0], t[1], 0, 4 * small);
  t = interleaved({[&] { activation_forward(z, Tensor(), Activation::gelu); }, [&] { at::gelu(z); }});
  report("gelu forward", rows, ffn, ffn, t[0], t[1], 0, 2 * large);
  t = interleaved({[&] { activation_backward(z, dz, Tensor(), {}, Activation::gelu); },
                   [&] { at::gelu_backward(dz, z); }});
  report("gelu backward", rows, ffn, ffn, t[0], t[1], 0, 3 * large);
}

void attention_of(int64_t sequences, int64_t length, int64_t heads, int64_t size) {
  const int64_t rows = sequences * length, width = heads * size;
  const Tensor q = random({rows, width}, at::kBFloat16, 1), k = random({rows, width}, at::kBFloat16, 2),
               v = random({rows, width}, at::kBFloat16, 3), d = random({rows, width}, at::kBFloat16, 4);
  Sequences s;
  s.cu_q = s.cu_k = here(at::arange(0, rows + 1, length, at::kInt));
  s.k_begin = s.cu_q.narrow(0, 0, sequences);
  s.k_end = s.cu_q.narrow(0, 1, sequences);
  AttentionConfig config;
  config.heads = heads;
  config.scale = 1 / std::sqrt(static_cast<double>(size));
  s.longest_q = s.longest_k = length;
  const Dropout dropout = make_dropout(0.1, step_key(1, 1, 1), 1);
  AttentionSaved saved;
  const auto heads_of = [&](const Tensor& t) { return t.view({sequences, length, heads, size}).transpose(1, 2); };
  const double flops = 4.0 * rows * length * width, bytes = 8.0 * rows * width;
  auto t = interleaved({[&] { attention_forward(q, k, v, s, config, Tensor(), dropout, &saved); },
                        [&] {
                          at::scaled_dot_product_attention(heads_of(q), heads_of(k), heads_of(v), {}, 0.1);
                        }});
  report("attention forward", rows, length, width, t[0], t[1], flops, bytes);
  const auto leaf = [&](const Tensor& t) { return heads_of(t).detach().requires_grad_(); };
  const Tensor q1 = leaf(q), k1 = leaf(k), v1 = leaf(v), d1 = heads_of(d);
  t = interleaved({[&] { attention_backward(d, saved, s, config, Tensor(), {}); },
                   [&] { at::scaled_dot_product_attention(q1, k1, v1, {}, 0.1).backward(d1); }});
  report("attention backward (ATen: and forward)", rows, length, width, t[0], t[1], 2.5 * flops, 2 * bytes);
}

}  // namespace

void peaks() {
  constexpr int64_t size = 8192;
  const Tensor a = random({size, size}, at::kBFloat16, 1), b = random({size, size}, at::kBFloat16, 2),
               from = zeros({int64_t{1} << 28});
  Tensor product = at::empty_like(a), to = at::empty_like(from);
  const auto t = interleaved({[&] { at::mm_out(product, a, b); },
                              [&] { to.copy_(from); }});
  std::printf("{\"flops\":%g,\"bytesPerSecond\":%g}\n", 2.0 * size * size * size / t[0],
              2.0 * static_cast<double>(from.nbytes()) / t[1]);
}

void peak(int64_t rows, int64_t hidden, int64_t ffn) {
  double best = 0;
  for (const auto& [in, out] : {std::pair(hidden, hidden), std::pair(hidden, ffn), std::pair(ffn, hidden)}) {
    const Tensor x = random({rows, in}, at::kBFloat16, 1);
    const Linear linear(random({out, in}, at::kBFloat16, 3), random({out}, at::kFloat, 4), at::kBFloat16);
    for (const double t : interleaved({[&] { linear_forward(x, linear, nullptr, nullptr); },
                                       packed_by_onednn(x, linear.weight())}))
      best = std::max(best, 2.0 * rows * in * out / t);
  }
  std::printf("{\"flops\":%g}\n", best);
}

void times(int64_t sequences, int64_t length, int64_t hidden, int64_t ffn, int64_t heads) {
  const int64_t rows = sequences * length;
  products(rows, hidden, hidden);
  products(rows, hidden, ffn);
  products(rows, ffn, hidden);
  rows_of(rows, hidden, ffn);
  attention_of(sequences, length, heads, hidden / heads);
}

}  // namespace lp::check
