// The linear maps around Winograd's products, many tiles at a time.
#ifndef TAPESTRY_CORE_KERNELS_CONV_TRANSFORM_H_
#define TAPESTRY_CORE_KERNELS_CONV_TRANSFORM_H_

#include <array>
#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

// Note [Winograd]
// ~~~~~~~~~~~~~~~
// A filter of r taps over m outputs is a product of polynomials, and can be had from n = m + r − 1
// products instead of m · r: evaluate both at n points, multiply, interpolate. In two dimensions,
// with the transposed form for correlation:
//
//     y = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ x B) ] A,      x: n × n pixels, w: r × r taps, y: m × m pixels
//
// and summed over channels the ⊙ becomes n² independent matrix products. Products per output pixel,
// against r²:
//
//     F(2, 2)   9 / 4 = 2.25 against 4      F(4, 2)  25 / 16 = 1.56 against 4
//     F(2, 3)  16 / 4 = 4    against 9      F(4, 3)  36 / 16 = 2.25 against 9
//     F(4, 4)  49 / 16 = 3.06 against 16    F(4, 5)  64 / 16 = 4    against 25
//
// Tiles of 4 × 4 pixels need the fewest products, those of 2 × 2 the fewest transformed weights:
// they serve many channels with few pixels.
//
// The gradient of w is the transposed map, w' = Gᵀ [ Σ (A g Aᵀ) ⊙ (Bᵀ x B) ] G, with the same
// number of products.
//
// With points q the rows of Bᵀ are the coefficients of Π(t − p) over the other points p, those of A
// the powers of q, those of G too, over Π(q − p).
//
// Errors. Sums of products cancel in Aᵀ, so what is rounded is larger than the result by about the
// row sums of |Aᵀ|, |G| and |Bᵀ|. Small points, and each with its negative, keep these small. For
// random numbers, C channels and any target,
//
//     |error| ≤ 64 · 2⁻²⁴ · √C · kH · kW · max|x| · max|w|
//
// (largest seen: 55, for F(4, 2); 40 for F(4, 4), 31 for F(4, 5), 13 for F(4, 3), 6 for the
// others); its root mean square is 2 to 10 times that of plain sums, whose bound 2·√K·2⁻²⁴·Σ|a·b|
// it also meets from about 16 channels up. For the weights' gradient the number of tiles takes the
// place of C and m · m that of kH · kW, with 128 in place of 64 (largest seen: 89 for F(4, 5), 52
// for F(4, 4), 17 for the others). Numbers that do not cancel, such as those with a large mean,
// have errors that add up: C in place of √C.
//
// Other kernels are cut into windows of r × r taps, the last ones filled up with zeros, which count
// as taps above: 7 × 7 into four of 4 × 4, 12.25 products per pixel against 49. So is what a stride
// leaves: 3 × 3 with stride 2 sees its four planes with 2 × 2, 2 × 1, 1 × 2 and 1 tap, 6.25
// products against 9.
enum class Scheme { k2x2, k4x2, k2x3, k4x3, k4x4, k4x5 };
inline constexpr std::array kSchemes = {Scheme::k2x2, Scheme::k4x2, Scheme::k2x3,
                                        Scheme::k4x3, Scheme::k4x4, Scheme::k4x5};

struct SchemeSize {
  std::int64_t m, r, n;
};
SchemeSize scheme_size(Scheme scheme);

/// Where a vector of tiles reads its first lane, and where it writes.
struct TileVector {
  std::int64_t in, out;
};

/// to[out + xi · xi_stride + lane] = (Bᵀ x B)[xi] for each vector of tiles, x[r][c] = from[in +
/// offsets[r · n + c] + lane].
void transform_input(Scheme scheme, const Real* from, const std::int32_t* offsets,
                     const TileVector* tiles, std::int64_t count, Real* to, std::int64_t xi_stride);

/// to[out + xi · xi_stride + lane] = (G w Gᵀ)[xi], w[r][c] = from[in + offsets[r · size + c] +
/// lane].
void transform_weight(Scheme scheme, const Real* from, const std::int32_t* offsets,
                      const TileVector* tiles, std::int64_t count, Real* to,
                      std::int64_t xi_stride);

/// to[out + offsets[r · m + c] + lane] = (Aᵀ p A)[r][c] + bias, p[xi] = from[in + xi · xi_stride +
/// lane]; pixels with a negative offset are dropped.
void transform_output(Scheme scheme, const Real* from, std::int64_t xi_stride,
                      const TileVector* tiles, std::int64_t count, Real bias,
                      const std::int32_t* offsets, Real* to);

/// to[out + xi · xi_stride + lane] = (A g Aᵀ)[xi], g[r][c] = from[in + offsets[r · m + c] + lane].
void transform_gradient(Scheme scheme, const Real* from, const std::int32_t* offsets,
                        const TileVector* tiles, std::int64_t count, Real* to,
                        std::int64_t xi_stride);

/// to[out + offsets[r · size + c] + lane] = (Gᵀ p G)[r][c], p[xi] = from[in + xi · xi_stride +
/// lane].
void transform_weight_gradient(Scheme scheme, const Real* from, std::int64_t xi_stride,
                               const TileVector* tiles, std::int64_t count,
                               const std::int32_t* offsets, Real* to);

/// As transform_output(), for lanes that are neighboring tiles of a row of the result: writes rows
/// < `rows` of m · lanes numbers, row_stride apart, from to + out on.
void transform_output_row(Scheme scheme, const Real* from, std::int64_t xi_stride,
                          const TileVector* tiles, std::int64_t count, Real bias, std::int64_t rows,
                          Real* to, std::int64_t row_stride);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_TRANSFORM_H_
