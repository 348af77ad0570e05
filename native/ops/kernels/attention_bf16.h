#pragma once
// The attention of attention.h on the processor's bf16 dot products: probabilities and their gradients are
// rounded to bf16 before they are multiplied, as PyTorch's are, and all sums are fp32. The backward pass
// works on transposed scores, keys by queries, so that only their gradients have to be turned round, for the
// gradient of the queries.
#include "ops/kernels/attention.h"
#include "ops/kernels/scratch_product.h"
#include "ops/kernels/turn.h"

#ifdef __AVX512BF16__

namespace lp::LP_ISA {

LP_INLINE int64_t pad16(int64_t n) { return (n + 15) / 16 * 16; }

LP_INLINE __mmask16 lanes_below(int64_t n) { return n >= 16 ? 0xFFFF : static_cast<__mmask16>((1 << n) - 1); }

/// The first n of 16 neighbours, zeros for the others, each in the low half of its lane.
LP_INLINE __m512i halves(const bf16* p, int64_t n) {
  return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes_below(n), p));
}

/// The first n of 32 neighbours, zeros for the others.
LP_INLINE __m512i pairs(const bf16* p, int64_t n) {
  return _mm512_maskz_loadu_epi16(n >= 32 ? ~0u : (1u << n) - 1, p);
}

/// Strips of B [depth, n] from its rows, `stride` apart, with zeros to `padded` rows.
LP_INLINE void pack_rows(const bf16* b, int64_t stride, int64_t depth, int64_t padded, int64_t n,
                         bf16* strips) {
  for (int64_t c = 0; c < n; c += W) {
    int64_t k = 0;
    for (; k < depth; k += 2, strips += 2 * W) {
      const bf16* from = b + k * stride + c;
      const __m512i low = halves(from, n - c);
      const __m512i high = k + 1 < depth ? halves(from + stride, n - c) : _mm512_setzero_si512();
      _mm512_storeu_si512(strips, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
    for (; k < padded; k += 2, strips += 2 * W) _mm512_storeu_si512(strips, _mm512_setzero_si512());
  }
}

/// Strips of B [depth, n] from its columns, `stride` apart.
LP_INLINE void pack_columns(const bf16* b, int64_t stride, int64_t depth, int64_t n, bf16* strips) {
  for (int64_t c = 0; c < n; c += W, strips += W * even(depth))
    for (int64_t k = 0; k < depth; k += 2 * W) {
      __m512i v[16];
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i)
        v[i] = c + i < n ? pairs(b + (c + i) * stride + k, depth - k) : _mm512_setzero_si512();
      turn(v);
      const int64_t count = (depth - k + 1) / 2 < W ? (depth - k + 1) / 2 : W;
      for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(strips + (k / 2 + i) * 2 * W, v[i]);
    }
}

/// to[c, r] = from[r, c]. Writes up to the next multiples of 16 columns and 32 rows.
LP_INLINE void turn_halves(const bf16* from, int64_t ld_from, int64_t rows, int64_t columns, bf16* to,
                           int64_t ld_to) {
  for (int64_t r = 0; r < rows; r += 2 * W)
    for (int64_t c = 0; c < columns; c += W) {
      __m512i v[16];
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) {
        const bf16* at = from + (r + 2 * i) * ld_from + c;
        v[i] = _mm512_setzero_si512();
        if (r + 2 * i < rows) v[i] = halves(at, W);
        if (r + 2 * i + 1 < rows)
          v[i] = _mm512_or_si512(v[i], _mm512_slli_epi32(halves(at + ld_from, W), 16));
      }
      turn(v);
      for (int i = 0; i < W; ++i) _mm512_storeu_si512(to + (c + i) * ld_to + r, v[i]);
    }
}

constexpr float kLn2 = 0.693147181f;

