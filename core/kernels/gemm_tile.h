// The inner loop of every matrix product and every convolution here: a small block ("tile") of the
// result is kept in registers while its whole inner dimension streams by. What differs between
// GEMM, convolution and their gradients is only where the numbers lie, and that is what a TileJob
// describes.
#ifndef TAPESTRY_CORE_KERNELS_GEMM_TILE_H_
#define TAPESTRY_CORE_KERNELS_GEMM_TILE_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// One vector's worth of columns of the result: where its first lane reads, and where its lanes are
/// to be written.
struct Slot {
  std::int64_t in;   // relative to TileJob::b
  std::int64_t out;  // relative to the start of a row of c
  const std::int32_t*
      lanes;  // nullptr: lane l goes to out + l; else to out + lanes[l], nowhere if lanes[l] < 0
};

/// A part of a sum: k0 ≤ k < k1.
struct Run {
  std::int64_t k0, k1;
};

/// c(i, out(s, l)) = start(i) + Σ_k a(i, k) · b[slots[s].in + offsets[k] + l]  for rows i, slots s,
/// lanes l, k < depth.
///
/// The sum runs in the order of k in one accumulator per element, whatever the tile shape: how work
/// is split never changes bits.
struct TileJob {
  std::int64_t rows = 0;   // rows of a and c, cut into panels by PanelCut
  std::int64_t depth = 0;  // K
  // Row panels: a(i, k) of a panel of r rows is panel[k · r + i], panels one after the other. With
  // a_stride != 0 instead a[i · a_stride + k], the matrix as it lies in memory.
  const Real* a = nullptr;
  std::int64_t a_stride = 0;
  std::int64_t a_step = 0;  // not 0: a(i, k) = a[k · a_step + i], the transposed matrix in memory
  const Real* b = nullptr;
  const std::int32_t* offsets = nullptr;  // depth entries
  // Not nullptr: of each tile, the first panel copies the b that it reads to here, vector by
  // vector, and the others read the copy. Room for as many vectors as a tile has, depth times.
  Real* copy = nullptr;
  std::int64_t copy_stride = 0;  // from the copy of one tile to that of the next
  bool copied = false;           // the copies are there, and b and offsets are not used
  const Run* runs = nullptr;  // the parts of [0, depth) to sum over, in order; nullptr = all of it
  std::int64_t run_count = 0;
  const Slot* slots = nullptr;
  std::int64_t slot_count = 0;
  Real* c = nullptr;
  std::int64_t c_stride = 0;
  bool accumulate = false;         // start = what c holds
  const Real* row_bias = nullptr;  // else start = row_bias[i]
  const Real* column_bias =
      nullptr;  // else start = column_bias[out + lane], only for slots without a lane table
  std::int64_t first_panel = 0, last_panel = -1;  // the panels to do, -1 = all
};

/// How many rows and vectors a tile has, so that accumulators and operands just fit the registers
/// of the target in use.
struct TileShape {
  std::int64_t lanes;     // numbers in a vector
  std::int64_t max_rows;  // rows of the largest tile
};
TileShape tile_shape();
/// Most vectors that a tile of `rows` rows can hold.
std::int64_t tile_vectors(std::int64_t rows);

/// Cuts rows into the fewest panels of nearly equal height, at most max_rows: 64 = 9 × 6 + 2 × 5,
/// so that no tile is left thin.
struct PanelCut {
  PanelCut(std::int64_t rows, std::int64_t max_rows)
      : count(rows == 0 ? 0 : (rows + max_rows - 1) / max_rows),
        low(count == 0 ? 0 : rows / count),
        tall(count == 0 ? 0 : rows % count) {}
  std::int64_t begin(std::int64_t panel) const {
    return panel * low + (panel < tall ? panel : tall);
  }
  std::int64_t height(std::int64_t panel) const { return low + (panel < tall ? 1 : 0); }
  std::int64_t max_height() const { return low + (tall > 0 ? 1 : 0); }
  std::int64_t count, low, tall;  // the first `tall` panels have low + 1 rows
};

void run_tiles(const TileJob& job);

/// Where the numbers of a(i, k) lie, k being (channel c, tap t): from[i · row + c · channel +
/// taps[t]], with k = c · tap_count + t, or if taps_first k = t · channels + c. A matrix has one
/// tap.
struct PanelSource {
  const Real* from;
  std::int64_t row, channel, channels;
  const std::int32_t* taps;
  std::int64_t tap_count;
  bool taps_first = false;
};
/// Packs rows [cut.begin(first), cut.begin(last)) into the panels of TileJob::a; `packed` is where
/// panel 0 begins.
void pack_panels(const PanelSource& source, const PanelCut& cut, std::int64_t first,
                 std::int64_t last, Real* packed);

/// to[k · to_stride + i] = from[i · from_stride + k] for i < rows, k < columns.
void transpose(const Real* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns,
               Real* to, std::int64_t to_stride);

/// y(i, j) = start + Σ_k a[i · a_stride + k] · b[j · b_stride + k], vectors running along k: for
/// few rows and many columns. start is c if accumulate, else row_bias[i] + column_bias[j], each 0
/// if null. y(i, j) is c[i · c_row + j · c_column].
struct DotJob {
  std::int64_t rows, columns, depth;
  const Real* a;
  std::int64_t a_stride;
  const Real* b;
  std::int64_t b_stride;
  Real* c;
  std::int64_t c_row, c_column;
  bool accumulate;
  const Real* row_bias;
  const Real* column_bias;
};
void run_dots(const DotJob& job);

/// sums[(i · columns + j) · lanes + l] += Σ_k a[i · a_stride + k] · b[offsets[j] + k] over k ≡ l
/// mod lanes, k < depth, a multiple of the number of lanes: products of rows with shifted copies of
/// few other rows. Lanes are added up by the caller, at the very end.
struct LaneJob {
  std::int64_t rows, columns, depth;
  const Real* a;
  std::int64_t a_stride;
  const Real* b;
  const std::int32_t* offsets;
  Real* sums;
};
void run_lanes(const LaneJob& job);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_GEMM_TILE_H_
