#include "core/image.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/random.h"
#include "tests/support/errors.h"
#include "tests/support/pictures.h"
#include "tests/support/temp_folder.h"

using namespace tapestry;
using namespace tapestry::testing;

namespace {

Real at(const Tensor& image, std::int64_t c, std::int64_t y, std::int64_t x) {
  return image.data()[static_cast<std::size_t>((c * image.dim(1) + y) * image.dim(2) + x)];
}

/// The largest difference between the picture and want(x, y, channel) in [0, 1].
template <class F>
double difference(const Tensor& image, F want) {
  double most = 0;
  for (std::int64_t c = 0; c < image.dim(0); ++c) {
    for (std::int64_t y = 0; y < image.dim(1); ++y) {
      for (std::int64_t x = 0; x < image.dim(2); ++x) {
        most = std::max(
            most, std::abs(static_cast<double>(at(image, c, y, x)) -
                           want(static_cast<int>(x), static_cast<int>(y), static_cast<int>(c))));
      }
    }
  }
  return most;
}

constexpr double kExact = 1e-6;  // rounding of the division by 255 in float

std::string refusal(const std::string& bytes, const ImageLimits& limits = {}) {
  return error_of([&] { decode_image(bytes, "x.img", 3, limits); });
}

std::string with(std::string text, std::size_t place, const std::string& bytes) {
  return text.replace(place, bytes.size(), bytes);
}

}  // namespace

TEST_CASE("image: a PNG comes back as it was written") {
  const TempFolder folder;
  Rng rng(1);
  for (const int channels : {1, 3}) {
    Tensor image = Tensor::empty({channels, 13, 17});
    for (Real& value : image.mutable_data()) value = static_cast<Real>(rng.below(256)) / 255;
    const auto file = folder.path() / ("x" + std::to_string(channels) + ".png");
    write_image(image, file);
    const Tensor again = read_image(file, 0);
    CHECK(again.shape() == image.shape());
    CHECK(std::equal(image.data().begin(), image.data().end(), again.data().begin()));
  }
  // Values outside are clipped, NaN is black.
  const Real nan = std::numeric_limits<Real>::quiet_NaN();
  const std::vector<Real> odd{-3, 7, nan, Real(0.5)};
  const Tensor clipped = decode_image(encode_png(Tensor::from(odd, {2, 2})), "t", 1);
  CHECK(at(clipped, 0, 0, 0) == 0);
  CHECK(at(clipped, 0, 0, 1) == 1);
  CHECK(at(clipped, 0, 1, 0) == 0);
  CHECK(at(clipped, 0, 1, 1) == doctest::Approx(128.0 / 255));
  CHECK(contains(error_of([] {
                   encode_png(Tensor::zeros({2, 4, 4}));
                 }),
                 "one grey or RGB picture"));
  CHECK(contains(error_of([] {
                   encode_png(Tensor::zeros({1, 0, 4}));
                 }),
                 "one grey or RGB picture"));
}

TEST_CASE("image: every kind of PNG is decoded to the right pixels") {
  struct Kind {
    int color, depth;
  };
  for (const Kind kind : {Kind{0, 1}, Kind{0, 2}, Kind{0, 4}, Kind{0, 8}, Kind{0, 16}, Kind{2, 8},
                          Kind{2, 16}, Kind{4, 8}, Kind{4, 16}, Kind{6, 8}, Kind{6, 16}}) {
    const int most = (1 << kind.depth) - 1;
    const auto sample = [&](int x, int y, int c) {
      return (x * 7 + y * 13 + c * 29) * 37 % (most + 1);
    };
    const bool grey = kind.color == 0 || kind.color == 4, alpha = kind.color >= 4;
    for (const bool interlaced : {false, true}) {
      INFO("color type " << kind.color << ", depth " << kind.depth << ", interlaced "
                         << interlaced);
      const Tensor image =
          decode_image(make_png(11, 9, kind.depth, kind.color, sample, "", interlaced), "t", 3);
      CHECK(image.shape() == Shape{3, 9, 11});
      const auto shown = [&](int x, int y, int c) {  // 16 bits are cut to 8
        return kind.depth == 16 ? (sample(x, y, c) >> 8) / 255.0
                                : static_cast<double>(sample(x, y, c)) / most;
      };
      CHECK(difference(image, [&](int x, int y, int c) {
              const double value = shown(x, y, grey ? 0 : c);
              const double opaque = alpha ? shown(x, y, grey ? 1 : 3) : 1;
              return opaque * value + 1 - opaque;  // over white
            }) < kExact);
    }
  }
}

