#include <cstring>

#include "base/arena.h"
#include "handles.h"

namespace lp::binding {

Napi::Function SessionHandle::define(Napi::Env env) {
  return DefineClass(
      env, "Session",
      {InstanceMethod("step", &SessionHandle::step), InstanceMethod("evaluate", &SessionHandle::evaluate),
       InstanceMethod("logits", &SessionHandle::logits), InstanceMethod("begin", &SessionHandle::begin),
       InstanceMethod("next", &SessionHandle::next), InstanceMethod("choose", &SessionHandle::choose),
       InstanceMethod("metrics", &SessionHandle::metrics), InstanceMethod("scores", &SessionHandle::scores),
       InstanceMethod("tensors", &SessionHandle::tensors),
       InstanceMethod("setTensors", &SessionHandle::set_tensors),
       InstanceMethod("threads", &SessionHandle::threads), InstanceMethod("state", &SessionHandle::state),
       InstanceMethod("setState", &SessionHandle::set_state),
       InstanceMethod("reconstruct", &SessionHandle::reconstruct),
       InstanceMethod("dispose", &SessionHandle::dispose)});
}

SessionHandle::SessionHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SessionHandle>(info) {
  guarded(info.Env(), [&] {
    const auto model = Napi::ObjectWrap<ModelHandle>::Unwrap(info[0].As<Napi::Object>())->model(info.Env());
    session_ = std::make_shared<Session>(model, to_session_config(info[1].As<Napi::Object>()));
    lane_ = std::make_unique<Lane>(info[2].ToNumber().Int32Value());
  });
}

Napi::Value SessionHandle::post(Napi::Env env, Work work) {
  return guarded(env, [&] {
    if (!lane_) throw Error("DISPOSED", "the session was disposed of");
    return promise(env, *lane_, [session = session_, work = std::move(work)] { return work(*session); });
  });
}

Napi::Value SessionHandle::step(const Napi::CallbackInfo& info) {
  const double rate = info[1].ToNumber().DoubleValue();
  const bool score = info[2].ToBoolean().Value(), rests = info[3].ToBoolean().Value();
  return post(info.Env(), [batches = to_batches(info[0].As<Napi::Array>()), rate, score, rests](Session& s) {
    s.step(batches, rate, score, rests);
    return [](Napi::Env env) { return env.Undefined(); };
  });
}

Napi::Value SessionHandle::evaluate(const Napi::CallbackInfo& info) {
  const bool states = info[1].ToBoolean().Value();
  return post(info.Env(), [batch = to_batch(info[0].As<Napi::Object>()), states](Session& s) {
    return [e = s.evaluate(batch), states](Napi::Env env) -> Napi::Value {
      auto o = Napi::Object::New(env);
      o.Set("logits", from_floats(env, e.logits));
      if (states) o.Set("states", from_floats(env, e.states));
      o.Set("loss", e.loss);
      o.Set("labelled", static_cast<double>(e.labelled));
      return o;
    };
  });
}

Napi::Value SessionHandle::logits(const Napi::CallbackInfo& info) {
  return post(info.Env(), [batch = to_batch(info[0].As<Napi::Object>())](Session& s) {
    return [logits = s.logits(batch)](Napi::Env env) { return from_floats(env, logits); };
  });
}

Napi::Value SessionHandle::begin(const Napi::CallbackInfo& info) {
  return post(info.Env(), [sequences = info[0].ToNumber().Int64Value()](Session& s) {
    s.begin(sequences);
    return [](Napi::Env env) { return env.Undefined(); };
  });
}

Napi::Value SessionHandle::next(const Napi::CallbackInfo& info) {
  return post(info.Env(), [batch = to_batch(info[0].As<Napi::Object>())](Session& s) {
    return [logits = s.next(batch)](Napi::Env env) { return from_floats(env, logits); };
  });
}

Napi::Value SessionHandle::choose(const Napi::CallbackInfo& info) {
  return post(info.Env(), [from = to_integers(info[0])](Session& s) {
    s.choose(from);
    return [](Napi::Env env) { return env.Undefined(); };
  });
}

Napi::Value SessionHandle::metrics(const Napi::CallbackInfo& info) {
  return post(info.Env(), [](Session& s) {
    return [m = s.take_metrics()](Napi::Env env) { return from_metrics(env, m); };
  });
}

Napi::Value SessionHandle::scores(const Napi::CallbackInfo& info) {
  return post(info.Env(), [](Session& s) {
    return [scores = s.scores()](Napi::Env env) { return from_scores(env, scores); };
  });
}

Napi::Value SessionHandle::tensors(const Napi::CallbackInfo& info) {
  return post(info.Env(), [part = to_part(info[0])](Session& s) {
    std::vector<Parameter> all = s.network().parameters().all();
    for (auto& p : all) p.value = (p.*part).to(at::kCPU, at::kFloat, false, /*copy=*/true);
    return [all = std::move(all)](Napi::Env env) -> Napi::Value {
      auto list = Napi::Array::New(env, all.size());
      for (uint32_t i = 0; i < all.size(); ++i) {
        auto o = Napi::Object::New(env);
        auto shape = Napi::Array::New(env, all[i].shape.size());
        for (uint32_t d = 0; d < all[i].shape.size(); ++d) shape.Set(d, static_cast<double>(all[i].shape[d]));
        o.Set("name", all[i].name);
        o.Set("shape", shape);
        o.Set("data", from_floats(env, all[i].value));
        list.Set(i, o);
      }
      return list;
    };
  });
}

Napi::Value SessionHandle::set_tensors(const Napi::CallbackInfo& info) {
  const auto list = info[0].As<Napi::Array>();
  std::vector<std::pair<std::string, std::vector<float>>> given;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const auto o = list.Get(i).As<Napi::Object>();
    const auto data = o.Get("data").As<Napi::Float32Array>();
    given.emplace_back(o.Get("name").ToString().Utf8Value(),
                       std::vector<float>(data.Data(), data.Data() + data.ElementLength()));
  }
  return post(info.Env(), [given = std::move(given), part = to_part(info[1])](Session& s) {
    // All are checked before any is changed.
    std::vector<std::pair<Parameter*, const std::vector<float>*>> pairs;
    for (const auto& [name, data] : given) {
      Parameter* found = nullptr;
      for (auto& p : s.network().parameters().all())
        if (p.name == name) found = &p;
      if (!found) throw Error("BAD_ADAPTER", "nothing here is called " + name);
      if (found->size != static_cast<int64_t>(data.size()))
        throw Error("BAD_ADAPTER", name + " has " + std::to_string(data.size()) + " values; " +
                                       std::to_string(found->size) + " fit");
      pairs.emplace_back(found, &data);
    }
    for (const auto& [p, data] : pairs)
      (p->*part).copy_(at::from_blob(const_cast<float*>(data->data()), p->shape, at::kFloat));
    s.network().follow();
    return [](Napi::Env env) { return env.Undefined(); };
  });
}

