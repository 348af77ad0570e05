#include "base/isa.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"

namespace lp {
namespace {

// In the order of the enumeration.
const char* const kNames[] = {"avx2", "avx512", "avx512_bf16", "amx"};

/// Whether this CPU multiplies tiles of bfloat16 and the kernel lets this process do so.
bool has_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // arch_prctl(2) of Linux 5.16
  return __builtin_cpu_supports("amx-bf16") && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

Isa best() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
    throw Error("UNSUPPORTED_CPU", "this CPU lacks AVX2 and FMA, which the kernels need");
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!wide) return Isa::avx2;
  if (!has_bf16()) return Isa::avx512;
  return has_tiles() ? Isa::amx : Isa::avx512_bf16;
}

Isa choose() {
  const char* asked = std::getenv("LIGHT_PEFT_ISA");
  if (!asked || !*asked) return best();
  for (int i = 0; i <= static_cast<int>(Isa::amx); ++i)
    if (std::string(asked) == kNames[i]) {
      if (i > static_cast<int>(best()))
        throw Error("BAD_OPTION", "LIGHT_PEFT_ISA=" + std::string(asked) + ", which this CPU lacks");
      return static_cast<Isa>(i);
    }
  throw Error("BAD_OPTION",
              "LIGHT_PEFT_ISA is '" + std::string(asked) + "'; known: avx2, avx512, avx512_bf16, amx");
}

}  // namespace

Isa isa() {
  static const Isa found = choose();
  return found;
}

bool has_bf16() { return __builtin_cpu_supports("avx512bf16"); }

std::string isa_name() { return kNames[static_cast<int>(isa())]; }

}  // namespace lp
