#include "core/kernels/gemm_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/gemm_tile.cc"
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // must come before highway.h
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tapestry::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<Real>;
using V = hn::Vec<D>;
constexpr std::size_t kLanes = hn::MaxLanes(D());

// Registers: accumulators (rows × vectors), one row of b (vectors), one broadcast of a. 6 × 2 fills
// 15 of 16 and needs 8 loads for 12 multiply-adds, 8 × 3 fills 28 of 32 and needs 11 for 24.
// Processors finish two multiply-adds per cycle with latency 4, so at least 8 accumulators must be
// in flight; hence the wide tiles for few rows.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kMaxRows = 8, kAccumulators = 24, kMaxVectors = 8;
#else
constexpr int kMaxRows = 6, kAccumulators = 12, kMaxVectors = 8;
#endif

constexpr int Vectors(int rows) { return std::min(kMaxVectors, kAccumulators / rows); }

struct Tile {
  const TileJob* job;
  const Real* a;      // the panel
  const Slot* slots;  // of this tile
  Real* copy;
  Real* c;  // row 0 of the panel
  const Real* row_bias;
};

// Where a tile finds b: where it lies, and leaves a copy, or in the copy.
enum class From { kSource, kSourceToCopy, kCopy };

// Lane by lane, where a vector of the result is not a run in memory.
HWY_NOINLINE void Scatter(const Tile& tile, const Slot& slot, const Real* sums, int rows,
                          int row_step) {
  const TileJob& job = *tile.job;
  for (int i = 0; i < rows; ++i, sums += row_step) {
    Real* row = tile.c + i * job.c_stride + slot.out;
    const Real bias = tile.row_bias != nullptr ? tile.row_bias[i] : 0;
    for (std::size_t l = 0; l < kLanes; ++l) {
      if (slot.lanes != nullptr && slot.lanes[l] < 0) continue;
      const auto lane = slot.lanes == nullptr ? static_cast<std::int64_t>(l) : slot.lanes[l];
      if (job.accumulate) {
        row[lane] += sums[l];
      } else {
        row[lane] =
            sums[l] + bias + (job.column_bias != nullptr ? job.column_bias[slot.out + lane] : 0);
      }
    }
  }
}

template <int kRows, int kVectors>
HWY_INLINE void Store(const Tile& tile, const V (&acc)[kRows][kVectors]) {
  const D d;
  const TileJob& job = *tile.job;
  bool runs = true;
  for (int j = 0; j < kVectors; ++j) runs = runs && tile.slots[j].lanes == nullptr;
  if (!runs) {
    HWY_ALIGN Real sums[kRows * kVectors * kLanes];
    HWY_UNROLL(8)
    for (int i = 0; i < kRows; ++i) {
      HWY_UNROLL(8)
      for (int j = 0; j < kVectors; ++j)
        hn::Store(acc[i][j], d, sums + (i * kVectors + j) * kLanes);
    }
    for (int j = 0; j < kVectors; ++j) {
      Scatter(tile, tile.slots[j], sums + j * kLanes, kRows, static_cast<int>(kVectors * kLanes));
    }
    return;
  }
  std::int64_t out[kVectors];
  for (int j = 0; j < kVectors; ++j) out[j] = tile.slots[j].out;
  Real* row = tile.c;
  HWY_UNROLL(8)
  for (int i = 0; i < kRows; ++i, row += job.c_stride) {
    const V bias = hn::Set(d, tile.row_bias != nullptr ? tile.row_bias[i] : 0);
    HWY_UNROLL(8)
    for (int j = 0; j < kVectors; ++j) {
      V start = bias;
      if (job.accumulate) {
        start = hn::LoadU(d, row + out[j]);
      } else if (job.column_bias != nullptr) {
        start = hn::Add(start, hn::LoadU(d, job.column_bias + out[j]));
      }
      hn::StoreU(hn::Add(start, acc[i][j]), d, row + out[j]);
    }
  }
}

