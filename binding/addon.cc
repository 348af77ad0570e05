#include "base/arena.h"
#include "base/isa.h"
#include "base/vector_math.h"
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

/// The most bytes that tensors have had at once on a CUDA device of this number.
Napi::Value device_memory_peak(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return Napi::Number::New(info.Env(),
                             static_cast<double>(cuda_memory_peak(info[0].ToNumber().Int32Value())));
  });
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  install_arena();
  settle_vector_math();
  choose_cuda_memory();
  exports.Set("Model", ModelHandle::define(env));
  exports.Set("Session", SessionHandle::define(env));
  exports.Set("deviceMemoryPeak", Napi::Function::New(env, device_memory_peak));
  exports.Set("machine", Napi::Function::New(env, machine));
  return exports;
}

}  // namespace
}  // namespace lp::binding

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  return lp::binding::initialize(env, exports);
}
NODE_API_MODULE(light_peft, Init)
