// Picture files for tests: PNG and BMP written by hand, so that every kind and every fault can be
// made, and a few JPEGs.
#ifndef TAPESTRY_TESTS_SUPPORT_PICTURES_H_
#define TAPESTRY_TESTS_SUPPORT_PICTURES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace tapestry::testing {

/// A PNG chunk with its length and checksum.
std::string png_chunk(const std::string& type, const std::string& data);
std::string png_header(std::uint32_t width, std::uint32_t height, int depth, int color,
                       int interlaced = 0);
/// The signature and the chunks.
std::string png(const std::string& chunks);
/// IDAT with the bytes in a zlib stream without compression.
std::string png_data(const std::string& raw);

/// The value of a channel of a pixel, 0 … 2^depth − 1.
using Sample = std::function<int(int x, int y, int channel)>;
/// A whole PNG of color type 0, 2, 3, 4 or 6 with all rows unfiltered, or interlaced by Adam7.
/// `extra` goes between IHDR and IDAT.
std::string make_png(int width, int height, int depth, int color, const Sample& sample,
                     const std::string& extra = "", bool interlaced = false);

/// A BMP (Windows 3) of 1, 4, 8, 24 or 32 bits a pixel; `palette` is 4 bytes an entry: blue, green,
/// red, 0. Negative heights have the rows from top to bottom.
std::string make_bmp(int width, int height, int depth, const Sample& sample,
                     const std::string& palette = "");

/// The picture in the JPEGs below, 0 … 255: (40 + 8x, 30 + 9y, 200 − 5x − 4y).
int jpeg_sample(int x, int y, int channel);
/// By libjpeg-turbo at quality 90. 9 × 9, the red channel alone.
std::string grey_jpeg();
/// 19 × 17, color sampled at half the resolution.
std::string baseline_jpeg();
/// 12 × 10, progressive.
std::string progressive_jpeg();

/// Bytes from hexadecimal digits.
std::string from_hex(std::string_view digits);

}  // namespace tapestry::testing

#endif  // TAPESTRY_TESTS_SUPPORT_PICTURES_H_
