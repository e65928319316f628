#include "core/kernels/gemm.h"

#include <algorithm>
#include <cstring>

#include "core/kernels/ceil_div.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/parallel.h"

namespace tapestry::kernels {
namespace {

// Note [Blocking]
// ~~~~~~~~~~~~~~~
// After K. Goto and R. van de Geijn (2008). A tile of C needs a panel of A (rows × depth) and some
// columns of B (depth × columns).
// - kDepth: 384 × 16 columns × 4 bytes = 24 KB of B stay in a 32 KB first-level cache while all
// panels of A go by; deeper blocks
//   would push it out, shallower ones load and store C more often (12 loads and stores for 12 · 384
//   multiply-adds here). It also bounds the rounding error: sums run over one block in a register,
//   then block by block.
// - kPanelBytes: the panels of A that are used in turn, 224 KB, leave room in a 512 KB second-level
// cache.
// - kColumns: packed B is at most 384 × 4096 × 4 bytes = 6 MB, a part of the third-level cache.
// If B is stored by rows, the first panel of A reads it where it lies and leaves a copy for the
// others: two stores beside twelve multiply-adds, hidden behind them. When all panels of A are used
// in turn nobody else needs a copied or packed panel of B, and one is there at a time.
constexpr std::int64_t kDepth = 384 * 4 / sizeof(Real);
constexpr std::int64_t kPanelBytes = 224 << 10;
constexpr std::int64_t kColumns = 4096 * 4 / sizeof(Real);

// A chunk of work takes at least this many multiply-adds, about 10 µs on one core: waking a thread
// costs 1-5 µs.
constexpr std::int64_t kChunkWork = 500'000;

void fill(const GemmShape& s, Real* c) {
  if (s.accumulate) return;
  for (std::int64_t i = 0; i < s.m; ++i) {
    for (std::int64_t j = 0; j < s.n; ++j) {
      c[i * s.ldc + j] = (s.row_bias != nullptr ? s.row_bias[i] : 0) +
                         (s.column_bias != nullptr ? s.column_bias[j] : 0);
    }
  }
}

/// Few rows of A against B stored by columns (or the mirror image): both lie along k, so vectors
/// run along k and nothing is packed. `flip`: the roles of A and B are exchanged.
void few_rows(const GemmShape& s, const Real* a, const Real* b, Real* c, bool flip) {
  DotJob job{s.m,   s.n, s.k,          a,          s.lda,        b, s.ldb, c,
             s.ldc, 1,   s.accumulate, s.row_bias, s.column_bias};
  if (flip) {
    job = {s.n, s.m, s.k, b, s.ldb, a, s.lda, c, 1, s.ldc, s.accumulate, s.column_bias, s.row_bias};
  }
  const std::int64_t grain = std::max<std::int64_t>(kChunkWork / (job.rows * s.k) / 4 * 4, 4);
  parallel_for(job.columns, grain, [&](std::int64_t begin, std::int64_t end) {
    DotJob part = job;
    part.columns = end - begin;
    part.b += begin * part.b_stride;
    part.c += begin * part.c_column;
    if (part.column_bias != nullptr) part.column_bias += begin;
    run_dots(part);
  });
}

/// The general case: C = A·B block by block, A and B packed where that pays, for several B and C
/// with the same A. C(i, j) is c[i · ldc + j · c_column].
class Blocks {
 public:
  Blocks(const GemmShape& shape, std::span<const GemmOperands> items, std::int64_t c_column)
      : s_(shape),
        items_(items),
        a_(items.front().a),
        b_(items.front().b),
        c_(items.front().c),
        c_column_(c_column),
        tile_(tile_shape()),
        cut_(s_.m, tile_.max_rows),
        width_(tile_vectors(cut_.max_height())),
        columns_(width_ * tile_.lanes),
        item_slots_(ceil_div(s_.n, tile_.lanes)),
        all_columns_(s_.n * static_cast<std::int64_t>(items.size())),
        // Packing A costs about one cycle per number, using it n / 16 cycles.
        pack_a_(all_columns_ > 8 * columns_) {}

