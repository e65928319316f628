#include "core/tape.h"

#include <cmath>
#include <sstream>
#include <thread>

#include <doctest/doctest.h>

#include "core/error.h"
#include "core/memory.h"
#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "tests/support/gradcheck.h"

namespace tapestry::testing {
namespace {

using Numbers = std::vector<Real>;

/// x, and a count of how often its gradient was computed.
Tensor counted(const Tensor& x, int& count) {
  return record("counted", {x}, x.clone(), [&count](const Tensor& g, const Needs&) -> Grads {
    ++count;
    return {g};
  });
}

std::string printed(const Tape& tape) {
  std::ostringstream out;
  out << tape;
  return out.str();
}

struct AnomalyMode {
  AnomalyMode() { set_anomaly_mode(true); }
  ~AnomalyMode() {
    set_anomaly_mode(false);
    set_anomaly_step(-1);
  }
};

}  // namespace

TEST_CASE("tape: gradients of order 1 to 4 of tanh and of products") {
  const double at = 0.3, t = std::tanh(at), u = 1 - t * t;
  // tanh' = u, and u' = −2tu:
  const std::vector<double> tanh_derivatives{u, -2 * t * u, u * (4 * t * t - 2 * u),
                                             u * (16 * t * u - 8 * t * t * t)};
  const std::vector<double> cube_derivatives{3 * at * at, 6 * at, 6, 0};
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(static_cast<Real>(at)));
  Tensor a = tanh(x), b = x * x * x;
  for (std::size_t order = 0; order < 4; ++order) {
    a = tape.gradient(a, {x}, {.create_graph = true})[0];
    CHECK(a.item() == doctest::Approx(tanh_derivatives[order]).epsilon(1e-5));
    b = tape.gradient(b, {x}, {.create_graph = true, .allow_unused = true})[0];
    CHECK(b.item() == doctest::Approx(cube_derivatives[order]).epsilon(1e-5));
  }
}

TEST_CASE("tape: mixed derivatives of two inputs") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(2)), y = tape.watch(Tensor::scalar(3));
  const Tensor dx = tape.gradient(x * x * y * y * y, {x}, {.create_graph = true})[0];
  const Tensor dxy = tape.gradient(dx, {y}, {.create_graph = true})[0];  // 2x·3y²
  CHECK(dxy.item() == 108);
  CHECK(tape.gradient(dxy, {x, y})[1].item() == 72);  // 2x·6y
}

TEST_CASE("tape: a diamond, and one value used many times") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(3));
  const Tensor a = x * x;
  CHECK(tape.gradient(a * a + a + x, {x})[0].item() == 4 * 27 + 6 + 1);
}

TEST_CASE("tape: gradients with respect to values in between") {
  Tape tape;
  int before = 0;
  const Tensor x = tape.watch(Tensor::scalar(2));
  const Tensor middle = counted(x * x, before), y = middle * middle;
  const auto g = tape.gradient(y, {middle, y}, {.keep = true});
  CHECK(g[0].item() == 8);
  CHECK(g[1].item() == 1);
  CHECK(before == 0);  // nothing above the target was walked
  const auto both = tape.gradient(y, {middle, x});
  CHECK(both[0].item() == 8);
  CHECK(both[1].item() == 32);
}

TEST_CASE("tape: what nobody asked for is not computed") {
  Tape tape;
  int left = 0, right = 0, after = 0;
  const Tensor a = tape.watch(Tensor::scalar(2)), b = tape.watch(Tensor::scalar(3));
  const Tensor y = counted(a, left) * counted(b, right);
  counted(y, after);
  CHECK(tape.gradient(y, {a})[0].item() == 3);
  CHECK(left == 1);
  CHECK(right == 0);
  CHECK(after == 0);
}

TEST_CASE("tape: ops are told which gradients are needed") {
  Tape tape;
  const Tensor a = tape.watch(Tensor::scalar(2)), b = tape.watch(Tensor::scalar(3));
  std::vector<bool> needs;
  const Tensor y = record("probe", {a, b, Tensor::scalar(1)}, Tensor::scalar(0),
                          [&](const Tensor& g, const Needs& need) -> Grads {
                            needs = {need[0], need[1], need[2]};
                            return {g, g, g};
                          });
  tape.gradient(y, {b});
  CHECK(needs == std::vector<bool>{false, true, false});
}

