#include "core/kernels/normalize.h"

#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/normalize.cc"
#include <hwy/foreach_target.h>  // must come before highway.h

#include "core/kernels/normalize-inl.h"
#include "core/memory.h"
#include "core/parallel.h"

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {

bool IsRow(const AffineView& a) { return a.inner == 1 && a.kept > 1; }

void ApplySegment(const Real* x, Real* y, const Segment& s, const AffineView& a, const Center& c,
                  Course course) {
  if (IsRow(a)) {
    ApplyRow(x + s.at, y + s.at, s.n, c, a.gamma == nullptr ? nullptr : a.gamma + s.affine,
             a.beta == nullptr ? nullptr : a.beta + s.affine, a.slope, course);
  } else {
    ApplyRun(x + s.at, y + s.at, s.n, c, GammaAt(a, s.affine), BetaAt(a, s.affine), a.slope,
             course);
  }
}

// A number of the set, to be near its mean.
Real Near(const Real* x, const NormView& v, bool centered, std::int64_t set) {
  if (!centered) return 0;
  const std::int64_t b = v.batch == 1 ? 0 : set / v.kept;
  return x[b * v.outer * v.kept * v.inner + (set - b * v.kept) * v.inner];
}

// From a segment to the one visited after it.
std::int64_t Ahead(const NormView& v, std::int64_t block) {
  return v.outer > 1 ? v.kept * v.inner : block * v.inner;
}

// Sets of a few numbers go in blocks that stay in the first-level cache, so that the work between
// the passes is spread over several of them.
constexpr std::int64_t kMostSets = 64;
std::int64_t SetsInBlock(const NormView& v) {
  return v.outer > 1
             ? 1
             : std::clamp<std::int64_t>(4096 / std::max<std::int64_t>(1, v.inner), 1, kMostSets);
}

void ForwardSegments(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                     bool centered, const NormMoments& m, double* variance) {
  const Segments parts = segments(v, a);
  const Walk walk(v, a, parts);
  const std::int64_t each_set = parts.planes * parts.cuts;
  const std::int64_t block = SetsInBlock(v), ahead = Ahead(v, block);
  const auto apply = [&](std::int64_t, const Segment& s) {
    ApplySegment(x, y, s, a, CenterOf(m, s.set), CourseOf(v, ahead));
  };
  const auto finish = [&](std::int64_t set, Real near, Pair rest) {
    if (!centered) rest.a = 0;
    return FinishOne(v, m, variance, eps, set, static_cast<double>(near), rest);
  };
  if (by_sets(v)) {
    parallel_for(v.sets(), grain(v.count()), [&](std::int64_t begin, std::int64_t end) {
      // Roots and quotients take long; apart from the sums, those of several sets overlap.
      Pair rests[kMostSets];
      for (std::int64_t first = begin; first < end; first += block) {
        const std::int64_t last = std::min(end, first + block);
        for (std::int64_t set = first; set < last; ++set) {
          const Real near = Near(x, v, centered, set);
          Pair rest{0, 0};
          if (v.outer == 1) {
            rest = RunShifted(x + set * v.inner, v.inner, near, v.inner);
          } else {
            walk.of_set(set, [&](std::int64_t, const Segment& s) {
              const Pair part = RunShifted(x + s.at, s.n, near, ahead);
              rest = {rest.a + part.a, rest.b + part.b};
            });
          }
          rests[set - first] = rest;
        }
        for (std::int64_t set = first; set < last; ++set) {
          if (!finish(set, Near(x, v, centered, set), rests[set - first]))
            WideMoments(x, v, eps, centered, m, variance, set,
                        [&](auto use) { walk.of_set(set, use); });
        }
        if (v.outer == 1) {
          walk.from(first * each_set, last * each_set, apply);
        } else {
          walk.of_set(first, apply);
        }
      }
    });
    return;
  }
  Scratch<Pair> sums(parts.count);
  const auto all_segments = [&](auto use) {
    parallel_for(parts.count, grain(parts.length),
                 [&](std::int64_t begin, std::int64_t end) { walk.from(begin, end, use); });
  };
  all_segments([&](std::int64_t i, const Segment& s) {
    sums[i] = RunShifted(x + s.at, s.n, Near(x, v, centered, s.set), s.n);
  });
  for (std::int64_t set = 0; set < v.sets(); ++set) {
    Pair rest{0, 0};
    walk.of_set(set, [&](std::int64_t i, const Segment&) {
      rest = {rest.a + sums[i].a, rest.b + sums[i].b};
    });
    if (!finish(set, Near(x, v, centered, set), rest))
      WideMoments(x, v, eps, centered, m, variance, set, [&](auto use) { walk.of_set(set, use); });
  }
  all_segments([&](std::int64_t, const Segment& s) {
    ApplySegment(x, y, s, a, CenterOf(m, s.set), CourseOf(v, s.n));
  });
}

// Calls use(up, more…) as RunGradient wants them.
template <class Bending, class Use>
HWY_INLINE void WithUpstream(Bending bend, const Segment& s, const AffineView& a, const Center& c,
                             Use use) {
  if (!IsRow(a) || a.gamma == nullptr) {
    const Line line(c, GammaAt(a, s.affine), BetaAt(a, s.affine));
    use([=](auto d, auto u, auto v) HWY_ATTR { return bend(d, line(d, v), u); });
  } else if constexpr (std::is_same_v<Bending, Straight>) {
    use([](auto, auto u, auto, auto w) HWY_ATTR { return hn::Mul(u, w); }, a.gamma + s.affine);
  } else {
    use([bend, c = c](auto d, auto u, auto v, auto w, auto t)
            HWY_ATTR { return hn::Mul(bend(d, hn::MulAdd(Normalized(d, v, c), w, t), u), w); },
        a.gamma + s.affine, a.beta + s.affine);
  }
}

// Σ h and Σ h·x̂ of a segment.
template <class Bending>
HWY_INLINE Pair SumSegment(Bending bend, const Real* g, const Real* x, const Segment& s,
                           const AffineView& a, const Center& c, std::int64_t ahead) {
  if (!c.is_safe) {
    const bool has_row = IsRow(a) && a.gamma != nullptr;
    return RunGradientWide(g + s.at, x + s.at, has_row ? a.gamma + s.affine : nullptr, s.n, c);
  }
  Pair sum{0, 0};
  WithUpstream(bend, s, a, c, [&](auto up, auto... more) HWY_ATTR {
    sum = RunGradient(up, c, s.n, ahead, g + s.at, x + s.at, more...);
  });
  return sum;
}

template <class Bending>
HWY_INLINE void GradientSegment(Bending bend, const Real* g, const Real* x, Real* dx,
                                const Segment& s, const AffineView& a, const Center& c,
                                const Means& means, Course course) {
  const Real* from = x + s.at;
  const Real* up = g + s.at;
  Real* to = dx + s.at;
  const double gamma = IsRow(a) ? 1 : double(GammaAt(a, s.affine));
  if (c.is_safe) {
    const Gradient gradient(c, means, gamma);
    WithUpstream(bend, s, a, c, [&](auto bent, auto... more) HWY_ATTR {
      MapRun([=](auto d, auto u, auto v, auto... w)
                 HWY_ATTR { return gradient(d, bent(d, u, v, w...), v); },
             to, s.n, course, up, from, more...);
    });
    return;
  }
  const WideGradient wide{c, means, gamma};
  if (IsRow(a) && a.gamma != nullptr) {
    MapWide([&](auto d, auto u, auto v, auto w) HWY_ATTR { return wide(d, hn::Mul(u, w), v); }, to,
            s.n, up, from, a.gamma + s.affine);
  } else {
    MapWide([&](auto d, auto u, auto v) HWY_ATTR { return wide(d, u, v); }, to, s.n, up, from);
  }
}

// dγ[j] += Σ g·x̂ and dβ[j] += Σ g over rows [begin, end) for columns [first, first + n) of rows of
// length a.kept.
template <class Bending>
void RowParametersBent(Bending bend, const Real* g, const Real* x, const NormView& v,
                       const AffineView& a, const NormMoments& m, std::int64_t begin,
                       std::int64_t end, std::int64_t first, std::int64_t n, double* dgamma,
                       double* dbeta) {
  const std::int64_t width = a.kept;
  // The gradient u of a number w in column j, bent.
  const auto bent = [&](auto d, const Center& c, std::int64_t j, auto u, auto w) HWY_ATTR {
    if constexpr (std::is_same_v<Bending, Straight>) {
      return u;
    } else {
      const auto s = hn::LoadU(d, a.gamma + first + j), t = hn::LoadU(d, a.beta + first + j);
      return bend(d, hn::MulAdd(Normalized(d, w, c), s, t), u);
    }
  };
  // kTerms rows at a time are added up in lanes of Real, see [Sums in floats].
  Center centers[kTerms];
  for (std::int64_t row = begin; row < end; row += kTerms) {
    const std::int64_t rows = std::min(kTerms, end - row), at = row * width + first;
    bool is_safe = true;
    for (std::int64_t k = 0; k < rows; ++k) {
      const std::int64_t run = (at + k * width) / v.inner;
      centers[k] =
          CenterOf(m, v.outer == 1 ? run : run / (v.outer * v.kept) * v.kept + run % v.kept);
      is_safe = is_safe && centers[k].is_safe;
    }
    const auto columns = [&](auto d, std::int64_t j) HWY_ATTR {
      const std::int64_t next = j + LaneCount(d);  // two vectors share a row's factors
      auto s0 = hn::Zero(d), t0 = s0, s1 = s0, t1 = s0;
      for (std::int64_t k = 0; k < rows; ++k) {
        const Real *up = g + at + k * width, *from = x + at + k * width;
        const auto v0 = hn::LoadU(d, from + j), v1 = hn::LoadU(d, from + next);
        const auto u0 = bent(d, centers[k], j, hn::LoadU(d, up + j), v0);
        const auto u1 = bent(d, centers[k], next, hn::LoadU(d, up + next), v1);
        s0 = hn::MulAdd(u0, Normalized(d, v0, centers[k]), s0);
        s1 = hn::MulAdd(u1, Normalized(d, v1, centers[k]), s1);
        t0 = hn::Add(t0, u0);
        t1 = hn::Add(t1, u1);
      }
      AddLanes(d, s0, dgamma + j);
      AddLanes(d, s1, dgamma + next);
      AddLanes(d, t0, dbeta + j);
      AddLanes(d, t1, dbeta + next);
    };
    std::int64_t j = 0;
    if (is_safe) {
      const RealTag d;
      for (; j + 2 * LaneCount(d) <= n; j += 2 * LaneCount(d)) columns(d, j);
    }
    for (; j < n; ++j) {
      for (std::int64_t k = 0; k < rows; ++k) {
        const hn::CappedTag<Real, 1> one;
        const Real value = x[at + k * width + j];
        const double u = static_cast<double>(hn::GetLane(
            bent(one, centers[k], j, hn::Set(one, g[at + k * width + j]), hn::Set(one, value))));
        const double rest = static_cast<double>(value) - centers[k].mean;
        dgamma[j] += u * (rest * centers[k].wide_rstd);
        dbeta[j] += u;
      }
    }
  }
}

void RowParameters(const Real* g, const Real* x, const NormView& v, const AffineView& a,
                   const NormMoments& m, std::int64_t begin, std::int64_t end, std::int64_t first,
                   std::int64_t n, double* dgamma, double* dbeta) {
  WithBend(a.slope, [&](auto bend) HWY_ATTR {
    RowParametersBent(bend, g, x, v, a, m, begin, end, first, n, dgamma, dbeta);
  });
}

// The sums of parts of the rows, each first of dγ and then of dβ, added in order. Either result may
// be nullptr.
void AddParts(double* parts, std::int64_t count, std::int64_t width, Real* dgamma, Real* dbeta) {
  for (std::int64_t part = 1; part < count; ++part) {
    for (std::int64_t j = 0; j < 2 * width; ++j) parts[j] += parts[part * width * 2 + j];
  }
  for (std::int64_t j = 0; j < width; ++j) {
    if (dgamma != nullptr) dgamma[j] = static_cast<Real>(parts[j]);
    if (dbeta != nullptr) dbeta[j] = static_cast<Real>(parts[width + j]);
  }
}

// The gradients of a γ and β that are given for each position of a row.
void RowParameterGradients(const Real* g, const Real* x, const NormView& v, const AffineView& a,
                           const NormMoments& m, Real* dgamma, Real* dbeta) {
  const std::int64_t width = a.kept, rows = v.size() / width;
  // Columns of a task: up to a page of each row, and sums that stay in the first-level cache.
  const std::int64_t block = std::min<std::int64_t>(width, 1024);
  const std::int64_t blocks = (width + block - 1) / block;
  // Few columns and many rows: rows are cut as well, and the parts added in order.
  const std::int64_t cuts =
      blocks >= 8 ? 1 : std::clamp<std::int64_t>(rows * width / kLongest, 1, 32 / blocks);
  const std::int64_t step = (rows + cuts - 1) / cuts;
  const auto finish = [&](std::int64_t first, std::int64_t n, const double* s, const double* t) {
    for (std::int64_t j = 0; j < n; ++j) {
      if (dgamma != nullptr) dgamma[first + j] = static_cast<Real>(s[j]);
      if (dbeta != nullptr) dbeta[first + j] = static_cast<Real>(t[j]);
    }
  };
  Scratch<double> parts(cuts == 1 ? 1 : cuts * width * 2);
  const std::int64_t tasks_together = cuts == 1 ? grain(rows * block) : 1;
  parallel_for(cuts * blocks, tasks_together, [&](std::int64_t begin, std::int64_t end) {
    HWY_ALIGN double s[1024], t[1024];
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t cut = task / blocks, first = task % blocks * block;
      const std::int64_t n = std::min(width - first, block);
      std::fill_n(s, n, 0.0);
      std::fill_n(t, n, 0.0);
      // A block may cross from one set into the next only between rows: width is a multiple of
      // inner, or the reverse.
      for (std::int64_t j = first; j < first + n;) {
        const std::int64_t stop = std::min(first + n, (j / v.inner + 1) * v.inner);
        RowParameters(g, x, v, a, m, std::min(rows, cut * step), std::min(rows, (cut + 1) * step),
                      j, stop - j, s + (j - first), t + (j - first));
        j = stop;
      }
      if (cuts == 1) {
        finish(first, n, s, t);
      } else {
        std::copy_n(s, n, parts.data() + cut * width * 2 + first);
        std::copy_n(t, n, parts.data() + cut * width * 2 + width + first);
      }
    }
  });
  if (cuts > 1) AddParts(parts.data(), cuts, width, dgamma, dbeta);
}