  void run() {
    const std::int64_t blocks = ceil_div(s_.k, kDepth);
    depth_ = ceil_div(s_.k, blocks);
    const std::int64_t all_slots = item_slots_ * static_cast<std::int64_t>(items_.size()),
                       most_slots = std::min(all_slots, kColumns / tile_.lanes);
    Scratch<Real> packed_a(pack_a_ ? s_.m * depth_ : 1);
    const std::int64_t panel_bytes =
        cut_.max_height() * depth_ * static_cast<std::int64_t>(sizeof(Real));
    blocks_a_ =
        ceil_div(cut_.count, std::clamp<std::int64_t>(kPanelBytes / panel_bytes, 1, cut_.count));
    b_is_ = choose_b();
    shared_ = b_is_ != B::kInPlace && blocks_a_ > 1;
    Scratch<Real> packed_b(shared_ ? ceil_div(most_slots, width_) * columns_ * depth_ : 1);
    Scratch<std::int32_t> tables(depth_ + 2 * tile_.lanes);
    Scratch<Slot> slots(most_slots);
    packed_a_ = packed_a.data();
    packed_b_ = packed_b.data();
    slots_ = slots.data();
    b_offsets_ = tables.data();
    lanes_ = b_offsets_ + depth_;
    for (std::int64_t k = 0; k < depth_; ++k) b_offsets_[k] = static_cast<std::int32_t>(k * s_.ldb);
    for (std::int64_t slot0 = 0; slot0 < all_slots; slot0 += most_slots) {
      const std::int64_t count = std::min(most_slots, all_slots - slot0);
      place_slots(slot0, count);
      for (std::int64_t k0 = 0; k0 < s_.k; k0 += depth_)
        block({slot0, count, k0, std::min(depth_, s_.k - k0)});
    }
  }

 private:
  enum class B {
    kInPlace,  // read where it lies
    kCopied,   // so by the first panel of A, which leaves a copy
    kPacked    // packed beforehand
  };

  B choose_b() const {
    const bool rows =
        !s_.transpose_b && s_.n >= tile_.lanes && s_.ldb <= (std::int64_t{1} << 31) / kDepth;
    // Unpacked rows of B are far apart: each touches its own page. With few uses, or with all of B
    // in cache, that is cheaper than a copy.
    const bool small = s_.m <= 4 * tile_.max_rows ||
                       s_.k * all_columns_ * static_cast<std::int64_t>(sizeof(Real)) <= (64 << 10);
    if (rows && small) return B::kInPlace;
    // Who waits for the first block of A to leave its copies should not wait for a single thread.
    return rows && (blocks_a_ == 1 || all_columns_ >= 4 * columns_) ? B::kCopied : B::kPacked;
  }

  // One slot for each vector of columns. The last of an item may be cut short; packed B is padded
  // with zeros there, and unpacked B is read further left instead, so that nothing beyond the
  // matrix is touched.
  void place_slots(std::int64_t slot0, std::int64_t count) {
    const std::int64_t rest = s_.n % tile_.lanes,
                       shift = rest == 0 || b_is_ == B::kPacked ? 0 : tile_.lanes - rest;
    std::int32_t* cut_lanes = lanes_ + tile_.lanes;
    for (std::int64_t l = 0; l < tile_.lanes; ++l) {
      const std::int64_t column = l - shift;
      lanes_[l] = static_cast<std::int32_t>(l * c_column_);
      cut_lanes[l] = static_cast<std::int32_t>(column < rest ? column * c_column_ : -1);
    }
    for (std::int64_t s = 0; s < count; ++s) {
      const GemmOperands& item = items_[static_cast<std::size_t>((slot0 + s) / item_slots_)];
      const std::int64_t j = column_of(slot0 + s);
      const bool cut = j + tile_.lanes > s_.n;
      slots_[s] = {item.b - b_ + j - (cut ? shift : 0), item.c - c_ + j * c_column_,
                   cut              ? cut_lanes
                   : c_column_ == 1 ? nullptr
                                    : lanes_};
    }
  }
  std::int64_t column_of(std::int64_t slot) const { return slot % item_slots_ * tile_.lanes; }

  /// Vectors of columns [slot0, slot0 + slots) of C and the terms [k0, k0 + depth) of its sums.
  struct Part {
    std::int64_t slot0, slots, k0, depth;
  };

  void block(const Part& part) {
    pack(part);
    if (b_is_ == B::kCopied && shared_) {
      run_units(part, 0, 1, false);
      run_units(part, 1, blocks_a_, true);
    } else {
      run_units(part, 0, blocks_a_, b_is_ == B::kPacked);
    }
  }

