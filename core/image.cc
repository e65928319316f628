#include "core/image.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace tapestry {
namespace {

// stb asks for memory through these: whatever a file claims, decoding one picture takes at most the
// budget.
thread_local std::int64_t budget = 0;

struct alignas(16) BlockHeader {
  std::size_t bytes;
};

// Zeroed: stb reads bytes it has not written when a hostile file copies from distance 0 or leaves
// out a component's scan, and pixels must not show what was in memory before.
void* budget_malloc(std::size_t bytes) {
  if (budget <= 0 || bytes > static_cast<std::size_t>(budget)) return nullptr;
  auto* header = static_cast<BlockHeader*>(std::calloc(1, sizeof(BlockHeader) + bytes));
  if (header == nullptr) return nullptr;
  header->bytes = bytes;
  budget -= static_cast<std::int64_t>(bytes);
  return header + 1;
}
void budget_free(void* block) {
  if (block == nullptr) return;
  BlockHeader* header = static_cast<BlockHeader*>(block) - 1;
  budget += static_cast<std::int64_t>(header->bytes);
  std::free(header);
}
void* budget_realloc(void* block, std::size_t bytes) {
  void* larger = budget_malloc(bytes);
  if (larger != nullptr && block != nullptr) {
    std::memcpy(larger, block, std::min(bytes, (static_cast<BlockHeader*>(block) - 1)->bytes));
    budget_free(block);
  }
  return larger;
}

}  // namespace
}  // namespace tapestry

#define STBI_MALLOC(bytes) tapestry::budget_malloc(bytes)
#define STBI_REALLOC(block, bytes) tapestry::budget_realloc(block, bytes)
#define STBI_FREE(block) tapestry::budget_free(block)
// What it asserts can be false for hostile files; all of it is checked by the scans or harmless,
// and a debug build must refuse a file instead of aborting.
#define STBI_ASSERT(condition) ((void)0)
#define STBI_MAX_DIMENSIONS 16384
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#include <stb_image.h>
#include <stb_image_write.h>
#pragma GCC diagnostic pop

namespace tapestry {
namespace {

bool starts_with(std::string_view bytes, std::string_view magic) {
  return bytes.substr(0, magic.size()) == magic;
}

Error not_a_picture(std::string_view bytes, const std::string& name) {
  const std::string_view kind = starts_with(bytes, "GIF8")                              ? "a GIF"
                                : starts_with(bytes, "RIFF") && bytes.find("WEBP") == 8 ? "a WebP"
                                : starts_with(bytes, "II*") || starts_with(bytes, "MM") ? "a TIFF"
                                : starts_with(bytes, "%PDF")                            ? "a PDF"
                                : bytes.empty()                                         ? "an empty"
                                                : "no picture";
  if (kind == "no picture") return Error(name, "is no PNG, JPEG or BMP file");
  return Error(name, "is {} file; PNG, JPEG and BMP can be read", kind)
      .hint("convert it to PNG first");
}

std::string_view failure_reason() {
  const char* reason = stbi_failure_reason();
  return reason == nullptr ? "it is damaged" : reason;
}

}  // namespace

Tensor read_image(const std::filesystem::path& file, int channels, const ImageLimits& limits) {
  return decode_image(read_file(file, static_cast<std::size_t>(limits.file_bytes)), path_text(file),
                      channels, limits);
}

Tensor decode_image(std::string_view bytes, const std::string& name, int channels,
                    const ImageLimits& limits) {
  if (channels != 0 && channels != 1 && channels != 3)
    throw Error("decode_image", "channels must be 0, 1 or 3, got {}", channels);
  using namespace std::string_view_literals;
  std::string cleaned;
  const bool is_png = starts_with(bytes, "\x89PNG\r\n\x1a\n"sv),
             is_jpeg = starts_with(bytes, "\xFF\xD8\xFF"sv), is_bmp = starts_with(bytes, "BM"sv);
  if (!is_png && !is_jpeg && !is_bmp) throw not_a_picture(bytes, name);
  if (static_cast<std::int64_t>(bytes.size()) > limits.file_bytes)
    throw Error(name, "is {} bytes long; at most {} are read", bytes.size(), limits.file_bytes);

  budget = limits.memory;
  const auto info = [&](std::string_view data, int& w, int& h, int& n) {
    return stbi_info_from_memory(reinterpret_cast<const stbi_uc*>(data.data()),
                                 static_cast<int>(data.size()), &w, &h, &n) != 0;
  };
  int width = 0, height = 0, in_file = 0;
  if (is_jpeg) detail::scan_jpeg(bytes, name);
  if (!is_jpeg) {
    cleaned = is_png ? detail::scan_png(bytes, name) : detail::scan_bmp(bytes, name);
    bytes = cleaned;
  }
  if (!info(bytes, width, height, in_file))
    throw Error(name, "cannot be read: {}", failure_reason());
  height = std::abs(height);  // BMP: negative when rows run downwards
  if (width < 1 || height < 1 || width > limits.side || height > limits.side ||
      std::int64_t{width} * height > limits.pixels) {
    throw Error(name, "is {} × {} pixels; at most {} a side and {} million in all are read", width,
                height, limits.side, limits.pixels >> 20)
        .hint("scale it down first");
  }
  // A PNG may make one color transparent without announcing alpha in its header: ask for it always.
  if (is_png) in_file = in_file <= 2 ? 2 : 4;
  const bool has_alpha = in_file == 2 || in_file == 4;
  int w = 0, h = 0, n = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> pixels(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                            static_cast<int>(bytes.size()), &w, &h, &n, in_file),
      budget_free);
  if (!pixels) {
    const std::string_view reason = failure_reason();
    throw Error(name, "cannot be read: {}",
                reason == "outofmem" ? "decoding it takes more than the memory allowed" : reason);
  }
  const int colors = in_file - has_alpha, out = channels == 0 ? colors : channels;
  Tensor image = Tensor::empty({out, h, w});
  Real* to = image.mutable_data().data();
  const std::int64_t area = std::int64_t{w} * h;
  for (std::int64_t i = 0; i < area; ++i) {
    const stbi_uc* from = pixels.get() + i * in_file;
    const Real alpha = has_alpha ? static_cast<Real>(from[colors]) / 255 : 1;
    Real rgb[3];
    for (int c = 0; c < 3; ++c)
      rgb[c] = alpha * static_cast<Real>(from[colors == 1 ? 0 : c]) / 255 + (1 - alpha);
    if (out == 3) {
      for (int c = 0; c < 3; ++c) to[c * area + i] = rgb[c];
    } else {
      // Luma of ITU-R BT.601, what "grey" means in JPEG.
      to[i] =
          colors == 1 ? rgb[0] : Real(0.299) * rgb[0] + Real(0.587) * rgb[1] + Real(0.114) * rgb[2];
    }
  }
  return image;
}

