#include "base/vector_math.h"

#include "base/aten.h"

namespace lp {

void settle_vector_math() { at::zeros(1).tanh(); }

}  // namespace lp
