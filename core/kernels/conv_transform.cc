#include "core/kernels/conv_transform.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/conv_transform.cc"
#include <algorithm>
#include <array>

#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<Real>;
using V = hn::Vec<D>;
constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));

HWY_INLINE V Times(Real factor, V x) { return hn::Mul(hn::Set(D(), factor), x); }
HWY_INLINE V Plus(V x, Real factor, V y) { return hn::MulAdd(hn::Set(D(), factor), y, x); }

// The maps along one axis, of vectors x[0], x[1], … in place of single numbers, follow from the
// points alone. Points are 0, some others, ∞, in this order; each set is one with fewer points and
// one more, or two.

template <std::size_t kCount, class... More>
constexpr auto Append(const std::array<Real, kCount>& points, More... more) {
  std::array<Real, kCount + sizeof...(more)> all{};
  std::copy(points.begin(), points.end(), all.begin());
  std::size_t at = kCount;
  ((all[at++] = more), ...);
  return all;
}

struct Zero {
  static constexpr std::array<Real, 1> kFinite = {0};
  static constexpr int kN = 2;
  /// Π(t − q) over all finite points q, with x[i] for tⁱ: the row of Bᵀ of ∞.
  static HWY_INLINE V Top(const V* x) { return x[1]; }
  /// t = Bᵀ x
  static HWY_INLINE void Input(const V* x, V* t) {
    t[0] = x[0];
    t[1] = x[1];
  }
};

/// And a = kNumerator / kDenominator: one more factor t − a in the rows of Bᵀ of all others.
template <class Rest, int kNumerator, int kDenominator>
struct And {
  static constexpr Real a = Real(kNumerator) / kDenominator;
  static constexpr auto kFinite = Append(Rest::kFinite, a);
  static constexpr int kN = Rest::kN + 1;

  static HWY_INLINE V Top(const V* x) { return Plus(Rest::Top(x + 1), -a, Rest::Top(x)); }
  static HWY_INLINE void Input(const V* x, V* t) {
    V d[Rest::kN];
    HWY_UNROLL(8)
    for (int i = 0; i < Rest::kN; ++i) d[i] = Plus(x[i + 1], -a, x[i]);
    Rest::Input(d, t);
    t[kN - 1] = t[kN - 2];
    t[kN - 2] = Rest::Top(x);
  }
};

/// And ±a.
template <class Rest, int kNumerator, int kDenominator>
struct AndBoth {
  static constexpr Real a = Real(kNumerator) / kDenominator;
  static constexpr auto kFinite = Append(Rest::kFinite, a, -a);
  static constexpr int kN = Rest::kN + 2;

  static HWY_INLINE V Top(const V* x) { return Plus(Rest::Top(x + 2), -a * a, Rest::Top(x)); }
  static HWY_INLINE void Input(const V* x, V* t) {
    V d[Rest::kN];
    HWY_UNROLL(8)
    for (int i = 0; i < Rest::kN; ++i) d[i] = Plus(x[i + 2], -a * a, x[i]);
    Rest::Input(d, t);
    const V even = Rest::Top(x + 1), odd = Rest::Top(x);
    t[kN - 1] = t[kN - 3];
    t[kN - 3] = Plus(even, a, odd);
    t[kN - 2] = Plus(even, -a, odd);
  }
};

/// F(m, r) with these points.
template <class Points, int m, int r>
struct Filter1D {
  static constexpr int kM = m, kR = r, kN = m + r - 1, kLast = kN - 2;  // the last finite point
  static_assert(Points::kN == kN);

