// Normalization kernels: one family for batch, layer, instance and group normalization, with and
// without centering. Statistics are kept in double precision. The kernels use threads by
// themselves; how work is cut depends on the sizes only, so results do not depend on the number of
// threads.
#ifndef TAPESTRY_CORE_KERNELS_NORMALIZE_H_
#define TAPESTRY_CORE_KERNELS_NORMALIZE_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// The array as [batch, outer, kept, inner]. Elements with the same first and third index form a
/// set of outer · inner elements with one mean and one variance; there are batch · kept sets, in
/// this order.
struct NormView {
  std::int64_t outer, kept, inner, batch = 1;
  std::int64_t sets() const { return batch * kept; }
  std::int64_t count() const { return outer * inner; }
  std::int64_t size() const { return batch * outer * kept * inner; }
};

/// Scale, shift and slope: z = γ·x̂ + β, where the element at position i has γ[i / inner mod kept]
/// and β likewise (nullptr means 1 and 0), and then slope·z where z ≤ 0: a leaky ReLU, with 0 a
/// ReLU, with 1 nothing.
struct AffineView {
  const Real* gamma = nullptr;
  const Real* beta = nullptr;
  std::int64_t kept = 1, inner = 1;
  Real slope = 1;
};

/// Statistics of each set: mean (0 without centering) and 1/√(variance + eps).
struct NormMoments {
  double* mean;
  double* rstd;
};

/// Whether the kernels below can apply this scale and shift: runs of equal γ must not straddle runs
/// of equal statistics.
bool norm_fuses(const NormView& view, const AffineView& affine);

/// y = γ·(x − mean)/√(variance + eps) + β, bent by the slope. Fills `moments` and `variance`:
/// biased, in one pass of sums about a number of the set; where that would lose accuracy, in two,
/// the second corrected by its own mean. Not centered: mean = 0 and variance = ⟨x²⟩.
void norm_forward(const Real* x, Real* y, const NormView& view, const AffineView& affine,
                  double eps, bool centered, const NormMoments& moments, double* variance);

/// The same with given moments.
void norm_apply(const Real* x, Real* y, const NormView& view, const AffineView& affine,
                const NormMoments& moments);

/// What norm_backward computes with the statistics: through mean and variance, through ⟨x²⟩ only,
/// or they are constants.
enum class NormKind { kCentered, kUncentered, kFixed };

/// With x̂ = (x − mean)·rstd and h = γ·g, where g has been multiplied by the slope in the places
/// where norm_forward or norm_apply with these moments has: dx = rstd·(h − ⟨h⟩ − x̂·⟨h·x̂⟩), without
/// ⟨h⟩ when not centered, and without both when fixed; dγ = Σ g·x̂ and dβ = Σ g over the elements of
/// each. dx, dgamma and dbeta may be nullptr; dx may be x where γ goes along with each run and
/// neither dγ nor dβ is asked for.
void norm_backward(const Real* g, const Real* x, Real* dx, const NormView& view,
                   const AffineView& affine, const NormMoments& moments, NormKind kind,
                   Real* dgamma, Real* dbeta);

/// Whether norm_second can do this view.
bool norm_second_fuses(const NormView& view);

/// The gradient of the gradient: with q(h) = rstd·(h − ⟨h⟩ − x̂·⟨h·x̂⟩), which is what norm_backward
/// makes of h, that of Σ v·q(h) with respect to x. With a = ⟨h·x̂⟩ and b = ⟨v·x̂⟩: dx =
/// −rstd²·(x̂·(⟨v·h⟩ − ⟨v⟩·⟨h⟩ − 3·a·b) + b·(h − ⟨h⟩) + a·(v − ⟨v⟩)), without ⟨h⟩ and ⟨v⟩ when not
/// centered. (With respect to h it is q(v): the matrix of q is symmetric.)
void norm_second(const Real* v, const Real* h, const Real* x, Real* dx, const NormView& view,
                 const NormMoments& moments, NormKind kind);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_NORMALIZE_H_
