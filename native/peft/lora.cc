#include "peft/lora.h"

namespace lp {

void lora_follow(LoraModule& m, Parameters& parameters, at::ScalarType dtype) {
  if (!m.up.w().defined()) {  // the later of the two
    m.down = RankFactor(parameters[m.a].value, false, dtype);
    m.up = RankFactor(parameters[m.b].value, true, dtype);
  }
  m.down.follow();
  m.up.follow();
}

LowRank lora_forward(const LoraModule& m, const Tensor& x, const Dropout& dropout, LoraSaved* saved) {
  LowRank branch{rank_project(x, m.down, 1, dropout, m.scale, saved != nullptr), &m.up, m.scale, Dropout{}};
  if (saved) *saved = {{branch.p.p, {}, branch.p.turned}, dropout};
  return branch;
}

LowRank lora_backward(const LoraModule& m, Parameters& parameters, const Tensor& dy, const LoraSaved& saved) {
  LowRank branch{rank_project(dy, m.up, m.scale, Dropout{}, 1, true), &m.down, 1, saved.dropout};
  rank_outer_transposed(saved.p, dy, parameters[m.b].grad, m.scale);
  return branch;
}

void lora_gradient_a(const LoraModule& m, Parameters& parameters, const Tensor& x, const LowRank& branch) {
  rank_outer(branch.p, x, parameters[m.a].grad, branch.dropout);
}

}  // namespace lp
