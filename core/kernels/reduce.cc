#include "core/kernels/reduce.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/reduce.cc"
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/simd-inl.h"
#include "core/memory.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// How a reduction goes: Tag are the lanes it works in, kStart the result for nothing, step() takes
// one more number, and the operator combines partial results.
template <class Op>
struct Plain {
  template <class V>
  HWY_INLINE V step(V a, V x) const {
    return static_cast<const Op&>(*this)(a, x);
  }
};
struct SumOf : Plain<SumOf> {
  using Tag = WideTag;
  static constexpr double kStart = 0;
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
};
struct SquaresOf : SumOf {
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
    auto a = hn::Set(d, Op::kStart), b = a, c = a, e = a;  // four, as an addition takes four cycles
    for (; i + 4 * lanes <= n; i += 4 * lanes) {
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

// y[j] = op over i of x[i·stride + j], for j < n: columns side by side in lanes, four vectors of
// them at a time.
template <class Op, class T>
HWY_INLINE void ReduceColumns(Op op, const T* x, std::int64_t count, std::int64_t stride,
                              Value<Op>* y, std::int64_t n) {
  const typename Op::Tag d;
  const std::int64_t lanes = LaneCount(d);
  std::int64_t j = 0;
  for (; j + 4 * lanes <= n; j += 4 * lanes) {
    auto a = hn::Set(d, Op::kStart), b = a, c = a, e = a;
    const T* row = x + j;
    for (std::int64_t i = 0; i < count; ++i, row += stride) {
      a = op.step(a, LoadAs(d, row));
      b = op.step(b, LoadAs(d, row + lanes));
      c = op.step(c, LoadAs(d, row + 2 * lanes));
      e = op.step(e, LoadAs(d, row + 3 * lanes));
    }
    hn::StoreU(a, d, y + j);
    hn::StoreU(b, d, y + j + lanes);
    hn::StoreU(c, d, y + j + 2 * lanes);
    hn::StoreU(e, d, y + j + 3 * lanes);
  }
  for (; j + lanes <= n; j += lanes) {
    auto a = hn::Set(d, Op::kStart);
    for (std::int64_t i = 0; i < count; ++i) a = op.step(a, LoadAs(d, x + i * stride + j));
    hn::StoreU(a, d, y + j);
  }
  for (; j < n; ++j) {
    Value<Op> a = Op::kStart;
    for (std::int64_t i = 0; i < count; ++i)
      a = Step(op, a, static_cast<Value<Op>>(x[i * stride + j]));
    y[j] = a;
  }
}

template <class Op, class T>
void ReducePiece(Op op, const T* x, std::int64_t count, std::int64_t inner, Value<Op>* y) {
  if (inner == 1) {
    *y = ReduceRun(op, x, count);
    return;
  }
  // 512 columns: a few rows of them stay in the first-level cache.
  constexpr std::int64_t kBlock = 512;
  for (std::int64_t j = 0; j < inner; j += kBlock) {
    ReduceColumns(op, x + j, count, inner, y + j, std::min(kBlock, inner - j));
  }
}

// Note [Pieces]
// ~~~~~~~~~~~~~
// A few long reductions are cut along the reduced axis, so that all threads have work; the partial
// results are combined in order. Where and whether to cut depends on the sizes alone, never on the
// number of threads.
constexpr std::int64_t kPiece = 16384;  // elements; about 5 µs

template <class Op, class Again = Op, class T>
void ReduceView3(Op op, const T* x, Value<Op>* y, const ReduceView& v) {
  const std::int64_t outputs = v.outer * v.inner;
  if (outputs == 0) return;
  const std::int64_t work = v.reduced * v.inner;  // for one outer position
  std::int64_t pieces = 1;
  if (v.outer < 8 && work > 2 * kPiece) {
    pieces = std::clamp<std::int64_t>(work / kPiece, 1, std::min<std::int64_t>(v.reduced, 64));
  }
  if (pieces == 1) {
    const std::int64_t grain = std::max<std::int64_t>(1, kPiece / std::max<std::int64_t>(1, work));
    parallel_for(v.outer, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        ReducePiece(op, x + o * work, v.reduced, v.inner, y + o * v.inner);
      }
    });
    return;
  }
  const std::int64_t step = (v.reduced + pieces - 1) / pieces;
  Scratch<Value<Op>> partial(v.outer * pieces * v.inner);
  parallel_for(v.outer * pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t o = task / pieces, first = std::min(v.reduced, task % pieces * step);
      const std::int64_t count = std::min(step, v.reduced - first);
      ReducePiece(op, x + o * work + first * v.inner, count, v.inner,
                  partial.data() + task * v.inner);
    }
  });
  for (std::int64_t o = 0; o < v.outer; ++o) {
    ReducePiece(Again(), partial.data() + o * pieces * v.inner, pieces, v.inner, y + o * v.inner);
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
