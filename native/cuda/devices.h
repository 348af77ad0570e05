#pragma once

namespace lp {

/// How many CUDA devices the engine can use, counted from the first. 0 in a build for the CPU, and where
/// there is no driver. Asked once.
#ifdef LIGHT_PEFT_CUDA
int cuda_devices();
#else
inline int cuda_devices() { return 0; }
#endif

}  // namespace lp
