#include "core/kernels/conv.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/kernels/conv_batch.h"
#include "core/kernels/conv_depthwise.h"
#include "core/kernels/conv_matrix.h"
#include "core/kernels/conv_stencil.h"
#include "core/kernels/conv_weight.h"
#include "core/kernels/conv_winograd.h"
#include "core/kernels/reference_linear.h"
#include "core/kernels/simd_info.h"
#include "core/parallel.h"

using tapestry::Real;
using tapestry::kernels::ConvShape;
namespace kernels = tapestry::kernels;

namespace {

class Numbers {
 public:
  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  std::vector<Real> vector(std::int64_t count) {
    std::vector<Real> values(static_cast<std::size_t>(count));
    for (Real& value : values) value = static_cast<Real>(static_cast<double>(next()) * 0x1p-30 - 1);
    return values;
  }

 private:
  std::uint64_t next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return state_ >> 33;
  }
  std::uint64_t state_ = 12345;
};

constexpr double kEpsilon = tapestry::kDouble ? 0x1p-53 : 0x1p-24;

std::string text(const ConvShape& s) {
  std::string out = "n, c, h, w, out, kernel, stride, padding, dilation, groups:";
  for (const std::int64_t value :
       {s.n, s.channels, s.height, s.width, s.out_channels, s.kernel_h, s.kernel_w, s.stride_h,
        s.stride_w, s.padding_h, s.padding_w, s.dilation_h, s.dilation_w, s.groups}) {
    out += " " + std::to_string(value);
  }
  return out;
}

/// Runs `kernel` into NaNs with 1, 2, 3 and 7 threads; returns the result, equal bits checked.
template <class Kernel>
std::vector<Real> run(std::int64_t size, Kernel kernel) {
  std::vector<Real> result;
  for (const int threads : {1, 2, 3, 7}) {
    tapestry::set_threads(threads);
    std::vector<Real> y(static_cast<std::size_t>(size), std::nan(""));
    kernel(y.data());
    if (threads == 1) result = y;
    CHECK(y == result);
  }
  return result;
}

/// The bound of plain sums of k products, 2·√k·ε·Σ|a·b|: |a·b| is 1/4 on average.
double plain(std::int64_t k) {
  const double terms = static_cast<double>(k);
  return kEpsilon * (2 * std::sqrt(terms) * (terms / 4 + 1) + 4);
}

/// The bounds of Note [Winograd], for numbers in [-1, 1].
double winograd(std::int64_t channels, std::int64_t taps) {
  return std::max(
      64 * kEpsilon * std::sqrt(static_cast<double>(channels)) * static_cast<double>(taps),
      plain(channels * taps));
}
std::int64_t window_taps(const kernels::Stencil& st, kernels::Scheme scheme) {
  const std::int64_t r = kernels::scheme_size(scheme).r;
  return kernels::filter_count(st, 0, st.passes.size(), r) * r * r;
}
struct Tiles {
  std::int64_t count, pixels;  // pixels of each
};
Tiles tiles(const ConvShape& s, kernels::Scheme scheme) {
  const std::int64_t m = kernels::scheme_size(scheme).m;
  return {s.n * ((s.out_h() + m - 1) / m) * ((s.out_w() + m - 1) / m), m * m};
}

/// That of weight gradients, which add up tiles.
double winograd_weight(const ConvShape& s, kernels::Scheme scheme) {
  return 2 * winograd(tiles(s, scheme).count, tiles(s, scheme).pixels);
}

void check_close(const std::vector<Real>& y, const std::vector<Real>& expected, double bound) {
  double most = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double error = std::abs(static_cast<double>(y[i]) - expected[i]);
    if (!(error <= most)) most = error;
  }
  CHECK(most <= bound);
}

