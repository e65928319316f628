// What the tests of the pointwise kernels share: every SIMD target, several numbers of threads,
// numbers to compute with.
#ifndef TAPESTRY_TESTS_CORE_KERNELS_POINTWISE_SUPPORT_H_
#define TAPESTRY_TESTS_CORE_KERNELS_POINTWISE_SUPPORT_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/kernels/simd_info.h"
#include "core/parallel.h"
#include "core/real.h"

namespace tapestry::testing {

using Numbers = std::vector<Real>;

/// Runs check() on each SIMD target of this processor.
template <class F>
void on_every_target(F check) {
  const std::string usual(kernels::simd_target());
  for (const std::string& target : kernels::simd_targets()) {
    kernels::force_simd_target(target);
    CAPTURE(target);
    check();
  }
  kernels::force_simd_target(usual);
}

/// Checks that run() gives the same bits with 1, 2, 3 and 7 threads.
template <class F>
void same_at_any_thread_count(F run) {
  const int usual = threads();
  set_threads(1);
  const Numbers want = run();
  for (const int n : {2, 3, 7}) {
    set_threads(n);
    const Numbers got = run();
    CHECK(got.size() == want.size());
    CHECK(std::memcmp(got.data(), want.data(), want.size() * sizeof(Real)) == 0);
  }
  set_threads(usual);
}

/// n numbers spread over [low, high), the same every time.
inline Numbers numbers(std::int64_t n, double low = -2, double high = 2, std::uint64_t seed = 1) {
  Numbers result(static_cast<std::size_t>(n));
  for (Real& value : result) {
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    value = static_cast<Real>(low + (high - low) * static_cast<double>(seed >> 40U) / 16777216.0);
  }
  return result;
}

/// max |got − want| / max |want|; HUGE_VAL when a NaN or Inf is in one of them only.
template <class T>
double relative_error(const std::vector<T>& got, const std::vector<T>& want) {
  double error = 0, size = 1e-300;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double g = static_cast<double>(got[i]), w = static_cast<double>(want[i]);
    if (std::isnan(g) && std::isnan(w)) continue;
    if (g == w) {
      if (std::isfinite(w)) size = std::max(size, std::abs(w));
      continue;
    }
    if (!std::isfinite(g) || !std::isfinite(w)) return HUGE_VAL;
    error = std::max(error, std::abs(g - w));
    size = std::max(size, std::abs(w));
  }
  return error / size;
}

/// A few roundings of Real.
inline constexpr double kRounding = kDouble ? 1e-14 : 1e-6;

}  // namespace tapestry::testing

#endif  // TAPESTRY_TESTS_CORE_KERNELS_POINTWISE_SUPPORT_H_
