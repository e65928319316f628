#include "core/ops/recurrent.h"

#include <cstdlib>
#include <vector>

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/normalize.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/random.h"
#include "core/tape.h"
#include "tests/core/kernels/pointwise_support.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using Inputs = std::vector<Tensor>;

/// x, the two weights, the bias, h, c, and with norms their four parameters.
std::vector<Input> inputs(std::int64_t steps, std::int64_t samples, std::int64_t features,
                          std::int64_t hidden, bool norms = false) {
  std::vector<Input> all{{steps, samples, features}, {4 * hidden, features},
                         {4 * hidden, hidden},       {4 * hidden},
                         {samples, hidden},          {samples, hidden}};
  if (norms) {
    all.insert(all.end(), {Input{4 * hidden}, Input{4 * hidden}, Input{hidden}, Input{hidden}});
  }
  return all;
}

Tensor run(const Inputs& x) {
  return lstm(x[0], {x[1], x[2], x[3]}, x[4], x[5],
              x.size() == 6 ? LstmNorms{} : LstmNorms{x[6], x[7], x[8], x[9]});
}

Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta) {
  return normalize(x, per_row(x.shape(), 1), {.allow_single = true}) * gamma + beta;
}

/// One step after the other, in ops.
Tensor by_definition(const Inputs& x) {
  Tensor h = x[4], c = x[5];
  const bool norms = x.size() > 6;
  const Tensor zero = Tensor::scalar(0);
  std::vector<Tensor> all_h, all_c;
  for (std::int64_t t = 0; t < x[0].dim(0); ++t) {
    Tensor from_x = linear(select(x[0], 0, t), x[1]), from_h = linear(h, x[2]);
    if (norms) from_x = layer_norm(from_x, x[6], zero), from_h = layer_norm(from_h, x[7], zero);
    const std::vector<Tensor> a = chunk(from_x + from_h + x[3], 4, 1);
    c = sigmoid(a[1]) * c + sigmoid(a[0]) * tanh(a[2]);
    h = sigmoid(a[3]) * tanh(norms ? layer_norm(c, x[8], x[9]) : c);
    all_h.push_back(h), all_c.push_back(c);
  }
  return stack(Inputs{stack(all_h, 0), stack(all_c, 0)}, 0);
}

}  // namespace

TEST_CASE("lstm: gradient of every input, to third order") {
  on_every_target([] { check_op("lstm", inputs(3, 2, 5, 3), run, {.reference = by_definition}); });
  check_op("lstm", inputs(1, 2, 1, 1), run, {.order = 3});
  check_op("lstm", inputs(2, 1, 3, 2), run, {.order = 3});
}

TEST_CASE("lstm with norms: gradient of every input, to third order") {
  on_every_target(
      [] { check_op("lstm", inputs(2, 2, 4, 3, true), run, {.reference = by_definition}); });
  check_op("lstm", inputs(2, 1, 4, 3, true), run, {.order = 3});
}

TEST_CASE("lstm: the first state may depend on the weights") {
  const Inputs x{Input({2, 2, 4}).make(1), Input({12, 4}).make(2), Input({12, 3}).make(3),
                 Input({12}).make(4)};
  const auto penalty = [&](Tensor (*f)(const Inputs&)) {
    Tape tape;
    tape.watch(x[2]);
    const Tensor h = select(reshape(x[2], {2, 6, 3}), 1, 0);
    const Tensor loss = sum(square(f({x[0], x[1], x[2], x[3], h, h * 2})));
    const Tensor g = tape.gradient(loss, {x[2]}, {.create_graph = true})[0];
    return tape.gradient(sum(square(g)), {x[2]})[0];
  };
  CHECK(difference(penalty(run), penalty(by_definition)) < 1e-2);
}