TEST_CASE("image: palettes, also too short ones, and transparency") {
  const std::string palette = png_chunk("PLTE", "\x10\x20\x30\x40\x50\x60\xFF\xFE\xFD");
  for (const int depth : {2, 4, 8}) {
    const auto sample = [](int x, int, int) { return x; };  // 3 is not in the palette
    const Tensor image = decode_image(make_png(4, 2, depth, 3, sample, palette), "t", 3);
    CHECK(difference(image, [](int x, int, int c) {
            static constexpr int kWant[4][3] = {
                {16, 32, 48}, {64, 80, 96}, {255, 254, 253}, {0, 0, 0}};
            return kWant[x][c] / 255.0;
          }) < kExact);
  }
  const std::string half = png_chunk("tRNS", std::string("\0\x80", 2));
  const Tensor clear =
      decode_image(make_png(
                       3, 1, 8, 3, [](int x, int, int) { return x; }, palette + half),
                   "t", 3);
  CHECK(at(clear, 0, 0, 0) == 1);  // fully transparent: the white behind it
  CHECK(at(clear, 0, 0, 1) == doctest::Approx((64 * 128 + 255 * 127) / 255.0 / 255));
  CHECK(at(clear, 0, 0, 2) == 1);
  // One grey declared transparent.
  const std::string key = png_chunk("tRNS", std::string("\0\x05", 2));
  const Tensor keyed = decode_image(make_png(
                                        8, 1, 8, 0, [](int x, int, int) { return x; }, key),
                                    "t", 1);
  CHECK(at(keyed, 0, 0, 4) == doctest::Approx(4 / 255.0));
  CHECK(at(keyed, 0, 0, 5) == 1);
}

TEST_CASE("image: JPEG files are decoded close to the picture they were made from") {
  const auto want = [](int x, int y, int c) { return jpeg_sample(x, y, c) / 255.0; };
  const Tensor grey = decode_image(grey_jpeg(), "t", 0);
  CHECK(grey.shape() == Shape{1, 9, 9});
  CHECK(difference(grey, want) < 3 / 255.0);
  const Tensor baseline = decode_image(baseline_jpeg(), "t", 3);
  CHECK(baseline.shape() == Shape{3, 17, 19});
  CHECK(difference(baseline, want) < 14 / 255.0);  // color at half the resolution
  const Tensor progressive = decode_image(progressive_jpeg(), "t", 3);
  CHECK(progressive.shape() == Shape{3, 10, 12});
  CHECK(difference(progressive, want) < 7 / 255.0);
}

TEST_CASE("image: BMP files of all depths, upside down or not, with a short palette") {
  const auto sample = [](int x, int y, int c) { return (x * 50 + y * 20 + c * 3) % 256; };
  for (const int height : {3, -3}) {
    for (const int depth : {24, 32}) {
      const Tensor image = decode_image(
          make_bmp(5, height, depth,
                   [&](int x, int y, int c) { return c == 3 ? 255 : sample(x, y, c); }),
          "t", 3);
      CHECK(image.shape() == Shape{3, 3, 5});
      CHECK(difference(image, [&](int x, int y, int c) { return sample(x, y, c) / 255.0; }) <
            kExact);
    }
    const std::string palette("\x30\x20\x10\0\x60\x50\x40\0", 8);
    for (const int depth : {4, 8}) {
      const auto index = [](int x, int y, int) { return (x + y) % 3; };  // 2 is not in the palette
      const Tensor image = decode_image(make_bmp(5, height, depth, index, palette), "t", 3);
      CHECK(difference(image, [&](int x, int y, int c) {
              static constexpr int kWant[3][3] = {{16, 32, 48}, {64, 80, 96}, {0, 0, 0}};
              return kWant[index(x, y, 0)][c] / 255.0;
            }) < kExact);
    }
  }
}

