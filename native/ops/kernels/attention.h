#pragma once
// Attention of one sequence and head in fp32 scratch, the probabilities a block of query rows at a time; the
// backward pass computes them again from the saved log-sum-exp (FlashAttention, Dao et al. 2022).
#include "ops/kernels/gemm.h"
#include "ops/kernels/kernels.h"
#include "ops/kernels/math.h"

namespace lp::LP_ISA {

constexpr int64_t kQueryBlock = 64;

LP_INLINE int64_t pad(int64_t n) { return (n + kBlock - 1) / kBlock * kBlock; }

inline int64_t attention_scratch(int64_t queries, int64_t keys, int64_t size) {
  const int64_t d = pad(size), n = pad(keys), q = queries < kQueryBlock ? queries : kQueryBlock;
  return 4 * q * d + 6 * n * d + 2 * q * n + 64;
}

/// Rows of one head to fp32, zeros up to the padded width.
template <class T>
LP_INLINE void read_head(const T* from, int64_t stride, int64_t rows, int64_t size, float* to, int64_t ld) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < ld; c += kBlock)
      store_block(to + r * ld + c, load_block(from + r * stride + c, size - c < 0 ? 0 : size - c), kBlock);
}

template <class T>
LP_INLINE void write_head(const float* from, int64_t ld, int64_t rows, int64_t size, T* to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < size; c += kBlock)
      store_block(to + r * stride + c, load_block(from + r * ld + c, kBlock), size - c);
}

/// to[c, r] = from[r, c], zeros for r up to the padded width.
LP_INLINE void transpose(const float* from, int64_t ld_from, int64_t rows, int64_t size, float* to,
                         int64_t ld_to) {
  for (int64_t c = 0; c < size; ++c) {
    for (int64_t r = 0; r < rows; ++r) to[c * ld_to + r] = from[r * ld_from + c];
    for (int64_t r = rows; r < ld_to; ++r) to[c * ld_to + r] = 0.f;
  }
}

/// Row of the dropout stream: one row for each query of each head.
LP_INLINE uint32_t drop_counter(int64_t query, int64_t heads, int64_t head, int64_t keys) {
  return static_cast<uint32_t>(query * heads + head) * dropout_stride(keys);
}

/// What stands for a score that is not to count: next to nothing after the softmax, and finite times any
/// scale.
constexpr float kMasked = -1e30f;

/// Where a query stands among its sequence's keys, and which of these it sees: [first, end).
struct Seen {
  int64_t at, first, end;
};
LP_INLINE Seen seen_by(const AttentionBias& s, int64_t query, int64_t queries, int64_t keys) {
  const int64_t at = query + keys - queries, end = s.causal ? at + 1 : keys;
  return {at, s.window > 0 && at + 1 > s.window ? at + 1 - s.window : 0, end};
}

/// Of a query head: what a key of the distance 1 costs, in units of scores before they are scaled.
template <class A>
LP_INLINE float slope_of(const A& a, int64_t head) {
  return a.bias.slopes ? a.bias.slopes[head] / a.scale : 0.f;
}

/// A query's scores of `keys` keys, as it sees them; those up to `wide` are unseen.
LP_INLINE void add_bias(float* scores, const Seen& seen, float slope, int64_t keys, int64_t wide) {
  if (slope != 0.f)
    for (int64_t j = seen.first; j < seen.end; ++j) scores[j] -= slope * static_cast<float>(seen.at - j);
  for (int64_t j = 0; j < seen.first; ++j) scores[j] = kMasked;
  for (int64_t j = seen.end < keys ? seen.end : keys; j < wide; ++j) scores[j] = kMasked;
}

