#include "core/kernels/conv_window.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/conv_window.cc"
#include <algorithm>

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<Real>;
using V = hn::Vec<D>;
constexpr auto kLanes = static_cast<std::int64_t>(hn::MaxLanes(D()));

// line[j] = row[first + j · step] for j < count, 0 outside the image.
void GatherLine(const Real* row, std::int64_t extent, std::int64_t first, std::int64_t step,
                std::int64_t count, Real* line) {
  const D d;
  const auto reach = [&](std::int64_t x) HWY_ATTR {
    return x <= 0 ? 0 : step == 1 ? x : (x + step - 1) / step;
  };
  const std::int64_t j0 = std::min(reach(-first), count),
                     j1 = std::clamp(reach(extent - first), j0, count);
  std::int64_t j = 0;
  for (; j < j0; ++j) line[j] = 0;
  const Real* in = row + first;
  if (step == 1) {
    for (; j + kLanes <= j1; j += kLanes) hn::StoreU(hn::LoadU(d, in + j), d, line + j);
    if (j < j1 && j1 - j0 >= kLanes) {  // the last vector overlaps the one before
      hn::StoreU(hn::LoadU(d, in + j1 - kLanes), d, line + j1 - kLanes);
      j = j1;
    }
  } else if (step == 2) {
    // < : the vector with the numbers between reads one further.
    for (; j + kLanes < j1; j += kLanes) {
      V even, odd;
      hn::LoadInterleaved2(d, in + 2 * j, even, odd);
      hn::StoreU(even, d, line + j);
    }
    if (j < j1 &&
        j1 - j0 > kLanes) {  // the last vector overlaps; read from one earlier, it is the odd half
      V even, odd;
      hn::LoadInterleaved2(d, in + 2 * (j1 - kLanes) - 1, even, odd);
      hn::StoreU(odd, d, line + j1 - kLanes);
      j = j1;
    }
  }
  for (; j < j1; ++j) line[j] = in[j * step];
  for (; j < count; ++j) line[j] = 0;
}

void Zeros(std::int64_t count, Real* to) {
  const D d;
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(hn::Zero(d), d, to + i);
  for (; i < count; ++i) to[i] = 0;
}

// `rows` rows of zeros, kVectors vectors (or `vectors`, where that is 0) of every kStep-th number,
// zeros. What a vector writes too much, the next one overwrites.
template <int kStep, int kVectors>
void CopyRows(const Real* in, std::int64_t in_step, std::int64_t rows, std::int64_t columns,
              std::int64_t first, std::int64_t last, std::int64_t vectors, std::int64_t ahead,
              Real* to) {
  const D d;
  const std::int64_t count = kVectors == 0 ? vectors : kVectors;
  constexpr std::int64_t kVectorsInLine =
      std::max<std::int64_t>(64 / (static_cast<std::int64_t>(sizeof(Real)) * kLanes), 1);
  for (; rows > 0; --rows, in += in_step, to += columns) {
    hn::StoreU(hn::Zero(d), d, to);
    HWY_UNROLL(4)
    for (std::int64_t j = 0; j < count; ++j) {
      if (kStep == 2 || j % kVectorsInLine == 0)
        hwy::Prefetch(in + ahead + j * static_cast<std::int64_t>(kLanes) * kStep);
      V even = hn::Undefined(d), odd;
      if constexpr (kStep == 1) {
        even = hn::LoadU(d, in + j * static_cast<std::int64_t>(kLanes));
      } else {
        hn::LoadInterleaved2(d, in + 2 * j * static_cast<std::int64_t>(kLanes), even, odd);
      }
      hn::StoreU(even, d, to + first + j * static_cast<std::int64_t>(kLanes));
    }
    hn::StoreU(hn::Zero(d), d, to + last);
  }
}

// Rows [i0, i1) and columns [j0, j1) of a window that are inside the image.
struct Part {
  std::int64_t i0, i1, j0, j1;
};
Part Inside(const Window& window) {
  const auto within = [](std::int64_t x, std::int64_t apart, std::int64_t most) {
    const std::int64_t first = x <= 0 ? 0 : apart == 1 ? x : (x + apart - 1) / apart;
    return std::min(first, most);
  };
  const std::int64_t i0 = within(-window.y0, window.step_h, window.rows),
                     j0 = within(-window.x0, window.step_w, window.columns);
  return {i0, std::max(within(window.height - window.y0, window.step_h, window.rows), i0), j0,
          std::max(within(window.width - window.x0, window.step_w, window.columns), j0)};
}

