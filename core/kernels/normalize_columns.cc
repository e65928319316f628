// Normalization where neighbors belong to different sets: BatchNorm1d, small images. See Note
// [Columns].
#include "core/kernels/normalize_view.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/normalize_columns.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/normalize-inl.h"
#include "core/memory.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

// For each column j < n of `rows` rows: f(a, b, values…) with two sums; `center` has a number for
// each column.
template <class F, class... In>
HWY_INLINE void SumColumns(F f, std::int64_t rows, std::int64_t stride, std::int64_t n,
                           const double* center, double* a, double* b, const In*... in) {
  const WideTag d;
  const std::int64_t lanes = LaneCount(d);
  std::int64_t j = 0;
  for (; j + 2 * lanes <= n; j += 2 * lanes) {
    Wide a0 = hn::Zero(d), b0 = a0, a1 = a0, b1 = a0;
    const Wide c0 = hn::LoadU(d, center + j), c1 = hn::LoadU(d, center + j + lanes);
    for (std::int64_t i = 0; i < rows; ++i) {
      f(a0, b0, c0, LoadWide(d, in + i * stride + j)...);
      f(a1, b1, c1, LoadWide(d, in + i * stride + j + lanes)...);
    }
    hn::StoreU(a0, d, a + j);
    hn::StoreU(b0, d, b + j);
    hn::StoreU(a1, d, a + j + lanes);
    hn::StoreU(b1, d, b + j + lanes);
  }
  const hn::CappedTag<double, 1> one;
  for (; j < n; ++j) {
    auto s = hn::Zero(one), t = s;
    const auto c = hn::Set(one, center[j]);
    for (std::int64_t i = 0; i < rows; ++i)
      f(s, t, c, hn::Set(one, static_cast<double>(in[i * stride + j]))...);
    a[j] = hn::GetLane(s);
    b[j] = hn::GetLane(t);
  }
}

// The same in lanes of Real, kTerms rows at a time, see Note [Sums in floats]; so rows are read in
// the order of memory. f(a, b, d, column, values…) loads what it needs to know of its columns.
template <class F, class... In>
HWY_INLINE void SumColumnsInReals(F f, std::int64_t rows, std::int64_t stride, std::int64_t n,
                                  double* a, double* b, const In*... in) {
  std::fill_n(a, n, 0.0);
  std::fill_n(b, n, 0.0);
  for (std::int64_t row = 0; row < rows; row += kTerms) {
    const std::int64_t count = std::min(kTerms, rows - row);
    const auto column = [&](auto d, std::int64_t j) HWY_ATTR {
      auto s = hn::Zero(d), t = s;
      for (std::int64_t i = row; i < row + count; ++i)
        f(s, t, d, j, hn::LoadU(d, in + i * stride + j)...);
      AddLanes(d, s, a + j);
      AddLanes(d, t, b + j);
    };
    const RealTag d;
    std::int64_t j = 0;
    for (; j + LaneCount(d) <= n; j += LaneCount(d)) column(d, j);
    for (; j < n; ++j) column(hn::CappedTag<Real, 1>(), j);
  }
}

// Σ f over each column of the matrix, by blocks of columns on all threads.
template <class Sum>
void EachBlock(const Columns& c, Sum sum) {
  constexpr std::int64_t kBlock = 128;
  const std::int64_t blocks = (c.width + kBlock - 1) / kBlock;
  parallel_for(blocks, grain(c.rows * kBlock), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kBlock;
    sum(first, std::min(c.width, end * kBlock) - first);
  });
}
template <class F, class... In>
void SumMatrix(F f, const Columns& c, const double* center, double* a, double* b, const In*... in) {
  EachBlock(c, [&](std::int64_t first, std::int64_t n) {
    SumColumns(f, c.rows, c.width, n, center + first, a + first, b + first, (in + first)...);
  });
}
template <class F, class... In>
void SumMatrixInReals(F f, const Columns& c, double* a, double* b, const In*... in) {
  EachBlock(c, [&](std::int64_t first, std::int64_t n) {
    const auto from_first = [=](auto& s, auto& t, auto d, std::int64_t j, auto... values)
                                HWY_ATTR { f(s, t, d, first + j, values...); };
    SumColumnsInReals(from_first, c.rows, c.width, n, a + first, b + first, (in + first)...);
  });
}

// y = f(values…) on each row; f is called with the column as well.
template <class F>
void EachRow(const Columns& c, F f) {
  parallel_for(c.rows, grain(c.width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) f(row * c.width);
  });
}

