#pragma once
// Every op against float64: what an op gives, beside what ATen computes in float64 from the same inputs, the
// gradients by autograd. One line of JSON per comparison; test/engine/ops.test.ts reads them.
#include <string>

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "train/session.h"

namespace lp::check {

/// Element types of activations.
constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16};

/// Where tensors of checks lie.
extern at::Device device;
Tensor here(const Tensor& t);
/// fp32.
Tensor zeros(at::IntArrayRef shape);
Tensor ones(at::IntArrayRef shape);

/// Normal numbers, rounded to `dtype`; the same for every call with the same seed.
Tensor random(at::IntArrayRef shape, at::ScalarType dtype, uint64_t seed, double scale = 1);
/// In float64, with a gradient to be taken.
Tensor leaf(const Tensor& t);
/// The factors of dropout of a [rows, width] tensor, in float64.
Tensor factors(const Dropout& dropout, int64_t rows, int64_t width);

/// Compares by max |found - truth| / max |truth|. Float32 is held to `bound`; bfloat16 to one rounding of the
/// result, 2^-8, and what `bound` allows beside it. Where the truth is a sum of which a part was rounded by itself,
/// `part` is that part: it may be larger than the sum.
void compare(const std::string& op, const std::string& what, at::ScalarType dtype, const Tensor& found,
             const Tensor& truth, double bound, const Tensor& part = {});

void activations();
void moments();
void norms();
void dropouts();
void lookups();
void gathers();
void linears();
void attention();
void library_attention();
void head_parts();
void rotations();
void gates();
void losses();
void spans();
void teacher();
void threads();
void optimizer();

/// The most operations a second of a bf16 product of 8,192 cubed, and the most bytes that a copy reads and writes.
void peaks();
/// The most operations a second that a packed bf16 product of a layer's sizes reaches.
void peak(int64_t rows, int64_t hidden, int64_t ffn);
/// Times every op of a layer in bf16.
void times(int64_t sequences, int64_t length, int64_t hidden, int64_t ffn, int64_t heads);

}  // namespace lp::check