template <int kRows, int kVectors, bool kPacked, From kFrom>
void RunTile(const Tile& tile) {
  const D d;
  V acc[kRows][kVectors];
  HWY_UNROLL(8)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(8)
    for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::Zero(d);
  }
  // Rows of c are far apart and rarely in the cache. They arrive while the sum is made, if that
  // takes as long as memory does, some 500 cycles.
  constexpr std::int64_t kDeep = 100;
  if (tile.job->depth >= kDeep) {
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; j += 2)
        hwy::Prefetch(tile.c + i * tile.job->c_stride + tile.slots[j].out);
    }
  }
  const Real* b[kVectors];
  for (int j = 0; j < kVectors; ++j) b[j] = tile.job->b + tile.slots[j].in;
  const std::int32_t* offsets = tile.job->offsets;
  const std::int64_t row = kPacked ? 1 : tile.job->a_stride;
  const std::int64_t step = !kPacked ? 1 : tile.job->a_step == 0 ? kRows : tile.job->a_step;
  const Run all{0, tile.job->depth};
  const Run* run = tile.job->runs == nullptr ? &all : tile.job->runs;
  const Run* last_run = tile.job->runs == nullptr ? &all + 1 : run + tile.job->run_count;
  for (; run != last_run; ++run) {
    const Real* a = tile.a + run->k0 * step;
    constexpr auto kCopyStep = static_cast<std::int64_t>(kVectors * kLanes);
    Real* copy = kFrom == From::kSource ? nullptr : tile.copy + run->k0 * kCopyStep;
    const std::int64_t end = run->k1;
    HWY_UNROLL(2)  // 2-3 % of a large product
    for (std::int64_t k = run->k0; k < end; ++k) {
      const std::int64_t offset = kFrom == From::kCopy ? 0 : offsets[k];
      const auto load = [&](int j) HWY_ATTR {
        if constexpr (kFrom == From::kCopy) return hn::LoadU(d, copy + j * kLanes);
        const V bj = hn::LoadU(d, b[j] + offset);
        if constexpr (kFrom == From::kSourceToCopy) {
          hn::StoreU(bj, d, copy + j * kLanes);
          // Rows of b are far apart, so nobody else fetches what the next tile copies.
          if (j == 0) hwy::Prefetch(b[0] + offset + kCopyStep);
        }
        return bj;
      };
      if constexpr (kVectors <= kRows || kVectors <= 3) {
        V bk[kVectors];
        HWY_UNROLL(8)
        for (int j = 0; j < kVectors; ++j) bk[j] = load(j);
        HWY_UNROLL(8)
        for (int i = 0; i < kRows; ++i) {
          const V ai = hn::Set(d, a[i * row]);
          HWY_UNROLL(8)
          for (int j = 0; j < kVectors; ++j) acc[i][j] = hn::MulAdd(ai, bk[j], acc[i][j]);
        }
      } else {
        V ak[kRows];
        HWY_UNROLL(8)
        for (int i = 0; i < kRows; ++i) ak[i] = hn::Set(d, a[i * row]);
        HWY_UNROLL(8)
        for (int j = 0; j < kVectors; ++j) {
          const V bj = load(j);
          HWY_UNROLL(8)
          for (int i = 0; i < kRows; ++i) acc[i][j] = hn::MulAdd(ak[i], bj, acc[i][j]);
        }
      }
      a += step;
      if constexpr (kFrom != From::kSource) copy += kCopyStep;
    }
  }
  Store<kRows, kVectors>(tile, acc);
}

using TileFunction = void (*)(const Tile&);

// Only tall panels make a copy, as they are where there are many. So fewer functions are compiled.
constexpr int kLeastCopied = kMaxRows - 2;
template <int kRows, int kVectors, bool kPacked, From kFrom>
constexpr TileFunction Pick() {
  if constexpr (kVectors <= Vectors(kRows) &&
                (kFrom != From::kSourceToCopy || kRows >= kLeastCopied)) {
    return &RunTile<kRows, kVectors, kPacked, kFrom>;
  } else {
    return nullptr;
  }
}
using TileTable = std::array<std::array<TileFunction, kMaxVectors>, kMaxRows>;
template <int kRows, bool kPacked, From kFrom, int... kVectors>
constexpr std::array<TileFunction, kMaxVectors> Row(std::integer_sequence<int, kVectors...>) {
  return {Pick<kRows, kVectors + 1, kPacked, kFrom>()...};
}
template <bool kPacked, From kFrom, int... kRows>
constexpr TileTable Table(std::integer_sequence<int, kRows...>) {
  return {Row<kRows + 1, kPacked, kFrom>(std::make_integer_sequence<int, kMaxVectors>())...};
}
template <bool kPacked>
constexpr std::array<TileTable, 3> Tables() {
  constexpr auto kAllRows = std::make_integer_sequence<int, kMaxRows>();
  return {Table<kPacked, From::kSource>(kAllRows), Table<kPacked, From::kSourceToCopy>(kAllRows),
          Table<kPacked, From::kCopy>(kAllRows)};
}
constexpr auto kPackedTiles = Tables<true>(), kStridedTiles = Tables<false>();

