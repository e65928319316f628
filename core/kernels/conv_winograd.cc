#include "core/kernels/conv_winograd.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "core/kernels/conv_batch.h"
#include "core/kernels/conv_transform.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Transformed input and products of one unit of work: mostly in a 512 KB second-level cache.
constexpr std::int64_t kUnitBytes = 640 << 10;
constexpr std::int64_t kPanelBytes = 192 << 10;  // transformed weights used in turn, as in gemm.cc
constexpr std::int64_t kChunkWork = 500'000;     // multiply-adds, about 10 µs

/// From one of the n² matrices to the next: an odd number of cache lines, or all n² would fall into
/// the same few sets of the first-level cache, which are 4096 bytes apart.
std::int64_t spread(std::int64_t numbers) {
  constexpr std::int64_t kLine = 64 / sizeof(Real);
  return (ceil_div(numbers, kLine) | 1) * kLine;
}

/// The r × r taps that a pass has in one plane: weight[i · r + j] is that of tap (dy + i, dx + j).
struct Filter {
  std::int64_t plane, dy, dx;
  std::vector<std::int64_t> weight;
};

/// The filters of a pass, if all are r × r without gaps.
std::optional<std::vector<Filter>> filters(const Stencil& st, const Pass& pass, std::int64_t r) {
  std::vector<Filter> result;
  for (std::int64_t plane = 0; plane < static_cast<std::int64_t>(st.planes.size()); ++plane) {
    Filter filter{plane,
                  std::numeric_limits<std::int64_t>::max(),
                  std::numeric_limits<std::int64_t>::max(),
                  {}};
    std::int64_t count = 0;
    for (const Tap& tap : pass.taps) {
      if (tap.plane != plane) continue;
      filter.dy = std::min(filter.dy, tap.dy);
      filter.dx = std::min(filter.dx, tap.dx);
      ++count;
    }
    if (count == 0) continue;
    if (count != r * r) return std::nullopt;
    filter.weight.assign(static_cast<std::size_t>(r * r), -1);
    for (const Tap& tap : pass.taps) {
      if (tap.plane != plane) continue;
      const std::int64_t i = tap.dy - filter.dy, j = tap.dx - filter.dx;
      if (i >= r || j >= r) return std::nullopt;
      filter.weight[static_cast<std::size_t>(i * r + j)] = tap.weight;
    }
    if (std::count(filter.weight.begin(), filter.weight.end(), -1) != 0) return std::nullopt;
    result.push_back(std::move(filter));
  }
  return result;
}

/// Vectors of tiles: along the rows of tiles of one image, or one image in each lane.
enum class Lanes { kTiles, kImages };

class Winograd {
 public:
  Winograd(const Stencil& st, Scheme scheme, Lanes lanes_are)
      : st_(st),
        scheme_(scheme),
        size_(scheme_size(scheme)),
        lanes_are_(lanes_are),
        tile_(tile_shape()),
        cut_(st.out_channels, tile_.max_rows),
        vectors_(tile_vectors(std::max<std::int64_t>(cut_.max_height(), 1))),
        products_(size_.n * size_.n) {
    for (const Pass& pass : st.passes) {
      auto found = filters(st, pass, size_.r);
      if (!found || found->empty()) return;
      filters_.push_back(std::move(*found));
    }
    depth_ = st.in_channels * static_cast<std::int64_t>(filters_.front().size());
    for (const auto& filter : filters_) {
      if (static_cast<std::int64_t>(filter.size()) * st.in_channels != depth_) return;
    }
    possible_ = depth_ > 0;
    blocks_ = lanes_are == Lanes::kTiles ? st.images : ceil_div(st.images, tile_.lanes);
  }