  static constexpr Real At(int i) { return Points::kFinite[static_cast<std::size_t>(i)]; }
  static constexpr bool Paired(int i) { return i < kLast && At(i + 1) == -At(i); }
  struct Tables {
    std::array<std::array<Real, kN>, kN> power{};  // of each finite point
    std::array<Real, kN> scale{};                  // 1 / Π(q[i] − q[j]) over j ≠ i
  };
  static constexpr Tables kTables = [] {
    Tables tables;
    for (int i = 0; i <= kLast; ++i) {
      const auto at = static_cast<std::size_t>(i);
      tables.power[at][0] = 1;
      for (std::size_t j = 1; j < kN; ++j) tables.power[at][j] = tables.power[at][j - 1] * At(i);
      Real product = 1;
      for (int j = 0; j <= kLast; ++j) product *= j == i ? 1 : At(i) - At(j);
      tables.scale[at] = 1 / product;
    }
    return tables;
  }();
  static HWY_INLINE Real Power(int i, int j) {
    return kTables.power[static_cast<std::size_t>(i)][static_cast<std::size_t>(j)];
  }
  static HWY_INLINE V Scaled(int i, V x) {
    return Times(kTables.scale[static_cast<std::size_t>(i)], x);
  }

  /// t[i] = Σ q[i]ʲ x[j], for ∞ the last x.
  template <int kCount, int i = 0>
  static HWY_INLINE void Evaluate(const V* x, V* t) {
    if constexpr (i == 0) {
      t[0] = x[0];
      t[kN - 1] = x[kCount - 1];
      Evaluate<kCount, 1>(x, t);
    } else if constexpr (i <= kLast) {
      constexpr int kSteps = Paired(i) ? 2 : 1;
      // Of a pair, even and odd powers apart.
      V even = x[0], odd = Times(At(i), x[1]);
      HWY_UNROLL(8)
      for (int j = 2; j < kCount; ++j) {
        V& sum = j % 2 == 0 ? even : odd;
        sum = Plus(sum, Power(i, j), x[j]);
      }
      t[i] = hn::Add(even, odd);
      if constexpr (kSteps == 2) t[i + 1] = hn::Sub(even, odd);
      Evaluate<kCount, i + kSteps>(x, t);
    }
  }

  /// y[j] = Σ q[i]ʲ p[i], ∞ as the last one.
  template <int kCount, int i = 0>
  static HWY_INLINE void Collect(const V* p, V* y) {
    if constexpr (i == 0) {
      y[0] = p[0];
      y[kCount - 1] = p[kN - 1];
      HWY_UNROLL(8)
      for (int j = 1; j < kCount - 1; ++j) y[j] = hn::Zero(D());
      Collect<kCount, 1>(p, y);
    } else if constexpr (i <= kLast) {
      constexpr int kSteps = Paired(i) ? 2 : 1;
      V even = p[i], odd = p[i];
      if constexpr (kSteps == 2) {
        even = hn::Add(p[i], p[i + 1]);
        odd = hn::Sub(p[i], p[i + 1]);
      }
      HWY_UNROLL(8)
      for (int j = 0; j < kCount; ++j) y[j] = Plus(y[j], Power(i, j), j % 2 == 0 ? even : odd);
      Collect<kCount, i + kSteps>(p, y);
    }
  }

  static HWY_INLINE void Input(const V* x, V* t) { Points::Input(x, t); }
  static HWY_INLINE void Output(const V* p, V* y) { Collect<m>(p, y); }
  static HWY_INLINE void Gradient(const V* g, V* t) { Evaluate<m>(g, t); }
  static HWY_INLINE void Weight(const V* w, V* u) {
    Evaluate<r>(w, u);
    HWY_UNROLL(8)
    for (int i = 0; i <= kLast; ++i) u[i] = Scaled(i, u[i]);
  }
  static HWY_INLINE void WeightGradient(const V* p, V* w) {
    V scaled[kN];
    HWY_UNROLL(8)
    for (int i = 0; i <= kLast; ++i) scaled[i] = Scaled(i, p[i]);
    scaled[kN - 1] = p[kN - 1];
    Collect<r>(scaled, w);
  }
};

using Points3 = And<Zero, 1, 1>;
using Points4 = AndBoth<Zero, 1, 1>;
using Points5 = And<Points4, 1, 2>;
using Points6 = AndBoth<AndBoth<Zero, 5, 8>, 3, 2>;
using Points7 = And<AndBoth<AndBoth<Zero, 9, 16>, 19, 16>, 11, 4>;
using Points8 = AndBoth<AndBoth<AndBoth<Zero, 1, 2>, 1, 1>, 2, 1>;

