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
#include "core/tape.h"
#include "tests/core/kernels/pointwise_support.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using Inputs = std::vector<Tensor>;

/// from_inputs, w_hh, b_hh, h, c, and with norms their three parameters.
std::vector<Input> inputs(std::int64_t steps, std::int64_t samples, std::int64_t hidden,
                          bool norms = false) {
  std::vector<Input> all{{steps, samples, 4 * hidden},
                         {4 * hidden, hidden},
                         {4 * hidden},
                         {samples, hidden},
                         {samples, hidden}};
  if (norms) all.insert(all.end(), {Input{4 * hidden}, Input{hidden}, Input{hidden}});
  return all;
}

Tensor run(const Inputs& x) {
  return lstm(x[0], x[1], x[2], x[3], x[4],
              x.size() == 5 ? LstmNorms{} : LstmNorms{x[5], x[6], x[7]});
}

Tensor layer_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta) {
  return normalize(x, per_row(x.shape(), 1), {.allow_single = true}) * gamma + beta;
}

/// One step after the other, in ops.
Tensor by_definition(const Inputs& x) {
  Tensor h = x[3], c = x[4];
  const bool norms = x.size() > 5;
  std::vector<Tensor> all_h, all_c;
  for (std::int64_t t = 0; t < x[0].dim(0); ++t) {
    const Tensor product = norms ? layer_norm(linear(h, x[1]), x[5], x[2]) : linear(h, x[1], x[2]);
    const std::vector<Tensor> a = chunk(select(x[0], 0, t) + product, 4, 1);
    c = sigmoid(a[1]) * c + sigmoid(a[0]) * tanh(a[2]);
    h = sigmoid(a[3]) * tanh(norms ? layer_norm(c, x[6], x[7]) : c);
    all_h.push_back(h), all_c.push_back(c);
  }
  return stack(Inputs{stack(all_h, 0), stack(all_c, 0)}, 0);
}

}  // namespace

TEST_CASE("lstm: gradient of every input, to third order") {
  on_every_target([] {
    check_op("lstm", {{3, 2, 12}, {12, 3}, Input{12}, {2, 3}, {2, 3}}, run,
             {.reference = by_definition});
  });
  check_op("lstm", {{1, 2, 4}, {4, 1}, Input{4}, {2, 1}, {2, 1}}, run, {.order = 3});
  check_op("lstm", {{2, 1, 8}, {8, 2}, Input{8}, {1, 2}, {1, 2}}, run, {.order = 3});
}

TEST_CASE("lstm with norms: gradient of every input, to third order") {
  on_every_target([] {
    check_op("lstm",
             {{2, 2, 12}, {12, 3}, Input{12}, {2, 3}, {2, 3}, Input{12}, Input{3}, Input{3}}, run,
             {.reference = by_definition});
  });
  check_op("lstm", {{2, 1, 12}, {12, 3}, Input{12}, {1, 3}, {1, 3}, Input{12}, Input{3}, Input{3}},
           run, {.order = 3});
}

TEST_CASE("lstm: the first state may depend on the weights") {
  const Inputs x{Input({2, 2, 12}).make(1), Input({12, 3}).make(2), Input({12}).make(3)};
  const auto penalty = [&](Tensor (*f)(const Inputs&)) {
    Tape tape;
    tape.watch(x[1]);
    const Tensor h = select(reshape(x[1], {2, 6, 3}), 1, 0);
    const Tensor loss = sum(square(f({x[0], x[1], x[2], h, h * 2})));
    const Tensor g = tape.gradient(loss, {x[1]}, {.create_graph = true})[0];
    return tape.gradient(sum(square(g)), {x[1]})[0];
  };
  CHECK(difference(penalty(run), penalty(by_definition)) < 1e-2);
}

TEST_CASE("lstm: the definition at every size, bits do not depend on threads") {
  on_every_target([] {
    for (const std::int64_t size : {1, 3, 7, 8, 9, 16, 17, 33, -1, -2, -3, -8, -13, -33, -270}) {
      const std::int64_t hidden = std::abs(size);  // negative: with norms
      CAPTURE(size);
      Inputs x;
      for (const Input& input : inputs(4, 5, hidden, size < 0))
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
  check_op_threads("lstm", {{3, 40, 268}, {268, 67}, Input{268}, {40, 67}, {40, 67}}, run);
  check_op_threads(
      "lstm",
      {{3, 40, 268}, {268, 67}, Input{268}, {40, 67}, {40, 67}, Input{268}, Input{67}, Input{67}},
      run);
}

TEST_CASE("lstm: shapes that do not fit are refused") {
  const auto refused = [](const Shape& a, const Shape& w, const Shape& b, const Shape& h) {
    CHECK_THROWS_AS(lstm(Tensor::zeros(a), Tensor::zeros(w), Tensor::zeros(b), Tensor::zeros(h),
                         Tensor::zeros({2, 3})),
                    Error);
  };
  refused({0, 2, 12}, {12, 3}, {12}, {2, 3});
  refused({2, 2, 9}, {12, 3}, {12}, {2, 3});
  refused({2, 2, 12}, {12, 4}, {12}, {2, 3});
  refused({2, 2, 12}, {12, 3}, {3}, {2, 3});
  refused({2, 2, 12}, {12, 3}, {12}, {1, 3});
  refused({2, 12}, {12, 3}, {12}, {2, 3});

  const Tensor a = Tensor::zeros({1, 2, 12}), w = Tensor::zeros({12, 3}), h = Tensor::zeros({2, 3});
  const Tensor four = Tensor::zeros({12}), one = Tensor::zeros({3});
  CHECK_THROWS_AS(lstm(a, w, {}, h, h, {four, one, {}}), Error);
  CHECK_THROWS_AS(lstm(a, w, {}, h, h, {one, one, one}), Error);
  CHECK_THROWS_AS(lstm(a, w, {}, h, h, {four, four, one}), Error);
}

}  // namespace tapestry::testing
