// Random numbers that are a function of (seed, stream, position): the same whoever computes them,
// on any thread, in any order.
#ifndef TAPESTRY_CORE_RANDOM_H_
#define TAPESTRY_CORE_RANDOM_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace tapestry {

/// Philox4x32-10: four random 32-bit words from a 128-bit counter and a 64-bit key.
/// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key);

/// A stream of random numbers. There is no global one: a program makes one from its seed and splits
/// it by purpose, so that drawing more numbers for one purpose changes nothing for another.
///
///     Rng rng(seed);
///     Rng latent = rng.split("latent");
///     Tensor z = latent.normal({64, 100});
class Rng {
 public:
  explicit Rng(std::uint64_t seed);
  /// An independent stream that depends on this one's key and the purpose, not on its position.
  Rng split(std::string_view purpose) const;
  Rng split(std::uint64_t number) const;

  /// Uniform on [low, high), 24 (float) or 53 (double) random bits each.
  Tensor uniform(const Shape& shape, Real low = 0, Real high = 1);
  /// Normal, by Box and Muller (1958).
  Tensor normal(const Shape& shape, Real mean = 0, Real stddev = 1);
  /// 1 with the given probability, else 0.
  Tensor bernoulli(const Shape& shape, Real probability);
  double uniform();
  double normal();
  /// A whole number from 0 to n − 1, without bias; n ≥ 1.
  std::int64_t below(std::int64_t n);
  /// 0 … n − 1 in random order (Fisher and Yates 1938).
  std::vector<std::int64_t> permutation(std::int64_t n);

  /// Everything there is to save: restoring it continues the stream exactly.
  struct State {
    std::uint64_t key = 0, position = 0;
    bool operator==(const State&) const = default;
  };
  State state() const { return state_; }
  void restore(State state) { state_ = state; }

 private:
  std::uint64_t next64();
  State state_;
};

}  // namespace tapestry

#endif  // TAPESTRY_CORE_RANDOM_H_
