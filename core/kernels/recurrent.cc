#include "core/kernels/recurrent.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/recurrent.cc"
#include <algorithm>

#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/elementwise_math-inl.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// body(load, store, row, position) for every vector of `hidden` numbers of every row; load and
// store know how many of its lanes are used.
template <class F>
HWY_INLINE void EachVector(std::int64_t rows, std::int64_t hidden, F body) {
  constexpr std::int64_t kGrain = 1024;  // numbers: five exponentials each, about 6 µs
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, hidden));
  parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) HWY_ATTR {
    const RealTag d;
    const std::int64_t lanes = LaneCount(d);
    const auto load = [d](const Real* from) HWY_ATTR { return hn::LoadU(d, from); };
    const auto store = [d](auto v, Real* to) HWY_ATTR { hn::StoreU(v, d, to); };
    for (std::int64_t row = begin; row < end; ++row) {
      std::int64_t j = 0;
      for (; j + lanes <= hidden; j += lanes) body(load, store, row, j);
      if (const std::int64_t n = hidden - j; n > 0) {
        body([d, n](const Real* from) HWY_ATTR { return LoadPart(d, from, n); },
             [d, n](auto v, Real* to) HWY_ATTR { StorePart(d, v, to, n); }, row, j);
      }
    }
  });
}

template <bool kMore>
void LstmGates(Real* gates, const Real* more, const Real* before, Real* c, std::int64_t rows,
               std::int64_t hidden) {
  EachVector(rows, hidden, [=](auto load, auto store, std::int64_t row, std::int64_t j) HWY_ATTR {
    const RealTag d;
    const std::int64_t at = row * 4 * hidden + j, to = row * hidden + j;
    const auto sum = [&](std::int64_t gate) HWY_ATTR {
      const auto value = load(gates + at + gate * hidden);
      if constexpr (kMore) return hn::Add(value, load(more + at + gate * hidden));
      return value;
    };
    const auto i = Logistic(d, sum(0)), f = Logistic(d, sum(1));
    const auto g = SafeTanh(d, sum(2)), o = Logistic(d, sum(3));
    store(i, gates + at);
    store(f, gates + at + hidden);
    store(g, gates + at + 2 * hidden);
    store(o, gates + at + 3 * hidden);
    store(hn::MulAdd(f, load(before + to), hn::Mul(i, g)), c + to);
  });
}

void LstmAllGates(Real* gates, const Real* more, const Real* before, Real* c, std::int64_t rows,
                  std::int64_t hidden) {
  (more == nullptr ? LstmGates<false> : LstmGates<true>)(gates, more, before, c, rows, hidden);
}

void LstmOutput(const Real* gates, const Real* c, Real* top, Real* h, std::int64_t rows,
                std::int64_t hidden) {
  EachVector(rows, hidden, [=](auto load, auto store, std::int64_t row, std::int64_t j) HWY_ATTR {
    const std::int64_t to = row * hidden + j;
    const auto t = SafeTanh(RealTag(), load(c + to));
    store(t, top + to);
    store(hn::Mul(load(gates + (4 * row + 3) * hidden + j), t), h + to);
  });
}

// u·s·(1 − s) and u·(1 − t²), the latter written so that it does not cancel near ±1.
template <class V>
HWY_INLINE V SigmoidGate(V u, V s) {
  return hn::Mul(u, hn::Mul(s, hn::Sub(hn::Set(RealTag(), Real(1)), s)));
}
template <class V>
HWY_INLINE V TanhGate(V u, V t) {
  const V one = hn::Set(RealTag(), Real(1));
  return hn::Mul(u, hn::Mul(hn::Sub(one, t), hn::Add(one, t)));
}

void LstmOutputGrad(const Real* gates, const Real* top, const Real* gh, const Real* gh_more,
                    Real* dgates, Real* dc, std::int64_t rows, std::int64_t hidden) {
  EachVector(rows, hidden, [=](auto load, auto store, std::int64_t row, std::int64_t j) HWY_ATTR {
    const std::int64_t at = (4 * row + 3) * hidden + j, from = row * hidden + j;
    const auto o = load(gates + at), t = load(top + from);
    const auto at_h = hn::Add(load(gh + from), load(gh_more + from));
    store(SigmoidGate(hn::Mul(at_h, t), o), dgates + at);
    store(TanhGate(hn::Mul(at_h, o), t), dc + from);
  });
}

void LstmGatesGrad(const Real* gates, const Real* before, const Real* gc, const Real* gc_more,
                   Real* dc, Real* dgates, std::int64_t rows, std::int64_t hidden) {
  EachVector(rows, hidden, [=](auto load, auto store, std::int64_t row, std::int64_t j) HWY_ATTR {
    const std::int64_t at = row * 4 * hidden + j, from = row * hidden + j;
    const auto i = load(gates + at), f = load(gates + at + hidden);
    const auto g = load(gates + at + 2 * hidden);
    const auto at_c = hn::Add(hn::Add(load(gc + from), load(gc_more + from)), load(dc + from));
    store(SigmoidGate(hn::Mul(at_c, g), i), dgates + at);
    store(SigmoidGate(hn::Mul(at_c, load(before + from)), f), dgates + at + hidden);
    store(TanhGate(hn::Mul(at_c, i), g), dgates + at + 2 * hidden);
    store(hn::Mul(at_c, f), dc + from);
  });
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(LstmAllGates);
void lstm_gates(Real* gates, const Real* more, const Real* before, Real* c, std::int64_t rows,
                std::int64_t hidden) {
  HWY_DYNAMIC_DISPATCH(LstmAllGates)(gates, more, before, c, rows, hidden);
}
HWY_EXPORT(LstmOutput);
void lstm_output(const Real* gates, const Real* c, Real* top, Real* h, std::int64_t rows,
                 std::int64_t hidden) {
  HWY_DYNAMIC_DISPATCH(LstmOutput)(gates, c, top, h, rows, hidden);
}
HWY_EXPORT(LstmOutputGrad);
void lstm_output_grad(const Real* gates, const Real* top, const Real* gh, const Real* gh_more,
                      Real* dgates, Real* dc, std::int64_t rows, std::int64_t hidden) {
  HWY_DYNAMIC_DISPATCH(LstmOutputGrad)(gates, top, gh, gh_more, dgates, dc, rows, hidden);
}
HWY_EXPORT(LstmGatesGrad);
void lstm_gates_grad(const Real* gates, const Real* before, const Real* gc, const Real* gc_more,
                     Real* dc, Real* dgates, std::int64_t rows, std::int64_t hidden) {
  HWY_DYNAMIC_DISPATCH(LstmGatesGrad)(gates, before, gc, gc_more, dc, dgates, rows, hidden);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