// Part `part` of `parts` of a run of numbers on its way to the second-level cache.
void FetchPart(const Real* from, std::int64_t count, std::int64_t part, std::int64_t parts) {
  constexpr std::int64_t kLine = 64 / sizeof(Real);
  for (std::int64_t at = count * part / parts; at < count * (part + 1) / parts; at += kLine)
    __builtin_prefetch(from + at, 0, 2);
}

void RunTiles(const TileJob& job) {
  const PanelCut cut(job.rows, kMaxRows);
  const std::int64_t last = job.last_panel < 0 ? cut.count : job.last_panel;
  const std::int64_t width = Vectors(static_cast<int>(cut.max_height()));
  const bool copies = job.copied || (job.copy != nullptr && cut.low >= kLeastCopied);
  const auto& tables = job.a_stride == 0 ? kPackedTiles : kStridedTiles;
  const std::int64_t a_row = job.a_stride != 0 ? job.a_stride : job.a_step != 0 ? 1 : job.depth;
  // The b of one tile is small enough for the first-level cache and is used by every panel in turn.
  Real* copy = job.copy;
  for (std::int64_t s = 0; s < job.slot_count; s += width, copy += job.copy_stride) {
    const std::int64_t vectors = std::min(width, job.slot_count - s);
    for (std::int64_t p = job.first_panel; p < last; ++p) {
      const std::int64_t i = cut.begin(p);
      const Tile tile{
          &job, job.a + i * a_row,        job.slots + s,
          copy, job.c + i * job.c_stride, job.row_bias == nullptr ? nullptr : job.row_bias + i};
      const From from = !copies                               ? From::kSource
                        : p == job.first_panel && !job.copied ? From::kSourceToCopy
                                                              : From::kCopy;
      tables[static_cast<std::size_t>(from)][static_cast<std::size_t>(cut.height(p) - 1)]
            [static_cast<std::size_t>(vectors - 1)](tile);
    }
  }
}

// Few rows: 3 × 4 accumulators, 7 loads for 12 multiply-adds.
constexpr int kDotRows = 3, kDotColumns = 4;

template <int kRows, int kColumns>
void RunDot(const DotJob& job, std::int64_t i0, std::int64_t j0) {
  const D d;
  V acc[kRows][kColumns];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) acc[i][j] = hn::Zero(d);
  }
  const Real* a = job.a + i0 * job.a_stride;
  const Real* b = job.b + j0 * job.b_stride;
  constexpr auto kStep = static_cast<std::int64_t>(kLanes);
  std::int64_t k = 0;
  for (; k + kStep <= job.depth; k += kStep) {
    V ak[kRows];
    for (int i = 0; i < kRows; ++i) ak[i] = hn::LoadU(d, a + i * job.a_stride + k);
    for (int j = 0; j < kColumns; ++j) {
      const V bj = hn::LoadU(d, b + j * job.b_stride + k);
      for (int i = 0; i < kRows; ++i) acc[i][j] = hn::MulAdd(ak[i], bj, acc[i][j]);
    }
  }
  const std::size_t rest = static_cast<std::size_t>(job.depth - k) * sizeof(Real);
  for (int j = 0; rest != 0 && j < kColumns; ++j) {
    HWY_ALIGN Real tail[kLanes] = {};
    std::memcpy(tail, b + j * job.b_stride + k, rest);
    const V bj = hn::Load(d, tail);
    for (int i = 0; i < kRows; ++i) {
      std::memcpy(tail, a + i * job.a_stride + k, rest);
      acc[i][j] = hn::MulAdd(hn::Load(d, tail), bj, acc[i][j]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) {
      const std::int64_t row = i0 + i, column = j0 + j;
      Real* to = job.c + row * job.c_row + column * job.c_column;
      Real start = 0;
      if (job.accumulate) {
        start = *to;
      } else {
        if (job.row_bias != nullptr) start += job.row_bias[row];
        if (job.column_bias != nullptr) start += job.column_bias[column];
      }
      *to = start + hn::GetLane(hn::SumOfLanes(d, acc[i][j]));
    }
  }
}

