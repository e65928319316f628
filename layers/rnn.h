// Recurrent layers: one rule applied from step to step, as functions, as cells and over whole
// sequences. Gate order and names are PyTorch's.
#ifndef TAPESTRY_LAYERS_RNN_H_
#define TAPESTRY_LAYERS_RNN_H_

#include <string>
#include <string_view>
#include <vector>

#include "layers/module.h"
#include "layers/norm.h"

namespace tapestry::nn {

/// What a recurrent layer remembers, each (N, hidden); undefined means zeros. c is the LSTM's.
struct RecurrentState {
  Tensor h = {}, c = {};
};

/// Shapes: w_ih (gates·hidden, in), w_hh (gates·hidden, hidden), biases (gates·hidden) or
/// undefined.
struct RecurrentWeights {
  Tensor w_ih, w_hh, b_ih = {}, b_hh = {};
};

/// One step for x (N, in). With a = W_ih·x + b_ih and b = W_hh·h + b_hh: h' = tanh(a + b). Throws
/// Error when shapes do not fit; so do the other steps. Elman 1990.
RecurrentState rnn_cell(const Tensor& x, const RecurrentState& state, const RecurrentWeights& w);
/// Gates i, f, g, o: c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'), each gate a + b. Hochreiter &
/// Schmidhuber 1997; forget gate Gers et al. 2000.
RecurrentState lstm_cell(const Tensor& x, const RecurrentState& state, const RecurrentWeights& w);
/// Gates r, z, n: h' = (1 − z)·n + z·h with r = σ(a_r + b_r), z = σ(a_z + b_z), n = tanh(a_n + r ·
/// b_n): the reset gate multiplies W_hh·h + b_hh, as in cuDNN. Cho et al. 2014.
RecurrentState gru_cell(const Tensor& x, const RecurrentState& state, const RecurrentWeights& w);

/// All h of a sequence, (T, N, hidden), and the state after its last step.
struct RecurrentOutput {
  Tensor h;
  RecurrentState last;
};

/// One of the three rules above.
struct Recurrence {
  std::string_view name;
  int gates;
  bool has_c;
  /// Runs over x (T, N, in) from a state whose tensors are defined.
  RecurrentOutput (*sequence)(const Tensor& x, const RecurrentWeights& w,
                              const RecurrentState& first);
};
/// "RNN", "LSTM", "GRU"; throws Error with the list for anything else.
const Recurrence& recurrence(std::string_view name);

/// Runs a rule over x (T, N, in), from `first`. Throws Error for an empty sequence.
RecurrentOutput run_sequence(const Recurrence& rule, const Tensor& x, const RecurrentWeights& w,
                             const RecurrentState& first = {});

struct RecurrentCellOptions {
  bool bias = true;
};

/// A rule with its weights, one step at a time. State: weight_ih (gates·hidden, in), weight_hh
/// (gates·hidden, hidden), bias_ih, bias_hh (gates·hidden). Start: U(±1/√hidden), as PyTorch.
class RecurrentCell final : public Module {
 public:
  RecurrentCell(const Recurrence& rule, std::int64_t in, std::int64_t hidden,
                const RecurrentCellOptions& options = {});
  std::string_view kind() const override { return kind_; }
  std::string describe() const override;
  /// Shapes: x (N, in), state (N, hidden).
  RecurrentState operator()(const Tensor& x, const RecurrentState& state = {});

 private:
  const Recurrence* rule_;
  std::string kind_;
  RecurrentWeights weights_;
};
RecurrentCell RNNCell(std::int64_t in, std::int64_t hidden,
                      const RecurrentCellOptions& options = {});
RecurrentCell LSTMCell(std::int64_t in, std::int64_t hidden,
                       const RecurrentCellOptions& options = {});
RecurrentCell GRUCell(std::int64_t in, std::int64_t hidden,
                      const RecurrentCellOptions& options = {});

struct RecurrentOptions {
  int num_layers = 1;          // each fed with all h of the one below
  bool bias = true;            // two of them, as PyTorch
  bool batch_first = false;    // (N, T, …) instead of (T, N, …)
  bool bidirectional = false;  // each layer also from the end; both h side by side
};

/// A rule over sequences, in any number of layers and in one direction or both (D = 1 or 2).
/// Shapes: (T, N, in) → (T, N, D·hidden), or with batch_first (N, T, in) → (N, T, D·hidden). State:
/// weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 as RecurrentCell, the same with _reverse for
/// the other direction, then l1, …, whose weight_ih is (gates·hidden, D·hidden).
class Recurrent final : public UnaryModule {
 public:
  Recurrent(const Recurrence& rule, std::int64_t in, std::int64_t hidden,
            const RecurrentOptions& options = {});
  std::string_view kind() const override { return rule_->name; }
  std::string describe() const override;
  Cost cost(const Shape& input, const Shape& output) const override;
  /// From a given state; returns all h of the last layer and the last state of every layer and
  /// direction: (layers·D, N, hidden), in the order of the weights, whatever batch_first says.
  RecurrentOutput run(const Tensor& x, const RecurrentState& first = {});

 protected:
  Tensor forward(const Tensor& x) override { return sequence(x, {}).h; }

 private:
  int directions() const { return options_.bidirectional ? 2 : 1; }
  RecurrentOutput sequence(const Tensor& x, const RecurrentState& first) const;

  const Recurrence* rule_;
  std::int64_t in_, hidden_;
  RecurrentOptions options_;
  std::vector<RecurrentWeights> weights_;  // layer by layer, forward before reverse
};
Recurrent RNN(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options = {});
Recurrent LSTM(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options = {});
Recurrent GRU(std::int64_t in, std::int64_t hidden, const RecurrentOptions& options = {});

/// LSTM whose gates are LN(W_ih·x) + LN(W_hh·h) + b, and whose new c passes a LayerNorm on its way
/// to h: h' = σ(o)·tanh(LN(c')). State: weight_ih, weight_hh, bias (4·hidden), layernorm_i.weight,
/// layernorm_h.weight (4·hidden), layernorm_c.weight, layernorm_c.bias (hidden). Ba, Kiros, Hinton
/// 2016.
class LayerNormLSTMCell final : public Module {
 public:
  LayerNormLSTMCell(std::int64_t in, std::int64_t hidden);
  std::string_view kind() const override { return "LayerNormLSTMCell"; }
  std::string describe() const override;
  RecurrentState operator()(const Tensor& x, const RecurrentState& state = {});
  /// Over a sequence x (T, N, in); as T steps, but faster.
  RecurrentOutput run(const Tensor& x, const RecurrentState& first = {});

 private:
  Tensor w_ih_, w_hh_, bias_;
  Child<LayerNorm> norm_i_, norm_h_, norm_c_;
};

}  // namespace tapestry::nn

#endif  // TAPESTRY_LAYERS_RNN_H_