  /// Units of work: some panels of A (as many as fit the second-level cache) by some panels of B.
  void run_units(const Part& part, std::int64_t first_block, std::int64_t last_block, bool copied) {
    const std::int64_t panels_b = ceil_div(part.slots, width_),
                       panels_a = ceil_div(cut_.count, blocks_a_),
                       blocks = last_block - first_block;
    const std::int64_t work = columns_ * part.depth * std::min(s_.m, panels_a * cut_.max_height());
    const std::int64_t share =
        std::clamp<std::int64_t>(ceil_div(panels_b * blocks, 16), ceil_div(kChunkWork, work),
                                 std::max<std::int64_t>(panels_b, ceil_div(kChunkWork, work)));
    const std::int64_t blocks_b = ceil_div(panels_b, share);
    parallel_for(blocks * blocks_b, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t unit = begin; unit < end; ++unit) {
        const std::int64_t pa = (first_block + unit / blocks_b) * panels_a,
                           pb = unit % blocks_b * share;
        TileJob job;
        job.rows = s_.m;
        job.depth = part.depth;
        job.a = pack_a_ ? packed_a_ : a_ + (s_.transpose_a ? part.k0 * s_.lda : part.k0);
        job.a_stride = pack_a_ || s_.transpose_a ? 0 : s_.lda;
        job.a_step = pack_a_ || !s_.transpose_a ? 0 : s_.lda;
        job.b = b_ + part.k0 * s_.ldb;
        job.offsets = b_offsets_;
        job.slots = slots_ + pb * width_;
        job.slot_count = std::min(part.slots - pb * width_, share * width_);
        job.c = c_;
        job.c_stride = s_.ldc;
        job.accumulate = s_.accumulate || part.k0 > 0;
        job.row_bias = s_.row_bias;
        job.column_bias = s_.column_bias;
        job.first_panel = pa;
        job.last_panel = std::min(cut_.count, pa + panels_a);
        job.copied = copied;
        if (b_is_ == B::kInPlace) {
          run_tiles(job);
        } else if (shared_) {
          job.copy = packed_b_ + pb * columns_ * depth_;
          job.copy_stride = columns_ * depth_;
          run_tiles(job);
        } else {
          Scratch<Real> panel(columns_ * depth_);
          job.copy = panel.data();
          b_is_ == B::kCopied ? run_tiles(job) : pack_and_run(job, part, pb);
        }
      }
    });
  }

  /// Some panels of B after the others, the first `panel`.
  void pack_and_run(TileJob job, const Part& part, std::int64_t panel) const {
    for (std::int64_t left = job.slot_count; left > 0; left -= width_, ++panel) {
      job.slot_count = std::min(left, width_);
      pack_columns(panel, part, job.copy);
      run_tiles(job);
      job.slots += job.slot_count;
    }
  }

  void pack(const Part& part) {
    const std::int64_t a_items = pack_a_ ? cut_.count : 0,
                       b_items = b_is_ == B::kPacked && shared_ ? ceil_div(part.slots, width_) : 0;
    const std::int64_t row = std::max(pack_a_ ? cut_.max_height() : 0, b_items > 0 ? columns_ : 0);
    const std::int64_t grain =  // numbers in a chunk: ≥ 5 µs
        ceil_div(20'000, std::max<std::int64_t>(row * part.depth, 1));
    parallel_for(a_items + b_items, grain, [&](std::int64_t begin, std::int64_t end) {
      if (begin < a_items) {
        const Real* from = a_ + (s_.transpose_a ? part.k0 * s_.lda : part.k0);
        const std::int32_t tap = 0;
        const PanelSource source{
            from, s_.transpose_a ? 1 : s_.lda, s_.transpose_a ? s_.lda : 1, part.depth, &tap, 1};
        pack_panels(source, cut_, begin, std::min(end, a_items), packed_a_);
      }
      for (std::int64_t p = std::max(begin, a_items) - a_items; p < end - a_items; ++p)
        pack_columns(p, part, packed_b_ + p * columns_ * depth_);
    });
  }

  /// One panel: to[k · step + j] = B(k0 + k, column j of the panel), zero beyond the last column of
  /// an item; `step` numbers are as many vectors as there are.
  void pack_columns(std::int64_t panel, const Part& part, Real* to) const {
    const std::int64_t first = panel * width_, last = std::min(first + width_, part.slots),
                       step = (last - first) * tile_.lanes;
    for (std::int64_t s = first, slots = 0; s < last; s += slots, to += slots * tile_.lanes) {
      const std::int64_t slot = part.slot0 + s, j = column_of(slot);
      slots = std::min(last - s, item_slots_ - slot % item_slots_);  // of the same item
      const std::int64_t count = std::min(slots * tile_.lanes, s_.n - j);
      const Real* from = items_[static_cast<std::size_t>(slot / item_slots_)].b;
      for (std::int64_t k = 0; count < slots * tile_.lanes && k < part.depth; ++k)
        std::fill_n(to + k * step + count, slots * tile_.lanes - count, Real(0));
      if (s_.transpose_b) {
        transpose(from + j * s_.ldb + part.k0, s_.ldb, count, part.depth, to, step);
      } else {
        for (std::int64_t k = 0; k < part.depth; ++k)
          std::copy_n(from + (part.k0 + k) * s_.ldb + j, count, to + k * step);
      }
    }
  }

  const GemmShape& s_;
  const std::span<const GemmOperands> items_;
  const Real* a_;
  const Real* b_;
  Real* c_;
  const std::int64_t c_column_;
  const TileShape tile_;
  const PanelCut cut_;
  const std::int64_t width_, columns_;  // of a panel of B: vectors, numbers
  const std::int64_t item_slots_, all_columns_;
  const bool pack_a_;
  std::int64_t depth_ = 0, blocks_a_ = 1;
  B b_is_ = B::kInPlace;
  bool shared_ = false;  // copied or packed B is kept for several units of work
  Real* packed_a_ = nullptr;
  Real* packed_b_ = nullptr;
  Slot* slots_ = nullptr;
  std::int32_t* b_offsets_ = nullptr;
  std::int32_t* lanes_ = nullptr;
};

/// Vectors along k need no packing, but end with a sum over lanes: for few rows and deep sums.
bool is_few(std::int64_t rows, std::int64_t k) { return rows <= (k < 128 ? 6 : 12) && k >= 16; }

GemmShape complete(GemmShape s) {
  if (s.lda == 0) s.lda = s.transpose_a ? s.m : s.k;
  if (s.ldb == 0) s.ldb = s.transpose_b ? s.k : s.n;
  if (s.ldc == 0) s.ldc = s.n;
  // A column of contiguous numbers is its own transpose.
  if (s.n == 1 && !s.transpose_b && s.ldb == 1) s.transpose_b = true, s.ldb = s.k;
  if (s.m == 1 && s.transpose_a && s.lda == 1) s.transpose_a = false, s.lda = s.k;
  return s;
}

}  // namespace

