#pragma once
// What scored steps tell of heads, neurons, modules and ranks.
#include "model/model.h"

namespace lp {

/// A sum over steps of one measure, for several pieces: layers, or modules.
class RunningSum {
 public:
  RunningSum(std::string name, std::vector<int64_t> sizes);

  const std::string& name() const { return name_; }
  int64_t size() const;
  /// It is kept there, in the step under way fp32 [size], and over the steps fp64 [size].
  void keep(const Tensor& now, const Tensor& sum);
  /// Of the step under way, fp32 [size]; views to be added to.
  Tensor now(size_t piece) const { return now_[piece]; }
  /// The same of all pieces, in a row.
  const Tensor& all_now() const { return all_now_; }
  /// fp64, all pieces in a row.
  const Tensor& sum() const { return sum_; }
  /// Such a sum as fp32 [size] for each piece, divided by `by`: one number for all, or one for each.
  std::vector<Tensor> over(const Tensor& sum, const Tensor& by) const;

 private:
  std::string name_;
  std::vector<int64_t> sizes_;
  Tensor all_now_, sum_;
  std::vector<Tensor> now_;
};

/// All measures. What is taken of masks (the first four) needs a network that has them.
struct Importance {
  Importance(const Model& model, const std::vector<int64_t>& ranks, bool masks);

  /// |m * dL/dm| of each head's and each neuron's mask m, the mean over steps: first-order Taylor (Molchanov
  /// et al. 2019; Michel et al. 2019 for heads, there for each example).
  RunningSum head_taylor, neuron_taylor;
  /// Sum over tokens of |activation * its gradient| (APT, Zhao et al. 2024, without the weight's part).
  RunningSum head_salience, neuron_salience;
  /// Sums over tokens of what attention output [H * size] and FFN output [F] read, and of its squares, and
  /// the tokens that were counted [1]; of the last layer only those that the head reads.
  RunningSum context_sum, context_square, neuron_sum, neuron_square, tokens;
  /// Mean over tokens of |branch| / |base| of each module [1] (Light-PEFT), the mean over steps.
  RunningSum ratios;
  /// [rank] of each module, means over steps: first order as Light-PEFT has it, |mean over inputs of A_k
  /// dA_k| + |mean over outputs of B_k dB_k|; and |A_k . dA_k|, by which the loss changes where rank k goes.
  RunningSum ranks, rank_taylor;
  Tensor steps;  // fp64 [1]

  void begin();
  /// The step that began counts where `counts` says so, bool [1]; its ratios are sums over so many tokens.
  void accept(int64_t tokens, const Tensor& counts);
  std::vector<RunningSum*> all();
  /// By name, one tensor for each piece, in the host's memory: means over steps, and of activations over
  /// tokens.
  std::vector<std::pair<std::string, std::vector<Tensor>>> means();

 private:
  Tensor now_, sum_;  // of all measures, in a row
};

}  // namespace lp