// Calls use(column, set within the matrix) for every column.
template <class F>
HWY_INLINE void EachColumn(const NormView& v, const Columns& c, F use) {
  for (std::int64_t j = 0; j < c.width;) {
    for (std::int64_t k = 0; k < v.kept; ++k) {
      for (std::int64_t i = 0; i < v.inner; ++i, ++j) use(j, k);
    }
  }
}

// Calls use(column, position in γ and β) for every column of a matrix that starts at element
// `first`.
template <class F>
HWY_INLINE void EachAffine(const Columns& c, const AffineView& a, std::int64_t first, F use) {
  std::int64_t position = first / a.inner % a.kept, left = a.inner - first % a.inner;
  for (std::int64_t j = 0; j < c.width; ++j) {
    use(j, position);
    if (--left == 0) {
      left = a.inner;
      if (++position == a.kept) position = 0;
    }
  }
}

// Σ over the columns of each set, for one [outer, kept, inner] matrix.
void Fold(const NormView& v, const Columns& c, const double* by_column, double* by_set) {
  std::fill_n(by_set, v.kept, 0.0);
  EachColumn(v, c, [&](std::int64_t j, std::int64_t k) { by_set[k] += by_column[j]; });
}
template <class T>
void Spread(const NormView& v, const Columns& c, const double* by_set, T* by_column) {
  EachColumn(v, c,
             [&](std::int64_t j, std::int64_t k) { by_column[j] = static_cast<T>(by_set[k]); });
}

// The factors of a matrix's columns as Reals.
struct ColumnFactors {
  ColumnFactors(const NormView& v, const Columns& c, const AffineView& a, const NormMoments& m,
                std::int64_t first_set, std::int64_t first)
      : high(c.width), low(c.width), gamma(c.width), beta(c.width), scale(c.width), shift(c.width) {
    EachColumn(v, c, [&](std::int64_t j, std::int64_t k) {
      const Center center = CenterOf(m, first_set + k);
      is_safe = is_safe && center.is_safe;
      high[j] = center.high;
      low[j] = center.low;
      scale[j] = center.rstd;
    });
    EachAffine(c, a, first, [&](std::int64_t j, std::int64_t at) {
      gamma[j] = a.gamma == nullptr ? 1 : a.gamma[at];
      beta[j] = a.beta == nullptr ? 0 : a.beta[at];
      scale[j] *= gamma[j];
      shift[j] = beta[j] - low[j] * scale[j];
    });
  }
  // γ·(x − mean)·rstd + β = (x − high)·scale + shift
  Scratch<Real> high, low, gamma, beta, scale, shift;
  bool is_safe = true;
};

void ApplyColumns(const Real* x, Real* y, const NormView& v, const AffineView& a,
                  const NormMoments& m, std::int64_t batch) {
  const Columns c = columns(v);
  const std::int64_t first = batch * v.outer * v.kept * v.inner, first_set = batch * v.kept;
  ColumnFactors factors(v, c, a, m, first_set, first);
  EachRow(c, [&](std::int64_t at) {
    if (!factors.is_safe) {
      EachColumn(v, c, [&](std::int64_t j, std::int64_t k) {
        ApplyRun(x + first + at + j, y + first + at + j, 1, CenterOf(m, first_set + k),
                 factors.gamma[j], factors.beta[j], a.slope, {0, false});
      });
      return;
    }
    WithBend(a.slope, [&](auto bend) HWY_ATTR {
      Map(
          [=](auto d, auto u, auto high, auto scale, auto shift) HWY_ATTR {
            const auto z = hn::MulAdd(hn::Sub(u, high), scale, shift);
            return bend(d, z, z);
          },
          y + first + at, c.width, x + first + at, factors.high.data(), factors.scale.data(),
          factors.shift.data());
    });
  });
}

// Σ (x − middle) and Σ (x − middle)².
constexpr auto kAbout = [](auto& p, auto& q, auto middle, auto u) HWY_ATTR {
  const auto rest = hn::Sub(u, middle);
  p = hn::Add(p, rest);
  q = hn::MulAdd(rest, rest, q);
};

