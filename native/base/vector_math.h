#pragma once
// MKL's vector functions (tanh and exp of ATen's tensors among them) find out at their first call which
// processor they run on, and how exact they are to be. Two threads that make that call at once race: one of
// them may work with a dozen exact bits. That was one new process in twenty whose logits were off by 1e-5.

namespace lp {

/// Makes the first call, on the calling thread alone.
void settle_vector_math();

}  // namespace lp
