#include "core/kernels/reduce.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/reduce.cc"
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/ceil_div.h"
#include "core/kernels/sums-inl.h"
#include "core/memory.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// How a reduction goes: Tag are the lanes it works in, kStart the result for nothing, step() takes
// one more number, and the operator combines partial results. kInReals: a few terms at a time may
// be added in lanes of Real, see Note [Sums in floats], if the result is at least kLeast per term.
template <class Op>
struct Plain {
  static constexpr bool kInReals = false;
  template <class V>
  HWY_INLINE V step(V a, V x) const {
    return static_cast<const Op&>(*this)(a, x);
  }
};
struct SumOf : Plain<SumOf> {
  using Tag = WideTag;
  static constexpr double kStart = 0;
  // Rounds like a sum, and leaves the adders to the conversions to double.
  template <class V>
  HWY_INLINE V step(V a, V x) const {
    return hn::MulAdd(x, hn::Set(hn::DFromV<V>(), 1), a);
  }
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
};
struct SquaresOf : SumOf {
  static constexpr bool kInReals = true;   // squares do not cancel
  static constexpr double kLeast = 1e-30;  // squares that vanish in a float are below 1e-38
  template <class V>
  HWY_INLINE V step(V a, V x) const {
    return hn::MulAdd(x, x, a);
  }
};
struct ProductOf : Plain<ProductOf> {
  using Tag = WideTag;
  static constexpr double kStart = 1;
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Mul(a, b);
  }
};
struct MaxOf : Plain<MaxOf> {
  using Tag = RealTag;
  static constexpr Real kStart = -std::numeric_limits<Real>::infinity();
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {  // keeps a NaN on either side
    return hn::IfThenElse(hn::Or(hn::Ge(b, a), hn::Not(hn::Eq(b, b))), b, a);
  }
};
struct MinOf : Plain<MinOf> {
  using Tag = RealTag;
  static constexpr Real kStart = std::numeric_limits<Real>::infinity();
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::IfThenElse(hn::Or(hn::Le(b, a), hn::Not(hn::Eq(b, b))), b, a);
  }
};

template <class T, class D>
HWY_INLINE hn::Vec<D> LoadAs(D d, const T* from) {
  if constexpr (std::is_same_v<hn::TFromD<D>, T>) {
    return hn::LoadU(d, from);
  } else if constexpr (hn::MaxLanes(D()) == 1) {
    return hn::Set(d, static_cast<double>(*from));
  } else {
    return LoadWide(d, from);
  }
}

template <class Op>
using Value = hn::TFromD<typename Op::Tag>;

// step() and the operator for single numbers.
template <class Op>
HWY_INLINE Value<Op> Step(Op op, Value<Op> a, Value<Op> x) {
  const hn::CappedTag<Value<Op>, 1> one;
  return hn::GetLane(op.step(hn::Set(one, a), hn::Set(one, x)));
}
template <class Op>
HWY_INLINE Value<Op> Both(Op op, Value<Op> a, Value<Op> b) {
  const hn::CappedTag<Value<Op>, 1> one;
  return hn::GetLane(op(hn::Set(one, a), hn::Set(one, b)));
}

// All n numbers of a run.
template <class Op, class T>
HWY_INLINE Value<Op> ReduceRun(Op op, const T* x, std::int64_t n) {
  const typename Op::Tag d;
  const std::int64_t lanes = LaneCount(d);
  Value<Op> result = Op::kStart;
  std::int64_t i = 0;
  if (n >= lanes) {
    const std::int64_t ahead = AheadIn(n, n);
    auto a = hn::Set(d, Op::kStart), b = a, c = a, e = a;  // four, as an addition takes four cycles
    for (; i + 4 * lanes <= n; i += 4 * lanes) {
      Fetch(4 * lanes, x + i + ahead);
      a = op.step(a, LoadAs(d, x + i));
      b = op.step(b, LoadAs(d, x + i + lanes));
      c = op.step(c, LoadAs(d, x + i + 2 * lanes));
      e = op.step(e, LoadAs(d, x + i + 3 * lanes));
    }
    for (; i + lanes <= n; i += lanes) a = op.step(a, LoadAs(d, x + i));
    HWY_ALIGN Value<Op> part[hn::MaxLanes(d)];
    hn::Store(op(op(a, b), op(c, e)), d, part);
    for (std::int64_t l = 0; l < lanes; ++l) result = Both(op, result, part[l]);
  }
  for (; i < n; ++i) result = Step(op, result, static_cast<Value<Op>>(x[i]));
  return result;
}

