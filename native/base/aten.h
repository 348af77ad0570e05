#pragma once
// The precompiled header: what of LibTorch the engine uses.
#include <ATen/ATen.h>
#include <ATen/MapAllocator.h>
#include <ATen/Parallel.h>
