#include "core/kernels/gemm.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/kernels/gemm_tile.h"
#include "core/kernels/reference_linear.h"
#include "core/kernels/simd_info.h"
#include "core/parallel.h"

using tapestry::Real;
using tapestry::kernels::GemmOperands;
using tapestry::kernels::GemmShape;
namespace kernels = tapestry::kernels;

namespace {

/// Numbers in [-1, 1) that differ from call to call but not from run to run.
std::vector<Real> numbers(std::int64_t count) {
  static std::uint64_t state = 1;
  std::vector<Real> values(static_cast<std::size_t>(count));
  for (Real& value : values) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    value = static_cast<Real>(static_cast<double>(state >> 11) * 0x1p-52 - 1);
  }
  return values;
}

constexpr double kEpsilon = tapestry::kDouble ? 0x1p-53 : 0x1p-24;

/// The largest error over its bound 2·√k·ε·Σ|a·b| + ε·|start|, with |numbers| ≤ 1 standing in for
/// |a·b| ≤ 1.
double worst(const std::vector<Real>& y, const std::vector<Real>& expected, std::int64_t k) {
  double most = 0;
  const double terms = static_cast<double>(k);
  const double bound =
      kEpsilon * (2 * std::sqrt(terms) * terms / 4 + 4);  // E|a·b| = 1/4 for uniform numbers
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double error = std::abs(static_cast<double>(y[i]) - expected[i]) / bound;
    if (!(error <= most)) most = error;  // also takes NaN
  }
  return most;
}

void check(const GemmShape& shape) {
  const auto a = numbers(shape.m * (shape.transpose_a ? 0 : shape.lda) +
                         (shape.transpose_a ? shape.k * shape.lda : 0));
  const auto b = numbers(shape.transpose_b ? shape.n * shape.ldb : shape.k * shape.ldb);
  const auto start = numbers(shape.m * shape.ldc);
  auto expected = start, y = start;
  kernels::reference::gemm(shape, a.data(), b.data(), expected.data());
  kernels::gemm(shape, a.data(), b.data(), y.data());
  CAPTURE(shape.m);
  CAPTURE(shape.n);
  CAPTURE(shape.k);
  CAPTURE(shape.transpose_a);
  CAPTURE(shape.transpose_b);
  CAPTURE(shape.accumulate);
  CHECK(worst(y, expected, shape.k) <= 1);
  for (const int threads : {1, 2, 3, 7}) {
    tapestry::set_threads(threads);
    auto again = start;
    kernels::gemm(shape, a.data(), b.data(), again.data());
    CHECK(again == y);  // bit for bit; rows' gaps untouched
  }
}

template <class Body>
void on_every_target(Body body) {
  const int threads = tapestry::threads();
  const auto targets = kernels::simd_targets();
  for (const std::string& target : targets) {
    CAPTURE(target);
    kernels::force_simd_target(target);
    body();
  }
  kernels::force_simd_target(targets.front());
  tapestry::set_threads(threads);
}

}  // namespace

TEST_CASE("gemm equals its definition for every small size, transposition and start") {
  on_every_target([] {
    int turn = 0;
    for (const std::int64_t m : {1, 2, 3, 5, 6, 7, 8, 13, 17, 31}) {
      for (const std::int64_t n : {1, 2, 4, 7, 8, 9, 15, 16, 17, 33, 49}) {
        for (const std::int64_t k : {1, 2, 15, 16, 37, 401}) {
          ++turn;
          const std::int64_t gap = turn % 3;
          GemmShape shape{.m = m,
                          .n = n,
                          .k = k,
                          .transpose_a = (turn & 1) != 0,
                          .transpose_b = (turn & 2) != 0};
          shape.lda = (shape.transpose_a ? m : k) + gap;
          shape.ldb = (shape.transpose_b ? k : n) + gap;
          shape.ldc = n + gap;
          const auto rows = numbers(m), columns = numbers(n);
          shape.accumulate = turn % 5 == 0;
          if (turn % 5 == 1) shape.row_bias = rows.data();
          if (turn % 5 >= 1 && turn % 5 <= 2) shape.column_bias = columns.data();
          check(shape);
        }
      }
    }
  });
}

TEST_CASE("gemm equals its definition for sizes that are blocked and packed") {
  on_every_target([] {
    for (int turn = 0; turn < 8; ++turn) {
      // More panels of A than are used in turn, and fewer.
      const std::int64_t m = turn < 4 ? 331 : 257, n = turn < 4 ? 301 : 67,
                         k = turn < 4 ? 797 : 129;
      const bool ta = (turn & 1) != 0, tb = (turn & 2) != 0;
      check({.m = m,
             .n = n,
             .k = k,
             .transpose_a = ta,
             .transpose_b = tb,
             .lda = ta ? m : k,
             .ldb = tb ? k : n,
             .ldc = n});
    }
  });
}