template <int kRows>
void RunDotRows(const DotJob& job, std::int64_t i) {
  std::int64_t j = 0;
  for (; j + kDotColumns <= job.columns; j += kDotColumns) RunDot<kRows, kDotColumns>(job, i, j);
  for (; j < job.columns; ++j) RunDot<kRows, 1>(job, i, j);
}

void RunDots(const DotJob& job) {
  std::int64_t i = 0;
  for (; i + kDotRows <= job.rows; i += kDotRows) RunDotRows<kDotRows>(job, i);
  if (job.rows - i == 2) RunDotRows<2>(job, i);
  if (job.rows - i == 1) RunDotRows<1>(job, i);
}

// As many columns as accumulators and registers for a row each allow: 3 × 4, 2 × 6, 1 × 9 with 16
// registers.
constexpr int kLaneRows = kMaxRows >= 8 ? 4 : 3;
constexpr int LaneColumns(int rows) { return rows == 1 ? 9 : kAccumulators / rows; }

template <int kRows, int kColumns>
void RunLaneTile(const LaneJob& job, std::int64_t i0, std::int64_t j0) {
  const D d;
  V acc[kRows][kColumns];
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    HWY_UNROLL(16)
    for (int j = 0; j < kColumns; ++j) acc[i][j] = hn::Zero(d);
  }
  const Real* a = job.a + i0 * job.a_stride;
  const Real* b[kColumns];
  for (int j = 0; j < kColumns; ++j) b[j] = job.b + job.offsets[j0 + j];
  for (std::int64_t k = 0; k < job.depth; k += static_cast<std::int64_t>(kLanes)) {
    V ak[kRows];
    HWY_UNROLL(16)
    for (int i = 0; i < kRows; ++i) ak[i] = hn::LoadU(d, a + i * job.a_stride + k);
    HWY_UNROLL(16)
    for (int j = 0; j < kColumns; ++j) {
      const V bj = hn::LoadU(d, b[j] + k);
      HWY_UNROLL(16)
      for (int i = 0; i < kRows; ++i) acc[i][j] = hn::MulAdd(ak[i], bj, acc[i][j]);
    }
  }
  HWY_UNROLL(16)
  for (int i = 0; i < kRows; ++i) {
    Real* sums = job.sums + ((i0 + i) * job.columns + j0) * static_cast<std::int64_t>(kLanes);
    HWY_UNROLL(16)
    for (int j = 0; j < kColumns; ++j) {
      hn::StoreU(hn::Add(hn::LoadU(d, sums + j * kLanes), acc[i][j]), d, sums + j * kLanes);
    }
  }
}

using LaneFunction = void (*)(const LaneJob&, std::int64_t, std::int64_t);
template <int kRows, int... kColumns>
constexpr auto LaneTable(std::integer_sequence<int, kColumns...>) {
  return std::array<LaneFunction, sizeof...(kColumns)>{&RunLaneTile<kRows, kColumns + 1>...};
}

template <int kRows>
void RunLaneRows(const LaneJob& job, std::int64_t i) {
  constexpr std::int64_t kColumns = LaneColumns(kRows);
  static constexpr auto kTable =
      LaneTable<kRows>(std::make_integer_sequence<int, LaneColumns(kRows)>());
  for (std::int64_t j = 0; j < job.columns; j += kColumns) {
    kTable[static_cast<std::size_t>(std::min(kColumns, job.columns - j) - 1)](job, i, j);
  }
}

void RunLanes(const LaneJob& job) {
  std::int64_t i = 0;
  for (; i + kLaneRows <= job.rows; i += kLaneRows) RunLaneRows<kLaneRows>(job, i);
  if constexpr (kLaneRows == 4) {
    if (job.rows - i == 3) RunLaneRows<3>(job, i);
  }
  if (job.rows - i == 2) RunLaneRows<2>(job, i);
  if (job.rows - i == 1) RunLaneRows<1>(job, i);
}

