#include "core/random.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"

namespace tapestry {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53,
                          kMultiplier1 = 0xCD9E8D57;                 // the paper's constants
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;  // golden ratio, √3 − 1
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = kMultiplier0 * counter[0], p1 = kMultiplier1 * counter[2];
    counter = {
        static_cast<std::uint32_t>(p1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(p1),
        static_cast<std::uint32_t>(p0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

namespace {

/// SplitMix64's finalizer (Steele, Lea, Flood 2014): neighboring seeds give unrelated keys.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

/// Block `position` of the stream: 128 random bits as two words.
std::array<std::uint64_t, 2> block(std::uint64_t key, std::uint64_t position) {
  const auto words = philox(
      {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), 0, 0},
      {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
  return {words[0] | (std::uint64_t{words[1]} << 32), words[2] | (std::uint64_t{words[3]} << 32)};
}

double unit(std::uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }  // [0, 1)

// float keeps 24 bits, so that values below 1 never round up to 1.
Real unit_real(std::uint64_t bits) {
  if constexpr (kDouble) return static_cast<Real>(unit(bits));
  return static_cast<Real>(bits >> 40) * static_cast<Real>(0x1p-24);
}

/// Two normal numbers from one block.
std::array<double, 2> box_muller(std::array<std::uint64_t, 2> bits) {
  const double radius = std::sqrt(-2 * std::log1p(-unit(bits[0])));  // 1 − u is never 0
  const double angle = 2 * std::numbers::pi * unit(bits[1]);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

constexpr std::int64_t kGrain = 4096;  // blocks per chunk: about 100 µs

/// Fills a tensor two numbers per block; number i depends on (key, position + i/2) only.
template <class F>
Tensor fill(Rng::State& state, const Shape& shape, F pair) {
  Tensor result = Tensor::empty(shape);
  Real* out = result.mutable_data().data();
  const std::int64_t n = shape.size(), blocks = (n + 1) / 2;
  parallel_for(blocks, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::array<Real, 2> values =
          pair(block(state.key, state.position + static_cast<std::uint64_t>(i)));
      out[2 * i] = values[0];
      if (2 * i + 1 < n) out[2 * i + 1] = values[1];
    }
  });
  state.position += static_cast<std::uint64_t>(blocks);
  return result;
}

}  // namespace

Rng::Rng(std::uint64_t seed) : state_{mix(seed), 0} {}

Rng Rng::split(std::string_view purpose) const {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : purpose) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return split(hash);
}

Rng Rng::split(std::uint64_t number) const {
  Rng child(0);
  child.state_ = {mix(state_.key ^ mix(number)), 0};
  return child;
}

Tensor Rng::uniform(const Shape& shape, Real low, Real high) {
  // The largest number below high, which rounding could reach; low itself when the range is empty.
  const Real last = std::max(low, std::nextafter(high, low));
  return fill(state_, shape, [=](std::array<std::uint64_t, 2> bits) {
    return std::array<Real, 2>{std::min(low + (high - low) * unit_real(bits[0]), last),
                               std::min(low + (high - low) * unit_real(bits[1]), last)};
  });
}

Tensor Rng::normal(const Shape& shape, Real mean, Real stddev) {
  return fill(state_, shape, [=](std::array<std::uint64_t, 2> bits) {
    const std::array<double, 2> z = box_muller(bits);
    return std::array<Real, 2>{mean + stddev * static_cast<Real>(z[0]),
                               mean + stddev * static_cast<Real>(z[1])};
  });
}

Tensor Rng::bernoulli(const Shape& shape, Real probability) {
  if (!(probability >= 0 && probability <= 1)) {
    throw Error("bernoulli", "a probability lies between 0 and 1, got {}", probability);
  }
  return fill(state_, shape, [=](std::array<std::uint64_t, 2> bits) {
    return std::array<Real, 2>{static_cast<Real>(unit(bits[0]) < probability),
                               static_cast<Real>(unit(bits[1]) < probability)};
  });
}

std::uint64_t Rng::next64() { return block(state_.key, state_.position++)[0]; }

double Rng::uniform() { return unit(next64()); }

double Rng::normal() { return box_muller(block(state_.key, state_.position++))[0]; }

std::int64_t Rng::below(std::int64_t n) {
  if (n < 1) throw Error("Rng::below", "needs at least one number to choose from, got {}", n);
  const std::uint64_t range = static_cast<std::uint64_t>(n);
  const std::uint64_t limit =
      ~std::uint64_t{0} - ~std::uint64_t{0} % range;  // a multiple of n: no number is favored
  std::uint64_t value = next64();
  while (value >= limit) value = next64();
  return static_cast<std::int64_t>(value % range);
}

std::vector<std::int64_t> Rng::permutation(std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t i = n - 1; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(below(i + 1))]);
  }
  return order;
}

}  // namespace tapestry