// The moments of all sets in one pass about their first numbers; whether that was exact.
bool MomentsInOnePass(const Real* from, const NormView& v, double eps, bool centered,
                      const NormMoments& m, double* variance, std::int64_t first_set) {
  const Columns c = columns(v);
  Scratch<Real> near(c.width);
  Scratch<double> s(c.width), t(c.width), by_set(2 * v.kept);
  const auto near_of = [&](std::int64_t k) { return centered ? from[k * v.inner] : Real(0); };
  EachColumn(v, c, [&](std::int64_t j, std::int64_t k) { near[j] = near_of(k); });
  SumMatrixInReals([about = near.data()](auto& p, auto& q, auto d, std::int64_t j, auto u)
                       HWY_ATTR { kAbout(p, q, hn::LoadU(d, about + j), u); },
                   c, s.data(), t.data(), from);
  Fold(v, c, s.data(), by_set.data());
  Fold(v, c, t.data(), by_set.data() + v.kept);
  bool exact = true;
  for (std::int64_t k = 0; k < v.kept; ++k) {
    const Pair rest{centered ? by_set[k] : 0, by_set[v.kept + k]};
    exact = FinishOne(v, m, variance, eps, first_set + k, static_cast<double>(near_of(k)), rest) &&
            exact;
  }
  return exact;
}

void MomentsInTwoPasses(const Real* from, const NormView& v, double eps, bool centered,
                        const NormMoments& m, double* variance, std::int64_t first_set) {
  const Columns c = columns(v);
  Scratch<double> center(c.width), s(c.width), t(c.width), by_set(2 * v.kept);
  std::fill_n(center.data(), c.width, 0.0);
  double* mean = m.mean + first_set;
  std::fill_n(mean, v.kept, 0.0);
  if (centered) {
    SumMatrix([](auto& p, auto&, auto, auto u) HWY_ATTR { p = hn::Add(p, u); }, c, center.data(),
              s.data(), t.data(), from);
    Fold(v, c, s.data(), mean);
    for (std::int64_t k = 0; k < v.kept; ++k) mean[k] /= static_cast<double>(v.count());
    Spread(v, c, mean, center.data());
  }
  SumMatrix(kAbout, c, center.data(), s.data(), t.data(), from);
  Fold(v, c, s.data(), by_set.data());
  Fold(v, c, t.data(), by_set.data() + v.kept);
  for (std::int64_t k = 0; k < v.kept; ++k) {
    FinishOne(v, m, variance, eps, first_set + k, mean[k],
              {centered ? by_set[k] : 0, by_set[v.kept + k]});
  }
}

void ForwardColumns(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                    bool centered, const NormMoments& m, double* variance, std::int64_t batch) {
  const Real* from = x + batch * v.outer * v.kept * v.inner;
  if (!MomentsInOnePass(from, v, eps, centered, m, variance, batch * v.kept))
    MomentsInTwoPasses(from, v, eps, centered, m, variance, batch * v.kept);
  ApplyColumns(x, y, v, a, m, batch);
}

// dγ and dβ are added to.
void BackwardColumns(const Real* g, const Real* x, Real* dx, const NormView& v, const AffineView& a,
                     const NormMoments& m, NormKind kind, double* dgamma, double* dbeta,
                     std::int64_t batch) {
  const Columns c = columns(v);
  const std::int64_t first = batch * v.outer * v.kept * v.inner, first_set = batch * v.kept;
  const Real *up = g + first, *from = x + first;
  ColumnFactors factors(v, c, a, m, first_set, first);
  Scratch<double> s(c.width), t(c.width), by_set(2 * v.kept);
  const auto add = [](auto& p, auto& q, auto rest, auto w) HWY_ATTR {
    p = hn::Add(p, w);
    q = hn::MulAdd(w, rest, q);
  };
  if (factors.is_safe) {
    WithBend(a.slope, [&](auto bend) HWY_ATTR {
      SumMatrixInReals(
          [=, high = factors.high.data(), scale = factors.scale.data(),
           shift = factors.shift.data()](auto& p, auto& q, auto d, std::int64_t j, auto w, auto u)
              HWY_ATTR {
                const auto rest = hn::Sub(u, hn::LoadU(d, high + j));
                const auto z = hn::MulAdd(rest, hn::LoadU(d, scale + j), hn::LoadU(d, shift + j));
                add(p, q, rest, bend(d, z, w));
              },
          c, s.data(), t.data(), up, from);
    });
    for (std::int64_t j = 0; j < c.width; ++j) t[j] -= static_cast<double>(factors.low[j]) * s[j];
  } else {
    Scratch<double> center(c.width);
    Spread(v, c, m.mean + first_set, center.data());
    SumMatrix([=](auto& p, auto& q, auto middle, auto w, auto u)
                  HWY_ATTR { add(p, q, hn::Sub(u, middle), w); },
              c, center.data(), s.data(), t.data(), up, from);
  }
  EachColumn(v, c, [&](std::int64_t j, std::int64_t k) { t[j] *= m.rstd[first_set + k]; });
  EachAffine(c, a, first, [&](std::int64_t j, std::int64_t at) {
    if (dbeta != nullptr) dbeta[at] += s[j];
    if (dgamma != nullptr) dgamma[at] += t[j];
    s[j] *= double(factors.gamma[j]);
    t[j] *= double(factors.gamma[j]);
  });
  if (dx == nullptr) return;
  Fold(v, c, s.data(), by_set.data());
  Fold(v, c, t.data(), by_set.data() + v.kept);
  const double share = 1 / static_cast<double>(v.count());
  Scratch<Real> slants(c.width), levels(c.width);
  EachColumn(v, c, [&](std::int64_t j, std::int64_t k) {
    const Means means = MeansOf(kind, {by_set[k], by_set[v.kept + k]}, share);
    const double rstd = m.rstd[first_set + k], steep = means.hx * rstd * rstd;
    slants[j] = static_cast<Real>(steep);
    levels[j] = static_cast<Real>(means.h * rstd - static_cast<double>(factors.low[j]) * steep);
  });
  Real* to = dx + first;
  EachRow(c, [&](std::int64_t at) {
    if (!factors.is_safe) {
      EachColumn(v, c, [&](std::int64_t j, std::int64_t k) {
        const std::int64_t i = at + j;
        const Means means = MeansOf(kind, {by_set[k], by_set[v.kept + k]}, share);
        const double rstd = m.rstd[first_set + k];
        const double hat = (static_cast<double>(from[i]) - m.mean[first_set + k]) * rstd;
        to[i] = static_cast<Real>(
            rstd * (double(factors.gamma[j]) * double(up[i]) - means.h - hat * means.hx));
      });
      return;
    }
    WithBend(a.slope, [&](auto bend) HWY_ATTR {
      Map(
          [bend](auto d, auto w, auto u, auto high, auto scale, auto shift, auto slant, auto level)
              HWY_ATTR {
                const auto rest = hn::Sub(u, high);
                const auto h = bend(d, hn::MulAdd(rest, scale, shift), w);
                return hn::MulSub(h, scale, hn::MulAdd(rest, slant, level));
              },
          to + at, c.width, up + at, from + at, factors.high.data(), factors.scale.data(),
          factors.shift.data(), slants.data(), levels.data());
    });
  });
}

