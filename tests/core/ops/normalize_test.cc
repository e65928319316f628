#include "core/ops/normalize.h"

#include <cmath>
#include <functional>

#include <doctest/doctest.h>

#include "core/memory.h"
#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/random.h"
#include "core/tape.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using T = const Tensor&;

/// The sets of `set`: for each, the flat positions of its elements.
std::vector<std::vector<std::size_t>> members(const NormSet& set) {
  std::vector<std::vector<std::size_t>> result(static_cast<std::size_t>(set.sets()));
  std::size_t i = 0;
  for (std::int64_t b = 0; b < set.batch; ++b) {
    for (std::int64_t o = 0; o < set.outer; ++o) {
      for (std::int64_t k = 0; k < set.kept; ++k) {
        for (std::int64_t j = 0; j < set.inner; ++j)
          result[static_cast<std::size_t>(b * set.kept + k)].push_back(i++);
      }
    }
  }
  return result;
}

/// γ·(x − mean)/√(variance + eps) + β, set by set in double; mean 0 when not centered.
Tensor slow_normalize(T x, const NormSet& set, bool centered, double eps, T gamma, T beta,
                      const NormSet& affine) {
  Tensor y = Tensor::empty(x.shape());
  const std::span<Real> out = y.mutable_data();
  for (const auto& positions : members(set)) {
    double mean = 0, variance = 0;
    const double n = static_cast<double>(positions.size());
    for (const std::size_t i : positions) mean += static_cast<double>(x.data()[i]) / n;
    if (!centered) mean = 0;
    for (const std::size_t i : positions)
      variance += std::pow(static_cast<double>(x.data()[i]) - mean, 2) / n;
    for (const std::size_t i : positions) {
      out[i] =
          static_cast<Real>((static_cast<double>(x.data()[i]) - mean) / std::sqrt(variance + eps));
    }
  }
  if (!gamma.defined()) return y;
  const auto scales = members(affine);
  for (std::size_t k = 0; k < scales.size(); ++k) {
    for (const std::size_t i : scales[k]) out[i] = out[i] * gamma.data()[k] + beta.data()[k];
  }
  return y;
}

struct Family {
  std::string name;
  Shape shape;
  NormSet statistics, affine;
};

std::vector<Family> families(const Shape& image = {3, 4, 2, 3}) {
  return {
      {"BatchNorm", image, per_channel(image), per_channel(image)},
      {"LayerNorm", image, per_row(image, 3), per_position(image, 3)},
      {"LayerNorm per channel", image, per_row(image, 3), per_channel(image)},
      {"InstanceNorm", image, per_instance(image), per_channel(image)},
      {"GroupNorm", image, per_group(image, 2), per_channel(image)},
      {"PixelNorm", image, per_pixel(image), per_channel(image)},
      {"BatchNorm1d", {5, 3}, per_channel({5, 3}), per_channel({5, 3})},
      {"LayerNorm rows", {5, 7}, per_row({5, 7}, 1), per_position({5, 7}, 1)},
      {"conditional", image, per_instance(image), per_instance(image)},
      {"SPADE", image, per_channel(image), {1, image.size(), 1}},
  };
}

}  // namespace

