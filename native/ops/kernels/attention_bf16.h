#pragma once
// The attention of attention.h on the processor's bf16 dot products: probabilities and their gradients are
// rounded to bf16 before they are multiplied, as PyTorch's are, and all sums are fp32. The backward pass
// works on transposed scores, keys by queries, so that only the gradient of the queries has to be turned
// round.
#include "ops/kernels/attention.h"
#include "ops/kernels/product.h"

#ifdef __AVX512BF16__

namespace lp::LP_ISA {

LP_INLINE int64_t pad16(int64_t n) { return (n + 15) / 16 * 16; }
LP_INLINE int64_t even(int64_t n) { return (n + 1) / 2 * 2; }

/// Panels of B [depth, n], where B's element (k, c) is b[k * down + c * across].
LP_INLINE void pack_panels(const bf16* b, int64_t down, int64_t across, int64_t depth, int64_t n,
                           bf16* panels) {
  for (int64_t first = 0; first < n; first += kPanel) {
    const int64_t width = pad16(n - first < kPanel ? n - first : kPanel),
                  count = n - first < width ? n - first : width;
    for (int64_t k = 0; k < depth; k += 2, panels += 2 * width) {
      const bf16* from = b + k * down + first * across;
      if (k + 1 < depth && across == 1) {
        for (int64_t c = 0; c < count; ++c) {
          panels[2 * c] = from[c];
          panels[2 * c + 1] = from[down + c];
        }
      } else if (k + 1 < depth && down == 1) {
        for (int64_t c = 0; c < count; ++c) std::memcpy(panels + 2 * c, from + c * across, 4);
      } else {
        for (int64_t c = 0; c < count; ++c) {
          panels[2 * c] = from[c * across];
          panels[2 * c + 1] = k + 1 < depth ? from[down + c * across] : bf16{0};
        }
      }
      std::memset(panels + 2 * count, 0, 4 * (width - count));
    }
  }
}

template <int R, int V>
LP_INLINE void scratch_tile(const bf16* a, int64_t stride, int64_t depth, const bf16* panel, float* c,
                            int64_t ldc, bool accumulate) {
  F sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = accumulate ? load(c + r * ldc + v * W) : F{};
  add_product<R, V>(a, stride, depth, panel, sum);
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(c + r * ldc + v * W, sum[r][v]);
}

template <int V>
void scratch_rows(const bf16* a, int64_t stride, int64_t rows, int64_t depth, const bf16* panel, float* c,
                  int64_t ldc, bool accumulate) {
  int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows)
    scratch_tile<kTileRows, V>(a + r * stride, stride, depth, panel, c + r * ldc, ldc, accumulate);
  for (; r + 2 <= rows; r += 2)
    scratch_tile<2, V>(a + r * stride, stride, depth, panel, c + r * ldc, ldc, accumulate);
  for (; r < rows; ++r)
    scratch_tile<1, V>(a + r * stride, stride, depth, panel, c + r * ldc, ldc, accumulate);
}

/// C [rows, n padded to 16] (+)= A [rows, depth] B, in fp32.
inline void scratch_product(const bf16* a, int64_t stride, int64_t rows, int64_t depth, const bf16* panels,
                            int64_t n, float* c, int64_t ldc, bool accumulate) {
  for (int64_t first = 0; first < n; first += kPanel) {
    const bf16* panel = panels + first * even(depth);
    switch ((n - first + W - 1) / W) {
      case 1:
        scratch_rows<1>(a, stride, rows, depth, panel, c + first, ldc, accumulate);
        break;
      case 2:
        scratch_rows<2>(a, stride, rows, depth, panel, c + first, ldc, accumulate);
        break;
      case 3:
        scratch_rows<3>(a, stride, rows, depth, panel, c + first, ldc, accumulate);
        break;
      default:
        scratch_rows<4>(a, stride, rows, depth, panel, c + first, ldc, accumulate);
    }
  }
}

/// Bump allocation from a thread's scratch.
class Scratch {
 public:
  explicit Scratch(float* at) : at_(at) {}
  float* floats(int64_t n) {
    float* found = at_;
    at_ += (n + 15) / 16 * 16;
    return found;
  }
  bf16* halves(int64_t n) { return reinterpret_cast<bf16*>(floats((n + 1) / 2)); }

 private:
  float* at_;
};

inline int64_t attention_scratch_bf16(int64_t keys, int64_t size) {
  // Of the backward pass, which needs more: three packings of a query block, K turned round, scores, their
  // gradients and both in bf16, and sums for keys, values and queries.
  const int64_t d = pad(size) + 32, n = pad(keys) + 32, q = kQueryBlock;
  return 4 * q * d + 2 * n * d + 4 * n * q + 3 * n * d + 2 * q * d + 1024;
}