// The map of one axis, applied along both: `kIn` × `kIn` vectors to `kOut` × `kOut`. Columns first,
// through the stack, because all of them at once are more than there are registers.
template <int kIn, int kOut, class Map, class Load, class Store>
HWY_INLINE void Both(Map map, Load load, Store store) {
  const D d;
  HWY_ALIGN Real half[kOut * kIn * kLanes];
  for (int c = 0; c < kIn; ++c) {
    V x[kIn], t[kOut];
    HWY_UNROLL(8)
    for (int r = 0; r < kIn; ++r) x[r] = load(r, c);
    map(x, t);
    HWY_UNROLL(8)
    for (int r = 0; r < kOut; ++r) hn::Store(t[r], d, half + (r * kIn + c) * kLanes);
  }
  for (int r = 0; r < kOut; ++r) {
    V x[kIn], t[kOut];
    HWY_UNROLL(8)
    for (int c = 0; c < kIn; ++c) x[c] = hn::Load(d, half + (r * kIn + c) * kLanes);
    map(x, t);
    store(r, t);
  }
}

template <class F>
void InputOf(const Real* from, const std::int32_t* offsets, const TileVector* tiles,
             std::int64_t count, Real* to, std::int64_t xi_stride) {
  const D d;
  for (const TileVector* tile = tiles; tile != tiles + count; ++tile) {
    const Real* in = from + tile->in;
    Real* out = to + tile->out;
    Both<F::kN, F::kN>([](const V* x, V* t) HWY_ATTR { F::Input(x, t); },
                       [&](int r, int c)
                           HWY_ATTR { return hn::LoadU(d, in + offsets[r * F::kN + c]); },
                       [&](int r, const V* t) HWY_ATTR {
                         HWY_UNROLL(8)
                         for (int c = 0; c < F::kN; ++c)
                           hn::StoreU(t[c], d, out + (r * F::kN + c) * xi_stride);
                       });
  }
}

template <class F>
void WeightOf(const Real* from, const std::int32_t* offsets, const TileVector* tiles,
              std::int64_t count, Real* to, std::int64_t xi_stride) {
  const D d;
  for (const TileVector* tile = tiles; tile != tiles + count; ++tile) {
    const Real* in = from + tile->in;
    Real* out = to + tile->out;
    Both<F::kR, F::kN>([](const V* x, V* t) HWY_ATTR { F::Weight(x, t); },
                       [&](int r, int c)
                           HWY_ATTR { return hn::LoadU(d, in + offsets[r * F::kR + c]); },
                       [&](int r, const V* t) HWY_ATTR {
                         HWY_UNROLL(8)
                         for (int c = 0; c < F::kN; ++c)
                           hn::StoreU(t[c], d, out + (r * F::kN + c) * xi_stride);
                       });
  }
}

template <class F>
void GradientOf(const Real* from, const std::int32_t* offsets, const TileVector* tiles,
                std::int64_t count, Real* to, std::int64_t xi_stride) {
  const D d;
  for (const TileVector* tile = tiles; tile != tiles + count; ++tile) {
    const Real* in = from + tile->in;
    Real* out = to + tile->out;
    Both<F::kM, F::kN>([](const V* x, V* t) HWY_ATTR { F::Gradient(x, t); },
                       [&](int r, int c)
                           HWY_ATTR { return hn::LoadU(d, in + offsets[r * F::kM + c]); },
                       [&](int r, const V* t) HWY_ATTR {
                         HWY_UNROLL(8)
                         for (int c = 0; c < F::kN; ++c)
                           hn::StoreU(t[c], d, out + (r * F::kN + c) * xi_stride);
                       });
  }
}

