#pragma once
// LibTorch's CPU memory from chunks that stay, and of small tensors from lists of what was given back: fresh
// pages cost more than the work of many ops (a kernel clears them), and glibc gives those of other threads
// than the main one back at every chance.

namespace lp {

/// Makes all CPU tensors of this process come from the arena. Once is enough; more often does nothing.
void install_arena();

/// Gives chunks without a tensor in them, and what lies ready for small ones, back to the system.
void trim_arena();

}  // namespace lp
