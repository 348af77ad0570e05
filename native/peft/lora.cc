#include "peft/lora.h"

namespace lp {

LowRank lora_forward(const LoraModule& m, Parameters& parameters, const Tensor& x, const Dropout& dropout,
                     LoraSaved* saved) {
  const Tensor p = rank_project(x, parameters[m.a].value, 1, dropout);
  const Tensor bt = parameters[m.b].value.t().contiguous();
  if (saved) *saved = {p, bt, dropout};
  return {p, bt, m.scale, Dropout{}};
}

LowRank lora_backward(const LoraModule& m, Parameters& parameters, const Tensor& dy, const LoraSaved& saved) {
  const Tensor g = rank_project(dy, saved.bt, m.scale, Dropout{});  // [T, r]
  rank_outer_transposed(saved.p, dy, parameters[m.b].grad, m.scale);
  return {g, parameters[m.a].value, 1, saved.dropout};
}

void lora_gradient_a(const LoraModule& m, Parameters& parameters, const Tensor& x, const LowRank& branch) {
  rank_outer(branch.p, x, parameters[m.a].grad, branch.dropout);
}

}  // namespace lp
