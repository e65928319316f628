#include "core/ops/recurrent.h"

#include <vector>

#include "core/error.h"
#include "core/kernels/gemm.h"
#include "core/kernels/recurrent.h"
#include "core/memory.h"
#include "core/ops/arithmetic.h"
#include "core/ops/matmul.h"
#include "core/ops/movement.h"
#include "core/ops/reduce.h"
#include "core/ops/unary.h"
#include "core/tape.h"

namespace tapestry {
namespace {

struct Sizes {
  std::int64_t steps, samples, hidden;
  std::int64_t state() const { return samples * hidden; }
};

Sizes checked_sizes(const Tensor& from_inputs, const Tensor& w, const Tensor& bias, const Tensor& h,
                    const Tensor& c) {
  const bool ranks = from_inputs.rank() == 3 && w.rank() == 2;
  const Sizes n{ranks ? from_inputs.dim(0) : 0, ranks ? from_inputs.dim(1) : 0,
                ranks ? w.dim(1) : 0};
  const Shape state{n.samples, n.hidden};
  if (ranks && n.steps > 0 && from_inputs.dim(2) == 4 * n.hidden && w.dim(0) == 4 * n.hidden &&
      h.shape() == state && c.shape() == state &&
      (!bias.defined() || bias.shape() == Shape{4 * n.hidden}))
    return n;
  throw Error("lstm", "its inputs do not fit together")
      .shape("from_inputs", from_inputs, "(T ≥ 1, N, 4·hidden)")
      .shape("w_hh", w, "(4·hidden, hidden)")
      .shape("b_hh", bias, "(4·hidden)")
      .shape("h", h, "(N, hidden)")
      .shape("c", c, "(N, hidden)");
}

// What a gradient needs: the inputs, the result, and the gates after σ and tanh.
struct Kept {
  Saved from_inputs, w, bias, h, c, y;
  Tensor gates;
  Sizes n;
};

// Back through time with the kernels. The weights' gradient is one product over all steps.
Grads fused(const Kept& k, const Tensor& g, const Needs& need) {
  const auto [steps, samples, hidden] = k.n;
  const std::int64_t state = k.n.state(), all = steps * state;
  const Real *gh = g.data().data(), *gc = gh + all;
  const Real *h = k.y().data().data(), *c = h + all;
  const Real* w = k.w().data().data();
  Grads grads(5);
  grads[0] = Tensor::empty({steps, samples, 4 * hidden});
  grads[3] = Tensor::zeros({samples, hidden});
  grads[4] = Tensor::zeros({samples, hidden});
  Real* dgates = grads[0].mutable_data().data();
  Real *dh = grads[3].mutable_data().data(), *dc = grads[4].mutable_data().data();
  for (std::int64_t t = steps; t-- > 0;) {
    const Real* before = t > 0 ? c + (t - 1) * state : k.c().data().data();
    kernels::lstm_gates_grad(k.gates.data().data() + 4 * t * state, before, c + t * state,
                             gh + t * state, dh, gc + t * state, dc, dgates + 4 * t * state,
                             samples, hidden);
    if (t > 0 || need[3])
      kernels::gemm({.m = samples, .n = hidden, .k = 4 * hidden}, dgates + 4 * t * state, w, dh);
  }
  if (need[1]) {
    grads[1] = Tensor::empty({4 * hidden, hidden});
    kernels::GemmShape shape{.m = 4 * hidden, .n = hidden, .k = samples, .transpose_a = true};
    Real* dw = grads[1].mutable_data().data();
    kernels::gemm(shape, dgates, k.h().data().data(), dw);
    shape.k = (steps - 1) * samples;
    shape.accumulate = true;
    kernels::gemm(shape, dgates + 4 * state, h, dw);
  }
  if (need[2] && k.bias.defined()) grads[2] = sum(grads[0], {0, 1});
  return grads;
}

// The same in ops, for gradients of gradients. States are read from the result, so that their
// dependence on everything before is the tape's affair.
Grads composed(const Kept& k, const Tensor& g) {
  const auto [steps, samples, hidden] = k.n;
  const Tensor gh = select(g, 0, 0), gc = select(g, 0, 1);
  const Tensor h = select(k.y(), 0, 0), c = select(k.y(), 0, 1);
  const Tensor one = Tensor::scalar(1);
  const auto sigmoid_grad = [&](const Tensor& u, const Tensor& s) { return u * s * (one - s); };
  const auto tanh_grad = [&](const Tensor& u, const Tensor& t) { return u * (one - t * t); };
  Tensor dh = Tensor::zeros({samples, hidden}), dc = dh, dw, db;
  std::vector<Tensor> dgates(static_cast<std::size_t>(steps));
  for (std::int64_t t = steps; t-- > 0;) {
    const Tensor h_before = t > 0 ? select(h, 0, t - 1) : k.h();
    const Tensor c_before = t > 0 ? select(c, 0, t - 1) : k.c();
    const Tensor sums = select(k.from_inputs(), 0, t) +
                        linear(h_before, k.w(), k.bias.defined() ? k.bias() : Tensor());
    const std::vector<Tensor> parts = chunk(sums, 4, 1);
    const Tensor i = sigmoid(parts[0]), f = sigmoid(parts[1]);
    const Tensor m = tanh(parts[2]), o = sigmoid(parts[3]), top = tanh(select(c, 0, t));
    const Tensor at_h = select(gh, 0, t) + dh;
    const Tensor at_c = select(gc, 0, t) + dc + tanh_grad(at_h * o, top);
    const Tensor dsums = concat({sigmoid_grad(at_c * m, i), sigmoid_grad(at_c * c_before, f),
                                 tanh_grad(at_c * i, m), sigmoid_grad(at_h * top, o)},
                                1);
    dgates[static_cast<std::size_t>(t)] = dsums;
    const Tensor dw_now = matmul(dsums, h_before, {.transpose_a = true}), db_now = sum(dsums, {0});
    dw = dw.defined() ? dw + dw_now : dw_now;
    db = db.defined() ? db + db_now : db_now;
    dh = matmul(dsums, k.w());
    dc = at_c * f;
  }
  return {stack(dgates, 0), dw, k.bias.defined() ? db : Tensor(), dh, dc};
}

}  // namespace

Tensor lstm(const Tensor& from_inputs, const Tensor& w_hh, const Tensor& b_hh, const Tensor& h,
            const Tensor& c) {
  const Sizes n = checked_sizes(from_inputs, w_hh, b_hh, h, c);
  const std::int64_t state = n.state();
  Tensor y = Tensor::empty({2, n.steps, n.samples, n.hidden});
  Tensor gates = Tensor::empty(from_inputs.shape());
  Real *to_h = y.mutable_data().data(), *to_c = to_h + n.steps * state;
  Real* at = gates.mutable_data().data();
  const Real *more = from_inputs.data().data(), *last_h = h.data().data(),
             *last_c = c.data().data();
  for (std::int64_t t = 0; t < n.steps; ++t) {
    kernels::gemm({.m = n.samples,
                   .n = 4 * n.hidden,
                   .k = n.hidden,
                   .transpose_b = true,
                   .column_bias = b_hh.defined() ? b_hh.data().data() : nullptr},
                  last_h, w_hh.data().data(), at);
    kernels::lstm_gates(at, more, last_c, to_c, to_h, n.samples, n.hidden);
    last_h = to_h, last_c = to_c;
    to_h += state, to_c += state, at += 4 * state, more += 4 * state;
  }
  return record("lstm", {from_inputs, w_hh, b_hh, h, c}, y,
                [k = Kept{Saved(from_inputs), Saved(w_hh), Saved(b_hh), Saved(h), Saved(c),
                          Saved(y), gates, n}](const Tensor& g, const Needs& need) -> Grads {
                  return Tape::recording() ? composed(k, g) : fused(k, g, need);
                });
}

}  // namespace tapestry
