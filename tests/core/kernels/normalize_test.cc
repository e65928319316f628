// The normalization kernels against their twins on every SIMD target: every member of the family,
// forward and backward, hard inputs, thread counts.
#include "core/kernels/normalize.h"

#include <array>

#include "core/kernels/elementwise.h"
#include "core/kernels/reference_pointwise.h"
#include "tests/core/kernels/pointwise_support.h"

namespace k = tapestry::kernels;
namespace ref = tapestry::kernels::reference;
using namespace tapestry::testing;
using tapestry::kDouble;
using tapestry::Real;

namespace {

struct Case {
  const char* name;
  k::NormView view;
  std::int64_t affine_kept, affine_inner;
};

// Every kind of layer over (N, C, s) with C divisible by 2.
std::vector<Case> family(std::int64_t n, std::int64_t c, std::int64_t s) {
  return {{"batch", {n, c, s}, c, s},
          {"batch, by sample and channel", {n, c, s}, n * c, s},
          {"batch, by element", {n, c, s}, n * c * s, 1},
          {"instance", {1, n * c, s}, c, s},
          {"instance, by sample and channel", {1, n * c, s}, n * c, s},
          {"group", {1, n * 2, c / 2 * s}, c, s},
          {"layer, by channel", {1, n, c * s}, c, s},
          {"layer", {1, n, c * s}, c * s, 1},
          {"layer over the last axis", {1, n * c, s}, s, 1},
          {"all as one", {1, 1, n * c * s}, c, s},
          {"pixel", {c, s, 1, n}, c, s}};
}

struct Result {
  Numbers y, dx;
  std::vector<double> mean, rstd, variance;
  Numbers dgamma, dbeta;
};

template <class Forward, class Backward>
Result run(const Case& c, const Numbers& x, const Numbers& g, bool with_affine, bool centered,
           double eps, Forward forward, Backward backward, Real slope = 1) {
  const auto sets = static_cast<std::size_t>(c.view.sets()),
             parameters = static_cast<std::size_t>(c.affine_kept);
  const Numbers gamma = numbers(c.affine_kept, 0.5, 2, 3), beta = numbers(c.affine_kept, -1, 1, 4);
  k::AffineView affine{nullptr, nullptr, 1, 1};
  if (with_affine) affine = {gamma.data(), beta.data(), c.affine_kept, c.affine_inner};
  affine.slope = slope;
  Result r{Numbers(x.size()),         Numbers(x.size()),         std::vector<double>(sets),
           std::vector<double>(sets), std::vector<double>(sets), Numbers(parameters),
           Numbers(parameters)};
  const k::NormMoments moments{r.mean.data(), r.rstd.data()};
  forward(x.data(), r.y.data(), c.view, affine, eps, centered, moments, r.variance.data());
  backward(g.data(), x.data(), r.dx.data(), c.view, affine, moments,
           centered ? k::NormKind::kCentered : k::NormKind::kUncentered,
           with_affine ? r.dgamma.data() : nullptr, with_affine ? r.dbeta.data() : nullptr);
  return r;
}

void compare(const Case& c, const Numbers& x, bool with_affine, bool centered, double eps,
             double tolerance, Real slope = 1) {
  CAPTURE(std::string(c.name));
  CAPTURE(slope);
  CAPTURE(x.size());
  CAPTURE(with_affine);
  CAPTURE(centered);
  const Numbers g = numbers(static_cast<std::int64_t>(x.size()), -1, 1, 9);
  const Result got =
      run(c, x, g, with_affine, centered, eps, k::norm_forward, k::norm_backward, slope);
  const Result want =
      run(c, x, g, with_affine, centered, eps, ref::norm_forward, ref::norm_backward, slope);
  CHECK(relative_error(got.y, want.y) <= tolerance);
  CHECK(relative_error(got.rstd, want.rstd) <= tolerance);
  CHECK(relative_error(got.variance, want.variance) <= tolerance);
  CHECK(relative_error(got.dbeta, want.dbeta) <= tolerance);
  CHECK(relative_error(got.dgamma, want.dgamma) <= tolerance);
  // A set of two has no gradient, only its rounding; elsewhere dx is compared.
  if (c.view.count() > 2) {
    CHECK(relative_error(got.dx, want.dx) <= tolerance);
  }
}

bool fuses(const Case& c) {
  const Real one = 1;
  return k::norm_fuses(c.view, {&one, nullptr, c.affine_kept, c.affine_inner});
}

}  // namespace

