#include "datasets/idx.h"

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "core/image.h"
#include "tests/support/errors.h"
#include "tests/support/pictures.h"
#include "tests/support/temp_folder.h"

using namespace tapestry;
using namespace tapestry::testing;

namespace {

std::string idx(const std::vector<std::uint32_t>& extents, const std::string& data, int type = 8) {
  std::string text{0, 0, static_cast<char>(type), static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents) {
    for (const int shift : {24, 16, 8, 0}) text += static_cast<char>(extent >> shift);
  }
  return text + data;
}

const std::string kPixels("\0\x0A\x14\x1E\x28\x32\x3C\x46\x50\x5A\x64\x6E", 12);  // 0, 10 … 110
const std::string kLabels("\3\7", 2);

/// The pixels as bytes again.
std::string bytes_of(const Tensor& images) {
  std::string bytes;
  for (const Real value : images.data())
    bytes += static_cast<char>(std::lround(static_cast<double>(value) * 255));
  return bytes;
}

}  // namespace

TEST_CASE("idx: images and labels, plain and gzipped") {
  const TempFolder folder;
  const auto labels = folder.write("labels", idx({2}, kLabels));
  // Packed by gzip with the best compression, and with none.
  const std::string packed =
      "1f8b08000000000002036360e06066606060826266062e11390d231bb780a8943c001810b7751c000000";
  const std::string stored =
      "1f8b0800000000000403011c00e3ff00000803000000020000000200000003000a141e28323c46505a646e1810b7"
      "751c000000";
  for (const auto& images :
       {folder.write("plain", idx({2, 2, 3}, kPixels)), folder.write("a.gz", from_hex(packed)),
        folder.write("b.gz", from_hex(stored))}) {
    INFO(images.string());
    const auto set = data::read_idx(images, labels);
    CHECK(set->size() == 2);
    CHECK(set->shape() == Shape{1, 2, 3});
    CHECK(set->labels() == std::vector<std::int32_t>{3, 7});
    CHECK(bytes_of(set->images()) == kPixels);
    CHECK(set->get(1).label == 7);
    CHECK(set->get(1).image.data()[0] == doctest::Approx(60 / 255.0));
    CHECK(contains(error_of([&] { set->get(2); }), "there is no example 2; the set has 2"));
  }
}

