// How pixels are laid out for convolution: windows with padding, planes by remainder, and the
// linear maps around Winograd's products, many tiles at a time.
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

/// From one of the n² matrices to the next: an odd number of cache lines, or all n² would fall into
/// the same few sets of the first-level cache, which repeat every 4096 bytes.
constexpr std::int64_t spread(std::int64_t numbers) {
  constexpr std::int64_t kLine = 64 / sizeof(Real);
  return ((numbers + kLine - 1) / kLine | 1) * kLine;
}

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

/// A part of an image with its padding: to[i · columns + j] = pixel (y0 + i · step_h, x0 + j ·
/// step_w), or 0 outside the image.
struct Window {
  std::int64_t height, width;  // of the image
  std::int64_t y0, x0, step_h, step_w;
  std::int64_t rows, columns;
  std::int64_t ahead = 0;  // from image to the one that is copied next, which is fetched early
};
void copy_window(const Window& window, const Real* image, Real* to);

/// to[2 · i] = even[i], to[2 · i + 1] = odd[i] for i < count.
void interleave(const Real* even, const Real* odd, std::int64_t count, Real* to);

/// to[i · step] = from[i] for i < count; what lies between stays.
void put(const Real* from, std::int64_t count, std::int64_t step, Real* to);

/// How the rows and columns of an image are dealt out over m × m planes by their remainder mod m:
/// plane (p, q) holds at (i, j) pixel (y0 + (i · m + p) · step_h, x0 + (j · m + q) · step_w), or 0
/// outside the image.
struct Deal {
  std::int64_t height, width;  // of the image
  std::int64_t y0, x0, step_h, step_w;
  std::int64_t m, rows, columns;  // rows and columns of a plane
  std::int64_t last;              // only planes p < last need the last row
  std::int64_t stride;            // numbers from one plane to the next
  std::int64_t ahead;             // as in Window
};
/// `window` is scratch space for the rows · m · columns · m pixels and m vectors. A vector beyond the
/// end of each plane may be overwritten. m is 2 or 4.
void deal(const Deal& job, const Real* image, Real* window, Real* planes);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_TRANSFORM_H_
