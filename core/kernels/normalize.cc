#include "core/kernels/normalize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/normalize.cc"
#include <algorithm>
#include <cmath>

#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/simd-inl.h"
#include "core/memory.h"
#include "core/parallel.h"

#ifndef TAPESTRY_CORE_KERNELS_NORMALIZE_ONCE_
#define TAPESTRY_CORE_KERNELS_NORMALIZE_ONCE_
namespace tapestry::kernels {

// Note [Segments]
// ~~~~~~~~~~~~~~~
// A segment is a run of neighbors with one mean, one variance, one γ and one β (or, in "rows", a γ
// and β for each position of the row). All sums are taken segment by segment, and folded to sets
// and to parameters in order; so every member of the family is the same few loops. Short segments,
// as of BatchNorm1d or of 2×2 images, go the other way round: see [Columns].
struct Segments {
  std::int64_t plane;    // elements with one mean and one γ
  std::int64_t cuts;     // segments of a plane
  std::int64_t length;   // of a segment; the last of a plane may be shorter
  std::int64_t per_run;  // segments in the inner elements of a set
  std::int64_t count;    // of all segments
};

constexpr std::int64_t kShort = 16;       // inner extents below go by columns
constexpr std::int64_t kLongest = 16384;  // a segment's elements, about 5 µs of work

inline Segments segments(const NormView& v, const AffineView& a) {
  const bool is_row = a.inner == 1 && a.kept > 1;
  Segments s{};
  s.plane = is_row ? v.inner : std::min(v.inner, a.kept == 1 ? v.inner : a.inner);
  s.cuts = (s.plane + kLongest - 1) / kLongest;
  s.length = std::min(s.plane, kLongest);
  s.per_run = v.inner / s.plane * s.cuts;
  s.count = v.batch * v.outer * v.kept * s.per_run;
  return s;
}

// What of the view, the scale and the statistics a segment sees.
struct Segment {
  std::int64_t at, n, set, affine;  // first element, elements, set, position in γ and β
};

inline Segment segment(const NormView& v, const AffineView& a, const Segments& s,
                       std::int64_t index) {
  const std::int64_t plane = index / s.cuts, cut = index % s.cuts;
  const std::int64_t at = plane * s.plane + cut * s.length, run = at / v.inner;
  return {at, std::min(s.length, s.plane - cut * s.length),
          run / (v.outer * v.kept) * v.kept + run % v.kept, at / a.inner % a.kept};
}

// Calls use(index of a segment) for those of a set, in order.
template <class F>
void for_segments(const NormView& v, const Segments& s, std::int64_t set, F use) {
  const std::int64_t first = set / v.kept * v.outer * v.kept + set % v.kept;
  for (std::int64_t o = 0; o < v.outer; ++o) {
    const std::int64_t run = first + o * v.kept;
    for (std::int64_t i = 0; i < s.per_run; ++i) use(run * s.per_run + i);
  }
}

// One thread takes a whole set, which then stays in its cache from pass to pass; unless there are
// few and large sets, where all threads share each pass. Depends on the sizes only.
inline bool by_sets(const NormView& v) {
  return v.sets() >= 16 || v.count() * v.sets() <= 2 * kLongest;
}

inline std::int64_t grain(std::int64_t elements_each) {
  return std::max<std::int64_t>(1, kLongest / std::max<std::int64_t>(1, elements_each));
}

// Note [Columns]
// ~~~~~~~~~~~~~~
// With short inner extents the array is a matrix of `rows` × `width`, and each column has its own
// statistics while summing; columns of one set are folded afterwards. A matrix that is high and
// narrow is first made wider by joining rows.
struct Columns {
  std::int64_t rows, width, period;  // period: columns after which the sets repeat, kept · inner
};

inline Columns columns(const NormView& v) {
  Columns c{v.outer, v.kept * v.inner, v.kept * v.inner};
  while (c.rows % 2 == 0 && c.width < 1024) c.rows /= 2, c.width *= 2;
  return c;
}

}  // namespace tapestry::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

using Wide = hn::Vec<WideTag>;

