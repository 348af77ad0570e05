#pragma once
// All weights of a model as parameters, where the model itself is trained and not only what sits beside it.
#include <string>
#include <unordered_map>
#include <vector>

#include "model/model.h"
#include "train/parameters.h"

namespace lp {

class Backbone {
 public:
  /// Declares the weights of a copy of the model, by the names of its sites; those that tell tokens where
  /// that is what it is for.
  Backbone(const Model& model, bool vocabulary, Parameters& parameters);

  /// The copy, in the compute dtype; what it has are not the parameters themselves, but follows them.
  std::shared_ptr<const Model> model() const { return model_; }
  /// Once the parameters are laid out: their values become the model's, as the checkpoint's files have them.
  void begin();
  /// Makes the copy what the parameters say; called whenever their values have changed.
  void follow();

  /// Add gradients to those of a part of the copy. x [T, in], dy [T, out].
  void linear(const Linear& part, const Tensor& x, const Tensor& dy);
  void norm(const NormWeights& part, const Tensor& dy, const NormSaved& saved);
  /// d [T, width] of any floating type, of the rows of an embedding table that `rows` [T] says.
  void rows(const Tensor& table, const Tensor& rows, const Tensor& d);
  /// The table as the weight of a linear layer.
  void table(const Tensor& part, const Tensor& x, const Tensor& dy);
  /// Of a bias, fp32.
  void bias(const Tensor& part, const Tensor& d);

 private:
  /// One thing in the copy and its parameters: weight and bias, gamma and beta, or a table alone.
  struct Part {
    std::string site;
    Linear* linear = nullptr;
    NormWeights* norm = nullptr;
    Tensor* table = nullptr;
    size_t weight = 0, bias = 0;
    bool biased = false;
  };

  void declare(Part part, std::vector<int64_t> weight, std::vector<int64_t> bias);
  void add(const std::string& site, Linear& linear);
  void add(const std::string& site, NormWeights& norm);
  void add(const std::string& site, Tensor& table);
  const Part& part_of(const void* thing) const;
  void weight(const Part& part, const Tensor& x, const Tensor& dy);

  Parameters& parameters_;
  std::shared_ptr<Model> model_;
  std::vector<Part> parts_;
  std::unordered_map<const void*, size_t> places_;
};

}  // namespace lp
