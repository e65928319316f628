#include "core/kernels/conv_winograd_unit.h"

#include <algorithm>
#include <limits>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_transform.h"
#include "core/kernels/conv_window.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

constexpr std::int64_t kPanelBytes = 192 << 10;  // transformed weights used in turn, as in gemm.cc
constexpr std::int64_t kChunkWork = 500'000;     // multiply-adds, about 10 µs
constexpr std::int64_t kChunkNumbers = 40'000;   // transformed ones, as much

}  // namespace

WinogradUnit::WinogradUnit(const WinogradPlan& plan, const std::vector<WindowRead>& reads,
                           const std::vector<std::int64_t>& first, const WinogradOperands& operands,
                           std::int64_t slots, std::int64_t channels)
    : plan_(plan),
      st_(plan.st),
      reads_(reads),
      first_(first),
      operands_(operands),
      lanes_(plan.tile.lanes),
      m_(plan.size.m),
      n_(plan.size.n),
      pitch_(plan.pitch),
      input_stride_(spread(ceil_div(slots, plan.vectors) * plan.columns * plan.depth)),
      product_row_(ceil_div(slots, plan.vectors) * plan.columns),
      product_stride_(
          spread(static_cast<std::int64_t>(st_.passes.size()) * channels * product_row_)),
      inputs_(plan.products * input_stride_),
      products_(plan.products * product_stride_),
      offsets_(plan.depth) {
  for (std::int64_t s = 0; s < ceil_div(slots, plan.vectors) * plan.vectors; ++s)
    product_slots_.push_back({input_at(s), s * lanes_, nullptr});
  for (std::int64_t k = 0; k < plan.depth; ++k)
    offsets_[k] = static_cast<std::int32_t>(k * plan.columns);
  // A tile and the next one hold 2 · m rows and columns.
  const std::int64_t reach = 2 * m_ - n_;
  const auto within = [&](std::int64_t d) { return d >= 0 && d <= reach; };
  for (const WindowRead& read : reads) {
    const auto near =
        std::find_if(groups_.begin(), groups_.end(), [&](const std::vector<WindowRead>& group) {
          const WindowRead& origin = group.front();
          return origin.plane == read.plane && within(read.dy - origin.dy) &&
                 within(read.dx - origin.dx);
        });
    if (near != groups_.end()) {
      near->push_back(read);
    } else {
      groups_.push_back({read});
    }
  }
}

void WinogradUnit::load(std::int64_t begin, std::int64_t end) {
  count_ = end - begin;
  segments_.clear();
  const auto per_block = static_cast<std::int64_t>(first_.size());
  for (std::int64_t s = begin; s < end;) {
    Segment segment{s / per_block, s - begin, std::min(per_block - s % per_block, end - s),
                    nullptr,       0,         0};
    segment.first = first_.data() + s % per_block;
    segment.row0 = segment.first[0] / pitch_;
    const std::int64_t last =
        segment.first[segment.count - 1] + (plan_.way.lanes == Lanes::kTiles ? lanes_ - 1 : 0);
    segment.row1 = std::min(last / pitch_ + 1, plan_.tile_rows);
    segments_.push_back(segment);
    s += segment.count;
  }
  const std::int64_t columns = count_ * lanes_ * plan_.products;
  parallel_for(st_.in_channels,
               ceil_div(kChunkNumbers, columns * static_cast<std::int64_t>(reads_.size())),
               [&](std::int64_t c0, std::int64_t c1) {
                 for (const Segment& segment : segments_) {
                   if (plan_.way.lanes == Lanes::kImages) {
                     load_images(segment, c0, c1);
                     continue;
                   }
                   for (const auto& group : groups_) load_tiles(segment, group, c0, c1);
                 }
               });
}

void WinogradUnit::multiply_and_store(const ChannelWeights& weights) {
  first_channel_ = weights.first;
  last_channel_ = weights.last;
  const std::int64_t columns = count_ * lanes_ * plan_.products;
  const auto views = static_cast<std::int64_t>(plan_.views.size()),
             passes = static_cast<std::int64_t>(st_.passes.size());
  const std::int64_t rows = (weights.last - weights.first) * passes / views;
  parallel_for(plan_.products * views,
               ceil_div(kChunkWork * plan_.products * views, columns * plan_.depth * rows),
               [&](std::int64_t first, std::int64_t last) {
                 for (std::int64_t i = first; i < last; ++i)
                   multiply(weights, i / views, plan_.views[static_cast<std::size_t>(i % views)]);
               });
  parallel_for(weights.last - weights.first, ceil_div(kChunkNumbers, columns * passes),
               [&](std::int64_t begin, std::int64_t end) {
                 const std::int64_t o0 = weights.first + begin, o1 = weights.first + end;
                 for (const Segment& segment : segments_) {
                   if (plan_.way.lanes == Lanes::kImages) {
                     store_images(segment, o0, o1);
                     continue;
                   }
                   for (std::size_t p = 0; p < st_.passes.size(); ++p) {
                     // With stride 2, the pass with the columns between follows; there is none for
                     // one column.
                     const bool joined = st_.out_step_w == 2 && p + 1 < st_.passes.size() &&
                                         st_.passes[p + 1].offset_h == st_.passes[p].offset_h;
                     store_tiles(segment, p, joined, o0, o1);
                     if (joined) ++p;
                   }
                 }
               });
}