TEST_CASE("image: grey from color and color from grey") {
  const std::string color =
      make_png(2, 1, 8, 2, [](int x, int, int c) { return x == 0 ? 255 * (c == 1) : 100; });
  const Tensor grey = decode_image(color, "t", 1);
  CHECK(grey.shape() == Shape{1, 1, 2});
  CHECK(at(grey, 0, 0, 0) == doctest::Approx(0.587));
  CHECK(at(grey, 0, 0, 1) == doctest::Approx(100 / 255.0));
  CHECK(decode_image(grey_jpeg(), "t", 3).shape() == Shape{3, 9, 9});
  CHECK(contains(error_of([&] { decode_image(color, "t", 2); }),
                 "channels must be 0, 1 or 3, got 2"));
}

TEST_CASE("image: what is no intact picture is refused with its name and the reason") {
  const auto black = [](int, int, int) { return 0; };
  const std::string good = make_png(4, 4, 8, 0, black), end = png_chunk("IEND", "");
  const std::string header = png_header(4, 4, 8, 0), data = png_data(std::string(20, '\0'));
  const std::string jpeg = baseline_jpeg(), bmp = make_bmp(4, 4, 24, black);
  const std::size_t dht = jpeg.find("\xFF\xC4"), sof = jpeg.find("\xFF\xC0"),
                    sos = jpeg.find("\xFF\xDA");
  const std::string indexed = png_header(4, 4, 8, 3), zero(1, '\0');
  const struct {
    std::string bytes, message;
  } cases[] = {
      {"", "is an empty file; PNG, JPEG and BMP can be read"},
      {"hello", "is no PNG, JPEG or BMP file"},
      {"GIF89a......", "is a GIF file"},
      {"RIFF", "is no PNG, JPEG or BMP file"},
      {"RIFF....WEBP", "is a WebP file"},
      {good.substr(0, 8), "no intact PNG file: it is truncated (byte 8)"},
      {good.substr(0, 50), "a chunk reaches beyond the end of the file (byte 33)"},
      {good.substr(0, good.size() - 12), "it is truncated"},
      {with(good, 20, "\x05"), "the checksum of a chunk is wrong (byte 8)"},
      {png(header + header + data + end), "IHDR must be the first chunk, and the only one"},
      {png(data + end), "IHDR must be the first chunk"},
      {png(header + end), "it has no pixels"},
      {png(header + png_chunk("IDAT", "") + end), "it has no pixels"},
      {png(header + data), "it is truncated"},
      {png(png_header(4, 4, 3, 0) + data + end), "bit depth and color type do not go together"},
      {png(png_header(4, 4, 16, 3) + data + end), "bit depth and color type do not go together"},
      {png(png_header(4, 4, 8, 1) + data + end), "bit depth and color type do not go together"},
      {png(png_header(4, 4, 8, 0, 2) + data + end), "unknown compression, filter or interlacing"},
      {png(png_header(0, 4, 8, 0) + data + end), "x.img: "},
      {png(png_header(20000, 4, 8, 0) + data + end), "x.img: "},
      {png(png_header(16000, 16000, 1, 0) + data + end), "is 16000 × 16000 pixels; at most"},
      {png(indexed + data + end), "the palette is missing"},
      {png(indexed + png_chunk("PLTE", "1234") + data + end), "the palette is malformed"},
      {png(indexed + png_chunk("PLTE", std::string(771, 'x')) + data + end),
       "the palette is malformed"},
      {png(header + png_chunk("tRNS", "123") + data + end), "the transparency chunk is malformed"},
      {png(header + png_chunk("ABCD", "") + data + end),
       "needs an extension that is not supported"},
      {png(header + png_data("too short") + end), "cannot be read: not enough pixels"},
      {png(header + png_chunk("IDAT", "no zlib stream") + end), "cannot be read: "},
      {jpeg.substr(0, 3), "no intact JPEG file"},
      {jpeg.substr(0, jpeg.size() - 2), "it is truncated: the end marker is missing"},
      {jpeg.substr(0, sos), "it is truncated"},
      {jpeg.substr(0, sof) + jpeg.substr(dht), "a scan before the frame header"},
      {with(jpeg, sof + 1, "\xC3"), "lossless and arithmetic coding are not supported"},
      {with(jpeg, sof + 9, "\4"), "only 8-bit grey and color pictures are supported"},
      {with(jpeg, sof + 4, "\14"), "only 8-bit grey and color pictures are supported"},
      {with(jpeg, sof + 11, "\x51"), "impossible sampling factors"},
      {with(jpeg, sof + 11, zero), "impossible sampling factors"},
      {jpeg.substr(0, sof) + jpeg.substr(sof, dht - sof) + jpeg.substr(sof),
       "it must have one frame header"},
      {with(jpeg, dht + 5, "\3"), "more codes than bits allow"},
      {with(jpeg, dht + 4, "\7"), "a Huffman table has no legal number"},
      {with(jpeg, dht + 21, "\x10"), "a Huffman table holds an impossible difference"},
      {with(jpeg, dht + 4, "\1"), "a scan uses a table that is not defined"},
      {with(jpeg, sos + 6, "\x33"), "a scan uses a table that is not defined"},
      {with(jpeg, sos + 5, "\x77"), "a scan uses a table that is not defined"},
      {with(jpeg, sos + 4, "\4"), "a scan header is malformed"},
      {bmp.substr(0, 30), "no intact BMP file: it is truncated (byte 30)"},
      {bmp.substr(0, bmp.size() - 1),
       "it is truncated: 4 rows need 12 bytes each, 47 bytes are there"},
      {with(bmp, 14, "\x0C"), "its header is of an unknown kind"},
      {with(bmp, 28, "\5"), "its number of bits per pixel is impossible"},
      {with(bmp, 18, std::string(4, '\0')), "its width and height are impossible"},
      {with(bmp, 22, std::string("\0\0\0\x80", 4)), "its width and height are impossible"},
      {with(bmp, 18, "\xFF\xFF\xFF\x7F"), "it is truncated: 4 rows need"},
      {with(bmp, 10, "\xFF\xFF\xFF\xFF"), "its pixels begin outside the file"},
      {make_bmp(4, 4, 8, black), "its palette has an impossible length"},
  };
  for (const auto& item : cases) {
    const std::string error = refusal(item.bytes);
    INFO("wanted: " << item.message << "\n   got: " << error);
    CHECK(contains(error, item.message));
    CHECK(error.starts_with("x.img: "));
  }
  // None of it because the intact ones would be refused as well.
  CHECK(refusal(good).empty());
  CHECK(refusal(png(header + data + end)).empty());
  CHECK(refusal(jpeg).empty());
  CHECK(refusal(bmp).empty());
}