Napi::Value SessionHandle::threads(const Napi::CallbackInfo& info) {
  return post(info.Env(), [](Session&) {
    return [n = parallel_threads()](Napi::Env env) { return Napi::Number::New(env, n); };
  });
}

Napi::Value SessionHandle::state(const Napi::CallbackInfo& info) {
  return post(info.Env(), [](Session& s) {
    auto all = s.state();
    for (auto& [name, t] : all) t = t.to(at::kCPU, t.scalar_type(), false, /*copy=*/true);
    return [all = std::move(all), steps = s.steps_done()](Napi::Env env) -> Napi::Value {
      auto tensors = Napi::Object::New(env);
      for (const auto& [name, t] : all) {
        auto bytes = Napi::Uint8Array::New(env, t.nbytes());
        std::memcpy(bytes.Data(), t.const_data_ptr(), t.nbytes());
        tensors.Set(name, bytes);
      }
      auto o = Napi::Object::New(env);
      o.Set("stepsDone", static_cast<double>(steps));
      o.Set("tensors", tensors);
      return o;
    };
  });
}

Napi::Value SessionHandle::set_state(const Napi::CallbackInfo& info) {
  const auto o = info[0].As<Napi::Object>();
  const auto tensors = o.Get("tensors").As<Napi::Object>();
  std::map<std::string, std::vector<uint8_t>> given;
  for (const auto& [key, value] : tensors) {
    const auto bytes = static_cast<Napi::Value>(value).As<Napi::Uint8Array>();
    given[key.ToString().Utf8Value()] = {bytes.Data(), bytes.Data() + bytes.ElementLength()};
  }
  return post(
      info.Env(), [given = std::move(given), steps = o.Get("stepsDone").ToNumber().Int64Value()](Session& s) {
        for (auto& [name, t] : s.state())
          if (!given.count(name) || given.at(name).size() != t.nbytes())
            throw Error("BAD_STATE", "the checkpoint is of another run: " + name + " does not fit");
        for (auto& [name, t] : s.state())
          t.copy_(at::from_blob(const_cast<uint8_t*>(given.at(name).data()), t.sizes(), t.scalar_type()));
        s.network().follow();
        s.resume_at(steps);
        return [](Napi::Env env) { return env.Undefined(); };
      });
}

Napi::Value SessionHandle::reconstruct(const Napi::CallbackInfo& info) {
  const auto small = Unwrap(info[0].As<Napi::Object>())->session_;
  if (!small) throw coded(info.Env(), "DISPOSED", "the smaller session was disposed of");
  const int64_t rank = info[2].ToNumber().Int64Value();
  return post(info.Env(), [small, batches = to_batches(info[1].As<Napi::Array>()), rank](Session& s) {
    return
        [all = s.reconstruct(*small, batches, rank)](Napi::Env env) { return from_reconstruction(env, all); };
  });
}

void SessionHandle::dispose(const Napi::CallbackInfo&) {
  lane_.reset();
  session_.reset();
  trim_arena();
}

}  // namespace lp::binding
