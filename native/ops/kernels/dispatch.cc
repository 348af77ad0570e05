#include "base/isa.h"
#include "ops/kernels/kernels.h"

namespace lp {

const Kernels& kernels() {
  static const Kernels* const tables[] = {&avx2::table, &avx512::table, &avx512_bf16::table,
                                          &avx512_bf16::tiled};
  return *tables[static_cast<int>(isa())];
}

}  // namespace lp