// Σ f(values…) of one or two arrays in wide lanes, two sums at a time.
struct Pair {
  double a, b;
};
template <class F, class... In>
HWY_INLINE Pair SumPairs(F f, std::int64_t n, const In*... in) {
  const WideTag d;
  const std::int64_t lanes = LaneCount(d);
  Wide a0 = hn::Zero(d), b0 = a0, a1 = a0, b1 = a0;
  std::int64_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    f(a0, b0, LoadWide(d, in + i)...);
    f(a1, b1, LoadWide(d, in + i + lanes)...);
  }
  Pair sum{SumLanes(d, hn::Add(a0, a1)), SumLanes(d, hn::Add(b0, b1))};
  if (i < n) {
    // Lane by lane, because zeros in unused lanes would not be neutral once a mean is subtracted.
    const hn::CappedTag<double, 1> one;
    auto a = hn::Zero(one), b = a;
    for (; i < n; ++i) f(a, b, hn::Set(one, static_cast<double>(in[i]))...);
    sum.a += hn::GetLane(a);
    sum.b += hn::GetLane(b);
  }
  return sum;
}

HWY_INLINE double RunSum(const Real* x, std::int64_t n) {
  return SumPairs([](auto& a, auto&, auto v) HWY_ATTR { a = hn::Add(a, v); }, n, x).a;
}

// Σ (x − mean) and Σ (x − mean)².
HWY_INLINE Pair RunCentered(const Real* x, std::int64_t n, double mean) {
  return SumPairs(
      [=](auto& a, auto& b, auto v) HWY_ATTR {
        const auto c = hn::Sub(v, hn::Set(hn::DFromV<decltype(v)>(), mean));
        a = hn::Add(a, c);
        b = hn::MulAdd(c, c, b);
      },
      n, x);
}

// Σ g and Σ g·(x − mean).
HWY_INLINE Pair RunGradient(const Real* g, const Real* x, std::int64_t n, double mean) {
  return SumPairs(
      [=](auto& a, auto& b, auto u, auto v) HWY_ATTR {
        a = hn::Add(a, u);
        b = hn::MulAdd(u, hn::Sub(v, hn::Set(hn::DFromV<decltype(v)>(), mean)), b);
      },
      n, g, x);
}
// The same of γ·g, with a γ for each element.
HWY_INLINE Pair RunGradient(const Real* g, const Real* x, const Real* gamma, std::int64_t n,
                            double mean) {
  return SumPairs(
      [=](auto& a, auto& b, auto u, auto v, auto s) HWY_ATTR {
        const auto h = hn::Mul(u, s);
        a = hn::Add(a, h);
        b = hn::MulAdd(h, hn::Sub(v, hn::Set(hn::DFromV<decltype(v)>(), mean)), b);
      },
      n, g, x, gamma);
}

// Note [Two floats]
// ~~~~~~~~~~~~~~~~~
// x − mean in lanes of Real is exact enough if the mean is the sum of two Reals: x − high is exact
// where x is near the mean, and rounds in its own last place elsewhere. Only where rstd leaves the
// range in which its products are safe, wide lanes do it.
struct Center {
  Real high, low, rstd;
  double mean, wide_rstd;
  bool is_safe;
};
HWY_INLINE Center CenterOf(const NormMoments& m, std::int64_t set) {
  Center c{};
  c.mean = m.mean[set];
  c.wide_rstd = m.rstd[set];
  c.high = static_cast<Real>(c.mean);
  c.low = static_cast<Real>(c.mean - static_cast<double>(c.high));
  c.rstd = static_cast<Real>(c.wide_rstd);
  c.is_safe = c.wide_rstd > 1e-30 && c.wide_rstd < 1e30 && std::abs(c.mean) < 1e37;
  return c;
}

template <class D, class V>
HWY_INLINE V Normalized(D d, V x, const Center& c) {
  return hn::Mul(hn::Sub(hn::Sub(x, hn::Set(d, c.high)), hn::Set(d, c.low)), hn::Set(d, c.rstd));
}
HWY_INLINE Wide NormalizedWide(WideTag d, Wide x, const Center& c) {
  return hn::Mul(hn::Sub(x, hn::Set(d, c.mean)), hn::Set(d, c.wide_rstd));
}

