#pragma once
#include <string>

namespace lp {

enum class Isa { avx2, avx512, avx512_bf16, amx };

/// The instruction set whose kernels run here: the best of this CPU, or less when LIGHT_PEFT_ISA asks for it.
/// Decided once. Throws UNSUPPORTED_CPU without AVX2 and FMA.
Isa isa();

/// Whether this CPU multiplies bfloat16 natively, so that bf16 beats fp32.
bool has_bf16();

std::string isa_name();

}  // namespace lp