void CopyWindows(const Window& window, std::int64_t images, const Real* image,
                 std::int64_t image_step, Real* to, std::int64_t to_step) {
  const std::int64_t step = window.step_w, columns = window.columns;
  if (window.x0 == 0 && step == 1 && columns == window.width && window.step_h == 1 &&
      window.y0 >= 0 && window.y0 + window.rows <= window.height) {  // whole rows: one run
    for (std::int64_t n = 0; n < images; ++n) {
      GatherLine(image + n * image_step + window.y0 * window.width, window.rows * window.width, 0,
                 1, window.rows * window.width, to + n * to_step);
    }
    return;
  }
  const auto [i0, i1, j0, j1] = Inside(window);
  // Most rows are short, so whole vectors may read into the image's next rows and write into those
  // of the window, which follow; but not beyond the end of either.
  const auto lanes = static_cast<std::int64_t>(kLanes);
  const std::int64_t vectors = (j1 - j0 + lanes - 1) / lanes;
  const std::int64_t in_step = window.step_h * window.width;
  const std::int64_t begin =
      (window.y0 + i0 * window.step_h) * window.width + window.x0 + j0 * step;
  std::int64_t fast = 0;
  if (step <= 2 && j0 <= lanes && columns - j1 <= lanes && j1 > j0) {
    const std::int64_t read = window.height * window.width - begin - vectors * lanes * step,
                       write = (window.rows - i0) * columns -
                               std::max(j1 + lanes, j0 + vectors * lanes);
    if (read >= 0 && write >= 0)
      fast = std::min({i1 - i0, read / in_step + 1, write / columns + 1});
  }
  using Copy = void (*)(const Real*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,
                        std::int64_t, std::int64_t, std::int64_t, Real*);
  constexpr Copy kCopies[2][5] = {
      {CopyRows<1, 0>, CopyRows<1, 1>, CopyRows<1, 2>, CopyRows<1, 3>, CopyRows<1, 4>},
      {CopyRows<2, 0>, CopyRows<2, 1>, CopyRows<2, 2>, CopyRows<2, 3>, CopyRows<2, 4>}};
  for (; images > 0; --images, image += image_step, to += to_step) {
    Zeros(i0 * columns, to);
    if (fast > 0) {
      kCopies[step - 1][vectors <= 4 ? vectors : 0](image + begin, in_step, fast, columns, j0, j1,
                                                    vectors, window.ahead, to + i0 * columns);
    }
    for (std::int64_t i = i0 + fast; i < i1; ++i) {
      GatherLine(image + (window.y0 + i * window.step_h) * window.width, window.width, window.x0,
                 step, columns, to + i * columns);
    }
    Zeros((window.rows - i1) * columns, to + i1 * columns);
  }
}

void Interleave(const Real* even, const Real* odd, std::int64_t count, Real* to) {
  const D d;
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreInterleaved2(hn::LoadU(d, even + i), hn::LoadU(d, odd + i), d, to + 2 * i);
  }
  for (; i < count; ++i) {
    to[2 * i] = even[i];
    to[2 * i + 1] = odd[i];
  }
}

void Put(const Real* from, std::int64_t count, std::int64_t step, Real* to) {
  const D d;
  std::int64_t i = 0;
  if (step == 1) {
    for (; i + kLanes <= count; i += kLanes) hn::StoreU(hn::LoadU(d, from + i), d, to + i);
  } else if (step == 2) {
    // < : the last number written lies between two of ours.
    for (; i + kLanes < count; i += kLanes) {
      V even, odd;
      hn::LoadInterleaved2(d, to + 2 * i, even, odd);
      hn::StoreInterleaved2(hn::LoadU(d, from + i), odd, d, to + 2 * i);
    }
  }
  for (; i < count; ++i) to[i * step] = from[i];
}