HWY_INLINE void ApplyRun(const Real* x, Real* y, std::int64_t n, const Center& c, Real gamma,
                         Real beta) {
  if (!c.is_safe) {
    MapWide(
        [&](auto d, auto v) HWY_ATTR {
          return hn::MulAdd(NormalizedWide(d, v, c), hn::Set(d, double(gamma)),
                            hn::Set(d, double(beta)));
        },
        y, n, x);
    return;
  }
  const RealTag tag;
  const auto high = hn::Set(tag, c.high), low = hn::Set(tag, c.low);
  const auto scale = hn::Set(tag, static_cast<Real>(c.wide_rstd * double(gamma))),
             shift = hn::Set(tag, beta);
  Map([&](auto, auto v)
          HWY_ATTR { return hn::MulAdd(hn::Sub(hn::Sub(v, high), low), scale, shift); },
      y, n, x);
}

// With a γ and a β for each element; either may be nullptr.
HWY_INLINE void ApplyRow(const Real* x, Real* y, std::int64_t n, const Center& c, const Real* gamma,
                         const Real* beta) {
  if (!c.is_safe) {
    MapWide([&](auto d, auto v) HWY_ATTR { return NormalizedWide(d, v, c); }, y, n, x);
    if (gamma != nullptr)
      Map([](auto, auto u, auto s) HWY_ATTR { return hn::Mul(u, s); }, y, n, y, gamma);
    if (beta != nullptr)
      Map([](auto, auto u, auto s) HWY_ATTR { return hn::Add(u, s); }, y, n, y, beta);
  } else if (gamma != nullptr && beta != nullptr) {
    Map([&](auto d, auto v, auto s, auto t)
            HWY_ATTR { return hn::MulAdd(Normalized(d, v, c), s, t); },
        y, n, x, gamma, beta);
  } else if (gamma != nullptr) {
    Map([&](auto d, auto v, auto s) HWY_ATTR { return hn::Mul(Normalized(d, v, c), s); }, y, n, x,
        gamma);
  } else {
    Map([&](auto d, auto v, auto t) HWY_ATTR { return hn::Add(Normalized(d, v, c), t); }, y, n, x,
        beta);
  }
}

void ApplySegment(const Real* x, Real* y, const Segment& s, const AffineView& a, const Center& c) {
  if (a.inner == 1 && a.kept > 1) {
    ApplyRow(x + s.at, y + s.at, s.n, c, a.gamma == nullptr ? nullptr : a.gamma + s.affine,
             a.beta == nullptr ? nullptr : a.beta + s.affine);
  } else {
    ApplyRun(x + s.at, y + s.at, s.n, c, a.gamma == nullptr ? 1 : a.gamma[s.affine],
             a.beta == nullptr ? 0 : a.beta[s.affine]);
  }
}

// Mean, variance and rstd of a set whose elements less `mean` sum to `rest`: a, their squares: b.
HWY_INLINE void Finish(const NormView& v, const NormMoments& m, double* variance, double eps,
                       std::int64_t set, double mean, Pair rest) {
  const double count = static_cast<double>(v.count());
  m.mean[set] = mean + rest.a / count;
  variance[set] = std::max(0.0, (rest.b - rest.a * rest.a / count) / count);
  m.rstd[set] = 1 / std::sqrt(variance[set] + eps);
}

