#pragma once
// The CPU kernels: plain functions on raw pointers, each doing one thread's share [begin, end) of its work.
// They are compiled once per instruction set; `kernels()` gives the table of the set in use. Activations are
// float or bf16 (uint16_t storage), arithmetic and everything trainable is float.
#include <cstdint>

#include "base/random.h"

namespace lp {

enum class Activation : int { gelu, gelu_tanh, relu, silu };

/// g = act(z) * mask over [rows, width]; shares are rows.
struct ActivationForward {
  const void* z;
  const float* mask;  // [width] or null
  void* g;
  int64_t width;
  Activation kind;
};

/// What a unit's output and its gradient tell of its mask, summed: their products, which are the mask's
/// gradient, and the products' sizes. Each may be null.
struct MaskSums {
  float* gradient;
  float* salience;
};

/// dz = dg * mask * act'(z) in dg's place, g = act(z) * mask in z's, and over rows the sums of dg * act(z);
/// shares are blocks of 32 columns.
struct ActivationBackward {
  void* z;
  void* dg;
  const float* mask;  // [width] or null
  MaskSums sums;      // [width]
  int64_t width, rows;
  Activation kind;
};

/// Sums over rows of x and of its squares, added to what is there; shares are blocks of 32 columns.
struct Moments {
  const void* x;        // [rows, width]
  float *sum, *square;  // [width]; the latter or null
  int64_t width, rows;
  const float* counted;  // [rows], read on a device alone, or null
};

/// The widest row of a norm, which lies on the stack.
constexpr int64_t kMaxNormWidth = 16384;

/// y = norm(s) of s = residual + dropout(z): LayerNorm or, without `centered`, RMSNorm (Zhang, Sennrich
/// 2019), which has no mean and no beta; shares are rows.
struct NormForward {
  const void* z;
  const void* residual;  // or null
  const float* gamma;
  const float* beta;  // or null
  void* y;
  void* sum;         // s, or null
  void* normalized;  // (s - mean) / std when the backward pass cannot recover it from y, or null
  float* rstd;       // [rows] or null
  int64_t width;
  float eps;
  bool centered;
  Dropout dropout;
};

/// From dy: d_residual = start + d(residual + dropout(z)), dz = dropout'(d_residual); shares are rows.
struct NormBackward {
  const void* dy;
  const void* start;       // what reached s past the norm, or null
  const void* y;           // or
  const void* normalized;  // one of the two
  const float* gamma;
  const float* beta;  // or null
  const float* rstd;
  void* d_residual;
  void* dz;  // null without dropout: then dz is d_residual
  int64_t width;
  bool centered;
  Dropout dropout;
};

/// d_gamma[c] += sum_t dy[t, c] * normalized[t, c], d_beta[c] += sum_t dy[t, c]; shares are blocks of 32
/// columns.
struct NormGradient {
  const void* dy;
  const void* y;           // or
  const void* normalized;  // one of the two
  const float* gamma;
  const float* beta;  // or null
  float* d_gamma;
  float* d_beta;  // or null
  int64_t width, rows;
};

/// w laid out for a projection of bf16 rows: panels of 8 ranks, in each for every two columns 16 pairs, those
/// of the ranks' values rounded to bf16, then those of what the rounding left; shares are 32 columns.
constexpr int64_t kPanelRanks = 8;
struct RankPanels {
  const float* w;  // [rank, width]
  void* panels;    // bf16 [rank / 8 rounded up, strip_depth(width) / 2, 16, 2]
  int64_t width, rank;
};

/// w laid out for a product with what RankProject splits: of the strips of 16 columns of
/// [3 * rank, n] the values rounded to bf16, what the rounding left, and the values again; shares are strips.
struct RankStrips {
  const float* w;  // [rank, n]
  void* strips;    // bf16 [strips_of(n), strip_depth(3 * rank), 16]
  int64_t rank, n;
};

/// p[t, k] = scale * sum_c dropout(x)[t, c] * w[k, c]; shares are rows t.
struct RankProject {
  const void* x;       // [rows, width]
  const float* w;      // [rank, width]
  const void* panels;  // of w, where the kernel wants them
  float* p;            // [rows, rank]
  int64_t width, rank;
  float scale;
  Dropout dropout;
  // Of bf16 rows where products are of tiles, and shares begin at a multiple of 32 rows; or null.
  /// p times another scale for a product with RankStrips, by which p w is exact to 2^-16 (high high + high
  /// low + low high): twice what rounding gives, then what it leaves, then zeros. bf16 [rows,
  /// strip_depth(3 * rank)].
  void* split = nullptr;
  float split_scale = 1;
  /// p turned round for RankOuter: of every 8 ranks and 32 rows the ranks' values rounded to bf16, then twice
  /// those of what the rounding left, and zeros, also past the end of either. bf16 [rank / 8 rounded up,
  /// rows / 32 rounded up, 32, 32].
  void* turned = nullptr;
  int64_t rows = 0;
};

/// y[t, c] += dropout factor * scale * sum_k p[t, k] * w[k, c]; shares are rows t. With `ratio`, also
/// ratio[t] = |what is added| / |y before|, in the Euclidean norm of the row.
struct RankExpand {
  const float* p;  // [rows, rank]
  const float* w;  // [rank, width]
  void* y;         // [rows, width]
  float* ratio;    // [rows] or null
  int64_t width, rank;
  float scale;
  Dropout dropout;
};

/// grad[k, c] += sum_t p[t, k] * dropout(x)[t, c] over the rows t from `first` on; shares are blocks of 32
/// columns.
struct RankOuter {
  const float* p;      // [rows, rank]
  const void* turned;  // p as RankProject turns it, where the kernel wants that
  const void* x;       // [rows, width]
  float* grad;         // [rank, width] or, on a device where `transposed`, [width, rank]
  int64_t width, rank, rows;
  Dropout dropout;
  float scale;  // of what is added, on a device alone
  bool transposed;
  int64_t first = 0,
          turned_blocks = 0;  // a multiple of 32, on a device none; all that `turned` has of a panel
};

/// y[t] = sum over tables of their row rows[t]; shares are rows t.
struct Embed {
  struct Table {
    const void* values;  // [any, width], bf16 where `narrow`, else fp32
    const int64_t* rows;
    bool narrow;
  };
  Table tables[3];
  int count;
  void* y;  // [rows, width]
  int64_t width;
};

/// y = dropout(x); shares are rows. y may be x.
struct DropoutApply {
  const void* x;
  void* y;
  int64_t width;
  Dropout dropout;
};

/// Which keys a query sees, and at what price. The last query of a sequence stands where its last key does.
struct AttentionBias {
  bool causal;     // none that come after it
  int64_t window;  // no more than so many, itself included; 0: all
  const float*
      slopes;  // [heads * group], ALiBi's (Press et al. 2022): times the distance, subtracted; or null
};

/// Softmax attention over packed sequences; shares are (sequence, head) pairs, sequence-major. A head has
/// keys and values of its own, and `group` query heads (Ainslie et al. 2023); usually that is one.
struct AttentionForward {
  const void *q, *k, *v;           // [Tq, heads * group * size], [Tk, heads * size], [Tk, heads * size]
  const int32_t* cu_q;             // [sequences + 1]
  const int32_t *k_begin, *k_end;  // [sequences]
  const float* head_mask;          // [heads] or null
  void* context;                   // [Tq, heads * group * size], masked
  void* unmasked;                  // the same before the mask, or null
  float* lse;                      // [heads * group, Tq] log of the softmax's denominator
  int64_t heads, group, size, q_rows;
  float scale;
  AttentionBias bias;
  Dropout dropout;
};

/// The sums are over the queries of a sequence, and not added to what is there.
struct AttentionBackward {
  const void *q, *k, *v, *unmasked, *d_context;
  const int32_t *cu_q, *k_begin, *k_end;
  const float* head_mask;
  const float* lse;
  void *dq, *dk, *dv;
  MaskSums sums;  // [sequences, heads]
  int64_t heads, group, size, q_rows;
  float scale;
  AttentionBias bias;
  Dropout dropout;
};

/// Rotary positions (Su et al. 2021): the first `turned` values of each head are pairs, which are turned by
/// the angles whose cosines and sines are given. A pair is x[i], x[i + turned / 2] or, interleaved, x[2i],
/// x[2i + 1]; shares are rows. y may be x.
struct Rotate {
  const void* x;           // [rows, heads * size]
  const float *cos, *sin;  // [rows, turned / 2]
  void* y;                 // [rows, heads * size]
  int64_t heads, size, turned;
  bool interleaved;
  float direction;  // 1, or -1 to turn back
};

/// y = act(z) * u * mask, the gated units of GLU variants (Shazeer 2020); shares are rows.
struct GatedForward {
  const void *z, *u;  // [rows, width]
  const float* mask;  // [width] or null
  void* y;
  int64_t width;
  Activation kind;
};

/// From dy: y in z's place, dz in dy's, du in u's, and the sums of what the mask multiplies; shares are
/// blocks of 32 columns.
struct GatedBackward {
  void *z, *u, *dy;
  const float* mask;  // [width] or null
  MaskSums sums;      // [width]
  int64_t width, rows;
  Activation kind;
};

/// Decoupled weight decay Adam on elements [begin, end) (Loshchilov, Hutter 2019), as torch.optim.AdamW
/// computes it.
struct AdamW {
  float *parameter, *m, *v;
  const float* grad;
  float learning_rate, beta1, beta2, eps, weight_decay, grad_scale;
  float correction1, correction2_sqrt;  // 1 - beta1^t, sqrt(1 - beta2^t)
};

/// A weight B [depth, n] laid out for `product`: strips of 16 columns one after the other, each row of a
/// strip two rows of B interleaved, zeros past the end of either. Four strips are a panel.
constexpr int64_t kStrip = 16, kPanel = 4 * kStrip;
constexpr int64_t strips_of(int64_t n) { return (n + kStrip - 1) / kStrip; }
/// Rows of B in a strip, zeros with them: as many as fill tiles (AMX) of 16 pairs.
constexpr int64_t strip_depth(int64_t depth) { return (depth + 31) / 32 * 32; }

/// One factor pair of a sum of products.
struct ProductSegment {
  const void* x;  // bf16 [rows, depth]
  const void* panels;
  int64_t depth;
};

/// A low-rank product beside it: scale * dropout factor * sum_k p[t, k] * w[k, c].
struct RankTerm {
  const float* p;  // [rows, rank]
  const float* w;  // [rank, n]
  int64_t rank;
  float scale;
  Dropout dropout;
  ProductSegment split;  // the same as RankProject splits it, where the kernel wants that
};

/// y = sum over segments of x B + bias + start + sum over terms, in bf16, each element summed in fp32 and
/// rounded once; shares are rows [begin, end) of one panel. With `norms`, also the squares of what the
/// segments and the bias give, and of what the terms add, summed over the panel's columns.
struct Product {
  const ProductSegment* segments;
  const RankTerm* terms;
  int64_t segment_count, term_count;
  const float* bias;  // [n] or null
  const void* start;  // bf16 [rows, n], may be y itself, or null
  void* y;            // [rows, n]
  float* norms;       // [rows, panels, 2] or null
  int64_t n;
};

/// The kernels of one element type.
struct TypedKernels {
  void (*activation_forward)(const ActivationForward&, int64_t, int64_t);
  void (*activation_backward)(const ActivationBackward&, int64_t, int64_t);
  void (*moments)(const Moments&, int64_t, int64_t);
  void (*norm_forward)(const NormForward&, int64_t, int64_t);
  void (*norm_backward)(const NormBackward&, int64_t, int64_t);
  void (*norm_gradient)(const NormGradient&, int64_t, int64_t);
  void (*rank_project)(const RankProject&, int64_t, int64_t);
  void (*rank_expand)(const RankExpand&, int64_t, int64_t);
  void (*rank_outer)(const RankOuter&, int64_t, int64_t);
  void (*embed)(const Embed&, int64_t, int64_t);
  void (*dropout_apply)(const DropoutApply&, int64_t, int64_t);
  void (*rotate)(const Rotate&, int64_t, int64_t);
  void (*gated_forward)(const GatedForward&, int64_t, int64_t);
  void (*gated_backward)(const GatedBackward&, int64_t, int64_t);
  void (*attention_forward)(const AttentionForward&, float* scratch, int64_t sequence, int64_t head);
  void (*attention_backward)(const AttentionBackward&, float* scratch, int64_t sequence, int64_t head);
};

struct Kernels {
  TypedKernels f32, bf16;
  void (*adamw)(const AdamW&, int64_t, int64_t);
  /// In fp64.
  double (*dot)(const float*, const float*, int64_t n);
  /// Null where the instruction set has no bf16 products.
  void (*product)(const Product&, int64_t panel, int64_t begin, int64_t end);
  int64_t product_rows;  // that it takes at a time
  void (*pack_ranks)(const RankPanels&, int64_t begin, int64_t end);
  /// Null but where products are of tiles.
  void (*strip_ranks)(const RankStrips&, int64_t begin, int64_t end);
  /// Floats of scratch that one thread needs for sequences of up to so many queries and keys.
  int64_t (*attention_scratch)(int64_t queries, int64_t keys, int64_t size);
};

const Kernels& kernels();

namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
namespace avx512_bf16 {
/// The second has its products from the tile unit (AMX).
extern const Kernels table, tiled;
}  // namespace avx512_bf16

}  // namespace lp