/// All three kernels, as they are chosen for this shape.
void check(const ConvShape& s, Numbers& random) {
  CAPTURE(text(s));
  const auto x = random.vector(s.x_size()), w = random.vector(s.w_size()),
             g = random.vector(s.y_size());
  const auto bias = random.vector(s.out_channels), x_bias = random.vector(s.channels);
  const Real* b = random.pick(0, 1) != 0 ? bias.data() : nullptr;
  const Real* xb = random.pick(0, 1) != 0 ? x_bias.data() : nullptr;
  const std::int64_t taps = s.kernel_h * s.kernel_w;
  const auto bound = [&](std::int64_t channels, std::int64_t terms) {
    return kernels::exact_convolution() ? plain(channels * terms) : winograd(channels, terms);
  };

  auto expected = std::vector<Real>(static_cast<std::size_t>(s.y_size()));
  kernels::reference::conv_forward(s, x.data(), w.data(), b, expected.data());
  check_close(
      run(s.y_size(), [&](Real* to) { kernels::conv_forward(s, x.data(), w.data(), b, to); }),
      expected, bound(s.channels / s.groups, taps));

  expected.resize(x.size());
  kernels::reference::conv_input_grad(s, g.data(), w.data(), xb, expected.data());
  check_close(
      run(s.x_size(), [&](Real* to) { kernels::conv_input_grad(s, g.data(), w.data(), xb, to); }),
      expected, bound(s.out_channels / s.groups, taps));

  // Which scheme is chosen depends on the target: the widest of their bounds.
  double weight_bound = plain(s.n * s.out_h() * s.out_w());
  for (const kernels::Scheme scheme : kernels::kSchemes) {
    if (!kernels::exact_convolution())
      weight_bound = std::max(weight_bound, winograd_weight(s, scheme));
  }
  expected.resize(w.size());
  kernels::reference::conv_weight_grad(s, g.data(), x.data(), expected.data());
  check_close(
      run(s.w_size(), [&](Real* to) { kernels::conv_weight_grad(s, g.data(), x.data(), to); }),
      expected, weight_bound);
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

ConvShape square(std::int64_t n, std::int64_t in, std::int64_t out, std::int64_t size,
                 std::int64_t kernel, std::int64_t stride = 1, std::int64_t padding = 0,
                 std::int64_t groups = 1) {
  ConvShape s;
  s.n = n;
  s.channels = in;
  s.out_channels = out;
  s.height = s.width = size;
  s.kernel_h = s.kernel_w = kernel;
  s.stride_h = s.stride_w = stride;
  s.padding_h = s.padding_w = padding;
  s.groups = groups;
  return s;
}

}  // namespace

TEST_CASE("convolutions of random shape equal their definition") {
  on_every_target([] {
    Numbers random;
    for (int turn = 0; turn < 250;) {
      ConvShape s;
      const bool small = random.pick(0, 1) != 0;
      s.n = turn % 17 == 0 ? random.pick(8, 20) : random.pick(1, 4);
      s.groups = random.pick(0, 3) != 0 ? 1 : random.pick(2, 4);
      s.channels = s.groups * random.pick(1, small ? 4 : 20);
      s.out_channels = s.groups * random.pick(1, small ? 4 : 20);
      s.height = random.pick(1, small ? 8 : 33);
      s.width = random.pick(1, random.pick(0, 1) != 0 ? 8 : 33);
      s.kernel_h = random.pick(1, small ? 3 : 9);
      s.kernel_w = random.pick(0, 1) != 0 ? s.kernel_h : random.pick(1, 7);
      s.stride_h = random.pick(1, small ? 1 : 3);
      s.stride_w = random.pick(0, 2) != 0 ? s.stride_h : random.pick(1, 4);
      s.padding_h = random.pick(0, 4);
      s.padding_w = random.pick(0, 2) != 0 ? s.padding_h : random.pick(0, 4);
      s.dilation_h = random.pick(0, 2) != 0 ? 1 : random.pick(1, 3);
      s.dilation_w = random.pick(0, 2) != 0 ? s.dilation_h : random.pick(1, 3);
      if (s.out_h() < 1 || s.out_w() < 1 ||
          s.y_size() * s.channels * s.kernel_h * s.kernel_w > 3'000'000)
        continue;
      check(s, random);
      ++turn;
    }
  });
}

