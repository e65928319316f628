#include "tests/support/pictures.h"

#include <algorithm>
#include <cstdlib>

#include "core/image.h"

namespace tapestry::testing {
namespace {

std::string big(std::uint32_t value, int bytes = 4) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::string little(std::uint32_t value, int bytes) {
  std::string text = big(value, bytes);
  std::reverse(text.begin(), text.end());
  return text;
}

/// Samples of `depth` bits in bytes, the first one in the highest bits.
class BitWriter {
 public:
  explicit BitWriter(std::string& out) : out_(out) {}
  void put(int value, int depth) {
    for (int bit = depth - 1; bit >= 0; --bit) {
      if (used_ == 0) out_ += '\0';
      out_.back() = static_cast<char>(out_.back() | ((value >> bit & 1) << (7 - used_)));
      used_ = (used_ + 1) % 8;
    }
  }

 private:
  std::string& out_;
  int used_ = 0;
};

}  // namespace

std::string png_chunk(const std::string& type, const std::string& data) {
  return big(static_cast<std::uint32_t>(data.size())) + type + data +
         big(detail::crc32(type + data));
}

std::string png_header(std::uint32_t width, std::uint32_t height, int depth, int color,
                       int interlaced) {
  return png_chunk("IHDR", big(width) + big(height) +
                               std::string{static_cast<char>(depth), static_cast<char>(color), 0, 0,
                                           static_cast<char>(interlaced)});
}

std::string png(const std::string& chunks) { return "\x89PNG\r\n\x1a\n" + chunks; }

std::string png_data(const std::string& raw) {
  std::string stream = "\x78\x01";
  constexpr std::size_t kMost = 65535;
  for (std::size_t at = 0; at == 0 || at < raw.size(); at += kMost) {
    const std::string part = raw.substr(at, kMost);
    const std::uint32_t length = static_cast<std::uint32_t>(part.size());
    stream += at + kMost >= raw.size() ? '\1' : '\0';
    stream += little(length, 2) + little(~length & 0xFFFFU, 2) + part;
  }
  std::uint32_t a = 1, b = 0;  // Adler-32
  for (const char byte : raw) {
    a = (a + static_cast<unsigned char>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  return png_chunk("IDAT", stream + big(b << 16 | a));
}

std::string make_png(int width, int height, int depth, int color, const Sample& sample,
                     const std::string& extra, bool interlaced) {
  const int channels = color == 2 ? 3 : color == 4 ? 2 : color == 6 ? 4 : 1;
  struct Pass {
    int x, y, dx, dy;
  };
  static constexpr Pass kWhole[] = {{0, 0, 1, 1}};
  static constexpr Pass kAdam7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                    {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
  std::string raw;
  for (const Pass* pass = interlaced ? kAdam7 : kWhole;
       pass != (interlaced ? std::end(kAdam7) : std::end(kWhole)); ++pass) {
    for (int y = pass->y; y < height; y += pass->dy) {
      if (pass->x >= width) break;
      raw += '\0';  // no filter
      BitWriter row(raw);
      for (int x = pass->x; x < width; x += pass->dx) {
        for (int c = 0; c < channels; ++c) row.put(sample(x, y, c), depth);
      }
    }
  }
  return png(png_header(static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height),
                        depth, color, interlaced) +
             extra + png_data(raw) + png_chunk("IEND", ""));
}

std::string make_bmp(int width, int height, int depth, const Sample& sample,
                     const std::string& palette) {
  std::string pixels;
  for (int row = 0; row < std::abs(height); ++row) {
    const int y = height > 0 ? height - 1 - row : row;
    const std::size_t begin = pixels.size();
    BitWriter out(pixels);
    for (int x = 0; x < width; ++x) {
      if (depth <= 8) {
        out.put(sample(x, y, 0), depth);
      } else {
        for (const int c : {2, 1, 0}) out.put(sample(x, y, c), 8);
        if (depth == 32) out.put(sample(x, y, 3), 8);
      }
    }
    while ((pixels.size() - begin) % 4 != 0) pixels += '\0';
  }
  const std::uint32_t offset = 54 + static_cast<std::uint32_t>(palette.size());
  return "BM" + little(offset + static_cast<std::uint32_t>(pixels.size()), 4) + little(0, 4) +
         little(offset, 4) + little(40, 4) + little(static_cast<std::uint32_t>(width), 4) +
         little(static_cast<std::uint32_t>(height), 4) + little(1, 2) +
         little(static_cast<std::uint32_t>(depth), 2) + std::string(24, '\0') + palette + pixels;
}

int jpeg_sample(int x, int y, int channel) {
  return channel == 0 ? 40 + 8 * x : channel == 1 ? 30 + 9 * y : 200 - 5 * x - 4 * y;
}

std::string grey_jpeg() {
  return from_hex(
      "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404"
      "050a070706080c0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ff"
      "c0000b080009000901011100ffc4001500010100000000000000000000000000000708ffc40017100100030000"
      "000000000000000000000000074381ffda0008010100003f0097e36ab0c01f8daac303ffd9");
}

std::string baseline_jpeg() {
  return from_hex(
      "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404"
      "050a070706080c0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ff"
      "db00430103040405040509050509140d0b0d141414141414141414141414141414141414141414141414141414"
      "1414141414141414141414141414141414141414141414ffc00011080011001303012200021101031101ffc400"
      "190001000203000000000000000000000000000607040508ffc400201000010402010500000000000000000000"
      "00050622a10131030212324142ffc40017010101010100000000000000000000000007030608ffc4001c110001"
      "0501010100000000000000000000000102062232054221ffda000c03010002110311003f00e734e69ea1449d39"
      "a7a851602734f50a24e9ed3d428d748e5bab138bf7f3f4adb8da70c40173f1b4f3d98850051d2eb2d8796f7ea9"
      "63113bd1274ff9008c8fd1c7117f26f7a3c7000051da51e1b943ffd9");
}

std::string progressive_jpeg() {
  return from_hex(
      "ffd8ffe000104a46494600010100000100010000ffdb0043000302020302020303030304030304050805050404"
      "050a070706080c0a0c0c0b0a0b0b0d0e12100d0e110e0b0b1016101113141515150c0f171816141812141514ff"
      "db00430103040405040509050509140d0b0d141414141414141414141414141414141414141414141414141414"
      "1414141414141414141414141414141414141414141414ffc2001108000a000c03011100021101031101ffc400"
      "1500010100000000000000000000000000000507ffc40017010101010100000000000000000000000006070104"
      "ffda000c030100021003100000019cd1b9d038a13c9fa07147ffc4001910000203010000000000000000000000"
      "00000103042131ffda00080101000105028ea0aa6462e7ffc40018110003010100000000000000000000000000"
      "03042232ffda0008010301013f0196817464945f27ffc400181100020300000000000000000000000000000401"
      "0222ffda0008010201013f0165b2ede8664bce8fffc40014100100000000000000000000000000000020ffda00"
      "08010100063f021fffc4001810000301010000000000000000000000000001514161ffda0008010100013f21e0"
      "482282ac1fffda000c030100020003000000103c2fffc400181100030101000000000000000000000000000121"
      "1131ffda0008010301013f10e14828ce0cf07fffc4001811010101010100000000000000000000002100011131"
      "ffda0008010201013f10f567368b6dd37fffc4001a10000105010000000000000000000000000001112191c131"
      "ffda0008010100013f10e5920647c90a1b2147ffd9");
}

std::string from_hex(std::string_view digits) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(digits.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

}  // namespace tapestry::testing
