#include "base/isa.h"

#include <cstdlib>

#include "base/error.h"

namespace lp {
namespace {

Isa detect() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    throw Error("UNSUPPORTED_CPU", "this CPU lacks AVX2 and FMA, which the kernels need");
  const char* asked = std::getenv("LIGHT_PEFT_ISA");
  if (asked && *asked) {
    if (std::string(asked) == "avx2") return Isa::avx2;
    if (std::string(asked) != "avx512")
      throw Error("BAD_OPTION", "LIGHT_PEFT_ISA is '" + std::string(asked) + "'; known: avx2, avx512");
  }
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (asked && *asked && !wide)
    throw Error("BAD_OPTION", "LIGHT_PEFT_ISA=avx512, but this CPU lacks AVX-512");
  return wide ? Isa::avx512 : Isa::avx2;
}

}  // namespace

Isa isa() {
  static const Isa found = detect();
  return found;
}

bool has_bf16() { return __builtin_cpu_supports("avx512bf16"); }

std::string isa_name() { return isa() == Isa::avx512 ? "avx512" : "avx2"; }

}  // namespace lp
