// Losses of labels, of spans and of tokens, and a teacher's, with their gradients (train/losses.h).
#include "ops/cuda/device.h"

namespace lp::cuda {
namespace {

constexpr int kWarps = 4;

/// Where a row's values lie.
struct Row {
  int64_t begin, count, step;
};

__device__ __forceinline__ Row row_of(const LossRows& a, int64_t row) {
  if (!a.cu) return {row * a.count, a.count, 1};
  const int64_t begin = a.cu[row / 2];
  return {begin * 2 + row % 2, a.cu[row / 2 + 1] - begin, 2};
}

/// The log of the sum of exp(x / temperature), in every lane.
__device__ __forceinline__ double log_sum(const float* x, const Row& r, double temperature) {
  float top = -INFINITY;
  for (int64_t c = threadIdx.x; c < r.count; c += kWarp) top = fmaxf(top, x[r.begin + c * r.step]);
  const double largest = warp_max(top) / temperature;
  double total = 0;
  for (int64_t c = threadIdx.x; c < r.count; c += kWarp)
    total += exp(x[r.begin + c * r.step] / temperature - largest);
  return largest + log(warp_sum(total));
}

/// A warp has a row.
__global__ void __launch_bounds__(kWarp* kWarps, 4) loss(LossRows a, int64_t rows) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (row >= rows) return;
  const Row r = row_of(a, row);
  const float label = a.labels[row];
  const double denominator = a.denominator_there ? a.denominator * *a.denominator_there : a.denominator;
  const double w = a.teacher ? a.teacher_weight : 0;
  if (isnan(label)) {
    for (int64_t c = threadIdx.x; c < r.count; c += kWarp) a.gradient[r.begin + c * r.step] = 0.f;
    if (threadIdx.x == 0) a.losses[row] = 0;
    return;
  }
  if (a.regression) {
    if (threadIdx.x != 0) return;
    const double x = a.logits[r.begin], far = x - label,
                 from_teacher = a.teacher ? x - a.teacher[r.begin] : 0;
    a.losses[row] = (1 - w) * far * far + w * from_teacher * from_teacher;
    a.gradient[r.begin] = static_cast<float>(2 * ((1 - w) * far + w * from_teacher) / denominator);
    return;
  }
  const int64_t right = llrint(static_cast<double>(label));
  const double total = log_sum(a.logits, r, 1), t = a.temperature;
  const double student_total = a.teacher ? log_sum(a.logits, r, t) : 0,
               teacher_total = a.teacher ? log_sum(a.teacher, r, t) : 0;
  double divergence = 0;
  for (int64_t c = threadIdx.x; c < r.count; c += kWarp) {
    const int64_t at = r.begin + c * r.step;
    double d = (1 - w) * (exp(a.logits[at] - total) - (c == right ? 1 : 0));
    if (a.teacher) {
      const double student = a.logits[at] / t - student_total, teacher = a.teacher[at] / t - teacher_total,
                   p = exp(teacher);
      divergence += p * (teacher - student);
      d += w * t * (exp(student) - p);
    }
    a.gradient[at] = static_cast<float>(d / denominator);
  }
  divergence = warp_sum(divergence);
  if (threadIdx.x == 0)
    a.losses[row] = (1 - w) * (total - a.logits[r.begin + right * r.step]) + w * t * t * divergence;
}

constexpr int kTokenThreads = 512;

/// A block has a row of the vocabulary's logits, which it reads twice.
template <class T>
__global__ void __launch_bounds__(kTokenThreads, 2) token(TokenLoss a) {
  __shared__ float places[kTokenThreads / kWarp];
  const int64_t row = blockIdx.x, label = a.labels[row];
  T* const x = static_cast<T*>(a.logits) + row * a.vocab;
  const auto logit = [&](int64_t c) { return to_float(x[c]) + (a.bias ? a.bias[c] : 0.f); };
  // Of what a thread has: the largest, and the sum of exponentials beside it.
  float top = -INFINITY, total = 0.f;
  for (int64_t c = threadIdx.x; c < a.vocab; c += kTokenThreads) {
    const float value = logit(c);
    if (value == -INFINITY) continue;
    if (value > top) {
      total *= expf(top - value);
      top = value;
    }
    total += expf(value - top);
  }
  const float largest = block_max(top, places);
  const float sum = block_sum(top == -INFINITY ? 0.f : total * expf(top - largest), places);
  if (threadIdx.x == 0) a.losses[row] = log(static_cast<double>(sum)) + largest - logit(label);
  if (a.right) {
    float first = -INFINITY;  // minus the first place of the largest
    for (int64_t c = threadIdx.x; c < a.vocab; c += kTokenThreads)
      if (logit(c) == largest) first = fmaxf(first, -static_cast<float>(c));
    first = block_max(first, places);
    if (threadIdx.x == 0) a.right[row] = -first == static_cast<float>(label) ? 1.f : 0.f;
    return;
  }
  __syncthreads();  // the loss has been read before the gradient is written
  const float inverse = 1.f / sum, over = static_cast<float>(1 / a.denominator);
  for (int64_t c = threadIdx.x; c < a.vocab; c += kTokenThreads)
    put(x + c, (expf(logit(c) - largest) * inverse - (c == label ? 1.f : 0.f)) * over);
}

}  // namespace

void token_loss(const TokenLoss& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    run(token<decltype(t)>, dim3(static_cast<unsigned>(launch.rows)), dim3(kTokenThreads), launch.stream, a);
  });
}

void loss_rows(const LossRows& a, const Launch& launch) {
  run(loss, dim3(static_cast<unsigned>(ceil_div(launch.rows, kWarps))), dim3(kWarp, kWarps), launch.stream, a,
      launch.rows);
}

}  // namespace lp::cuda