template <class F>
void OutputOf(const Real* from, std::int64_t xi_stride, const TileVector* tiles, std::int64_t count,
              Real bias, const std::int32_t* offsets, Real* to) {
  const D d;
  const V start = hn::Set(d, bias);
  for (const TileVector* tile = tiles; tile != tiles + count; ++tile) {
    const Real* in = from + tile->in;
    Real* out = to + tile->out;
    Both<F::kN, F::kM>([](const V* x, V* t) HWY_ATTR { F::Output(x, t); },
                       [&](int r, int c)
                           HWY_ATTR { return hn::LoadU(d, in + (r * F::kN + c) * xi_stride); },
                       [&](int r, const V* t) HWY_ATTR {
                         HWY_UNROLL(8)
                         for (int c = 0; c < F::kM; ++c) {
                           const std::int32_t offset = offsets[r * F::kM + c];
                           if (offset >= 0) hn::StoreU(hn::Add(t[c], start), d, out + offset);
                         }
                       });
  }
}

template <class F>
void WeightGradientOf(const Real* from, std::int64_t xi_stride, const TileVector* tiles,
                      std::int64_t count, const std::int32_t* offsets, Real* to) {
  const D d;
  for (const TileVector* tile = tiles; tile != tiles + count; ++tile) {
    const Real* in = from + tile->in;
    Real* out = to + tile->out;
    Both<F::kN, F::kR>([](const V* x, V* t) HWY_ATTR { F::WeightGradient(x, t); },
                       [&](int r, int c)
                           HWY_ATTR { return hn::LoadU(d, in + (r * F::kN + c) * xi_stride); },
                       [&](int r, const V* t) HWY_ATTR {
                         for (int c = 0; c < F::kR; ++c)
                           hn::StoreU(t[c], d, out + offsets[r * F::kR + c]);
                       });
  }
}

template <class F>
void OutputRowOf(const Real* from, std::int64_t xi_stride, const TileVector* tiles,
                 std::int64_t count, Real bias, std::int64_t rows, Real* to,
                 std::int64_t row_stride) {
  const D d;
  const V start = hn::Set(d, bias);
  for (const TileVector* tile = tiles; tile != tiles + count; ++tile) {
    const Real* in = from + tile->in;
    Real* out = to + tile->out;
    Both<F::kN, F::kM>(
        [](const V* x, V* t) HWY_ATTR { F::Output(x, t); },
        [&](int r, int c) HWY_ATTR { return hn::LoadU(d, in + (r * F::kN + c) * xi_stride); },
        [&](int r, const V* t) HWY_ATTR {
          if (r >= rows) return;
          Real* row = out + r * row_stride;
          if constexpr (F::kM == 4) {
            hn::StoreInterleaved4(hn::Add(t[0], start), hn::Add(t[1], start), hn::Add(t[2], start),
                                  hn::Add(t[3], start), d, row);
          } else {
            hn::StoreInterleaved2(hn::Add(t[0], start), hn::Add(t[1], start), d, row);
          }
        });
  }
}

#define TAPESTRY_BY_SCHEME(function, ...)                    \
  switch (scheme) {                                          \
    case Scheme::k2x2:                                       \
      return function<Filter1D<Points3, 2, 2>>(__VA_ARGS__); \
    case Scheme::k4x2:                                       \
      return function<Filter1D<Points5, 4, 2>>(__VA_ARGS__); \
    case Scheme::k2x3:                                       \
      return function<Filter1D<Points4, 2, 3>>(__VA_ARGS__); \
    case Scheme::k4x3:                                       \
      return function<Filter1D<Points6, 4, 3>>(__VA_ARGS__); \
    case Scheme::k4x4:                                       \
      return function<Filter1D<Points7, 4, 4>>(__VA_ARGS__); \
    case Scheme::k4x5:                                       \
      return function<Filter1D<Points8, 4, 5>>(__VA_ARGS__); \
  }

