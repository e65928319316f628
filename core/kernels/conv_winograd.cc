#include "core/kernels/conv_winograd.h"

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_transform.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {

namespace {

// Transformed input and products of one unit of work: mostly in a 512 KB second-level cache.
constexpr std::int64_t kUnitBytes = 640 << 10;
constexpr std::int64_t kUnitSlots = 4;
// Units that run on all threads together may fill a part of the third-level cache.
constexpr std::int64_t kFewUnits = 8, kLargeUnitBytes = 4 << 20;
constexpr std::int64_t kPanelBytes = 192 << 10;  // transformed weights used in turn, as in gemm.cc
constexpr std::int64_t kChunkWork = 500'000;     // multiply-adds, about 10 µs

/// Vectors of tiles: along the rows of tiles of one image, or one image in each lane.
enum class Lanes { kTiles, kImages };

/// The results that share a transformed input: output channels [first_channel, last_channel) of
/// passes [first_pass, last_pass).
struct Part {
  std::size_t first_pass, last_pass;
  std::int64_t first_channel, last_channel;
};

/// One part of a stencil's results.
class Winograd {
 public:
  Winograd(const Stencil& st, const Part& part, Scheme scheme, Lanes lanes_are)
      : st_(st),
        part_(part),
        scheme_(scheme),
        size_(scheme_size(scheme)),
        lanes_are_(lanes_are),
        tile_(tile_shape()),
        passes_(static_cast<std::int64_t>(part.last_pass - part.first_pass)),
        channels_(part.last_channel - part.first_channel),
        outputs_(passes_ * channels_),
        cut_(outputs_, tile_.max_rows),
        vectors_(tile_vectors(std::max<std::int64_t>(cut_.max_height(), 1))),
        columns_(vectors_ * tile_.lanes),
        products_(size_.n * size_.n),
        blocks_(lanes_are == Lanes::kTiles ? st.images : ceil_div(st.images, tile_.lanes)),
        depth_(st.in_channels * filter_count(st, part.first_pass, part.last_pass, size_.r)),
        // Room for whole vectors of the last filter's channels.
        row_(depth_ - st.in_channels + ceil_div(st.in_channels, tile_.lanes) * tile_.lanes),
        weight_stride_(spread(outputs_ * row_)) {
    for (std::size_t p = part.first_pass; p < part.last_pass; ++p) {
      tile_rows_ = std::max(tile_rows_, ceil_div(st.passes[p].rows, size_.m));
      tile_columns_ = std::max(tile_columns_, ceil_div(st.passes[p].columns, size_.m));
    }
    // In the flat order of tiles, each row is followed by one that is not part of the result: the
    // last tile's right border.
    pitch_ = tile_columns_ + (lanes_are == Lanes::kTiles ? 1 : 0);
  }

  /// Expected time in cycles.
  double cost() const {
    const auto slots = static_cast<double>(block_slots() * blocks_);
    const auto depth = static_cast<double>(depth_), rows = static_cast<double>(outputs_);
    const bool steps = st_.in_step_w > 1 || st_.out_step_w > 1;
    const double transform = steps ? kStepTransformCost : kTransformCost;
    const double weight = weight_bytes() > kWeightBytes         ? kFarWeightCost
                          : st_.weight_row > st_.weight_channel ? kRowWeightCost
                                                                : kColumnWeightCost;
    return static_cast<double>(st_.groups * products_) *
           (slots * (depth * rows * kProductCost + (depth + rows) * transform) +
            depth * rows * weight);
  }

  /// Parts of how many channels have transformed weights that stay in the third-level cache.
  std::int64_t near_channels() const {
    return static_cast<std::int64_t>(static_cast<double>(channels_) *
                                     std::min(1.0, kWeightBytes / weight_bytes()));
  }

  void run(const Real* source, const Real* weight, const Real* bias, Real* result) {
    filters_ = filters(st_, part_.first_pass, part_.last_pass, size_.r);
    const std::int64_t weights = products_ * weight_stride_;
    Scratch<Real> transformed(st_.groups * weights);
    transform_weights(weight, transformed.data());
    for (std::int64_t group = 0; group < st_.groups; ++group) {
      const std::int64_t channel = group * st_.out_channels + part_.first_channel;
      run_group(Operands{source + group * st_.in_channels * st_.in_h * st_.in_w,
                         transformed.data() + group * weights,
                         bias == nullptr ? nullptr : bias + channel,
                         result + channel * st_.out_h * st_.out_w});
    }
  }

 private:
  // Cycles per vector of tiles and each of the n² products: for a multiply-add (two per cycle, 15 %
  // lost around the edges), for transforming one channel's input or output, more if the pixels of a
  // row are not neighbors, and, per weight, for transforming it, more if an output channel's
  // weights are not, or if all of them do not fit a part of the third-level cache. Measured.
  static constexpr double kProductCost = 0.58, kTransformCost = 10, kStepTransformCost = 15,
                          kRowWeightCost = 1.1, kColumnWeightCost = 1.5, kFarWeightCost = 2.5;
  static constexpr double kWeightBytes = 8 << 20;

  struct Operands {
    const Real* source;  // of the group in image 0
    const Real* weight;  // transformed, of the part and group
    const Real* bias;    // of the part's first channel, as is the result
    Real* result;
  };

  double weight_bytes() const {
    return static_cast<double>(depth_ * outputs_ * products_) * sizeof(Real);
  }
  std::int64_t row_slots() const { return tile_rows_ * ceil_div(tile_columns_, tile_.lanes); }
  std::int64_t flat_slots() const {
    return ceil_div((tile_rows_ - 1) * pitch_ + tile_columns_, tile_.lanes);
  }
  /// Vectors of tiles in a block: an image, or as many images as there are lanes.
  std::int64_t block_slots() const {
    if (lanes_are_ == Lanes::kImages) return tile_rows_ * tile_columns_;
    return std::min(row_slots(), flat_slots());
  }
  /// The first tile of each vector of a block.
  std::vector<std::int64_t> place() const {
    std::vector<std::int64_t> first;
    const bool flat = lanes_are_ == Lanes::kTiles && flat_slots() < row_slots();
    const std::int64_t step = lanes_are_ == Lanes::kImages ? 1 : tile_.lanes;
    if (flat) {
      for (std::int64_t s = 0; s < flat_slots(); ++s) first.push_back(s * step);
    } else {
      for (std::int64_t i = 0; i < tile_rows_; ++i) {
        for (std::int64_t j = 0; j < tile_columns_; j += step) first.push_back(i * pitch_ + j);
      }
    }
    return first;
  }

  // transformed[group][xi][pass][output channel][k], k = (filter, input channel), rows of row_
  // numbers.
  void transform_weights(const Real* weight, Real* transformed) const {
    const std::int64_t kernel = std::min(st_.weight_row, st_.weight_channel);
    const std::int64_t channels = ceil_div(st_.in_channels, tile_.lanes) * tile_.lanes;
    // A few of the taps are copied one by one: of 4 × 4 with stride 2 each pass has four.
    std::vector<std::int64_t> used;
    for (std::size_t p = part_.first_pass; p < part_.last_pass; ++p) {
      for (const Tap& tap : st_.passes[p].taps) used.push_back(tap.weight);
    }
    parallel_for(
        st_.groups * channels_, ceil_div(20'000, passes_ * depth_ * products_),
        [&](std::int64_t begin, std::int64_t end) {
          // Of one output channel, channels last; then zeros, where a filter has no tap.
          Scratch<Real> taps((kernel + 1) * channels);
          std::fill(taps.data(), taps.data() + (kernel + 1) * channels, Real(0));
          std::vector<std::int32_t> offsets(static_cast<std::size_t>(size_.r * size_.r));
          std::vector<TileVector> vectors;
          for (std::int64_t c = 0; c < channels; c += tile_.lanes) vectors.push_back({c, c});
          for (std::int64_t item = begin; item < end; ++item) {
            const std::int64_t o = item % channels_, group = item / channels_;
            const Real* from =
                weight + group * st_.group_weights() + (part_.first_channel + o) * st_.weight_row;
            if (2 * static_cast<std::int64_t>(used.size()) > kernel) {
              transpose(from, st_.weight_channel, st_.in_channels, kernel, taps.data(), channels);
            } else {
              for (std::int64_t c = 0; c < st_.in_channels; ++c, from += st_.weight_channel) {
                for (const std::int64_t tap : used) taps[tap * channels + c] = from[tap];
              }
            }
            for (std::int64_t p = 0; p < passes_; ++p) {
              Real* to =
                  transformed + group * products_ * weight_stride_ + (p * channels_ + o) * row_;
              // What a filter's last vector writes beyond its channels, the next one overwrites.
              for (const Filter& filter : filters_) {
                const auto& weights = filter.weight[static_cast<std::size_t>(p)];
                for (std::size_t t = 0; t < offsets.size(); ++t) {
                  const std::int64_t tap = weights[t] < 0 ? kernel : weights[t];
                  offsets[t] = static_cast<std::int32_t>(tap * channels);
                }
                transform_weight(scheme_, taps.data(), offsets.data(), vectors.data(),
                                 static_cast<std::int64_t>(vectors.size()), to, weight_stride_);
                to += st_.in_channels;
              }
            }
          }
        });
  }

  void run_group(const Operands& operands) const {
    const std::vector<std::int64_t> first = place();
    const std::int64_t all = static_cast<std::int64_t>(first.size()) * blocks_;
    // Units end with a tile of products; with one image per lane, with a row of tiles, because
    // whole rows are stored.
    const std::int64_t step = lanes_are_ == Lanes::kImages ? tile_columns_ : vectors_,
                       steps = ceil_div(all, step);
    const std::int64_t slot_bytes =
        (depth_ + outputs_) * products_ * tile_.lanes * static_cast<std::int64_t>(sizeof(Real));
    // Each unit reads all transformed weights: with kUnitSlots vectors of tiles, slowly enough for
    // the third-level cache.
    const std::int64_t slots = std::max(kUnitBytes / slot_bytes, kUnitSlots);
    const std::int64_t units = ceil_div(steps, std::max<std::int64_t>(slots / step, 1));
    if (units >= kFewUnits) {
      const std::int64_t work = all * tile_.lanes * products_ * depth_ * outputs_ / units;
      parallel_for(units, ceil_div(kChunkWork, work), [&](std::int64_t begin, std::int64_t end) {
        Unit unit(*this, first, operands, std::min(all, (steps / units + 1) * step));
        for (std::int64_t i = begin; i < end; ++i) {
          unit.run(std::min(all, steps * i / units * step),
                   std::min(all, steps * (i + 1) / units * step));
        }
      });
      return;
    }
    // Few units, because the image is small and the channels are many: one after the other, each on
    // all threads.
    const std::int64_t large =
        std::max<std::int64_t>(std::max(kLargeUnitBytes / slot_bytes, kUnitSlots) / step, 1);
    Unit unit(*this, first, operands, std::min(all, large * step));
    for (std::int64_t at = 0; at < steps; at += large)
      unit.run(std::min(all, at * step), std::min(all, (at + large) * step));
  }

  /// Scratch space for some vectors of tiles, and the three stages of their way from source to
  /// result. Each stage is cut into independent parts: where units run on different threads, nested
  /// parallel_for's run inline.
  class Unit {
   public:
    Unit(const Winograd& w, const std::vector<std::int64_t>& first, const Operands& operands,
         std::int64_t slots)
        : w_(w),
          st_(w.st_),
          first_(first),
          operands_(operands),
          lanes_(w.tile_.lanes),
          m_(w.size_.m),
          n_(w.size_.n),
          pitch_(w.pitch_),
          input_stride_(spread(ceil_div(slots, w.vectors_) * w.columns_ * w.depth_)),
          product_row_(ceil_div(slots, w.vectors_) * w.columns_),
          product_stride_(spread(w.outputs_ * product_row_)),
          inputs_(w.products_ * input_stride_),
          products_(w.products_ * product_stride_),
          offsets_(w.depth_) {
      for (std::int64_t s = 0; s < ceil_div(slots, w.vectors_) * w.vectors_; ++s)
        product_slots_.push_back({input_at(s), s * lanes_, nullptr});
      for (std::int64_t k = 0; k < w.depth_; ++k)
        offsets_[k] = static_cast<std::int32_t>(k * w.columns_);
    }

    /// The vectors [begin, end) of all blocks.
    void run(std::int64_t begin, std::int64_t end) {
      count_ = end - begin;
      segments_.clear();
      const auto per_block = static_cast<std::int64_t>(first_.size());
      for (std::int64_t s = begin; s < end;) {
        Segment segment{s / per_block, s - begin, std::min(per_block - s % per_block, end - s),
                        nullptr,       0,         0};
        segment.first = first_.data() + s % per_block;
        segment.row0 = segment.first[0] / pitch_;
        const std::int64_t last =
            segment.first[segment.count - 1] + (w_.lanes_are_ == Lanes::kTiles ? lanes_ - 1 : 0);
        segment.row1 = std::min(last / pitch_ + 1, w_.tile_rows_);
        segments_.push_back(segment);
        s += segment.count;
      }
      // About 10 µs of work in each part.
      const std::int64_t columns = count_ * lanes_ * w_.products_;
      parallel_for(w_.depth_, ceil_div(40'000, columns), [&](std::int64_t k0, std::int64_t k1) {
        for (const Segment& segment : segments_) load(segment, k0, k1);
      });
      parallel_for(w_.products_,
                   ceil_div(kChunkWork * w_.products_, columns * w_.depth_ * w_.outputs_),
                   [&](std::int64_t xi0, std::int64_t xi1) { multiply(xi0, xi1); });
      parallel_for(w_.channels_, ceil_div(40'000, columns * w_.passes_),
                   [&](std::int64_t o0, std::int64_t o1) {
                     for (const Segment& segment : segments_) store(segment, o0, o1);
                   });
    }

   private:
    /// The vectors of a unit that belong to one block: they are [at, at + count) of the unit and
    /// lie in rows of tiles [row0, row1).
    struct Segment {
      std::int64_t block, at, count;
      const std::int64_t* first;  // tile of each vector
      std::int64_t row0, row1;
    };

    // Where the transformed inputs of vector s go, for k = 0.
    std::int64_t input_at(std::int64_t s) const {
      return s / w_.vectors_ * w_.depth_ * w_.columns_ + s % w_.vectors_ * lanes_;
    }

    /// Input channels [k0, k1) of all filters.
    void load(const Segment& segment, std::int64_t k0, std::int64_t k1) {
      for (std::int64_t k = k0; k < k1;) {
        const std::int64_t f = k / st_.in_channels, end = std::min(k1, (f + 1) * st_.in_channels);
        const Filter& filter = w_.filters_[static_cast<std::size_t>(f)];
        if (w_.lanes_are_ == Lanes::kTiles) {
          load_tiles(segment, filter, k, end);
        } else {
          load_images(segment, filter, k, end);
        }
        k = end;
      }
    }

    void load_tiles(const Segment& segment, const Filter& filter, std::int64_t k0,
                    std::int64_t k1) {
      // A pixel's place in its tile selects a plane, and neighboring tiles are neighbors in it.
      // Vectors within one row of tiles take only the columns that they need.
      std::int64_t column0 = 0, columns = pitch_;
      if (segment.row1 - segment.row0 == 1) {
        column0 = segment.first[0] % pitch_;
        columns =
            std::min(pitch_, segment.first[segment.count - 1] % pitch_ + lanes_ + 1) - column0;
      }
      const Plane& origin = st_.planes[static_cast<std::size_t>(filter.plane)];
      Deal job;
      job.height = st_.in_h;
      job.width = st_.in_w;
      job.y0 = (filter.dy + segment.row0 * m_) * st_.in_step_h + origin.row0;
      job.x0 = (filter.dx + column0 * m_) * st_.in_step_w + origin.column0;
      job.step_h = st_.in_step_h;
      job.step_w = st_.in_step_w;
      job.m = m_;
      job.rows = segment.row1 - segment.row0 + 1;  // one more, for the lower border of the last row
      job.columns = columns;
      job.last = n_ - m_;
      job.ahead = st_.in_h * st_.in_w;
      job.stride = spread(job.rows * columns + lanes_);
      Scratch<Real> planes(m_ * m_ * job.stride + lanes_ + columns),
          window(m_ * (m_ * job.rows * columns + lanes_));
      std::vector<std::int32_t> offsets;
      for (std::int64_t i = 0; i < n_; ++i) {
        for (std::int64_t j = 0; j < n_; ++j) {
          offsets.push_back(static_cast<std::int32_t>((i % m_ * m_ + j % m_) * job.stride +
                                                      i / m_ * columns + j / m_));
        }
      }
      std::vector<TileVector> vectors;
      for (std::int64_t s = 0; s < segment.count; ++s) {
        vectors.push_back(
            {segment.first[s] - segment.row0 * pitch_ - column0, input_at(segment.at + s)});
      }
      const Real* image =
          operands_.source + segment.block * st_.groups * st_.in_channels * st_.in_h * st_.in_w;
      for (std::int64_t k = k0; k < k1; ++k) {
        deal(job, image + k % st_.in_channels * st_.in_h * st_.in_w, window.data(), planes.data());
        transform_input(w_.scheme_, planes.data(), offsets.data(), vectors.data(), segment.count,
                        inputs_.data() + k * w_.columns_, input_stride_);
      }
    }

    void load_images(const Segment& segment, const Filter& filter, std::int64_t k0,
                     std::int64_t k1) {
      const Plane& origin = st_.planes[static_cast<std::size_t>(filter.plane)];
      const std::int64_t image = st_.groups * st_.in_channels * st_.in_h * st_.in_w;
      const std::int64_t images = std::min(lanes_, st_.images - segment.block * lanes_);
      const std::int64_t y0 = (filter.dy + segment.row0 * m_) * st_.in_step_h + origin.row0;
      const std::int64_t x0 = filter.dx * st_.in_step_w + origin.column0;
      const std::int64_t rows = (segment.row1 - segment.row0 - 1) * m_ + n_;
      const std::int64_t wide = ((w_.tile_columns_ - 1) * m_ + n_ - 1) * st_.in_step_w + 1;
      Scratch<Real> pixels(rows * wide * lanes_);
      std::fill(pixels.data(), pixels.data() + rows * wide * lanes_, Real(0));
      std::vector<std::int32_t> offsets;
      for (std::int64_t i = 0; i < n_; ++i) {
        for (std::int64_t j = 0; j < n_; ++j)
          offsets.push_back(static_cast<std::int32_t>((i * wide + j * st_.in_step_w) * lanes_));
      }
      std::vector<TileVector> vectors;
      for (std::int64_t s = 0; s < segment.count; ++s) {
        const std::int64_t row = segment.first[s] / pitch_ - segment.row0,
                           column = segment.first[s] % pitch_;
        vectors.push_back(
            {(row * m_ * wide + column * m_ * st_.in_step_w) * lanes_, input_at(segment.at + s)});
      }
      const std::int64_t first = std::clamp<std::int64_t>(-x0, 0, wide),
                         last = std::clamp(st_.in_w - x0, first, wide);
      const Real* from = operands_.source + segment.block * lanes_ * image;
      for (std::int64_t k = k0; k < k1; ++k) {
        for (std::int64_t i = 0; i < rows; ++i) {
          const std::int64_t y = y0 + i * st_.in_step_h;
          if (y < 0 || y >= st_.in_h || first == last) continue;  // stays 0 for all channels
          transpose(from + (k % st_.in_channels * st_.in_h + y) * st_.in_w + x0 + first, image,
                    images, last - first, pixels.data() + (i * wide + first) * lanes_, lanes_);
        }
        transform_input(w_.scheme_, pixels.data(), offsets.data(), vectors.data(), segment.count,
                        inputs_.data() + k * w_.columns_, input_stride_);
      }
    }

    void multiply(std::int64_t xi0, std::int64_t xi1) {
      TileJob job;
      job.rows = w_.outputs_;
      job.depth = w_.depth_;
      job.a_stride = w_.row_;
      job.offsets = offsets_.data();
      job.slots = product_slots_.data();
      job.slot_count = count_;
      job.c_stride = product_row_;
      const std::int64_t bytes =
          w_.cut_.max_height() * w_.row_ * static_cast<std::int64_t>(sizeof(Real));
      const std::int64_t panels = std::max<std::int64_t>(kPanelBytes / bytes, 1);
      for (std::int64_t xi = xi0; xi < xi1; ++xi) {
        job.a = operands_.weight + xi * w_.weight_stride_;
        job.b = inputs_.data() + xi * input_stride_;
        job.c = products_.data() + xi * product_stride_;
        for (job.first_panel = 0; job.first_panel < w_.cut_.count; job.first_panel += panels) {
          job.last_panel = std::min(w_.cut_.count, job.first_panel + panels);
          run_tiles(job);
        }
      }
    }

    /// Output channels [o0, o1) of all passes: those whose pixels lie between each other's must not
    /// be written by different threads.
    void store(const Segment& segment, std::int64_t o0, std::int64_t o1) {
      for (std::int64_t p = 0; p < w_.passes_; ++p) {
        const Pass& pass = st_.passes[w_.part_.first_pass + static_cast<std::size_t>(p)];
        if (w_.lanes_are_ == Lanes::kTiles) {
          store_tiles(segment, pass, p * w_.channels_, o0, o1);
        } else {
          store_images(segment, pass, p * w_.channels_, o0, o1);
        }
      }
    }

    Real bias(std::int64_t o) const { return operands_.bias == nullptr ? 0 : operands_.bias[o]; }
    /// Position in a plane of the result of pixel (row, column) of a pass.
    std::int64_t pixel(const Pass& pass, std::int64_t row, std::int64_t column) const {
      return (row * st_.out_step_h + pass.offset_h) * st_.out_w + column * st_.out_step_w +
             pass.offset_w;
    }

    /// Channels [o0, o1) of a pass, the products of which begin with row `first_output`.
    void store_tiles(const Segment& segment, const Pass& pass, std::int64_t first_output,
                     std::int64_t o0, std::int64_t o1) {
      // Vectors that are one run of whole tiles, by whether the tiles reach beyond the last row;
      // and all others.
      std::vector<TileVector> whole, cut, rest;
      for (std::int64_t s = 0; s < segment.count; ++s) {
        const std::int64_t row = segment.first[s] / pitch_ * m_,
                           column = segment.first[s] % pitch_ * m_;
        const TileVector vector{(segment.at + s) * lanes_, pixel(pass, row, column)};
        const bool run =
            st_.out_step_w == 1 && row < pass.rows && column + m_ * lanes_ <= pass.columns;
        (!run                    ? rest
         : row + m_ <= pass.rows ? whole
                                 : cut)
            .push_back(run ? vector : TileVector{vector.in, segment.first[s]});
      }
      Scratch<Real> tiles(m_ * m_ * lanes_);
      Real* result =
          operands_.result + segment.block * st_.groups * st_.out_channels * st_.out_h * st_.out_w;
      const std::int64_t stride = st_.out_w * st_.out_step_h;
      for (std::int64_t o = o0; o < o1; ++o) {
        const Real* from = products_.data() + (first_output + o) * product_row_;
        Real* to = result + o * st_.out_h * st_.out_w;
        transform_output_row(w_.scheme_, from, product_stride_, whole.data(),
                             static_cast<std::int64_t>(whole.size()), bias(o), m_, to, stride);
        transform_output_row(w_.scheme_, from, product_stride_, cut.data(),
                             static_cast<std::int64_t>(cut.size()), bias(o),
                             (pass.rows - 1) % m_ + 1, to, stride);
        for (const TileVector& vector : rest) {
          const TileVector aside{vector.in, 0};
          transform_output_row(w_.scheme_, from, product_stride_, &aside, 1, bias(o), m_,
                               tiles.data(), m_ * lanes_);
          // Those of the vector's tiles that lie in the same row, one row after the other.
          for (std::int64_t l = 0; l < lanes_;) {
            const std::int64_t y = (vector.out + l) / pitch_ * m_,
                               x = (vector.out + l) % pitch_ * m_;
            const std::int64_t count = std::min((lanes_ - l) * m_, pass.columns - x);
            for (std::int64_t i = 0; i < m_ && y + i < pass.rows; ++i) {
              put(tiles.data() + (i * lanes_ + l) * m_, count, st_.out_step_w,
                  to + pixel(pass, y + i, x));
            }
            l += pitch_ - (vector.out + l) % pitch_;
          }
        }
      }
    }

    void store_images(const Segment& segment, const Pass& pass, std::int64_t first_output,
                      std::int64_t o0, std::int64_t o1) {
      const std::int64_t first = segment.row0 * m_, last = std::min(segment.row1 * m_, pass.rows);
      if (first >= last) return;
      const std::int64_t columns = pass.columns, pixels = (last - first) * columns;
      const std::int64_t image = st_.groups * st_.out_channels * st_.out_h * st_.out_w;
      const std::int64_t images = std::min(lanes_, st_.images - segment.block * lanes_);
      // Tiles at the borders are cut; their offsets differ.
      std::vector<std::int32_t> offsets;
      for (std::int64_t s = 0; s < segment.count; ++s) {
        for (std::int64_t i = 0; i < m_; ++i) {
          for (std::int64_t j = 0; j < m_; ++j) {
            const std::int64_t row = segment.first[s] / pitch_ * m_ + i,
                               column = segment.first[s] % pitch_ * m_ + j;
            const bool inside = row < last && column < columns;
            offsets.push_back(
                inside ? static_cast<std::int32_t>(((row - first) * columns + column) * lanes_)
                       : -1);
          }
        }
      }
      Scratch<Real> lines(pixels * lanes_), dealt(images * pixels);
      for (std::int64_t o = o0; o < o1; ++o) {
        for (std::int64_t s = 0; s < segment.count; ++s) {
          const TileVector vector{(segment.at + s) * lanes_, 0};
          transform_output(w_.scheme_, products_.data() + (first_output + o) * product_row_,
                           product_stride_, &vector, 1, bias(o), offsets.data() + s * m_ * m_,
                           lines.data());
        }
        Real* to = operands_.result + segment.block * lanes_ * image + o * st_.out_h * st_.out_w;
        if (st_.out_step_h == 1 && st_.out_step_w == 1) {
          transpose(lines.data(), lanes_, pixels, images, to + pixel(pass, first, 0), image);
          continue;
        }
        transpose(lines.data(), lanes_, pixels, images, dealt.data(), pixels);
        const Real* from = dealt.data();
        for (std::int64_t n = 0; n < images; ++n) {
          for (std::int64_t i = first; i < last; ++i) {
            put(from, columns, st_.out_step_w, to + n * image + pixel(pass, i, 0));
            from += columns;
          }
        }
      }
    }

    const Winograd& w_;
    const Stencil& st_;
    const std::vector<std::int64_t>& first_;
    const Operands& operands_;
    const std::int64_t lanes_, m_, n_, pitch_;
    const std::int64_t input_stride_, product_row_, product_stride_;
    Scratch<Real> inputs_, products_;  // [xi][…]
    Scratch<std::int32_t> offsets_;    // of k in inputs_
    std::vector<Slot> product_slots_;
    std::vector<Segment> segments_;
    std::int64_t count_ = 0;
  };

  const Stencil& st_;
  const Part part_;
  const Scheme scheme_;
  const SchemeSize size_;
  const Lanes lanes_are_;
  const TileShape tile_;
  const std::int64_t passes_, channels_, outputs_;  // outputs: (pass, output channel)
  const PanelCut cut_;
  const std::int64_t vectors_, columns_, products_, blocks_;
  std::vector<Filter> filters_;  // only to run
  const std::int64_t depth_, row_, weight_stride_;
  std::int64_t tile_rows_ = 0, tile_columns_ = 0, pitch_ = 0;
};

struct Choice {
  Scheme scheme;
  Lanes lanes;
  bool together;          // all passes share the transformed input; else each has its own
  std::int64_t channels;  // that share it
  double cost;
};

/// Calls visit() for each part.
template <class Visit>
void each_part(const Stencil& st, const Choice& choice, Visit visit) {
  const std::size_t step = choice.together ? st.passes.size() : 1;
  const std::int64_t parts = ceil_div(st.out_channels, choice.channels);
  for (std::size_t p = 0; p < st.passes.size(); p += step) {
    for (std::int64_t i = 0; i < parts; ++i) {
      visit(Winograd(st,
                     {p, p + step, st.out_channels * i / parts, st.out_channels * (i + 1) / parts},
                     choice.scheme, choice.lanes));
    }
  }
}

/// The cheapest way of some schemes.
Choice choose(const Stencil& st, std::span<const Scheme> schemes) {
  Choice best;
  best.cost = std::numeric_limits<double>::infinity();
  for (const Scheme scheme : schemes) {
    for (const Lanes lanes : {Lanes::kTiles, Lanes::kImages}) {
      for (const bool together : {true, false}) {
        if (!together && st.passes.size() == 1) continue;
        // All channels at once, then as many as have weights that stay near.
        for (std::int64_t channels = st.out_channels, next = 0; channels > 0; channels = next) {
          Choice choice{scheme, lanes, together, channels, 0};
          next = channels;
          each_part(st, choice, [&](const Winograd& part) {
            choice.cost += part.cost();
            next = std::min(next, part.near_channels());
          });
          if (choice.cost < best.cost) best = choice;
          if (next == channels || channels < st.out_channels) break;
        }
      }
    }
  }
  return best;
}

}  // namespace

double winograd_cost(const Stencil& st) {
  // With few channels the transformations cost more than the products saved; do not even count.
  constexpr std::int64_t kFewChannels = 8;
  if (st.images == 0 || std::min(st.in_channels, st.out_channels) < kFewChannels ||
      st.all_taps() <= static_cast<std::int64_t>(st.passes.size()))
    return std::numeric_limits<double>::infinity();
  return choose(st, kSchemes).cost;
}

void run_winograd(const Stencil& st, const Real* source, const Real* weight, const Real* bias,
                  Real* result, std::span<const Scheme> schemes) {
  each_part(st, choose(st, schemes),
            [&](Winograd part) { part.run(source, weight, bias, result); });
}

}  // namespace tapestry::kernels