inline void attention_forward_bf16(const AttentionForward& a, float* memory, int64_t sequence, int64_t head) {
  const int64_t q0 = a.cu_q[sequence], nq = a.cu_q[sequence + 1] - q0;
  const int64_t k0 = a.cu_k[sequence], nk = a.cu_k[sequence + 1] - k0;
  const int64_t stride = a.heads * a.size, n = pad(nk), dp = pad(a.size);
  Scratch scratch(memory);
  bf16* kt = scratch.halves(even(a.size) * pad16(nk));
  bf16* v = scratch.halves(even(nk) * pad16(a.size));
  float* s = scratch.floats(kQueryBlock * n);
  bf16* p = scratch.halves(kQueryBlock * n);
  float* out = scratch.floats(kQueryBlock * dp);
  pack_panels(static_cast<const bf16*>(a.k) + k0 * stride + head * a.size, 1, stride, a.size, nk, kt);
  pack_panels(static_cast<const bf16*>(a.v) + k0 * stride + head * a.size, stride, 1, nk, a.size, v);
  for (int64_t i0 = 0; i0 < nq; i0 += kQueryBlock) {
    const int64_t rows = nq - i0 < kQueryBlock ? nq - i0 : kQueryBlock;
    const int64_t at = (q0 + i0) * stride + head * a.size;
    scratch_product(static_cast<const bf16*>(a.q) + at, stride, rows, a.size, kt, nk, s, n, false);
    for (int64_t i = 0; i < rows; ++i) {
      float* si = s + i * n;
      for (int64_t j = nk; j < n; ++j) si[j] = -3.0e38f;
      F top = splat(-3.0e38f);
      for (int64_t j = 0; j < n; j += W) top = vmax(top, load(si + j));
      const float largest = max_lane(top) * a.scale;
      F total = {};
      for (int64_t j = 0; j < n; j += W) {
        const F e = exp(load(si + j) * a.scale - largest);
        store(si + j, e);
        total += e;  // exp of the padding is below 1e-37
      }
      const float denominator = sum(total), inverse = 1.f / denominator;
      a.lse[head * a.q_rows + q0 + i0 + i] = largest + __builtin_logf(denominator);
      const uint32_t counter = drop_counter(q0 + i0 + i, a.heads, head, nk);
      for (int64_t j = 0; j < n; j += kBlock) {
        Block b = load_block(si + j, kBlock);
        for (int x = 0; x < NV; ++x) b.v[x] *= inverse;
        if (a.dropout.active()) {
          const Block f = dropout_block(a.dropout, counter, j);
          for (int x = 0; x < NV; ++x) b.v[x] *= f.v[x];
        }
        store_block(p + i * n + j, b, kBlock);
      }
    }
    scratch_product(p, n, rows, nk, v, a.size, out, dp, false);
    if (a.unmasked) write_head(out, dp, rows, a.size, static_cast<bf16*>(a.unmasked) + at, stride);
    if (a.head_mask)
      for (int64_t j = 0; j < rows * dp; j += W) store(out + j, load(out + j) * a.head_mask[head]);
    write_head(out, dp, rows, a.size, static_cast<bf16*>(a.context) + at, stride);
  }
}

/// The dropout factors of 16 queries (rows of the stream from `counter` on, `row` apart) for the keys j and j
/// + 16, which share their draws; j % 32 < 16.
LP_INLINE void dropout_of_keys(const Dropout& d, uint32_t counter, uint32_t row, int64_t j, F& low, F& high) {
  I lane;
  for (int i = 0; i < W; ++i) lane[i] = i;
  U x = ((U)lane * row + (counter + static_cast<uint32_t>(j / 32 * 16 + j % 16))) * 0x9E3779B1u + d.key0;
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15) ^ d.key1) * 0x846CA68Bu;
  x = x ^ (x >> 16);
  const F zero = {}, scale = splat(d.scale);
  const I threshold = (I)((U){} + d.threshold);
  low = (I)(x & 0xFFFFu) < threshold ? zero : scale;
  high = (I)(x >> 16) < threshold ? zero : scale;
}

/// Probabilities after dropout and gradients of the scores, [keys, queries] in bf16, from the two products.
struct ScoreBlock {
  const float *s, *dp;  // [nk, kQueryBlock]
  const float *lse,
      *dots;  // of the block's queries, padded: what is subtracted from scores and from gradients
  bf16 *p, *ds;
  float scale, mask;
};

LP_INLINE void score_gradients(const ScoreBlock& b, int64_t key, int64_t c, F factor) {
  const int64_t at = key * kQueryBlock + c;
  const F prob = exp(load(b.s + at) * b.scale - load(b.lse + c));
  const F gradient = factor * load(b.dp + at) - load(b.dots + c);
  store(b.p + at, prob * factor * b.mask);
  store(b.ds + at, prob * gradient * (b.mask * b.scale));
}

