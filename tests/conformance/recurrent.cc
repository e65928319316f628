// Recurrent layers over sequences (T, N, features), gates in PyTorch's order.
#include "layers/rnn.h"
#include "tests/conformance/table.h"

namespace tapestry::conformance {
namespace {

Function recurrent(const char* name) {
  return [name](const Call& c) {
    const nn::Recurrence& rule = nn::recurrence(name);
    const nn::RecurrentOutput out = nn::run_sequence(
        rule, c("x", 0), {c("w_ih", 1), c("w_hh", 2), c.optional("b_ih"), c.optional("b_hh")},
        {c.optional("h0"), c.optional("c0")});
    Result result(out.h);
    result.add("h_n", out.last.h);
    if (rule.has_c) result.add("c_n", out.last.c);
    return result;
  };
}

}  // namespace

void add_recurrent(Table& table) {
  table["lstm"] = recurrent("LSTM");
  table["gru"] = recurrent("GRU");
  table["rnn_tanh"] = recurrent("RNN");
}

}  // namespace tapestry::conformance