TEST_CASE("every member of the family agrees with its twin") {
  on_every_target([] {
    for (const auto& [n, c, s] : {std::array<std::int64_t, 3>{2, 2, 1},
                                  {5, 4, 1},
                                  {3, 2, 4},
                                  {4, 6, 9},
                                  {2, 4, 15},
                                  {2, 4, 16},
                                  {3, 2, 17},
                                  {2, 2, 31},
                                  {2, 2, 64},
                                  {3, 4, 67},
                                  {33, 6, 49},
                                  {40, 6, 4},
                                  {30, 8, 9},
                                  {64, 18, 1},
                                  {8, 40, 36}}) {
      for (const Case& member : family(n, c, s)) {
        if (member.view.count() < 2) continue;
        const Numbers x = numbers(member.view.size(), -1, 3);
        for (const bool centered : {true, false}) {
          for (const double slope : {1.0, 0.0, 0.2}) {
            const Real bend = static_cast<Real>(slope);
            compare(member, x, false, centered, 1e-5, 20 * kRounding, bend);
            if (fuses(member)) compare(member, x, true, centered, 1e-5, 20 * kRounding, bend);
          }
        }
      }
    }
  });
}

TEST_CASE("large sets, which all threads share, agree too") {
  for (const Case& member : family(4, 2, 30011)) {
    const Numbers x = numbers(member.view.size(), -1, 3);
    compare(member, x, fuses(member), true, 1e-5, 20 * kRounding);
  }
}

TEST_CASE("a mean of 10⁴ and scales from 10⁻²⁰ to 10³⁰ cost no accuracy") {
  on_every_target([] {
    for (const std::int64_t s : {4, 100}) {
      for (const Case& member : family(4, 4, s)) {
        Numbers x = numbers(member.view.size());
        Numbers shifted = x;
        for (Real& value : shifted) value = Real(1e4) + value;
        compare(member, shifted, false, true, 1e-5, kDouble ? 1e-9 : 2e-6);
        for (const double scale : {1e-20, 1e18, 1e19, 1e30}) {
          Numbers scaled = x;
          for (Real& value : scaled) value = static_cast<Real>(value * scale);
          compare(member, scaled, fuses(member), true, 1e-5, 2e-6);
        }
      }
    }
  });
}

