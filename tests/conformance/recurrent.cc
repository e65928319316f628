// Recurrent layers over sequences (T, N, features), gates in PyTorch's order.
#include "layers/rnn.h"
#include "tests/conformance/layer.h"
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

/// Whole layers, several of them and in both directions; inputs have the names of the state.
Function stacked(const char* name) {
  return [name](const Call& c) {
    const auto layer = std::make_shared<nn::Recurrent>(
        nn::recurrence(name), c.integer("input_size"), c.integer("hidden_size"),
        nn::RecurrentOptions{.num_layers = c.integer("num_layers"),
                             .bias = c.flag("bias", true),
                             .batch_first = c.flag("batch_first", false),
                             .bidirectional = c.flag("bidirectional", false)});
    Result result;
    load_inputs(c, layer, result);
    const nn::RecurrentOutput out = layer->run(c("x", 0), {c.optional("h0"), c.optional("c0")});
    result.add("y", out.h);
    result.add("h_n", out.last.h);
    if (out.last.c.defined()) result.add("c_n", out.last.c);
    return result;
  };
}

}  // namespace

void add_recurrent(Table& table) {
  table["lstm"] = recurrent("LSTM");
  table["gru"] = recurrent("GRU");
  table["rnn_tanh"] = recurrent("RNN");
  table["lstm_layers"] = stacked("LSTM");
  table["gru_layers"] = stacked("GRU");
  table["rnn_tanh_layers"] = stacked("RNN");
}

}  // namespace tapestry::conformance
