#include "base/isa.h"
#include "ops/kernels/kernels.h"

namespace lp {

const Kernels& kernels() { return isa() == Isa::avx512 ? avx512::table : avx2::table; }

}  // namespace lp