template <class T>
void attention_forward(const AttentionForward& a, float* scratch, int64_t sequence, int64_t head) {
  const int64_t q0 = a.cu_q[sequence], nq = a.cu_q[sequence + 1] - q0;
  const int64_t k0 = a.k_begin[sequence], nk = a.k_end[sequence] - k0;
  const int64_t heads = a.heads * a.group, d = pad(a.size), n = pad(nk);
  const int64_t k_stride = a.heads * a.size, q_stride = heads * a.size;
  const int64_t block = nq < kQueryBlock ? nq : kQueryBlock;
  float* q = scratch;          // [block, d]
  float* out = q + block * d;  // [block, d]
  float* v = out + block * d;  // [nk, d]
  float* k = v + n * d;        // [nk, d]
  float* kt = k + n * d;       // [size, n]
  float* s = kt + n * d;       // [block, n]
  read_head(static_cast<const T*>(a.k) + k0 * k_stride + head * a.size, k_stride, nk, a.size, k, d);
  read_head(static_cast<const T*>(a.v) + k0 * k_stride + head * a.size, k_stride, nk, a.size, v, d);
  transpose(k, d, nk, a.size, kt, n);
  for (int64_t h = head * a.group; h < (head + 1) * a.group; ++h) {
    const float slope = slope_of(a, h);
    for (int64_t i0 = 0; i0 < nq; i0 += kQueryBlock) {
      const int64_t rows = nq - i0 < kQueryBlock ? nq - i0 : kQueryBlock;
      const int64_t at = (q0 + i0) * q_stride + h * a.size;
      // None of the block sees more.
      const int64_t keys = seen_by(a.bias, i0 + rows - 1, nq, nk).end, wide = pad(keys);
      read_head(static_cast<const T*>(a.q) + at, q_stride, rows, a.size, q, d);
      gemm(q, d, 1, kt, n, s, n, rows, wide, a.size, false);
      for (int64_t i = 0; i < rows; ++i) {
        float* si = s + i * n;
        const Seen seen = seen_by(a.bias, i0 + i, nq, nk);
        add_bias(si, seen, slope, keys, wide);
        F top = splat(kMasked);
        for (int64_t j = 0; j < wide; j += W) top = vmax(top, load(si + j));
        const float largest = max_lane(top) * a.scale;
        F total = {};
        for (int64_t j = 0; j < wide; j += W) {
          const F e = exp(load(si + j) * a.scale - largest);
          store(si + j, e);
          if (j + W <= seen.end) total += e;
        }
        float denominator = sum(total);
        for (int64_t j = seen.end / W * W; j < seen.end; ++j) denominator += si[j];
        for (int64_t j = 0; j < seen.first; ++j) si[j] = 0.f;
        for (int64_t j = seen.end; j < wide; ++j) si[j] = 0.f;
        a.lse[h * a.q_rows + q0 + i0 + i] = largest + __builtin_logf(denominator);
        const float inverse = 1.f / denominator;
        const uint32_t counter = drop_counter(q0 + i0 + i, heads, h, nk);
        for (int64_t j = 0; j < wide; j += kBlock) {
          Block b = load_block(si + j, kBlock);
          for (int x = 0; x < NV; ++x) b.v[x] *= inverse;
          if (a.dropout.active()) drop(a.dropout, counter, j, b);
          store_block(si + j, b, kBlock);
        }
      }
      gemm(s, n, 1, v, d, out, d, rows, d, keys, false);
      if (a.unmasked) write_head(out, d, rows, a.size, static_cast<T*>(a.unmasked) + at, q_stride);
      if (a.head_mask)
        for (int64_t j = 0; j < rows * d; j += W) store(out + j, load(out + j) * a.head_mask[head]);
      write_head(out, d, rows, a.size, static_cast<T*>(a.context) + at, q_stride);
    }
  }
}

