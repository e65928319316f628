#include "core/kernels/grid.h"

#include <algorithm>

#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

constexpr std::int64_t kGrain = 1 << 14;  // numbers per chunk: about 10 µs

std::int64_t planes_per_chunk(std::int64_t plane) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(plane, 1));
}

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

/// Whether outputs i and k of the matrix are the same.
bool same_taps(const Taps& taps, std::int64_t i, std::int64_t k) {
  const std::int64_t a = taps.starts[at(i)], b = taps.starts[at(k)];
  const std::int64_t count = taps.starts[at(i + 1)] - a;
  if (count != taps.starts[at(k + 1)] - b) return false;
  for (std::int64_t t = 0; t < count; ++t) {
    if (taps.sources[at(a + t)] != taps.sources[at(b + t)] ||
        taps.weights[at(a + t)] != taps.weights[at(b + t)])
      return false;
  }
  return true;
}

/// Applies a sparse matrix to one row of an image. Most matrices are one of three simple kinds,
/// whose loops the compiler turns into vectors or at least into straight code.
class RowMixer {
 public:
  explicit RowMixer(const Taps& taps) : taps_(taps), outputs_(taps.outputs()) {
    if (find_copies() || find_sums()) return;
    find_pairs();
  }

  void operator()(const Real* __restrict x, Real* __restrict y) const {
    switch (kind_) {
      case Kind::kCopies:
        if (factor_ == 2) {
          for (std::int64_t i = 0; i < taps_.inputs; ++i) y[2 * i] = y[2 * i + 1] = x[i];
        } else {
          for (std::int64_t i = 0; i < taps_.inputs; ++i, y += factor_)
            std::fill_n(y, factor_, x[i]);
        }
        break;
      case Kind::kSums:
        if (factor_ == 2) {
          for (std::int64_t i = 0; i < outputs_; ++i) y[i] = weight_ * (x[2 * i] + x[2 * i + 1]);
        } else {
          for (std::int64_t i = 0; i < outputs_; ++i, x += factor_) {
            Real sum = x[0];
            for (std::int64_t t = 1; t < factor_; ++t) sum += x[t];
            y[i] = weight_ * sum;
          }
        }
        break;
      case Kind::kPairs: {
        const Pair* __restrict pairs = pairs_.data();
        for (std::int64_t i = 0; i < outputs_; ++i) {
          const Pair pair = pairs[i];
          y[i] = pair.weight[0] * x[pair.source[0]] + pair.weight[1] * x[pair.source[1]];
        }
        break;
      }
      case Kind::kGeneral: {
        const std::int32_t* __restrict starts = taps_.starts.data();
        const std::int32_t* __restrict sources = taps_.sources.data();
        const Real* __restrict weights = taps_.weights.data();
        for (std::int64_t i = 0, k = 0; i < outputs_; ++i) {
          Real sum = 0;
          for (const std::int64_t end = starts[i + 1]; k < end; ++k)
            sum += weights[k] * x[sources[k]];
          y[i] = sum;
        }
        break;
      }
    }
  }

 private:
  // Copies: each input `factor` times, in order (nearest). Sums: of `factor` neighbors each,
  // weighted alike (unpadded averages, the gradient of copies). Pairs: one or two taps (bilinear).
  enum class Kind { kGeneral, kCopies, kSums, kPairs };
  struct Pair {
    std::int32_t source[2];
    Real weight[2];
  };

  bool find_copies() {
    const auto count = static_cast<std::int64_t>(taps_.sources.size());
    if (taps_.inputs == 0 || count != outputs_ || outputs_ % taps_.inputs != 0) return false;
    const std::int64_t factor = outputs_ / taps_.inputs;
    for (std::int64_t i = 0; i < outputs_; ++i) {
      if (taps_.starts[at(i)] != i || taps_.sources[at(i)] != i / factor ||
          taps_.weights[at(i)] != 1)
        return false;
    }
    kind_ = Kind::kCopies;
    factor_ = factor;
    return true;
  }

  bool find_sums() {
    const auto count = static_cast<std::int64_t>(taps_.sources.size());
    if (outputs_ == 0 || count == 0 || count % outputs_ != 0) return false;
    const std::int64_t factor = count / outputs_;
    for (std::int64_t k = 0; k < count; ++k) {
      if (taps_.starts[at(k / factor)] != k / factor * factor || taps_.sources[at(k)] != k ||
          taps_.weights[at(k)] != taps_.weights[0])
        return false;
    }
    kind_ = Kind::kSums;
    factor_ = factor;
    weight_ = taps_.weights[0];
    return true;
  }