TEST_CASE("tape: an entry can be walked once, unless kept") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(2));
  const Tensor y = x * x;
  CHECK(tape.gradient(y, {x}, {.keep = true})[0].item() == 4);
  CHECK(tape.gradient(y, {x})[0].item() == 4);
  CHECK(error_text([&] { tape.gradient(y, {x}); }) ==
        "tape.gradient: the saved tensors of v1 = mul were given back by an earlier gradient()\n"
        "  hint  pass {.keep = true} to the earlier call, or ask for all gradients in one call");
  CHECK(tape.entries()[1].consumed);
}

TEST_CASE("tape: a target's own entry is not walked and can be used again") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::from({2, 3}, {2}));
  const Tensor middle = x * x;
  CHECK(tape.gradient(sum(middle * middle), {middle})[0].to_vector() == std::vector<Real>{8, 18});
  CHECK(tape.gradient(sum(middle), {x})[0].to_vector() == std::vector<Real>{4, 6});
}

TEST_CASE("tape: saved tensors go back to the pool when an entry is consumed") {
  Tape tape;
  const std::int64_t megabytes = 8 << 20;
  const Tensor x = tape.watch(Tensor::scalar(2));
  Tensor y = sum(square(broadcast_to(x, {megabytes / static_cast<std::int64_t>(sizeof(Real))})));
  const std::int64_t held = memory_stats().live_bytes;
  tape.gradient(y, {x});
  CHECK(memory_stats().live_bytes <= held - megabytes);
}

TEST_CASE("tape: a saved tensor that was overwritten is noticed") {
  Tape tape;
  Tensor w = Tensor::scalar(2);
  w.set_requires_grad().set_name("main.0.weight");
  const Tensor y = w * w;
  const std::uint64_t version = w.version();
  w.mutable_data()[0] = 5;
  CHECK(error_text([&] { tape.gradient(y, {w}); }) ==
        format("tape.gradient: main.0.weight, saved for the gradient, has been overwritten since: "
               "it was at version {} and is now at {}\n"
               "  in    gradient of an op outside any module\n"
               "  hint  take all gradients of a step before the optimizer changes the parameters",
               version, version + 1));
}

TEST_CASE("tape: overwriting what no gradient needs is allowed") {
  Tape tape;
  Tensor w = Tensor::scalar(2);
  w.set_requires_grad();
  const Tensor y = w + w;
  w.mutable_data()[0] = 5;
  CHECK(tape.gradient(y, {w})[0].item() == 2);
}

TEST_CASE("tape: tensors without influence are an error, or zeros if allowed") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::ones({2})), z = tape.watch(Tensor::ones({3}));
  Tensor named = Tensor::ones({4});
  named.set_requires_grad().set_name("bias");
  const Tensor y = sum(x * x);
  const std::string hint =
      " has no influence on y\n"
      "  hint  was it used before the Tape was made, or under detach() or PauseRecording? Pass "
      "{.allow_unused = true} for zeros";
  CHECK(error_text([&] { tape.gradient(y, {z}, {.keep = true}); }) ==
        "tape.gradient: a tensor of shape [3]" + hint);
  CHECK(error_text([&] { tape.gradient(y, {named}, {.keep = true}); }) ==
        "tape.gradient: bias" + hint);
  const auto g = tape.gradient(y, {x, z, named}, {.allow_unused = true});
  CHECK(g[0].to_vector() == Numbers{2, 2});
  CHECK(g[1].to_vector() == Numbers{0, 0, 0});
  CHECK(g[2].to_vector() == Numbers{0, 0, 0, 0});
}