template <class Bending>
void BackwardSegments(Bending bend, const Real* g, const Real* x, Real* dx, const NormView& v,
                      const AffineView& a, const NormMoments& m, NormKind kind, Real* dgamma,
                      Real* dbeta) {
  const Segments parts = segments(v, a);
  const Walk walk(v, a, parts);
  const std::int64_t each_set = parts.planes * parts.cuts;
  const bool wants_parameters = dgamma != nullptr || dbeta != nullptr;
  const bool needs_sums =
      (dx != nullptr && kind != NormKind::kFixed) || (wants_parameters && !parts.is_row);
  const std::int64_t block = SetsInBlock(v), ahead = by_sets(v) ? Ahead(v, block) : parts.length;
  // Of each segment Σ g and Σ g·x̂; with a row of γ, of γ·g.
  Scratch<Pair> sums(parts.count);
  const auto sum_segment = [&](std::int64_t i, const Segment& s) {
    sums[i] = SumSegment(bend, g, x, s, a, CenterOf(m, s.set), ahead);
  };
  // Adds a segment's share to those of its set: of γ·g and γ·g·x̂.
  const auto add_to_set = [&](Pair& total, std::int64_t i, const Segment& s) {
    const double gamma = parts.is_row || a.gamma == nullptr ? 1 : double(a.gamma[s.affine]);
    total = {total.a + gamma * sums[i].a, total.b + gamma * sums[i].b};
  };
  const double share = 1 / static_cast<double>(v.count());
  const auto means_of = [&](const Pair& total) { return MeansOf(kind, total, share); };
  // Short rows that are sets: their γ and β get their gradients in passing, while the rows are in
  // the cache. For long ones the sums would not fit beside them.
  const bool in_passing = wants_parameters && parts.is_row && v.outer == 1 && v.inner == a.kept &&
                          a.kept <= 1024 && by_sets(v);
  const std::int64_t sets = grain(v.count()), chunks = (v.sets() + sets - 1) / sets;
  Scratch<double> row_sums(in_passing ? chunks * 2 * a.kept : 1);
  if (by_short_sets(v, a)) {
    norm_backward_short(g, x, dx, v, a, m, kind, sums.data());
  } else if (by_sets(v)) {
    parallel_for(v.sets(), sets, [&](std::int64_t begin, std::int64_t end) {
      double* row_sum = row_sums.data() + (in_passing ? begin / sets * 2 * a.kept : 0);
      if (in_passing) std::fill_n(row_sum, 2 * a.kept, 0.0);
      Pair totals[kMostSets];
      for (std::int64_t first = begin; first < end; first += block) {
        const std::int64_t last = std::min(end, first + block);
        const auto each = [&](auto use) {
          if (v.outer == 1) {
            walk.from(first * each_set, last * each_set, use);
          } else {
            walk.of_set(first, use);
          }
        };
        std::fill_n(totals, last - first, Pair{0, 0});
        if (needs_sums) {
          each([&](std::int64_t i, const Segment& s) {
            sum_segment(i, s);
            add_to_set(totals[s.set - first], i, s);
          });
        }
        if (dx != nullptr) {
          each([&](std::int64_t, const Segment& s) {
            GradientSegment(bend, g, x, dx, s, a, CenterOf(m, s.set),
                            means_of(totals[s.set - first]), CourseOf(v, ahead));
          });
        }
        if (in_passing)
          RowParameters(g, x, v, a, m, first, last, 0, a.kept, row_sum, row_sum + a.kept);
      }
    });
  } else {
    const auto all_segments = [&](auto use) {
      parallel_for(parts.count, grain(parts.length),
                   [&](std::int64_t begin, std::int64_t end) { walk.from(begin, end, use); });
    };
    if (needs_sums) all_segments(sum_segment);
    if (dx != nullptr) {
      Scratch<Pair> totals(v.sets());
      std::fill_n(totals.data(), v.sets(), Pair{0, 0});
      if (needs_sums) {
        walk.from(0, parts.count,
                  [&](std::int64_t i, const Segment& s) { add_to_set(totals[s.set], i, s); });
      }
      all_segments([&](std::int64_t, const Segment& s) {
        GradientSegment(bend, g, x, dx, s, a, CenterOf(m, s.set), means_of(totals[s.set]),
                        CourseOf(v, ahead));
      });
    }
  }
  if (!wants_parameters) return;
  if (in_passing) {
    AddParts(row_sums.data(), chunks, a.kept, dgamma, dbeta);
    return;
  }
  if (parts.is_row) {
    RowParameterGradients(g, x, v, a, m, dgamma, dbeta);
    return;
  }
  Scratch<Pair> totals(a.kept);
  std::fill_n(totals.data(), a.kept, Pair{0, 0});
  // Position after position, as often as a plane fits into a run of equal γ.
  const std::int64_t repeats = a.kept == 1 ? parts.count : a.inner / parts.plane * parts.cuts;
  for (std::int64_t i = 0, to = 0; i < parts.count; to = to + 1 == a.kept ? 0 : to + 1) {
    Pair total{0, 0};
    for (const std::int64_t end = i + repeats; i < end; ++i) {
      total = {total.a + sums[i].a, total.b + sums[i].b};
    }
    totals[to] = {totals[to].a + total.a, totals[to].b + total.b};
  }
  for (std::int64_t to = 0; to < a.kept; ++to) {
    if (dbeta != nullptr) dbeta[to] = static_cast<Real>(totals[to].a);
    if (dgamma != nullptr) dgamma[to] = static_cast<Real>(totals[to].b);
  }
}

