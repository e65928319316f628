// Pictures in and out, through one door. Reading is careful: whoever runs the program may have got
// the picture from anywhere.
#ifndef TAPESTRY_CORE_IMAGE_H_
#define TAPESTRY_CORE_IMAGE_H_

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "core/tensor.h"

namespace tapestry {

/// What a picture may cost. Claims in a file's header are checked against it before anything is
/// decoded.
struct ImageLimits {
  std::int64_t file_bytes = std::int64_t{64} << 20;
  std::int64_t side = 16384;  // pixels
  std::int64_t pixels = std::int64_t{64} << 20;
  std::int64_t memory = std::int64_t{512} << 20;  // bytes the decoder may take in all
};

/// A PNG, JPEG or BMP file as (channels, H, W) in [0, 1]; channels is 1 (grey) or 3 (RGB), or 0 for
/// as many as the file has color channels. Transparency is laid over white. Throws Error naming the
/// file and what is wrong with it: not a picture, another format, truncated, damaged, too large.
Tensor read_image(const std::filesystem::path& file, int channels = 3,
                  const ImageLimits& limits = {});
/// The same from bytes; `name` stands for the file in errors.
Tensor decode_image(std::string_view bytes, const std::string& name, int channels = 3,
                    const ImageLimits& limits = {});

/// A PNG of (H, W), (1, H, W) or (3, H, W) in [0, 1]; values outside are clipped, NaN is black. 8
/// bits a channel.
std::string encode_png(const Tensor& image);
/// Writes a PNG file atomically.
void write_image(const Tensor& image, const std::filesystem::path& file);

/// (N, C, H, W) → one picture (C, …) of tiles, row by row, `border` pixels of `background` between
/// them.
Tensor contact_sheet(const Tensor& images, std::int64_t columns, std::int64_t border = 1,
                     Real background = 1);
/// The inverse for borderless sheets: (1, rows·H, columns·W) → (count, 1, H, W).
Tensor cut_sheet(const Tensor& sheet, std::int64_t height, std::int64_t width, std::int64_t count);

/// Unpacks gzip data (one member) of known size. Throws Error when it is damaged, truncated, or
/// does not unpack to exactly `size` bytes. A size that so few bytes cannot unpack to is refused
/// before memory is taken.
std::string gunzip(std::string_view bytes, std::size_t size, const std::string& name);
/// The first `size` bytes of what it unpacks to (fewer when there are not so many, or when it is
/// damaged before): enough to see a header before memory is taken for the rest.
std::string gunzip_start(std::string_view bytes, std::size_t size, const std::string& name);
/// The size it claims to unpack to, modulo 4 GiB.
std::size_t gzip_claimed_size(std::string_view bytes, const std::string& name);

namespace detail {
/// Checks the structure of a picture before it meets the decoder; gives back the bytes to decode
/// where they differ. See image_scan.cc.
std::string scan_png(std::string_view bytes, const std::string& name);
std::string scan_bmp(std::string_view bytes, const std::string& name);
void scan_jpeg(std::string_view bytes, const std::string& name);
/// CRC-32 as in PNG and gzip.
std::uint32_t crc32(std::string_view bytes);
}  // namespace detail

}  // namespace tapestry

#endif  // TAPESTRY_CORE_IMAGE_H_