void ForwardSegments(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                     bool centered, const NormMoments& m, double* variance) {
  const Segments parts = segments(v, a);
  const double count = static_cast<double>(v.count());
  const auto finish = [&](std::int64_t set, double mean, Pair rest) {
    if (!centered) rest.a = 0;
    Finish(v, m, variance, eps, set, mean, rest);
  };
  if (by_sets(v)) {
    parallel_for(v.sets(), grain(v.count()), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t set = begin; set < end; ++set) {
        double sum = 0;
        if (centered) {
          for_segments(v, parts, set, [&](std::int64_t i) {
            const Segment s = segment(v, a, parts, i);
            sum += RunSum(x + s.at, s.n);
          });
        }
        const double mean = sum / count;
        Pair rest{0, 0};
        for_segments(v, parts, set, [&](std::int64_t i) {
          const Segment s = segment(v, a, parts, i);
          const Pair part = RunCentered(x + s.at, s.n, mean);
          rest = {rest.a + part.a, rest.b + part.b};
        });
        finish(set, mean, rest);
        const Center c = CenterOf(m, set);
        for_segments(v, parts, set,
                     [&](std::int64_t i) { ApplySegment(x, y, segment(v, a, parts, i), a, c); });
      }
    });
    return;
  }
  Scratch<Pair> sums(parts.count);
  const auto all_segments = [&](auto use) {
    parallel_for(parts.count, grain(parts.length), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) use(i, segment(v, a, parts, i));
    });
  };
  std::fill_n(m.mean, v.sets(), 0.0);
  if (centered) {
    all_segments([&](std::int64_t i, const Segment& s) { sums[i].a = RunSum(x + s.at, s.n); });
    for (std::int64_t set = 0; set < v.sets(); ++set) {
      for_segments(v, parts, set, [&](std::int64_t i) { m.mean[set] += sums[i].a; });
      m.mean[set] /= count;
    }
  }
  all_segments([&](std::int64_t i, const Segment& s) {
    sums[i] = RunCentered(x + s.at, s.n, m.mean[s.set]);
  });
  for (std::int64_t set = 0; set < v.sets(); ++set) {
    Pair rest{0, 0};
    for_segments(v, parts, set, [&](std::int64_t i) {
      rest = {rest.a + sums[i].a, rest.b + sums[i].b};
    });
    finish(set, m.mean[set], rest);
  }
  all_segments(
      [&](std::int64_t, const Segment& s) { ApplySegment(x, y, s, a, CenterOf(m, s.set)); });
}

// ---- backward over segments

// dx = rstd·(γ·g − mean_h − x̂·mean_hx) with the two means of a set.
struct Means {
  double h, hx;
};

void GradientSegment(const Real* g, const Real* x, Real* dx, const Segment& s, const AffineView& a,
                     const Center& c, const Means& means) {
  const Real* from = x + s.at;
  const Real* up = g + s.at;
  Real* to = dx + s.at;
  const bool is_row = a.inner == 1 && a.kept > 1 && a.gamma != nullptr;
  const double gamma = is_row || a.gamma == nullptr ? 1 : double(a.gamma[s.affine]);
  if (!c.is_safe) {
    const auto wide = [&](auto d, auto h, auto v) HWY_ATTR {
      const auto all = hn::NegMulAdd(NormalizedWide(d, v, c), hn::Set(d, means.hx),
                                     hn::Sub(h, hn::Set(d, means.h)));
      return hn::Mul(all, hn::Set(d, c.wide_rstd));
    };
    if (is_row) {
      MapWide([&](auto d, auto u, auto v, auto w) HWY_ATTR { return wide(d, hn::Mul(u, w), v); },
              to, s.n, up, from, a.gamma + s.affine);
    } else {
      MapWide([&](auto d, auto u, auto v)
                  HWY_ATTR { return wide(d, hn::Mul(u, hn::Set(d, gamma)), v); },
              to, s.n, up, from);
    }
    return;
  }
  const RealTag d;
  const auto high = hn::Set(d, c.high), low = hn::Set(d, c.low), rstd = hn::Set(d, c.rstd);
  const auto shift = hn::Set(d, static_cast<Real>(means.h * c.wide_rstd));
  const auto slope = hn::Set(d, static_cast<Real>(means.hx * c.wide_rstd));
  const auto scale = hn::Set(d, static_cast<Real>(gamma * c.wide_rstd));
  const auto rest = [&](auto v) HWY_ATTR {
    return hn::MulAdd(hn::Mul(hn::Sub(hn::Sub(v, high), low), rstd), slope, shift);
  };
  if (is_row) {
    Map([&](auto, auto u, auto v, auto w)
            HWY_ATTR { return hn::MulSub(hn::Mul(u, w), scale, rest(v)); },
        to, s.n, up, from, a.gamma + s.affine);
  } else {
    Map([&](auto, auto u, auto v) HWY_ATTR { return hn::MulSub(u, scale, rest(v)); }, to, s.n, up,
        from);
  }
}