/// Input channels [c0, c1) of windows that are near each other.
void WinogradUnit::load_tiles(const Segment& segment, const std::vector<WindowRead>& near,
                              std::int64_t c0, std::int64_t c1) {
  // A pixel's place in its tile selects a plane, and neighboring tiles are neighbors in it. Vectors
  // within one row of tiles take only the columns that they need.
  std::int64_t column0 = 0, columns = pitch_;
  if (segment.row1 - segment.row0 == 1) {
    column0 = segment.first[0] % pitch_;
    columns = std::min(pitch_, segment.first[segment.count - 1] % pitch_ + lanes_ + 1) - column0;
  }
  const WindowRead& origin = near.front();
  const Plane& plane = st_.planes[static_cast<std::size_t>(origin.plane)];
  std::int64_t span = 0;
  for (const WindowRead& read : near) span = std::max(span, read.dy - origin.dy);
  Deal job;
  job.height = st_.in_h;
  job.width = st_.in_w;
  job.y0 = (origin.dy + segment.row0 * m_) * st_.in_step_h + plane.row0;
  job.x0 = (origin.dx + column0 * m_) * st_.in_step_w + plane.column0;
  job.step_h = st_.in_step_h;
  job.step_w = st_.in_step_w;
  job.m = m_;
  job.rows = segment.row1 - segment.row0 + 1;  // one more, for the lower border of the last row
  job.columns = columns;
  job.last = n_ - m_ + span;
  job.ahead = st_.in_h * st_.in_w;
  job.stride = spread(job.rows * columns + lanes_);
  Scratch<Real> planes(m_ * m_ * job.stride + lanes_ + columns),
      window(m_ * (m_ * job.rows * columns + lanes_));
  std::vector<std::int32_t> offsets;
  for (const WindowRead& read : near) {
    for (std::int64_t y = read.dy - origin.dy, i = y; i < y + n_; ++i) {
      for (std::int64_t x = read.dx - origin.dx, j = x; j < x + n_; ++j) {
        offsets.push_back(static_cast<std::int32_t>((i % m_ * m_ + j % m_) * job.stride +
                                                    i / m_ * columns + j / m_));
      }
    }
  }
  std::vector<TileVector> vectors;
  for (std::int64_t s = 0; s < segment.count; ++s) {
    vectors.push_back(
        {segment.first[s] - segment.row0 * pitch_ - column0, input_at(segment.at + s)});
  }
  const Real* image =
      operands_.source + segment.block * st_.groups * st_.in_channels * st_.in_h * st_.in_w;
  for (std::int64_t c = c0; c < c1; ++c) {
    deal(job, image + c * st_.in_h * st_.in_w, window.data(), planes.data());
    const std::int32_t* at = offsets.data();
    for (const WindowRead& read : near) {
      transform_input(plan_.way.scheme, planes.data(), at, vectors.data(), segment.count,
                      inputs_.data() + (read.k + c) * plan_.columns, input_stride_);
      at += n_ * n_;
    }
  }
}

