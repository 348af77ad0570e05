#include "base/arena.h"
#include "base/isa.h"
#include "cuda/devices.h"
#include "handles.h"

namespace lp::binding {
namespace {

/// What the machine and the build are: { isa, bf16, threads, cuda }.
Napi::Value machine(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto o = Napi::Object::New(info.Env());
    o.Set("isa", isa_name());
    o.Set("bf16", has_bf16());
    o.Set("threads", at::get_num_threads());
    o.Set("cuda", cuda_devices());
    return o;
  });
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  install_arena();
  exports.Set("Model", ModelHandle::define(env));
  exports.Set("Session", SessionHandle::define(env));
  exports.Set("machine", Napi::Function::New(env, machine));
  return exports;
}

}  // namespace
}  // namespace lp::binding

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  return lp::binding::initialize(env, exports);
}
NODE_API_MODULE(light_peft, Init)