  /// Expected time in cycles, infinite when the scheme does not apply.
  double cost() const {
    if (!possible_) return std::numeric_limits<double>::infinity();
    std::int64_t slots = 0;
    for (const Pass& pass : st_.passes) slots += slots_of(pass);
    // Two multiply-adds per cycle, 15 % lost around the edges of tiles; a transformation of a
    // vector of 6 × 6 tiles was measured to take about 130 cycles with packing.
    const auto depth = static_cast<double>(depth_), rows = static_cast<double>(st_.out_channels);
    const auto products = static_cast<double>(products_);
    return static_cast<double>(slots * blocks_ * st_.groups) *
               (products * depth * rows * 0.58 + (depth + rows) * products * 3.6) +
           static_cast<double>(st_.groups * static_cast<std::int64_t>(st_.passes.size())) * depth *
               rows * products;
  }

  void run(const Real* source, const Real* weight, const Real* bias, Real* result) {
    row_ = ceil_div(depth_, tile_.lanes) * tile_.lanes;
    weight_stride_ = spread(st_.out_channels * row_);
    const std::int64_t group_products =
        static_cast<std::int64_t>(st_.passes.size()) * products_ * weight_stride_;
    Scratch<Real> transformed(st_.groups * group_products);
    transform_weights(weight, transformed.data());

    const std::int64_t slot_bytes = (depth_ + st_.out_channels) * products_ * tile_.lanes *
                                    static_cast<std::int64_t>(sizeof(Real));
    const std::int64_t target =
        std::max(kUnitBytes / slot_bytes / vectors_, std::int64_t{1}) * vectors_;
    struct Range {
      std::size_t pass;
      std::int64_t first, last;
    };
    std::vector<Range> ranges;
    std::int64_t most = 1;
    for (std::size_t p = 0; p < st_.passes.size(); ++p) {
      place(st_.passes[p]);
      const auto count = static_cast<std::int64_t>(slots_[p].size());
      // Pieces end with a tile of products; with one image per lane, with a row of tiles, because
      // whole rows are stored.
      const std::int64_t step =
          lanes_are_ == Lanes::kImages ? tile_columns(st_.passes[p]) : vectors_;
      const std::int64_t steps = ceil_div(count, step),
                         pieces = std::min(ceil_div(count, target), steps);
      for (std::int64_t i = 0; i < pieces; ++i) {
        const auto bound = [&](std::int64_t at) {
          return std::min(count, steps * at / pieces * step);
        };
        ranges.push_back({p, bound(i), bound(i + 1)});
        most = std::max(most, ranges.back().last - ranges.back().first);
      }
    }
    unit_slots_ = ceil_div(most, vectors_) * vectors_;
    columns_ = vectors_ * tile_.lanes;
    for (std::int64_t s = 0; s < unit_slots_; ++s) {
      products_slots_.push_back({s / vectors_ * depth_ * columns_ + s % vectors_ * tile_.lanes,
                                 s * tile_.lanes, nullptr});
    }
    for (std::int64_t k = 0; k < depth_; ++k)
      offsets_.push_back(static_cast<std::int32_t>(k * columns_));

    const auto pieces = static_cast<std::int64_t>(ranges.size());
    const std::int64_t work = most * tile_.lanes * products_ * depth_ * st_.out_channels;
    parallel_for(blocks_ * st_.groups * pieces, ceil_div(kChunkWork, work),
                 [&](std::int64_t begin, std::int64_t end) {
                   Unit unit(*this);
                   for (std::int64_t i = begin; i < end; ++i) {
                     const Range& range = ranges[static_cast<std::size_t>(i % pieces)];
                     const std::int64_t group = i / pieces % st_.groups,
                                        block = i / pieces / st_.groups;
                     unit.run(range.pass, range.first, range.last, group, block, source,
                              transformed.data() + group * group_products, bias, result);
                   }
                 });
  }

 private:
  /// A vector of tiles. kTiles: tiles first, first + 1, … in rows of `pitch`; kImages: tile `first`
  /// of each image.
  struct TileSlot {
    std::int64_t first;
  };

