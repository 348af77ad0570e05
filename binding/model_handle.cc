#include "base/arena.h"
#include "handles.h"

namespace lp::binding {

Napi::Function ModelHandle::define(Napi::Env env) {
  return DefineClass(env, "Model",
                     {InstanceMethod("load", &ModelHandle::load), InstanceMethod("cut", &ModelHandle::cut),
                      InstanceMethod("dispose", &ModelHandle::dispose)});
}

ModelHandle::ModelHandle(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ModelHandle>(info), lane_(std::make_unique<Lane>(info[0].ToNumber().Int32Value())) {}

std::shared_ptr<const Model> ModelHandle::model(Napi::Env env) const {
  if (!lane_ || !*model_) throw coded(env, "DISPOSED", "the model was disposed of, or never loaded");
  return *model_;
}

Napi::Value ModelHandle::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!lane_) throw Error("DISPOSED", "the model was disposed of");
    const Spec spec = to_spec(info[0].As<Napi::Object>());
    return promise(
        info.Env(), *lane_,
        [slot = model_, spec, weights = to_weights(info[1].As<Napi::Array>()), dtype = to_dtype(info[2])] {
          *slot = Model::load(spec, weights, dtype);
          return Answer([](Napi::Env env) { return env.Undefined(); });
        });
  });
}

Napi::Value ModelHandle::cut(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    if (!lane_) throw Error("DISPOSED", "the model was disposed of");
    const auto from = Unwrap(info[0].As<Napi::Object>())->model(info.Env());
    return promise(info.Env(), *lane_, [slot = model_, from, cuts = to_cuts(info[1].As<Napi::Array>())] {
      *slot = from->cut(cuts);
      return Answer([](Napi::Env env) { return env.Undefined(); });
    });
  });
}

void ModelHandle::dispose(const Napi::CallbackInfo&) {
  lane_.reset();
  model_->reset();
  trim_arena();
}

}  // namespace lp::binding