void WinogradUnit::load_images(const Segment& segment, std::int64_t c0, std::int64_t c1) {
  // Source row and column of a window's first pixel, and the part of the image that holds all
  // windows.
  const auto y_of = [&](const WindowRead& read) {
    return (read.dy + segment.row0 * m_) * st_.in_step_h +
           st_.planes[static_cast<std::size_t>(read.plane)].row0;
  };
  const auto x_of = [&](const WindowRead& read) {
    return read.dx * st_.in_step_w + st_.planes[static_cast<std::size_t>(read.plane)].column0;
  };
  std::int64_t y0 = std::numeric_limits<std::int64_t>::max(), x0 = y0, y1 = -y0, x1 = -y0;
  for (const WindowRead& read : reads_) {
    y0 = std::min(y0, y_of(read));
    y1 = std::max(y1, y_of(read));
    x0 = std::min(x0, x_of(read));
    x1 = std::max(x1, x_of(read));
  }
  const std::int64_t image = st_.groups * st_.in_channels * st_.in_h * st_.in_w;
  const std::int64_t images = std::min(lanes_, st_.images - segment.block * lanes_);
  const std::int64_t rows =
      y1 - y0 + ((segment.row1 - segment.row0 - 1) * m_ + n_ - 1) * st_.in_step_h + 1;
  const std::int64_t wide = x1 - x0 + ((plan_.tile_columns - 1) * m_ + n_ - 1) * st_.in_step_w + 1;
  Scratch<Real> pixels(rows * wide * lanes_);
  std::fill(pixels.data(), pixels.data() + rows * wide * lanes_, Real(0));
  std::vector<std::int32_t> offsets;
  for (std::int64_t i = 0; i < n_; ++i) {
    for (std::int64_t j = 0; j < n_; ++j) {
      offsets.push_back(
          static_cast<std::int32_t>((i * st_.in_step_h * wide + j * st_.in_step_w) * lanes_));
    }
  }
  std::vector<TileVector> vectors;
  for (std::int64_t s = 0; s < segment.count; ++s) {
    const std::int64_t row = segment.first[s] / pitch_ - segment.row0,
                       column = segment.first[s] % pitch_;
    vectors.push_back({(row * st_.in_step_h * wide + column * st_.in_step_w) * m_ * lanes_,
                       input_at(segment.at + s)});
  }
  const std::int64_t first = std::clamp<std::int64_t>(-x0, 0, wide),
                     last = std::clamp(st_.in_w - x0, first, wide);
  const std::int64_t top = std::clamp<std::int64_t>(-y0, 0, rows),
                     bottom = std::clamp(st_.in_h - y0, top, rows);
  const Real* from = operands_.source + segment.block * lanes_ * image;
  for (std::int64_t c = c0; c < c1; ++c) {
    for (std::int64_t i = top; i < bottom && first < last; ++i) {
      transpose(from + (c * st_.in_h + y0 + i) * st_.in_w + x0 + first, image, images, last - first,
                pixels.data() + (i * wide + first) * lanes_, lanes_);
    }
    for (const WindowRead& read : reads_) {
      transform_input(plan_.way.scheme,
                      pixels.data() + ((y_of(read) - y0) * wide + x_of(read) - x0) * lanes_,
                      offsets.data(), vectors.data(), segment.count,
                      inputs_.data() + (read.k + c) * plan_.columns, input_stride_);
    }
  }
}

void WinogradUnit::multiply(const ChannelWeights& weights, std::int64_t xi, const View& view) {
  const std::int64_t channels = weights.last - weights.first;
  const auto first = static_cast<std::int64_t>(view.first_pass) * channels;
  TileJob job;
  job.rows = static_cast<std::int64_t>(view.last_pass - view.first_pass) * channels;
  job.depth = view.depth;
  job.a = weights.data + xi * plan_.weight_stride(channels) + first * plan_.row;
  job.a_stride = plan_.row;
  job.b = inputs_.data() + xi * input_stride_ + view.k0 * plan_.columns;
  job.offsets = offsets_.data();
  job.slots = product_slots_.data();
  job.slot_count = count_;
  job.c = products_.data() + xi * product_stride_ + first * product_row_;
  job.c_stride = product_row_;
  const PanelCut cut(job.rows, plan_.tile.max_rows);
  const std::int64_t bytes = cut.max_height() * plan_.row * static_cast<std::int64_t>(sizeof(Real));
  const std::int64_t panels = std::max<std::int64_t>(kPanelBytes / bytes, 1);
  for (job.first_panel = 0; job.first_panel < cut.count; job.first_panel += panels) {
    job.last_panel = std::min(cut.count, job.first_panel + panels);
    run_tiles(job);
  }
}