TEST_CASE("lstm: the definition at every size, bits do not depend on threads") {
  on_every_target([] {
    for (const std::int64_t size : {1, 3, 7, 8, 9, 16, 17, 33, -1, -2, -3, -8, -13, -33, -270}) {
      const std::int64_t hidden = std::abs(size);  // negative: with norms
      CAPTURE(size);
      Inputs x;
      for (const Input& input : inputs(4, 5, 6, hidden, size < 0))
        x.push_back(input.make(static_cast<std::uint64_t>(x.size())));
      CHECK(difference(run(x), by_definition(x)) < 1e-5);
      // Norms of one and two numbers are 0 and ±1 whatever these are: their gradient is rounding.
      if (size == -1 || size == -2) continue;
      const Tensor g = Input({2, 4, 5, hidden}).make(9);
      const auto gradients = [&](Tensor (*f)(const Inputs&)) {
        Tape tape;
        for (const Tensor& input : x) tape.watch(input);
        return tape.vjp(f(x), g, x);
      };
      const Inputs got = gradients(run), want = gradients(by_definition);
      for (std::size_t i = 0; i < got.size(); ++i) CHECK(difference(got[i], want[i]) < 1e-4);

      // What the gradient overwrites in a last call, it leaves alone in one before.
      Tape tape;
      for (const Tensor& input : x) tape.watch(input);
      const Tensor y = run(x);
      const Inputs first = tape.vjp(y, g, x, {.keep = true}), last = tape.vjp(y, g, x);
      for (std::size_t i = 0; i < got.size(); ++i) {
        CHECK(difference(first[i], got[i]) == 0);
        CHECK(difference(last[i], got[i]) == 0);
      }
    }
  });
  check_op_threads("lstm", inputs(3, 40, 29, 67), run);
  check_op_threads("lstm", inputs(3, 40, 29, 67, true), run);
}

TEST_CASE("lstm: an input that is computed again, see Note [Computing again], has the same bits") {
  const Tensor x = Rng(1).normal({8, 64, 600}), wx = Rng(2).normal({20, 600}),
               wh = Rng(3).normal({20, 5}), state = Tensor::zeros({64, 5});
  const auto gradients = [&](bool keep) {
    Tape tape;
    for (const Tensor& leaf : {x, wx, wh}) tape.watch(leaf);
    Tensor y = normalize(x, per_row(x.shape(), 1));
    const Tensor kept = keep ? y : Tensor();
    const Tensor loss = sum(square(lstm(y, {wx, wh}, state, state)));
    y = Tensor();
    return hash(tape.gradient(loss, {x, wx, wh}));
  };
  CHECK(gradients(false) == gradients(true));
}

TEST_CASE("lstm: shapes that do not fit are refused") {
  const auto zeros = [](const std::vector<Shape>& shapes) {
    Inputs all;
    for (const Shape& shape : shapes) all.push_back(Tensor::zeros(shape));
    return all;
  };
  const std::vector<Shape> fit{{2, 2, 5}, {12, 5}, {12, 3}, {12}, {2, 3},
                               {2, 3},    {12},    {12},    {3},  {3}};
  CHECK_NOTHROW(run(zeros(fit)));
  const std::vector<std::vector<Shape>> wrong{{{0, 2, 5}, {2, 2, 4}, {2, 5}},
                                              {{12, 4}, {9, 5}, {12}},
                                              {{12, 4}, {9, 3}},
                                              {{3}, {12, 1}},
                                              {{1, 3}, {3}},
                                              {{2, 4}},
                                              {{3}},
                                              {{3}},
                                              {{12}},
                                              {{1}}};
  for (std::size_t i = 0; i < fit.size(); ++i) {
    for (const Shape& shape : wrong[i]) {
      CAPTURE(i);
      CAPTURE(shape.str());
      std::vector<Shape> shapes = fit;
      shapes[i] = shape;
      CHECK_THROWS_AS(run(zeros(shapes)), Error);
      if (i >= 6) continue;
      shapes.resize(6);
      CHECK_THROWS_AS(run(zeros(shapes)), Error);
    }
    if (i < 6) continue;
    Inputs without = zeros(fit);
    without[i] = {};
    CHECK_THROWS_AS(run(without), Error);
  }
}

}  // namespace tapestry::testing