// One by one.
template <int kRows>
void TransposeRows(const Real* from, std::int64_t from_stride, std::int64_t columns, Real* to,
                   std::int64_t to_stride) {
  for (std::int64_t k = 0; k < columns; ++k, to += to_stride) {
    HWY_UNROLL(4)
    for (int i = 0; i < kRows; ++i) to[i] = from[i * from_stride + k];
  }
}
void TransposeRest(const Real* from, std::int64_t from_stride, std::int64_t rows,
                   std::int64_t columns, Real* to, std::int64_t to_stride) {
  for (; rows >= 4; rows -= 4, from += 4 * from_stride, to += 4)
    TransposeRows<4>(from, from_stride, columns, to, to_stride);
  if (rows == 3) TransposeRows<3>(from, from_stride, columns, to, to_stride);
  if (rows == 2) TransposeRows<2>(from, from_stride, columns, to, to_stride);
  if (rows == 1) TransposeRows<1>(from, from_stride, columns, to, to_stride);
}

#if HWY_TARGET != HWY_SCALAR
// 4 columns of as many rows as there are lanes in d: a block of a vector, four lanes, holds four of
// the rows, and each block is transposed in itself.
template <class D>
void TransposeBlock(D d, const Real* from, std::int64_t from_stride, Real* to,
                    std::int64_t to_stride) {
  const auto rows = [&](int i) {
    const hn::FixedTag<Real, 4> d4;
    const auto low = hn::LoadU(d4, from + i * from_stride);
    if constexpr (hn::MaxLanes(D()) == 4) {
      return low;
    } else {
      return hn::Combine(d, hn::LoadU(d4, from + (i + 4) * from_stride), low);
    }
  };
  const hn::Repartition<std::uint64_t, D> d64;
  const auto pairs = [&](auto v) { return hn::BitCast(d64, v); };
  const auto r0 = rows(0), r1 = rows(1), r2 = rows(2), r3 = rows(3);
  const auto low01 = pairs(hn::InterleaveLower(d, r0, r1)),
             high01 = pairs(hn::InterleaveUpper(d, r0, r1)),
             low23 = pairs(hn::InterleaveLower(d, r2, r3)),
             high23 = pairs(hn::InterleaveUpper(d, r2, r3));
  const auto put = [&](int k, auto v) { hn::StoreU(hn::BitCast(d, v), d, to + k * to_stride); };
  put(0, hn::InterleaveLower(d64, low01, low23));
  put(1, hn::InterleaveUpper(d64, low01, low23));
  put(2, hn::InterleaveLower(d64, high01, high23));
  put(3, hn::InterleaveUpper(d64, high01, high23));
}
#endif

// to[k · to_stride + i] = from[i · from_stride + k]: blocks of 8 × 4 or 4 × 4 floats inside
// registers. Few rows at a time, so that the processor sees few streams and fetches ahead; at most
// 64 columns, so that what is written stays in the first-level cache.
void Transpose(const Real* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns,
               Real* to, std::int64_t to_stride) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (sizeof(Real) == 4) {
    constexpr std::int64_t kColumns = 64;
    const std::int64_t whole_columns = rows < 4 ? 0 : columns / 4 * 4;
    const hn::CappedTag<Real, 8> wide;
    const std::int64_t wide_rows = hn::Lanes(wide);
    const auto block = [&](auto d, std::int64_t i, std::int64_t k0, std::int64_t k1) {
      for (std::int64_t k = k0; k < k1; k += 4) {
        TransposeBlock(d, from + i * from_stride + k, from_stride, to + k * to_stride + i,
                       to_stride);
      }
    };
    for (std::int64_t k0 = 0; k0 < whole_columns; k0 += kColumns) {
      const std::int64_t k1 = std::min(k0 + kColumns, whole_columns);
      std::int64_t i = 0;
      for (; i + wide_rows <= rows; i += wide_rows) block(wide, i, k0, k1);
      // The last four rows may overlap those before.
      for (; i < rows; i += 4) block(hn::FixedTag<Real, 4>(), std::min(i, rows - 4), k0, k1);
    }
    TransposeRest(from + whole_columns, from_stride, rows, columns - whole_columns,
                  to + whole_columns * to_stride, to_stride);
    return;
  }
#endif
  TransposeRest(from, from_stride, rows, columns, to, to_stride);
}

