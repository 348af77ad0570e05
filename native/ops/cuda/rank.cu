// LoRA's skinny products: one side is the rank, a handful, the other a model width. Memory bounds them, so
// each reads its wide operand once and draws dropout on the way.
#include "ops/cuda/tiles.h"

namespace lp::cuda {
namespace {

// Rows that share what is read of the narrow operand.
constexpr int kTogether = 4;
constexpr int kRanks = 8;
constexpr int kWarps = 4;

/// A warp has kTogether rows and all columns, kRanks ranks at a time.
template <class T, int N>
__global__ void __launch_bounds__(kWarp* kWarps, 4) project(RankProject a, int64_t rows) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y) * kTogether;
  if (first >= rows) return;
  a.dropout = keyed(a.dropout);
  for (int64_t k0 = 0; k0 < a.rank; k0 += kRanks) {
    float acc[kTogether][kRanks] = {};
    for (int64_t c = threadIdx.x * N; c < a.width; c += kWarp * N) {
      Values<N> x[kTogether];
#pragma unroll
      for (int r = 0; r < kTogether; ++r) {
        const int64_t row = first + r;
        x[r] = row < rows ? load<N>(static_cast<const T*>(a.x) + row * a.width + c) : filled<N>(0.f);
        drop<N>(a.dropout, row, c, a.width, x[r]);
      }
#pragma unroll
      for (int k = 0; k < kRanks; ++k) {
        if (k0 + k >= a.rank) break;
        const Values<N> w = load<N>(a.w + (k0 + k) * a.width + c);
#pragma unroll
        for (int r = 0; r < kTogether; ++r)
#pragma unroll
          for (int i = 0; i < N; ++i) acc[r][k] += x[r].v[i] * w.v[i];
      }
    }
#pragma unroll
    for (int r = 0; r < kTogether; ++r)
#pragma unroll
      for (int k = 0; k < kRanks; ++k) {
        const float total = warp_sum(acc[r][k]);
        if (threadIdx.x == 0 && first + r < rows && k0 + k < a.rank)
          a.p[(first + r) * a.rank + k0 + k] = a.scale * total;
      }
  }
}

/// A warp has kTogether rows and N columns for each lane. squares: [rows, tiles of kWarp * N columns, 2].
template <class T, int N, bool ratio>
__global__ void __launch_bounds__(kWarp* kWarps, 4) expand(RankExpand a, int64_t rows, float* squares) {
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kWarp + threadIdx.x) * N;
  const bool inside = column < a.width;
  a.dropout = keyed(a.dropout);
  const int64_t step = static_cast<int64_t>(gridDim.y) * kWarps * kTogether;
  for (int64_t first = (static_cast<int64_t>(blockIdx.y) * kWarps + threadIdx.y) * kTogether; first < rows;
       first += step) {
    Values<N> added[kTogether];
#pragma unroll
    for (int r = 0; r < kTogether; ++r) added[r] = filled<N>(0.f);
    if (inside)
      for (int64_t k = 0; k < a.rank; ++k) {
        const Values<N> w = load<N>(a.w + k * a.width + column);
#pragma unroll
        for (int r = 0; r < kTogether; ++r) {
          const float p = first + r < rows ? a.p[(first + r) * a.rank + k] : 0.f;
#pragma unroll
          for (int i = 0; i < N; ++i) added[r].v[i] += p * w.v[i];
        }
      }
#pragma unroll
    for (int r = 0; r < kTogether; ++r) {
      const int64_t row = first + r;
      if (row >= rows) break;
      float base2 = 0.f, added2 = 0.f;
      if (inside) {
        T* const y = static_cast<T*>(a.y) + row * a.width + column;
        Values<N> base = load<N>(y);
#pragma unroll
        for (int i = 0; i < N; ++i) added[r].v[i] *= a.scale;
        drop<N>(a.dropout, row, column, a.width, added[r]);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          base2 += base.v[i] * base.v[i];
          added2 += added[r].v[i] * added[r].v[i];
          base.v[i] += added[r].v[i];
        }
        store<N>(y, base);
      }
      if constexpr (ratio) {
        base2 = warp_sum(base2);
        added2 = warp_sum(added2);
        if (threadIdx.x == 0) {
          float* const to = squares + (row * gridDim.x + blockIdx.x) * 2;
          to[0] = base2;
          to[1] = added2;
        }
      }
    }
  }
}

__global__ void __launch_bounds__(256)
    divide(const float* squares, float* ratio, int64_t rows, int64_t tiles) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (row >= rows) return;
  float base2 = 0.f, added2 = 0.f;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    base2 += squares[(row * tiles + tile) * 2];
    added2 += squares[(row * tiles + tile) * 2 + 1];
  }
  ratio[row] = sqrtf(added2) / sqrtf(base2);
}

/// For ranks [first, first + R) of all.
template <class T, int N, int R>
struct Outer {
  const float* p;
  const T* x;
  int64_t width, rank;
  Dropout dropout;

  __device__ void begin(int64_t) { dropout = keyed(dropout); }
  __device__ void row(int64_t row, int64_t column, Values<N>* total) {
    Values<N> v = load<N>(x + row * width + column);
    drop<N>(dropout, row, column, width, v);
#pragma unroll
    for (int k = 0; k < R; ++k) {
      const float factor = p[row * rank + k];
#pragma unroll
      for (int i = 0; i < N; ++i) total[k].v[i] += factor * v.v[i];
    }
  }
};

template <class T, int N, int R>
void outer(const RankOuter& a, int64_t first, const Launch& launch) {
  Totals<R> totals;
  totals.step = a.transposed ? a.rank : 1;
  totals.factor = a.scale;
  for (int k = 0; k < R; ++k) totals.to[k] = a.grad + (a.transposed ? first + k : (first + k) * a.width);
  over_summed_tiles<N>(Outer<T, N, R>{a.p + first, static_cast<const T*>(a.x), a.width, a.rank, a.dropout},
                       totals, a.width, launch);
}

}  // namespace

void rank_project(const RankProject& a, const Launch& launch) {
  const dim3 grid(static_cast<unsigned>(ceil_div(launch.rows, kWarps * kTogether)));
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(a.width, [&](auto count) {
      run(project<T, decltype(count)::n>, grid, dim3(kWarp, kWarps), launch.stream, a, launch.rows);
    });
  });
}

void rank_expand(const RankExpand& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(a.width, [&](auto count) {
      constexpr int N = decltype(count)::n;
      const dim3 grid = tile_grid(launch.rows, a.width, kWarps * kTogether, N), block(kWarp, kWarps);
      if (!a.ratio) return run(expand<T, N, false>, grid, block, launch.stream, a, launch.rows, nullptr);
      run(expand<T, N, true>, grid, block, launch.stream, a, launch.rows, launch.room);
      run(divide, dim3(static_cast<unsigned>(ceil_div(launch.rows, 256))), dim3(256), launch.stream,
          launch.room, a.ratio, launch.rows, static_cast<int64_t>(grid.x));
    });
  });
}

void rank_outer(const RankOuter& a, const Launch& launch) {
  for_element(launch.element, [&](auto t) {
    using T = decltype(t);
    for_width<T>(a.width, [&](auto count) {
      constexpr int N = decltype(count)::n;
      int64_t k = 0;
      for (; k + 8 <= a.rank; k += 8) outer<T, N, 8>(a, k, launch);
      for (; k + 4 <= a.rank; k += 4) outer<T, N, 4>(a, k, launch);
      for (; k < a.rank; ++k) outer<T, N, 1>(a, k, launch);
    });
  });
}

}  // namespace lp::cuda