TEST_CASE("convolutions of the shapes that nets have equal their definition") {
  on_every_target([] {
    Numbers random;
    check(square(2, 16, 24, 16, 4, 2, 1),
          random);  // discriminator, and generator the other way round
    check(square(19, 20, 24, 4, 4, 2, 1),
          random);                           // its innermost layers: many images of few pixels
    check(square(17, 9, 24, 4, 4), random);  // all of the image at once
    check(square(1, 3, 13, 40, 9, 1, 4), random);   // style net, first
    check(square(1, 13, 3, 40, 9, 1, 4), random);   // and last layer
    check(square(2, 67, 35, 14, 3, 1, 1), random);  // residual block; channels in several blocks
    check(square(3, 33, 50, 16, 1), random);        // 1 × 1
    check(square(8, 20, 70, 27, 3, 2, 1), random);  // rows that end within a vector
    check(square(2, 24, 24, 17, 3, 1, 1, 24), random);  // depthwise
    check(square(1, 200, 8, 6, 5, 1, 2), random);       // deep sums
    check(square(2, 130, 150, 7, 1), random);           // few pixels, many weights: last layers
    check(square(1, 150, 130, 4, 4, 2, 1), random);     // and innermost ones of a U-Net
  });
}

TEST_CASE("each algorithm equals the definition, not only where it is chosen") {
  on_every_target([] {
    Numbers random;
    for (int turn = 0; turn < 60;) {
      ConvShape s =
          square(random.pick(1, 20), random.pick(1, 24), random.pick(1, 24), 1, random.pick(2, 7),
                 random.pick(1, 2), random.pick(0, 2), random.pick(1, 6) == 1 ? 2 : 1);
      s.channels *= s.groups;
      s.out_channels *= s.groups;
      s.height = random.pick(1, 26);
      s.width = random.pick(1, 40);
      const std::int64_t taps = s.kernel_h * s.kernel_w;
      if (s.out_h() < 1 || s.out_w() < 1 || s.y_size() * s.channels * taps > 3'000'000) continue;
      ++turn;
      CAPTURE(text(s));
      const auto x = random.vector(s.x_size()), w = random.vector(s.w_size()),
                 g = random.vector(s.y_size());
      const auto bias = random.vector(std::max(s.channels, s.out_channels));
      std::vector<Real> y(g.size()), dx(x.size()), dw(w.size());
      kernels::reference::conv_forward(s, x.data(), w.data(), bias.data(), y.data());
      kernels::reference::conv_input_grad(s, g.data(), w.data(), bias.data(), dx.data());
      kernels::reference::conv_weight_grad(s, g.data(), x.data(), dw.data());
      const auto forward = kernels::forward_stencil(s), backward = kernels::input_grad_stencil(s);
      const auto check_both = [&](auto algorithm, auto bound) {
        check_close(run(s.y_size(),
                        [&](Real* to) { algorithm(forward, x.data(), w.data(), bias.data(), to); }),
                    y, bound(s.channels / s.groups));
        check_close(
            run(s.x_size(),
                [&](Real* to) { algorithm(backward, g.data(), w.data(), bias.data(), to); }),
            dx, bound(s.out_channels / s.groups));
      };
      for (const auto algorithm : {kernels::run_stencil, kernels::run_batch})
        check_both(algorithm, [&](std::int64_t channels) { return plain(channels * taps); });
      for (const kernels::Scheme& scheme : kernels::kSchemes) {
        CAPTURE(static_cast<int>(scheme));
        const std::span only(&scheme, 1);
        const std::int64_t most =
            std::max(window_taps(forward, scheme), window_taps(backward, scheme));
        check_both([&](const auto&... operands) { kernels::run_winograd(operands..., only); },
                   [&](std::int64_t channels) { return winograd(channels, most); });
        check_close(
            run(s.w_size(),
                [&](Real* to) { kernels::run_winograd_weight(s, g.data(), x.data(), to, only); }),
            dw, winograd_weight(s, scheme));
      }
    }
  });
}

