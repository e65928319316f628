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
enum Input { kFromInputs, kWeight, kBias, kH, kC, kHidden, kCell, kCellBias, kInputs };
using Inputs = std::array<Tensor, kInputs>;

struct Sizes {
  std::int64_t steps, samples, hidden;
  std::int64_t state() const { return samples * hidden; }
};

Sizes checked_sizes(const Inputs& x) {
  const Tensor &from_inputs = x[kFromInputs], &w = x[kWeight];
  const bool ranks = from_inputs.rank() == 3 && w.rank() == 2;
  const Sizes n{ranks ? from_inputs.dim(0) : 0, ranks ? from_inputs.dim(1) : 0,
                ranks ? w.dim(1) : 0};
  const Shape state{n.samples, n.hidden}, gates{4 * n.hidden};
  const auto all_norms_are = [&](bool defined) {
    return std::all_of(x.begin() + kHidden, x.end(),
                       [&](const Tensor& norm) { return norm.defined() == defined; });
  };
  const bool norms = all_norms_are(false) || (all_norms_are(true) && x[kHidden].shape() == gates &&
                                              x[kCell].shape() == Shape{n.hidden} &&
                                              x[kCellBias].shape() == Shape{n.hidden});
  if (ranks && n.steps > 0 && from_inputs.dim(2) == 4 * n.hidden && w.dim(0) == 4 * n.hidden &&
      x[kH].shape() == state && x[kC].shape() == state && norms &&
      (!x[kBias].defined() || x[kBias].shape() == gates))
    return n;
  throw Error("lstm", "its inputs do not fit together")
      .shape("from_inputs", from_inputs, "(T ≥ 1, N, 4·hidden)")
      .shape("w_hh", w, "(4·hidden, hidden)")
      .shape("b_hh", x[kBias], "(4·hidden)")
      .shape("h", x[kH], "(N, hidden)")
      .shape("c", x[kC], "(N, hidden)")
      .shape("norms.hidden", x[kHidden], "(4·hidden)")
      .shape("norms.cell", x[kCell], "(hidden)")
      .shape("norms.cell_bias", x[kCellBias], "(hidden)");
}

// One LayerNorm for every sample of every step: the statistics of rows of `width` numbers.
class StepNorm {
 public:
  StepNorm(const Sizes& n, std::int64_t width)
      : n_(n), width_(width), moments_(2 * n.steps * n.samples) {}

  // y = γ·x̂ + β of one step.
  void apply(std::int64_t step, const Real* x, const Real* gamma, const Real* beta, Real eps,
             Real* y) {
    Scratch<double> variance(n_.samples);
    kernels::norm_forward(x, y, view(), affine(gamma, beta), static_cast<double>(eps), true,
                          moments(step), variance.data());
  }

  // From the gradient of a step's y that of its x; adds those of γ and β to theirs. dx may be x.
  void backward(std::int64_t step, const Real* g, const Real* x, const Real* gamma, Real* dx,
                Tensor& dgamma, Tensor& dbeta) {
    const auto run = [&](Real* to_x, Real* to_gamma, Real* to_beta) {
      kernels::norm_backward(g, x, to_x, view(), affine(gamma, nullptr), moments(step),
                             kernels::NormKind::kCentered, to_gamma, to_beta);
    };
    if (dgamma.defined() || dbeta.defined()) {
      Scratch<Real> now(2 * width_);
      run(nullptr, now.data(), now.data() + width_);
      const auto add = [&](const Real* from, Tensor& to) {
        if (!to.defined()) return;
        Real* sum = to.mutable_data().data();
        for (std::int64_t j = 0; j < width_; ++j) sum[j] += from[j];
      };
      add(now.data(), dgamma);
      add(now.data() + width_, dbeta);
    }
    run(dx, nullptr, nullptr);
  }

 private:
  kernels::NormView view() const { return {.outer = 1, .kept = n_.samples, .inner = width_}; }
  kernels::AffineView affine(const Real* gamma, const Real* beta) const {
    return {.gamma = gamma, .beta = beta, .kept = width_, .inner = 1};
  }
  kernels::NormMoments moments(std::int64_t step) {
    return {moments_.data() + step * n_.samples, moments_.data() + (n_.steps + step) * n_.samples};
  }

  const Sizes n_;
  const std::int64_t width_;
  Scratch<double> moments_;
};

