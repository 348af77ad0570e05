#pragma once
// Plain JavaScript data to and from the engine's structures. What comes in is checked by lib/checkpoint and,
// of batches, by Batch::check.
#include "napi_setup.h"
#include "train/session.h"

namespace lp::binding {

Spec to_spec(const Napi::Object& o);
std::vector<WeightRef> to_weights(const Napi::Array& a);
std::vector<LayerCut> to_cuts(const Napi::Array& a);
SessionConfig to_session_config(const Napi::Object& o);
Batch to_batch(const Napi::Object& o);
std::vector<Batch> to_batches(const Napi::Array& a);
at::ScalarType to_dtype(const Napi::Value& v);

std::vector<int64_t> to_integers(const Napi::Value& v);
std::vector<Tensor> to_vectors(const Napi::Array& a);
/// value, gradient, moment1 or moment2, of a parameter.
Tensor Parameter::*to_part(const Napi::Value& v);

Napi::Value from_floats(Napi::Env env, const Tensor& t);
Napi::Value from_list(Napi::Env env, const std::vector<Tensor>& tensors);
Napi::Value from_metrics(Napi::Env env, const Metrics& m);
Napi::Value from_scores(Napi::Env env, const Scores& s);
Napi::Value from_reconstruction(Napi::Env env, const std::vector<LayerReconstruction>& layers);

}  // namespace lp::binding
