#pragma once
// The CUDA kernels, as the engine calls them: the arguments of the CPU kernels (ops/kernels/kernels.h) with
// pointers to the device's memory, all of the work at once. They are queued on a stream and not waited for.
#include "ops/kernels/kernels.h"

namespace lp {

enum class Element : int { f32, bf16 };

/// Where and on what a kernel works.
struct Launch {
  Element element;
  int64_t rows;
  void* stream;           // cudaStream_t
  float* room = nullptr;  // floats that the kernel may write to, where it asks for any
};

/// Rows that one block of a sum over rows takes: so many partial sums are made, and added up in their order.
constexpr int64_t kChunkRows = 64;
inline int64_t row_chunks(int64_t rows) { return (rows + kChunkRows - 1) / kChunkRows; }
/// Columns to which a block's row sums belong where kernels give partial ones.
constexpr int64_t kTileColumns = 32;
inline int64_t column_tiles(int64_t width) { return (width + kTileColumns - 1) / kTileColumns; }

/// y = x times its head's mask; each head has `size` columns.
struct HeadScale {
  const void* x;  // [rows, heads * size]
  const float* mask;
  void* y;
  int64_t heads, size;
};

/// Cross-entropy, or the squared error, of `count` logits a row, and what a teacher adds (train/losses.h).
struct LossRows {
  const float* logits;
  const float* labels;   // [rows]: class index or value; NaN: the row does not count
  const float* teacher;  // like logits, or null
  float* gradient;       // like logits
  double* losses;        // [rows]
  // Row r begins at r * count; with `cu` rows are ends of spans: row 2b + e is column e of the [T, 2] logits
  // of sequence b.
  const int32_t* cu;
  int64_t count;
  bool regression;
  double denominator, teacher_weight, temperature;
  const double* denominator_there;  // another factor of it, or null
};

/// Cross-entropy of a vocabulary's logits, whose place their gradient takes, or only whether the label is the
/// likeliest.
struct TokenLoss {
  void* logits;           // [launch.rows, vocab]
  const float* bias;      // [vocab], to be added first, or null
  const int64_t* labels;  // [rows]
  double* losses;         // [rows]
  float* right;           // [rows]: 1 or 0, of the first of the likeliest; null: the gradient is wanted
  int64_t vocab;
  double denominator;
};

/// Rows of `from` at those numbered in `rows`, in their order; and likewise columns.
struct Gather {
  const void* from;               // [.., from_width]
  void* to;                       // [launch.rows, to_width]
  const int64_t *rows, *columns;  // or null: as they come
  const float* scale;             // [to_width] or null
  int64_t from_width, to_width;
};

/// One piece of a parameter, of at most kAdamPiece elements.
constexpr int64_t kAdamPiece = 1 << 13;
struct AdamPiece {
  int64_t begin, end;  // in the flat buffers
  float rate;          // multiplies the learning rate
  bool decays;
};
/// What changes from step to step.
struct StepNumbers {
  double learning_rate, correction1, correction2_sqrt;  // the last two: 1 - beta1^t, sqrt(1 - beta2^t)
  double examples;                                      // by which a step's loss is divided
};
/// What steps have come to.
struct TallyNumbers {
  double loss;     // the sum of the mean losses of those that counted
  double norm;     // of the last one's gradient, before clipping
  double steps;    // that counted
  double stopped;  // 1 from the first one on whose loss or gradient was not finite: nothing changes any more
};
struct AdamPieces {
  AdamW all;  // begins of the flat buffers; its learning rate, correction and scale are not read
  const AdamPiece* pieces;  // [launch.rows]
  const double* squares;    // [launch.rows], the gradient's
  double max_norm;          // 0: no clipping
  const double* loss;       // the step's, a sum
  const StepNumbers* numbers;
  TallyNumbers* tally;  // which the step is added to
};

/// One rank's row of A: what it changes of the loss, |A_k . dA_k| (train/importance.h).
struct RankRow {
  int64_t begin, width;  // in the flat buffers
  float both;            // 1 / inputs + 1 / outputs
};
struct RankScores {
  const float *value, *grad;
  const RankRow* ranks;         // [launch.rows]
  float *first_order, *taylor;  // [launch.rows]
};

struct DeviceKernels {
  void (*activation_forward)(const ActivationForward&, const Launch&);
  void (*activation_backward)(const ActivationBackward&, const Launch&);  // room: [chunks, 2, width]
  void (*gated_forward)(const GatedForward&, const Launch&);
  void (*gated_backward)(const GatedBackward&, const Launch&);  // room: [chunks, 2, width]
  void (*moments)(const Moments&, const Launch&);               // room: [chunks, 2, width]
  void (*norm_forward)(const NormForward&, const Launch&);
  void (*norm_backward)(const NormBackward&, const Launch&);
  void (*norm_gradient)(const NormGradient&, const Launch&);  // room: [chunks, 2, width]
  void (*rank_project)(const RankProject&, const Launch&);
  void (*rank_expand)(const RankExpand&, const Launch&);  // room, with a ratio: [rows, column tiles, 2]
  void (*rank_outer)(const RankOuter&, const Launch&);    // room: [chunks, rank, width]
  void (*dropout_apply)(const DropoutApply&, const Launch&);
  void (*rotate)(const Rotate&, const Launch&);
  // rows: of queries. sums: [sequences, heads], as those of the CPU.
  void (*attention_forward)(const AttentionForward&, int64_t sequences, const Launch&);
  // room: [heads * group, queries]
  void (*attention_backward)(const AttentionBackward&, int64_t sequences, int64_t keys, const Launch&);
  // What attention_backward does with its sums alone. room: the same.
  void (*head_sums)(const AttentionBackward&, int64_t sequences, const Launch&);
  void (*scale_heads)(const HeadScale&, const Launch&);
  void (*loss_rows)(const LossRows&, const Launch&);
  void (*token_loss)(const TokenLoss&, const Launch&);
  void (*rank_scores)(const RankScores&, const Launch&);
  void (*gather)(const Gather&, const Launch&);
  // squares: [rows] of pieces of a flat buffer
  void (*square_sums)(const float* x, const AdamPiece* pieces, double* squares, const Launch&);
  void (*adamw)(const AdamPieces&, const Launch&);
};

}  // namespace lp