void Forward(const Real* x, Real* y, const NormView& view, const AffineView& a, double eps,
             bool centered, const NormMoments& m, double* variance) {
  const NormView v = joined(view);
  if (by_columns(v)) return norm_forward_columns(x, y, v, a, eps, centered, m, variance);
  if (by_short_sets(v, a)) return norm_forward_short(x, y, v, a, eps, centered, m, variance);
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
      ApplySegment(x, y, s, a, CenterOf(m, s.set), CourseOf(v, s.n));
    });
  });
}

// Whether the gradient is bent in passing, see Note [Bends]. A row with only one of γ and β is not
// usual enough for a loop of its own.
bool BendsInPassing(const NormView& v, const AffineView& a, const NormMoments& m) {
  if (IsRow(a) && (a.gamma == nullptr || a.beta == nullptr)) return false;
  bool all_safe = true;
  for (std::int64_t set = 0; set < v.sets(); ++set) all_safe &= is_safe(m.mean[set], m.rstd[set]);
  return all_safe;
}

void Backward(const Real* g, const Real* x, Real* dx, const NormView& view, const AffineView& a,
              const NormMoments& m, NormKind kind, Real* dgamma, Real* dbeta) {
  const NormView v = joined(view);
  if (a.slope != 1 && !BendsInPassing(v, a, m)) {
    AffineView straight = a;
    straight.slope = 1;
    Scratch<Real> bent(v.size());
    Apply(x, bent.data(), v, straight, m);
    parallel_for(v.size(), kLongest, [&](std::int64_t begin, std::int64_t end) HWY_ATTR {
      WithBend(a.slope, [&](auto bend) HWY_ATTR {
        Map([=](auto d, auto z, auto u) HWY_ATTR { return bend(d, z, u); }, bent.data() + begin,
            end - begin, bent.data() + begin, g + begin);
      });
    });
    Backward(bent.data(), x, dx, v, straight, m, kind, dgamma, dbeta);
    return;
  }
  if (by_columns(v)) return norm_backward_columns(g, x, dx, v, a, m, kind, dgamma, dbeta);
  WithBend(a.slope,
           [&](auto bend) { BackwardSegments(bend, g, x, dx, v, a, m, kind, dgamma, dbeta); });
}