TEST_CASE("a slope gives the bits of a leaky ReLU after the norm, forward and backward") {
  on_every_target([] {
    for (const auto& [n, c, s] : {std::array<std::int64_t, 3>{3, 2, 4},
                                  {2, 4, 15},
                                  {3, 4, 67},
                                  {33, 6, 49},
                                  {30, 8, 9},
                                  {64, 18, 1},
                                  {4, 2, 17011}}) {
      for (const Case& member : family(n, c, s)) {
        if (member.view.count() < 2 || !fuses(member)) continue;
        CAPTURE(std::string(member.name));
        const std::int64_t size = member.view.size();
        const Numbers gamma = numbers(member.affine_kept, -1, 2, 3),
                      beta = numbers(member.affine_kept, -1, 1, 4), g = numbers(size, -1, 1, 2);
        // With 10²⁰ and 10⁻²⁰ Reals are not safe.
        for (const double scale : {1.0, 1e20, 1e-20}) {
          Numbers x = numbers(size, -1, 3);
          for (Real& value : x) value = static_cast<Real>(value * scale);
          for (const double slope : {0.0, 0.2, -1.0}) {
            for (const bool has_gamma : {true, false}) {
              for (const bool has_beta : {true, false}) {
                k::AffineView affine{has_gamma ? gamma.data() : nullptr,
                                     has_beta ? beta.data() : nullptr, member.affine_kept,
                                     member.affine_inner};
                std::vector<double> mean(static_cast<std::size_t>(member.view.sets())),
                    rstd(mean.size()), variance(mean.size());
                const k::NormMoments moments{mean.data(), rstd.data()};
                if (!has_gamma && !has_beta) affine.kept = affine.inner = 1;
                const auto all = [&](bool fused) {
                  std::vector<Numbers> r{Numbers(x.size()), Numbers(x.size()), Numbers(x.size()),
                                         Numbers(gamma.size()), Numbers(gamma.size())};
                  Numbers up = g;
                  affine.slope = fused ? static_cast<Real>(slope) : 1;
                  k::norm_forward(x.data(), r[0].data(), member.view, affine, 1e-40, true, moments,
                                  variance.data());
                  k::norm_apply(x.data(), r[1].data(), member.view, affine, moments);
                  if (!fused) {
                    std::vector<std::uint64_t> closed(x.size() / 64 + 1);
                    for (Numbers* y : {&r[0], &r[1]})
                      k::rectify(y->data(), y->data(), closed.data(), size,
                                 static_cast<Real>(slope));
                    k::gate(g.data(), closed.data(), up.data(), size, static_cast<Real>(slope));
                  }
                  k::norm_backward(up.data(), x.data(), r[2].data(), member.view, affine, moments,
                                   k::NormKind::kCentered, r[3].data(), r[4].data());
                  return r;
                };
                const std::vector<Numbers> got = all(true), want = all(false);
                for (std::size_t i = 0; i < got.size(); ++i) {
                  CAPTURE(i);
                  CHECK(std::memcmp(got[i].data(), want[i].data(), got[i].size() * sizeof(Real)) ==
                        0);
                }
              }
            }
          }
        }
      }
    }
  });
}

TEST_CASE("a constant channel gives 0, however large") {
  on_every_target([] {
    for (const std::int64_t s : {4, 100, 40000}) {
      for (const Case& member : family(2, 2, s)) {
        const Numbers x(static_cast<std::size_t>(member.view.size()), Real(1e8));
        const Result got = run(member, x, x, false, true, 1e-5, k::norm_forward, k::norm_backward);
        CHECK(*std::max_element(got.y.begin(), got.y.end()) <= 1e-5);
        CHECK(*std::min_element(got.y.begin(), got.y.end()) >= -1e-5);
      }
    }
  });
}

TEST_CASE("given statistics are constants to the gradient") {
  on_every_target([] {
    for (const std::int64_t s : {1, 4, 50}) {
      for (const Case& member : family(3, 4, s)) {
        if (!fuses(member)) continue;
        CAPTURE(std::string(member.name));
        const auto sets = static_cast<std::size_t>(member.view.sets());
        std::vector<double> mean(sets, 0.25), rstd(sets, 1.5);
        const k::NormMoments moments{mean.data(), rstd.data()};
        const Numbers x = numbers(member.view.size()), g = numbers(member.view.size(), -1, 1, 8);
        const Numbers gamma = numbers(member.affine_kept, 0.5, 2, 3),
                      beta = numbers(member.affine_kept, -1, 1, 4);
        const k::AffineView affine{gamma.data(), beta.data(), member.affine_kept,
                                   member.affine_inner};
        Numbers got(x.size()), want(x.size());
        k::norm_apply(x.data(), got.data(), member.view, affine, moments);
        ref::norm_apply(x.data(), want.data(), member.view, affine, moments);
        CHECK(relative_error(got, want) <= 4 * kRounding);
        Numbers dgamma(gamma.size()), dgamma_want(gamma.size());
        k::norm_backward(g.data(), x.data(), got.data(), member.view, affine, moments,
                         k::NormKind::kFixed, dgamma.data(), nullptr);
        ref::norm_backward(g.data(), x.data(), want.data(), member.view, affine, moments,
                           k::NormKind::kFixed, dgamma_want.data(), nullptr);
        CHECK(relative_error(got, want) <= 4 * kRounding);
        CHECK(relative_error(dgamma, dgamma_want) <= 4 * kRounding);
      }
    }
  });
}

