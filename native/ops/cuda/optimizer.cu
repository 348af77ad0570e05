// What is done with gradients: AdamW with the gradient clipped by its norm. Whether there is an update at all
// is decided on the device; and what ranks' gradients tell.
#include "ops/cuda/device.h"

namespace lp::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    squares_of(const float* x, const AdamPiece* pieces, double* squares) {
  __shared__ double places[kThreads / kWarp];
  const AdamPiece piece = pieces[blockIdx.x];
  double sum = 0;
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += kThreads)
    sum += static_cast<double>(x[i]) * x[i];
  sum = block_sum(sum, places);
  if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

/// Adds the step to the tally, or stops it.
__global__ void __launch_bounds__(kThreads) count_step(AdamPieces a, int64_t pieces) {
  __shared__ double places[kThreads / kWarp];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < pieces; i += kThreads) sum += a.squares[i];
  sum = block_sum(sum, places);
  TallyNumbers& tally = *a.tally;
  if (threadIdx.x != 0 || tally.stopped != 0) return;
  tally.norm = isfinite(*a.loss) ? sqrt(sum) : NAN;
  if (isfinite(tally.norm)) {
    tally.loss += *a.loss / a.numbers->examples;
    tally.steps += 1;
  } else {
    tally.stopped = 1;
  }
}

__global__ void __launch_bounds__(kThreads) update(AdamPieces a) {
  if (a.tally->stopped != 0) return;
  const StepNumbers numbers = *a.numbers;
  const double norm = a.tally->norm;
  const AdamPiece piece = a.pieces[blockIdx.x];
  const double clip = a.max_norm > 0 && a.max_norm < norm + 1e-6 ? a.max_norm / (norm + 1e-6) : 1;
  const auto scale = static_cast<float>(clip), rate = static_cast<float>(numbers.learning_rate * piece.rate),
             step = rate / static_cast<float>(numbers.correction1),
             root = static_cast<float>(numbers.correction2_sqrt),
             decay = 1.f - rate * (piece.decays ? a.all.weight_decay : 0.f);
  for (int64_t i = piece.begin + threadIdx.x; i < piece.end; i += kThreads) {
    const float g = a.all.grad[i] * scale;
    const float m = a.all.m[i] * a.all.beta1 + g * (1.f - a.all.beta1),
                v = a.all.v[i] * a.all.beta2 + g * g * (1.f - a.all.beta2);
    a.all.m[i] = m;
    a.all.v[i] = v;
    a.all.parameter[i] = a.all.parameter[i] * decay - step * m / (sqrtf(v) / root + a.all.eps);
  }
}

__global__ void __launch_bounds__(kThreads) score(RankScores a) {
  __shared__ double places[kThreads / kWarp];
  const RankRow row = a.ranks[blockIdx.x];
  double dot = 0;
  for (int64_t i = threadIdx.x; i < row.width; i += kThreads)
    dot += static_cast<double>(a.value[row.begin + i]) * a.grad[row.begin + i];
  dot = block_sum(dot, places);
  if (threadIdx.x != 0) return;
  const float size = isfinite(dot) ? static_cast<float>(fabs(dot)) : 0.f;
  a.taylor[blockIdx.x] = size;
  // Scaling A_k does what scaling B_k does, so that B_k . dB_k is the same number.
  a.first_order[blockIdx.x] = size * row.both;
}

}  // namespace

void rank_scores(const RankScores& a, const Launch& launch) {
  run(score, dim3(static_cast<unsigned>(launch.rows)), dim3(kThreads), launch.stream, a);
}

void square_sums(const float* x, const AdamPiece* pieces, double* squares, const Launch& launch) {
  run(squares_of, dim3(static_cast<unsigned>(launch.rows)), dim3(kThreads), launch.stream, x, pieces,
      squares);
}

void adamw(const AdamPieces& a, const Launch& launch) {
  run(count_step, dim3(1), dim3(kThreads), launch.stream, a, launch.rows);
  run(update, dim3(static_cast<unsigned>(launch.rows)), dim3(kThreads), launch.stream, a);
}

}  // namespace lp::cuda
