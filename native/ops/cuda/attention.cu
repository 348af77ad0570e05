// Softmax attention over packed sequences, for what LibTorch's does not do: ALiBi, a cache of keys and
// values, odd head sizes, in fp32 windows. A warp has one query, or for the gradients of keys and values one
// key; its lanes have a key, or a query, each for the scores, and the head's values for the sums.
#include "ops/cuda/tiles.h"

namespace lp::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMostSize = 256;
constexpr int kParts = kMostSize / kWarp;  // of a head's values, for each lane
constexpr unsigned kAll = 0xFFFFFFFFu;

/// The last of `count` ascending numbers that is not above `value`.
__device__ __forceinline__ int64_t find(const int32_t* numbers, int64_t count, int64_t value) {
  int64_t low = 0, high = count - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (numbers[middle] <= value)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

/// One sequence's queries and keys.
struct Span {
  int64_t q0, queries, k0, keys;
  /// What is added to a query's number to get the key's that stands where it does.
  __device__ int64_t shift() const { return keys - queries; }
};

template <class Arguments>
__device__ __forceinline__ Span span_of(const Arguments& a, int64_t sequence) {
  const int64_t q0 = a.cu_q[sequence], k0 = a.k_begin[sequence];
  return {q0, a.cu_q[sequence + 1] - q0, k0, a.k_end[sequence] - k0};
}

struct Range {
  int64_t begin, end;
};

/// The keys that query i of a sequence sees.
__device__ __forceinline__ Range keys_of(const AttentionBias& bias, const Span& s, int64_t i) {
  const int64_t place = i + s.shift();
  const int64_t begin = bias.window > 0 && place - bias.window + 1 > 0 ? place - bias.window + 1 : 0;
  return {begin, bias.causal && place + 1 < s.keys ? place + 1 : s.keys};
}

/// The queries that see key j.
__device__ __forceinline__ Range queries_of(const AttentionBias& bias, const Span& s, int64_t j) {
  const int64_t place = j - s.shift();
  const int64_t end = bias.window > 0 && place + bias.window < s.queries ? place + bias.window : s.queries;
  return {bias.causal && place > 0 ? place : 0, end};
}

/// What is added to a score before it is scaled to a probability: ALiBi's price of the distance.
__device__ __forceinline__ float price(const AttentionBias& bias, const Span& s, int64_t head, int64_t i,
                                       int64_t j) {
  return bias.slopes ? -bias.slopes[head] * static_cast<float>(i + s.shift() - j) : 0.f;
}

template <class T>
__device__ __forceinline__ float dot(const float* a, const T* b, int64_t size) {
  float sum = 0.f;
  for (int64_t c = 0; c < size; ++c) sum += a[c] * to_float(b[c]);
  return sum;
}

template <class T>
__device__ __forceinline__ void read(const T* from, int64_t size, float* to) {
  for (int64_t c = threadIdx.x; c < size; c += kWarp) to[c] = to_float(from[c]);
}

/// acc += factor of lane `from` * row, over the head's values that this lane has.
template <class T>
__device__ __forceinline__ void add_row(float factor, const T* row, int64_t size, float (&acc)[kParts]) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const int64_t c = part * kWarp + threadIdx.x;
    if (c < size) acc[part] += factor * to_float(row[c]);
  }
}

template <class T>
__device__ __forceinline__ void write(const float (&acc)[kParts], float factor, int64_t size, T* to) {
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const int64_t c = part * kWarp + threadIdx.x;
    if (c < size) put(to + c, acc[part] * factor);
  }
}

