#pragma once
// Counter-based randomness: every decision is a pure function of a key and a position, so that a backward
// pass regenerates what the forward pass drew, and a resumed run draws what an uninterrupted one would have.
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace lp {

/// One dropout site in one micro-batch. Decisions have 16 bits: the probability is rounded to 1/65536 and the
/// scale of the kept elements is the exact inverse of the rounded one.
struct Dropout {
  uint32_t key0 = 0, key1 = 0;
  uint32_t threshold = 0;  // drop when the 16 random bits are below it
  float scale = 1.f;       // 1 / (1 - p)
  // Where a recorded step runs again, its key is in the device's memory: the keys here are the site's number,
  // and kernels make theirs of both.
  const uint64_t* step = nullptr;

  constexpr bool active() const { return threshold != 0; }
};

/// Finaliser of SplitMix64 (Steele, Lea, Flood 2014).
constexpr uint64_t mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

/// What all of a micro-batch's dropout is drawn from.
constexpr uint64_t step_key(uint64_t seed, uint64_t step, uint64_t micro) {
  return mix64(mix64(mix64(seed) ^ step) ^ micro);
}

constexpr void set_key(Dropout& d, uint64_t key) {
  d.key0 = static_cast<uint32_t>(key);
  d.key1 = static_cast<uint32_t>(key >> 32);
}

/// The dropout of `site` under a step's key: independent streams for distinct sites.
inline Dropout make_dropout(double p, uint64_t key, uint64_t site) {
  Dropout d;
  d.threshold = static_cast<uint32_t>(std::min(65535L, std::lround(p * 65536.0)));
  if (d.threshold == 0) return d;
  set_key(d, mix64(key ^ site));
  d.scale = static_cast<float>(65536.0 / (65536.0 - d.threshold));
  return d;
}

/// The same where the step's key is read on a device.
inline Dropout make_dropout(double p, const uint64_t* key, uint64_t site) {
  Dropout d = make_dropout(p, uint64_t{0}, site);
  set_key(d, site);
  d.step = key;
  return d;
}

/// With the keys that a kernel draws from.
constexpr Dropout keyed(Dropout d) {
  if (d.step == nullptr || d.threshold == 0) return d;
  set_key(d, mix64(*d.step ^ (static_cast<uint64_t>(d.key1) << 32 | d.key0)));
  return d;
}

// The golden ratio, and the multipliers of a 32-bit bijection with low bias
// (github.com/skeeto/hash-prospector).
constexpr uint32_t kMix0 = 0x9E3779B1u, kMix1 = 0x7FEB352Du, kMix2 = 0x846CA68Bu;

/// 32 bits for position `counter` of a stream; they serve two decisions.
constexpr uint32_t mix32(uint32_t counter, uint32_t key0, uint32_t key1) {
  uint32_t x = counter * kMix0 + key0;
  x = (x ^ (x >> 16)) * kMix1;
  x = (x ^ (x >> 15) ^ key1) * kMix2;
  return x ^ (x >> 16);
}

/// Counters in one row of `width` elements: 16 for each 32 columns.
constexpr uint32_t dropout_stride(int64_t width) { return static_cast<uint32_t>((width + 31) / 32 * 16); }

/// The factor of element (row, column) of a [rows, width] tensor: 0 or 1 / (1 - p). Columns c and c + 16 of
/// each 32 share one draw (its low and its high half); the vector kernels compute the same thing 32 columns
/// at a time.
constexpr float dropout_factor(const Dropout& d, int64_t row, int64_t column, int64_t width) {
  if (!d.active()) return 1.f;
  const uint32_t counter = static_cast<uint32_t>(row) * dropout_stride(width) +
                           static_cast<uint32_t>(column / 32 * 16 + column % 16);
  const uint32_t bits = mix32(counter, d.key0, d.key1);
  const uint32_t half = column % 32 < 16 ? bits & 0xFFFFu : bits >> 16;
  return half < d.threshold ? 0.f : d.scale;
}

}  // namespace lp