// What a gradient needs: the gates after σ and tanh, what o multiplied, and with norms W_hh·h; all
// (T, N, …).
struct Kept {
  Kept(const Sizes& sizes, const Inputs& x)
      : n(sizes),
        gates(Tensor::empty(x[kFromInputs].shape())),
        top(Tensor::empty({n.steps, n.samples, n.hidden})) {
    std::transform(x.begin(), x.end(), inputs.begin(), [](const Tensor& t) { return Saved(t); });
    if (!x[kHidden].defined()) return;
    products = Tensor::empty(gates.shape());
    hidden_norm = std::make_unique<StepNorm>(n, 4 * n.hidden);
    cell_norm = std::make_unique<StepNorm>(n, n.hidden);
  }

  // nullptr where there is none.
  const Real* input(Input which) const {
    const Tensor& x = inputs[which]();
    return x.defined() ? x.data().data() : nullptr;
  }

  const Sizes n;
  std::array<Saved, kInputs> inputs;
  Tensor gates, top, products;
  std::unique_ptr<StepNorm> hidden_norm, cell_norm;
};

Tensor forward(Kept& k, Real eps) {
  const auto [steps, samples, hidden] = k.n;
  const std::int64_t state = k.n.state();
  const bool normed = k.products.defined();
  const Real* bias = k.input(kBias);
  const kernels::GemmShape product{.m = samples,
                                   .n = 4 * hidden,
                                   .k = hidden,
                                   .transpose_b = true,
                                   .column_bias = normed ? nullptr : bias};
  Tensor y = Tensor::empty({2, steps, samples, hidden});
  Real *h = y.mutable_data().data(), *c = h + steps * state;
  Real *gates = k.gates.mutable_data().data(), *top = k.top.mutable_data().data();
  Real* products = normed ? k.products.mutable_data().data() : gates;
  const Real *more = k.input(kFromInputs), *last_h = k.input(kH), *last_c = k.input(kC);
  for (std::int64_t t = 0; t < steps; ++t) {
    kernels::gemm(product, last_h, k.input(kWeight), products);
    if (normed) k.hidden_norm->apply(t, products, k.input(kHidden), bias, eps, gates);
    kernels::lstm_gates(gates, more, last_c, c, samples, hidden);
    if (normed) k.cell_norm->apply(t, c, k.input(kCell), k.input(kCellBias), eps, top);
    kernels::lstm_output(gates, normed ? top : c, top, h, samples, hidden);
    last_h = h, last_c = c;
    h += state, c += state, top += state;
    gates += 4 * state, products += 4 * state, more += 4 * state;
  }
  return y;
}