  std::int64_t tile_rows(const Pass& pass) const {
    return ceil_div(pass.row1 - pass.row0, size_.m);
  }
  std::int64_t tile_columns(const Pass& pass) const {
    return ceil_div(pass.column1 - pass.column0, size_.m);
  }
  // In the flat order of tiles, each row is followed by one that is not part of the result: the
  // last tile's right border.
  std::int64_t pitch(const Pass& pass) const {
    return tile_columns(pass) + (lanes_are_ == Lanes::kTiles ? 1 : 0);
  }
  bool along_rows(const Pass& pass) const {
    return tile_rows(pass) * ceil_div(tile_columns(pass), tile_.lanes) <= flat_slots(pass);
  }
  std::int64_t flat_slots(const Pass& pass) const {
    return ceil_div((tile_rows(pass) - 1) * pitch(pass) + tile_columns(pass), tile_.lanes);
  }
  std::int64_t slots_of(const Pass& pass) const {
    if (lanes_are_ == Lanes::kImages) return tile_rows(pass) * tile_columns(pass);
    return std::min(tile_rows(pass) * ceil_div(tile_columns(pass), tile_.lanes), flat_slots(pass));
  }

  void place(const Pass& pass) {
    std::vector<TileSlot> slots;
    const std::int64_t rows = tile_rows(pass), columns = tile_columns(pass);
    if (lanes_are_ == Lanes::kImages) {
      for (std::int64_t t = 0; t < rows * columns; ++t) slots.push_back({t});
    } else if (along_rows(pass)) {
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t j = 0; j < columns; j += tile_.lanes)
          slots.push_back({i * pitch(pass) + j});
      }
    } else {
      for (std::int64_t t = 0; t < (rows - 1) * pitch(pass) + columns; t += tile_.lanes)
        slots.push_back({t});
    }
    slots_.push_back(std::move(slots));
  }

  // transformed[pass][xi][output channel][k], k = (filter, input channel), rows of row_ numbers.
  void transform_weights(const Real* weight, Real* transformed) const {
    const auto passes = static_cast<std::int64_t>(st_.passes.size());
    const std::int64_t taps = size_.r * size_.r;
    const std::int64_t work = depth_ * products_ * 2;
    parallel_for(
        st_.groups * passes * st_.out_channels, ceil_div(40'000, work),
        [&](std::int64_t begin, std::int64_t end) {
          Scratch<Real> row(taps * row_);
          std::fill(row.data(), row.data() + taps * row_, Real(0));
          std::vector<std::int32_t> offsets;
          for (std::int64_t t = 0; t < taps; ++t)
            offsets.push_back(static_cast<std::int32_t>(t * row_));
          std::vector<TileVector> vectors;
          for (std::int64_t k = 0; k < row_; k += tile_.lanes) vectors.push_back({k, k});
          for (std::int64_t item = begin; item < end; ++item) {
            const std::int64_t o = item % st_.out_channels, p = item / st_.out_channels % passes,
                               group = item / st_.out_channels / passes;
            const Real* from = weight + group * st_.group_weights() + o * st_.weight_row;
            std::int64_t k = 0;
            for (const Filter& filter : filters_[static_cast<std::size_t>(p)]) {
              for (std::int64_t c = 0; c < st_.in_channels; ++c, ++k) {
                for (std::int64_t t = 0; t < taps; ++t) {
                  row[t * row_ + k] =
                      from[c * st_.weight_channel + filter.weight[static_cast<std::size_t>(t)]];
                }
              }
            }
            transform_weight(
                scheme_, row.data(), offsets.data(), vectors.data(),
                static_cast<std::int64_t>(vectors.size()),
                transformed + (group * passes + p) * products_ * weight_stride_ + o * row_,
                weight_stride_);
          }
        });
  }

  /// Scratch space of one thread, and what it does for one unit of work.
  class Unit {
   public:
    explicit Unit(const Winograd& w)
        : w_(w),
          lanes_(w.tile_.lanes),
          m_(w.size_.m),
          n_(w.size_.n),
          xi_stride_(spread(w.unit_slots_ * lanes_ * w.depth_)),
          product_row_(w.unit_slots_ * lanes_),
          inputs_(w.products_ * xi_stride_),
          product_stride_(spread(w.st_.out_channels * product_row_)),
          products_(w.products_ * product_stride_),
          tile_out_(m_ * m_ * lanes_) {}

    void run(std::size_t p, std::int64_t first, std::int64_t last, std::int64_t group,
             std::int64_t block, const Real* source, const Real* weight, const Real* bias,
             Real* result) {
      const Stencil& st = w_.st_;
      const Pass& pass = st.passes[p];
      slots_ = w_.slots_[p].data() + first;
      count_ = last - first;
      pitch_ = w_.pitch(pass);
      row0_ = slots_[0].first / pitch_;
      row1_ = std::min(
          (slots_[count_ - 1].first + (w_.lanes_are_ == Lanes::kTiles ? lanes_ - 1 : 0)) / pitch_ +
              1,
          w_.tile_rows(pass));
      if (w_.lanes_are_ == Lanes::kTiles) {
        const std::int64_t image = block * st.groups + group;
        load_tiles(p, source + image * st.in_channels * st.in_h * st.in_w);
      } else {
        load_images(
            p, block,
            source + (block * lanes_ * st.groups + group) * st.in_channels * st.in_h * st.in_w);
      }
      multiply(weight + static_cast<std::int64_t>(p) * w_.products_ * w_.weight_stride_);
      const Real* group_bias = bias == nullptr ? nullptr : bias + group * st.out_channels;
      const std::int64_t out = st.out_channels * st.out_h * st.out_w;
      if (w_.lanes_are_ == Lanes::kTiles) {
        store_tiles(pass, group_bias, result + (block * st.groups + group) * out);
      } else {
        store_images(pass, block, group_bias, result + (block * lanes_ * st.groups + group) * out);
      }
    }

   private:
    // Where the transformed inputs of slot s go, for k = 0.
    std::int64_t input_at(std::int64_t s) const {
      return s / w_.vectors_ * w_.depth_ * w_.columns_ + s % w_.vectors_ * lanes_;
    }

    void load_tiles(std::size_t p, const Real* source) {
      const Stencil& st = w_.st_;
      const Pass& pass = st.passes[p];
      // Rows and columns are dealt out by their remainder mod m, so that a pixel's place in its
      // tile selects a plane, and neighboring tiles are neighbors in it. Units within one row of
      // tiles take only the columns that they need.
      std::int64_t column0 = 0, columns = pitch_;
      if (row1_ - row0_ == 1) {
        column0 = slots_[0].first % pitch_;
        columns = std::min(pitch_, slots_[count_ - 1].first % pitch_ + lanes_ + 1) - column0;
      }
      const std::int64_t rows = row1_ - row0_ + 1, plane = (rows * columns + 7) / 8 * 8;
      Scratch<Real> planes(m_ * m_ * plane + lanes_ + columns);
      std::vector<std::int32_t> offsets;
      for (std::int64_t i = 0; i < n_; ++i) {
        for (std::int64_t j = 0; j < n_; ++j) {
          offsets.push_back(static_cast<std::int32_t>((i % m_ * m_ + j % m_) * plane +
                                                      i / m_ * columns + j / m_));
        }
      }
      vectors_.clear();
      for (std::int64_t s = 0; s < count_; ++s) {
        vectors_.push_back({slots_[s].first - row0_ * pitch_ - column0, input_at(s)});
      }
      std::int64_t k = 0;
      for (const Filter& filter : w_.filters_[p]) {
        const Plane& origin = st.planes[static_cast<std::size_t>(filter.plane)];
        const std::int64_t y0 = (pass.row0 + filter.dy) * st.in_step_h + origin.row0;
        const std::int64_t x0 =
            (pass.column0 + filter.dx + column0 * m_) * st.in_step_w + origin.column0;
        for (std::int64_t c = 0; c < st.in_channels; ++c, ++k) {
          const Real* image = source + c * st.in_h * st.in_w;
          for (std::int64_t i = 0; i < rows; ++i) {
            // The last row of tiles is there for the lower border of the one before.
            for (std::int64_t q = 0; q < (i + 1 == rows ? n_ - m_ : m_); ++q) {
              const std::int64_t y = y0 + ((row0_ + i) * m_ + q) * st.in_step_h;
              Real* to = planes.data() + q * m_ * plane + i * columns;
              if (y >= 0 && y < st.in_h) {
                deal_row(image + y * st.in_w, st.in_w, x0, st.in_step_w, m_, columns, to, plane);
              } else {
                for (std::int64_t phase = 0; phase < m_; ++phase)
                  std::fill_n(to + phase * plane, columns, Real(0));
              }
            }
          }
          transform_input(w_.scheme_, planes.data(), offsets.data(), vectors_.data(), count_,
                          inputs_.data() + k * w_.columns_, xi_stride_);
        }
      }
    }

    void load_images(std::size_t p, std::int64_t block, const Real* source) {
      const Stencil& st = w_.st_;
      const Pass& pass = st.passes[p];
      const std::int64_t image = st.groups * st.in_channels * st.in_h * st.in_w;
      const std::int64_t images = std::min(lanes_, st.images - block * lanes_);
      for (std::size_t f = 0; f < w_.filters_[p].size(); ++f) {
        const Filter& filter = w_.filters_[p][f];
        const Plane& origin = st.planes[static_cast<std::size_t>(filter.plane)];
        // Only the rows and columns that belong to this plane, the others are another plane's.
        const std::int64_t y0 = (pass.row0 + filter.dy + row0_ * m_) * st.in_step_h + origin.row0;
        const std::int64_t x0 = (pass.column0 + filter.dx) * st.in_step_w + origin.column0;
        const std::int64_t rows = (row1_ - row0_ - 1) * m_ + n_,
                           columns = (w_.tile_columns(pass) - 1) * m_ + n_;
        const std::int64_t wide = (columns - 1) * st.in_step_w + 1;
        Scratch<Real> pixels(rows * wide * lanes_);
        std::fill(pixels.data(), pixels.data() + rows * wide * lanes_, Real(0));
        std::vector<std::int32_t> offsets;
        for (std::int64_t i = 0; i < n_; ++i) {
          for (std::int64_t j = 0; j < n_; ++j) {
            offsets.push_back(static_cast<std::int32_t>((i * wide + j * st.in_step_w) * lanes_));
          }
        }
        vectors_.clear();
        for (std::int64_t s = 0; s < count_; ++s) {
          const std::int64_t row = slots_[s].first / pitch_ - row0_,
                             column = slots_[s].first % pitch_;
          vectors_.push_back(
              {(row * m_ * wide + column * m_ * st.in_step_w) * lanes_, input_at(s)});
        }
        const std::int64_t first = std::clamp<std::int64_t>(-x0, 0, wide),
                           last = std::clamp(st.in_w - x0, first, wide);
        for (std::int64_t c = 0; c < st.in_channels; ++c) {
          for (std::int64_t i = 0; i < rows; ++i) {
            const std::int64_t y = y0 + i * st.in_step_h;
            if (y < 0 || y >= st.in_h || first == last) continue;  // stays 0 for all channels
            transpose(source + c * st.in_h * st.in_w + y * st.in_w + x0 + first, image, images,
                      last - first, pixels.data() + (i * wide + first) * lanes_, lanes_);
          }
          const std::int64_t k = static_cast<std::int64_t>(f) * st.in_channels + c;
          transform_input(w_.scheme_, pixels.data(), offsets.data(), vectors_.data(), count_,
                          inputs_.data() + k * w_.columns_, xi_stride_);
        }
      }
    }

    void multiply(const Real* weight) {
      TileJob job;
      job.rows = w_.st_.out_channels;
      job.depth = w_.depth_;
      job.a_stride = w_.row_;
      job.offsets = w_.offsets_.data();
      job.slots = w_.products_slots_.data();
      job.slot_count = count_;
      job.c_stride = product_row_;
      const std::int64_t bytes =
          w_.cut_.max_height() * w_.row_ * static_cast<std::int64_t>(sizeof(Real));
      const std::int64_t panels = std::max<std::int64_t>(kPanelBytes / bytes, 1);
      for (std::int64_t xi = 0; xi < w_.products_; ++xi) {
        job.a = weight + xi * w_.weight_stride_;
        job.b = inputs_.data() + xi * xi_stride_;
        job.c = products_.data() + xi * product_stride_;
        for (job.first_panel = 0; job.first_panel < w_.cut_.count; job.first_panel += panels) {
          job.last_panel = std::min(w_.cut_.count, job.first_panel + panels);
          run_tiles(job);
        }
      }
    }

    void store_tiles(const Pass& pass, const Real* bias, Real* result) {
      const Stencil& st = w_.st_;
      const std::int64_t rows = pass.row1 - pass.row0, columns = pass.column1 - pass.column0;
      std::vector<std::int32_t> offsets;
      for (std::int64_t i = 0; i < m_ * m_; ++i)
        offsets.push_back(static_cast<std::int32_t>(i * lanes_));
      for (std::int64_t o = 0; o < st.out_channels; ++o) {
        const Real start = bias == nullptr ? 0 : bias[o];
        const Real* from = products_.data() + o * product_row_;
        Real* to = result + o * st.out_h * st.out_w;
        for (std::int64_t s = 0; s < count_; ++s) {
          const std::int64_t tile = slots_[s].first, row = tile / pitch_ * m_,
                             column = tile % pitch_ * m_;
          if (st.out_step_w == 1 && column + m_ * lanes_ <= columns) {
            const TileVector vector{
                s * lanes_,
                (row * st.out_step_h + pass.offset_h + pass.row0 * st.out_step_h) * st.out_w +
                    column + pass.offset_w + pass.column0};
            transform_output_row(w_.scheme_, from, product_stride_, &vector, 1, start, rows - row,
                                 to, st.out_w * st.out_step_h);
            continue;
          }
          const TileVector vector{s * lanes_, 0};
          transform_output(w_.scheme_, from, product_stride_, &vector, 1, start, offsets.data(),
                           tile_out_.data());
          for (std::int64_t l = 0; l < lanes_; ++l) {
            const std::int64_t y = (tile + l) / pitch_ * m_, x = (tile + l) % pitch_ * m_;
            for (std::int64_t i = 0; i < m_ && y + i < rows; ++i) {
              Real* line = to + ((pass.row0 + y + i) * st.out_step_h + pass.offset_h) * st.out_w +
                           pass.offset_w + (pass.column0 + x) * st.out_step_w;
              for (std::int64_t j = 0; j < m_ && x + j < columns; ++j) {
                line[j * st.out_step_w] = tile_out_[(i * m_ + j) * lanes_ + l];
              }
            }
          }
        }
      }
    }

    void store_images(const Pass& pass, std::int64_t block, const Real* bias, Real* result) {
      const Stencil& st = w_.st_;
      const std::int64_t first = row0_ * m_, last = std::min(row1_ * m_, pass.row1 - pass.row0);
      const std::int64_t columns = pass.column1 - pass.column0, pixels = (last - first) * columns;
      const std::int64_t image = st.groups * st.out_channels * st.out_h * st.out_w;
      const std::int64_t images = std::min(lanes_, st.images - block * lanes_);
      Scratch<Real> lines(pixels * lanes_), dealt(images * pixels);
      std::vector<std::int32_t> offsets(static_cast<std::size_t>(m_ * m_));
      for (std::int64_t o = 0; o < st.out_channels; ++o) {
        for (std::int64_t s = 0; s < count_; ++s) {
          const std::int64_t row = slots_[s].first / pitch_ * m_ - first,
                             column = slots_[s].first % pitch_ * m_;
          for (std::int64_t i = 0; i < m_; ++i) {
            for (std::int64_t j = 0; j < m_; ++j) {
              const bool inside = row + i < last - first && column + j < columns;
              offsets[static_cast<std::size_t>(i * m_ + j)] =
                  inside ? static_cast<std::int32_t>((i * columns + j) * lanes_) : -1;
            }
          }
          const TileVector vector{s * lanes_, (row * columns + column) * lanes_};
          transform_output(w_.scheme_, products_.data() + o * product_row_, product_stride_,
                           &vector, 1, bias == nullptr ? 0 : bias[o], offsets.data(), lines.data());
        }
        Real* to = result + o * st.out_h * st.out_w;
        if (st.out_step_h == 1 && st.out_step_w == 1) {
          transpose(lines.data(), lanes_, pixels, images,
                    to + (pass.row0 + first + pass.offset_h) * st.out_w, image);
          continue;
        }
        transpose(lines.data(), lanes_, pixels, images, dealt.data(), pixels);
        const Real* from = dealt.data();
        for (std::int64_t n = 0; n < images; ++n) {
          for (std::int64_t i = first; i < last; ++i) {
            Real* line = to + n * image +
                         ((pass.row0 + i) * st.out_step_h + pass.offset_h) * st.out_w +
                         pass.offset_w + pass.column0 * st.out_step_w;
            for (std::int64_t j = 0; j < columns; ++j) line[j * st.out_step_w] = *from++;
          }
        }
      }
    }

    const Winograd& w_;
    const std::int64_t lanes_, m_, n_, xi_stride_, product_row_;

    Scratch<Real> inputs_;
    const std::int64_t product_stride_;
    Scratch<Real> products_, tile_out_;
    const TileSlot* slots_ = nullptr;
    std::int64_t count_ = 0, pitch_ = 1, row0_ = 0, row1_ = 0;  // rows of tiles [row0_, row1_)
    std::vector<TileVector> vectors_;
  };

  const Stencil& st_;
  const Scheme scheme_;
  const SchemeSize size_;
  const Lanes lanes_are_;
  const TileShape tile_;
  const PanelCut cut_;
  const std::int64_t vectors_, products_;
  std::vector<std::vector<Filter>> filters_;  // of each pass
  bool possible_ = false;
  std::int64_t depth_ = 0, blocks_ = 0;
  std::int64_t row_ = 0, weight_stride_ = 0, unit_slots_ = 0, columns_ = 0;
  std::vector<std::vector<TileSlot>> slots_;  // of each pass
  std::vector<Slot> products_slots_;
  std::vector<std::int32_t> offsets_;
};

struct Choice {
  Scheme scheme;
  Lanes lanes;
  double cost;
};

Choice choose(const Stencil& st) {
  Choice best{Scheme::k4x3, Lanes::kTiles, std::numeric_limits<double>::infinity()};
  for (const Scheme scheme : {Scheme::k4x3, Scheme::k2x3, Scheme::k4x2}) {
    for (const Lanes lanes : {Lanes::kTiles, Lanes::kImages}) {
      const double cost = Winograd(st, scheme, lanes).cost();
      if (cost < best.cost) best = {scheme, lanes, cost};
    }
  }
  return best;
}

}  // namespace

bool winograd_pays(const Stencil& st) {
  if (st.images == 0 || st.in_channels == 0 || st.out_channels == 0 || st.passes.empty())
    return false;
  return choose(st).cost < direct_cost(st);
}

void run_winograd(const Stencil& st, const Real* source, const Real* weight, const Real* bias,
                  Real* result) {
  const Choice choice = choose(st);
  Winograd(st, choice.scheme, choice.lanes).run(source, weight, bias, result);
}

}  // namespace tapestry::kernels
