#pragma once
// LibTorch's attention for packed sequences on a GPU, with this project's head masks beside it: flash
// attention (Dao 2023) in bf16, memory-efficient attention (Rabe and Staats 2021, as xFormers has it) in
// fp32.
#include "ops/ops.h"

namespace lp {

/// Whether it does what is asked, of keys that lie as queries do and without ALiBi: in bf16 for heads of 8 to
/// 256 values in steps of 8, in fp32 for such in steps of 4 that see all keys, or all up to their own; with
/// dropout in fp32 from LibTorch 2.14 on.
bool library_serves(const Tensor& q, const Sequences& s, const AttentionConfig& config,
                    const Dropout& dropout);

/// Has dropout in what follows, where this tensor is, drawn from a step's key: LibTorch has a generator of
/// its own, which goes on from call to call. Other elements fall than on the CPU, and the same ones every
/// time.
void seed_library(const Tensor& beside, uint64_t key);

/// As attention_forward and attention_backward (ops.h).
Tensor library_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                       const AttentionConfig& config, const Tensor& head_mask, const Dropout& dropout,
                       AttentionSaved* saved);
AttentionGrads library_backward(const Tensor& d_context, const AttentionSaved& saved, const Sequences& s,
                                const AttentionConfig& config, const Tensor& head_mask,
                                const MaskTotals& totals);

}  // namespace lp
