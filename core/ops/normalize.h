// Normalization as one family: which elements share a mean and a variance is three integers, and so
// is which elements share a scale and a shift. The layers in layers/norm.h only choose them.
#ifndef TAPESTRY_CORE_OPS_NORMALIZE_H_
#define TAPESTRY_CORE_OPS_NORMALIZE_H_

#include <cstdint>

#include "core/tensor.h"

namespace tapestry {

/// Which elements of a tensor share one number.
///
/// View the contiguous tensor as [batch, outer, kept, inner]: the outer · inner elements with the
/// same batch and kept index form a set. As {outer, kept, inner}, with batch 1 unless stated:
///
///     statistics of   BatchNorm         {N, C, H·W}         Ioffe & Szegedy 2015
///                     LayerNorm         {1, N, C·H·W}       Ba et al. 2016
///                     InstanceNorm      {1, N·C, H·W}       Ulyanov et al. 2016
///                     GroupNorm         {1, N·G, C/G·H·W}   Wu & He 2018
///                     PixelNorm         {C, H·W, 1, N}      Karras et al. 2018
///     scales of       a channel         {N, C, H·W}
///                     sample, channel   {1, N·C, H·W}       conditional norms
///                     a row's elements  {rows, E, 1}        LayerNorm's normalized_shape
///                     each element      {1, N·C·H·W, 1}     SPADE
struct NormSet {
  std::int64_t outer = 0, kept = 0, inner = 0, batch = 1;
  /// Number of sets.
  std::int64_t sets() const { return batch * kept; }
  /// Elements in a set.
  std::int64_t count() const { return outer * inner; }
  std::int64_t size() const { return batch * outer * kept * inner; }
};

/// {N, C, rest}: a set for each channel. Needs rank ≥ 2; so do per_instance, per_group and
/// per_pixel.
NormSet per_channel(const Shape& shape);
/// {1, N·C, rest}: a set for each sample and channel.
NormSet per_instance(const Shape& shape);
/// {1, N·groups, rest}: a set for each sample and group of channels. Throws Error when groups does
/// not divide C.
NormSet per_group(const Shape& shape, std::int64_t groups);
/// {1, rows, E}: a set for each row, where a row is the last `axes` axes.
NormSet per_row(const Shape& shape, int axes);
/// {rows, E, 1}: a set for each position in a row.
NormSet per_position(const Shape& shape, int axes);
/// {C, rest, 1, N}: a set for each sample and pixel, over the channels.
NormSet per_pixel(const Shape& shape);

/// The statistics that were used, one for each set, shape [sets]; plain values, not differentiable.
struct NormStats {
  Tensor mean, variance;  // the biased variance, Σ(x − mean)²/M
};

/// A learned or computed scale γ and shift β. Their elements, in order, belong to the sets of
/// `set`; either may be undefined.
struct NormAffine {
  Tensor gamma = {}, beta = {};
  NormSet set = {};
};

struct NormalizeOptions {
  Real eps = Real(1e-5);       // added to the variance inside the root
  NormAffine affine = {};      // applied in the same pass
  NormStats* stats = nullptr;  // receives the statistics, for running averages
  bool allow_single = false;   // sets of one element, whose x̂ is 0: LayerNorm over one feature
  Real slope = 1;              // leaky_relu of the result in the same pass; 0: relu, 1: nothing
};

/// γ·(x − mean)/√(variance + eps) + β with the statistics of each set; differentiable to any order
/// in x, γ and β.
///
/// Mean and deviations are computed wider than Real, so a mean of 10⁴ or a scale of 10³⁰ costs no
/// accuracy. Gradient, with x̂ the normalized x, g = γ·upstream and ⟨·⟩ the mean over a set: (g −
/// ⟨g⟩ − x̂·⟨g·x̂⟩)/√(variance + eps). Throws Error when the sets do not cover x, when γ or β does
/// not have one element for each of its sets, and, unless allow_single, when a set has fewer than
/// two elements, because then x̂ = 0 whatever x is.
Tensor normalize(const Tensor& x, const NormSet& set, const NormalizeOptions& options = {});

/// γ·(x − mean)/√(variance + eps) + β with given statistics, one for each set, treated as
/// constants: BatchNorm in evaluation.
Tensor normalize_with(const Tensor& x, const NormSet& set, const NormStats& stats,
                      const NormalizeOptions& options = {});

/// γ·x/√(⟨x²⟩ + eps) + β: the scale without the centering. RMSNorm, Zhang & Sennrich 2019, with
/// per_row; sets of one element are accepted.
Tensor root_mean_square_normalize(const Tensor& x, const NormSet& set,
                                  const NormalizeOptions& options = {});

/// γ·y + β, each broadcast over y: (C) along axis 1, (N, C) along the first two, else y's rank by
/// NumPy's rule. Either may be undefined. Throws Error when a shape fits none of these.
Tensor modulate(const Tensor& y, const Tensor& gamma, const Tensor& beta);

}  // namespace tapestry

#endif  // TAPESTRY_CORE_OPS_NORMALIZE_H_