TEST_CASE("normalize: gradient of every family, to third order") {
  for (const Family& f : families()) {
    const Shape scale{f.affine.sets()};
    const auto options = [&](T gamma, T beta) {
      return NormalizeOptions{.eps = Real(0.01), .affine = {gamma, beta, f.affine}};
    };
    const auto with_affine = [&](T x, T gamma, T beta) {
      return normalize(x, f.statistics, options(gamma, beta));
    };
    check_op(f.name, {f.shape, Input(scale).between(0.5, 1.5), Input(scale).additive()},
             with_affine,
             {.order = 2, .reference = [&](const auto& x) {
                return slow_normalize(x[0], f.statistics, true, 0.01, x[1], x[2], f.affine);
              }});
    check_op(f.name + " plain", {f.shape}, [&](T x) { return normalize(x, f.statistics); },
             {.reference = [&](const auto& x) {
               return slow_normalize(x[0], f.statistics, true, 1e-5, {}, {}, {});
             }});
    check_op(f.name + " rms", {f.shape, Input(scale).between(0.5, 1.5), Input(scale).additive()},
             [&](T x, T gamma, T beta) {
               return root_mean_square_normalize(x, f.statistics, options(gamma, beta));
             },
             {.reference = [&](const auto& x) {
               return slow_normalize(x[0], f.statistics, false, 0.01, x[1], x[2], f.affine);
             }});
  }
  const Shape small{2, 2, 1, 3};
  check_op("normalize, third", {small, Input({2}).between(0.5, 1.5), Input({2}).additive()},
           [&](T x, T gamma, T beta) {
             return normalize(x, per_channel(small),
                              {.eps = Real(0.1), .affine = {gamma, beta, per_channel(small)}});
           },
           {.order = 3});
  check_op("rms, third", {small, Input({2}).between(0.5, 1.5)},
           [&](T x, T gamma) {
             return root_mean_square_normalize(
                 x, per_row(small, 3),
                 {.eps = Real(0.1), .affine = {gamma, {}, per_channel(small)}});
           },
           {.order = 3});
}

// Shifts that keep γ·x̂ + β on one side of the kink each, for finite differences: of γ below 0.6.
Input far_shift(std::int64_t sets) {
  std::vector<double> values;
  for (std::int64_t i = 0; i < sets; ++i) values.push_back(i % 2 == 0 ? 1.5 : -1.5);
  return Input({sets}).values(values).additive();
}

TEST_CASE("normalize: gradient of every family with a slope, to second order") {
  for (const Family& f : families()) {
    const Shape scale{f.affine.sets()};
    for (const double slope : {0.0, 0.2}) {
      const auto options = [&](T gamma, T beta) {
        return NormalizeOptions{
            .eps = Real(0.01), .affine = {gamma, beta, f.affine}, .slope = Real(slope)};
      };
      const auto with_affine = [&](T x, T gamma, T beta) {
        return normalize(x, f.statistics, options(gamma, beta));
      };
      check_op(f.name + " bent",
               {f.shape, Input(scale).between(0.2, 0.6), far_shift(f.affine.sets())}, with_affine,
               {.order = 2, .reference = [&](const auto& x) {
                  return leaky_relu(
                      slow_normalize(x[0], f.statistics, true, 0.01, x[1], x[2], f.affine),
                      Real(slope));
                }});
      check_op(f.name + " rms, bent",
               {Input(f.shape).away_from({0}), Input(scale).between(0.5, 1.5)}, [&](T x, T gamma) {
                 return root_mean_square_normalize(x, f.statistics, options(gamma, {}));
               });
    }
  }
}

// The values and gradients of f and of g, first and second, have the same bits.
template <class F, class G>
void check_same(const std::string& name, const std::vector<Tensor>& inputs, F f, G g) {
  const auto everything = [&](auto function) {
    Tape tape;
    const Tensor y = function(inputs);
    const Tensor weights = Input(y.shape()).make(5);
    std::vector<Tensor> all{y};
    for (const Tensor& t : tape.gradient(sum(y * weights), inputs, {.keep = true}))
      all.push_back(t);
    const std::vector<Tensor> first =
        tape.gradient(sum(y * weights), inputs, {.create_graph = true});
    for (const Tensor& t : tape.gradient(sum(square(first[0])), inputs, {.allow_unused = true}))
      all.push_back(t);
    return all;
  };
  const std::vector<Tensor> got = everything(f), want = everything(g);
  for (std::size_t i = 0; i < got.size(); ++i)
    CHECK_MESSAGE(difference(got[i], want[i]) == 0, name, ", ", i);
}