void ForwardByColumns(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                      bool centered, const NormMoments& m, double* variance) {
  parallel_for(v.batch, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b)
      ForwardColumns(x, y, v, a, eps, centered, m, variance, b);
  });
}

void ApplyByColumns(const Real* x, Real* y, const NormView& v, const AffineView& a,
                    const NormMoments& m) {
  for (std::int64_t b = 0; b < v.batch; ++b) ApplyColumns(x, y, v, a, m, b);
}

void BackwardByColumns(const Real* g, const Real* x, Real* dx, const NormView& v,
                       const AffineView& a, const NormMoments& m, NormKind kind, Real* dgamma,
                       Real* dbeta) {
  const bool wants_parameters = dgamma != nullptr || dbeta != nullptr;
  Scratch<double> sums(2 * a.kept);
  double* s = wants_parameters ? sums.data() : nullptr;
  double* t = wants_parameters ? sums.data() + a.kept : nullptr;
  std::fill_n(sums.data(), 2 * a.kept, 0.0);
  // Batches add to the same γ and β, in order; without these, they are independent.
  parallel_for(v.batch, wants_parameters ? v.batch : 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) BackwardColumns(g, x, dx, v, a, m, kind, s, t, b);
  });
  for (std::int64_t j = 0; j < a.kept; ++j) {
    if (dgamma != nullptr) dgamma[j] = static_cast<Real>(sums[j]);
    if (dbeta != nullptr) dbeta[j] = static_cast<Real>(sums[a.kept + j]);
  }
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(ForwardByColumns);
void norm_forward_columns(const Real* x, Real* y, const NormView& v, const AffineView& a,
                          double eps, bool centered, const NormMoments& m, double* variance) {
  HWY_DYNAMIC_DISPATCH(ForwardByColumns)(x, y, v, a, eps, centered, m, variance);
}
HWY_EXPORT(ApplyByColumns);
void norm_apply_columns(const Real* x, Real* y, const NormView& v, const AffineView& a,
                        const NormMoments& m) {
  HWY_DYNAMIC_DISPATCH(ApplyByColumns)(x, y, v, a, m);
}
HWY_EXPORT(BackwardByColumns);
void norm_backward_columns(const Real* g, const Real* x, Real* dx, const NormView& v,
                           const AffineView& a, const NormMoments& m, NormKind kind, Real* dgamma,
                           Real* dbeta) {
  HWY_DYNAMIC_DISPATCH(BackwardByColumns)(g, x, dx, v, a, m, kind, dgamma, dbeta);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
