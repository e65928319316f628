#include "core/kernels/softmax.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/softmax.cc"
#include <algorithm>
#include <limits>

#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/elementwise_math-inl.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// Σ f(values…) in wide lanes.
template <class F, class... In>
HWY_INLINE double SumOver(F f, std::int64_t n, const In*... in) {
  const WideTag d;
  const std::int64_t lanes = LaneCount(d);
  auto a = hn::Zero(d), b = a, c = a, e = a;  // four, as an addition takes four cycles
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    a = hn::Add(a, f(d, LoadWide(d, in + i)...));
    b = hn::Add(b, f(d, LoadWide(d, in + i + lanes)...));
    c = hn::Add(c, f(d, LoadWide(d, in + i + 2 * lanes)...));
    e = hn::Add(e, f(d, LoadWide(d, in + i + 3 * lanes)...));
  }
  a = hn::Add(hn::Add(a, b), hn::Add(c, e));
  for (; i + lanes <= n; i += lanes) a = hn::Add(a, f(d, LoadWide(d, in + i)...));
  // Absent lanes are 0 and so is f of them: sums and products.
  if (i < n) a = hn::Add(a, f(d, LoadWidePart(d, in + i, n - i)...));
  return SumLanes(d, a);
}

HWY_INLINE Real Largest(const Real* x, std::int64_t n) {
  const RealTag d;
  const std::int64_t lanes = LaneCount(d);
  Real largest = -std::numeric_limits<Real>::infinity();
  std::int64_t i = 0;
  if (n >= lanes) {
    auto m = hn::LoadU(d, x);
    for (i = lanes; i + lanes <= n; i += lanes) m = hn::Max(m, hn::LoadU(d, x + i));
    largest = hn::GetLane(hn::MaxOfLanes(d, m));
  }
  for (; i < n; ++i) largest = std::max(largest, x[i]);
  return largest;
}

// A NaN reaches the sum through its own exponential, whatever became of it in the search for the
// largest.
void SoftmaxRow(const Real* x, Real* y, std::int64_t n) {
  const Real largest = Largest(x, n);
  Map([=](auto d, auto v) HWY_ATTR { return SafeExp(d, hn::Sub(v, hn::Set(d, largest))); }, y, n,
      x);
  const Real factor = static_cast<Real>(1 / SumOver([](auto, auto v) HWY_ATTR { return v; }, n, y));
  Map([=](auto d, auto v) HWY_ATTR { return hn::Mul(v, hn::Set(d, factor)); }, y, n, y);
}

void LogSoftmaxRow(const Real* x, Real* y, std::int64_t n) {
  const Real largest = Largest(x, n);
  Map([=](auto d, auto v) HWY_ATTR { return SafeExp(d, hn::Sub(v, hn::Set(d, largest))); }, y, n,
      x);
  const Real shift =
      static_cast<Real>(std::log(SumOver([](auto, auto v) HWY_ATTR { return v; }, n, y)));
  Map([=](auto d, auto v)
          HWY_ATTR { return hn::Sub(hn::Sub(v, hn::Set(d, largest)), hn::Set(d, shift)); },
      y, n, x);
}

// In wide lanes: where one probability is almost 1, g and its mean almost cancel.
void SoftmaxGradRow(const Real* g, const Real* y, Real* dx, std::int64_t n) {
  const double mean = SumOver([](auto, auto u, auto v) HWY_ATTR { return hn::Mul(u, v); }, n, g, y);
  MapWide([=](auto d, auto u, auto v) HWY_ATTR { return hn::Mul(v, hn::Sub(u, hn::Set(d, mean))); },
          dx, n, g, y);
}

void LogSoftmaxGradRow(const Real* g, const Real* y, Real* dx, std::int64_t n) {
  const Real sum = static_cast<Real>(SumOver([](auto, auto u) HWY_ATTR { return u; }, n, g));
  Map([=](auto d, auto u, auto v)
          HWY_ATTR { return hn::NegMulAdd(SafeExp(d, v), hn::Set(d, sum), u); },
      dx, n, g, y);
}

// Sets side by side: `count` ≤ lanes neighboring columns of a [reduced, inner] matrix, in wide
// lanes.
template <class F>
HWY_INLINE void EachOfColumn(const Real* x, std::int64_t inner, std::int64_t reduced,
                             std::int64_t count, F f) {
  const WideTag d;
  for (std::int64_t i = 0; i < reduced; ++i) {
    f(i * inner,
      count == LaneCount(d) ? LoadWide(d, x + i * inner) : LoadWidePart(d, x + i * inner, count));
  }
}
HWY_INLINE void StoreColumn(hn::Vec<WideTag> v, Real* y, std::int64_t count) {
  const NarrowTag d;
  if (count == LaneCount(d)) {
    hn::StoreU(Narrow(d, v), d, y);
  } else {
    StorePart(d, Narrow(d, v), y, count);
  }
}