template <class T>
__global__ void __launch_bounds__(kWarp* kWarps, 4) forward(AttentionForward a, int64_t sequences) {
  __shared__ float queries[kWarps][kMostSize];
  const int64_t heads = a.heads * a.group, unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (unit >= a.q_rows * heads) return;  // a whole warp, and nothing waits for others
  a.dropout = keyed(a.dropout);
  const int64_t row = unit / heads, head = unit % heads, key_head = head / a.group;
  const int64_t k_stride = a.heads * a.size, at = unit * a.size;
  const Span s = span_of(a, find(a.cu_q, sequences + 1, row));
  const int64_t i = row - s.q0;
  const T *k = static_cast<const T*>(a.k) + s.k0 * k_stride + key_head * a.size,
          *v = static_cast<const T*>(a.v) + s.k0 * k_stride + key_head * a.size;
  float* const q = queries[threadIdx.y];
  read(static_cast<const T*>(a.q) + at, a.size, q);
  __syncwarp();
  const Range seen = keys_of(a.bias, s, i);
  float largest = -INFINITY, denominator = 0.f, acc[kParts] = {};
  for (int64_t j0 = seen.begin; j0 < seen.end; j0 += kWarp) {
    const int64_t j = j0 + threadIdx.x;
    float score = -INFINITY;
    if (j < seen.end) score = dot(q, k + j * k_stride, a.size) * a.scale + price(a.bias, s, head, i, j);
    const float top = fmaxf(largest, warp_max(score)), shrink = expf(largest - top);
    float p = j < seen.end ? expf(score - top) : 0.f;
    denominator = denominator * shrink + warp_sum(p);
    largest = top;
#pragma unroll
    for (int part = 0; part < kParts; ++part) acc[part] *= shrink;
    p *= dropout_factor(a.dropout, unit, j, s.keys);
    const int64_t count = seen.end - j0 < kWarp ? seen.end - j0 : kWarp;
    for (int64_t lane = 0; lane < count; ++lane)
      add_row(__shfl_sync(kAll, p, static_cast<int>(lane)), v + (j0 + lane) * k_stride, a.size, acc);
  }
  if (threadIdx.x == 0) a.lse[head * a.q_rows + row] = largest + logf(denominator);
  const float inverse = 1.f / denominator, mask = a.head_mask ? a.head_mask[key_head] : 1.f;
  if (a.unmasked) write(acc, inverse, a.size, static_cast<T*>(a.unmasked) + at);
  write(acc, inverse * mask, a.size, static_cast<T*>(a.context) + at);
}

/// products [heads * group, Tq]: of a query's context before the mask with its gradient.
template <class T>
__global__ void __launch_bounds__(kWarp* kWarps, 4) product(AttentionBackward a, float* products) {
  const int64_t heads = a.heads * a.group, unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (unit >= a.q_rows * heads) return;
  const T *x = static_cast<const T*>(a.d_context) + unit * a.size,
          *y = static_cast<const T*>(a.unmasked) + unit * a.size;
  float sum = 0.f;
  for (int64_t c = threadIdx.x; c < a.size; c += kWarp) sum += to_float(x[c]) * to_float(y[c]);
  sum = warp_sum(sum);
  if (threadIdx.x == 0) products[unit % heads * a.q_rows + unit / heads] = sum;
}

/// Sums over a sequence's queries and a head's group of these, and of their sizes: a warp for each.
__global__ void __launch_bounds__(kWarp) sum_heads(AttentionBackward a, const float* products) {
  const int64_t sequence = blockIdx.x, head = blockIdx.y;
  const int64_t begin = a.cu_q[sequence], end = a.cu_q[sequence + 1];
  float gradient = 0.f, salience = 0.f;
  for (int64_t h = head * a.group; h < (head + 1) * a.group; ++h)
    for (int64_t row = begin + threadIdx.x; row < end; row += kWarp) {
      const float value = products[h * a.q_rows + row];
      gradient += value;
      salience += fabsf(value);
    }
  gradient = warp_sum(gradient);
  salience = warp_sum(salience);
  if (threadIdx.x != 0) return;
  if (a.sums.gradient) a.sums.gradient[sequence * a.heads + head] = gradient;
  if (a.sums.salience) a.sums.salience[sequence * a.heads + head] = salience;
}

/// The gradient of a score, times what it is multiplied by, and the probability that reaches the value.
struct Score {
  float ds, p;
};

