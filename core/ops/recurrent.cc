#include "core/ops/recurrent.h"

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/kernels/gemm.h"
#include "core/kernels/normalize.h"
#include "core/kernels/recurrent.h"
#include "core/memory.h"
#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/normalize.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"

namespace tapestry {
namespace {

// The op's inputs in the order in which it records them.
enum Input { kX, kWeightX, kWeightH, kBias, kH, kC, kNormX, kNormH, kCell, kCellBias, kInputs };
using Inputs = std::array<Tensor, kInputs>;

struct Sizes {
  std::int64_t steps, samples, features, hidden;
  std::int64_t rows() const { return steps * samples; }
  std::int64_t state() const { return samples * hidden; }
};

Sizes checked_sizes(const Inputs& x) {
  const Tensor &sequence = x[kX], &w = x[kWeightX];
  const bool ranks = sequence.rank() == 3 && w.rank() == 2;
  const Sizes n{ranks ? sequence.dim(0) : 0, ranks ? sequence.dim(1) : 0,
                ranks ? sequence.dim(2) : 0, ranks ? w.dim(0) / 4 : 0};
  const Shape state{n.samples, n.hidden}, gates{4 * n.hidden}, numbers{n.hidden};
  const auto all_norms_are = [&](bool defined) {
    return std::all_of(x.begin() + kNormX, x.end(),
                       [&](const Tensor& norm) { return norm.defined() == defined; });
  };
  const bool norms =
      all_norms_are(false) ||
      (all_norms_are(true) && x[kNormX].shape() == gates && x[kNormH].shape() == gates &&
       x[kCell].shape() == numbers && x[kCellBias].shape() == numbers);
  if (ranks && n.steps > 0 && w.shape() == Shape{4 * n.hidden, n.features} &&
      x[kWeightH].shape() == Shape{4 * n.hidden, n.hidden} && x[kH].shape() == state &&
      x[kC].shape() == state && norms && (!x[kBias].defined() || x[kBias].shape() == gates))
    return n;
  throw Error("lstm", "its inputs do not fit together")
      .shape("x", sequence, "(T ≥ 1, N, in)")
      .shape("weights.x", w, "(4·hidden, in)")
      .shape("weights.h", x[kWeightH], "(4·hidden, hidden)")
      .shape("weights.bias", x[kBias], "(4·hidden)")
      .shape("h", x[kH], "(N, hidden)")
      .shape("c", x[kC], "(N, hidden)")
      .shape("norms.x", x[kNormX], "(4·hidden)")
      .shape("norms.h", x[kNormH], "(4·hidden)")
      .shape("norms.cell", x[kCell], "(hidden)")
      .shape("norms.cell_bias", x[kCellBias], "(hidden)");
}

// A LayerNorm of many rows of `width` numbers, some at a time; keeps their statistics.
class RowNorm {
 public:
  RowNorm(std::int64_t rows, std::int64_t width) : rows_(rows), width_(width), moments_(2 * rows) {}

  // y = γ·x̂ + β of `count` rows from `first` on.
  void apply(std::int64_t first, std::int64_t count, const Real* x, const Real* gamma,
             const Real* beta, Real eps, Real* y) {
    Scratch<double> variance(count);
    kernels::norm_forward(x, y, view(count), affine(gamma, beta), static_cast<double>(eps), true,
                          moments(first), variance.data());
  }

  // From the gradient of these rows of y that of x; adds those of γ and β to theirs. dx may be x.
  void backward(std::int64_t first, std::int64_t count, const Real* g, const Real* x,
                const Real* gamma, Real* dx, Tensor& dgamma, Tensor& dbeta) {
    const auto run = [&](Real* to_x, Real* to_gamma, Real* to_beta) {
      kernels::norm_backward(g, x, to_x, view(count), affine(gamma, nullptr), moments(first),
                             kernels::NormKind::kCentered, to_gamma, to_beta);
    };
    if (dgamma.defined() || dbeta.defined()) {
      Scratch<Real> now(2 * width_);
      Real *of_gamma = dgamma.defined() ? now.data() : nullptr,
           *of_beta = dbeta.defined() ? now.data() + width_ : nullptr;
      run(nullptr, of_gamma, of_beta);
      const auto add = [&](const Real* from, Tensor& to) {
        if (from == nullptr) return;
        Real* sum = to.mutable_data().data();
        for (std::int64_t j = 0; j < width_; ++j) sum[j] += from[j];
      };
      add(of_gamma, dgamma);
      add(of_beta, dbeta);
    }
    run(dx, nullptr, nullptr);
  }