TEST_CASE("Winograd equals the definition where not all transformed weights stay in a cache") {
  Numbers random;
  for (const ConvShape& s : {square(2, 256, 300, 5, 4, 1, 1), square(3, 310, 80, 9, 4, 2, 1)}) {
    CAPTURE(text(s));
    const auto x = random.vector(s.x_size()), w = random.vector(s.w_size()),
               g = random.vector(s.y_size()), bias = random.vector(310);
    std::vector<Real> y(g.size()), dx(x.size());
    kernels::reference::conv_forward(s, x.data(), w.data(), bias.data(), y.data());
    kernels::reference::conv_input_grad(s, g.data(), w.data(), bias.data(), dx.data());
    const kernels::Scheme scheme = s.stride_h == 1 ? kernels::Scheme::k4x4 : kernels::Scheme::k4x2;
    const auto way = [&](const kernels::Stencil& st, const std::vector<Real>& from) {
      return [&, st](Real* to) {
        kernels::run_winograd(st, from.data(), w.data(), bias.data(), to, std::span(&scheme, 1));
      };
    };
    check_close(run(s.y_size(), way(kernels::forward_stencil(s), x)), y, winograd(s.channels, 16));
    check_close(run(s.x_size(), way(kernels::input_grad_stencil(s), g)), dx,
                winograd(s.out_channels, 16));
  }
}

TEST_CASE(
    "convolution as a product of matrices equals its definition, not only where it is chosen") {
  on_every_target([] {
    Numbers random;
    // Multiplied by image: in two groups, by taps that touch nothing else, in patches of which some
    // pixels are left.
    const ConvShape by_image[] = {square(5, 40, 16, 37, 3, 2, 1), square(3, 20, 18, 33, 1, 2, 0),
                                  square(3, 5, 20, 38, 4, 4, 0), square(2, 7, 20, 25, 2, 2, 0)};
    for (std::size_t turn = 0; turn < 40 + std::size(by_image);) {
      ConvShape s = square(random.pick(1, 9), random.pick(1, 24), random.pick(1, 24), 1,
                           random.pick(0, 2) != 0 ? random.pick(1, 5) : 1, random.pick(1, 3),
                           random.pick(0, 2));
      s.height = random.pick(1, 12);
      s.width = random.pick(1, 17);
      s.stride_w = random.pick(0, 2) != 0 ? s.stride_h : random.pick(1, 3);
      s.padding_w = random.pick(0, 2) != 0 ? s.padding_h : random.pick(0, 3);
      s.dilation_h = random.pick(1, 2);
      // An image that is its own matrix of columns.
      if (turn % 4 == 0) s.kernel_h = s.kernel_w = s.stride_h = s.stride_w = 1;
      // Windows that touch each other, and do not overlap.
      if (turn % 4 == 1) s.stride_h = s.kernel_h, s.stride_w = s.kernel_w, s.dilation_h = 1;
      if (turn % 4 <= 1) s.padding_h = s.padding_w = 0;
      if (turn >= 40) s = by_image[turn - 40];
      if (s.out_h() < 1 || s.out_w() < 1) continue;
      ++turn;
      CAPTURE(text(s));
      const auto x = random.vector(s.x_size()), w = random.vector(s.w_size()),
                 g = random.vector(s.y_size()), bias = random.vector(24);
      const Real* b = turn % 2 == 0 ? bias.data() : nullptr;
      const std::int64_t taps = s.kernel_h * s.kernel_w, pixels = s.n * s.out_h() * s.out_w();
      std::vector<Real> y(g.size()), dx(x.size()), dw(w.size());
      kernels::reference::conv_forward(s, x.data(), w.data(), b, y.data());
      kernels::reference::conv_input_grad(s, g.data(), w.data(), b, dx.data());
      kernels::reference::conv_weight_grad(s, g.data(), x.data(), dw.data());
      check_close(run(s.y_size(),
                      [&](Real* to) { kernels::run_matrix_forward(s, x.data(), w.data(), b, to); }),
                  y, plain(s.channels * taps));
      check_close(
          run(s.x_size(),
              [&](Real* to) { kernels::run_matrix_input_grad(s, g.data(), w.data(), b, to); }),
          dx, plain(s.out_channels * taps));
      check_close(
          run(s.w_size(),
              [&](Real* to) { kernels::run_matrix_weight_grad(s, g.data(), x.data(), to); }),
          dw, plain(pixels));
    }
  });
}

