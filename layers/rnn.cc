#include "layers/rnn.h"

#include <array>
#include <cmath>

#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/recurrent.h"
#include "core/ops/unary.h"

namespace tapestry::nn {

// Rules
// ----------------------------------------------------------------------------------------------------------------

namespace {

RecurrentState rnn_step(const std::vector<Tensor>& a, const std::vector<Tensor>& b,
                        const RecurrentState&) {
  return {tanh(a[0] + b[0]), {}};
}

RecurrentState gru_step(const std::vector<Tensor>& a, const std::vector<Tensor>& b,
                        const RecurrentState& before) {
  const Tensor r = sigmoid(a[0] + b[0]), z = sigmoid(a[1] + b[1]);
  const Tensor n = tanh(a[2] + r * b[2]);
  return {(1 - z) * n + z * before.h, {}};
}

// A rule given for one step, from the gates' a and b and the state before.
using Step = RecurrentState (*)(const std::vector<Tensor>& a, const std::vector<Tensor>& b,
                                const RecurrentState& before);
template <Step step, int gates>
RecurrentOutput step_by_step(const Tensor& x, const RecurrentWeights& w,
                             const RecurrentState& first) {
  // What the inputs contribute does not depend on the state: one product for all steps.
  const Tensor from_inputs = linear(x, w.w_ih, w.b_ih);
  RecurrentState state = first;
  std::vector<Tensor> all;
  for (std::int64_t t = 0; t < from_inputs.dim(0); ++t) {
    state = step(chunk(select(from_inputs, 0, t), gates, 1),
                 chunk(linear(state.h, w.w_hh, w.b_hh), gates, 1), state);
    all.push_back(state.h);
  }
  return {stack(all, 0), state};
}

// Of lstm()'s result.
RecurrentOutput output_of(const Tensor& y) {
  const Tensor h = select(y, 0, 0);
  return {h, {select(h, 0, -1), select(select(y, 0, 1), 0, -1)}};
}

RecurrentOutput lstm_sequence(const Tensor& x, const RecurrentWeights& w,
                              const RecurrentState& first) {
  const Tensor bias = !w.b_ih.defined() ? w.b_hh : !w.b_hh.defined() ? w.b_ih : w.b_ih + w.b_hh;
  return output_of(lstm(x, {w.w_ih, w.w_hh, bias}, first.h, first.c));
}

constexpr std::array<Recurrence, 3> kRules{{{"RNN", 1, false, step_by_step<rnn_step, 1>},
                                            {"LSTM", 4, true, lstm_sequence},
                                            {"GRU", 3, false, step_by_step<gru_step, 3>}}};

void check_weights(std::string_view layer, int gates, const Tensor& w_ih, const Tensor& w_hh) {
  if (w_ih.rank() != 2 || w_hh.rank() != 2 || w_hh.dim(0) != gates * w_hh.dim(1) ||
      w_ih.dim(0) != w_hh.dim(0)) {
    throw Error(layer, "its two weights must have {} rows for each hidden number", gates)
        .shape("w_ih", w_ih, "(gates·hidden, in)")
        .shape("w_hh", w_hh, "(gates·hidden, hidden)");
  }
}

/// `x` is one step, (N, in), or a sequence of them.
void check_input(std::string_view layer, const Tensor& x, int rank, std::int64_t in) {
  if (x.rank() == rank && x.dim(-1) == in && x.dim(0) > 0) return;
  throw Error(layer, "was made for inputs of {} features, in {} of at least one {}", in,
              rank == 3 ? "sequences" : "batches", rank == 3 ? "step" : "sample")
      .shape("input", x, rank == 3 ? "(T, N, in)" : "(N, in)");
}

Tensor given_or_zeros(std::string_view layer, std::string_view what, const Tensor& given,
                      const Shape& shape) {
  if (!given.defined()) return Tensor::zeros(shape);
  if (!(given.shape() == shape)) {
    throw Error(layer, "the state {} must have a row of {} numbers for each of {} samples", what,
                shape[1], shape[0])
        .shape(what, given, "(N, hidden)");
  }
  return given;
}

RecurrentState checked_state(std::string_view layer, const RecurrentState& state,
                             std::int64_t samples, std::int64_t hidden, bool has_c) {
  const Shape shape{samples, hidden};
  return {given_or_zeros(layer, "h", state.h, shape),
          has_c ? given_or_zeros(layer, "c", state.c, shape) : Tensor{}};
}

RecurrentState one_step(const Recurrence& rule, const Tensor& x, const RecurrentState& state,
                        const RecurrentWeights& w) {
  check_weights(rule.name, rule.gates, w.w_ih, w.w_hh);
  check_input(rule.name, x, 2, w.w_ih.dim(1));
  const RecurrentState before =
      checked_state(rule.name, state, x.dim(0), w.w_hh.dim(1), rule.has_c);
  return rule.sequence(unsqueeze(x, {0}), w, before).last;
}

}  // namespace

const Recurrence& recurrence(std::string_view name) {
  for (const Recurrence& rule : kRules) {
    if (rule.name == name) return rule;
  }
  throw Error("recurrence", "there is no recurrent layer \"{}\"", name).hint("use RNN, LSTM, GRU");
}

RecurrentState rnn_cell(const Tensor& x, const RecurrentState& state, const RecurrentWeights& w) {
  return one_step(recurrence("RNN"), x, state, w);
}
RecurrentState lstm_cell(const Tensor& x, const RecurrentState& state, const RecurrentWeights& w) {
  return one_step(recurrence("LSTM"), x, state, w);
}
RecurrentState gru_cell(const Tensor& x, const RecurrentState& state, const RecurrentWeights& w) {
  return one_step(recurrence("GRU"), x, state, w);
}

RecurrentOutput run_sequence(const Recurrence& rule, const Tensor& x, const RecurrentWeights& w,
                             const RecurrentState& first) {
  check_weights(rule.name, rule.gates, w.w_ih, w.w_hh);
  check_input(rule.name, x, 3, w.w_ih.dim(1));
  return rule.sequence(x, w, checked_state(rule.name, first, x.dim(1), w.w_hh.dim(1), rule.has_c));
}

// Layers
// ---------------------------------------------------------------------------------------------------------------

namespace {

void check_sizes(std::string_view layer, std::int64_t in, std::int64_t hidden) {
  if (in < 1 || hidden < 1)
    throw Error(layer, "needs at least one input and one hidden number, got {} and {}", in, hidden);
}

Start default_start(std::int64_t hidden) {
  const Real bound = 1 / std::sqrt(static_cast<Real>(hidden));
  return Start::uniform(-bound, bound);
}

}  // namespace

RecurrentCell::RecurrentCell(const Recurrence& rule, std::int64_t in, std::int64_t hidden,
                             const RecurrentCellOptions& options)
    : rule_(&rule), kind_(std::string(rule.name) + "Cell") {
  check_sizes(kind_, in, hidden);
  const std::int64_t rows = rule.gates * hidden;
  weights_.w_ih = parameter("weight_ih", {rows, in}, default_start(hidden));
  weights_.w_hh = parameter("weight_hh", {rows, hidden}, default_start(hidden));
  if (!options.bias) return;
  weights_.b_ih = parameter("bias_ih", {rows}, default_start(hidden));
  weights_.b_hh = parameter("bias_hh", {rows}, default_start(hidden));
}

std::string RecurrentCell::describe() const {
  return format("{}({}, {}{})", kind_, weights_.w_ih.dim(1), weights_.w_hh.dim(1),
                weights_.b_ih.defined() ? "" : ", no bias");
}

RecurrentState RecurrentCell::operator()(const Tensor& x, const RecurrentState& state) {
  const Context context(local_name(), kind());
  require_values();
  return one_step(*rule_, x, state, weights_);
}

RecurrentCell RNNCell(std::int64_t in, std::int64_t hidden, const RecurrentCellOptions& options) {
  return RecurrentCell(recurrence("RNN"), in, hidden, options);
}
RecurrentCell LSTMCell(std::int64_t in, std::int64_t hidden, const RecurrentCellOptions& options) {
  return RecurrentCell(recurrence("LSTM"), in, hidden, options);
}
RecurrentCell GRUCell(std::int64_t in, std::int64_t hidden, const RecurrentCellOptions& options) {
  return RecurrentCell(recurrence("GRU"), in, hidden, options);
}

Recurrent::Recurrent(const Recurrence& rule, std::int64_t in, std::int64_t hidden,
                     const RecurrentOptions& options)
    : rule_(&rule), in_(in), hidden_(hidden), options_(options) {
  check_sizes(rule.name, in, hidden);
  if (options.num_layers < 1)
    throw Error(rule.name, "needs at least one layer, got {}", options.num_layers);
  const std::int64_t rows = rule.gates * hidden;
  const Start start = default_start(hidden);
  for (int layer = 0; layer < options.num_layers; ++layer) {
    const std::int64_t features = layer == 0 ? in : directions() * hidden;
    for (int direction = 0; direction < directions(); ++direction) {
      const std::string suffix = format("_l{}{}", layer, direction == 0 ? "" : "_reverse");
      RecurrentWeights w{parameter("weight_ih" + suffix, {rows, features}, start),
                         parameter("weight_hh" + suffix, {rows, hidden}, start)};
      if (options.bias) {
        w.b_ih = parameter("bias_ih" + suffix, {rows}, start);
        w.b_hh = parameter("bias_hh" + suffix, {rows}, start);
      }
      weights_.push_back(std::move(w));
    }
  }
}

std::string Recurrent::describe() const {
  return format("{}({}, {}", kind(), in_, hidden_) +
         (options_.num_layers == 1 ? "" : format(", {} layers", options_.num_layers)) +
         (options_.bidirectional ? ", bidirectional" : "") +
         (options_.batch_first ? ", batch first" : "") + (options_.bias ? ")" : ", no bias)");
}

Cost Recurrent::cost(const Shape& input, const Shape&) const {
  std::int64_t products = 0;
  for (const RecurrentWeights& w : weights_) products += w.w_ih.size() + w.w_hh.size();
  return {input[0] * input[1] * products, ""};
}

RecurrentOutput Recurrent::run(const Tensor& x, const RecurrentState& first) {
  const Context context(local_name(), kind());
  require_values();
  return sequence(x, first);
}

RecurrentOutput Recurrent::sequence(const Tensor& x, const RecurrentState& first) const {
  if (x.rank() != 3 || x.dim(2) != in_) {
    throw Error(kind(), "was made for sequences of {} features", in_)
        .shape("input", x, options_.batch_first ? "(N, T, in)" : "(T, N, in)");
  }
  const std::int64_t samples = x.dim(options_.batch_first ? 0 : 1);
  const Shape states{static_cast<std::int64_t>(weights_.size()), samples, hidden_};
  const auto check_state = [&](std::string_view name, const Tensor& state) {
    if (!state.defined() || state.shape() == states) return;
    throw Error(kind(), "the state {} must have {} rows of {} numbers for each of {} samples", name,
                states[0], hidden_, samples)
        .shape(name, state, "(layers·directions, N, hidden)");
  };
  check_state("h", first.h);
  if (rule_->has_c) check_state("c", first.c);

  Tensor y = options_.batch_first ? transpose(x, 0, 1) : x;
  std::vector<Tensor> last_h, last_c;
  for (std::size_t at = 0; at < weights_.size();) {
    std::vector<Tensor> both;
    for (int direction = 0; direction < directions(); ++direction, ++at) {
      const auto row = [&](const Tensor& state) {
        return state.defined() ? select(state, 0, static_cast<std::int64_t>(at)) : Tensor();
      };
      const bool reverse = direction == 1;
      RecurrentOutput out = run_sequence(*rule_, reverse ? flip(y, {0}) : y, weights_[at],
                                         {row(first.h), row(first.c)});
      both.push_back(reverse ? flip(out.h, {0}) : out.h);
      last_h.push_back(out.last.h);
      if (rule_->has_c) last_c.push_back(out.last.c);
    }
    y = both.size() == 1 ? both[0] : concat(both, 2);
  }
  return {options_.batch_first ? transpose(y, 0, 1) : y,
          {stack(last_h, 0), rule_->has_c ? stack(last_c, 0) : Tensor()}};
}

Recurrent RNN(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options) {
  return Recurrent(recurrence("RNN"), in, hidden, options);
}
Recurrent LSTM(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options) {
  return Recurrent(recurrence("LSTM"), in, hidden, options);
}
Recurrent GRU(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options) {
  return Recurrent(recurrence("GRU"), in, hidden, options);
}

LayerNormLSTMCell::LayerNormLSTMCell(std::int64_t in, std::int64_t hidden) {
  check_sizes(kind(), in, hidden);
  w_ih_ = parameter("weight_ih", {4 * hidden, in}, default_start(hidden));
  w_hh_ = parameter("weight_hh", {4 * hidden, hidden}, default_start(hidden));
  bias_ = parameter("bias", {4 * hidden}, Start::constant(0));
  // One shift, b, is enough for the sum of two norms.
  norm_i_ = child("layernorm_i", LayerNorm({4 * hidden}, {.bias = false}));
  norm_h_ = child("layernorm_h", LayerNorm({4 * hidden}, {.bias = false}));
  norm_c_ = child("layernorm_c", LayerNorm({hidden}));
}

std::string LayerNormLSTMCell::describe() const {
  return format("LayerNormLSTMCell({}, {})", w_ih_.dim(1), w_hh_.dim(1));
}

RecurrentState LayerNormLSTMCell::operator()(const Tensor& x, const RecurrentState& state) {
  check_input(kind(), x, 2, w_ih_.dim(1));
  return run(unsqueeze(x, {0}), state).last;
}

RecurrentOutput LayerNormLSTMCell::run(const Tensor& x, const RecurrentState& first) {
  const Context context(local_name(), kind());
  require_values();
  check_input(kind(), x, 3, w_ih_.dim(1));
  const RecurrentState state = checked_state(kind(), first, x.dim(1), w_hh_.dim(1), true);
  const std::vector<Tensor> cell = norm_c_->parameters();
  return output_of(lstm(x, {w_ih_, w_hh_, bias_}, state.h, state.c,
                        {norm_i_->parameters()[0], norm_h_->parameters()[0], cell[0], cell[1]}));
}

}  // namespace tapestry::nn