/// The rows of one head, each times a factor of its own.
template <class Factor>
LP_INLINE void write_scaled(const float* from, int64_t ld, int64_t rows, int64_t size, const Factor& factor,
                            bf16* to, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const F times = splat(factor(r));
    for (int64_t c = 0; c < size; c += kBlock) {
      Block b = load_block(from + r * ld + c, kBlock);
      for (int i = 0; i < NV; ++i) b.v[i] *= times;
      store_block(to + r * stride + c, b, size - c);
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
  // Of the backward pass, which needs more: three packings of a query block and one of the keys, scores,
  // their gradients and both in bf16, these turned round, and sums for keys, values and queries.
  const int64_t d = pad(size) + 32, n = pad(keys) + 32, q = kQueryBlock;
  return 3 * q * d + n * d + 4 * n * q + 2 * n * d + q * d + 1024;
}

/// Scores of at most 16 queries as these see them, and the room for their probabilities, `stride` apart.
struct ScoreRows {
  const float* scores;
  bf16* probabilities;
  int64_t stride, rows;
  float slope;
  Dropout dropout;
};
/// By query: the logarithm of the sum over keys, and that sum beside the largest score.
struct Normalizers {
  F lse, denominators;
};

/// What dropout leaves of probabilities, times their denominators.
/// @param counter of the first row in the stream of dropout, `row` before the next
LP_INLINE Normalizers probabilities(const ScoreRows& a, uint32_t counter, uint32_t row) {
  F each[W];
  for (int64_t i = 0; i < W; ++i) {
    F top = splat(i < a.rows ? kMasked : 0.f);
    for (int64_t j = 0; i < a.rows && j < a.stride; j += W)
      top = vmax(top, load(a.scores + i * a.stride + j));
    each[i] = top;
  }
  alignas(64) float largest[W];
  const F tops = folded(each, vmax) * a.slope;
  store(largest, tops);
  for (int64_t i = 0; i < W; ++i) {
    F total = splat(i < a.rows ? 0.f : 1.f);
    for (int64_t j = 0; i < a.rows && j < a.stride; j += kBlock) {
      const float* const s = a.scores + i * a.stride + j;
      const F low = power_of_two(load(s) * a.slope - largest[i]),
              high = power_of_two(load(s + W) * a.slope - largest[i]);
      total += low + high;  // of what is unseen these are 0
      const __mmask32 kept =
          a.dropout.active() ? kept_columns(a.dropout, counter + static_cast<uint32_t>(i) * row, j) : ~0u;
      _mm512_storeu_si512(a.probabilities + i * a.stride + j,
                          (__m512i)_mm512_maskz_cvtne2ps_pbh(kept, (__m512)high, (__m512)low));
    }
    each[i] = total;
  }
  const F denominators = sums(each);
  return {tops * kLn2 + log(denominators), denominators};
}

template <class Products>
void attention_forward_bf16(const AttentionForward& a, float* memory, int64_t sequence, int64_t head) {
  if (!Products::fit(a.size)) return attention_forward_bf16<RegisterProducts>(a, memory, sequence, head);
  const int64_t q0 = a.cu_q[sequence], nq = a.cu_q[sequence + 1] - q0;
  const int64_t k0 = a.k_begin[sequence], nk = a.k_end[sequence] - k0;
  const int64_t heads = a.heads * a.group, n = pad(nk), dp = pad(a.size);
  const int64_t k_stride = a.heads * a.size, q_stride = heads * a.size;
  Scratch scratch(memory);
  bf16* kt = scratch.halves(even(a.size) * pad16(nk));
  bf16* v = scratch.halves(Products::padded(nk) * pad16(a.size));
  float* s = scratch.floats(kQueryBlock * n);
  bf16* p = scratch.halves(kQueryBlock * n);
  float* out = scratch.floats(kQueryBlock * dp);
  alignas(64) float factors[kQueryBlock];  // of a query's unnormalized probabilities
  const float kept_scale = a.dropout.active() ? a.dropout.scale : 1.f;
  pack_columns(static_cast<const bf16*>(a.k) + k0 * k_stride + head * a.size, k_stride, a.size, nk, kt);
  pack_rows(static_cast<const bf16*>(a.v) + k0 * k_stride + head * a.size, k_stride, nk, Products::padded(nk),
            a.size, v);
  Products product;
  for (int64_t h = head * a.group; h < (head + 1) * a.group; ++h) {
    const float distance = slope_of(a, h);
    for (int64_t i0 = 0; i0 < nq; i0 += kQueryBlock) {
      const int64_t rows = nq - i0 < kQueryBlock ? nq - i0 : kQueryBlock;
      const int64_t at = (q0 + i0) * q_stride + h * a.size;
      product(static_cast<const bf16*>(a.q) + at, q_stride, rows, a.size, kt, nk, s, n, false);
      for (int64_t i = 0; i < rows; ++i)
        add_bias(s + i * n, seen_by(a.bias, i0 + i, nq, nk), distance, nk, n);
      for (int64_t i = 0; i < rows; i += W) {
        const ScoreRows some{s + i * n,        p + i * n, n, rows - i < W ? rows - i : W,
                             a.scale * kLog2e, a.dropout};
        const uint32_t counter = drop_counter(q0 + i0 + i, heads, h, nk);
        const Normalizers found =
            probabilities(some, counter, static_cast<uint32_t>(heads) * dropout_stride(nk));
        _mm512_mask_storeu_ps(a.lse + h * a.q_rows + q0 + i0 + i, lanes_below(some.rows), (__m512)found.lse);
        store(factors + i, kept_scale / found.denominators);
      }
      product(p, n, rows, nk, v, a.size, out, dp, false);
      const float mask = a.head_mask ? a.head_mask[head] : 1.f;
      if (a.unmasked)
        write_scaled(
            out, dp, rows, a.size, [&](int64_t i) { return factors[i]; }, static_cast<bf16*>(a.unmasked) + at,
            q_stride);
      write_scaled(
          out, dp, rows, a.size, [&](int64_t i) { return factors[i] * mask; },
          static_cast<bf16*>(a.context) + at, q_stride);
    }
  }
}

/// Which of 16 queries (rows of the stream from `counter` on, `row` apart) dropout leaves the keys j and j +
/// 16, which share their draws; j % 32 < 16.
LP_INLINE Kept kept_of_keys(const Dropout& d, uint32_t counter, uint32_t row, int64_t j) {
  if (!d.active()) return {0xFFFF, 0xFFFF};
  U lane;
  for (int i = 0; i < W; ++i) lane[i] = i;
  const uint32_t first = (counter + static_cast<uint32_t>(j / 32 * 16 + j % 16)) * kMix0;
  return kept_halves(d, draws(d, lane * (row * kMix0) + first));
}

/// Probabilities after dropout and gradients of the scores, [keys, queries] in bf16, from the two products;
/// the factors that all elements share are left to what these are multiplied into.
struct ScoreBlock {
  const float *s, *dp;  // [nk, kQueryBlock]
  const float *lse,
      *dots;  // of the block's queries, padded: what is subtracted from scores and from gradients
  bf16 *p, *ds;
  float slope, kept_scale;
};

LP_INLINE void score_gradients(const ScoreBlock& b, int64_t key, int64_t c, __mmask16 kept) {
  const int64_t at = key * kQueryBlock + c;
  const F prob = power_of_two(load(b.s + at) * b.slope - load(b.lse + c));
  const __m512 gradient = _mm512_mask3_fmadd_ps((__m512)load(b.dp + at), _mm512_set1_ps(b.kept_scale),
                                                (__m512)(-load(b.dots + c)), kept);
  store(b.p + at, (F)_mm512_maskz_mov_ps(kept, (__m512)prob));
  store(b.ds + at, prob * (F)gradient);
}

/// The scores [keys, queries] of a block of queries from `first` on, as these see them.
LP_INLINE void add_bias_transposed(float* s, const AttentionBias& bias, float slope, int64_t first,
                                   int64_t rows, int64_t queries, int64_t keys) {
  if (!bias.causal && bias.window == 0 && slope == 0.f) return;
  for (int64_t i = 0; i < rows; ++i) {
    const Seen seen = seen_by(bias, first + i, queries, keys);
    for (int64_t j = 0; j < keys; ++j) {
      float& score = s[j * kQueryBlock + i];
      score = j < seen.first || j >= seen.end ? kMasked : score - slope * static_cast<float>(seen.at - j);
    }
  }
}

template <class Products>
void attention_backward_bf16(const AttentionBackward& a, float* memory, int64_t sequence, int64_t head) {
  if (!Products::fit(a.size)) return attention_backward_bf16<RegisterProducts>(a, memory, sequence, head);
  const int64_t q0 = a.cu_q[sequence], nq = a.cu_q[sequence + 1] - q0;
  const int64_t k0 = a.k_begin[sequence], nk = a.k_end[sequence] - k0;
  const int64_t heads = a.heads * a.group, size = a.size, dp = pad(size);
  const int64_t k_stride = a.heads * size, q_stride = heads * size;
  const float mask = a.head_mask ? a.head_mask[head] : 1.f;
  const float kept_scale = a.dropout.active() ? a.dropout.scale : 1.f;
  const auto of_scores = [&](int64_t) { return mask * a.scale; };
  const bf16* k = static_cast<const bf16*>(a.k) + k0 * k_stride + head * size;
  const bf16* v = static_cast<const bf16*>(a.v) + k0 * k_stride + head * size;
  Scratch scratch(memory);
  bf16* turned = scratch.halves(even(size) * kQueryBlock);  // Q^T, then dO^T, packed
  bf16* q = scratch.halves(kQueryBlock * pad16(size));      // rows of a block, packed
  bf16* dout = scratch.halves(kQueryBlock * pad16(size));
  bf16* packed_k = scratch.halves(Products::padded(nk) * pad16(size));
  bf16* turned_ds = scratch.halves(kQueryBlock * pad(nk));
  float* s = scratch.floats(nk * kQueryBlock);
  float* dprob = scratch.floats(nk * kQueryBlock);
  bf16* p = scratch.halves(nk * kQueryBlock);
  bf16* ds = scratch.halves(nk * kQueryBlock);
  float* dk = scratch.floats(nk * dp);
  float* dv = scratch.floats(nk * dp);
  float* dq = scratch.floats(kQueryBlock * dp);
  alignas(64) float lse[kQueryBlock], dots[kQueryBlock];
  pack_rows(k, k_stride, nk, Products::padded(nk), size, packed_k);
  Products product;
  F mask_gradient = {}, mask_salience = {};
  bool adds = false;  // to sums of earlier blocks
  for (int64_t h = head * a.group; h < (head + 1) * a.group; ++h) {
    const float distance = slope_of(a, h);
    for (int64_t i0 = 0; i0 < nq; i0 += kQueryBlock) {
      const int64_t rows = nq - i0 < kQueryBlock ? nq - i0 : kQueryBlock, wide = pad16(rows);
      const int64_t at = (q0 + i0) * q_stride + h * size;
      const bf16 *qi = static_cast<const bf16*>(a.q) + at, *di = static_cast<const bf16*>(a.d_context) + at,
                 *oi = static_cast<const bf16*>(a.unmasked) + at;
      for (int64_t i = 0; i < wide; i += W) {
        F each[W];
        for (int64_t r = 0; r < W; ++r) {
          each[r] = F{};
          for (int64_t c = 0; i + r < rows && c < size; c += kBlock) {
            const Block x = load_block(di + (i + r) * q_stride + c, size - c),
                        y = load_block(oi + (i + r) * q_stride + c, size - c);
            for (int e = 0; e < NV; ++e) each[r] += x.v[e] * y.v[e];
          }
        }
        const F found = sums(each);
        store(dots + i, found);  // <d_context, context before the mask>
        mask_gradient += found;
        mask_salience += (F)_mm512_abs_ps((__m512)found);
        // Queries past the end get the probability 0.
        const __mmask16 there = lanes_below(rows - i);
        store(lse + i, (F)_mm512_mask_mul_ps(_mm512_set1_ps(3.0e38f), there,
                                             _mm512_maskz_loadu_ps(there, a.lse + h * a.q_rows + q0 + i0 + i),
                                             _mm512_set1_ps(kLog2e)));
      }
      pack_columns(qi, q_stride, size, rows, turned);
      product(k, k_stride, nk, size, turned, rows, s, kQueryBlock, false);
      add_bias_transposed(s, a.bias, distance, i0, rows, nq, nk);
      pack_columns(di, q_stride, size, rows, turned);
      product(v, k_stride, nk, size, turned, rows, dprob, kQueryBlock, false);
      const ScoreBlock block{s, dprob, lse, dots, p, ds, a.scale * kLog2e, kept_scale};
      const uint32_t row = static_cast<uint32_t>(heads) * dropout_stride(nk);
      for (int64_t c = 0; c < wide; c += W) {
        const uint32_t counter = drop_counter(q0 + i0 + c, heads, h, nk);
        for (int64_t j0 = 0; j0 < nk; j0 += 32)
          for (int64_t j = j0; j < j0 + 16 && j < nk; ++j) {
            const Kept kept = kept_of_keys(a.dropout, counter, row, j);
            score_gradients(block, j, c, kept.low);
            if (j + 16 < nk) score_gradients(block, j + 16, c, kept.high);
          }
      }
      if (Products::padded(rows) > wide)
        for (int64_t j = 0; j < nk; ++j)
          for (bf16* of : {p, ds}) std::memset(of + j * kQueryBlock + wide, 0, W * sizeof(bf16));
      pack_rows(qi, q_stride, rows, Products::padded(rows), size, q);
      pack_rows(di, q_stride, rows, Products::padded(rows), size, dout);
      product(p, kQueryBlock, nk, rows, dout, size, dv, dp, adds);
      product(ds, kQueryBlock, nk, rows, q, size, dk, dp, adds);
      adds = true;
      turn_halves(ds, kQueryBlock, nk, rows, turned_ds, pad(nk));
      product(turned_ds, pad(nk), rows, nk, packed_k, size, dq, dp, false);
      write_scaled(dq, dp, rows, size, of_scores, static_cast<bf16*>(a.dq) + at, q_stride);
    }
  }
  write_scaled(dk, dp, nk, size, of_scores, static_cast<bf16*>(a.dk) + k0 * k_stride + head * size, k_stride);
  write_scaled(
      dv, dp, nk, size, [&](int64_t) { return mask * kept_scale; },
      static_cast<bf16*>(a.dv) + k0 * k_stride + head * size, k_stride);
  const int64_t unit = sequence * a.heads + head;
  if (a.sums.gradient) a.sums.gradient[unit] = sum(mask_gradient);
  if (a.sums.salience) a.sums.salience[unit] = sum(mask_salience);
}

}  // namespace lp::LP_ISA
#endif
