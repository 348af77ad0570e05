// The loss and the optimizer.
#include "check.h"

namespace lp::check {

void losses() {
  const Tensor logits = random({6, 4}, at::kFloat, 1, 3);
  const std::vector<float> labels{0, 3, std::nanf(""), 1, 1, 2};
  const Tensor rows = here(at::tensor({0, 1, 3, 4, 5}, at::kLong)),
               classes = here(at::tensor({0, 3, 1, 1, 2}, at::kLong));
  for (const bool regression : {false, true}) {
    const Tensor x = regression ? logits.narrow(1, 0, 1).contiguous() : logits;
    const Tensor x64 = leaf(x);
    const Tensor kept = x64.index_select(0, rows);
    const Tensor truth = regression ? at::mse_loss(kept.squeeze(1), classes.to(at::kDouble), at::Reduction::Sum)
                                    : at::nll_loss(at::log_softmax(kept, 1), classes, {}, at::Reduction::Sum);
    (truth / 5).backward();
    LossSum loss;
    Batch batch;
    batch.labels = labels;
    const Targets targets = targets_of(batch, Told::labels, regression, x.size(1));
    const Tensor d = target_loss(x, targets, there_of(targets, device), {}, {}, 5, loss);
    const std::string op = regression ? "loss squared" : "loss cross-entropy";
    compare(op, "value", at::kFloat, at::tensor(loss.value(), at::kDouble), truth, 1e-7);
    compare(op, "dlogits", at::kFloat, d, x64.grad(), 1e-6);
    compare(op, "labelled", at::kFloat, at::tensor(targets.counted), at::tensor(int64_t{5}), 0);
  }
}

void spans() {
  Batch batch;
  batch.cu_seqlens = {0, 3, 40, 45};
  batch.spans = {0, 2, -1, -1, 1, 4};
  const Tensor outputs = random({45, 2}, at::kFloat, 1, 3), x64 = leaf(outputs);
  Tensor truth = here(at::zeros({}, at::kDouble));
  for (const int64_t b : {0, 2})
    for (int64_t end = 0; end < 2; ++end) {
      const int64_t begin = batch.cu_seqlens[b], length = batch.cu_seqlens[b + 1] - begin;
      truth = truth - at::log_softmax(x64.narrow(0, begin, length).select(1, end), 0)[batch.spans[2 * b + end]] / 2;
    }
  (truth / 7).backward();
  LossSum loss;
  const Targets targets = targets_of(batch, Told::spans, false, 2);
  const Tensor d = target_loss(outputs, targets, there_of(targets, device), {}, {}, 7, loss);
  compare("loss spans", "value", at::kFloat, at::tensor(loss.value(), at::kDouble), truth, 1e-7);
  compare("loss spans", "dlogits", at::kFloat, d, x64.grad(), 1e-6);
  compare("loss spans", "labelled", at::kFloat, at::tensor(targets.counted), at::tensor(int64_t{2}), 0);
}

void teacher() {
  Batch batch;
  batch.labels = {0, 3, std::nanf(""), 1, 1, 2};
  const Tensor rows = here(at::tensor({0, 1, 3, 4, 5}, at::kLong)),
               classes = here(at::tensor({0, 3, 1, 1, 2}, at::kLong));
  const auto floats = [](const Tensor& t) {
    const Tensor host = t.cpu();
    return std::vector<float>(host.const_data_ptr<float>(), host.const_data_ptr<float>() + host.numel());
  };
  const Distillation d{0.3, 2.5, 0.7};
  const Tensor states = random({6, 8}, at::kFloat, 5), taught = random({6, 8}, at::kFloat, 6);
  batch.teacher_states = floats(taught);
  for (const bool regression : {false, true}) {
    const Tensor logits = random({6, regression ? 1 : 4}, at::kFloat, 1, 3),
                 other = random({6, regression ? 1 : 4}, at::kFloat, 2, 3);
    batch.teacher_logits = floats(other);
    const Tensor x64 = leaf(logits), s64 = leaf(states);
    const Tensor x = x64.index_select(0, rows), t = other.to(at::kDouble).index_select(0, rows);
    const Tensor label = regression ? at::mse_loss(x.squeeze(1), classes.to(at::kDouble), at::Reduction::Sum)
                                    : at::nll_loss(at::log_softmax(x, 1), classes, {}, at::Reduction::Sum);
    const Tensor from_teacher =
        regression ? at::mse_loss(x, t, at::Reduction::Sum)
                   : at::kl_div(at::log_softmax(x / 2.5, 1), at::softmax(t / 2.5, 1), at::Reduction::Sum) * 6.25;
    const Tensor difference = (s64 - taught.to(at::kDouble)).index_select(0, rows);
    const Tensor truth = label * 0.7 + from_teacher * 0.3 + difference.square().sum() * (0.7 / 8);
    (truth / 5).backward();
    LossSum loss;
    const Targets targets = targets_of(batch, Told::labels, regression, logits.size(1));
    const Tensor gradient =
        target_loss(logits, targets, there_of(targets, device), batch.teacher_logits, d, 5, loss);
    const Tensor of_states = states_gradient(states, batch, d, 5, loss);
    const std::string op = regression ? "teacher squared" : "teacher divergence";
    compare(op, "value", at::kFloat, at::tensor(loss.value(), at::kDouble), truth, 1e-7);
    compare(op, "dlogits", at::kFloat, gradient, x64.grad(), 1e-6);
    compare(op, "dstates", at::kFloat, of_states, s64.grad(), 1e-6);
  }
}

void optimizer() {
  const OptimizerSettings settings{0.9, 0.999, 1e-8, 0.01, 1};
  Parameters parameters;
  parameters.add("w", {7, 5}, 1, true);
  parameters.add("mask", {37}, 3, false);
  parameters.freeze(device);
  Tally tally(device);
  Tensor value[2], m[2], v[2];
  for (size_t i = 0; i < 2; ++i) {
    parameters[i].value.copy_(random(parameters[i].shape, at::kFloat, i));
    value[i] = parameters[i].value.to(at::kDouble);
    m[i] = at::zeros_like(value[i]);
    v[i] = at::zeros_like(value[i]);
  }
  for (int step = 1; step <= 5; ++step) {
    double squares = 0;
    Tensor grad[2];
    for (size_t i = 0; i < 2; ++i) {
      parameters[i].grad.copy_(random(parameters[i].shape, at::kFloat, 10 * step + i));
      grad[i] = parameters[i].grad.to(at::kDouble);
      squares += grad[i].square().sum().item<double>();
    }
    const double norm = std::sqrt(squares), clip = std::min(1.0, 1 / (norm + 1e-6)), rate = 1e-2 / step;
    parameters.step(settings, here(Parameters::numbers_of(settings, rate, step, 2)),
                    here(at::tensor({6.0}, at::kDouble)), tally.there());
    tally.add(3);
    const Tally::Seen seen = tally.take();
    compare("adamw", "norm", at::kFloat, at::tensor(seen.norm, at::kDouble), at::tensor(norm, at::kDouble), 1e-9);
    compare("adamw", "tally", at::kFloat, at::tensor({seen.loss, double(seen.steps), double(seen.tokens)}),
            at::tensor({3.0, 1.0, 3.0}), 0);
    for (size_t i = 0; i < 2; ++i) {  // Loshchilov and Hutter 2019, algorithm 2
      const Tensor g = grad[i] * clip;
      const double lr = rate * parameters[i].rate;
      if (parameters[i].decays) value[i] = value[i] * (1 - lr * settings.weight_decay);
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g.square();
      const Tensor hat = (v[i] / (1 - std::pow(0.999, step))).sqrt() + 1e-8;
      value[i] = value[i] - lr * (m[i] / (1 - std::pow(0.9, step))) / hat;
      compare("adamw", "value", at::kFloat, parameters[i].value, value[i], 1e-6);
    }
  }
  // What is not finite stops it, and nothing after that counts.
  const Tensor before = parameters.value().clone();
  for (const auto& [gradient, loss] : {std::pair{1.f, NAN}, {1.f, 1.f}, {INFINITY, 1.f}}) {
    parameters.grad().fill_(gradient);
    parameters.step(settings, here(Parameters::numbers_of(settings, 1e-2, 6, 1)),
                    here(at::tensor({static_cast<double>(loss)}, at::kDouble)), tally.there());
    tally.add(3);
  }
  const Tally::Seen seen = tally.take();
  compare("adamw", "stop", at::kFloat,
          at::tensor({seen.loss, double(seen.queued), double(seen.steps), double(seen.stopped)}),
          at::tensor({0.0, 3.0, 0.0, 1.0}), 0);
  compare("adamw", "stop", at::kFloat, parameters.value(), before, 0);
  // A gradient that is not finite does so as well.
  tally.reset();
  parameters.step(settings, here(Parameters::numbers_of(settings, 1e-2, 6, 1)),
                  here(at::tensor({1.0}, at::kDouble)), tally.there());
  compare("adamw", "stop", at::kFloat, parameters.value(), before, 0);
}

}  // namespace lp::check
