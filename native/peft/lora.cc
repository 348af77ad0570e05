#include "peft/lora.h"

namespace lp {

Tensor lora_forward(const LoraModule& m, Parameters& parameters, const Tensor& x, Tensor y,
                    const Dropout& dropout, bool want_ratio, LoraSaved* saved) {
  const Tensor p = rank_project(x, parameters[m.a].value, 1, dropout);
  const Tensor bt = parameters[m.b].value.t().contiguous();
  if (saved) *saved = {p, dropout};
  return rank_expand(p, bt, y, m.scale, Dropout{}, want_ratio);
}

void lora_backward(const LoraModule& m, Parameters& parameters, const Tensor& x, const Tensor& dy, Tensor dx,
                   const LoraSaved& saved) {
  const Tensor bt = parameters[m.b].value.t().contiguous();
  const Tensor g = rank_project(dy, bt, m.scale, Dropout{});  // [T, r]
  Tensor dbt = at::zeros_like(bt);
  rank_outer(saved.p * m.scale, dy, dbt, Dropout{});
  parameters[m.b].grad.add_(dbt.t());
  rank_outer(g, x, parameters[m.a].grad, saved.dropout);
  if (dx.defined()) rank_expand(g, parameters[m.a].value, dx, 1, saved.dropout, false);
}

}  // namespace lp