TEST_CASE("depthwise convolution equals its definition") {
  on_every_target([] {
    Numbers random;
    for (int turn = 0; turn < 40;) {
      const std::int64_t channels = random.pick(1, 19);
      ConvShape s = square(random.pick(1, 3), channels, channels, 1, random.pick(1, 7),
                           random.pick(1, 3), random.pick(0, 3), channels);
      s.height = random.pick(1, 12) * random.pick(1, 6);
      s.width = random.pick(1, 12) * random.pick(1, 6);
      s.dilation_h = random.pick(1, 2);
      s.stride_w = random.pick(0, 2) != 0 ? s.stride_h : random.pick(1, 3);
      if (s.out_h() < 1 || s.out_w() < 1) continue;
      ++turn;
      CAPTURE(text(s));
      const auto x = random.vector(s.x_size()), w = random.vector(s.w_size()),
                 g = random.vector(s.y_size()), bias = random.vector(channels);
      const Real* b = turn % 2 == 0 ? bias.data() : nullptr;
      const std::int64_t taps = s.kernel_h * s.kernel_w;
      std::vector<Real> y(g.size()), dx(x.size()), dw(w.size());
      kernels::reference::conv_forward(s, x.data(), w.data(), b, y.data());
      kernels::reference::conv_input_grad(s, g.data(), w.data(), b, dx.data());
      kernels::reference::conv_weight_grad(s, g.data(), x.data(), dw.data());
      const auto forward = kernels::forward_stencil(s), backward = kernels::input_grad_stencil(s);
      for (const auto way : {kernels::run_depthwise_rows, kernels::run_depthwise_lanes}) {
        check_close(run(s.y_size(), [&](Real* to) { way(forward, x.data(), w.data(), b, to); }), y,
                    plain(taps));
        check_close(run(s.x_size(), [&](Real* to) { way(backward, g.data(), w.data(), b, to); }),
                    dx, plain(taps));
      }
      check_close(run(s.w_size(),
                      [&](Real* to) { kernels::run_weight_depthwise(s, g.data(), x.data(), to); }),
                  dw, plain(s.n * s.out_h() * s.out_w()));
    }
    check(square(1, 2, 2, 301, 3, 1, 1, 2), random);   // several bands of rows
    check(square(1, 2, 2, 40, 31, 1, 15, 2), random);  // taps that reach many vectors further
    check(square(3, 40, 40, 7, 5, 1, 2, 40), random);  // small maps of many channels
  });
}

// Numbers that are harder on a sum than those around 0: with a large mean, of alternating sign, of
// all sizes.
static std::vector<Real> hard(std::vector<Real> values, int kind) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (kind == 0) values[i] = 1 + values[i] / 64;
    if (kind == 1) values[i] = (i % 2 == 0 ? 1 : -1) + values[i] / 64;
    if (kind == 2) values[i] = std::ldexp(values[i], -static_cast<int>(i * 7 % 12));
  }
  return values;
}