TEST_CASE("tape: y must be one number and come from this tape") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::ones({2}));
  CHECK(error_text([&] { tape.gradient(x * x, {x}); }) ==
        "tape.gradient: y must be a single number, it has 2 elements\n"
        "  y     [2]\n"
        "  hint  reduce the loss with mean() or sum(), or give its adjoint to vjp()");
  CHECK(error_text([&] {
          tape.gradient(Tensor::scalar(1), {x});
        }).find("tape.gradient: y was not computed from anything on this tape") == 0);
  CHECK(error_text([&] { tape.gradient(sum(x).detach(), {x}); }).find("not computed") !=
        std::string::npos);
  CHECK(error_text([&] { tape.vjp(x, Tensor::ones({3}), std::vector<Tensor>{x}); }) ==
        "tape.vjp: the seed must have y's shape\n  y     [2]\n  seed  [3]");
}

TEST_CASE("tape: vjp weighs the outputs") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::from({1, 2, 3}, {3}));
  const auto g = tape.vjp(x * x, Tensor::from({1, 10, 100}, {3}), std::vector<Tensor>{x});
  CHECK(g[0].to_vector() == Numbers{2, 40, 600});
}

TEST_CASE("tape: one per thread, and each thread its own") {
  CHECK(Tape::recording() == nullptr);
  {
    Tape tape;
    CHECK(Tape::recording() == &tape);
    CHECK(error_text([] { Tape second; }) ==
          "Tape: a tape is already recording on this thread\n"
          "  hint  one tape answers many gradient() calls; end the scope of the first before "
          "starting another");
    CHECK(Tape::recording() == &tape);
    Real other = 0;
    std::thread([&] {
      Tape own;
      const Tensor x = own.watch(Tensor::scalar(3));
      other = own.gradient(x * x, {x})[0].item();
    }).join();
    CHECK(other == 6);
    CHECK(tape.entries().empty());
  }
  CHECK(Tape::recording() == nullptr);
}

TEST_CASE("tape: values of a tape that has ended are constants") {
  Tensor y;
  Tensor x = Tensor::scalar(3);
  {
    Tape tape;
    y = tape.watch(x) * x;
  }
  Tape tape;
  const Tensor z = y * y;
  CHECK(tape.entries().empty());
  tape.watch(y);
  CHECK(tape.gradient(y * y, {y})[0].item() == 18);
  CHECK(z.item() == 81);
}

TEST_CASE("tape: only what depends on a parameter or a watched input is recorded") {
  Tape tape;
  const Tensor constant = Tensor::ones({2});
  exp(constant + constant);
  CHECK(tape.entries().empty());
  Tensor w = Tensor::ones({2});
  w.set_requires_grad();
  w* constant;
  REQUIRE(tape.entries().size() == 2);
  CHECK(tape.entries()[1].inputs == std::vector<Index>{0, kNoEntry});
  w* constant;  // the leaf is entered once
  CHECK(tape.entries().size() == 3);
}

TEST_CASE("tape: PauseRecording and detach stop gradients") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(3));
  {
    const PauseRecording pause;
    CHECK(Tape::recording() == nullptr);
    { const PauseRecording again; }
    CHECK(Tape::recording() == nullptr);
    CHECK((x * x).item() == 9);
  }
  CHECK(Tape::recording() == &tape);
  CHECK(tape.entries().size() == 1);
  CHECK(tape.gradient(x.detach() * x, {x})[0].item() == 3);
}

TEST_CASE("tape: without create_graph the reverse sweep is not recorded") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(3));
  const Tensor y = tanh(x * x);
  const std::size_t before = tape.entries().size();
  tape.gradient(y, {x}, {.keep = true});
  CHECK(tape.entries().size() == before);
  tape.gradient(y, {x}, {.create_graph = true});
  CHECK(tape.entries().size() > before);
}

TEST_CASE("tape: recording goes on after an error in a gradient") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(3));
  const Tensor bad = record("bad", {x}, x.clone(), [](const Tensor&, const Needs&) -> Grads {
    throw Error("bad", "no gradient");
  });
  CHECK(error_text([&] { tape.gradient(bad, {x}); }).find("bad: no gradient") == 0);
  CHECK(Tape::recording() == &tape);
  CHECK(Context::path() == "");
  CHECK(tape.gradient(x * x, {x})[0].item() == 6);
}

