#include "base/arena.h"
#include "cuda/devices.h"
#include "handles.h"

namespace lp::binding {

Napi::Function ModelHandle::define(Napi::Env env) {
  return DefineClass(
      env, "Model",
      {InstanceMethod("load", &ModelHandle::load), InstanceMethod("cut", &ModelHandle::cut),
       InstanceMethod("norms", &ModelHandle::norms), InstanceMethod("shifts", &ModelHandle::shifts),
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
        [slot = model_, spec, weights = to_weights(info[1].As<Napi::Array>()), dtype = to_dtype(info[2]),
         device = at::Device(info[3].ToString().Utf8Value()), tf32 = info[4].ToBoolean().Value()] {
          allow_tf32(tf32);
          *slot = Model::load(spec, weights, dtype, device);
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

Napi::Value ModelHandle::norms(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return promise(info.Env(), *lane_, [model = model(info.Env())] {
      return Answer([all = model->norms()](Napi::Env env) -> Napi::Value {
        const auto list = [&](Tensor LayerNorms::*part) {
          std::vector<Tensor> parts;
          for (const LayerNorms& layer : all) parts.push_back(layer.*part);
          return from_list(env, parts);
        };
        auto o = Napi::Object::New(env);
        o.Set("context", list(&LayerNorms::context));
        o.Set("neuronOut", list(&LayerNorms::neuron_out));
        o.Set("heads", list(&LayerNorms::heads));
        o.Set("neurons", list(&LayerNorms::neurons));
        return o;
      });
    });
  });
}

Napi::Value ModelHandle::shifts(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    std::vector<LayerMeans> means;
    const auto contexts = to_vectors(info[1].As<Napi::Array>()),
               neurons = to_vectors(info[2].As<Napi::Array>());
    for (size_t l = 0; l < contexts.size() && l < neurons.size(); ++l)
      means.push_back({contexts[l], neurons[l]});
    return promise(info.Env(), *lane_,
                   [model = model(info.Env()), cuts = to_cuts(info[0].As<Napi::Array>()), means] {
                     return Answer([all = model->shifts(cuts, means)](Napi::Env env) -> Napi::Value {
                       std::vector<Tensor> attention, output;
                       for (const LayerShift& shift : all) {
                         attention.push_back(shift.attention);
                         output.push_back(shift.output);
                       }
                       auto o = Napi::Object::New(env);
                       o.Set("attention", from_list(env, attention));
                       o.Set("output", from_list(env, output));
                       return o;
                     });
                   });
  });
}

void ModelHandle::dispose(const Napi::CallbackInfo&) {
  lane_.reset();
  model_->reset();
  trim_arena();
}

}  // namespace lp::binding