template <class T>
__device__ __forceinline__ Score score_gradient(const AttentionBackward& a, const Span& s, int64_t head,
                                                int64_t i, int64_t j, float qk, float dv, float product,
                                                float mask) {
  const int64_t row = s.q0 + i;
  const float p = expf(qk * a.scale + price(a.bias, s, head, i, j) - a.lse[head * a.q_rows + row]);
  const float f = dropout_factor(a.dropout, row * a.heads * a.group + head, j, s.keys);
  return {p * (f * dv - product) * (mask * a.scale), p * f * mask};
}

template <class T>
__global__ void __launch_bounds__(kWarp* kWarps, 4)
    backward_queries(AttentionBackward a, int64_t sequences, const float* products) {
  __shared__ float queries[kWarps][kMostSize], gradients[kWarps][kMostSize];
  a.dropout = keyed(a.dropout);
  const int64_t heads = a.heads * a.group, unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (unit >= a.q_rows * heads) return;
  const int64_t row = unit / heads, head = unit % heads, key_head = head / a.group;
  const int64_t k_stride = a.heads * a.size, at = unit * a.size;
  const Span s = span_of(a, find(a.cu_q, sequences + 1, row));
  const int64_t i = row - s.q0;
  const T *k = static_cast<const T*>(a.k) + s.k0 * k_stride + key_head * a.size,
          *v = static_cast<const T*>(a.v) + s.k0 * k_stride + key_head * a.size;
  float *const q = queries[threadIdx.y], *const d = gradients[threadIdx.y];
  read(static_cast<const T*>(a.q) + at, a.size, q);
  read(static_cast<const T*>(a.d_context) + at, a.size, d);
  __syncwarp();
  const float mask = a.head_mask ? a.head_mask[key_head] : 1.f, product = products[head * a.q_rows + row];
  const Range seen = keys_of(a.bias, s, i);
  float acc[kParts] = {};
  for (int64_t j0 = seen.begin; j0 < seen.end; j0 += kWarp) {
    const int64_t j = j0 + threadIdx.x;
    float ds = 0.f;
    if (j < seen.end)
      ds = score_gradient<T>(a, s, head, i, j, dot(q, k + j * k_stride, a.size),
                             dot(d, v + j * k_stride, a.size), product, mask)
               .ds;
    const int64_t count = seen.end - j0 < kWarp ? seen.end - j0 : kWarp;
    for (int64_t lane = 0; lane < count; ++lane)
      add_row(__shfl_sync(kAll, ds, static_cast<int>(lane)), k + (j0 + lane) * k_stride, a.size, acc);
  }
  write(acc, 1.f, a.size, static_cast<T*>(a.dq) + at);
}

