// The three stages between images and images of a convolution by Winograd, for some vectors of
// tiles at a time: transformed inputs, products, results. Its weights are transformed elsewhere.
#ifndef TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_UNIT_H_
#define TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_UNIT_H_

#include <cstdint>
#include <vector>

#include "core/kernels/conv_winograd_plan.h"
#include "core/kernels/gemm_tile.h"
#include "core/memory.h"
#include "core/real.h"

namespace tapestry::kernels {

struct WinogradOperands {
  const Real* source;  // of the group in image 0
  const Real* bias;    // of its first channel, as is the result
  Real* result;
};

/// Transformed weights of output channels [first, last): [xi][pass][output channel][k], k =
/// (filter, input channel).
struct ChannelWeights {
  const Real* data;
  std::int64_t first, last;
};

/// A window of a plane, and the row of a unit's inputs that its channel 0 is transformed to.
struct WindowRead {
  std::int64_t plane, dy, dx, k;
};

/// Scratch space for some vectors of tiles, and their way from source to result. Each stage is cut
/// into independent parts: where units run on different threads, nested parallel_for's run inline.
class WinogradUnit {
 public:
  WinogradUnit(const WinogradPlan& plan, const std::vector<WindowRead>& reads,
               const std::vector<std::int64_t>& first, const WinogradOperands& operands,
               std::int64_t slots, std::int64_t channels);

  /// Transforms the inputs of vectors [begin, end) of all blocks.
  void load(std::int64_t begin, std::int64_t end);
  /// Their results for some output channels.
  void multiply_and_store(const ChannelWeights& weights);

 private:
  /// The vectors of a unit that belong to one block: they are [at, at + count) of the unit and lie
  /// in rows of tiles [row0, row1).
  struct Segment {
    std::int64_t block, at, count;
    const std::int64_t* first;  // tile of each vector
    std::int64_t row0, row1;
  };

  // Where the transformed inputs of vector s go, for k = 0.
  std::int64_t input_at(std::int64_t s) const {
    return s / plan_.vectors * plan_.depth * plan_.columns + s % plan_.vectors * lanes_;
  }
  Real bias(std::int64_t o) const { return operands_.bias == nullptr ? 0 : operands_.bias[o]; }

  void load_tiles(const Segment& segment, const std::vector<WindowRead>& near, std::int64_t c0,
                  std::int64_t c1);
  void load_images(const Segment& segment, std::int64_t c0, std::int64_t c1);
  void multiply(const ChannelWeights& weights, std::int64_t xi, const View& view);
  /// The products of an output channel of a pass.
  const Real* products(std::size_t p, std::int64_t o) {
    return products_.data() +
           (static_cast<std::int64_t>(p) * (last_channel_ - first_channel_) + o - first_channel_) *
               product_row_;
  }
  void store_tiles(const Segment& segment, std::size_t p, bool joined, std::int64_t o0,
                   std::int64_t o1);
  void store_images(const Segment& segment, std::int64_t o0, std::int64_t o1);

  const WinogradPlan& plan_;
  const Stencil& st_;
  const std::vector<WindowRead>& reads_;
  const std::vector<std::int64_t>& first_;
  const WinogradOperands& operands_;
  const std::int64_t lanes_, m_, n_, pitch_;
  const std::int64_t input_stride_, product_row_, product_stride_;
  Scratch<Real> inputs_, products_;              // [xi][…]
  Scratch<std::int32_t> offsets_;                // of k in inputs_
  std::vector<std::vector<WindowRead>> groups_;  // of windows that fit the same dealt planes
  std::vector<Slot> product_slots_;
  std::vector<Segment> segments_;
  std::int64_t count_ = 0;
  std::int64_t first_channel_ = 0, last_channel_ = 0;  // of the products
};

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_WINOGRAD_UNIT_H_
