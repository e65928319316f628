// How the normalization kernels cut their array: into segments, or into columns. Plain index
// arithmetic, shared by normalize.cc and normalize_columns.cc; not for other files.
#ifndef TAPESTRY_CORE_KERNELS_NORMALIZE_VIEW_H_
#define TAPESTRY_CORE_KERNELS_NORMALIZE_VIEW_H_

#include <algorithm>
#include <cstdint>

#include "core/kernels/normalize.h"
#include "core/kernels/pair.h"

namespace tapestry::kernels {

// Note [Segments]
// ~~~~~~~~~~~~~~~
// A segment is a run of neighbors with one mean, one variance, one γ and one β (or, in "rows", a γ
// and β for each position of the row). All sums are taken segment by segment, and folded to sets
// and to parameters in order; so every member of the family is the same few loops. Short segments,
// as of BatchNorm1d or of 2×2 images, go the other way round: see [Columns].
struct Segments {
  std::int64_t plane;   // elements with one mean and one γ
  std::int64_t planes;  // of a run, the inner elements of a set
  std::int64_t cuts;    // segments of a plane
  std::int64_t length;  // of a segment; the last of a plane may be shorter
  std::int64_t count;   // of all segments
  bool is_row;          // γ and β go along with the row
};

inline constexpr std::int64_t kShort = 33;       // inner extents below go by columns
inline constexpr std::int64_t kLongest = 16384;  // a segment's elements, about 5 µs of work

inline Segments segments(const NormView& v, const AffineView& a) {
  Segments s{};
  s.is_row = a.inner == 1 && a.kept > 1;
  s.plane = s.is_row || a.kept == 1 ? v.inner : std::min(v.inner, a.inner);
  s.planes = v.inner / s.plane;
  s.cuts = (s.plane + kLongest - 1) / kLongest;
  s.length = std::min(s.plane, kLongest);
  s.count = v.batch * v.outer * v.kept * s.planes * s.cuts;
  return s;
}

// What of the view, the scale and the statistics a segment sees.
struct Segment {
  std::int64_t at, n, set, affine;  // first element, elements, set, position in γ and β
};

// Visits segments. Counts along instead of dividing, because segments can be short.
class Walk {
 public:
  Walk(const NormView& v, const AffineView& a, const Segments& s)
      : v_(v), a_(a), s_(s), stride_(v.kept * s.planes % a.kept) {}

  // use(index, segment) for those of a set, in order.
  template <class F>
  void of_set(std::int64_t set, F use) const {
    const std::int64_t b = v_.batch == 1 ? 0 : set / v_.kept;
    std::int64_t run = b * v_.outer * v_.kept + set - b * v_.kept;
    const std::int64_t each = s_.planes * s_.cuts;
    State first = find(run * each);
    for (std::int64_t o = 0; o < v_.outer; ++o, run += v_.kept) {
      if (o > 0) skip_to_next_run(first, run * each);
      State at = first;
      for (std::int64_t i = 0; i < each; ++i) {
        use(run * each + i, at.segment);
        if (each > 1) advance(at);
      }
    }
  }

  // use(index, segment) for begin ≤ index < end.
  template <class F>
  void from(std::int64_t begin, std::int64_t end, F use) const {
    State at = find(begin);
    for (std::int64_t i = begin; i < end; ++i) {
      use(i, at.segment);
      advance(at);
    }
  }

 private:
  struct State {
    Segment segment;
    std::int64_t cut, plane, k, o;  // within the plane, the run, the kept axis, the outer axis
    std::int64_t left;              // planes to the next γ
  };

  State find(std::int64_t index) const {
    State at{};
    const std::int64_t plane = s_.cuts == 1 ? index : index / s_.cuts;
    const std::int64_t run = s_.planes == 1 ? plane : plane / s_.planes;
    at.cut = index - plane * s_.cuts;
    at.plane = plane - run * s_.planes;
    std::int64_t row = v_.kept == 1 ? run : run / v_.kept, b = 0;
    if (v_.outer == 1 && v_.batch == 1) row = 0;
    at.k = run - row * v_.kept;
    if (v_.batch > 1) b = row / v_.outer;
    at.o = row - b * v_.outer;
    at.segment = {plane * s_.plane + at.cut * s_.length, length(at.cut), b * v_.kept + at.k, 0};
    if (a_.kept > 1) {
      const std::int64_t step = at.segment.at / a_.inner;
      at.segment.affine = step % a_.kept;
      at.left = s_.is_row ? 0 : (a_.inner - (plane * s_.plane - step * a_.inner)) / s_.plane;
    }
    return at;
  }

  // From the start of a run of a set to that of its next, `index`.
  void skip_to_next_run(State& at, std::int64_t index) const {
    if (a_.kept > 1 && (s_.is_row || s_.plane != a_.inner)) {
      at = find(index);
      return;
    }
    at.segment.at += v_.kept * v_.inner;
    if (a_.kept > 1 && (at.segment.affine += stride_) >= a_.kept) at.segment.affine -= a_.kept;
  }