TEST_CASE("image: limits hold before memory is taken") {
  const std::string png_file = make_png(100, 50, 8, 2, [](int, int, int) { return 9; });
  CHECK(refusal(png_file).empty());
  CHECK(contains(refusal(png_file, {.side = 99}), "is 100 × 50 pixels; at most 99 a side"));
  CHECK(contains(refusal(png_file, {.pixels = 4999}), "is 100 × 50 pixels"));
  CHECK(contains(refusal(png_file, {.memory = 10'000}), "takes more than the memory allowed"));
  CHECK(contains(refusal(png_file, {.file_bytes = 100}), "at most 100 are read"));
  // A hundred bytes that claim half a gigabyte of pixels.
  const std::string bomb =
      png(png_header(8000, 8000, 16, 6) + png_data("x") + png_chunk("IEND", ""));
  CHECK(contains(refusal(bomb, {.memory = std::int64_t{64} << 20}), "x.img: cannot be read: "));
}

TEST_CASE("image: sheets of tiles, and back") {
  Tensor images = Tensor::empty({5, 1, 2, 3});
  for (std::size_t i = 0; i < 30; ++i) images.mutable_data()[i] = static_cast<Real>(i);
  const Tensor sheet = contact_sheet(images, 2, 1, Real(-1));
  CHECK(sheet.shape() == Shape{1, 8, 7});  // 3 rows of 2 and 2 lines, 2 columns of 3 and 1 line
  CHECK(at(sheet, 0, 0, 0) == 0);
  CHECK(at(sheet, 0, 0, 3) == -1);
  CHECK(at(sheet, 0, 2, 0) == -1);
  CHECK(at(sheet, 0, 4, 6) == 23);  // image 3, last row and column
  CHECK(at(sheet, 0, 7, 6) == -1);  // no sixth image
  const Tensor back = cut_sheet(contact_sheet(images, 5, 0), 2, 3, 5);
  CHECK(back.shape() == images.shape());
  CHECK(std::equal(images.data().begin(), images.data().end(), back.data().begin()));
  CHECK(contains(error_of([&] { cut_sheet(sheet, 2, 3, 5); }), "does not hold 5 tiles of 2 × 3"));
  CHECK(contains(error_of([&] { contact_sheet(sheet, 1); }), "needs pictures (N, C, H, W)"));
}

TEST_CASE("gzip: unpacks what gzip packed, refuses the rest") {
  // `printf 'tapestry %.0s' {1..40} | gzip -n`
  const std::string packed =
      from_hex("1f8b08000000000002032b492c482d2e29aa54281965d092010062a3d86a68010000");
  std::string plain;
  for (int i = 0; i < 40; ++i) plain += "tapestry ";
  CHECK(gzip_claimed_size(packed, "t") == plain.size());
  CHECK(gunzip(packed, plain.size(), "t") == plain);
  CHECK(gunzip_start(packed, 16, "t") == plain.substr(0, 16));
  const auto refused = [](const std::string& bytes, std::size_t size) {
    return error_of([&] { gunzip(bytes, size, "t.gz"); });
  };
  CHECK(contains(refused("", 1), "t.gz: is no gzip file"));
  CHECK(contains(refused(plain, 1), "is no gzip file"));
  CHECK(contains(refused(packed, 359), "should unpack to 359 bytes, but claims 360"));
  CHECK(!refused(packed.substr(0, packed.size() - 1), 360).empty());
  CHECK(!refused(packed + "x", 360).empty());
  const std::size_t crc = packed.size() - 8;
  CHECK(contains(refused(with(packed, crc, "x"), 360),
                 "the checksum of the unpacked bytes is wrong"));
  // 34 bytes that claim 2 GiB and 1 GiB.
  CHECK(contains(refused(with(packed, crc + 4, std::string("\0\0\0\x80", 4)), 0x80000000U),
                 "is too large"));
  CHECK(contains(refused(with(packed, crc + 4, std::string("\0\0\0\x40", 4)), 0x40000000U),
                 "claims to unpack to 1073741824 bytes, which its 34 bytes cannot hold"));
  // The same header with the flag of a name, which never ends.
  CHECK(contains(refused(with(packed, 3, "\x08").substr(0, 20), 360), "t.gz: "));
}