TEST_CASE("no algorithm exceeds its error bound on numbers that are hard to sum") {
  Numbers random;
  for (const ConvShape& s : {square(3, 32, 24, 20, 3, 1, 1), square(9, 40, 16, 12, 5, 2, 2),
                             square(8, 24, 32, 8, 4, 2, 1), square(2, 16, 16, 21, 7, 1, 3)}) {
    for (const int kind : {0, 1, 2}) {
      CAPTURE(text(s));
      CAPTURE(kind);
      const auto x = hard(random.vector(s.x_size()), kind),
                 w = hard(random.vector(s.w_size()), kind),
                 g = hard(random.vector(s.y_size()), kind);
      std::vector<Real> y(g.size()), dx(x.size()), dw(w.size());
      kernels::reference::conv_forward(s, x.data(), w.data(), nullptr, y.data());
      kernels::reference::conv_input_grad(s, g.data(), w.data(), nullptr, dx.data());
      kernels::reference::conv_weight_grad(s, g.data(), x.data(), dw.data());
      const double taps = static_cast<double>(s.kernel_h * s.kernel_w);
      // Products are at most 1.04, and of the same size: the bounds for random numbers with 1 in
      // place of 1/4, and C in place of √C for Winograd, whose errors then add up.
      const auto bound = [&](double terms) {
        return kEpsilon * 2 * std::sqrt(terms) * (terms * 1.04 + 1);
      };
      const auto forward = kernels::forward_stencil(s), backward = kernels::input_grad_stencil(s);
      const auto check_both = [&](auto algorithm, auto limit) {
        std::vector<Real> to(y.size());
        algorithm(forward, x.data(), w.data(), nullptr, to.data());
        check_close(to, y, limit(static_cast<double>(s.channels)));
        to.resize(dx.size());
        algorithm(backward, g.data(), w.data(), nullptr, to.data());
        check_close(to, dx, limit(static_cast<double>(s.out_channels)));
      };
      const auto plainly = [&](double channels) { return bound(channels * taps); };
      check_both(kernels::run_stencil, plainly);
      check_both(kernels::run_batch, plainly);
      const auto pixels = static_cast<double>(s.n * s.out_h() * s.out_w());
      std::vector<Real> to(dw.size());
      for (const auto algorithm : {kernels::run_weight_grad, kernels::run_weight_pixels}) {
        algorithm(s, g.data(), x.data(), to.data());
        check_close(to, dw, bound(pixels));
      }
      for (const kernels::Scheme& scheme : kernels::kSchemes) {
        CAPTURE(static_cast<int>(scheme));
        const std::span only(&scheme, 1);
        const auto most = static_cast<double>(
            std::max(window_taps(forward, scheme), window_taps(backward, scheme)));
        check_both([&](const auto&... operands) { kernels::run_winograd(operands..., only); },
                   [&](double channels) { return 64 * kEpsilon * channels * most; });
        kernels::run_winograd_weight(s, g.data(), x.data(), to.data(), only);
        check_close(
            to, dw,
            128 * kEpsilon * static_cast<double>(tiles(s, scheme).count * tiles(s, scheme).pixels));
      }
    }
  }
}

/// Whether convolution of a shape that Winograd is faster for gives the bits of plain sums.
static bool sums_plainly() {
  Numbers random;
  const ConvShape s = square(2, 48, 48, 16, 3, 1, 1);
  const auto x = random.vector(s.x_size()), w = random.vector(s.w_size());
  std::vector<Real> y(static_cast<std::size_t>(s.y_size())), plain_sums(y.size());
  kernels::conv_forward(s, x.data(), w.data(), nullptr, y.data());
  kernels::run_stencil(kernels::forward_stencil(s), x.data(), w.data(), nullptr, plain_sums.data());
  return y == plain_sums;
}

