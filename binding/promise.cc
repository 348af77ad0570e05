#include "promise.h"

namespace lp::binding {
namespace {

struct Pending {
  explicit Pending(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise::Deferred deferred;
  Answer answer;
  std::string code, message;  // of a failure
};

void settle(Napi::Env env, Napi::Function, std::nullptr_t*, Pending* raw) {
  const std::unique_ptr<Pending> pending(raw);
  if (env == nullptr) return;  // the environment is closing; nobody awaits the promise
  const Napi::HandleScope scope(env);
  if (!pending->code.empty())
    pending->deferred.Reject(coded(env, pending->code, pending->message).Value());
  else
    pending->deferred.Resolve(pending->answer(env));
}

using Channel = Napi::TypedThreadSafeFunction<std::nullptr_t, Pending, settle>;

}  // namespace

Napi::Error coded(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

Napi::Value promise(Napi::Env env, Lane& lane, std::function<Answer()> work) {
  auto pending = std::make_unique<Pending>(env);
  const Napi::Value promised = pending->deferred.Promise();
  Channel channel = Channel::New(env, "light-peft", 0, 1);
  lane.post([channel, work = std::move(work), raw = pending.release()]() mutable {
    try {
      raw->answer = work();
    } catch (const Error& e) {
      raw->code = e.code();
      raw->message = e.what();
    } catch (const c10::OutOfMemoryError& e) {
      raw->code = "OUT_OF_MEMORY";
      raw->message = e.what_without_backtrace();
    } catch (const c10::Error& e) {
      raw->code = "INTERNAL";
      raw->message = e.what_without_backtrace();
    } catch (const std::exception& e) {
      raw->code = "INTERNAL";
      raw->message = e.what();
    }
    if (channel.NonBlockingCall(raw) != napi_ok) delete raw;
    channel.Release();
  });
  return promised;
}

}  // namespace lp::binding