TEST_CASE("normalize: a slope is leaky_relu after it, bit for bit") {
  for (const Shape& shape : {Shape{6, 8, 5, 7}, Shape{6, 8, 3, 3}, Shape{9, 16}}) {
    const Shape channels{shape[1]};
    std::vector<NormSet> sets{per_channel(shape), per_row(shape, shape.rank() - 1)};
    if (shape.rank() == 4)
      sets.insert(sets.end(), {per_instance(shape), per_group(shape, 4), per_pixel(shape)});
    std::vector<Tensor> inputs{Input(shape).make(1), Input(channels).between(0.5, 1.5).make(2),
                               Input(channels).make(3)};
    for (Tensor& input : inputs) input.set_requires_grad();
    for (const NormSet& set : sets) {
      for (const Real slope : {Real(0), Real(0.2)}) {
        const auto options = [&](const std::vector<Tensor>& in, Real bend) {
          return NormalizeOptions{.affine = {in[1], in[2], per_channel(shape)}, .slope = bend};
        };
        check_same(
            "normalize", inputs,
            [&](const auto& in) { return normalize(in[0], set, options(in, slope)); },
            [&](const auto& in) {
              return leaky_relu(normalize(in[0], set, options(in, 1)), slope);
            });
      }
    }
  }
}

TEST_CASE("normalize: gradient with only a scale or only a shift") {
  const Shape shape{3, 2, 4};
  const NormSet set = per_channel(shape);
  check_op("only gamma", {shape, Input({2}).between(0.5, 1.5)}, [&](T x, T g) {
    return normalize(x, set, {.affine = {g, {}, set}});
  });
  check_op("only beta", {shape, Input({2}).additive()}, [&](T x, T b) {
    return normalize(x, set, {.affine = {{}, b, set}});
  });
}

TEST_CASE("normalize_with: gradient with given statistics, which are constants") {
  const Shape shape{3, 2, 4};
  const NormSet set = per_channel(shape);
  const NormStats stats{Tensor::from({0.5, -1}, {2}), Tensor::from({2, 0.25}, {2})};
  check_op("normalize_with", {shape, Input({2}).between(0.5, 1.5), Input({2}).additive()},
           [&](T x, T g, T b) {
             return normalize_with(x, set, stats, {.eps = Real(0.01), .affine = {g, b, set}});
           },
           {.reference = [&](const auto& x) {
             const Tensor mean = reshape(stats.mean, Shape{2, 1});
             const Tensor deviation = sqrt(reshape(stats.variance, Shape{2, 1}) + Real(0.01));
             return reshape(x[1], Shape{2, 1}) * ((x[0] - mean) / deviation) +
                    reshape(x[2], Shape{2, 1});
           }});
}

TEST_CASE("normalize_with: gradient with a slope") {
  const Shape shape{3, 2, 4};
  const NormSet set = per_channel(shape);
  const NormStats stats{Tensor::from({0.5, -1}, {2}), Tensor::from({2, 0.25}, {2})};
  check_op("normalize_with, bent", {shape, Input({2}).between(0.1, 0.3), far_shift(2)},
           [&](T x, T g, T b) {
             return normalize_with(x, set, stats,
                                   {.eps = Real(0.01), .affine = {g, b, set}, .slope = Real(0.2)});
           },
           {.order = 2});
}

TEST_CASE("modulate: gradient of each shape of scale and shift") {
  const Shape image{2, 3, 2, 2};
  for (const Shape& scale : {Shape{3}, Shape{2, 3}, Shape{2, 1, 2, 2}, image}) {
    check_op("modulate " + scale.str(), {image, scale, Input(scale).additive()},
             [](T y, T g, T b) { return modulate(y, g, b); });
  }
  CHECK(error_text([&] {
          modulate(Tensor::ones(image), Tensor::ones({4}), {});
        }).find("modulate") == 0);
}