// dγ[j] += Σ g·x̂ and dβ[j] += Σ g over rows [begin, end) for columns [first, first + n) of rows of
// length `width`.
void RowParameters(const Real* g, const Real* x, const NormView& v, const NormMoments& m,
                   std::int64_t width, std::int64_t begin, std::int64_t end, std::int64_t first,
                   std::int64_t n, double* dgamma, double* dbeta) {
  const WideTag d;
  const std::int64_t lanes = LaneCount(d);
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t at = row * width + first;
    const std::int64_t run = at / v.inner;
    const std::int64_t set = run / (v.outer * v.kept) * v.kept + run % v.kept;
    const auto mean = hn::Set(d, m.mean[set]), rstd = hn::Set(d, m.rstd[set]);
    std::int64_t j = 0;
    for (; j + lanes <= n; j += lanes) {
      const auto u = LoadWide(d, g + at + j);
      const auto h = hn::Mul(hn::Sub(LoadWide(d, x + at + j), mean), rstd);
      hn::StoreU(hn::MulAdd(u, h, hn::LoadU(d, dgamma + j)), d, dgamma + j);
      hn::StoreU(hn::Add(u, hn::LoadU(d, dbeta + j)), d, dbeta + j);
    }
    for (; j < n; ++j) {
      const double u = static_cast<double>(g[at + j]);
      dgamma[j] += u * ((static_cast<double>(x[at + j]) - m.mean[set]) * m.rstd[set]);
      dbeta[j] += u;
    }
  }
}

// The gradients of a γ and β that are given for each position of a row.
void RowParameterGradients(const Real* g, const Real* x, const NormView& v, const AffineView& a,
                           const NormMoments& m, double* dgamma, double* dbeta) {
  const std::int64_t width = a.kept, rows = v.size() / width;
  constexpr std::int64_t kBlock = 256;  // columns: their sums stay in the first-level cache
  const std::int64_t blocks = (width + kBlock - 1) / kBlock;
  // Few columns and many rows: rows are cut as well, and the parts added in order.
  const std::int64_t cuts =
      blocks >= 8
          ? 1
          : std::clamp<std::int64_t>(rows * width / kLongest, 1, std::min<std::int64_t>(rows, 32));
  const std::int64_t step = (rows + cuts - 1) / cuts;
  Scratch<double> sums(cuts * width * 2);
  std::fill_n(sums.data(), cuts * width * 2, 0.0);
  parallel_for(cuts * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t cut = task / blocks, first = task % blocks * kBlock;
      double* to = sums.data() + cut * width * 2 + first;
      // A block may cross from one set into the next only between rows: width is a multiple of
      // inner, or the reverse.
      for (std::int64_t j = first; j < std::min(width, first + kBlock);) {
        const std::int64_t stop = std::min({width, first + kBlock, (j / v.inner + 1) * v.inner});
        RowParameters(g, x, v, m, width, std::min(rows, cut * step),
                      std::min(rows, (cut + 1) * step), j, stop - j, to + (j - first),
                      to + (j - first) + width);
        j = stop;
      }
    }
  });
  for (std::int64_t j = 0; j < width; ++j) {
    double s = 0, t = 0;
    for (std::int64_t cut = 0; cut < cuts; ++cut) {
      s += sums[cut * width * 2 + j];
      t += sums[cut * width * 2 + width + j];
    }
    if (dgamma != nullptr) dgamma[j] = s;
    if (dbeta != nullptr) dbeta[j] = t;
  }
}

Means MeansOf(NormKind kind, double h, double hx, std::int64_t count) {
  const double n = static_cast<double>(count);
  return {kind == NormKind::kCentered ? h / n : 0, kind == NormKind::kFixed ? 0 : hx / n};
}