// y[j] = op over i of x[i·stride + j], for j < n: columns side by side in lanes, and a few rows at
// a time, so that memory is read in order. Lanes of Real for a sum in double are those of Note
// [Sums in floats].
template <class Tag, class Op, class T>
HWY_INLINE void ReduceColumns(Tag lanes, Op op, const T* x, std::int64_t count, std::int64_t stride,
                              Value<Op>* y, std::int64_t n) {
  std::fill_n(y, n, Op::kStart);
  for (std::int64_t row = 0; row < count; row += kTerms) {
    const std::int64_t rows = std::min(kTerms, count - row);
    const T* from = x + row * stride;
    const auto column = [&](auto d, std::int64_t j) HWY_ATTR {
      constexpr bool kWidens = !std::is_same_v<hn::TFromD<Tag>, Value<Op>>;
      auto a = hn::Zero(d);
      if constexpr (!kWidens) a = hn::LoadU(d, y + j);
      for (std::int64_t i = 0; i < rows; ++i) a = op.step(a, LoadAs(d, from + i * stride + j));
      if constexpr (kWidens) {
        AddLanes(d, a, y + j);
      } else {
        hn::StoreU(a, d, y + j);
      }
    };
    std::int64_t j = 0;
    for (; j + LaneCount(lanes) <= n; j += LaneCount(lanes)) column(lanes, j);
    for (; j < n; ++j) column(hn::CappedTag<hn::TFromD<Tag>, 1>(), j);
  }
}

template <class Tag, class Op, class T>
void ReduceIn(Tag d, Op op, const T* x, std::int64_t count, std::int64_t stride, std::int64_t n,
              Value<Op>* y) {
  if (stride > 1) {
    ReduceColumns(d, op, x, count, stride, y, n);
  } else if constexpr (std::is_same_v<hn::TFromD<Tag>, Value<Op>>) {
    *y = ReduceRun(op, x, count);
  } else {
    const auto add = [op](auto& a, auto&, auto v) HWY_ATTR { a = op.step(a, v); };
    *y = SumPairs(add, count, count, x).a;
  }
}

// n columns of `count` rows, a stride apart. What may be added in lanes of Real is, and once more
// in double ones where these overflow or vanish.
template <class Op, class T>
void ReducePiece(Op op, const T* x, std::int64_t count, std::int64_t stride, std::int64_t n,
                 Value<Op>* y) {
  if constexpr (Op::kInReals && std::is_same_v<T, Real>) {
    ReduceIn(RealTag(), op, x, count, stride, n, y);
    const double least = Op::kLeast * static_cast<double>(count);
    const auto is_good = [=](double sum) { return std::abs(sum) >= least && std::isfinite(sum); };
    if (std::all_of(y, y + n, is_good)) return;
  }
  ReduceIn(typename Op::Tag(), op, x, count, stride, n, y);
}

// Note [Pieces]
// ~~~~~~~~~~~~~
// Many columns are cut into blocks whose results stay in the first-level cache. A few long
// reductions are cut along the reduced axis as well, so that all threads have work; the partial
// results are combined in order. Where and whether to cut depends on the sizes alone, never on the
// number of threads.
constexpr std::int64_t kPiece = 32768;  // elements; about 5 µs
constexpr std::int64_t kBlock = 1024;   // columns

