#pragma once
// LibTorch's flash attention (Dao 2023) on a GPU, with this project's head masks beside it.
#include "ops/ops.h"

namespace lp {

/// Whether it does what is asked: bf16 on a GPU, heads of 8 to 256 values in steps of 8, no ALiBi, keys that
/// lie as queries do.
bool flash_serves(const Tensor& q, const Sequences& s, const AttentionConfig& config);

/// Has dropout in what follows drawn from a step's key: LibTorch has a generator of its own, which goes on
/// from call to call. Other elements fall than on the CPU, and the same ones every time.
void seed_flash(const at::Device& device, uint64_t key);

/// As attention_forward and attention_backward (ops.h).
Tensor flash_forward(const Tensor& q, const Tensor& k, const Tensor& v, const Sequences& s,
                     const AttentionConfig& config, const Tensor& head_mask, const Dropout& dropout,
                     AttentionSaved* saved);
AttentionGrads flash_backward(const Tensor& d_context, const AttentionSaved& saved, const Sequences& s,
                              const AttentionConfig& config, const Tensor& head_mask,
                              const MaskTotals& totals);

}  // namespace lp