void BackwardSegments(const Real* g, const Real* x, Real* dx, const NormView& v,
                      const AffineView& a, const NormMoments& m, NormKind kind, double* dgamma,
                      double* dbeta) {
  const Segments parts = segments(v, a);
  const bool is_row = a.inner == 1 && a.kept > 1;
  const bool wants_parameters = dgamma != nullptr || dbeta != nullptr;
  const bool needs_sums = kind != NormKind::kFixed || (wants_parameters && !is_row);
  // Of each segment Σ g and Σ g·x̂; with a row of γ, of γ·g.
  Scratch<Pair> sums(parts.count);
  const auto sum_segment = [&](std::int64_t i) {
    const Segment s = segment(v, a, parts, i);
    const double mean = m.mean[s.set];
    Pair sum = is_row && a.gamma != nullptr
                   ? RunGradient(g + s.at, x + s.at, a.gamma + s.affine, s.n, mean)
                   : RunGradient(g + s.at, x + s.at, s.n, mean);
    sum.b *= m.rstd[s.set];
    sums[i] = sum;
  };
  const auto means_of_set = [&](std::int64_t set) {
    if (kind == NormKind::kFixed) return Means{0, 0};
    double h = 0, hx = 0;
    for_segments(v, parts, set, [&](std::int64_t i) {
      const double gamma =
          is_row || a.gamma == nullptr ? 1 : double(a.gamma[segment(v, a, parts, i).affine]);
      h += gamma * sums[i].a;
      hx += gamma * sums[i].b;
    });
    return MeansOf(kind, h, hx, v.count());
  };
  if (by_sets(v)) {
    parallel_for(v.sets(), grain(v.count()), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t set = begin; set < end; ++set) {
        if (needs_sums) for_segments(v, parts, set, sum_segment);
        if (dx == nullptr) continue;
        const Means means = means_of_set(set);
        const Center c = CenterOf(m, set);
        for_segments(v, parts, set, [&](std::int64_t i) {
          GradientSegment(g, x, dx, segment(v, a, parts, i), a, c, means);
        });
      }
    });
  } else {
    const std::int64_t each = grain(parts.length);
    if (needs_sums) {
      parallel_for(parts.count, each, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) sum_segment(i);
      });
    }
    if (dx != nullptr) {
      Scratch<Means> means(v.sets());
      for (std::int64_t set = 0; set < v.sets(); ++set) means[set] = means_of_set(set);
      parallel_for(parts.count, each, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) {
          const Segment s = segment(v, a, parts, i);
          GradientSegment(g, x, dx, s, a, CenterOf(m, s.set), means[s.set]);
        }
      });
    }
  }
  if (!wants_parameters) return;
  if (is_row) {
    RowParameterGradients(g, x, v, a, m, dgamma, dbeta);
    return;
  }
  if (dgamma != nullptr) std::fill_n(dgamma, a.kept, 0.0);
  if (dbeta != nullptr) std::fill_n(dbeta, a.kept, 0.0);
  for (std::int64_t i = 0; i < parts.count; ++i) {
    const std::int64_t to = segment(v, a, parts, i).affine;
    if (dbeta != nullptr) dbeta[to] += sums[i].a;
    if (dgamma != nullptr) dgamma[to] += sums[i].b;
  }
}

// ---- columns

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

// Σ f over each column of the matrix, by blocks of columns on all threads.
template <class F, class... In>
void SumMatrix(F f, const Columns& c, const double* center, double* a, double* b, const In*... in) {
  constexpr std::int64_t kBlock = 128;
  const std::int64_t blocks = (c.width + kBlock - 1) / kBlock;
  parallel_for(blocks, grain(c.rows * kBlock), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kBlock, n = std::min(c.width, end * kBlock) - first;
    SumColumns(f, c.rows, c.width, n, center + first, a + first, b + first, (in + first)...);
  });
}

// y = f(values…) on each row; f is called with the column as well.
template <class F>
void EachRow(const Columns& c, F f) {
  parallel_for(c.rows, grain(c.width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) f(row * c.width);
  });
}

// Σ over the columns of each set, for one [outer, kept, inner] matrix.
void Fold(const NormView& v, const Columns& c, const double* by_column, double* by_set) {
  std::fill_n(by_set, v.kept, 0.0);
  for (std::int64_t first = 0; first < c.width; first += c.period) {
    for (std::int64_t k = 0; k < v.kept; ++k) {
      for (std::int64_t i = 0; i < v.inner; ++i) by_set[k] += by_column[first + k * v.inner + i];
    }
  }
}
template <class T>
void Spread(const NormView& v, const Columns& c, const double* by_set, T* by_column) {
  for (std::int64_t j = 0; j < c.width; ++j)
    by_column[j] = static_cast<T>(by_set[j % c.period / v.inner]);
}