template <class Op, class Again = Op, class T>
void ReduceView3(Op op, const T* x, Value<Op>* y, const ReduceView& v) {
  const std::int64_t blocks = ceil_div(v.inner, kBlock), parts = v.outer * blocks;
  if (parts == 0) return;
  const std::int64_t width = std::min(v.inner, kBlock), most = std::min(v.reduced, 64 / parts);
  const std::int64_t cuts =
      parts < 8 ? std::max<std::int64_t>(1, std::min(v.reduced * width / kPiece, most)) : 1;
  const std::int64_t step = ceil_div(v.reduced, cuts);
  Scratch<Value<Op>> partial(cuts == 1 ? 1 : v.outer * cuts * v.inner);
  Value<Op>* to = cuts == 1 ? y : partial.data();
  const std::int64_t grain = kPiece / std::max<std::int64_t>(1, step * width);
  parallel_for(parts * cuts, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t piece = task / blocks, column = task % blocks * kBlock;
      const std::int64_t o = piece / cuts, first = std::min(v.reduced, piece % cuts * step);
      ReducePiece(op, x + (o * v.reduced + first) * v.inner + column,
                  std::min(step, v.reduced - first), v.inner, std::min(kBlock, v.inner - column),
                  to + piece * v.inner + column);
    }
  });
  if (cuts == 1) return;
  for (std::int64_t o = 0; o < v.outer; ++o) {
    ReducePiece(Again(), to + o * cuts * v.inner, cuts, v.inner, v.inner, y + o * v.inner);
  }
}

void Sum(const Real* x, double* y, const ReduceView& v) { ReduceView3(SumOf(), x, y, v); }
void Squares(const Real* x, double* y, const ReduceView& v) {
  ReduceView3<SquaresOf, SumOf>(SquaresOf(), x, y, v);
}
void SumWide(const double* x, double* y, const ReduceView& v) { ReduceView3(SumOf(), x, y, v); }
void Prod(const Real* x, double* y, const ReduceView& v) { ReduceView3(ProductOf(), x, y, v); }
void ProdWide(const double* x, double* y, const ReduceView& v) {
  ReduceView3(ProductOf(), x, y, v);
}
void Max(const Real* x, Real* y, const ReduceView& v) { ReduceView3(MaxOf(), x, y, v); }
void Min(const Real* x, Real* y, const ReduceView& v) { ReduceView3(MinOf(), x, y, v); }

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(Sum);
void sum(const Real* x, double* y, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(Sum)(x, y, view);
}
HWY_EXPORT(Squares);
void sum_of_squares(const Real* x, double* y, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(Squares)(x, y, view);
}
HWY_EXPORT(SumWide);
void sum_wide(const double* x, double* y, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(SumWide)(x, y, view);
}
HWY_EXPORT(Prod);
void prod(const Real* x, double* y, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(Prod)(x, y, view);
}
HWY_EXPORT(ProdWide);
void prod_wide(const double* x, double* y, const ReduceView& view) {
  HWY_DYNAMIC_DISPATCH(ProdWide)(x, y, view);
}
HWY_EXPORT(Max);
void max(const Real* x, Real* y, const ReduceView& view) { HWY_DYNAMIC_DISPATCH(Max)(x, y, view); }
HWY_EXPORT(Min);
void min(const Real* x, Real* y, const ReduceView& view) { HWY_DYNAMIC_DISPATCH(Min)(x, y, view); }

void argmax(const Real* x, std::int32_t* y, const ReduceView& v) {
  const std::int64_t work = std::max<std::int64_t>(1, v.reduced * v.inner);
  parallel_for(
      v.outer, std::max<std::int64_t>(1, 8192 / work), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t o = begin; o < end; ++o) {
          for (std::int64_t j = 0; j < v.inner; ++j) {
            const Real* from = x + o * v.reduced * v.inner + j;
            std::int64_t best = 0;
            for (std::int64_t i = 1; i < v.reduced && !std::isnan(from[best * v.inner]); ++i) {
              const Real value = from[i * v.inner];
              if (value > from[best * v.inner] || std::isnan(value)) best = i;
            }
            y[o * v.inner + j] = static_cast<std::int32_t>(best);
          }
        }
      });
}

void cumsum(const Real* x, Real* y, const ReduceView& v, bool reverse) {
  const std::int64_t work = std::max<std::int64_t>(1, v.reduced * v.inner);
  parallel_for(v.outer, std::max<std::int64_t>(1, 8192 / work),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t o = begin; o < end; ++o) {
                   for (std::int64_t j = 0; j < v.inner; ++j) {
                     double total = 0;
                     for (std::int64_t i = 0; i < v.reduced; ++i) {
                       const std::int64_t at =
                           (o * v.reduced + (reverse ? v.reduced - 1 - i : i)) * v.inner + j;
                       total += x[at];
                       y[at] = static_cast<Real>(total);
                     }
                   }
                 }
               });
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
