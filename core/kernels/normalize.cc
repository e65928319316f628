#include "core/kernels/normalize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/normalize.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/normalize-inl.h"
#include "core/memory.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

void ApplySegment(const Real* x, Real* y, const Segment& s, const AffineView& a, const Center& c) {
  if (a.inner == 1 && a.kept > 1) {
    ApplyRow(x + s.at, y + s.at, s.n, c, a.gamma == nullptr ? nullptr : a.gamma + s.affine,
             a.beta == nullptr ? nullptr : a.beta + s.affine);
  } else {
    ApplyRun(x + s.at, y + s.at, s.n, c, a.gamma == nullptr ? 1 : a.gamma[s.affine],
             a.beta == nullptr ? 0 : a.beta[s.affine]);
  }
}

void ForwardSegments(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                     bool centered, const NormMoments& m, double* variance) {
  const Segments parts = segments(v, a);
  const Walk walk(v, a, parts);
  const double share = 1 / static_cast<double>(v.count());
  const auto finish = [&](std::int64_t set, double mean, Pair rest) {
    if (!centered) rest.a = 0;
    Finish(v, m, variance, eps, set, mean, rest);
  };
  if (by_sets(v)) {
    parallel_for(v.sets(), grain(v.count()), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t set = begin; set < end; ++set) {
        const auto each = walk.passes_over(set);
        double sum = 0;
        if (centered) each([&](std::int64_t, const Segment& s) { sum += RunSum(x + s.at, s.n); });
        const double mean = sum * share;  // the second pass corrects its rounding
        Pair rest{0, 0};
        each([&](std::int64_t, const Segment& s) {
          const Pair part = RunCentered(x + s.at, s.n, mean);
          rest = {rest.a + part.a, rest.b + part.b};
        });
        finish(set, mean, rest);
        const Center c = CenterOf(m, set);
        each([&](std::int64_t, const Segment& s) { ApplySegment(x, y, s, a, c); });
      }
    });
    return;
  }
  Scratch<Pair> sums(parts.count);
  const auto all_segments = [&](auto use) {
    parallel_for(parts.count, grain(parts.length),
                 [&](std::int64_t begin, std::int64_t end) { walk.from(begin, end, use); });
  };
  std::fill_n(m.mean, v.sets(), 0.0);
  if (centered) {
    all_segments([&](std::int64_t i, const Segment& s) { sums[i].a = RunSum(x + s.at, s.n); });
    for (std::int64_t set = 0; set < v.sets(); ++set) {
      walk.of_set(set, [&](std::int64_t i, const Segment&) { m.mean[set] += sums[i].a; });
      m.mean[set] *= share;
    }
  }
  all_segments([&](std::int64_t i, const Segment& s) {
    sums[i] = RunCentered(x + s.at, s.n, m.mean[s.set]);
  });
  for (std::int64_t set = 0; set < v.sets(); ++set) {
    Pair rest{0, 0};
    walk.of_set(set, [&](std::int64_t i, const Segment&) {
      rest = {rest.a + sums[i].a, rest.b + sums[i].b};
    });
    finish(set, m.mean[set], rest);
  }
  all_segments(
      [&](std::int64_t, const Segment& s) { ApplySegment(x, y, s, a, CenterOf(m, s.set)); });
}

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
  const auto set_of = [&](std::int64_t at) {
    const std::int64_t run = at / v.inner;
    return run / (v.outer * v.kept) * v.kept + run % v.kept;
  };
  // Four rows at a time, so that the sums are loaded and stored less often than the numbers.
  std::int64_t row = begin;
  for (; row + 4 <= end; row += 4) {
    const std::int64_t at = row * width + first;
    const std::int64_t set[] = {set_of(at), set_of(at + width), set_of(at + 2 * width),
                                set_of(at + 3 * width)};
    std::int64_t j = 0;
    for (; j + lanes <= n; j += lanes) {
      auto s = hn::LoadU(d, dgamma + j), t = hn::LoadU(d, dbeta + j);
      for (std::int64_t k = 0; k < 4; ++k) {
        const auto u = LoadWide(d, g + at + k * width + j);
        const auto rest = hn::Sub(LoadWide(d, x + at + k * width + j), hn::Set(d, m.mean[set[k]]));
        s = hn::MulAdd(u, hn::Mul(rest, hn::Set(d, m.rstd[set[k]])), s);
        t = hn::Add(t, u);
      }
      hn::StoreU(s, d, dgamma + j);
      hn::StoreU(t, d, dbeta + j);
    }
    for (; j < n; ++j) {
      for (std::int64_t k = 0; k < 4; ++k) {
        const double u = static_cast<double>(g[at + k * width + j]);
        const double rest = static_cast<double>(x[at + k * width + j]) - m.mean[set[k]];
        dgamma[j] += u * (rest * m.rstd[set[k]]);
        dbeta[j] += u;
      }
    }
  }
  for (; row < end; ++row) {
    const std::int64_t at = row * width + first, set = set_of(at);
    for (std::int64_t j = 0; j < n; ++j) {
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
  // Columns of a task: up to a page of each row, and sums that stay in the first-level cache.
  const std::int64_t block = std::clamp<std::int64_t>((width / 8 + 63) / 64 * 64, 64, 1024);
  const std::int64_t blocks = (width + block - 1) / block;
  // Few columns and many rows: rows are cut as well, and the parts added in order.
  const std::int64_t cuts =
      blocks >= 4 ? 1 : std::clamp<std::int64_t>(rows * width / kLongest, 1, 32);
  const std::int64_t step = (rows + cuts - 1) / cuts;
  Scratch<double> sums(cuts * width * 2);
  std::fill_n(sums.data(), cuts * width * 2, 0.0);
  parallel_for(cuts * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t cut = task / blocks, first = task % blocks * block;
      double* to = sums.data() + cut * width * 2 + first;
      // A block may cross from one set into the next only between rows: width is a multiple of
      // inner, or the reverse.
      for (std::int64_t j = first; j < std::min(width, first + block);) {
        const std::int64_t stop = std::min({width, first + block, (j / v.inner + 1) * v.inner});
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

void BackwardSegments(const Real* g, const Real* x, Real* dx, const NormView& v,
                      const AffineView& a, const NormMoments& m, NormKind kind, double* dgamma,
                      double* dbeta) {
  const Segments parts = segments(v, a);
  const Walk walk(v, a, parts);
  const bool wants_parameters = dgamma != nullptr || dbeta != nullptr;
  const bool needs_sums = kind != NormKind::kFixed || (wants_parameters && !parts.is_row);
  // Of each segment Σ g and Σ g·x̂; with a row of γ, of γ·g.
  Scratch<Pair> sums(parts.count);
  const auto sum_segment = [&](std::int64_t i, const Segment& s) {
    const double mean = m.mean[s.set];
    Pair sum = parts.is_row && a.gamma != nullptr
                   ? RunGradient(g + s.at, x + s.at, a.gamma + s.affine, s.n, mean)
                   : RunGradient(g + s.at, x + s.at, s.n, mean);
    sum.b *= m.rstd[s.set];
    sums[i] = sum;
  };
  const auto means_of_set = [&](const auto& each) {
    if (kind == NormKind::kFixed) return Means{0, 0};
    double h = 0, hx = 0;
    each([&](std::int64_t i, const Segment& s) {
      const double gamma = parts.is_row || a.gamma == nullptr ? 1 : double(a.gamma[s.affine]);
      h += gamma * sums[i].a;
      hx += gamma * sums[i].b;
    });
    return MeansOf(kind, h, hx, v.count());
  };
  if (by_sets(v)) {
    parallel_for(v.sets(), grain(v.count()), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t set = begin; set < end; ++set) {
        const auto each = walk.passes_over(set);
        if (needs_sums) each(sum_segment);
        if (dx == nullptr) continue;
        const Means means = means_of_set(each);
        const Center c = CenterOf(m, set);
        each([&](std::int64_t, const Segment& s) { GradientSegment(g, x, dx, s, a, c, means); });
      }
    });
  } else {
    const auto all_segments = [&](auto use) {
      parallel_for(parts.count, grain(parts.length),
                   [&](std::int64_t begin, std::int64_t end) { walk.from(begin, end, use); });
    };
    if (needs_sums) all_segments(sum_segment);
    if (dx != nullptr) {
      Scratch<Means> means(v.sets());
      for (std::int64_t set = 0; set < v.sets(); ++set)
        means[set] = means_of_set(walk.passes_over(set));
      all_segments([&](std::int64_t, const Segment& s) {
        GradientSegment(g, x, dx, s, a, CenterOf(m, s.set), means[s.set]);
      });
    }
  }
  if (!wants_parameters) return;
  if (parts.is_row) {
    RowParameterGradients(g, x, v, a, m, dgamma, dbeta);
    return;
  }
  if (dgamma != nullptr) std::fill_n(dgamma, a.kept, 0.0);
  if (dbeta != nullptr) std::fill_n(dbeta, a.kept, 0.0);
  // Position after position, as often as a plane fits into a run of equal γ.
  const std::int64_t repeats = a.kept == 1 ? parts.count : a.inner / parts.plane * parts.cuts;
  for (std::int64_t i = 0, to = 0; i < parts.count; to = to + 1 == a.kept ? 0 : to + 1) {
    Pair total{0, 0};
    for (const std::int64_t end = i + repeats; i < end; ++i) {
      total = {total.a + sums[i].a, total.b + sums[i].b};
    }
    if (dbeta != nullptr) dbeta[to] += total.a;
    if (dgamma != nullptr) dgamma[to] += total.b;
  }
}

void Forward(const Real* x, Real* y, const NormView& view, const AffineView& a, double eps,
             bool centered, const NormMoments& m, double* variance) {
  const NormView v = joined(view);
  if (by_columns(v)) return norm_forward_columns(x, y, v, a, eps, centered, m, variance);
  ForwardSegments(x, y, v, a, eps, centered, m, variance);
}

void Apply(const Real* x, Real* y, const NormView& view, const AffineView& a,
           const NormMoments& m) {
  const NormView v = joined(view);
  if (by_columns(v)) return norm_apply_columns(x, y, v, a, m);
  const Segments parts = segments(v, a);
  const Walk walk(v, a, parts);
  parallel_for(parts.count, grain(parts.length), [&](std::int64_t begin, std::int64_t end) {
    walk.from(begin, end, [&](std::int64_t, const Segment& s) {
      ApplySegment(x, y, s, a, CenterOf(m, s.set));
    });
  });
}

void Backward(const Real* g, const Real* x, Real* dx, const NormView& view, const AffineView& a,
              const NormMoments& m, NormKind kind, double* dgamma, double* dbeta) {
  const NormView v = joined(view);
  if (by_columns(v)) return norm_backward_columns(g, x, dx, v, a, m, kind, dgamma, dbeta);
  BackwardSegments(g, x, dx, v, a, m, kind, dgamma, dbeta);
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

bool norm_fuses(const NormView& view, const AffineView& a) {
  if (a.gamma == nullptr && a.beta == nullptr) return true;
  const NormView v = joined(view);
  // γ must repeat with the columns, or be constant over a segment, or go along with each run.
  if (by_columns(v)) return v.kept * v.inner % (a.kept * a.inner) == 0;
  if (a.inner == 1) return a.kept % v.inner == 0 || a.kept == 1;
  return a.inner % v.inner == 0 || v.inner % a.inner == 0;
}

HWY_EXPORT(Forward);
void norm_forward(const Real* x, Real* y, const NormView& view, const AffineView& affine,
                  double eps, bool centered, const NormMoments& moments, double* variance) {
  HWY_DYNAMIC_DISPATCH(Forward)(x, y, view, affine, eps, centered, moments, variance);
}
HWY_EXPORT(Apply);
void norm_apply(const Real* x, Real* y, const NormView& view, const AffineView& affine,
                const NormMoments& moments) {
  HWY_DYNAMIC_DISPATCH(Apply)(x, y, view, affine, moments);
}
HWY_EXPORT(Backward);
void norm_backward(const Real* g, const Real* x, Real* dx, const NormView& view,
                   const AffineView& affine, const NormMoments& moments, NormKind kind,
                   double* dgamma, double* dbeta) {
  HWY_DYNAMIC_DISPATCH(Backward)(g, x, dx, view, affine, moments, kind, dgamma, dbeta);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