  void find_pairs() {
    for (std::int64_t i = 0; i < outputs_; ++i) {
      const std::int64_t first = taps_.starts[at(i)], count = taps_.starts[at(i + 1)] - first;
      if (count < 1 || count > 2) return;
      const std::int64_t last = first + count - 1;
      // One tap is written as two halves, which is exact, also for Inf; a weight of 0 is not.
      const Real share = count == 1 ? Real(0.5) : Real(1);
      pairs_.push_back({{taps_.sources[at(first)], taps_.sources[at(last)]},
                        {share * taps_.weights[at(first)], share * taps_.weights[at(last)]}});
    }
    kind_ = Kind::kPairs;
  }

  const Taps& taps_;
  std::int64_t outputs_;
  Kind kind_ = Kind::kGeneral;
  std::int64_t factor_ = 1;
  Real weight_ = 1;
  std::vector<Pair> pairs_;
};

/// The middle of an axis of windows: outputs [first, last) see `taps` positions each and begin
/// `stride` apart, so that they can be done together.
struct Middle {
  std::int64_t first = 0, last = 0, stride = 1, taps = 0;
};

Middle middle(const Windows& windows) {
  const auto n = static_cast<std::int64_t>(windows.begin.size());
  const auto length = [&](std::int64_t i) { return windows.end[at(i)] - windows.begin[at(i)]; };
  Middle result;
  for (std::int64_t i = 1; i < n; ++i) {
    if (length(i) > length(result.first)) result.first = i;
  }
  if (result.first + 1 >= n) return {};
  result.stride = windows.begin[at(result.first + 1)] - windows.begin[at(result.first)];
  result.taps = (length(result.first) + windows.step - 1) / windows.step;
  result.last = result.first + 1;
  while (result.last < n && length(result.last) == length(result.first) &&
         windows.begin[at(result.last)] - windows.begin[at(result.last - 1)] == result.stride)
    ++result.last;
  return result;
}

/// Whether the number replaces the largest so far: the first NaN stays, since it equals nothing.
bool replaces(Real value, Real top) {
  return !(value <= top) & (top == top);  // no branches: this is done in vectors
}

/// One tap of n windows that begin kStride (0: stride) apart.
template <std::int64_t kStride>
void take_larger(const Real* __restrict x, std::int32_t position, std::int64_t stride,
                 Real* __restrict tops, std::int32_t* __restrict positions, std::int64_t n) {
  const std::int64_t step = kStride > 0 ? kStride : stride;
  for (std::int64_t i = 0; i < n; ++i) {
    const Real value = x[i * step], top = tops[i];
    const bool take = replaces(value, top);
    tops[i] = take ? value : top;
    positions[i] = take ? position + static_cast<std::int32_t>(i * step) : positions[i];
  }
}

void take_larger(const Real* x, std::int32_t position, std::int64_t stride, Real* tops,
                 std::int32_t* positions, std::int64_t n) {
  const auto run = stride == 1 ? take_larger<1> : stride == 2 ? take_larger<2> : take_larger<0>;
  run(x, position, stride, tops, positions, n);
}

}  // namespace

void Taps::add(std::int64_t source, double weight) {
  if (weight == 0) return;  // so that a zero weight does not make NaN of an Inf
  sources.push_back(static_cast<std::int32_t>(source));
  weights.push_back(static_cast<Real>(weight));
}

Taps transposed(const Taps& taps) {
  Taps result;
  result.inputs = taps.outputs();
  std::vector<std::vector<std::int32_t>> users(static_cast<std::size_t>(taps.inputs)),
      places(users.size());
  for (std::int32_t i = 0; i < taps.outputs(); ++i) {
    for (std::int32_t k = taps.starts[static_cast<std::size_t>(i)];
         k < taps.starts[static_cast<std::size_t>(i) + 1]; ++k) {
      const std::size_t source =
          static_cast<std::size_t>(taps.sources[static_cast<std::size_t>(k)]);
      users[source].push_back(i);
      places[source].push_back(k);
    }
  }
  for (std::size_t source = 0; source < users.size(); ++source) {
    for (std::size_t j = 0; j < users[source].size(); ++j) {
      result.add(users[source][j], taps.weights[static_cast<std::size_t>(places[source][j])]);
    }
    result.next();
  }
  return result;
}