TEST_CASE("normalize: unit moments of each set, and the statistics it reports") {
  for (const Family& f : families()) {
    const Tensor x = Input(f.shape).make(3);
    NormStats stats;
    const Tensor y = normalize(x, f.statistics, {.eps = 0, .stats = &stats});
    const auto sets = members(f.statistics);
    REQUIRE(stats.mean.size() == f.statistics.sets());
    for (std::size_t k = 0; k < sets.size(); ++k) {
      double mean = 0, square = 0, x_mean = 0, x_square = 0;
      const double n = static_cast<double>(sets[k].size());
      for (const std::size_t i : sets[k]) {
        mean += static_cast<double>(y.data()[i]) / n;
        square += std::pow(static_cast<double>(y.data()[i]), 2) / n;
        x_mean += static_cast<double>(x.data()[i]) / n;
      }
      for (const std::size_t i : sets[k])
        x_square += std::pow(static_cast<double>(x.data()[i]) - x_mean, 2) / n;
      CHECK(std::abs(mean) < 1e-6);
      CHECK(std::abs(square - 1) < 1e-5);
      CHECK(std::abs(static_cast<double>(stats.mean.data()[k]) - x_mean) < 1e-6);
      CHECK(std::abs(static_cast<double>(stats.variance.data()[k]) - x_square) < 1e-6);
    }
  }
}

TEST_CASE("normalize: inputs that break float32 sums") {
  for (const Family& f : families()) {
    const auto plain = [&](T x, Real eps) { return normalize(x, f.statistics, {.eps = eps}); };
    const Tensor base = Input(f.shape).make(4);
    // Constant sets are 0, whatever the constant.
    for (const double constant : {0.0, 0.1, 1e4, -1e8, 1e20}) {
      const Tensor y = plain(Tensor::full(f.shape, static_cast<Real>(constant)), Real(1e-5));
      CHECK_MESSAGE(difference(y, Tensor::zeros(f.shape)) < 1e-3, f.name, " of ", constant);
    }
    // The scale drops out when eps does not matter.
    for (const double scale : {1e-18, 1e-10, 1e10, 1e18}) {
      const double error = difference(plain(base * static_cast<Real>(scale), 0), plain(base, 0));
      CHECK_MESSAGE(error < 1e-5, f.name, " at scale ", scale, ": ", error);
    }
    // A mean of 10⁴ costs only what rounding the input costs.
    const Tensor far = base + Real(1e4);
    const Tensor exact = slow_normalize(far, f.statistics, true, 1e-5, {}, {}, {});
    CHECK_MESSAGE(difference(plain(far, Real(1e-5)), exact) < 1e-5, f.name);
  }
}

TEST_CASE("normalize: bits do not depend on threads") {
  for (const Shape& shape : {Shape{16, 24, 20, 21}, Shape{300, 257}}) {
    std::vector<NormSet> sets{per_channel(shape), per_row(shape, shape.rank() - 1)};
    if (shape.rank() == 4) {
      sets.insert(sets.end(), {per_instance(shape), per_group(shape, 4), per_pixel(shape)});
    }
    for (const NormSet& set : sets) {
      const Shape scale{shape[1]};
      check_op_threads("normalize", {shape, Input(scale), Input(scale)}, [&](T x, T g, T b) {
        return normalize(x, set, {.affine = {g, b, per_channel(shape)}});
      });
      check_op_threads("rms", {shape, Input(scale)}, [&](T x, T g) {
        return root_mean_square_normalize(x, set, {.affine = {g, {}, per_channel(shape)}});
      });
    }
  }
}

