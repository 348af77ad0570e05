#pragma once
// Work in a lane, answered by a promise: the one worker of the binding.
#include <functional>
#include <memory>

#include "base/aten.h"
#include "base/error.h"
#include "base/lane.h"
#include "napi_setup.h"

namespace lp::binding {

/// Makes the JavaScript value of a finished piece of work, on the JavaScript thread.
using Answer = std::function<Napi::Value(Napi::Env)>;

/// An Error with a `code`, as lib/native.ts expects it.
Napi::Error coded(Napi::Env env, const std::string& code, const std::string& message);

/// Throws what a C++ exception says as a coded JavaScript error.
template <class Work>
auto guarded(Napi::Env env, const Work& work) {
  try {
    return work();
  } catch (const Error& e) {
    throw coded(env, e.code(), e.what());
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& e) {
    throw coded(env, "INTERNAL", e.what());
  }
}

/// Runs `work` in the lane and promises its answer.
Napi::Value promise(Napi::Env env, Lane& lane, std::function<Answer()> work);

}  // namespace lp::binding
