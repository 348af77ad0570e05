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

/// Settles its promise when it goes, which a lane that ends before its turn brings about too: a channel that
/// is never released would keep the process alive.
class Job {
 public:
  Job(Channel channel, std::unique_ptr<Pending> pending)
      : channel_(std::move(channel)), pending_(std::move(pending)) {
    fail("DISPOSED", "disposed of before this was done");
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  void run(const std::function<Answer()>& work) {
    try {
      pending_->answer = work();
      pending_->code.clear();
    } catch (const Error& e) {
      fail(e.code(), e.what());
    } catch (const c10::OutOfMemoryError& e) {
      fail("OUT_OF_MEMORY", e.what_without_backtrace());
    } catch (const c10::AcceleratorError& e) {
      fail("DEVICE_FAILED", e.what_without_backtrace());
    } catch (const c10::Error& e) {
      const std::string what = e.what_without_backtrace();
      // What the CPU's allocator throws has no type of its own.
      fail(what.find("can't allocate memory") == std::string::npos ? "INTERNAL" : "OUT_OF_MEMORY", what);
    } catch (const std::exception& e) {
      fail("INTERNAL", e.what());
    }
  }

  ~Job() {
    Pending* raw = pending_.release();
    if (channel_.NonBlockingCall(raw) != napi_ok) delete raw;
    channel_.Release();
  }

 private:
  void fail(const std::string& code, const std::string& message) {
    pending_->code = code;
    pending_->message = message;
  }

  Channel channel_;
  std::unique_ptr<Pending> pending_;
};

}  // namespace

Napi::Error coded(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

Napi::Value promise(Napi::Env env, Lane& lane, std::function<Answer()> work) {
  auto pending = std::make_unique<Pending>(env);
  const Napi::Value promised = pending->deferred.Promise();
  const auto job = std::make_shared<Job>(Channel::New(env, "light-peft", 0, 1), std::move(pending));
  lane.post([job, work = std::move(work)] { job->run(work); });
  return promised;
}

}  // namespace lp::binding