std::string encode_png(const Tensor& image) {
  const bool flat = image.rank() == 2;
  const std::int64_t channels = flat ? 1 : image.rank() == 3 ? image.dim(0) : 0;
  if ((channels != 1 && channels != 3) || image.size() == 0) {
    throw Error("encode_png", "needs one grey or RGB picture")
        .shape("image", image, "(1 or 3, H, W)");
  }
  const std::int64_t height = image.dim(-2), width = image.dim(-1), area = height * width;
  std::vector<stbi_uc> pixels(static_cast<std::size_t>(area * channels));
  for (std::int64_t i = 0; i < area; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) {
      const Real value = image.data()[static_cast<std::size_t>(c * area + i)];
      pixels[static_cast<std::size_t>(i * channels + c)] =
          value > 0 ? static_cast<stbi_uc>(std::lround(std::min(value, Real{1}) * 255))
                    : stbi_uc{0};
    }
  }
  std::string png;
  stbi_write_png_to_func(
      [](void* out, void* data, int size) {
        static_cast<std::string*>(out)->append(static_cast<const char*>(data),
                                               static_cast<std::size_t>(size));
      },
      &png, static_cast<int>(width), static_cast<int>(height), static_cast<int>(channels),
      pixels.data(), static_cast<int>(width * channels));
  if (png.empty())
    throw Error("encode_png", "failed").shape("image", image).fault(Fault::kEnvironment);
  return png;
}

void write_image(const Tensor& image, const std::filesystem::path& file) {
  write_file(file, encode_png(image));
}

Tensor contact_sheet(const Tensor& images, std::int64_t columns, std::int64_t border,
                     Real background) {
  if (images.rank() != 4 || columns < 1 || border < 0 || images.dim(0) < 1) {
    throw Error("contact_sheet", "needs pictures (N, C, H, W) and at least one column, got {}",
                columns)
        .shape("images", images);
  }
  const std::int64_t n = images.dim(0), c = images.dim(1), h = images.dim(2), w = images.dim(3);
  columns = std::min(columns, n);
  const std::int64_t rows = (n + columns - 1) / columns, height = rows * (h + border) - border,
                     width = columns * (w + border) - border;
  Tensor sheet = Tensor::full({c, height, width}, background);
  Real* to = sheet.mutable_data().data();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t k = 0; k < c; ++k) {
      for (std::int64_t y = 0; y < h; ++y) {
        const Real* from = images.data().data() + ((i * c + k) * h + y) * w;
        std::copy(from, from + w,
                  to + (k * height + i / columns * (h + border) + y) * width +
                      i % columns * (w + border));
      }
    }
  }
  return sheet;
}