void gemm(const GemmShape& shape, const Real* a, const Real* b, Real* c) {
  GemmShape s = complete(shape);
  if (s.m == 0 || s.n == 0) return;
  if (s.k == 0) return fill(s, c);
  if (!s.transpose_a && s.transpose_b && is_few(std::min(s.m, s.n), s.k)) {
    return few_rows(s, a, b, c, s.n < s.m);
  }
  // The few rows or columns are turned around if they are not yet stored along k.
  if (!s.transpose_a && s.m > 8 && s.n <= 6 && s.k >= 16) {
    Scratch<Real> columns(s.n * s.k);
    transpose(b, s.ldb, s.k, s.n, columns.data(), s.k);
    s.ldb = s.k;
    return few_rows(s, a, columns.data(), c, true);
  }
  if (s.transpose_b && s.n > 8 && is_few(s.m, s.k)) {
    Scratch<Real> rows(s.m * s.k);
    transpose(a, s.lda, s.k, s.m, rows.data(), s.k);
    s.lda = s.k;
    return few_rows(s, rows.data(), b, c, false);
  }
  if (s.n < tile_shape().lanes && s.n < s.m) {
    // Cᵀ = Bᵀ·Aᵀ: vectors run along the longer side.
    fill(s, c);
    const GemmShape mirror{.m = s.n,
                           .n = s.m,
                           .k = s.k,
                           .transpose_a = !s.transpose_b,
                           .transpose_b = !s.transpose_a,
                           .lda = s.ldb,
                           .ldb = s.lda,
                           .ldc = 1,
                           .accumulate = true};
    const GemmOperands operands{b, a, c};
    return Blocks(mirror, {&operands, 1}, s.ldc).run();
  }
  const GemmOperands operands{a, b, c};
  Blocks(s, {&operands, 1}, 1).run();
}

void gemm_batched(const GemmShape& shape, std::span<const GemmOperands> batch) {
  const GemmShape s = complete(shape);
  // The same A for all is packed once, and used for the columns of all.
  const bool shared = std::all_of(batch.begin(), batch.end(), [&](const GemmOperands& item) {
    return item.a == batch.front().a;
  });
  if (shared && batch.size() > 1 && s.m > 12 && s.n > 12 && s.n >= tile_shape().lanes && s.k > 0 &&
      s.column_bias == nullptr) {
    return Blocks(s, batch, 1).run();
  }
  const std::int64_t work = std::max<std::int64_t>(shape.m * shape.n * shape.k, 1);
  // Small products: whole items per chunk. Large ones are split inside.
  if (work > 16 * kChunkWork) {
    for (const GemmOperands& item : batch) gemm(shape, item.a, item.b, item.c);
    return;
  }
  parallel_for(static_cast<std::int64_t>(batch.size()), ceil_div(kChunkWork, work),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t i = begin; i < end; ++i) {
                   const GemmOperands& item = batch[static_cast<std::size_t>(i)];
                   gemm(shape, item.a, item.b, item.c);
                 }
               });
}

}  // namespace tapestry::kernels
