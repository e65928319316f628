// Recurrent layers: the rules by hand, sequences against cells, gradients, names.
#include <cmath>
#include <string>

#include <doctest/doctest.h>

#include "core/ops/arithmetic.h"
#include "core/ops/movement.h"
#include "core/tape.h"
#include "layers/rnn.h"
#include "tests/layers/check_layer.h"

namespace tapestry::testing {
namespace {

using namespace nn;

constexpr double kRounding = kDouble ? 1e-13 : 1e-5;

double sigma(double x) { return 1 / (1 + std::exp(-x)); }

double at(const Tensor& x, std::size_t i) { return static_cast<double>(x.data()[i]); }

/// One hidden number and one input: everything can be written down.
struct Scalars {
  explicit Scalars(int gates) : gates_(static_cast<std::size_t>(gates)) {
    const Shape column{gates, 1};
    weights = {Input(column).make(1), Input(column).make(2), Input({gates}).make(3),
               Input({gates}).make(4)};
  }
  double a(std::size_t gate, double x) const {
    return at(weights.w_ih, gate) * x + at(weights.b_ih, gate);
  }
  double b(std::size_t gate, double h) const {
    return at(weights.w_hh, gate) * h + at(weights.b_hh, gate);
  }
  RecurrentWeights weights;
  std::size_t gates_;
};

constexpr double kX = 0.7, kH = -0.4, kC = 0.9;
const Tensor x1 = Tensor::full({1, 1}, Real(kX));
const RecurrentState state1{Tensor::full({1, 1}, Real(kH)), Tensor::full({1, 1}, Real(kC))};

/// h of a sequence, and the last state, next to each other: all of what can be differentiated.
Tensor everything(const RecurrentOutput& out) {
  std::vector<Tensor> parts{reshape(out.h, {-1}), reshape(out.last.h, {-1})};
  if (out.last.c.defined()) parts.push_back(reshape(out.last.c, {-1}));
  return concat(parts, 0);
}

}  // namespace

TEST_CASE("recurrent rules: one hidden number by hand") {
  {
    const Scalars s(1);
    CHECK(rnn_cell(x1, state1, s.weights).h.item() ==
          doctest::Approx(std::tanh(s.a(0, kX) + s.b(0, kH))).epsilon(1e-5));
  }
  {
    const Scalars s(4);
    const auto gate = [&](std::size_t k) { return s.a(k, kX) + s.b(k, kH); };
    const double c = sigma(gate(1)) * kC + sigma(gate(0)) * std::tanh(gate(2));
    const RecurrentState after = lstm_cell(x1, state1, s.weights);
    CHECK(after.c.item() == doctest::Approx(c).epsilon(1e-5));
    CHECK(after.h.item() == doctest::Approx(sigma(gate(3)) * std::tanh(c)).epsilon(1e-5));
  }
  {
    const Scalars s(3);
    const double r = sigma(s.a(0, kX) + s.b(0, kH)), z = sigma(s.a(1, kX) + s.b(1, kH));
    const double n = std::tanh(s.a(2, kX) + r * s.b(2, kH));
    CHECK(gru_cell(x1, state1, s.weights).h.item() ==
          doctest::Approx((1 - z) * n + z * kH).epsilon(1e-5));
  }
}

TEST_CASE("recurrent layers: gradient of every weight, input and initial state") {
  const std::vector<std::string> names{"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"};
  const std::vector<std::string> cell_names{"weight_ih", "weight_hh", "bias_ih", "bias_hh"};
  for (const char* name : {"RNN", "LSTM", "GRU"}) {
    const Recurrence& rule = recurrence(name);
    std::vector<Input> inputs{Input{3, 2, 2}, Input{1, 2, 3}};
    if (rule.has_c) inputs.emplace_back(Shape{1, 2, 3});
    const auto state = [](const std::vector<Tensor>& x) {
      return RecurrentState{x[1], x.size() > 2 ? x[2] : Tensor{}};
    };
    check_layer(
        name, [&] { return Recurrent(rule, 2, 3); }, inputs,
        [&](Recurrent& layer, const std::vector<Tensor>& x) {
          return everything(layer.run(x[0], state(x)));
        },
        {.names = names});
    inputs = {Input{2, 2}, Input{2, 3}};
    if (rule.has_c) inputs.emplace_back(Shape{2, 3});
    check_layer(
        std::string(name) + " cell", [&] { return RecurrentCell(rule, 2, 3); }, inputs,
        [&](RecurrentCell& cell, const std::vector<Tensor>& x) {
          const RecurrentState after = cell(x[0], state(x));
          return after.c.defined() ? concat({after.h, after.c}, 1) : after.h;
        },
        {.names = cell_names});
    check_layer(std::string(name) + ", no bias",
                [&] { return Recurrent(rule, 2, 3, {.bias = false}); }, Input{2, 2, 2},
                {.names = {"weight_ih_l0", "weight_hh_l0"}});
    check_layer(std::string(name) + ", 2 layers, bidirectional, batch first",
                [&] {
                  return Recurrent(
                      rule, 2, 2,
                      {.num_layers = 2, .bias = false, .batch_first = true, .bidirectional = true});
                },
                Input{2, 3, 2},
                {.names = {"weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse",
                           "weight_hh_l0_reverse", "weight_ih_l1", "weight_hh_l1",
                           "weight_ih_l1_reverse", "weight_hh_l1_reverse"}});
  }
  check_layer(
      "LayerNormLSTMCell", [] { return LayerNormLSTMCell(2, 3); },
      std::vector<Input>{Input{2, 2}, Input{2, 3}, Input{2, 3}},
      [](LayerNormLSTMCell& cell, const std::vector<Tensor>& x) {
        const RecurrentState after = cell(x[0], {x[1], x[2]});
        return concat({after.h, after.c}, 1);
      },
      {.names = {"weight_ih", "weight_hh", "bias", "layernorm_i.weight", "layernorm_h.weight",
                 "layernorm_c.weight", "layernorm_c.bias"}});
}

TEST_CASE("recurrent layers: a sequence is its cell applied step by step") {
  for (const char* name : {"RNN", "LSTM", "GRU"}) {
    CAPTURE(name);
    Recurrent layer(recurrence(name), 2, 3);
    RecurrentCell cell(recurrence(name), 2, 3);
    draw(layer, 1);
    std::vector<Named<Tensor>> state = layer.state();
    for (Named<Tensor>& entry : state) entry.name.resize(entry.name.size() - 3);  // without _l0
    cell.load_state(state);
    const Tensor x = Input({4, 2, 2}).make(1);
    const RecurrentOutput out = layer.run(x);
    RecurrentState now;
    for (std::int64_t t = 0; t < 4; ++t) {
      now = cell(select(x, 0, t), now);
      CHECK(difference(select(out.h, 0, t), now.h) < kRounding);
    }
    CHECK(difference(select(out.last.h, 0, 0), now.h) < kRounding);
    // In two halves, the state handed over.
    const RecurrentOutput first = layer.run(slice(x, 0, {.end = 2}));
    CHECK(difference(layer.run(slice(x, 0, {.start = 2}), first.last).last.h, out.last.h) <
          kRounding);
  }
}

TEST_CASE(
    "recurrent layers: several are one after the other, reverse is the sequence turned round") {
  for (const char* name : {"RNN", "LSTM", "GRU"}) {
    CAPTURE(name);
    const Recurrence& rule = recurrence(name);
    const Tensor x = Input({4, 2, 3}).make(1);
    Recurrent deep(rule, 3, 2, {.num_layers = 2}), below(rule, 3, 2), above(rule, 2, 2);
    draw(deep, 1);
    const auto part = [&](Recurrent& from, Recurrent& to, const std::string& suffix) {
      std::vector<Named<Tensor>> state;
      for (const Named<Tensor>& entry : from.state()) {
        const std::size_t end = entry.name.size() - suffix.size();
        if (entry.name.substr(entry.name.find("_l")) == suffix)
          state.push_back({entry.name.substr(0, end) + "_l0", entry.value});
      }
      to.load_state(state);
    };
    part(deep, below, "_l0");
    part(deep, above, "_l1");
    const RecurrentOutput out = deep.run(x), first = below.run(x), second = above.run(first.h);
    CHECK(difference(out.h, second.h) < kRounding);
    CHECK(out.last.h.shape() == Shape{2, 2, 2});
    CHECK(difference(out.last.h, concat({first.last.h, second.last.h}, 0)) < kRounding);

    Recurrent both(rule, 3, 2, {.bidirectional = true}), forward(rule, 3, 2), back(rule, 3, 2);
    draw(both, 2);
    part(both, forward, "_l0");
    part(both, back, "_l0_reverse");
    const RecurrentOutput there = forward.run(x), returned = back.run(flip(x, {0}));
    const RecurrentOutput sides = both.run(x);
    CHECK(difference(sides.h, concat({there.h, flip(returned.h, {0})}, 2)) < kRounding);
    CHECK(difference(sides.last.h, concat({there.last.h, returned.last.h}, 0)) < kRounding);

    Recurrent turned(rule, 3, 2, {.batch_first = true, .bidirectional = true});
    turned.load_state(both.state());
    CHECK(difference(turned(transpose(x, 0, 1)), transpose(sides.h, 0, 1)) < kRounding);
  }
}

TEST_CASE("LayerNormLSTMCell: the gates do not see the scale of the input") {
  LayerNormLSTMCell cell(3, 4);
  draw(cell, 1);
  const Tensor x = Input({2, 3}).make(1), h = Input({2, 4}).make(2);
  CHECK(difference(cell(x * 100, {h, {}}).h, cell(x, {h, {}}).h) < 1e-2);  // eps shows a little
  CHECK(difference(cell(x * Real(-1), {h, {}}).h, cell(x, {h, {}}).h) > 0.1);
}

TEST_CASE("LayerNormLSTMCell: over a sequence as step by step") {
  LayerNormLSTMCell cell(2, 5);
  draw(cell, 1);
  const Tensor x = Input({4, 3, 2}).make(1);
  RecurrentState now;
  const RecurrentOutput out = cell.run(x);
  for (std::int64_t t = 0; t < 4; ++t) {
    now = cell(select(x, 0, t), now);
    CHECK(difference(select(out.h, 0, t), now.h) < kRounding);
  }
  CHECK(difference(out.last.c, now.c) < kRounding);
}

TEST_CASE("LayerNormLSTMCell: by hand") {
  LayerNormLSTMCell cell(1, 2);
  draw(cell, 4);
  const auto p = cell.parameters();
  const Tensor x = Input({1, 1}).make(1), h = Input({1, 2}).make(2), c = Input({1, 2}).make(3);
  using Numbers = std::vector<double>;
  const auto normalized = [](Numbers a) {
    double mean = 0, variance = 0;
    const double n = static_cast<double>(a.size());
    for (const double value : a) mean += value / n;
    for (const double value : a) variance += (value - mean) * (value - mean) / n;
    for (double& value : a) value = (value - mean) / std::sqrt(variance + 1e-5);
    return a;
  };
  Numbers from_x(8), from_h(8), gates(8);
  for (std::size_t k = 0; k < 8; ++k) {
    from_x[k] = at(p[0], k) * at(x, 0);
    from_h[k] = at(p[1], 2 * k) * at(h, 0) + at(p[1], 2 * k + 1) * at(h, 1);
  }
  from_x = normalized(from_x);
  from_h = normalized(from_h);
  for (std::size_t k = 0; k < 8; ++k)
    gates[k] = at(p[3], k) * from_x[k] + at(p[4], k) * from_h[k] + at(p[2], k);
  Numbers new_c(2);
  for (std::size_t k = 0; k < 2; ++k)
    new_c[k] = sigma(gates[2 + k]) * at(c, k) + sigma(gates[k]) * std::tanh(gates[4 + k]);
  const Numbers shown = normalized(new_c);
  const RecurrentState after = cell(x, {h, c});
  for (std::size_t k = 0; k < 2; ++k) {
    CHECK(at(after.c, k) == doctest::Approx(new_c[k]).epsilon(1e-4));
    const double inside = at(p[5], k) * shown[k] + at(p[6], k);
    CHECK(at(after.h, k) == doctest::Approx(sigma(gates[6 + k]) * std::tanh(inside)).epsilon(1e-4));
  }
}

TEST_CASE("recurrent layers: describe and refusals") {
  CHECK(LSTM(3, 4).describe() == "LSTM(3, 4)");
  CHECK(GRUCell(3, 4, {.bias = false}).describe() == "GRUCell(3, 4, no bias)");
  CHECK(GRU(3, 4, {.num_layers = 2, .bias = false, .batch_first = true, .bidirectional = true})
            .describe() == "GRU(3, 4, 2 layers, bidirectional, batch first, no bias)");
  CHECK(LSTM(3, 4, {.num_layers = 2, .bidirectional = true})
            .cost({5, 2, 3}, {5, 2, 8})
            .multiply_adds == 5 * 2 * 2 * 16 * (3 + 4 + 8 + 4));
  CHECK(contains(error_text([] { GRU(3, 4, {.num_layers = 0}); }), "got 0"));
  CHECK(LSTM(3, 4).cost({5, 2, 3}, {5, 2, 4}).multiply_adds == 5 * 2 * 16 * (3 + 4));
  Recurrent layer = GRU(3, 4);
  draw(layer, 1);
  CHECK(contains(error_text([&] { layer(Tensor::zeros({2, 3})); }), "(T, N, in)"));
  CHECK(contains(error_text([&] { layer(Tensor::zeros({5, 2, 7})); }), "3 features"));
  CHECK(contains(error_text([&] { layer(Tensor::zeros({0, 2, 3})); }), "at least one step"));
  CHECK(contains(error_text([&] {
                   layer.run(Tensor::zeros({5, 2, 3}), {Tensor::zeros({1, 1, 4})});
                 }),
                 "1 rows of 4 numbers for each of 2 samples"));
  CHECK(contains(
      error_text([] {
        lstm_cell(Tensor::zeros({1, 2}), {}, {Tensor::zeros({8, 2}), Tensor::zeros({8, 3})});
      }),
      "4 rows"));
  CHECK(contains(error_text([] { RNN(0, 1); }), "got 0 and 1"));
  CHECK(contains(error_text([] { recurrence("lstm"); }), "RNN, LSTM, GRU"));
}

}  // namespace tapestry::testing