void separable(const Real* x, Real* y, std::int64_t planes, const Taps& rows, const Taps& columns) {
  const std::int64_t height = rows.inputs, width = columns.inputs;
  const std::int64_t out_height = rows.outputs(), out_width = columns.outputs();
  const RowMixer mix_row(columns);
  // Where rows become more, they are mixed along their width first, when there are still few.
  const bool width_first = out_height > height && std::ssize(rows.sources) > out_height;
  const std::int64_t n = width_first ? out_width : width;  // of the rows that are added up
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    Scratch<Real> scratch(std::max<std::int64_t>(width_first ? height * n : n, 1));
    Real* mixed = scratch.data();
    for (std::int64_t plane = begin; plane < end; ++plane) {
      const Real* image = x + plane * height * width;
      Real* out = y + plane * out_height * out_width;
      if (width_first) {
        for (std::int64_t i = 0; i < height; ++i) mix_row(image + i * width, mixed + i * n);
      }
      const Real* base = width_first ? mixed : image;
      for (std::int64_t i = 0; i < out_height; ++i, out += out_width) {
        if (i > 0 && same_taps(rows, i, i - 1)) {  // nearest: the row above once more
          std::copy_n(out - out_width, out_width, out);
          continue;
        }
        const std::int64_t first = rows.starts[at(i)], last = rows.starts[at(i + 1)];
        const auto source = [&](std::int64_t k) { return base + rows.sources[at(k)] * n; };
        if (!width_first && last - first == 1 && rows.weights[at(first)] == 1) {
          mix_row(source(first), out);
          continue;
        }
        // One row of sums, by whole rows.
        Real* __restrict sum = width_first ? out : mixed;
        if (first == last) std::fill_n(sum, n, Real{0});
        for (std::int64_t k = first; k < last; ++k) {
          const Real* __restrict from = source(k);
          const Real weight = rows.weights[at(k)];
          if (k == first) {
            for (std::int64_t j = 0; j < n; ++j) sum[j] = weight * from[j];
          } else {
            for (std::int64_t j = 0; j < n; ++j) sum[j] += weight * from[j];
          }
        }
        if (!width_first) mix_row(sum, out);
      }
    }
  };
  parallel_for(planes, planes_per_chunk(height * width + out_height * out_width), run);
}

void max_windows(const Real* x, Real* y, std::int32_t* positions, std::int64_t planes,
                 std::int64_t height, std::int64_t width, const Windows& rows,
                 const Windows& columns) {
  const std::int64_t out_height = static_cast<std::int64_t>(rows.begin.size());
  const std::int64_t out_width = static_cast<std::int64_t>(columns.begin.size());
  const Middle inner = middle(columns);
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t plane = begin; plane < end; ++plane) {
      const Real* image = x + plane * height * width;
      for (std::int64_t i = 0; i < out_height; ++i) {
        Real* tops = y + (plane * out_height + i) * out_width;
        std::int32_t* best = positions + (plane * out_height + i) * out_width;
        for (std::int64_t j = 0; j < out_width; ++j) {
          best[j] = static_cast<std::int32_t>(rows.begin[at(i)] * width) + columns.begin[at(j)];
          tops[j] = image[best[j]];
        }
        for (std::int64_t h = rows.begin[at(i)]; h < rows.end[at(i)]; h += rows.step) {
          const auto edge = [&](std::int64_t j) {
            for (std::int64_t w = columns.begin[at(j)]; w < columns.end[at(j)]; w += columns.step) {
              take_larger<1>(image + h * width + w, static_cast<std::int32_t>(h * width + w), 1,
                             tops + j, best + j, 1);
            }
          };
          for (std::int64_t j = 0; j < inner.first; ++j) edge(j);
          for (std::int64_t t = 0; t < inner.taps; ++t) {
            const std::int64_t at_tap =
                h * width + columns.begin[at(inner.first)] + t * columns.step;
            take_larger(image + at_tap, static_cast<std::int32_t>(at_tap), inner.stride,
                        tops + inner.first, best + inner.first, inner.last - inner.first);
          }
          for (std::int64_t j = inner.last; j < out_width; ++j) edge(j);
        }
      }
    }
  };
  parallel_for(planes, planes_per_chunk(height * width), run);
}

}  // namespace tapestry::kernels
