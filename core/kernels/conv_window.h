// How pixels are laid out for convolution: windows with padding, planes by remainder, and results
// back in their places.
#ifndef TAPESTRY_CORE_KERNELS_CONV_WINDOW_H_
#define TAPESTRY_CORE_KERNELS_CONV_WINDOW_H_

#include <cstdint>

#include "core/real.h"

namespace tapestry::kernels {

/// From one of many planes or matrices to the next: an odd number of cache lines, or they would
/// fall into the same few sets of the first-level cache, which repeat every 4096 bytes.
constexpr std::int64_t spread(std::int64_t numbers) {
  constexpr std::int64_t kLine = 64 / sizeof(Real);
  return ((numbers + kLine - 1) / kLine | 1) * kLine;
}

/// A part of an image with its padding: to[i · columns + j] = pixel (y0 + i · step_h, x0 + j ·
/// step_w), or 0 outside the image.
struct Window {
  std::int64_t height, width;  // of the image
  std::int64_t y0, x0, step_h, step_w;
  std::int64_t rows, columns;
  std::int64_t ahead = 0;  // from image to the one that is copied next, which is fetched early
};
/// The same of some images, image_step apart, to windows to_step apart.
void copy_windows(const Window& window, std::int64_t images, const Real* image,
                  std::int64_t image_step, Real* to, std::int64_t to_step);
inline void copy_window(const Window& window, const Real* image, Real* to) {
  copy_windows(window, 1, image, 0, to, 0);
}
/// The adjoint: pixel (y0 + i · step_h, x0 + j · step_w) += from[i · columns + j], if there is one.
void add_windows(const Window& window, std::int64_t images, const Real* from,
                 std::int64_t from_step, Real* image, std::int64_t image_step);

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
/// `window` is scratch space for the rows · m · columns · m pixels and m vectors. A vector beyond
/// the end of each plane may be overwritten. m is 2 or 4.
void deal(const Deal& job, const Real* image, Real* window, Real* planes);

}  // namespace tapestry::kernels

#endif  // TAPESTRY_CORE_KERNELS_CONV_WINDOW_H_