TEST_CASE("normalize: an output that is computed again has the same bits, at any order") {
  const Shape image{7, 34, 35, 33};  // more than a megabyte, see Note [Computing again]
  std::int64_t computed_again = 0;
  for (const Family& f : families(image)) {
    const Tensor x = Rng(1).normal(f.shape), w = Rng(2).normal(f.shape);
    const Tensor gamma = Rng(3).normal({f.affine.sets()}), beta = Rng(4).normal({f.affine.sets()});
    NormStats stats;
    const NormalizeOptions all{.affine = {gamma, beta, f.affine}, .slope = Real(0.2)};
    normalize(x, f.statistics, {.stats = &stats});
    const std::vector<std::function<Tensor()>> ways{
        [&] { return normalize(x, f.statistics); }, [&] { return normalize(x, f.statistics, all); },
        [&] { return root_mean_square_normalize(x, f.statistics, all); },
        [&] { return normalize_with(x, f.statistics, stats, all); }};
    for (const auto& way : ways) {
      std::int64_t live = 0;
      const auto gradients = [&](bool keep) {
        Tape tape;
        for (const Tensor& leaf : {x, w, gamma, beta}) tape.watch(leaf);
        Tensor y = way();
        const Tensor kept = keep ? y : Tensor();
        const Tensor loss = sum(square(y * w));
        y = Tensor();
        live = memory_stats().live_bytes;
        const GradientOptions unused{.allow_unused = true};
        std::vector<Tensor> result =
            tape.gradient(loss, {x, w, gamma, beta}, {.create_graph = true, .allow_unused = true});
        const Tensor penalty = sum(square(result[0])) + sum(square(result[1]));
        for (const Tensor& second : tape.gradient(penalty, {x, w, gamma, beta}, unused))
          result.push_back(second);
        return hash(result);
      };
      const std::uint64_t expected = gradients(true);
      const std::int64_t most = live;
      CHECK_MESSAGE(gradients(false) == expected, f.name);
      computed_again +=
          live <= most - x.size() * static_cast<std::int64_t>(sizeof(Real)) && f.shape == image;
    }
  }
  // All of eight families and four ways but SPADE with scale and shift, which is several ops.
  CHECK(computed_again == 29);
}

TEST_CASE("normalize: an output that is computed again follows from unchanged inputs only") {
  const Shape shape{4, 16, 64, 64};
  Tensor x = Rng(1).normal(shape), w = Tensor::ones(shape);
  Tape tape;
  tape.watch(x);
  tape.watch(w);
  Tensor y = normalize(x, per_channel(shape));
  const std::vector<Real> before = y.to_vector();
  const Tensor loss = sum(y * w);
  SUBCASE("its own numbers may be overwritten") {
    y.mutable_data()[5] = 1000;
    CHECK(tape.gradient(loss, {w})[0].to_vector() == before);
  }
  SUBCASE("what is saved afterwards is what was written") {
    y.mutable_data()[5] = 1000;
    const std::vector<Real> written = y.to_vector();
    const Tensor later = sum(y * w);
    y = Tensor();
    CHECK(tape.gradient(later, {w})[0].to_vector() == written);
  }
  SUBCASE("a view of it is computed again too") {
    const std::int64_t live = memory_stats().live_bytes;
    Tensor half = reshape(y, {2, 32, 64, 64});
    const Tensor other = sum(half * reshape(w, half.shape()));
    y = half = Tensor();
    CHECK(memory_stats().live_bytes <
          live - shape.size() / 2 * static_cast<std::int64_t>(sizeof(Real)));
    CHECK(tape.gradient(other, {w})[0].to_vector() == before);
  }
  SUBCASE("those of the norm's input may not") {
    y = Tensor();
    x.mutable_data()[5] = 1000;
    CHECK(error_text([&] { tape.gradient(loss, {w}); }).find("has been overwritten since") !=
          std::string::npos);
  }
  SUBCASE("it outlives the gradient of the norm") {
    y = Tensor();
    tape.gradient(loss, {x}, {.keep = true});
    CHECK(tape.gradient(loss, {w})[0].to_vector() == before);
  }
}

TEST_CASE("normalize: sets that make no sense are refused") {
  const Tensor x = Tensor::ones({1, 3, 1, 1});
  const std::string single = error_text([&] { normalize(x, per_channel(x.shape())); });
  CHECK(single.find("normalize") == 0);
  CHECK(single.find("[1, 3, 1, 1]") != std::string::npos);
  CHECK(difference(normalize(x, per_channel(x.shape()), {.allow_single = true}),
                   Tensor::zeros(x.shape())) == 0);
  CHECK(error_text([&] { normalize(x, {1, 2, 1}); }) != "");
  CHECK(error_text([&] { per_group({2, 6, 4, 4}, 4); }).find("4") != std::string::npos);
  CHECK(error_text([&] { per_channel({6}); }) != "");
  const Tensor y = Tensor::ones({4, 3});
  CHECK(error_text([&] {
          normalize(y, per_channel(y.shape()),
                    {.affine = {Tensor::ones({4}), {}, per_channel(y.shape())}});
        }) != "");
}

}  // namespace tapestry::testing
