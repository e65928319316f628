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
  parallel_for(planes, planes_per_chunk(height * width + out_height * out_width),
               [&](std::int64_t begin, std::int64_t end) {
                 Scratch<Real> mixed(std::max<std::int64_t>(width, 1));
                 Real* row = mixed.data();
                 for (std::int64_t plane = begin; plane < end; ++plane) {
                   const Real* image = x + plane * height * width;
                   Real* out = y + plane * out_height * out_width;
                   for (std::int64_t i = 0; i < out_height; ++i, out += out_width) {
                     // Vertically: one mixed row of the input's width, by whole rows.
                     const std::int32_t first = rows.starts[static_cast<std::size_t>(i)],
                                        last = rows.starts[static_cast<std::size_t>(i) + 1];
                     const Real* source = row;
                     if (last - first == 1 && rows.weights[static_cast<std::size_t>(first)] == 1) {
                       source = image + rows.sources[static_cast<std::size_t>(first)] * width;
                     } else {
                       std::fill_n(row, width, Real{0});
                       for (std::int32_t k = first; k < last; ++k) {
                         const Real weight = rows.weights[static_cast<std::size_t>(k)];
                         const Real* from =
                             image + rows.sources[static_cast<std::size_t>(k)] * width;
                         for (std::int64_t j = 0; j < width; ++j) row[j] += weight * from[j];
                       }
                     }
                     // Horizontally: each output from its few taps.
                     const std::int32_t* taps = columns.sources.data();
                     const Real* weights = columns.weights.data();
                     for (std::int64_t j = 0; j < out_width; ++j) {
                       Real sum = 0;
                       for (std::int32_t k = columns.starts[static_cast<std::size_t>(j)];
                            k < columns.starts[static_cast<std::size_t>(j) + 1]; ++k) {
                         sum += weights[k] * source[taps[k]];
                       }
                       out[j] = sum;
                     }
                   }
                 }
               });
}

void max_windows(const Real* x, Real* y, std::int32_t* positions, std::int64_t planes,
                 std::int64_t height, std::int64_t width, const Windows& rows,
                 const Windows& columns) {
  const std::int64_t out_height = static_cast<std::int64_t>(rows.begin.size());
  const std::int64_t out_width = static_cast<std::int64_t>(columns.begin.size());
  parallel_for(planes, planes_per_chunk(height * width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t plane = begin; plane < end; ++plane) {
      const Real* image = x + plane * height * width;
      std::int64_t at = plane * out_height * out_width;
      for (std::size_t i = 0; i < rows.begin.size(); ++i) {
        for (std::size_t j = 0; j < columns.begin.size(); ++j, ++at) {
          std::int64_t best = rows.begin[i] * width + columns.begin[j];
          Real top = image[best];
          for (std::int64_t h = rows.begin[i]; h < rows.end[i]; h += rows.step) {
            for (std::int64_t w = columns.begin[j]; w < columns.end[j]; w += columns.step) {
              const Real value = image[h * width + w];
              // The first NaN stays: nothing compares greater than it, and top == top fails from
              // then on.
              if (value > top || (value != value && top == top)) {
                top = value;
                best = h * width + w;
              }
            }
          }
          y[at] = top;
          positions[at] = static_cast<std::int32_t>(best);
        }
      }
    }
  });
}

}  // namespace tapestry::kernels