// The factors of a matrix's columns as Reals.
struct ColumnFactors {
  ColumnFactors(const NormView& v, const Columns& c, const AffineView& a, const NormMoments& m,
                std::int64_t first_set, std::int64_t first)
      : high(c.width), low(c.width), rstd(c.width), gamma(c.width), beta(c.width) {
    for (std::int64_t j = 0; j < c.width; ++j) {
      const Center center = CenterOf(m, first_set + j % c.period / v.inner);
      is_safe = is_safe && center.is_safe;
      high[j] = center.high;
      low[j] = center.low;
      rstd[j] = center.rstd;
      const std::int64_t at = (first + j) / a.inner % a.kept;
      gamma[j] = a.gamma == nullptr ? 1 : a.gamma[at];
      beta[j] = a.beta == nullptr ? 0 : a.beta[at];
    }
  }
  Scratch<Real> high, low, rstd, gamma, beta;
  bool is_safe = true;
};

void ApplyColumns(const Real* x, Real* y, const NormView& v, const AffineView& a,
                  const NormMoments& m, std::int64_t batch) {
  const Columns c = columns(v);
  const std::int64_t first = batch * v.outer * v.kept * v.inner, first_set = batch * v.kept;
  ColumnFactors factors(v, c, a, m, first_set, first);
  EachRow(c, [&](std::int64_t at) {
    if (!factors.is_safe) {
      for (std::int64_t j = 0; j < c.width; ++j) {
        const Center center = CenterOf(m, first_set + j % c.period / v.inner);
        ApplyRun(x + first + at + j, y + first + at + j, 1, center, factors.gamma[j],
                 factors.beta[j]);
      }
      return;
    }
    Map(
        [](auto, auto u, auto high, auto low, auto rstd, auto gamma, auto beta) HWY_ATTR {
          return hn::MulAdd(hn::Mul(hn::Sub(hn::Sub(u, high), low), rstd), gamma, beta);
        },
        y + first + at, c.width, x + first + at, factors.high.data(), factors.low.data(),
        factors.rstd.data(), factors.gamma.data(), factors.beta.data());
  });
}

void ForwardColumns(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                    bool centered, const NormMoments& m, double* variance, std::int64_t batch) {
  const Columns c = columns(v);
  const Real* from = x + batch * v.outer * v.kept * v.inner;
  const std::int64_t first_set = batch * v.kept;
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
  SumMatrix(
      [](auto& p, auto& q, auto middle, auto u) HWY_ATTR {
        const auto rest = hn::Sub(u, middle);
        p = hn::Add(p, rest);
        q = hn::MulAdd(rest, rest, q);
      },
      c, center.data(), s.data(), t.data(), from);
  Fold(v, c, s.data(), by_set.data());
  Fold(v, c, t.data(), by_set.data() + v.kept);
  for (std::int64_t k = 0; k < v.kept; ++k) {
    Finish(v, m, variance, eps, first_set + k, mean[k],
           {centered ? by_set[k] : 0, by_set[v.kept + k]});
  }
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
  Scratch<double> center(c.width), s(c.width), t(c.width), by_set(2 * v.kept);
  Spread(v, c, m.mean + first_set, center.data());
  SumMatrix(
      [](auto& p, auto& q, auto middle, auto w, auto u) HWY_ATTR {
        p = hn::Add(p, w);
        q = hn::MulAdd(w, hn::Sub(u, middle), q);
      },
      c, center.data(), s.data(), t.data(), up, from);
  for (std::int64_t j = 0; j < c.width; ++j) {
    t[j] *= m.rstd[first_set + j % c.period / v.inner];
    const std::int64_t at = (first + j) / a.inner % a.kept;
    if (dbeta != nullptr) dbeta[at] += s[j];
    if (dgamma != nullptr) dgamma[at] += t[j];
    s[j] *= double(factors.gamma[j]);
    t[j] *= double(factors.gamma[j]);
  }
  if (dx == nullptr) return;
  Fold(v, c, s.data(), by_set.data());
  Fold(v, c, t.data(), by_set.data() + v.kept);
  Scratch<Real> shift(c.width), slope(c.width);
  for (std::int64_t j = 0; j < c.width; ++j) {
    const std::int64_t k = j % c.period / v.inner;
    const Means means = MeansOf(kind, by_set[k], by_set[v.kept + k], v.count());
    shift[j] = static_cast<Real>(means.h * m.rstd[first_set + k]);
    slope[j] = static_cast<Real>(means.hx * m.rstd[first_set + k]);
  }
  Real* to = dx + first;
  EachRow(c, [&](std::int64_t at) {
    if (!factors.is_safe) {
      for (std::int64_t j = 0; j < c.width; ++j) {
        const std::int64_t k = j % c.period / v.inner, i = at + j;
        const Means means = MeansOf(kind, by_set[k], by_set[v.kept + k], v.count());
        const double rstd = m.rstd[first_set + k];
        const double hat = (static_cast<double>(from[i]) - m.mean[first_set + k]) * rstd;
        to[i] = static_cast<Real>(
            rstd * (double(factors.gamma[j]) * double(up[i]) - means.h - hat * means.hx));
      }
      return;
    }
    Map(
        [](auto, auto w, auto u, auto high, auto low, auto rstd, auto gamma, auto slant, auto level)
            HWY_ATTR {
              const auto hat = hn::Mul(hn::Sub(hn::Sub(u, high), low), rstd);
              return hn::MulSub(hn::Mul(w, gamma), rstd, hn::MulAdd(hat, slant, level));
            },
        to + at, c.width, up + at, from + at, factors.high.data(), factors.low.data(),
        factors.rstd.data(), factors.gamma.data(), slope.data(), shift.data());
  });
}