 private:
  kernels::NormView view(std::int64_t count) const {
    return {.outer = 1, .kept = count, .inner = width_};
  }
  kernels::AffineView affine(const Real* gamma, const Real* beta) const {
    return {.gamma = gamma, .beta = beta, .kept = width_, .inner = 1};
  }
  kernels::NormMoments moments(std::int64_t first) {
    return {moments_.data() + first, moments_.data() + rows_ + first};
  }

  const std::int64_t rows_, width_;
  Scratch<double> moments_;
};

// What norms add to an LSTM: W_x·x and W_h·h, (T, N, 4·hidden), before them, and their statistics.
struct Norms {
  explicit Norms(const Sizes& n)
      : from_x(Tensor::empty({n.steps, n.samples, 4 * n.hidden})),
        from_h(Tensor::empty(from_x.shape())),
        x(n.rows(), 4 * n.hidden),
        h(n.rows(), 4 * n.hidden),
        cell(n.rows(), n.hidden) {}
  Tensor from_x, from_h;
  RowNorm x, h, cell;
};

// What a gradient needs: the gates after σ and tanh, and what o multiplied; all (T, N, …).
struct Kept {
  Kept(const Sizes& sizes, const Inputs& x)
      : n(sizes),
        gates(Tensor::empty({n.steps, n.samples, 4 * n.hidden})),
        top(Tensor::empty({n.steps, n.samples, n.hidden})) {
    std::transform(x.begin(), x.end(), inputs.begin(), [](const Tensor& t) { return Saved(t); });
    if (x[kNormX].defined()) norms = std::make_unique<Norms>(n);
  }

  Inputs read() const {
    Inputs x;
    std::transform(inputs.begin(), inputs.end(), x.begin(), [](const Saved& s) { return s(); });
    return x;
  }