inline void attention_backward_bf16(const AttentionBackward& a, float* memory, int64_t sequence,
                                    int64_t head) {
  const int64_t q0 = a.cu_q[sequence], nq = a.cu_q[sequence + 1] - q0;
  const int64_t k0 = a.cu_k[sequence], nk = a.cu_k[sequence + 1] - k0;
  const int64_t stride = a.heads * a.size, size = a.size, dp = pad(size);
  const float mask = a.head_mask ? a.head_mask[head] : 1.f;
  const bf16* k = static_cast<const bf16*>(a.k) + k0 * stride + head * size;
  const bf16* v = static_cast<const bf16*>(a.v) + k0 * stride + head * size;
  Scratch scratch(memory);
  bf16* turned = scratch.halves(even(size) * kQueryBlock);  // Q^T, then dO^T, packed
  bf16* q = scratch.halves(kQueryBlock * pad16(size));      // rows of a block, packed
  bf16* dout = scratch.halves(kQueryBlock * pad16(size));
  bf16* kt = scratch.halves(size * even(nk));
  bf16* packed_ds = scratch.halves(even(nk) * kQueryBlock);
  float* s = scratch.floats(nk * kQueryBlock);
  float* dprob = scratch.floats(nk * kQueryBlock);
  bf16* p = scratch.halves(nk * kQueryBlock);
  bf16* ds = scratch.halves(nk * kQueryBlock);
  float* dk = scratch.floats(nk * dp);
  float* dv = scratch.floats(nk * dp);
  float* dq = scratch.floats(size * kQueryBlock);
  alignas(64) float lse[kQueryBlock], dots[kQueryBlock];
  for (int64_t j = 0; j < nk; ++j)
    for (int64_t c = 0; c < size; ++c) kt[c * nk + j] = k[j * stride + c];
  float mask_grad = 0.f;
  for (int64_t i0 = 0; i0 < nq; i0 += kQueryBlock) {
    const int64_t rows = nq - i0 < kQueryBlock ? nq - i0 : kQueryBlock, wide = pad16(rows);
    const int64_t at = (q0 + i0) * stride + head * size;
    const bf16 *qi = static_cast<const bf16*>(a.q) + at, *di = static_cast<const bf16*>(a.d_context) + at,
               *oi = static_cast<const bf16*>(a.unmasked) + at;
    for (int64_t i = 0; i < kQueryBlock; ++i) {
      F dot = {};
      for (int64_t c = 0; i < rows && c < size; c += kBlock) {
        const Block x = load_block(di + i * stride + c, size - c),
                    y = load_block(oi + i * stride + c, size - c);
        for (int e = 0; e < NV; ++e) dot += x.v[e] * y.v[e];
      }
      dots[i] = sum(dot);  // <d_context, context before the mask>
      mask_grad += dots[i];
      // Queries past the end get the probability 0.
      lse[i] = i < rows ? a.lse[head * a.q_rows + q0 + i0 + i] : 3.0e38f;
    }
    pack_panels(qi, 1, stride, size, rows, turned);
    scratch_product(k, stride, nk, size, turned, rows, s, kQueryBlock, false);
    pack_panels(di, 1, stride, size, rows, turned);
    scratch_product(v, stride, nk, size, turned, rows, dprob, kQueryBlock, false);
    const ScoreBlock block{s, dprob, lse, dots, p, ds, a.scale, mask};
    const uint32_t row = static_cast<uint32_t>(a.heads) * dropout_stride(nk);
    for (int64_t c = 0; c < wide; c += W) {
      const uint32_t counter = drop_counter(q0 + i0 + c, a.heads, head, nk);
      for (int64_t j0 = 0; j0 < nk; j0 += 32)
        for (int64_t j = j0; j < j0 + 16 && j < nk; ++j) {
          F low = splat(1.f), high = splat(1.f);
          if (a.dropout.active()) dropout_of_keys(a.dropout, counter, row, j, low, high);
          score_gradients(block, j, c, low);
          if (j + 16 < nk) score_gradients(block, j + 16, c, high);
        }
    }
    pack_panels(qi, stride, 1, rows, size, q);
    pack_panels(di, stride, 1, rows, size, dout);
    scratch_product(p, kQueryBlock, nk, rows, dout, size, dv, dp, i0 > 0);
    scratch_product(ds, kQueryBlock, nk, rows, q, size, dk, dp, i0 > 0);
    pack_panels(ds, kQueryBlock, 1, nk, rows, packed_ds);
    scratch_product(kt, nk, size, nk, packed_ds, rows, dq, kQueryBlock, false);
    bf16* to = static_cast<bf16*>(a.dq) + at;
    for (int64_t i = 0; i < rows; ++i) {
      alignas(64) float gradient[kBlock];
      for (int64_t c0 = 0; c0 < size; c0 += kBlock) {
        const int64_t count = size - c0 < kBlock ? size - c0 : kBlock;
        for (int64_t c = 0; c < count; ++c) gradient[c] = dq[(c0 + c) * kQueryBlock + i];
        store_block(to + i * stride + c0, load_block(gradient, kBlock), count);
      }
    }
  }
  write_head(dk, dp, nk, size, static_cast<bf16*>(a.dk) + k0 * stride + head * size, stride);
  write_head(dv, dp, nk, size, static_cast<bf16*>(a.dv) + k0 * stride + head * size, stride);
  if (a.mask_grad) a.mask_grad[sequence * a.heads + head] = mask_grad;
}

}  // namespace lp::LP_ISA
#endif
