#include "peft/lora.h"

namespace lp {

LowRank lora_forward(const LoraModule& m, Parameters& parameters, const Tensor& x, const Dropout& dropout,
                     LoraSaved* saved) {
  const Tensor p = rank_project(x, parameters[m.a].value, 1, dropout);
  if (saved) *saved = {p, dropout};
  return {p, parameters[m.b].value.t().contiguous(), m.scale, Dropout{}};
}

LowRank lora_backward(const LoraModule& m, Parameters& parameters, const Tensor& dy, const LoraSaved& saved) {
  const Tensor bt = parameters[m.b].value.t().contiguous();
  const Tensor g = rank_project(dy, bt, m.scale, Dropout{});  // [T, r]
  Tensor dbt = at::zeros_like(bt);
  rank_outer(saved.p, dy, dbt, Dropout{});
  parameters[m.b].grad.add_(dbt.t(), m.scale);
  return {g, parameters[m.a].value, 1, saved.dropout};
}

void lora_gradient_a(const LoraModule& m, Parameters& parameters, const Tensor& x, const LowRank& branch) {
  rank_outer(branch.p, x, parameters[m.a].grad, branch.dropout);
}

}  // namespace lp