  void advance(State& at) const {
    Segment& s = at.segment;
    const std::int64_t passed = s.n;
    s.at += passed;
    ++at.cut;
    if (s_.is_row && (s.affine += passed) == a_.kept) s.affine = 0;
    if (at.cut < s_.cuts) {
      s.n = length(at.cut);
      return;
    }
    at.cut = 0;
    s.n = s_.length;
    if (!s_.is_row && a_.kept > 1 && --at.left == 0) {
      at.left = a_.inner / s_.plane;
      if (++s.affine == a_.kept) s.affine = 0;
    }
    if (++at.plane < s_.planes) return;
    at.plane = 0;
    ++s.set;
    if (++at.k < v_.kept) return;
    at.k = 0;
    if (++at.o < v_.outer) {
      s.set -= v_.kept;  // the same sets once more
    } else {
      at.o = 0;
    }
  }

  std::int64_t length(std::int64_t cut) const {
    return std::min(s_.length, s_.plane - cut * s_.length);
  }

  const NormView v_;
  const AffineView a_;
  const Segments s_;
  const std::int64_t stride_;  // positions in γ from a run of a set to its next
};

// Note [Past the caches]
// ~~~~~~~~~~~~~~~~~~~~~~
// To write a line, a processor first reads it. Where the result is as large as a third-level cache,
// whose first lines are gone before anybody reads them, whole lines are written past the caches
// instead, and not read. That is a third less traffic.
inline constexpr std::int64_t kPastCaches = (32 << 20) / static_cast<std::int64_t>(sizeof(Real));

// One thread takes a whole set, which then stays in its cache from pass to pass. Otherwise all
// threads share each pass over the array in the order of memory: when there are few and large sets,
// and when the parts of a set lie at multiples of a page, so that they would drive each other out
// of a cache of few ways. Parts of whole pages do so only in the first two levels: an array beyond
// the third is still read from memory once instead of twice. Depends on the sizes only.
inline bool by_sets(const NormView& v) {
  if (v.count() * v.sets() <= 2 * kLongest) return true;
  constexpr std::int64_t kPage = 4096 / sizeof(Real);
  const bool collides = v.outer > 8 && v.kept * v.inner % kPage == 0;
  const bool is_beyond = v.size() >= kPastCaches && v.inner >= kPage;
  return v.sets() >= 16 && (!collides || is_beyond);
}

// Sets that are contiguous as a whole, whatever the view calls their axes, become one run each.
inline NormView joined(const NormView& v) {
  if (v.kept == 1) return {1, v.batch, v.outer * v.inner, 1};
  if (v.outer == 1) return {1, v.batch * v.kept, v.inner, 1};
  return v;
}

// Chunks of work: as many things of so many elements each as take about 5 µs.
inline std::int64_t grain(std::int64_t elements_each) {
  return std::max<std::int64_t>(1, kLongest / std::max<std::int64_t>(1, elements_each));
}

// Note [Columns]
// ~~~~~~~~~~~~~~
// With short inner extents the array is a matrix of `rows` × `width`, and each column has its own
// statistics while summing; columns of one set are folded afterwards. A matrix that is high and
// narrow is first made wider by joining rows.
struct Columns {
  std::int64_t rows, width;
};

inline bool by_columns(const NormView& v) { return v.inner < kShort && v.outer > 1; }

inline Columns columns(const NormView& v) {
  Columns c{v.outer, v.kept * v.inner};
  while (c.rows % 2 == 0 && c.width < 1024) c.rows /= 2, c.width *= 2;
  return c;
}

// norm_forward, norm_apply and norm_backward for views that go by columns; in normalize_columns.cc.
void norm_forward_columns(const Real* x, Real* y, const NormView& v, const AffineView& a,
                          double eps, bool centered, const NormMoments& m, double* variance);
void norm_apply_columns(const Real* x, Real* y, const NormView& v, const AffineView& a,
                        const NormMoments& m);
void norm_backward_columns(const Real* g, const Real* x, Real* dx, const NormView& v,
                           const AffineView& a, const NormMoments& m, NormKind kind, Real* dgamma,
                           Real* dbeta);

// Note [Short sets]
// ~~~~~~~~~~~~~~~~~
// Of sets of 16 numbers, say, roots, quotients and the way from one to the next take longer than
// the numbers. So blocks of sets go through loops: sums of each set; statistics of all sets, side
// by side in lanes; results, in whole vectors where these run into the set that comes next anyway.
inline bool by_short_sets(const NormView& v, const AffineView& a) {
  constexpr std::int64_t kPlane = 256;  // from 16×16 images on there is no difference
  const Segments s = segments(v, a);
  return v.outer == 1 && by_sets(v) && !s.is_row && s.plane <= kPlane;
}

// norm_forward and norm_backward for these, in normalize_short.cc; y must not be x. The latter
// leaves the gradients of γ and β to the caller: `sums` receives Σ g and Σ g·x̂ of each segment.
void norm_forward_short(const Real* x, Real* y, const NormView& v, const AffineView& a, double eps,
                        bool centered, const NormMoments& m, double* variance);
void norm_backward_short(const Real* g, const Real* x, Real* dx, const NormView& v,
                         const AffineView& a, const NormMoments& m, NormKind kind, Pair* sums);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_NORMALIZE_VIEW_H_
