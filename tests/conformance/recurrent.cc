// Recurrent layers over sequences (T, N, features), gates in PyTorch's order.
#include <vector>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/unary.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

struct State {
  Tensor h, c;
};
/// What the input and the state contribute, cut into gates, and the state before.
using Cell = State (*)(const std::vector<Tensor>& a, const std::vector<Tensor>& b, const State& s);

State lstm(const std::vector<Tensor>& a, const std::vector<Tensor>& b, const State& s) {
  const Tensor i = sigmoid(a[0] + b[0]), f = sigmoid(a[1] + b[1]);
  const Tensor g = tanh(a[2] + b[2]), o = sigmoid(a[3] + b[3]);
  const Tensor c = f * s.c + i * g;
  return {o * tanh(c), c};
}

State gru(const std::vector<Tensor>& a, const std::vector<Tensor>& b, const State& s) {
  const Tensor r = sigmoid(a[0] + b[0]), z = sigmoid(a[1] + b[1]);
  const Tensor n = tanh(a[2] + r * b[2]);
  return {(1 - z) * n + z * s.h, {}};
}

State rnn(const std::vector<Tensor>& a, const std::vector<Tensor>& b, const State&) {
  return {tanh(a[0] + b[0]), {}};
}

Function recurrent(int gates, Cell cell) {
  return [gates, cell](const Call& c) {
    const Tensor &x = c("x", 0), &w_ih = c("w_ih", 1), &w_hh = c("w_hh", 2);
    State state{c.optional("h0"), c.optional("c0")};
    const Tensor zeros = Tensor::zeros({x.dim(1), w_hh.dim(1)});
    if (!state.h.defined()) state.h = zeros;
    if (!state.c.defined()) state.c = zeros;
    std::vector<Tensor> out;
    for (std::int64_t t = 0; t < x.dim(0); ++t) {
      const Tensor a = linear(select(x, 0, t), w_ih, c.optional("b_ih"));
      const Tensor b = linear(state.h, w_hh, c.optional("b_hh"));
      state = cell(chunk(a, gates, 1), chunk(b, gates, 1), state);
      out.push_back(state.h);
    }
    Result result(stack(out, 0));
    result.add("h_n", state.h);
    if (state.c.defined()) result.add("c_n", state.c);
    return result;
  };
}

}  // namespace

void add_recurrent(Table& table) {
  table["lstm"] = recurrent(4, lstm);
  table["gru"] = recurrent(3, gru);
  table["rnn_tanh"] = recurrent(1, rnn);
}

}  // namespace tapestry::conformance