// Both passes go over all segments: this is for gradient penalties, whose maps fit a cache.
void Second(const Real* up, const Real* h, const Real* x, Real* dx, const NormView& view,
            const NormMoments& m, NormKind kind) {
  const NormView v = joined(view);
  const AffineView none{};
  const Segments parts = segments(v, none);
  const Walk walk(v, none, parts);
  const auto all_segments = [&](auto use) {
    parallel_for(parts.count, grain(parts.length),
                 [&](std::int64_t begin, std::int64_t end) { walk.from(begin, end, use); });
  };
  // Of a segment or a set: Σ h and Σ h·x̂, Σ v and Σ v·x̂, Σ v·h.
  struct Sums {
    Pair h, v;
    double both;
  };
  Scratch<Sums> sums(parts.count), totals(v.sets());
  all_segments([&](std::int64_t i, const Segment& s) {
    const Center c = CenterOf(m, s.set);
    const auto product = [](auto& a, auto&, auto u, auto w) HWY_ATTR { a = hn::MulAdd(u, w, a); };
    sums[i] = {RunGradient(h + s.at, x + s.at, s.n, c, s.n),
               RunGradient(up + s.at, x + s.at, s.n, c, s.n),
               c.is_safe ? SumPairs(product, s.n, s.n, up + s.at, h + s.at).a
                         : WidePairs(product, s.n, up + s.at, h + s.at).a};
  });
  std::fill_n(totals.data(), v.sets(), Sums{});
  walk.from(0, parts.count, [&](std::int64_t i, const Segment& s) {
    const Sums part = sums[i], so_far = totals[s.set];
    totals[s.set] = {{so_far.h.a + part.h.a, so_far.h.b + part.h.b},
                     {so_far.v.a + part.v.a, so_far.v.b + part.v.b},
                     so_far.both + part.both};
  });
  const double share = 1 / static_cast<double>(v.count());
  all_segments([&](std::int64_t, const Segment& s) {
    const Center c = CenterOf(m, s.set);
    const Sums total = totals[s.set];
    const bool centered = kind == NormKind::kCentered;
    const double mean_h = centered ? total.h.a * share : 0,
                 mean_v = centered ? total.v.a * share : 0;
    const double a = total.h.b * share, b = total.v.b * share, rstd = c.wide_rstd;
    // dx = by_x·(x − mean) + by_h·h + by_v·v + rest
    const double by_x = -rstd * rstd * rstd * (total.both * share - mean_h * mean_v - 3 * a * b);
    const double by_h = -rstd * rstd * b, by_v = -rstd * rstd * a;
    const double rest = rstd * rstd * (b * mean_h + a * mean_v);
    const auto largest = std::max({std::abs(by_x), std::abs(by_h), std::abs(by_v), std::abs(rest)});
    if (rstd > 1e-10 && largest < 1e30) {
      const Real shift = static_cast<Real>(rest - static_cast<double>(c.low) * by_x);
      const Real fx = static_cast<Real>(by_x), fh = static_cast<Real>(by_h),
                 fv = static_cast<Real>(by_v);
      MapRun(
          [=, high = c.high](auto d, auto w, auto u, auto z) HWY_ATTR {
            const auto inner =
                hn::MulAdd(hn::Sub(z, hn::Set(d, high)), hn::Set(d, fx), hn::Set(d, shift));
            return hn::MulAdd(w, hn::Set(d, fv), hn::MulAdd(u, hn::Set(d, fh), inner));
          },
          dx + s.at, s.n, CourseOf(v, s.n), up + s.at, h + s.at, x + s.at);
    } else {
      MapWide(
          [=, mean = c.mean](auto d, auto w, auto u, auto z) HWY_ATTR {
            const auto inner =
                hn::MulAdd(hn::Sub(z, hn::Set(d, mean)), hn::Set(d, by_x), hn::Set(d, rest));
            return hn::MulAdd(w, hn::Set(d, by_v), hn::MulAdd(u, hn::Set(d, by_h), inner));
          },
          dx + s.at, s.n, up + s.at, h + s.at, x + s.at);
    }
  });
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

bool norm_second_fuses(const NormView& view) { return !by_columns(joined(view)); }

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
                   Real* dgamma, Real* dbeta) {
  HWY_DYNAMIC_DISPATCH(Backward)(g, x, dx, view, affine, moments, kind, dgamma, dbeta);
}

HWY_EXPORT(Second);
void norm_second(const Real* v, const Real* h, const Real* x, Real* dx, const NormView& view,
                 const NormMoments& moments, NormKind kind) {
  HWY_DYNAMIC_DISPATCH(Second)(v, h, x, dx, view, moments, kind);
}

}  // namespace tapestry::kernels
#endif  // HWY_ONCE