Tensor cut_sheet(const Tensor& sheet, std::int64_t height, std::int64_t width, std::int64_t count) {
  const std::int64_t across = sheet.dim(-1) / width;
  if (sheet.dim(-1) % width != 0 || sheet.dim(-2) % height != 0 ||
      across * (sheet.dim(-2) / height) < count) {
    throw Error("cut_sheet", "the sheet does not hold {} tiles of {} × {}", count, height, width)
        .shape("sheet", sheet);
  }
  Tensor images = Tensor::empty({count, 1, height, width});
  Real* to = images.mutable_data().data();
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t y = 0; y < height; ++y) {
      const Real* from =
          sheet.data().data() + (i / across * height + y) * sheet.dim(-1) + i % across * width;
      to = std::copy(from, from + width, to);
    }
  }
  return images;
}

namespace {

/// Where the compressed data begins: behind ten fixed bytes and optional fields (RFC 1952).
std::size_t gzip_header(std::string_view bytes, const std::string& name) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (bytes.size() < 18 || at(0) != 0x1F || at(1) != 0x8B || at(2) != 8)
    throw Error(name, "is no gzip file");
  const unsigned flags = at(3);
  std::size_t begin = 10;
  const auto skip_text = [&] {
    while (begin < bytes.size() && bytes[begin] != '\0') ++begin;
    ++begin;
  };
  if (flags & 4)
    begin += 2 + (begin + 1 < bytes.size() ? at(begin) + std::size_t{256} * at(begin + 1) : 0);
  if (flags & 8) skip_text();
  if (flags & 16) skip_text();
  if (flags & 2) begin += 2;
  if (begin + 8 > bytes.size())
    throw Error(name, "is truncated: the gzip header ends beyond the file");
  return begin;
}

std::uint32_t little32(std::string_view bytes, std::size_t at) {
  std::uint32_t value;
  std::memcpy(&value, bytes.data() + at, 4);
  return value;
}

}  // namespace

std::size_t gzip_claimed_size(std::string_view bytes, const std::string& name) {
  gzip_header(bytes, name);
  return little32(bytes, bytes.size() - 4);
}

std::string gunzip_start(std::string_view bytes, std::size_t size, const std::string& name) {
  const std::size_t begin = gzip_header(bytes, name);
  const std::string_view packed = bytes.substr(begin, bytes.size() - begin - 8);
  constexpr std::size_t kStoredHeader = 5;
  if (packed.size() >= kStoredHeader && (packed[0] & 6) == 0) {  // a block that is not compressed
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(packed[i]); };
    const std::size_t length = at(1) + std::size_t{256} * at(2);
    return std::string(packed.substr(kStoredHeader, std::min(length, size)));
  }
  // Decoding stops where the room ends, which is before a copy that does not fit: leave room for
  // the longest one.
  constexpr std::size_t kLongestCopy = 258;
  std::string out(size + kLongestCopy, '\0');
  stbi_zlib_decode_noheader_buffer(out.data(), static_cast<int>(out.size()), packed.data(),
                                   static_cast<int>(packed.size()));
  out.resize(size);
  return out;
}

std::string gunzip(std::string_view bytes, std::size_t size, const std::string& name) {
  const std::size_t begin = gzip_header(bytes, name);
  constexpr std::size_t kMaxPacked = std::size_t{1} << 30;  // stb counts in int
  if (bytes.size() > kMaxPacked || size > kMaxPacked)
    throw Error(name, "is too large: {} bytes, {} unpacked; at most {} are read", bytes.size(),
                size, kMaxPacked);
  if (little32(bytes, bytes.size() - 4) != static_cast<std::uint32_t>(size)) {
    throw Error(name, "should unpack to {} bytes, but claims {}", size,
                little32(bytes, bytes.size() - 4))
        .hint("the file is truncated, has several parts, or is not what its name says");
  }
  constexpr std::size_t kBestRatio = 1032;  // of deflate: 258 bytes for every two bits
  if (size / kBestRatio > bytes.size())
    throw Error(name, "claims to unpack to {} bytes, which its {} bytes cannot hold", size,
                bytes.size());
  std::string out(size, '\0');
  // The checksum behind the data goes in as well: stb gives up when it looks for 16 bits and fewer
  // are left.
  const int done =
      stbi_zlib_decode_noheader_buffer(out.data(), static_cast<int>(size), bytes.data() + begin,
                                       static_cast<int>(bytes.size() - begin));
  if (done != static_cast<int>(size))
    throw Error(name, "is damaged or truncated: it does not unpack to the {} bytes it claims",
                size);
  if (detail::crc32(out) != little32(bytes, bytes.size() - 8))
    throw Error(name, "is damaged: the checksum of the unpacked bytes is wrong");
  return out;
}

}  // namespace tapestry