template <class T>
__global__ void __launch_bounds__(kWarp* kWarps, 4)
    backward_keys(AttentionBackward a, int64_t sequences, int64_t key_rows, const float* products) {
  __shared__ float key[kWarps][kMostSize], value[kWarps][kMostSize];
  a.dropout = keyed(a.dropout);
  const int64_t unit = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (unit >= key_rows * a.heads) return;
  const int64_t row = unit / a.heads, key_head = unit % a.heads, at = unit * a.size;
  const int64_t heads = a.heads * a.group, q_stride = heads * a.size;
  const Span s = span_of(a, find(a.k_begin, sequences, row));
  const int64_t j = row - s.k0;
  float *const k = key[threadIdx.y], *const v = value[threadIdx.y];
  read(static_cast<const T*>(a.k) + at, a.size, k);
  read(static_cast<const T*>(a.v) + at, a.size, v);
  __syncwarp();
  const float mask = a.head_mask ? a.head_mask[key_head] : 1.f;
  const Range seeing = queries_of(a.bias, s, j);
  float dk[kParts] = {}, dv[kParts] = {};
  for (int64_t head = key_head * a.group; head < (key_head + 1) * a.group; ++head) {
    const T *q = static_cast<const T*>(a.q) + s.q0 * q_stride + head * a.size,
            *d = static_cast<const T*>(a.d_context) + s.q0 * q_stride + head * a.size;
    for (int64_t i0 = seeing.begin; i0 < seeing.end; i0 += kWarp) {
      const int64_t i = i0 + threadIdx.x;
      Score score{0.f, 0.f};
      if (i < seeing.end)
        score =
            score_gradient<T>(a, s, head, i, j, dot(k, q + i * q_stride, a.size),
                              dot(v, d + i * q_stride, a.size), products[head * a.q_rows + s.q0 + i], mask);
      const int64_t count = seeing.end - i0 < kWarp ? seeing.end - i0 : kWarp;
      for (int64_t lane = 0; lane < count; ++lane) {
        const int from = static_cast<int>(lane);
        add_row(__shfl_sync(kAll, score.ds, from), q + (i0 + lane) * q_stride, a.size, dk);
        add_row(__shfl_sync(kAll, score.p, from), d + (i0 + lane) * q_stride, a.size, dv);
      }
    }
  }
  write(dk, 1.f, a.size, static_cast<T*>(a.dk) + at);
  write(dv, 1.f, a.size, static_cast<T*>(a.dv) + at);
}

template <class T, int N>
struct Scale {
  const T* x;
  T* y;
  const float* mask;
  int64_t width, size;
  Values<N> m;

  __device__ void begin(int64_t column) {
#pragma unroll
    for (int i = 0; i < N; ++i) m.v[i] = mask[(column + i) / size];
  }
  __device__ void row(int64_t row, int64_t column, Values<N>*) {
    Values<N> v = load<N>(x + row * width + column);
#pragma unroll
    for (int i = 0; i < N; ++i) v.v[i] *= m.v[i];
    store<N>(y + row * width + column, v);
  }
};

dim3 warps_for(int64_t units) { return dim3(static_cast<unsigned>(ceil_div(units, kWarps))); }

void require_size(int64_t size) {
  if (size > kMostSize)
    throw Error("UNSUPPORTED_MODEL", "on a GPU a head may have " + std::to_string(kMostSize) +
                                         " values at most, not " + std::to_string(size));
}

}  // namespace

void attention_forward(const AttentionForward& a, int64_t sequences, const Launch& launch) {
  require_size(a.size);
  for_element(launch.element, [&](auto t) {
    run(forward<decltype(t)>, warps_for(a.q_rows * a.heads * a.group), dim3(kWarp, kWarps), launch.stream, a,
        sequences);
  });
}

void head_sums(const AttentionBackward& a, int64_t sequences, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    run(product<decltype(t)>, warps_for(a.q_rows * a.heads * a.group), dim3(kWarp, kWarps), launch.stream, a,
        launch.room);
  });
  if (a.sums.gradient || a.sums.salience)
    run(sum_heads, dim3(static_cast<unsigned>(sequences), static_cast<unsigned>(a.heads)), dim3(kWarp),
        launch.stream, a, launch.room);
}

void attention_backward(const AttentionBackward& a, int64_t sequences, int64_t keys, const Launch& launch) {
  require_size(a.size);
  head_sums(a, sequences, launch);
  const dim3 block(kWarp, kWarps);
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    run(backward_queries<T>, warps_for(a.q_rows * a.heads * a.group), block, launch.stream, a, sequences,
        launch.room);
    run(backward_keys<T>, warps_for(keys * a.heads), block, launch.stream, a, sequences, keys, launch.room);
  });
}

void scale_heads(const HeadScale& a, const Launch& launch) {
  const int64_t width = a.heads * a.size;
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(width, [&](auto count) {
      constexpr int N = decltype(count)::n;
      over_tiles<N>(Scale<T, N>{static_cast<const T*>(a.x), static_cast<T*>(a.y), a.mask, width, a.size, {}},
                    width, launch);
    });
  });
}

}  // namespace lp::cuda