/// Output channels [o0, o1) of pass p and, if joined, the next one, whose pixels lie between.
void WinogradUnit::store_tiles(const Segment& segment, std::size_t p, bool joined, std::int64_t o0,
                               std::int64_t o1) {
  const Pass& pass = st_.passes[p];
  const std::int64_t between = joined ? st_.passes[p + 1].columns : 0, block = m_ * m_ * lanes_;
  const auto pixel = [&](std::int64_t row, std::int64_t column) {
    return (row * st_.out_step_h + pass.offset_h) * st_.out_w + column * st_.out_step_w +
           pass.offset_w;
  };
  // Vectors that are one run of whole tiles, by whether the tiles reach beyond the last row; and
  // the runs of all others.
  struct Rest {
    std::int64_t in;
    std::int64_t tile, rows, columns, between;  // the first tile, numbers of it and its neighbors
    std::int64_t out;
  };
  std::vector<TileVector> whole, cut;
  std::vector<Rest> rest;
  for (std::int64_t s = 0; s < segment.count; ++s) {
    const std::int64_t in = (segment.at + s) * lanes_, tile = segment.first[s];
    const std::int64_t row = tile / pitch_ * m_, column = tile % pitch_ * m_;
    if (st_.out_step_w == 1 && row < pass.rows && column + m_ * lanes_ <= pass.columns) {
      (row + m_ <= pass.rows ? whole : cut).push_back({in, pixel(row, column)});
      continue;
    }
    // Those of the vector's tiles that lie in the same row, one row after the other.
    for (std::int64_t l = 0; l < lanes_; l += pitch_ - (tile + l) % pitch_) {
      const std::int64_t y = (tile + l) / pitch_ * m_, x = (tile + l) % pitch_ * m_,
                         most = (lanes_ - l) * m_;
      if (y < pass.rows && x < pass.columns) {
        rest.push_back({in, l * m_, std::min(m_, pass.rows - y), std::min(most, pass.columns - x),
                        std::clamp<std::int64_t>(between - x, 0, most), pixel(y, x)});
      }
    }
  }
  Scratch<Real> tiles(2 * block);
  Real* result =
      operands_.result + segment.block * st_.groups * st_.out_channels * st_.out_h * st_.out_w;
  const std::int64_t stride = st_.out_w * st_.out_step_h;
  for (std::int64_t o = o0; o < o1; ++o) {
    const Real* from = products(p, o);
    Real* to = result + o * st_.out_h * st_.out_w;
    const auto transform = [&](const Real* in, const std::vector<TileVector>& to_place,
                               std::int64_t rows) {
      transform_output_row(plan_.way.scheme, in, product_stride_, to_place.data(),
                           static_cast<std::int64_t>(to_place.size()), bias(o), rows, to, stride);
    };
    transform(from, whole, m_);
    transform(from, cut, (pass.rows - 1) % m_ + 1);
    std::int64_t done = -1;
    for (const Rest& run : rest) {
      if (run.in != done) {
        const TileVector aside{run.in, 0};
        for (const bool next : {false, true}) {
          if (next && !joined) break;
          transform_output_row(plan_.way.scheme, products(next ? p + 1 : p, o), product_stride_,
                               &aside, 1, bias(o), m_, tiles.data() + (next ? block : 0),
                               m_ * lanes_);
        }
        done = run.in;
      }
      const Real* row = tiles.data() + run.tile;
      for (std::int64_t i = 0; i < run.rows; ++i, row += m_ * lanes_) {
        Real* out = to + run.out + i * stride;
        interleave(row, row + block, run.between, out);
        put(row + run.between, run.columns - run.between, st_.out_step_w,
            out + run.between * st_.out_step_w);
      }
    }
  }
}

void WinogradUnit::store_images(const Segment& segment, std::int64_t o0, std::int64_t o1) {
  // Rows of the result, all passes together.
  const std::int64_t first = segment.row0 * m_ * st_.out_step_h,
                     last = std::min(segment.row1 * m_ * st_.out_step_h, st_.out_h);
  const std::int64_t pixels = (last - first) * st_.out_w;
  const std::int64_t image = st_.groups * st_.out_channels * st_.out_h * st_.out_w;
  const std::int64_t images = std::min(lanes_, st_.images - segment.block * lanes_);
  // Tiles at the borders are cut; their offsets differ.
  std::vector<std::int32_t> offsets;
  for (const Pass& pass : st_.passes) {
    for (std::int64_t s = 0; s < segment.count; ++s) {
      for (std::int64_t i = 0; i < m_; ++i) {
        for (std::int64_t j = 0; j < m_; ++j) {
          const std::int64_t row = segment.first[s] / pitch_ * m_ + i,
                             column = segment.first[s] % pitch_ * m_ + j;
          const std::int64_t y = row * st_.out_step_h + pass.offset_h - first,
                             x = column * st_.out_step_w + pass.offset_w;
          const bool inside = row < pass.rows && column < pass.columns;
          offsets.push_back(inside ? static_cast<std::int32_t>((y * st_.out_w + x) * lanes_) : -1);
        }
      }
    }
  }
  Scratch<Real> lines(pixels * lanes_);
  for (std::int64_t o = o0; o < o1; ++o) {
    const std::int32_t* at = offsets.data();
    for (std::size_t p = 0; p < st_.passes.size(); ++p) {
      const Real* from = products(p, o);
      for (std::int64_t s = 0; s < segment.count; ++s, at += m_ * m_) {
        const TileVector vector{(segment.at + s) * lanes_, 0};
        transform_output(plan_.way.scheme, from, product_stride_, &vector, 1, bias(o), at,
                         lines.data());
      }
    }
    Real* to = operands_.result + segment.block * lanes_ * image + o * st_.out_h * st_.out_w;
    transpose(lines.data(), lanes_, pixels, images, to + first * st_.out_w, image);
  }
}

}  // namespace tapestry::kernels
