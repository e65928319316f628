#include "core/kernels/conv_winograd.h"

#include <algorithm>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "core/kernels/ceil_div.h"
#include "core/kernels/conv_transform.h"
#include "core/kernels/conv_winograd_plan.h"
#include "core/kernels/conv_winograd_unit.h"
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
constexpr std::int64_t kChunkWork = 500'000;  // multiply-adds, about 10 µs

/// The filters of each view.
using Filters = std::vector<std::vector<Filter>>;

/// Those of a group whose weights begin at `weight`, to the layout of ChannelWeights.
void transform_weights(const WinogradPlan& plan, const Filters& filters, const Real* weight,
                       std::int64_t first, std::int64_t last, Real* transformed) {
  const Stencil& st = plan.st;
  const std::int64_t lanes = plan.tile.lanes;
  const std::int64_t kernel = std::min(st.weight_row, st.weight_channel);
  const std::int64_t channels = ceil_div(st.in_channels, lanes) * lanes;
  std::vector<TileVector> vectors;
  for (std::int64_t c = 0; c < channels; c += lanes) vectors.push_back({c, c});
  // Each pass and filter: where its taps are, channels last, and the place of its first number.
  struct Job {
    std::vector<std::int32_t> offsets;
    std::int64_t to;
  };
  std::vector<Job> jobs;
  for (std::size_t v = 0; v < filters.size(); ++v) {
    const View& view = plan.views[v];
    for (std::size_t p = view.first_pass; p < view.last_pass; ++p) {
      // What a filter's last vector writes beyond its channels, the next one overwrites.
      std::int64_t to = static_cast<std::int64_t>(p) * (last - first) * plan.row;
      for (const Filter& filter : filters[v]) {
        Job& job = jobs.emplace_back(Job{{}, to});
        for (const std::int64_t tap : filter.weight[p - view.first_pass])
          job.offsets.push_back(static_cast<std::int32_t>((tap < 0 ? kernel : tap) * channels));
        to += st.in_channels;
      }
    }
  }
  parallel_for(last - first, ceil_div(20'000, plan.depth * plan.products),
               [&](std::int64_t begin, std::int64_t end) {
                 // Of one output channel, channels last; then zeros, where a filter has no tap.
                 Scratch<Real> taps((kernel + 1) * channels);
                 std::fill(taps.data(), taps.data() + (kernel + 1) * channels, Real(0));
                 for (std::int64_t o = begin; o < end; ++o) {
                   transpose(weight + (first + o) * st.weight_row, st.weight_channel,
                             st.in_channels, kernel, taps.data(), channels);
                   Real* to = transformed + o * plan.row;
                   for (const Job& job : jobs) {
                     transform_weight(plan.way.scheme, taps.data(), job.offsets.data(),
                                      vectors.data(), static_cast<std::int64_t>(vectors.size()),
                                      to + job.to, plan.weight_stride(last - first));
                   }
                 }
               });
}

void run_group(const WinogradPlan& plan, const Filters& filters, const Real* weight,
               const WinogradOperands& operands) {
  std::vector<WindowRead> reads;
  for (std::size_t v = 0; v < filters.size(); ++v) {
    std::int64_t k = plan.views[v].k0;
    for (const Filter& filter : filters[v]) {
      reads.push_back({filter.plane, filter.dy, filter.dx, k});
      k += plan.st.in_channels;
    }
  }
  const std::vector<std::int64_t> first = plan.place();
  const std::int64_t all = static_cast<std::int64_t>(first.size()) * plan.blocks;
  const std::int64_t channels = plan.st.out_channels, part = plan.channels_at_once();
  Scratch<Real> transformed(plan.products * plan.weight_stride(part));
  if (part < channels) {
    WinogradUnit unit(plan, reads, first, operands, all, part);
    unit.load(0, all);
    for (std::int64_t o = 0; o < channels; o += part) {
      const std::int64_t last = std::min(channels, o + part);
      transform_weights(plan, filters, weight, o, last, transformed.data());
      unit.multiply_and_store({transformed.data(), o, last});
    }
    return;
  }
  transform_weights(plan, filters, weight, 0, channels, transformed.data());
  const ChannelWeights weights{transformed.data(), 0, channels};
  // Units end with a tile of products; with one image per lane, with a row of tiles, because whole
  // rows are stored.
  const std::int64_t step = plan.way.lanes == Lanes::kImages ? plan.tile_columns : plan.vectors,
                     steps = ceil_div(all, step);
  const auto views = static_cast<std::int64_t>(plan.views.size());
  const std::int64_t slot_bytes = (plan.depth + views * plan.outputs) * plan.products *
                                  plan.tile.lanes * static_cast<std::int64_t>(sizeof(Real));
  // Each unit reads all transformed weights: with kUnitSlots vectors of tiles, slowly enough for
  // the third-level cache.
  const std::int64_t slots = std::max(kUnitBytes / slot_bytes, kUnitSlots);
  const std::int64_t units = ceil_div(steps, std::max<std::int64_t>(slots / step, 1));
  if (units >= kFewUnits) {
    const std::int64_t work =
        all * plan.tile.lanes * plan.products * plan.depth * plan.outputs / units;
    parallel_for(units, ceil_div(kChunkWork, work), [&](std::int64_t begin, std::int64_t end) {
      WinogradUnit unit(plan, reads, first, operands, std::min(all, (steps / units + 1) * step),
                        channels);
      for (std::int64_t i = begin; i < end; ++i) {
        unit.load(std::min(all, steps * i / units * step),
                  std::min(all, steps * (i + 1) / units * step));
        unit.multiply_and_store(weights);
      }
    });
    return;
  }
  // Few units, because the image is small and the channels are many: one after the other, each on
  // all threads.
  const std::int64_t large =
      std::max<std::int64_t>(std::max(kLargeUnitBytes / slot_bytes, kUnitSlots) / step, 1);
  WinogradUnit unit(plan, reads, first, operands, std::min(all, large * step), channels);
  for (std::int64_t at = 0; at < steps; at += large) {
    unit.load(std::min(all, at * step), std::min(all, (at + large) * step));
    unit.multiply_and_store(weights);
  }
}

/// The cheapest way by some schemes, and what it costs.
std::pair<WinogradWay, double> choose(const Stencil& st, std::span<const Scheme> schemes) {
  std::pair<WinogradWay, double> best{{}, std::numeric_limits<double>::infinity()};
  for (const Scheme scheme : schemes) {
    for (const Lanes lanes : {Lanes::kTiles, Lanes::kImages}) {
      for (const bool together : {true, false}) {
        if (!together && st.passes.size() == 1) continue;
        const WinogradWay way{scheme, lanes, together};
        const double cost = WinogradPlan(st, way).cost();
        if (cost < best.second) best = {way, cost};
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
  return choose(st, kSchemes).second;
}

void run_winograd(const Stencil& st, const Real* source, const Real* weight, const Real* bias,
                  Real* result, std::span<const Scheme> schemes) {
  const WinogradPlan plan(st, choose(st, schemes).first);
  Filters all;
  for (const View& view : plan.views)
    all.push_back(filters(st, view.first_pass, view.last_pass, plan.size.r));
  for (std::int64_t group = 0; group < st.groups; ++group) {
    const std::int64_t channel = group * st.out_channels;
    run_group(plan, all, weight + group * st.group_weights(),
              {source + group * st.in_channels * st.in_h * st.in_w,
               bias == nullptr ? nullptr : bias + channel, result + channel * st.out_h * st.out_w});
  }
}

}  // namespace tapestry::kernels