// Run by the next one, in a process with the variable.
TEST_CASE("TAPESTRY_EXACT_CONV=1 is in force" * doctest::skip()) {
  CHECK(kernels::exact_convolution());
  CHECK(sums_plainly());
}

TEST_CASE("the environment variable TAPESTRY_EXACT_CONV=1 turns Winograd off, nothing else does") {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto passes = [&](const std::string& value) {
    const std::string command = "TAPESTRY_EXACT_CONV=" + value + " '" + self +
                                "' --no-skip --test-case='*_CONV=1 is in force' >/dev/null";
    return std::system(command.c_str()) == 0;
  };
  CHECK(passes("1"));
  CHECK_FALSE(passes("0"));
  kernels::set_exact_convolution(false);
  CHECK_FALSE(sums_plainly());
}

TEST_CASE("without Winograd, errors stay within the bound of plain sums") {
  Numbers random;
  kernels::set_exact_convolution(true);
  check(square(2, 48, 48, 16, 3, 1, 1), random);
  check(square(8, 48, 48, 8, 4, 2, 1), random);
  kernels::set_exact_convolution(false);
  check(square(2, 48, 48, 16, 3, 1, 1), random);
  check(square(8, 48, 48, 8, 4, 2, 1), random);
}

TEST_CASE("the three maps are adjoint: <y(x, w), g> = <x, dx(g, w)> = <w, dw(g, x)>") {
  Numbers random;
  const auto dot = [](const std::vector<Real>& a, const std::vector<Real>& b) {
    return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  };
  for (const ConvShape& s : {square(3, 5, 7, 13, 3, 2, 1), square(2, 6, 4, 9, 4, 3, 2, 2),
                             square(5, 16, 16, 12, 3, 1, 1), square(1, 3, 8, 20, 9, 1, 4),
                             square(9, 32, 16, 4, 4, 2, 1)}) {
    CAPTURE(text(s));
    const auto x = random.vector(s.x_size()), w = random.vector(s.w_size()),
               g = random.vector(s.y_size());
    std::vector<Real> y(g.size()), dx(x.size()), dw(w.size());
    kernels::conv_forward(s, x.data(), w.data(), nullptr, y.data());
    kernels::conv_input_grad(s, g.data(), w.data(), nullptr, dx.data());
    kernels::conv_weight_grad(s, g.data(), x.data(), dw.data());
    // Each product's error is far below the root of the number of terms; 1e-4 would still catch one
    // wrong tap.
    const double scale = std::sqrt(static_cast<double>(s.y_size() * s.w_size() / s.out_channels));
    CHECK(std::abs(dot(y, g) - dot(x, dx)) <= scale * kEpsilon * 256);
    CHECK(std::abs(dot(y, g) - dot(w, dw)) <= scale * kEpsilon * 256);
  }
}

TEST_CASE("convolutions without images, and those whose gradient is nothing but zeros") {
  ConvShape s = square(0, 3, 4, 8, 3, 1, 1);
  std::vector<Real> w(static_cast<std::size_t>(s.w_size()), 1), dw(w.size(), 5);
  kernels::conv_forward(s, nullptr, w.data(), nullptr, nullptr);
  kernels::conv_input_grad(s, nullptr, w.data(), nullptr, nullptr);
  kernels::conv_weight_grad(s, nullptr, nullptr, dw.data());
  CHECK(dw == std::vector<Real>(w.size(), 0));
  // With a stride beyond the kernel some pixels of x are never read: their gradient is exactly 0.
  s = square(1, 1, 1, 5, 1, 3);
  const std::vector<Real> g(4, 2), one(1, 3);
  std::vector<Real> dx(25, 9);
  kernels::conv_input_grad(s, g.data(), one.data(), nullptr, dx.data());
  CHECK(dx[0] == 6);
  CHECK(dx[1] == 0);
  CHECK(dx[18] == 6);
  CHECK(std::accumulate(dx.begin(), dx.end(), 0.0) == 24);
}
