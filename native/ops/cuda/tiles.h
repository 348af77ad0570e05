#pragma once
// Work on a [rows, width] tensor in tiles: a block has the columns of one warp's lanes, N to each, and eight
// warps that take rows in turns. What is summed over rows is summed in two steps, so that the result does not
// depend on the order in which blocks run.
#include "ops/cuda/device.h"

namespace lp::cuda {

constexpr int kTeams = 8;
// Rows of a block where nothing is summed.
constexpr int64_t kTileRows = 32;

/// Body: begin(column), then row(row, column, sums) for rows of the block. partial: [blocks of rows, SUMS,
/// width].
template <int SUMS, int N, class Body>
__global__ void __launch_bounds__(kWarp* kTeams, 2)
    tile(Body given, int64_t rows, int64_t width, int64_t each, float* partial) {
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x) * N;
  Values<N> sums[SUMS == 0 ? 1 : SUMS];
  if constexpr (SUMS > 0) {
#pragma unroll
    for (int s = 0; s < SUMS; ++s) sums[s] = filled<N>(0.f);
  }
  const bool inside = column < width;
  // More blocks of rows than a grid may have are taken in turns.
  for (int64_t block = blockIdx.y; block * each < rows; block += gridDim.y) {
    if (inside) {
      Body body = given;
      body.begin(column);
      const int64_t end = block * each + each < rows ? block * each + each : rows;
      for (int64_t row = block * each + threadIdx.y; row < end; row += kTeams) body.row(row, column, sums);
    }
    if constexpr (SUMS > 0) {
      __shared__ float places[kTeams][kWarp * N];
#pragma unroll
      for (int s = 0; s < SUMS; ++s) {
#pragma unroll
        for (int i = 0; i < N; ++i) places[threadIdx.y][i * kWarp + threadIdx.x] = sums[s].v[i];
        sums[s] = filled<N>(0.f);
        __syncthreads();
        for (int i = threadIdx.y; i < N; i += kTeams) {
          float total = 0;
#pragma unroll
          for (int team = 0; team < kTeams; ++team) total += places[team][i * kWarp + threadIdx.x];
          if (inside) partial[(block * SUMS + s) * width + column + i] = total;
        }
        __syncthreads();
      }
    }
  }
}

/// to[s][c * step] += factor * the sum over blocks of partial[block][s][c], for the sums that are asked for.
template <int SUMS>
struct Totals {
  float* to[SUMS];
  int64_t step = 1;  // from one column's to the next one's
  float factor = 1.f;
};
template <int SUMS>
__global__ void __launch_bounds__(256)
    add_partial(Totals<SUMS> totals, const float* partial, int64_t blocks, int64_t width) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  float* const to = totals.to[blockIdx.y];
  if (column >= width || to == nullptr) return;
  float total = 0;
  for (int64_t block = 0; block < blocks; ++block)
    total += partial[(block * SUMS + blockIdx.y) * width + column];
  to[column * totals.step] += totals.factor * total;
}

inline dim3 tile_grid(int64_t rows, int64_t width, int64_t each, int n) {
  constexpr int64_t kMost = 65535;
  const int64_t blocks = ceil_div(rows, each);
  return dim3(static_cast<unsigned>(ceil_div(width, kWarp * n)),
              static_cast<unsigned>(blocks < kMost ? blocks : kMost));
}

/// Over all elements, without sums.
template <int N, class Body>
void over_tiles(const Body& body, int64_t width, const Launch& launch) {
  run(tile<0, N, Body>, tile_grid(launch.rows, width, kTileRows, N), dim3(kWarp, kTeams), launch.stream, body,
      launch.rows, width, kTileRows, nullptr);
}

/// Over all elements, with sums over rows that are added to `totals`. launch.room: [chunks, SUMS, width].
template <int N, int SUMS, class Body>
void over_summed_tiles(const Body& body, const Totals<SUMS>& totals, int64_t width, const Launch& launch) {
  run(tile<SUMS, N, Body>, tile_grid(launch.rows, width, kChunkRows, N), dim3(kWarp, kTeams), launch.stream,
      body, launch.rows, width, kChunkRows, launch.room);
  run(add_partial<SUMS>, dim3(static_cast<unsigned>(ceil_div(width, 256)), SUMS), dim3(256), launch.stream,
      totals, launch.room, row_chunks(launch.rows), width);
}

}  // namespace lp::cuda