TEST_CASE("tape: the same step twice has the same bits, and gradients do not add up") {
  Tensor w = Input({4, 3}).make(1);
  w.set_requires_grad();
  const Tensor x = Input({5, 3}).make(2);
  std::vector<std::uint64_t> seen;
  for (int i = 0; i < 2; ++i) {
    Tape tape;
    seen.push_back(hash(tape.gradient(sum(tanh(linear(x, w))), {w})));
  }
  CHECK(seen[0] == seen[1]);
}

TEST_CASE("tape: a chain of 100,000 entries needs no deep stack") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(1));
  Tensor y = x;
  for (int i = 0; i < 100000; ++i) y = neg(y);
  CHECK(tape.gradient(y, {x})[0].item() == 1);
}

TEST_CASE("tape: printing shows the list and where each line came from") {
  Tape tape;
  Tensor w = Tensor::ones({4, 3});
  w.set_requires_grad();
  const Tensor x = Tensor::ones({2, 3});
  Tensor loss;
  {
    const Context layer("main.0", "Linear");
    loss = mean(tanh(linear(x, w)));
  }
  const std::string expected =
      "v0 = leaf() : [4, 3]   in main.0 (Linear)\n"
      "v1 = linear(–, v0) : [2, 4]   in main.0 (Linear)\n"
      "v2 = tanh(v1) : [2, 4]   in main.0 (Linear)\n"
      "v3 = mean(v2) : []   in main.0 (Linear)\n";
  CHECK(printed(tape) == expected);
  tape.gradient(loss, {w});
  CHECK(printed(tape).find("v3 = mean(v2) : []   in main.0 (Linear)   (consumed)\n") !=
        std::string::npos);
}

TEST_CASE("tape: the Graphviz drawing") {
  Tape tape;
  const Tensor x = tape.watch(Tensor::ones({2}));
  mul(x, neg(x));
  CHECK(graphviz(tape) ==
        "digraph tape {\n"
        "  rankdir=TB; node [shape=box, fontname=\"sans-serif\"];\n"
        "  v0 [label=\"v0 = leaf\\n[2]\", style=filled, fillcolor=lightgray];\n"
        "  v1 [label=\"v1 = neg\\n[2]\"];\n"
        "  v0 -> v1;\n"
        "  v2 [label=\"v2 = mul\\n[2]\"];\n"
        "  v0 -> v2;\n"
        "  v1 -> v2;\n"
        "}\n");
}

TEST_CASE("anomaly mode names the op, the layer and the step of the first NaN or Inf") {
  const AnomalyMode mode;
  set_anomaly_step(412);
  const Context layer("critic.2", "Linear");
  const Tensor x = Tensor::from({1, 0, -1}, {3});
  CHECK(error_text([&] { log(x); }) ==
        "anomaly: the result of log is the first to hold Inf, at element 1\n"
        "  tensor  [3]\n"
        "  layer   critic.2 (Linear)\n"
        "  step    412\n"
        "  in      critic.2 (Linear)\n"
        "  hint    try a smaller learning rate or gradient clipping; a log, a division or a square "
        "root near 0 is the usual source");
  CHECK(error_text([&] { sqrt(x); }).find("sqrt is the first to hold NaN, at element 2") !=
        std::string::npos);
  try {
    log(x);
  } catch (const Error& error) {
    CHECK(error.exit_code() == 4);
  }
}

TEST_CASE("anomaly mode sees gradients too") {
  const AnomalyMode mode;
  Tape tape;
  const Tensor x = tape.watch(Tensor::scalar(0));
  Tensor y;
  {
    const Context layer("main.1", "Sqrt");
    y = sqrt(x);
  }
  const std::string text = error_text([&] { tape.gradient(y, {x}); });
  CHECK(text.find("anomaly: the ") == 0);
  CHECK(text.find("gradient of main.1 (Sqrt)") != std::string::npos);
  CHECK(text.find("step") == std::string::npos);  // nobody set one
}

TEST_CASE("without anomaly mode NaN passes") {
  CHECK(!anomaly_mode());
  CHECK(std::isnan(log(Tensor::scalar(-1)).item()));
}

}  // namespace tapestry::testing