// ---- entries

void NormForward(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                 bool centered, const NormMoments& m, double* variance) {
  if (v.inner >= kShort) return ForwardSegments(x, y, v, a, eps, centered, m, variance);
  parallel_for(v.batch, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b)
      ForwardColumns(x, y, v, a, eps, centered, m, variance, b);
  });
}

void NormApply(const Real* x, Real* y, const NormView& v, const AffineView& a,
               const NormMoments& m) {
  if (v.inner < kShort) {
    for (std::int64_t b = 0; b < v.batch; ++b) ApplyColumns(x, y, v, a, m, b);
    return;
  }
  const Segments parts = segments(v, a);
  parallel_for(parts.count, grain(parts.length), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const Segment s = segment(v, a, parts, i);
      ApplySegment(x, y, s, a, CenterOf(m, s.set));
    }
  });
}

void NormBackward(const Real* g, const Real* x, Real* dx, const NormView& v, const AffineView& a,
                  const NormMoments& m, NormKind kind, double* dgamma, double* dbeta) {
  if (v.inner >= kShort) return BackwardSegments(g, x, dx, v, a, m, kind, dgamma, dbeta);
  if (dgamma != nullptr) std::fill_n(dgamma, a.kept, 0.0);
  if (dbeta != nullptr) std::fill_n(dbeta, a.kept, 0.0);
  // In order, as batches may share γ and β.
  for (std::int64_t b = 0; b < v.batch; ++b)
    BackwardColumns(g, x, dx, v, a, m, kind, dgamma, dbeta, b);
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

bool norm_fuses(const NormView& v, const AffineView& a) {
  if (a.gamma == nullptr && a.beta == nullptr) return true;
  if (v.inner < kShort) {
    // γ must repeat with the columns.
    return v.outer == 1 || v.kept * v.inner % (a.kept * a.inner) == 0;
  }
  if (a.inner == 1) return a.kept % v.inner == 0 || a.kept == 1;
  return a.inner % v.inner == 0 || v.inner % a.inner == 0;
}

HWY_EXPORT(NormForward);
void norm_forward(const Real* x, Real* y, const NormView& view, const AffineView& affine,
                  double eps, bool centered, const NormMoments& moments, double* variance) {
  HWY_DYNAMIC_DISPATCH(NormForward)(x, y, view, affine, eps, centered, moments, variance);
}
HWY_EXPORT(NormApply);
void norm_apply(const Real* x, Real* y, const NormView& view, const AffineView& affine,
                const NormMoments& moments) {
  HWY_DYNAMIC_DISPATCH(NormApply)(x, y, view, affine, moments);
}
HWY_EXPORT(NormBackward);
void norm_backward(const Real* g, const Real* x, Real* dx, const NormView& view,
                   const AffineView& affine, const NormMoments& moments, NormKind kind,
                   double* dgamma, double* dbeta) {
  HWY_DYNAMIC_DISPATCH(NormBackward)(g, x, dx, view, affine, moments, kind, dgamma, dbeta);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