TEST_CASE("idx: faults are told with file, place, found and expected") {
  const TempFolder folder;
  const std::string images = idx({2, 2, 3}, kPixels), labels = idx({2}, kLabels);
  const struct {
    std::string images, labels, message;
  } cases[] = {
      {"", labels, "images: is truncated: 0 bytes, the header alone has 16"},
      {images.substr(0, 15), labels, "is truncated: 15 bytes, the header alone has 16"},
      {images.substr(0, 27), labels,
       "has 11 bytes behind the header, its shape [2, 2, 3] needs 12"},
      {images + "x", labels, "has 13 bytes behind the header, its shape [2, 2, 3] needs 12"},
      {"\x89PNG" + images, labels, "is no IDX file: it begins with 137 80, not 0 0"},
      {idx({2, 2, 3}, kPixels, 13), labels, "holds numbers of type 13 at byte 2; only 8"},
      {labels + std::string(9, 'x'), labels,
       "has 1 axes at byte 3, 3 were expected: are images and labels exchanged?"},
      {idx({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, kPixels), labels, "more elements than 64 bits"},
      {idx({0xFFFFFFFF, 0xFFFFFFFF, 1}, kPixels), labels, "its shape [4294967295, 4294967295, 1]"},
      {idx({2, 0, 3}, ""), labels, "holds no images: its shape is [2, 0, 3]"},
      {images, idx({3}, "abc"), "labels: has 3 labels, "},
      {images, idx({2}, "\3\x0A"), "labels: label 10 at index 1 is outside 0 … 9"},
  };
  for (const auto& item : cases) {
    const auto a = folder.write("images", item.images), b = folder.write("labels", item.labels);
    const std::string error = error_of([&] { data::read_idx(a, b); });
    INFO("wanted: " << item.message << "\n   got: " << error);
    CHECK(contains(error, item.message));
  }
  const auto missing = folder.path() / "no.gz";
  CHECK(contains(error_of([&] { data::read_idx(missing, missing); }),
                 "no.gz: cannot be read: No such file"));
}

TEST_CASE("idx: a gzip bomb is refused by its header, before it is unpacked") {
  const TempFolder folder;
  const auto labels = folder.write("labels", idx({2}, kLabels));
  // 42 bytes that claim 40,000: the IDX header inside says 28.
  std::string claims = from_hex(
      "1f8b08000000000002036360e06066606060826266062e11390d231bb780a8943c001810b7751c000000");
  claims.replace(claims.size() - 4, 4, std::string("\x40\x9C\0\0", 4));
  CHECK(contains(error_of([&] { data::read_idx(folder.write("images.gz", claims), labels); }),
                 "images.gz: has 39984 bytes behind the header, its shape [2, 2, 3] needs 12"));
  claims.replace(claims.size() - 4, 4, "\xFF\xFF\xFF\xFF");
  CHECK(contains(error_of([&] { data::read_idx(folder.write("images.gz", claims), labels); }),
                 "has 4294967279 bytes behind the header"));
}

// The checksums are those of the pixels in the original files, image after image: the first 200
// (100) of each class, the classes in turn.
TEST_CASE("fashion-mnist: the shipped slice is the original's, pixel by pixel") {
  const auto train = data::fashion_mnist("mini", true), test = data::fashion_mnist("mini", false);
  CHECK(train->size() == 2000);
  CHECK(test->size() == 1000);
  CHECK(detail::crc32(bytes_of(train->images())) == 0x2AB91AD9);
  CHECK(detail::crc32(bytes_of(test->images())) == 0x711B8DF1);
  for (std::int64_t i = 0; i < 2000; ++i)
    REQUIRE(train->labels()[static_cast<std::size_t>(i)] == i % 10);
  CHECK(train->classes() == 10);
  CHECK(contains(error_of([] { data::fashion_mnist("medium", true); }), "use mini or full"));
}

TEST_CASE("fashion-mnist: the full set, or how to get it") {
  try {
    const auto set = data::fashion_mnist("full", false);
    CHECK(set->size() == 10'000);
    CHECK(detail::crc32(bytes_of(set->images())) == 0x12728439);
  } catch (const Error& error) {
    CHECK(error.exit_code() == 3);
    CHECK(contains(error.what(), "the full set is not on this machine"));
    CHECK(contains(error.what(), "apt-get install dataset-fashion-mnist"));
    CHECK(contains(error.what(), "cmake -P datasets/fetch.cmake"));
  }
}

TEST_CASE("fashion-mnist: TAPESTRY_DATA comes first, and is not passed over when it is wrong") {
  const TempFolder folder;
  folder.write("fashion-mnist/t10k-images-idx3-ubyte", idx({2, 2, 3}, kPixels));
  folder.write("fashion-mnist/t10k-labels-idx1-ubyte", idx({2}, kLabels));
  REQUIRE(::setenv("TAPESTRY_DATA", folder.path().c_str(), 1) == 0);
  CHECK(data::fashion_mnist("full", false)->size() == 2);
  folder.write("fashion-mnist/t10k-images-idx3-ubyte", "damaged");
  CHECK(contains(error_of([] { data::fashion_mnist("full", false); }), "is truncated"));
  CHECK(data::fashion_mnist("mini", false)->size() == 1000);  // not in that folder: shipped
  ::unsetenv("TAPESTRY_DATA");
  const std::string missing = error_of([] { data::shipped_file("no/such.file"); });
  CHECK(contains(missing, "no/such.file is not there; looked in "));
}