// Back through time with the kernels. The gradients of weight and bias are one product and one sum
// over all steps.
Grads fused(Kept& k, const Tensor& y, const Tensor& g, const Needs& need) {
  const auto [steps, samples, hidden] = k.n;
  const std::int64_t state = k.n.state(), all = steps * state;
  const bool normed = k.products.defined();
  const Real *gh = g.data().data(), *gc = gh + all;
  const Real *h = y.data().data(), *c = h + all;
  const Real *gates = k.gates.data().data(), *top = k.top.data().data();
  const Real* products = normed ? k.products.data().data() : nullptr;
  // The gradients of the gates, and of W_hh·h, take the place of their values, number by number, if
  // these are not needed again.
  const auto in_place_of = [&](const Tensor& values) {
    return need.is_last() ? values : Tensor::empty(values.shape());
  };
  Grads grads(kInputs);
  grads[kFromInputs] = in_place_of(k.gates);
  grads[kH] = Tensor::zeros({samples, hidden});
  grads[kC] = Tensor::zeros({samples, hidden});
  Real* dgates = grads[kFromInputs].mutable_data().data();
  Real *dh = grads[kH].mutable_data().data(), *dc = grads[kC].mutable_data().data();
  for (const Input which : {kHidden, kCell, kCellBias}) {
    if (need[which]) grads[which] = Tensor::zeros(k.inputs[which].shape());
  }
  if (normed && need[kBias] && k.inputs[kBias].defined())
    grads[kBias] = Tensor::zeros({4 * hidden});
  Tensor of_products = normed ? in_place_of(k.products) : grads[kFromInputs];
  Real* dproducts = of_products.mutable_data().data();
  // Of one step, the gradient of what o multiplied, and of c'.
  Scratch<Real> dtop(state), through(state);
  for (std::int64_t t = steps; t-- > 0;) {
    const Real* before = t > 0 ? c + (t - 1) * state : k.input(kC);
    const Real* gates_now = gates + 4 * t * state;
    Real *dgates_now = dgates + 4 * t * state, *dproducts_now = dproducts + 4 * t * state;
    kernels::lstm_output_grad(gates_now, top + t * state, gh + t * state, dh, dgates_now,
                              normed ? dtop.data() : through.data(), samples, hidden);
    if (normed) {
      k.cell_norm->backward(t, dtop.data(), c + t * state, k.input(kCell), through.data(),
                            grads[kCell], grads[kCellBias]);
    }
    kernels::lstm_gates_grad(gates_now, before, gc + t * state, through.data(), dc, dgates_now,
                             samples, hidden);
    if (normed) {
      k.hidden_norm->backward(t, dgates_now, products + 4 * t * state, k.input(kHidden),
                              dproducts_now, grads[kHidden], grads[kBias]);
    }
    if (t > 0 || need[kH])
      kernels::gemm({.m = samples, .n = hidden, .k = 4 * hidden}, dproducts_now, k.input(kWeight),
                    dh);
  }
  if (need[kWeight]) {
    grads[kWeight] = Tensor::empty({4 * hidden, hidden});
    kernels::GemmShape shape{.m = 4 * hidden, .n = hidden, .k = samples, .transpose_a = true};
    Real* dw = grads[kWeight].mutable_data().data();
    kernels::gemm(shape, dproducts, k.input(kH), dw);
    shape.k = (steps - 1) * samples;
    shape.accumulate = true;
    kernels::gemm(shape, dproducts + 4 * state, h, dw);
  }
  if (!normed && need[kBias] && k.inputs[kBias].defined())
    grads[kBias] = sum(grads[kFromInputs], {0, 1});
  return grads;
}

// The definition in ops.
Tensor composed(const Inputs& x, Real eps) {
  Tensor h = x[kH], c = x[kC];
  const bool normed = x[kHidden].defined();
  const auto layer_norm = [&](const Tensor& a, const Tensor& gamma, const Tensor& beta) {
    return normalize(
        a, per_row(a.shape(), 1),
        {.eps = eps, .affine = {gamma, beta, per_position(a.shape(), 1)}, .allow_single = true});
  };
  std::vector<Tensor> all_h, all_c;
  for (std::int64_t t = 0; t < x[kFromInputs].dim(0); ++t) {
    const Tensor product =
        normed ? layer_norm(matmul(h, x[kWeight], {.transpose_b = true}), x[kHidden], x[kBias])
               : linear(h, x[kWeight], x[kBias]);
    const std::vector<Tensor> a = chunk(select(x[kFromInputs], 0, t) + product, 4, 1);
    c = sigmoid(a[1]) * c + sigmoid(a[0]) * tanh(a[2]);
    h = sigmoid(a[3]) * tanh(normed ? layer_norm(c, x[kCell], x[kCellBias]) : c);
    all_h.push_back(h), all_c.push_back(c);
  }
  return stack(std::array{stack(all_h, 0), stack(all_c, 0)}, 0);
}

// For gradients of gradients: the definition is recorded once more, and its gradient with it.
Grads recorded(const Kept& k, Real eps, const Tensor& g, const Needs& need) {
  Inputs x;
  std::vector<Tensor> wanted;
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = k.inputs[i]();
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

Tensor lstm(const Tensor& from_inputs, const Tensor& w_hh, const Tensor& b_hh, const Tensor& h,
            const Tensor& c, const LstmNorms& norms) {
  const Inputs x{from_inputs, w_hh, b_hh, h, c, norms.hidden, norms.cell, norms.cell_bias};
  const Sizes n = checked_sizes(x);
  // The gradient of a norm of one or two numbers is mostly rounding: `normalize` knows how.
  if (norms.hidden.defined() && n.hidden <= 2) return composed(x, norms.eps);
  const auto kept = std::make_shared<Kept>(n, x);
  const Tensor y = forward(*kept, norms.eps);
  return record("lstm", x, y,
                [kept, y = Saved(y), eps = norms.eps](const Tensor& g, const Needs& need) -> Grads {
                  return Tape::recording() ? recorded(*kept, eps, g, need)
                                           : fused(*kept, y(), g, need);
                });
}

}  // namespace tapestry
