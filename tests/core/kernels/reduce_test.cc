// The reduction kernels against their twins on every SIMD target: sizes around the lane counts,
// long sums, NaN, thread counts.
#include "core/kernels/reduce.h"

#include <limits>

#include "core/kernels/reference_pointwise.h"
#include "tests/core/kernels/pointwise_support.h"

namespace k = tapestry::kernels;
namespace ref = tapestry::kernels::reference;
using namespace tapestry::testing;
using tapestry::Real;

namespace {

std::vector<k::ReduceView> views() {
  std::vector<k::ReduceView> result;
  for (std::int64_t n = 0; n <= 67; ++n) {
    result.push_back({3, n, 1});
    result.push_back({1, 3, n});
    result.push_back({2, n, 5});
    result.push_back({2, 3, n});
  }
  for (const k::ReduceView& v : {k::ReduceView{1, 100003, 1},
                                 {2, 70001, 1},
                                 {1, 40001, 3},
                                 {1, 300, 300},
                                 {1, 90, 2500},
                                 {2, 500, 1027},
                                 {64, 50, 49},
                                 {5, 1, 7},
                                 {40, 1000, 1}}) {
    result.push_back(v);
  }
  return result;
}

// What sums in lanes of Real may be off by: 16 roundings.
constexpr double kSumError = tapestry::kDouble ? 1e-13 : 0x1p-20;

// max |got − want| / Σ |terms|.
double sum_error(const std::vector<double>& got, const std::vector<double>& want,
                 const std::vector<double>& magnitudes) {
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (got[i] != want[i])
      worst = std::max(worst, std::abs(got[i] - want[i]) / std::max(magnitudes[i], 1e-300));
  }
  return worst;
}

}  // namespace

TEST_CASE("reductions agree with their twins") {
  on_every_target([] {
    for (const k::ReduceView& v : views()) {
      CAPTURE(v.outer);
      CAPTURE(v.reduced);
      CAPTURE(v.inner);
      const Numbers x = numbers(v.outer * v.reduced * v.inner, -1, 1);
      const auto outputs = static_cast<std::size_t>(v.outer * v.inner);
      std::vector<double> wide(outputs), wide_want(outputs), magnitudes(outputs);
      Numbers sizes = x;
      for (Real& value : sizes) value = std::abs(value);
      ref::sum(sizes.data(), magnitudes.data(), v);
      k::sum(x.data(), wide.data(), v);
      ref::sum(x.data(), wide_want.data(), v);
      CHECK(sum_error(wide, wide_want, magnitudes) <= 1e-13);
      k::sum_of_squares(x.data(), wide.data(), v);
      ref::sum_of_squares(x.data(), wide_want.data(), v);
      CHECK(sum_error(wide, wide_want, wide_want) <= kSumError);
      if (v.reduced < 100) {
        k::prod(x.data(), wide.data(), v);
        ref::prod(x.data(), wide_want.data(), v);
        CHECK(relative_error(wide, wide_want) <= 1e-11);
      }
      Numbers got(outputs), want(outputs);
      k::max(x.data(), got.data(), v);
      ref::max(x.data(), want.data(), v);
      CHECK(got == want);
      k::min(x.data(), got.data(), v);
      ref::min(x.data(), want.data(), v);
      CHECK(got == want);
      if (v.reduced == 0) continue;
      std::vector<std::int32_t> at(outputs), at_want(outputs);
      k::argmax(x.data(), at.data(), v);
      ref::argmax(x.data(), at_want.data(), v);
      CHECK(at == at_want);
      if (v.reduced > 1000) continue;
      for (const bool reverse : {false, true}) {
        Numbers run(x.size()), run_want(x.size());
        k::cumsum(x.data(), run.data(), v, reverse);
        ref::cumsum(x.data(), run_want.data(), v, reverse);
        CHECK(relative_error(run, run_want) <= kRounding);
      }
    }
  });
}

TEST_CASE("a sum of any length keeps 22 bits") {
  // Naive single-precision sums of 10⁷ equal numbers are off by percents.
  constexpr std::int64_t kCount = 10'000'000;
  const Numbers x(kCount, Real(0.1));
  const double exact = static_cast<double>(Real(0.1)) * kCount;
  on_every_target([&] {
    double total = 0;
    k::sum(x.data(), &total, {1, kCount, 1});
    CHECK(std::abs(total / exact - 1) < 1e-9);
    std::vector<double> columns(10);
    k::sum(x.data(), columns.data(), {1, kCount / 10, 10});
    for (const double column : columns) CHECK(std::abs(column / exact * 10 - 1) < 1e-9);
  });
}

TEST_CASE("sums of squares that are too large or small to be added in floats") {
  on_every_target([] {
    for (const auto& [count, inner] : {std::pair<std::int64_t, std::int64_t>{1000, 1}, {60, 70}}) {
      const k::ReduceView v{1, count, inner};
      std::vector<double> sums(static_cast<std::size_t>(inner));
      for (const double size : {3e38, 1e25, 1e-25, 1e-37}) {
        const Numbers x(static_cast<std::size_t>(count * inner), static_cast<Real>(size));
        const double value = static_cast<double>(x[0]), n = static_cast<double>(count);
        k::sum_of_squares(x.data(), sums.data(), v);
        for (const double sum : sums) CHECK(std::abs(sum / (n * value * value) - 1) < kSumError);
      }
    }
  });
}

TEST_CASE("NaN reaches the result from any place, infinities are numbers") {
  on_every_target([] {
    constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN(),
                   kInf = std::numeric_limits<Real>::infinity();
    for (std::int64_t n = 1; n <= 40; ++n) {
      for (std::int64_t at = 0; at < n; ++at) {
        Numbers x = numbers(n);
        x[static_cast<std::size_t>(at)] = kNan;
        Real largest = 0, smallest = 0;
        std::int32_t position = 0;
        k::max(x.data(), &largest, {1, n, 1});
        k::min(x.data(), &smallest, {1, n, 1});
        k::argmax(x.data(), &position, {1, n, 1});
        CHECK(std::isnan(largest));
        CHECK(std::isnan(smallest));
        CHECK(position == at);
        x[static_cast<std::size_t>(at)] = kInf;
        k::max(x.data(), &largest, {1, n, 1});
        CHECK(largest == kInf);
      }
    }
    const Numbers ties = {1, 3, 3, 2};
    std::int32_t position = 0;
    k::argmax(ties.data(), &position, {1, 4, 1});
    CHECK(position == 1);
  });
}

TEST_CASE("reductions have the same bits at any thread count") {
  for (const k::ReduceView& v :
       {k::ReduceView{1, 1000003, 1}, {3, 90001, 1}, {1, 5003, 33}, {500, 70, 9}, {1, 600, 1500}}) {
    const Numbers x = numbers(v.outer * v.reduced * v.inner);
    same_at_any_thread_count([&] {
      const auto outputs = static_cast<std::size_t>(v.outer * v.inner);
      std::vector<double> sums(outputs);
      k::sum(x.data(), sums.data(), v);
      Numbers result(2 * outputs + outputs * sizeof(double) / sizeof(Real));
      k::max(x.data(), result.data(), v);
      k::min(x.data(), result.data() + outputs, v);
      std::memcpy(result.data() + 2 * outputs, sums.data(), outputs * sizeof(double));
      return result;
    });
  }
}
