// The kernels on image planes against plain loops on every SIMD target, whatever pattern the taps
// have.
#include "core/kernels/grid.h"

#include <utility>

#include "tests/core/kernels/pointwise_support.h"

namespace k = tapestry::kernels;
using namespace tapestry::testing;
using tapestry::Real;

namespace {

/// y = R · x · Cᵀ by its definition.
Numbers by_definition(const Numbers& x, std::int64_t planes, const k::Taps& rows,
                      const k::Taps& columns) {
  const auto at = [](auto i) { return static_cast<std::size_t>(i); };
  Numbers y;
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    for (std::int64_t i = 0; i < rows.outputs(); ++i) {
      for (std::int64_t j = 0; j < columns.outputs(); ++j) {
        double sum = 0;
        for (std::int32_t a = rows.starts[at(i)]; a < rows.starts[at(i + 1)]; ++a) {
          for (std::int32_t b = columns.starts[at(j)]; b < columns.starts[at(j + 1)]; ++b) {
            const std::int64_t row = plane * rows.inputs + rows.sources[at(a)];
            sum += static_cast<double>(rows.weights[at(a)]) *
                   static_cast<double>(columns.weights[at(b)]) *
                   static_cast<double>(x[at(row * columns.inputs + columns.sources[at(b)])]);
          }
        }
        y.push_back(static_cast<Real>(sum));
      }
    }
  }
  return y;
}

/// `taps` neighbors for each of `outputs` positions, beginning `step` apart; weight(k) is that of
/// tap number k, all outputs counted through.
template <class F>
k::Taps neighbors(std::int64_t outputs, std::int64_t taps, std::int64_t step, F weight) {
  k::Taps made;
  made.inputs = (outputs - 1) * step + taps;
  for (std::int64_t i = 0; i < outputs; ++i) {
    for (std::int64_t a = 0; a < taps; ++a) made.add(i * step + a, weight(i * taps + a));
    made.next();
  }
  return made;
}

/// Each input `factor` times: enlarging to the nearest.
k::Taps copies(std::int64_t inputs, std::int64_t factor) {
  k::Taps made;
  made.inputs = inputs;
  for (std::int64_t i = 0; i < inputs * factor; ++i) {
    made.add(i / factor, 1);
    made.next();
  }
  return made;
}

std::vector<k::Taps> every_pattern(std::int64_t n) {
  const auto equal = [](std::int64_t) { return 0.25; };
  const auto uneven = [](std::int64_t i) { return 0.25 + 0.125 * static_cast<double>(i % 5); };
  std::vector<k::Taps> all{copies(n, 1),
                           copies(n, 2),
                           copies(n, 3),
                           neighbors(n, 2, 2, equal),
                           neighbors(n, 3, 3, equal),
                           neighbors(n, 2, 2, uneven),
                           neighbors(n, 3, 3, uneven),
                           neighbors(n, 1, 1, uneven),
                           neighbors(n, 2, 1, uneven),
                           neighbors(n, 3, 2, equal),
                           neighbors(n, 3, 1, uneven)};
  for (std::size_t i = all.size(); i-- > 0;) all.push_back(k::transposed(all[i]));
  return all;
}

}  // namespace

TEST_CASE("separable agrees with its definition for every pattern of taps") {
  on_every_target([] {
    for (const std::int64_t n : {1, 2, 3, 5, 8, 17, 33}) {
      const std::vector<k::Taps> patterns = every_pattern(n);
      for (std::size_t p = 0; p < patterns.size(); ++p) {
        const k::Taps& columns = patterns[p];
        const k::Taps& rows = patterns[(p + 5) % patterns.size()];
        CAPTURE(n);
        CAPTURE(p);
        const Numbers x = numbers(3 * rows.inputs * columns.inputs, -2, 2, p + 1);
        const Numbers want = by_definition(x, 3, rows, columns);
        Numbers y(want.size());
        k::separable(x.data(), y.data(), 3, rows, columns);
        for (std::size_t i = 0; i < y.size(); ++i)
          CHECK(std::abs(y[i] - want[i]) <= 20 * kRounding);
      }
    }
  });
}

TEST_CASE("separable has the same bits at any thread count") {
  const auto uneven = [](std::int64_t i) { return 0.25 + 0.125 * static_cast<double>(i % 5); };
  const k::Taps rows = neighbors(40, 3, 2, uneven), columns = copies(50, 2);
  const Numbers x = numbers(64 * rows.inputs * columns.inputs, -2, 2);
  same_at_any_thread_count([&] {
    Numbers y(static_cast<std::size_t>(64 * rows.outputs() * columns.outputs()));
    k::separable(x.data(), y.data(), 64, rows, columns);
    return y;
  });
}