void SoftmaxColumns(const Real* x, Real* y, std::int64_t reduced, std::int64_t inner,
                    std::int64_t count, bool is_log) {
  const WideTag d;
  auto largest = hn::Set(d, -std::numeric_limits<double>::infinity());
  EachOfColumn(x, inner, reduced, count,
               [&](std::int64_t, auto v) HWY_ATTR { largest = hn::Max(largest, v); });
  auto sum = hn::Zero(d);
  EachOfColumn(x, inner, reduced, count, [&](std::int64_t, auto v) HWY_ATTR {
    sum = hn::Add(sum, SafeExp(d, hn::Sub(v, largest)));
  });
  const auto scale = hn::Div(hn::Set(d, 1.0), sum);
  const auto shift = hn::Add(largest, SafeLog(d, sum));
  EachOfColumn(x, inner, reduced, count, [&](std::int64_t at, auto v) HWY_ATTR {
    StoreColumn(is_log ? hn::Sub(v, shift) : hn::Mul(SafeExp(d, hn::Sub(v, largest)), scale),
                y + at, count);
  });
}

void SoftmaxGradColumns(const Real* g, const Real* y, Real* dx, std::int64_t reduced,
                        std::int64_t inner, std::int64_t count, bool is_log) {
  const WideTag d;
  const auto upstream = [&](std::int64_t at) HWY_ATTR {
    return count == LaneCount(d) ? LoadWide(d, g + at) : LoadWidePart(d, g + at, count);
  };
  auto sum = hn::Zero(d);
  EachOfColumn(y, inner, reduced, count, [&](std::int64_t at, auto v) HWY_ATTR {
    sum = is_log ? hn::Add(sum, upstream(at)) : hn::MulAdd(upstream(at), v, sum);
  });
  EachOfColumn(y, inner, reduced, count, [&](std::int64_t at, auto v) HWY_ATTR {
    const auto u = upstream(at);
    StoreColumn(is_log ? hn::NegMulAdd(SafeExp(d, v), sum, u) : hn::Mul(v, hn::Sub(u, sum)),
                dx + at, count);
  });
}

// row(first element) for each set when they are contiguous, else column(first element, count) for
// neighbors.
template <class Row, class Column>
void EachSet(const ReduceView& v, Row row, Column column) {
  constexpr std::int64_t kElements = 4096;  // of a chunk: exponentials take about 1 ns each
  if (v.inner == 1) {
    const std::int64_t grain =
        std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, v.reduced));
    parallel_for(v.outer, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) row(o * v.reduced);
    });
    return;
  }
  const std::int64_t lanes = LaneCount(WideTag()), groups = (v.inner + lanes - 1) / lanes;
  const std::int64_t grain =
      std::max<std::int64_t>(1, kElements / std::max<std::int64_t>(1, v.reduced * lanes));
  parallel_for(v.outer * groups, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t first = task % groups * lanes;
      column(task / groups * v.reduced * v.inner + first, std::min(lanes, v.inner - first));
    }
  });
}

void Softmax(const Real* x, Real* y, const ReduceView& v) {
  EachSet(
      v, [&](std::int64_t at) { SoftmaxRow(x + at, y + at, v.reduced); },
      [&](std::int64_t at, std::int64_t count) {
        SoftmaxColumns(x + at, y + at, v.reduced, v.inner, count, false);
      });
}
void LogSoftmax(const Real* x, Real* y, const ReduceView& v) {
  EachSet(
      v, [&](std::int64_t at) { LogSoftmaxRow(x + at, y + at, v.reduced); },
      [&](std::int64_t at, std::int64_t count) {
        SoftmaxColumns(x + at, y + at, v.reduced, v.inner, count, true);
      });
}
void SoftmaxGrad(const Real* g, const Real* y, Real* dx, const ReduceView& v) {
  EachSet(
      v, [&](std::int64_t at) { SoftmaxGradRow(g + at, y + at, dx + at, v.reduced); },
      [&](std::int64_t at, std::int64_t count) {
        SoftmaxGradColumns(g + at, y + at, dx + at, v.reduced, v.inner, count, false);
      });
}
void LogSoftmaxGrad(const Real* g, const Real* y, Real* dx, const ReduceView& v) {
  EachSet(
      v, [&](std::int64_t at) { LogSoftmaxGradRow(g + at, y + at, dx + at, v.reduced); },
      [&](std::int64_t at, std::int64_t count) {
        SoftmaxGradColumns(g + at, y + at, dx + at, v.reduced, v.inner, count, true);
      });
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(Softmax);
void softmax(const Real* x, Real* y, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(Softmax)(x, y, view);
}
HWY_EXPORT(LogSoftmax);
void log_softmax(const Real* x, Real* y, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(LogSoftmax)(x, y, view);
}
HWY_EXPORT(SoftmaxGrad);
void softmax_grad(const Real* g, const Real* y, Real* dx, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(SoftmaxGrad)(g, y, dx, view);
}
HWY_EXPORT(LogSoftmaxGrad);
void log_softmax_grad(const Real* g, const Real* y, Real* dx, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(LogSoftmaxGrad)(g, y, dx, view);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