// `count` panels of kRows rows. Where rows are neighbors in memory they are copied as a vector; the
// next k overwrites what it writes beyond them, as long as there are enough of them for a vector.
template <int kRows, bool kNeighbors>
void PackEqualPanels(const PanelSource& source, std::int64_t count, const Real* from,
                     Real* packed) {
  const std::int64_t row = kNeighbors ? 1 : source.row;
  const std::int64_t depth = source.channels * source.tap_count,
                     k_tap = source.taps_first ? source.channels : 1,
                     k_channel = source.taps_first ? 1 : source.tap_count;
  for (std::int64_t c = 0; c < source.channels; ++c) {
    for (std::int64_t p = 0; p < count; ++p) {
      const Real* in = from + c * source.channel + p * kRows * row;
      Real* panel = packed + p * depth * kRows;
      for (std::int64_t t = 0; t < source.tap_count; ++t) {
        const std::int64_t k = c * k_channel + t * k_tap;
        const Real* tap = in + source.taps[t];
        Real* out = panel + k * kRows;
        if constexpr (kNeighbors && kRows <= static_cast<int>(kLanes)) {
          if ((source.channels - c) * kRows >= static_cast<std::int64_t>(kLanes)) {
            hn::StoreU(hn::LoadU(D(), tap), D(), out);
            continue;
          }
        }
        HWY_UNROLL(8)
        for (int i = 0; i < kRows; ++i) out[i] = tap[i * row];
      }
    }
  }
}

template <bool kNeighbors, int... kRows>
constexpr auto PackTable(std::integer_sequence<int, kRows...>) {
  return std::array{&PackEqualPanels<kRows + 1, kNeighbors>...};
}

void PackPanels(const PanelSource& source, const PanelCut& cut, std::int64_t first,
                std::int64_t last, Real* packed) {
  const std::int64_t depth = source.channels * source.tap_count;
  bool run = source.channel == source.tap_count && !source.taps_first;
  for (std::int64_t t = 0; run && t < source.tap_count; ++t) run = source.taps[t] == t;
  if (run) {
    for (std::int64_t p = first; p < last; ++p) {
      const std::int64_t i = cut.begin(p), rows = cut.height(p);
      Transpose(source.from + i * source.row, source.row, rows, depth, packed + i * depth, rows);
    }
    return;
  }
  constexpr auto kRows = std::make_integer_sequence<int, kMaxRows>();
  constexpr auto kNeighbors = PackTable<true>(kRows), kApart = PackTable<false>(kRows);
  // Where the rows of a channel lie together, cache lines hold rows of several panels.
  const std::int64_t together = source.row < source.channel ? 8 : 1;
  for (std::int64_t p = first; p < last;) {
    const std::int64_t i = cut.begin(p), rows = cut.height(p);
    std::int64_t end = p + 1;
    while (end < last && end < p + together && cut.height(end) == rows) ++end;
    (source.row == 1 && source.tap_count == 1 ? kNeighbors
                                              : kApart)[static_cast<std::size_t>(rows - 1)](
        source, end - p, source.from + i * source.row, packed + i * depth);
    p = end;
  }
}

TileShape Shape() { return {static_cast<std::int64_t>(kLanes), kMaxRows}; }
std::int64_t ShapeVectors(std::int64_t rows) { return Vectors(static_cast<int>(rows)); }

}  // namespace tapestry::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tapestry::kernels {

HWY_EXPORT(RunTiles);
HWY_EXPORT(RunDots);
HWY_EXPORT(RunLanes);
HWY_EXPORT(PackPanels);
HWY_EXPORT(Transpose);
HWY_EXPORT(Shape);
HWY_EXPORT(ShapeVectors);

void run_tiles(const TileJob& job) { HWY_DYNAMIC_DISPATCH(RunTiles)(job); }
void run_dots(const DotJob& job) { HWY_DYNAMIC_DISPATCH(RunDots)(job); }
void run_lanes(const LaneJob& job) { HWY_DYNAMIC_DISPATCH(RunLanes)(job); }
void pack_panels(const PanelSource& source, const PanelCut& cut, std::int64_t first,
                 std::int64_t last, Real* packed) {
  HWY_DYNAMIC_DISPATCH(PackPanels)(source, cut, first, last, packed);
}
void transpose(const Real* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns,
               Real* to, std::int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(Transpose)(from, from_stride, rows, columns, to, to_stride);
}
TileShape tile_shape() { return HWY_DYNAMIC_DISPATCH(Shape)(); }
std::int64_t tile_vectors(std::int64_t rows) { return HWY_DYNAMIC_DISPATCH(ShapeVectors)(rows); }

}  // namespace tapestry::kernels
#endif