void AddWindows(const Window& window, std::int64_t images, const Real* from, std::int64_t from_step,
                Real* image, std::int64_t image_step) {
  const D d;
  const auto [i0, i1, j0, j1] = Inside(window);
  const std::int64_t step = window.step_w, count = j1 - j0;
  for (; images > 0; --images, from += from_step, image += image_step) {
    for (std::int64_t i = i0; i < i1; ++i) {
      const Real* in = from + i * window.columns + j0;
      const std::int64_t at =
          (window.y0 + i * window.step_h) * window.width + window.x0 + j0 * step;
      Real* to = image + at;
      std::int64_t j = 0;
      // Whole vectors may read numbers of the next rows and leave those of the image as they are,
      // but not beyond the end of either.
      const std::int64_t more = (window.rows - i) * window.columns - j0,
                         room = window.height * window.width - at;
      for (; step <= 2 && j < count && j + kLanes <= more && (j + kLanes) * step <= room;
           j += kLanes) {
        const V terms = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(count - j)),
                                           hn::LoadU(d, in + j));
        if (step == 1) {
          hn::StoreU(hn::Add(hn::LoadU(d, to + j), terms), d, to + j);
        } else {
          V even, odd;
          hn::LoadInterleaved2(d, to + 2 * j, even, odd);
          hn::StoreInterleaved2(hn::Add(even, terms), odd, d, to + 2 * j);
        }
      }
      for (; j < count; ++j) to[j * step] += in[j];
    }
  }
}

// Two passes, so that no vector is read from two that were stored just before: the processor cannot
// forward these.
void DealPlanes(const Deal& job, const Real* image, Real* window, Real* planes) {
  const D d;
  const std::int64_t wide = job.columns * job.m;
  CopyWindows({job.height, job.width, job.y0, job.x0, job.step_h, job.step_w,
               (job.rows - 1) * job.m + job.last, wide, job.ahead},
              1, image, 0, window, 0);
  // Whole vectors: what is stored beyond a row is overwritten by the next row, or lies between
  // planes. One or two columns more, as the border often is, are cheaper one by one.
  const std::int64_t odd = job.columns % kLanes <= 2 ? job.columns % kLanes : 0;
  for (std::int64_t i = 0; i < job.rows; ++i) {
    for (std::int64_t p = 0; p < (i + 1 == job.rows ? job.last : job.m); ++p, window += wide) {
      Real* to = planes + p * job.m * job.stride + i * job.columns;
      std::int64_t t = 0;
      for (; t < job.columns - odd; t += kLanes) {
        if (job.m == 4) {
          V v0, v1, v2, v3;
          hn::LoadInterleaved4(d, window + t * 4, v0, v1, v2, v3);
          hn::StoreU(v0, d, to + t);
          hn::StoreU(v1, d, to + job.stride + t);
          hn::StoreU(v2, d, to + 2 * job.stride + t);
          hn::StoreU(v3, d, to + 3 * job.stride + t);
        } else {
          V v0, v1;
          hn::LoadInterleaved2(d, window + t * 2, v0, v1);
          hn::StoreU(v0, d, to + t);
          hn::StoreU(v1, d, to + job.stride + t);
        }
      }
      for (; t < job.columns; ++t) {
        for (std::int64_t q = 0; q < job.m; ++q) to[q * job.stride + t] = window[t * job.m + q];
      }
    }
  }
}

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(CopyWindows);
HWY_EXPORT(Interleave);
HWY_EXPORT(Put);
HWY_EXPORT(AddWindows);
HWY_EXPORT(DealPlanes);

void copy_windows(const Window& window, std::int64_t images, const Real* image,
                  std::int64_t image_step, Real* to, std::int64_t to_step) {
  HWY_DYNAMIC_DISPATCH(CopyWindows)(window, images, image, image_step, to, to_step);
}
void interleave(const Real* even, const Real* odd, std::int64_t count, Real* to) {
  HWY_DYNAMIC_DISPATCH(Interleave)(even, odd, count, to);
}
void put(const Real* from, std::int64_t count, std::int64_t step, Real* to) {
  HWY_DYNAMIC_DISPATCH(Put)(from, count, step, to);
}
void add_windows(const Window& window, std::int64_t images, const Real* from,
                 std::int64_t from_step, Real* image, std::int64_t image_step) {
  HWY_DYNAMIC_DISPATCH(AddWindows)(window, images, from, from_step, image, image_step);
}
void deal(const Deal& job, const Real* image, Real* window, Real* planes) {
  HWY_DYNAMIC_DISPATCH(DealPlanes)(job, image, window, planes);
}

}  // namespace tapestry::kernels
#endif
