// What a picture file claims, checked before the decoder believes it. stb_image, as distributions
// ship it, reads past tables that a damaged or hostile file leaves undefined; these scans refuse
// such files. They check structure only: whether the pixels make sense is the decoder's business.
#include <array>
#include <cstring>

#include "core/error.h"
#include "core/image.h"

namespace tapestry::detail {
namespace {

std::uint8_t byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<std::uint8_t>(bytes[at]);
}
std::uint32_t big16(std::string_view bytes, std::size_t at) {
  return std::uint32_t{byte_at(bytes, at)} << 8 | byte_at(bytes, at + 1);
}
std::uint32_t big32(std::string_view bytes, std::size_t at) {
  return big16(bytes, at) << 16 | big16(bytes, at + 2);
}

std::uint32_t little16(std::string_view bytes, std::size_t at) {
  return std::uint32_t{byte_at(bytes, at + 1)} << 8 | byte_at(bytes, at);
}
std::uint32_t little32(std::string_view bytes, std::size_t at) {
  return little16(bytes, at + 2) << 16 | little16(bytes, at);
}

std::string big32_bytes(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

Error damaged(const std::string& name, std::string_view format, std::size_t at,
              std::string_view problem) {
  return Error(name, "is no intact {} file: {} (byte {})", format, problem, at);
}

}  // namespace

std::uint32_t crc32(std::string_view bytes) {
  static const std::array<std::uint32_t, 256> table = [] {
    std::array<std::uint32_t, 256> entries{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = value & 1 ? 0xEDB88320U ^ (value >> 1) : value >> 1;
      entries[i] = value;
    }
    return entries;
  }();
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : bytes)
    crc = table[(crc ^ static_cast<std::uint8_t>(byte)) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

// PNG (ISO 15948): signature, then chunks of length, type, data, CRC; IHDR first, IEND last.
std::string scan_png(std::string_view bytes, const std::string& name) {
  constexpr std::size_t kSignature = 8,
                        kFrame = 12;  // length, type and CRC around each chunk's data
  std::string cleaned(bytes.substr(0, kSignature));
  bool data_seen = false, palette_seen = false;
  std::uint32_t color = 0;
  std::size_t at = kSignature;
  for (;;) {
    if (bytes.size() - at < kFrame) throw damaged(name, "PNG", at, "it is truncated");
    const std::uint32_t length = big32(bytes, at);
    if (length > bytes.size() - at - kFrame)
      throw damaged(name, "PNG", at, "a chunk reaches beyond the end of the file");
    const std::string_view type = bytes.substr(at + 4, 4), data = bytes.substr(at + 8, length);
    if (crc32(bytes.substr(at + 4, 4 + length)) != big32(bytes, at + 8 + length)) {
      throw damaged(name, "PNG", at, "the checksum of a chunk is wrong");
    }
    const bool first = at == kSignature;
    if (first != (type == "IHDR"))
      throw damaged(name, "PNG", at, "IHDR must be the first chunk, and the only one");
    if (type == "IHDR") {
      if (length != 13) throw damaged(name, "PNG", at, "IHDR must be 13 bytes long");
      const std::uint32_t depth = byte_at(data, 8);
      color = byte_at(data, 9);
      const bool power = depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
      const bool legal =
          color == 0   ? power
          : color == 3 ? power && depth <= 8
                       : (color == 2 || color == 4 || color == 6) && (depth == 8 || depth == 16);
      if (!legal) throw damaged(name, "PNG", at, "bit depth and color type do not go together");
      if (byte_at(data, 10) != 0 || byte_at(data, 11) != 0 || byte_at(data, 12) > 1)
        throw damaged(name, "PNG", at, "unknown compression, filter or interlacing");
    } else if (type == "PLTE") {
      if (length == 0 || length % 3 != 0 || length > 768 || palette_seen || data_seen)
        throw damaged(name, "PNG", at, "the palette is malformed or misplaced");
      palette_seen = true;
    } else if (type == "IDAT") {
      if (color == 3 && !palette_seen) throw damaged(name, "PNG", at, "the palette is missing");
      data_seen = data_seen || length > 0;
    } else if (type == "tRNS") {
      const std::size_t wanted = color == 0 ? 2 : color == 2 ? 6 : 0;
      if (data_seen || (color == 3 ? length > 256 || !palette_seen : length != wanted))
        throw damaged(name, "PNG", at, "the transparency chunk is malformed or misplaced");
    } else if (type == "IEND") {
      if (!data_seen) throw damaged(name, "PNG", at, "it has no pixels");
    } else if (type == "CgBI" || (type[0] & 0x20) == 0) {
      throw damaged(name, "PNG", at, "it needs an extension that is not supported");
    }
    if (type == "PLTE") {
      // Pixels may name entries that the palette lacks: give it all 256, so that every index reads
      // a defined color.
      std::string full(data);
      full.resize(768, '\0');
      const std::string body = "PLTE" + full;
      cleaned += big32_bytes(768) + body + big32_bytes(crc32(body));
    } else if (type == "IHDR" || (type == "IDAT" && length > 0) || type == "tRNS" ||
               type == "IEND") {  // stb copies an empty IDAT to no address
      cleaned += bytes.substr(at, length + kFrame);
    }
    if (type == "IEND") return cleaned;
    at += length + kFrame;
  }
}

// BMP (Windows 3 and later): 14 bytes, an information header, a palette, rows padded to 4 bytes.
std::string scan_bmp(std::string_view bytes, const std::string& name) {
  constexpr std::size_t kFileHeader = 14, kInfoHeader = 40, kEntry = 4;
  if (bytes.size() < kFileHeader + kInfoHeader)
    throw damaged(name, "BMP", bytes.size(), "it is truncated");
  const std::size_t offset = little32(bytes, 10), header = little32(bytes, 14);
  if (header != 40 && header != 56 && header != 108 && header != 124)
    throw damaged(name, "BMP", 14, "its header is of an unknown kind");
  const std::int64_t width = static_cast<std::int32_t>(little32(bytes, 18)),
                     signed_height = static_cast<std::int32_t>(little32(bytes, 22)),
                     height = signed_height < 0 ? -signed_height : signed_height;
  const std::uint32_t depth = little16(bytes, 28);
  const bool indexed = depth == 1 || depth == 4 || depth == 8;
  if (!indexed && depth != 16 && depth != 24 && depth != 32)
    throw damaged(name, "BMP", 28, "its number of bits per pixel is impossible");
  if (width < 1 || height < 1 || height > std::int64_t{0x7FFFFFFF})
    throw damaged(name, "BMP", 18, "its width and height are impossible");
  if (offset < kFileHeader + header || offset > bytes.size())
    throw damaged(name, "BMP", 10, "its pixels begin outside the file");
  const std::int64_t row = (width * depth + 31) / 32 * 4,
                     held = static_cast<std::int64_t>(bytes.size() - offset);
  if (row > held / height) {
    throw damaged(name, "BMP", bytes.size(),
                  format("it is truncated: {} rows need {} bytes each, {} bytes are there", height,
                         row, held));
  }
  if (!indexed) return std::string(bytes);
  const std::size_t palette = offset - kFileHeader - header;
  if (palette < kEntry || palette > 256 * kEntry)
    throw damaged(name, "BMP", 10, "its palette has an impossible length");
  // As in PNG: give the palette all 256 entries.
  std::string full(bytes.substr(0, offset));
  full.resize(kFileHeader + header + 256 * kEntry, '\0');
  const std::uint32_t begin = static_cast<std::uint32_t>(full.size());
  for (std::size_t i = 0; i < 4; ++i) full[10 + i] = static_cast<char>(begin >> (8 * i));
  return full += bytes.substr(offset);
}

namespace {

/// What a JPEG has declared so far.
struct Tables {
  bool dc[4] = {}, ac[4] = {}, quantization[4] = {};
};

/// A Huffman table (ITU T.81, B.2.4.2): 16 counts by code length, then the symbols.
void scan_huffman(std::string_view segment, std::size_t at, const std::string& name,
                  Tables& tables) {
  while (!segment.empty()) {
    if (segment.size() < 17) throw damaged(name, "JPEG", at, "a Huffman table is cut off");
    const std::uint32_t kind = byte_at(segment, 0) >> 4, place = byte_at(segment, 0) & 15;
    if (kind > 1 || place > 3)
      throw damaged(name, "JPEG", at, "a Huffman table has no legal number");
    std::uint32_t symbols = 0, codes = 0;
    for (std::size_t length = 1; length <= 16; ++length) {
      symbols += byte_at(segment, length);
      codes = codes * 2 + byte_at(segment, length);
      if (codes > (1U << length))
        throw damaged(name, "JPEG", at, "a Huffman table has more codes than bits allow");
    }
    if (symbols == 0 || symbols > 256 || segment.size() < 17 + symbols)
      throw damaged(name, "JPEG", at, "a Huffman table has a wrong number of symbols");
    for (std::uint32_t i = 0; kind == 0 && i < symbols; ++i) {
      if (byte_at(segment, 17 + i) > 15)
        throw damaged(name, "JPEG", at, "a Huffman table holds an impossible difference");
    }
    (kind == 0 ? tables.dc : tables.ac)[place] = true;
    segment.remove_prefix(17 + symbols);
  }
}

}  // namespace

// JPEG (ITU T.81): marker segments; one frame header; scans with entropy-coded data behind them;
// EOI.
void scan_jpeg(std::string_view bytes, const std::string& name) {
  Tables tables;
  std::array<int, 4> component{-1, -1, -1, -1}, quantization{};
  std::size_t components = 0;
  bool frame_seen = false, scan_seen = false, progressive = false;
  std::size_t at = 2;
  for (;;) {
    if (at + 2 > bytes.size())
      throw damaged(name, "JPEG", at, "it is truncated: the end marker is missing");
    if (byte_at(bytes, at) != 0xFF) throw damaged(name, "JPEG", at, "a marker was expected");
    const std::uint32_t marker = byte_at(bytes, at + 1);
    if (marker == 0xFF) {  // padding
      ++at;
      continue;
    }
    if (marker == 0xD9) {
      if (!scan_seen) throw damaged(name, "JPEG", at, "it has no pixels");
      return;
    }
    if (marker == 0x00 || marker == 0xD8 || (marker >= 0xD0 && marker <= 0xD7))
      throw damaged(name, "JPEG", at, "a misplaced marker");
    if (at + 4 > bytes.size()) throw damaged(name, "JPEG", at, "it is truncated");
    const std::uint32_t length = big16(bytes, at + 2);
    if (length < 2 || length > bytes.size() - at - 2)
      throw damaged(name, "JPEG", at, "a segment reaches beyond the end of the file");
    const std::string_view segment = bytes.substr(at + 4, length - 2);
    at += 2 + length;
    if (marker == 0xC4) {
      scan_huffman(segment, at, name, tables);
    } else if (marker == 0xDB) {
      for (std::string_view rest = segment; !rest.empty();) {
        const std::uint32_t wide = byte_at(rest, 0) >> 4, place = byte_at(rest, 0) & 15;
        const std::size_t size = 1 + 64 * (wide + 1);
        if (wide > 1 || place > 3 || rest.size() < size)
          throw damaged(name, "JPEG", at, "a quantization table is malformed");
        tables.quantization[place] = true;
        rest.remove_prefix(size);
      }
    } else if (marker == 0xC0 || marker == 0xC1 || marker == 0xC2) {
      if (frame_seen || segment.size() < 6)
        throw damaged(name, "JPEG", at, "it must have one frame header");
      frame_seen = true;
      progressive = marker == 0xC2;
      components = byte_at(segment, 5);
      if (byte_at(segment, 0) != 8 || (components != 1 && components != 3) ||
          segment.size() != 6 + 3 * components) {
        throw damaged(name, "JPEG", at, "only 8-bit grey and color pictures are supported");
      }
      for (std::size_t i = 0; i < components; ++i) {
        component[i] = byte_at(segment, 6 + 3 * i);
        const std::uint32_t across = byte_at(segment, 7 + 3 * i) >> 4,
                            down = byte_at(segment, 7 + 3 * i) & 15;
        quantization[i] = byte_at(segment, 8 + 3 * i);
        if (across < 1 || across > 4 || down < 1 || down > 4 || quantization[i] > 3)
          throw damaged(name, "JPEG", at, "impossible sampling factors");
      }
    } else if (marker >= 0xC3 && marker <= 0xCF && marker != 0xC8) {
      throw damaged(name, "JPEG", at, "lossless and arithmetic coding are not supported");
    } else if (marker == 0xDD) {
      if (segment.size() != 2) throw damaged(name, "JPEG", at, "a restart interval is malformed");
    } else if (marker == 0xDA) {
      if (!frame_seen || segment.empty())
        throw damaged(name, "JPEG", at, "a scan before the frame header");
      const std::size_t count = byte_at(segment, 0);
      if (count < 1 || count > components || segment.size() != 4 + 2 * count)
        throw damaged(name, "JPEG", at, "a scan header is malformed");
      const std::uint32_t low = byte_at(segment, 1 + 2 * count),
                          high = byte_at(segment, 2 + 2 * count),
                          refining = byte_at(segment, 3 + 2 * count) >> 4;
      if (low > high || high > 63 || (progressive && low == 0 && high != 0))
        throw damaged(name, "JPEG", at, "a scan has an impossible spectrum");
      for (std::size_t i = 0; i < count; ++i) {
        std::size_t which = 0;
        while (which < components && component[which] != byte_at(segment, 1 + 2 * i)) ++which;
        const std::uint32_t dc = byte_at(segment, 2 + 2 * i) >> 4,
                            ac = byte_at(segment, 2 + 2 * i) & 15;
        const bool needs_dc = low == 0 && refining == 0, needs_ac = progressive ? low > 0 : true;
        if (which == components || dc > 3 || ac > 3 || (needs_dc && !tables.dc[dc]) ||
            (needs_ac && !tables.ac[ac]) || !tables.quantization[quantization[which]]) {
          throw damaged(name, "JPEG", at, "a scan uses a table that is not defined");
        }
      }
      scan_seen = true;
      // Entropy-coded data: 0xFF is followed by 0, or by a restart marker.
      while (at + 1 < bytes.size() &&
             (byte_at(bytes, at) != 0xFF || byte_at(bytes, at + 1) == 0 ||
              (byte_at(bytes, at + 1) >= 0xD0 && byte_at(bytes, at + 1) <= 0xD7))) {
        ++at;
      }
    }
  }
}

}  // namespace tapestry::detail