TEST_CASE("the gradient of the gradient agrees with its twin") {
  on_every_target([] {
    for (const auto& sizes : {std::array<std::int64_t, 3>{4, 6, 9},
                              {2, 4, 16},
                              {3, 2, 17},
                              {3, 4, 67},
                              {8, 40, 36},
                              {2, 2, 20011}}) {
      const std::int64_t n = sizes[0], c = sizes[1], s = sizes[2];
      for (const Case& member : family(n, c, s)) {
        if (member.view.count() < 3 || !k::norm_second_fuses(member.view)) continue;
        CAPTURE(std::string(member.name));
        CAPTURE(s);
        for (const double scale : {1.0, 1e-20, 1e12}) {
          Numbers x = numbers(member.view.size(), -1, 3);
          for (Real& value : x) value = static_cast<Real>(value * scale);
          const Numbers h = numbers(member.view.size(), -1, 1, 2),
                        v = numbers(member.view.size(), -1, 1, 3);
          for (const bool centered : {true, false}) {
            const auto sets = static_cast<std::size_t>(member.view.sets());
            std::vector<double> mean(sets), rstd(sets), variance(sets);
            const k::NormMoments moments{mean.data(), rstd.data()};
            Numbers got(x.size()), want(x.size());
            ref::norm_forward(x.data(), got.data(), member.view, {}, 1e-5, centered, moments,
                              variance.data());
            const auto kind = centered ? k::NormKind::kCentered : k::NormKind::kUncentered;
            k::norm_second(v.data(), h.data(), x.data(), got.data(), member.view, moments, kind);
            ref::norm_second(v.data(), h.data(), x.data(), want.data(), member.view, moments, kind);
            CHECK(relative_error(got, want) <= 20 * kRounding);
          }
        }
      }
    }
  });
}

TEST_CASE("normalization has the same bits at any thread count") {
  for (const auto& [n, c, s] :
       {std::array<std::int64_t, 3>{4, 2, 30011}, {16, 32, 49}, {256, 48, 1}, {8, 64, 4}}) {
    for (const Case& member : family(n, c, s)) {
      if (member.view.count() < 2 || !fuses(member)) continue;
      CAPTURE(std::string(member.name));
      const Numbers x = numbers(member.view.size()), g = numbers(member.view.size(), -1, 1, 2);
      same_at_any_thread_count([&] {
        Result r = run(member, x, g, true, true, 1e-5, k::norm_forward, k::norm_backward, 0);
        r.y.insert(r.y.end(), r.dx.begin(), r.dx.end());
        r.y.insert(r.y.end(), r.dgamma.begin(), r.dgamma.end());
        r.y.insert(r.y.end(), r.dbeta.begin(), r.dbeta.end());
        return r.y;
      });
    }
  }
}

TEST_CASE("results too large for caches have the bits of small ones") {
  constexpr std::int64_t kSamples = 260, kChannels = 8, kParts = 4;
  for (const std::int64_t s : {4096, 4099}) {  // whole cache lines and not
    const auto images = [s](std::int64_t n) {
      return Case{"instance", {1, n * kChannels, s}, kChannels, s};
    };
    const auto rows = [s](std::int64_t n) { return Case{"layer", {1, n * kChannels, s}, s, 1}; };
    const std::int64_t size = kSamples * kChannels * s, part = size / kParts;
    const Numbers x = numbers(size, -1, 3), g = numbers(size, -1, 1, 9);
    for (const auto& [all, few] : {std::pair(images(kSamples), images(kSamples / kParts)),
                                   std::pair(rows(kSamples), rows(kSamples / kParts))}) {
      const Result large = run(all, x, g, true, true, 1e-5, k::norm_forward, k::norm_backward);
      for (std::int64_t i = 0; i < kParts; ++i) {
        const auto of = [&](const Numbers& whole) {
          return Numbers(whole.begin() + i * part, whole.begin() + (i + 1) * part);
        };
        const Result small =
            run(few, of(x), of(g), true, true, 1e-5, k::norm_forward, k::norm_backward);
        CHECK(of(large.y) == small.y);
        CHECK(of(large.dx) == small.dx);
      }
    }
  }
}
