#include "base/isa.h"

#include <cstdlib>

#include "base/error.h"

namespace lp {
namespace {

// In the order of the enumeration.
const char* const kNames[] = {"avx2", "avx512", "avx512_bf16"};

Isa best() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    throw Error("UNSUPPORTED_CPU", "this CPU lacks AVX2 and FMA, which the kernels need");
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return !wide ? Isa::avx2 : has_bf16() ? Isa::avx512_bf16 : Isa::avx512;
}

Isa choose() {
  const char* asked = std::getenv("LIGHT_PEFT_ISA");
  if (!asked || !*asked) return best();
  for (int i = 0; i <= static_cast<int>(Isa::avx512_bf16); ++i)
    if (std::string(asked) == kNames[i]) {
      if (i > static_cast<int>(best()))
        throw Error("BAD_OPTION", "LIGHT_PEFT_ISA=" + std::string(asked) + ", which this CPU lacks");
      return static_cast<Isa>(i);
    }
  throw Error("BAD_OPTION",
              "LIGHT_PEFT_ISA is '" + std::string(asked) + "'; known: avx2, avx512, avx512_bf16");
}

}  // namespace

Isa isa() {
  static const Isa found = choose();
  return found;
}

bool has_bf16() { return __builtin_cpu_supports("avx512bf16"); }

bool has_tiles() { return __builtin_cpu_supports("amx-bf16"); }

std::string isa_name() { return kNames[static_cast<int>(isa())]; }

}  // namespace lp
