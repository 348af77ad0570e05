// Ops that go over a tensor row by row.
#include "check.h"

namespace lp::check {
namespace {

struct Size {
  int64_t rows, width;
};
// Below, at and past the 32 columns of a block; one row; more rows than a thread takes at once; rows that a block of
// a GPU's threads reads several times.
constexpr Size kSizes[] = {{1, 1}, {3, 31}, {5, 33}, {64, 96}, {300, 1000}, {2, 5001}, {2, 9000}};

std::string at_size(Size s) { return std::to_string(s.rows) + "x" + std::to_string(s.width); }

Tensor activation(const Tensor& z, Activation kind) {
  switch (kind) {
    case Activation::gelu:
      return at::gelu(z);
    case Activation::gelu_tanh:
      return at::gelu(z, "tanh");
    case Activation::relu:
      return at::relu(z);
    default:
      return at::silu(z);
  }
}

Dropout some_dropout(bool on) { return on ? make_dropout(0.3, step_key(7, 3, 1), 5) : Dropout{}; }

}  // namespace

void activations() {
  const char* const names[] = {"gelu", "gelu_tanh", "relu", "silu"};
  for (const auto dtype : kTypes)
    for (const Size s : kSizes)
      for (int kind = 0; kind < 4; ++kind)
        for (const bool masked : {false, true}) {
          const auto act = static_cast<Activation>(kind);
          const Tensor z = random({s.rows, s.width}, dtype, 1, 3), dg = random({s.rows, s.width}, dtype, 2);
          const Tensor mask = masked ? random({s.width}, at::kFloat, 3) : Tensor();
          const Tensor z64 = leaf(z), mask64 = masked ? leaf(mask) : Tensor();
          Tensor g64 = activation(z64, act);
          if (masked) g64 = g64 * mask64;
          g64.backward(dg.to(at::kDouble));
          const std::string op = std::string("activation ") + names[kind] + (masked ? " masked " : " ") + at_size(s);
          compare(op, "value", dtype, activation_forward(z, mask, act), g64, 2e-6);
          const Tensor mask_grad = masked ? zeros({s.width}) : Tensor(),
                       salience = masked ? ones({s.width}) : Tensor();
          const Tensor found = z.clone(), dz = dg.clone();
          activation_backward(found, dz, mask, {mask_grad, salience}, act);
          compare(op, "dz", dtype, dz, z64.grad(), 2e-6);
          compare(op, "value again", dtype, found, g64, 2e-6);
          if (!masked) continue;
          compare(op, "dmask", dtype, mask_grad, mask64.grad(), 2e-6);
          const Tensor products = activation(z64, act) * dg.to(at::kDouble);
          compare(op, "salience", dtype, salience, 1 + products.abs().sum(0), 2e-6);
        }
}

void gates() {
  for (const auto dtype : kTypes)
    for (const Size s : kSizes)
      for (const bool masked : {false, true}) {
        const Tensor z = random({s.rows, s.width}, dtype, 1, 3), u = random({s.rows, s.width}, dtype, 4),
                     dy = random({s.rows, s.width}, dtype, 2);
        const Tensor mask = masked ? random({s.width}, at::kFloat, 3) : Tensor();
        const Tensor z64 = leaf(z), u64 = leaf(u), mask64 = masked ? leaf(mask) : Tensor();
        Tensor y64 = at::silu(z64) * u64;
        if (masked) y64 = y64 * mask64;
        y64.backward(dy.to(at::kDouble));
        const std::string op = std::string("gate ") + (masked ? "masked " : "") + at_size(s);
        compare(op, "value", dtype, gated_forward(z, u, mask, Activation::silu), y64, 2e-6);
        const Tensor mask_grad = masked ? zeros({s.width}) : Tensor(),
                     salience = masked ? ones({s.width}) : Tensor();
        const Tensor again = z.clone(), du = u.clone(), dz = dy.clone();
        gated_backward(again, du, dz, mask, {mask_grad, salience}, Activation::silu);
        compare(op, "dz", dtype, dz, z64.grad(), 2e-6);
        compare(op, "du", dtype, du, u64.grad(), 2e-6);
        compare(op, "value again", dtype, again, y64, 2e-6);
        if (!masked) continue;
        compare(op, "dmask", dtype, mask_grad, mask64.grad(), 2e-6);
        const Tensor products = at::silu(z64) * u64 * dy.to(at::kDouble);
        compare(op, "salience", dtype, salience, 1 + products.abs().sum(0), 2e-6);
      }
}

void moments() {
  for (const auto dtype : kTypes)
    for (const Size s : kSizes) {
      const Tensor x = random({s.rows, s.width}, dtype, 1);
      const Tensor sum = ones({s.width}), square = ones({s.width});
      add_moments(x, sum, square);
      const Tensor x64 = x.to(at::kDouble), sizes = x64.abs().sum(0);
      compare("moments " + at_size(s), "sum", at::kFloat, sum, 1 + x64.sum(0), 2e-6, sizes);
      compare("moments " + at_size(s), "square", at::kFloat, square, 1 + x64.square().sum(0), 2e-6);
    }
}

void norms() {
  for (const auto dtype : kTypes)
    for (const Size s : kSizes)
      for (const bool residual : {false, true})
        for (const bool drops : {false, true})
          for (const bool keeps : {false, true}) {
            if (s.width == 1) continue;  // a row of one has no variance
            const Dropout dropout = some_dropout(drops);
            const Tensor z = random({s.rows, s.width}, dtype, 1, 2), dy = random({s.rows, s.width}, dtype, 2);
            const Tensor r = residual ? random({s.rows, s.width}, dtype, 3) : Tensor();
            for (const bool centered : {true, false}) {
            NormWeights w{random({s.width}, at::kFloat, 4, 0.1) + 1, random({s.width}, at::kFloat, 5), 1e-5, keeps};
            if (!centered) w.beta = Tensor();
            const Tensor z64 = leaf(z), r64 = residual ? leaf(r) : Tensor(), gamma64 = leaf(w.gamma),
                         beta64 = centered ? leaf(w.beta) : Tensor();
            Tensor sum = z64 * factors(dropout, s.rows, s.width);
            if (residual) sum = sum + r64;
            const Tensor y64 = centered ? at::layer_norm(sum, {s.width}, gamma64, beta64, 1e-5)
                                        : sum * (sum.square().mean(1, true) + 1e-5).rsqrt() * gamma64;
            const Tensor past = random({s.rows, s.width}, dtype, 6);
            (y64 * dy.to(at::kDouble) + sum * past.to(at::kDouble)).sum().backward();
            NormSaved saved;
            const std::string op = std::string(centered ? "norm " : "rms norm ") + (residual ? "residual " : "") + (drops ? "dropout " : "") +
                                   (keeps ? "normalized kept " : "") + at_size(s);
            Tensor added;
            compare(op, "value", dtype, norm_forward(z, r, w, dropout, &saved, &added), y64, 3e-6);
            compare(op, "sum", dtype, added, sum, 1e-6);
            const NormGrads grads = norm_backward(dy, w, saved, past);
            // The normalized values come from the rounded output or are rounded themselves.
            const double bound = dtype == at::kFloat ? 2e-5 : 0x1p-7;
            compare(op, "dz", dtype, grads.z, z64.grad(), bound);
            if (residual) compare(op, "dresidual", dtype, grads.residual, r64.grad(), bound);
            const Tensor d_gamma = ones({s.width}), d_beta = centered ? ones({s.width}) : Tensor();
            norm_gradient(dy, w, saved, d_gamma, d_beta);
            // Sums of products that may cancel.
            const Tensor sizes = (y64 * dy.to(at::kDouble)).abs().sum(0) + dy.to(at::kDouble).abs().sum(0);
            compare(op, "dgamma", dtype, d_gamma, 1 + gamma64.grad(), bound, sizes);
            if (centered) compare(op, "dbeta", dtype, d_beta, 1 + beta64.grad(), bound, sizes);
            }
          }
}

void gathers() {
  for (const auto dtype : kTypes) {
    const Tensor m = random({40, 33}, dtype, 1), rows = here(at::tensor({39, 0, 7, 7}, at::kLong)),
                 columns = here(at::tensor({1, 32, 5}, at::kLong)), scale = random({3}, at::kFloat, 2);
    compare("gather", "rows", dtype, gathered(m, rows, {}, {}), m.index_select(0, rows), 0);
    const Tensor some = m.to(at::kDouble).index_select(0, rows).index_select(1, columns);
    compare("gather", "both, scaled", dtype, gathered(m, rows, columns, scale), some * scale.to(at::kDouble), 1e-7);
  }
}

void dropouts() {
  for (const auto dtype : kTypes)
    for (const Size s : kSizes) {
      const Dropout dropout = some_dropout(true);
      const Tensor x = random({s.rows, s.width}, dtype, 1);
      const Tensor f = factors(dropout, s.rows, s.width);
      compare("dropout " + at_size(s), "value", dtype, apply_dropout(x, dropout), x.to(at::kDouble) * f, 1e-7);
      if (s.rows < 300) continue;
      // 300,000 draws: the share that falls is within five deviations of p.
      const double share = f.eq(0).to(at::kDouble).mean().item<double>();
      compare("dropout share", "p", dtype, at::tensor(share, at::kDouble), at::tensor(0.3, at::kDouble), 0.014);
    }
}

void lookups() {
  for (const auto dtype : kTypes)
    for (const auto table : {at::kFloat, at::kBFloat16, at::kHalf})
      for (const Size s : kSizes) {
        const Tensor word = random({7, s.width}, table, 1), place = random({s.rows + 2, s.width}, table, 2);
        const Tensor ids = at::arange(s.rows, at::TensorOptions(device).dtype(at::kLong)).mul(3).remainder(7);
        const Tensor places = at::arange(s.rows, at::TensorOptions(device).dtype(at::kLong)) + 2;
        const auto of = [](const Tensor& from, const Tensor& rows) { return from.to(at::kDouble).index_select(0, rows); };
        const std::string op = std::string("embedding ") + at::toString(table) + " " + at_size(s);
        compare(op, "one", dtype, embedded(Lookup{word, ids}, dtype), of(word, ids), 1e-7);
        compare(op, "three", dtype, embedded({{word, ids}, {place, places}, {word, ids}}, dtype),
                2 * of(word, ids) + of(place, places), 3e-7);
      }
}

void linears() {
  // Around a vector, a panel and a row tile; odd depths have a pair that is half empty.
  struct Shape {
    int64_t rows, in, out;
  };
  constexpr Shape shapes[] = {{1, 1, 1}, {3, 31, 17}, {5, 33, 64}, {7, 64, 130}, {200, 96, 300}, {13, 1000, 80}, {33, 48, 100}, {48, 63, 40}, {23, 64, 64}, {57, 40, 96}};
  for (const auto dtype : kTypes)
    for (const Shape s : shapes)
      for (const int64_t rank : {0, 1, 3, 8, 17})
        for (const bool drops : {false, true}) {
          const Dropout dropout = some_dropout(drops);
          const Tensor x = random({s.rows, s.in}, dtype, 1), dy = random({s.rows, s.out}, dtype, 3);
          const Linear base(random({s.out, s.in}, dtype, 2), random({s.out}, at::kFloat, 7), dtype);
          const Tensor start = random({s.rows, s.in}, dtype, 6);
          Parameters parameters;
          LoraModule m{parameters.add("a", {rank, s.in}, 1, true), parameters.add("b", {s.out, rank}, 1, true),
                             rank, 2, 0};
          parameters.freeze(device);
          parameters[m.a].value.copy_(random({rank, s.in}, at::kFloat, 4));
          parameters[m.b].value.copy_(random({s.out, rank}, at::kFloat, 5, 0.1));
          lora_follow(m, parameters, dtype);
          const Tensor x64 = leaf(x), a64 = leaf(parameters[m.a].value), b64 = leaf(parameters[m.b].value);
          const Tensor dropped = x64 * factors(dropout, s.rows, s.in);
          const Tensor branch64 = 2 * at::mm(at::mm(dropped, a64.t()), b64.t());
          const Tensor base64 = at::mm(x64, base.weight().to(at::kDouble).t()) + base.bias().to(at::kDouble);
          const Tensor truth = base64 + branch64;
          truth.backward(dy.to(at::kDouble));

          // Without packed products base and branch are rounded apart, and so are start, base and branch.
          const double apart = dtype == at::kFloat || base.packed() ? 0 : 0x1p-7;
          const std::string op = "linear lora r " + std::to_string(rank) + (drops ? " dropout " : " ") +
                                 std::to_string(s.rows) + "x" + std::to_string(s.in) + "x" + std::to_string(s.out);
          if (rank == 0) {
            compare(op, "value", dtype, linear_forward(x, base, nullptr, nullptr), truth, 5e-6);
            compare(op, "dx", dtype, linear_backward(LinearGradient{dy, &base, {}}, start.clone()),
                    start.to(at::kDouble) + x64.grad(), 5e-6 + apart);
            continue;
          }
          LoraSaved saved;
          Tensor ratio;
          const LowRank branch = lora_forward(m, x, dropout, &saved);
          compare(op, "value", dtype, linear_forward(x, base, &branch, nullptr), truth, 5e-6 + apart, base64);
          compare(op, "measured value", dtype, linear_forward(x, base, &branch, &ratio), truth, 5e-6 + apart, base64);
          // In bf16 each rank's weights are rounded apart, to 2^-17, and the branch may be smaller than its parts.
          const Tensor parts = 2 * at::mm(at::mm(dropped.abs(), a64.abs().t()), b64.abs().t());
          compare(op, "ratio", dtype, ratio, branch64.norm(2, 1) / base64.norm(2, 1), 5e-6 + apart,
                  dtype == at::kFloat ? Tensor() : parts.norm(2, 1) / base64.norm(2, 1));
          const LowRank back = lora_backward(m, parameters, dy, saved);
          lora_gradient_a(m, parameters, x, back);
          compare(op, "dA", dtype, parameters[m.a].grad, a64.grad(), 5e-6);
          compare(op, "dB", dtype, parameters[m.b].grad, b64.grad(), 5e-6);
          // Three of them at once, as query, key and value have it.
          const LinearGradient part{dy, &base, back};
          compare(op, "dx", dtype, linear_backward({part, part, part}, start.clone()),
                  start.to(at::kDouble) + 3 * x64.grad(), 5e-6 + 3 * apart);
        }
}

}  // namespace lp::check
