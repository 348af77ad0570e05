#pragma once
#include "convert.h"
#include "promise.h"

namespace lp::binding {

/// What JavaScript holds of a loaded model.
class ModelHandle : public Napi::ObjectWrap<ModelHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ModelHandle(const Napi::CallbackInfo& info);  // (threads)
  std::shared_ptr<const Model> model(Napi::Env env) const;

 private:
  Napi::Value load(const Napi::CallbackInfo& info);   // (spec, weights, dtype, device) -> Promise<void>
  Napi::Value cut(const Napi::CallbackInfo& info);    // (from, layers) -> Promise<void>
  Napi::Value norms(const Napi::CallbackInfo& info);  // () -> Promise<four lists, one vector for each layer>
  Napi::Value shifts(
      const Napi::CallbackInfo& info);  // (layers, context means, neuron means) -> Promise<two lists>
  void dispose(const Napi::CallbackInfo& info);

  // Shared with the work in the lane, which may outlive the handle's use of it; declared before the lane, so
  // that the lane ends first.
  std::shared_ptr<std::shared_ptr<const Model>> model_ = std::make_shared<std::shared_ptr<const Model>>();
  std::unique_ptr<Lane> lane_;
};

/// What JavaScript holds of a session.
class SessionHandle : public Napi::ObjectWrap<SessionHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit SessionHandle(const Napi::CallbackInfo& info);  // (model, config, threads)

 private:
  Napi::Value step(const Napi::CallbackInfo& info);      // (batches, learningRate, score) -> Promise<void>
  Napi::Value evaluate(const Napi::CallbackInfo& info);  // (batch) -> Promise<{logits, loss, labelled}>
  Napi::Value logits(const Napi::CallbackInfo& info);    // (batch) -> Promise<Float32Array>
  Napi::Value begin(const Napi::CallbackInfo& info);     // (sequences) -> Promise<void>
  Napi::Value next(const Napi::CallbackInfo& info);      // (batch) -> Promise<Float32Array>
  Napi::Value choose(const Napi::CallbackInfo& info);    // (number[]) -> Promise<void>
  Napi::Value metrics(const Napi::CallbackInfo& info);
  Napi::Value scores(const Napi::CallbackInfo& info);
  Napi::Value tensors(const Napi::CallbackInfo& info);      // (gradients) -> Promise<{name, shape, data}[]>
  Napi::Value set_tensors(const Napi::CallbackInfo& info);  // ({name, data}[]) -> Promise<void>
  Napi::Value threads(const Napi::CallbackInfo& info);      // () -> Promise<number>
  Napi::Value state(const Napi::CallbackInfo& info);        // () -> Promise<{stepsDone, tensors}>
  Napi::Value set_state(const Napi::CallbackInfo& info);    // (stepsDone, {name: Uint8Array})
  Napi::Value reconstruct(
      const Napi::CallbackInfo& info);  // (smaller session, batches, rank) -> Promise<layers>
  void dispose(const Napi::CallbackInfo& info);

  using Work = std::function<Answer(Session&)>;
  Napi::Value post(Napi::Env env, Work work);

  std::shared_ptr<Session> session_;
  std::unique_ptr<Lane> lane_;
};

}  // namespace lp::binding