  const Sizes n;
  std::array<Saved, kInputs> inputs;
  Tensor gates, top;
  std::unique_ptr<Norms> norms;
};

// nullptr where there is none.
const Real* numbers(const Tensor& x) { return x.defined() ? x.data().data() : nullptr; }

Tensor forward(Kept& k, const Inputs& x, Real eps) {
  const auto [steps, samples, features, hidden] = k.n;
  const std::int64_t state = k.n.state();
  Norms* norms = k.norms.get();
  Tensor y = Tensor::empty({2, steps, samples, hidden});
  Real *h = y.mutable_data().data(), *c = h + steps * state;
  Real *gates = k.gates.mutable_data().data(), *top = k.top.mutable_data().data();
  const Real* bias = numbers(x[kBias]);

  // What the inputs give to the gates does not depend on the state: one product for all steps.
  Real* from_x = norms ? norms->from_x.mutable_data().data() : gates;
  kernels::gemm({.m = k.n.rows(),
                 .n = 4 * hidden,
                 .k = features,
                 .transpose_b = true,
                 .column_bias = norms ? nullptr : bias},
                numbers(x[kX]), numbers(x[kWeightX]), from_x);
  if (norms) norms->x.apply(0, k.n.rows(), from_x, numbers(x[kNormX]), bias, eps, gates);

  const kernels::GemmShape product{
      .m = samples, .n = 4 * hidden, .k = hidden, .transpose_b = true, .accumulate = !norms};
  Real* from_h = norms ? norms->from_h.mutable_data().data() : gates;
  Scratch<Real> normed(norms ? 4 * state : 1);
  const Real *last_h = numbers(x[kH]), *last_c = numbers(x[kC]);
  for (std::int64_t t = 0; t < steps; ++t) {
    kernels::gemm(product, last_h, numbers(x[kWeightH]), from_h);
    if (norms)
      norms->h.apply(t * samples, samples, from_h, numbers(x[kNormH]), nullptr, eps, normed.data());
    kernels::lstm_gates(gates, norms ? normed.data() : nullptr, last_c, c, samples, hidden);
    if (norms)
      norms->cell.apply(t * samples, samples, c, numbers(x[kCell]), numbers(x[kCellBias]), eps,
                        top);
    kernels::lstm_output(gates, norms ? top : c, top, h, samples, hidden);
    last_h = h, last_c = c;
    h += state, c += state, top += state;
    gates += 4 * state, from_h += 4 * state;
  }
  return y;
}

// Back through time with the kernels. The gradients of x, of weights and of the bias are one
// product or sum over all steps.
Grads fused(Kept& k, const Inputs& x, const Tensor& y, const Tensor& g, const Needs& need) {
  const auto [steps, samples, features, hidden] = k.n;
  const std::int64_t state = k.n.state(), all = steps * state;
  Norms* norms = k.norms.get();
  const Real *gh = g.data().data(), *gc = gh + all;
  const Real *h = y.data().data(), *c = h + all;
  const Real *gates = k.gates.data().data(), *top = k.top.data().data();
  const Real* from_h = norms ? norms->from_h.data().data() : nullptr;
  // The gradients of the gates, of W_x·x and of W_h·h take the place of their values, number by
  // number, if these are not needed again.
  const auto in_place_of = [&](const Tensor& values) {
    return need.is_last() ? values : Tensor::empty(values.shape());
  };
  Tensor of_gates = in_place_of(k.gates);
  Tensor of_h = norms ? in_place_of(norms->from_h) : of_gates;
  Real *dgates = of_gates.mutable_data().data(), *dfrom_h = of_h.mutable_data().data();
  Grads grads(kInputs);
  grads[kH] = Tensor::zeros({samples, hidden});
  grads[kC] = Tensor::zeros({samples, hidden});
  Real *dh = grads[kH].mutable_data().data(), *dc = grads[kC].mutable_data().data();
  for (const Input which : {kNormX, kNormH, kCell, kCellBias}) {
    if (need[which]) grads[which] = Tensor::zeros(x[which].shape());
  }
  Tensor no_beta;
  // Of one step, the gradient of what o multiplied, and of c'.
  Scratch<Real> dtop(state), through(state);
  for (std::int64_t t = steps; t-- > 0;) {
    const Real* before = t > 0 ? c + (t - 1) * state : numbers(x[kC]);
    const Real* gates_now = gates + 4 * t * state;
    Real *dgates_now = dgates + 4 * t * state, *dfrom_h_now = dfrom_h + 4 * t * state;
    kernels::lstm_output_grad(gates_now, top + t * state, gh + t * state, dh, dgates_now,
                              norms ? dtop.data() : through.data(), samples, hidden);
    if (norms) {
      norms->cell.backward(t * samples, samples, dtop.data(), c + t * state, numbers(x[kCell]),
                           through.data(), grads[kCell], grads[kCellBias]);
    }
    kernels::lstm_gates_grad(gates_now, before, gc + t * state, through.data(), dc, dgates_now,
                             samples, hidden);
    if (norms) {
      norms->h.backward(t * samples, samples, dgates_now, from_h + 4 * t * state,
                        numbers(x[kNormH]), dfrom_h_now, grads[kNormH], no_beta);
    }
    if (t > 0 || need[kH])
      kernels::gemm({.m = samples, .n = hidden, .k = 4 * hidden}, dfrom_h_now, numbers(x[kWeightH]),
                    dh);
  }
  if (need[kWeightH]) {
    grads[kWeightH] = Tensor::empty({4 * hidden, hidden});
    kernels::GemmShape shape{.m = 4 * hidden, .n = hidden, .k = samples, .transpose_a = true};
    Real* dw = grads[kWeightH].mutable_data().data();
    kernels::gemm(shape, dfrom_h, numbers(x[kH]), dw);
    shape.k = (steps - 1) * samples;
    shape.accumulate = true;
    kernels::gemm(shape, dfrom_h + 4 * state, h, dw);
  }
  if (need[kBias] && x[kBias].defined()) grads[kBias] = sum(of_gates, {0, 1});
  if (norms) {
    Tensor of_x = in_place_of(norms->from_x);
    norms->x.backward(0, k.n.rows(), dgates, norms->from_x.data().data(), numbers(x[kNormX]),
                      of_x.mutable_data().data(), grads[kNormX], no_beta);
    dgates = of_x.mutable_data().data();
    of_gates = of_x;
  }
  if (need[kWeightX]) {
    grads[kWeightX] = Tensor::empty({4 * hidden, features});
    kernels::gemm({.m = 4 * hidden, .n = features, .k = k.n.rows(), .transpose_a = true}, dgates,
                  numbers(x[kX]), grads[kWeightX].mutable_data().data());
  }
  if (need[kX]) {
    grads[kX] = Tensor::empty({steps, samples, features});
    kernels::gemm({.m = k.n.rows(), .n = features, .k = 4 * hidden}, dgates, numbers(x[kWeightX]),
                  grads[kX].mutable_data().data());
  }
  return grads;
}

// The definition in ops.
Tensor composed(const Inputs& x, Real eps) {
  Tensor h = x[kH], c = x[kC];
  const bool normed = x[kNormX].defined();
  const auto layer_norm = [&](const Tensor& a, const Tensor& gamma, const Tensor& beta) {
    return normalize(
        a, per_row(a.shape(), 1),
        {.eps = eps, .affine = {gamma, beta, per_position(a.shape(), 1)}, .allow_single = true});
  };
  const Tensor from_x = normed ? layer_norm(linear(x[kX], x[kWeightX]), x[kNormX], x[kBias])
                               : linear(x[kX], x[kWeightX], x[kBias]);
  std::vector<Tensor> all_h, all_c;
  for (std::int64_t t = 0; t < x[kX].dim(0); ++t) {
    Tensor from_h = linear(h, x[kWeightH]);
    if (normed) from_h = layer_norm(from_h, x[kNormH], {});
    const std::vector<Tensor> a = chunk(select(from_x, 0, t) + from_h, 4, 1);
    c = sigmoid(a[1]) * c + sigmoid(a[0]) * tanh(a[2]);
    h = sigmoid(a[3]) * tanh(normed ? layer_norm(c, x[kCell], x[kCellBias]) : c);
    all_h.push_back(h), all_c.push_back(c);
  }
  return stack(std::array{stack(all_h, 0), stack(all_c, 0)}, 0);
}

// For gradients of gradients: the definition is recorded once more, and its gradient with it.
Grads recorded(const Kept& k, Real eps, const Tensor& g, const Needs& need) {
  Inputs x = k.read();
  std::vector<Tensor> wanted;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!x[i].defined() || !need[i]) continue;
    // Entries of their own, because an input may depend on another one.
    x[i] = reshape(x[i], x[i].shape());
    wanted.push_back(x[i]);
  }
  const std::vector<Tensor> found = Tape::recording()->vjp(
      composed(x, eps), g, wanted, {.create_graph = true, .allow_unused = true});
  Grads grads(kInputs);
  for (std::size_t i = 0, next = 0; i < x.size(); ++i) {
    if (x[i].defined() && need[i]) grads[i] = found[next++];
  }
  return grads;
}

}  // namespace

Tensor lstm(const Tensor& x, const LstmWeights& weights, const Tensor& h, const Tensor& c,
            const LstmNorms& norms) {
  const Inputs inputs{x, weights.x, weights.h, weights.bias, h,
                      c, norms.x,   norms.h,   norms.cell,   norms.cell_bias};
  const Sizes n = checked_sizes(inputs);
  // The gradient of a norm of one or two numbers is mostly rounding: `normalize` knows how.
  if (norms.x.defined() && n.hidden <= 2) return composed(inputs, norms.eps);
  const auto kept = std::make_shared<Kept>(n, inputs);
  const Tensor y = forward(*kept, inputs, norms.eps);
  return record("lstm", inputs, y,
                [kept, y = Saved(y), eps = norms.eps](const Tensor& g, const Needs& need) -> Grads {
                  return Tape::recording() ? recorded(*kept, eps, g, need)
                                           : fused(*kept, kept->read(), y(), g, need);
                });
}

}  // namespace tapestry