TEST_CASE("gemm with an empty extent") {
  const Real bias[] = {1, 2, 3};
  Real c[] = {7, 7, 7};
  kernels::gemm({.m = 1, .n = 3, .k = 0, .accumulate = true}, nullptr, nullptr, c);
  CHECK(c[2] == 7);
  kernels::gemm({.m = 1, .n = 3, .k = 0, .column_bias = bias}, nullptr, nullptr, c);
  CHECK(c[2] == 3);
  kernels::gemm({.m = 0, .n = 3, .k = 2}, nullptr, bias, nullptr);
  kernels::gemm({.m = 3, .n = 0, .k = 2}, bias, nullptr, nullptr);
}

TEST_CASE("a batch gives each product the bits that it has alone") {
  on_every_target([] {
    for (const std::int64_t size : {3, 24, 210}) {
      for (int turn = 0; turn < 8; ++turn) {
        const bool same_a = (turn & 4) != 0;
        const auto bias = numbers(size);
        const GemmShape shape{.m = size,
                              .n = size + 1,
                              .k = 2 * size + 2,
                              .transpose_a = (turn & 1) != 0,
                              .transpose_b = (turn & 2) != 0,
                              .row_bias = bias.data()};
        const auto a = numbers(4 * shape.m * shape.k), b = numbers(4 * shape.k * shape.n);
        std::vector<Real> y(static_cast<std::size_t>(4 * shape.m * shape.n)), alone = y;
        std::vector<GemmOperands> batch;
        for (std::int64_t i = 0; i < 4; ++i) {
          batch.push_back({a.data() + (same_a ? 0 : i * shape.m * shape.k),
                           b.data() + i * shape.k * shape.n, y.data() + i * shape.m * shape.n});
          kernels::gemm(shape, batch.back().a, batch.back().b,
                        alone.data() + i * shape.m * shape.n);
        }
        CAPTURE(size);
        CAPTURE(turn);
        for (const int threads : {1, 2, 3, 7}) {
          tapestry::set_threads(threads);
          kernels::gemm_batched(shape, batch);
          CHECK(y == alone);
          std::fill(y.begin(), y.end(), Real(0));
        }
      }
    }
  });
}

TEST_CASE("panels hold their rows and nothing is written around them") {
  on_every_target([] {
    const std::int64_t most = kernels::tile_shape().max_rows;
    for (std::int64_t rows = 1; rows <= 3 * most; ++rows) {
      const kernels::PanelCut cut(rows, most);
      for (const bool neighbors : {false, true}) {
        for (const std::int64_t taps : {1, 3}) {
          for (const bool taps_first : {false, true}) {
            CAPTURE(rows);
            CAPTURE(neighbors);
            CAPTURE(taps);
            constexpr std::int64_t kChannels = 5, kGuard = 64;
            const std::int64_t depth = kChannels * taps, row = neighbors ? 1 : depth + 1;
            const std::int64_t channel = neighbors ? rows * taps : taps;
            std::vector<std::int32_t> at;
            for (std::int64_t t = 0; t < taps; ++t)
              at.push_back(static_cast<std::int32_t>((taps - 1 - t) * (neighbors ? rows : 1)));
            const auto from = numbers(rows * (depth + 1));
            std::vector<Real> packed(static_cast<std::size_t>(rows * depth + 2 * kGuard), 7);
            kernels::pack_panels(
                {from.data(), row, channel, kChannels, at.data(), taps, taps_first}, cut, 0,
                cut.count, packed.data() + kGuard);
            std::vector<Real> want(packed.size(), 7);
            Real* to = want.data() + kGuard;
            for (std::int64_t p = 0; p < cut.count; ++p) {
              for (std::int64_t k = 0; k < depth; ++k) {
                const std::int64_t c = taps_first ? k % kChannels : k / taps,
                                   t = taps_first ? k / kChannels : k % taps;
                for (std::int64_t i = cut.begin(p); i < cut.begin(p) + cut.height(p); ++i) {
                  *to++ = from[static_cast<std::size_t>(i * row + c * channel +
                                                        at[static_cast<std::size_t>(t)])];
                }
              }
            }
            CHECK(packed == want);
          }
        }
      }
    }
  });
}