template <class T>
void attention_backward(const AttentionBackward& a, float* scratch, int64_t sequence, int64_t head) {
  const int64_t q0 = a.cu_q[sequence], nq = a.cu_q[sequence + 1] - q0;
  const int64_t k0 = a.k_begin[sequence], nk = a.k_end[sequence] - k0;
  const int64_t heads = a.heads * a.group, d = pad(a.size), n = pad(nk);
  const int64_t k_stride = a.heads * a.size, q_stride = heads * a.size;
  const int64_t block = nq < kQueryBlock ? nq : kQueryBlock;
  float* q = scratch;            // [block, d]
  float* dout = q + block * d;   // [block, d]
  float* dq = dout + block * d;  // [block, d]
  float* o = dq + block * d;     // [block, d]
  float* k = o + block * d;      // [nk, d]
  float* kt = k + n * d;         // [size, n]
  float* vt = kt + n * d;        // [size, n]
  float* v = vt + n * d;         // [nk, d], needed only to make vt
  float* dk = v + n * d;         // [nk, d]
  float* dv = dk + n * d;        // [nk, d]
  float* p = dv + n * d;         // [block, n]: probabilities, then those after dropout
  float* ds = p + block * n;     // [block, n]
  const float mask = a.head_mask ? a.head_mask[head] : 1.f;
  read_head(static_cast<const T*>(a.k) + k0 * k_stride + head * a.size, k_stride, nk, a.size, k, d);
  read_head(static_cast<const T*>(a.v) + k0 * k_stride + head * a.size, k_stride, nk, a.size, v, d);
  transpose(k, d, nk, a.size, kt, n);
  transpose(v, d, nk, a.size, vt, n);
  std::memset(dk, 0, 2 * n * d * sizeof(float));
  float mask_gradient = 0.f, mask_salience = 0.f;
  for (int64_t h = head * a.group; h < (head + 1) * a.group; ++h) {
    const float slope = slope_of(a, h);
    for (int64_t i0 = 0; i0 < nq; i0 += kQueryBlock) {
      const int64_t rows = nq - i0 < kQueryBlock ? nq - i0 : kQueryBlock;
      const int64_t at = (q0 + i0) * q_stride + h * a.size;
      const int64_t keys = seen_by(a.bias, i0 + rows - 1, nq, nk).end, wide = pad(keys);
      read_head(static_cast<const T*>(a.q) + at, q_stride, rows, a.size, q, d);
      read_head(static_cast<const T*>(a.d_context) + at, q_stride, rows, a.size, dout, d);
      read_head(static_cast<const T*>(a.unmasked) + at, q_stride, rows, a.size, o, d);
      gemm(q, d, 1, kt, n, p, n, rows, wide, a.size, false);
      gemm(dout, d, 1, vt, n, ds, n, rows, wide, a.size, false);
      for (int64_t i = 0; i < rows; ++i) {
        float *pi = p + i * n, *dsi = ds + i * n;
        F dot = {};
        for (int64_t c = 0; c < d; c += W) dot += load(dout + i * d + c) * load(o + i * d + c);
        const float product = sum(dot);  // <d_context, context before the mask>
        mask_gradient += product;
        mask_salience += __builtin_fabsf(product);
        const float lse = a.lse[h * a.q_rows + q0 + i0 + i];
        const Seen seen = seen_by(a.bias, i0 + i, nq, nk);
        add_bias(pi, seen, slope, keys, wide);
        const uint32_t counter = drop_counter(q0 + i0 + i, heads, h, nk);
        for (int64_t j = 0; j < wide; j += kBlock) {
          Block f;
          for (int x = 0; x < NV; ++x) f.v[x] = splat(1.f);
          if (a.dropout.active()) drop(a.dropout, counter, j, f);
          for (int x = 0; x < NV; ++x) {
            const F prob = exp(load(pi + j + x * W) * a.scale - lse);
            const F dprob = f.v[x] * load(dsi + j + x * W) - product;
            store(dsi + j + x * W, prob * dprob * (mask * a.scale));
            store(pi + j + x * W, prob * f.v[x] * mask);
          }
        }
        for (int64_t j = 0; j < seen.first; ++j) pi[j] = dsi[j] = 0.f;
        for (int64_t j = seen.end; j < wide; ++j) pi[j] = dsi[j] = 0.f;
      }
      gemm(p, 1, n, dout, d, dv, d, keys, d, rows, true);
      gemm(ds, n, 1, k, d, dq, d, rows, d, keys, false);
      gemm(ds, 1, n, q, d, dk, d, keys, d, rows, true);
      write_head(dq, d, rows, a.size, static_cast<T*>(a.dq) + at, q_stride);
    }
  }
  write_head(dk, d, nk, a.size, static_cast<T*>(a.dk) + k0 * k_stride + head * a.size, k_stride);
  write_head(dv, d, nk, a.size, static_cast<T*>(a.dv) + k0 * k_stride + head * a.size, k_stride);
  const int64_t unit = sequence * a.heads + head;
  if (a.sums.gradient) a.sums.gradient[unit] = mask_gradient;
  if (a.sums.salience) a.sums.salience[unit] = mask_salience;
}

}  // namespace lp::LP_ISA