void Input(Scheme scheme, const Real* from, const std::int32_t* offsets, const TileVector* tiles,
           std::int64_t count, Real* to, std::int64_t xi_stride) {
  TAPESTRY_BY_SCHEME(InputOf, from, offsets, tiles, count, to, xi_stride)
}
void Weight(Scheme scheme, const Real* from, const std::int32_t* offsets, const TileVector* tiles,
            std::int64_t count, Real* to, std::int64_t xi_stride) {
  TAPESTRY_BY_SCHEME(WeightOf, from, offsets, tiles, count, to, xi_stride)
}
void Gradient(Scheme scheme, const Real* from, const std::int32_t* offsets, const TileVector* tiles,
              std::int64_t count, Real* to, std::int64_t xi_stride) {
  TAPESTRY_BY_SCHEME(GradientOf, from, offsets, tiles, count, to, xi_stride)
}
void Output(Scheme scheme, const Real* from, std::int64_t xi_stride, const TileVector* tiles,
            std::int64_t count, Real bias, const std::int32_t* offsets, Real* to) {
  TAPESTRY_BY_SCHEME(OutputOf, from, xi_stride, tiles, count, bias, offsets, to)
}
void WeightGradient(Scheme scheme, const Real* from, std::int64_t xi_stride,
                    const TileVector* tiles, std::int64_t count, const std::int32_t* offsets,
                    Real* to) {
  TAPESTRY_BY_SCHEME(WeightGradientOf, from, xi_stride, tiles, count, offsets, to)
}
void OutputRow(Scheme scheme, const Real* from, std::int64_t xi_stride, const TileVector* tiles,
               std::int64_t count, Real bias, std::int64_t rows, Real* to,
               std::int64_t row_stride) {
  TAPESTRY_BY_SCHEME(OutputRowOf, from, xi_stride, tiles, count, bias, rows, to, row_stride)
}
#undef TAPESTRY_BY_SCHEME

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(Input);
HWY_EXPORT(Weight);
HWY_EXPORT(Gradient);
HWY_EXPORT(Output);
HWY_EXPORT(WeightGradient);
HWY_EXPORT(OutputRow);

SchemeSize scheme_size(Scheme scheme) {
  switch (scheme) {
    case Scheme::k2x2:
      return {2, 2, 3};
    case Scheme::k4x2:
      return {4, 2, 5};
    case Scheme::k2x3:
      return {2, 3, 4};
    case Scheme::k4x3:
      return {4, 3, 6};
    case Scheme::k4x4:
      return {4, 4, 7};
    case Scheme::k4x5:
      return {4, 5, 8};
  }
  return {};
}
void transform_input(Scheme scheme, const Real* from, const std::int32_t* offsets,
                     const TileVector* tiles, std::int64_t count, Real* to,
                     std::int64_t xi_stride) {
  HWY_DYNAMIC_DISPATCH(Input)(scheme, from, offsets, tiles, count, to, xi_stride);
}
void transform_weight(Scheme scheme, const Real* from, const std::int32_t* offsets,
                      const TileVector* tiles, std::int64_t count, Real* to,
                      std::int64_t xi_stride) {
  HWY_DYNAMIC_DISPATCH(Weight)(scheme, from, offsets, tiles, count, to, xi_stride);
}
void transform_gradient(Scheme scheme, const Real* from, const std::int32_t* offsets,
                        const TileVector* tiles, std::int64_t count, Real* to,
                        std::int64_t xi_stride) {
  HWY_DYNAMIC_DISPATCH(Gradient)(scheme, from, offsets, tiles, count, to, xi_stride);
}
void transform_output(Scheme scheme, const Real* from, std::int64_t xi_stride,
                      const TileVector* tiles, std::int64_t count, Real bias,
                      const std::int32_t* offsets, Real* to) {
  HWY_DYNAMIC_DISPATCH(Output)(scheme, from, xi_stride, tiles, count, bias, offsets, to);
}
void transform_weight_gradient(Scheme scheme, const Real* from, std::int64_t xi_stride,
                               const TileVector* tiles, std::int64_t count,
                               const std::int32_t* offsets, Real* to) {
  HWY_DYNAMIC_DISPATCH(WeightGradient)(scheme, from, xi_stride, tiles, count, offsets, to);
}
void transform_output_row(Scheme scheme, const Real* from, std::int64_t xi_stride,
                          const TileVector* tiles, std::int64_t count, Real bias, std::int64_t rows,
                          Real* to, std::int64_t row_stride) {
  HWY_DYNAMIC_DISPATCH(OutputRow)
  (scheme, from, xi_stride, tiles, count, bias, rows, to, row_stride);
}

}  // namespace tapestry::kernels
#endif
