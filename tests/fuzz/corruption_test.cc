// Every parser of files from outside meets damaged files: whatever comes, it gives a value or
// throws an Error. Meant to run under the sanitizers too; TAPESTRY_FUZZ_RUNS sets the number of
// files per parser, TAPESTRY_FUZZ_SEED which ones.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include "core/checkpoint.h"
#include "core/error.h"
#include "core/image.h"
#include "core/json.h"
#include "core/random.h"
#include "datasets/builder.h"
#include "datasets/idx.h"
#include "tests/support/pictures.h"
#include "tests/support/temp_folder.h"

using namespace tapestry;
using namespace tapestry::testing;

namespace {

std::int64_t from_environment(const char* name, std::int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

/// One to four changes: bits, bytes with a meaning, lost, repeated and exchanged stretches, other
/// lengths.
std::string damaged(std::string bytes, const std::vector<std::string>& seeds, Rng& rng) {
  const auto place = [&](std::size_t size) {
    return static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(size) + 1));
  };
  const std::int64_t changes = 1 + rng.below(4);
  for (std::int64_t i = 0; i < changes && !bytes.empty(); ++i) {
    const std::size_t at = place(bytes.size() - 1);
    switch (rng.below(8)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << rng.below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(rng.below(256));
        break;
      case 2: {
        static constexpr unsigned char kTelling[] = {0,    1,  0x7F, 0x80, 0xFF,
                                                     0xFE, 16, '"',  '{',  '['};
        bytes[at] = static_cast<char>(kTelling[rng.below(std::size(kTelling))]);
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.erase(at, place(16));
        break;
      case 5:
        bytes.insert(at, bytes.substr(place(bytes.size() - 1), place(64)));
        break;
      case 6:  // four bytes as a number: lengths, offsets, sizes
        for (std::size_t k = at; k < std::min(at + 4, bytes.size()); ++k)
          bytes[k] = static_cast<char>(rng.below(2) * 255);
        break;
      default: {
        const std::string& other =
            seeds[static_cast<std::size_t>(rng.below(static_cast<std::int64_t>(seeds.size())))];
        bytes = bytes.substr(0, at) + other.substr(std::min(at, other.size()));
      }
    }
  }
  return bytes;
}

struct Outcome {
  std::int64_t accepted = 0, refused = 0;
};

/// Gives damaged seeds to the parser, which throws nothing but Error.
Outcome feed(const std::string& name, const std::vector<std::string>& seeds,
             const std::function<void(const std::string&)>& parse, std::int64_t share = 1,
             const std::function<void(std::string&)>& repair = {}) {
  const std::int64_t runs = from_environment("TAPESTRY_FUZZ_RUNS", 4000) / share;
  Rng rng = Rng(static_cast<std::uint64_t>(from_environment("TAPESTRY_FUZZ_SEED", 1))).split(name);
  Outcome outcome;
  for (std::int64_t i = 0; i < runs; ++i) {
    const std::string& seed = seeds[static_cast<std::size_t>(i) % seeds.size()];
    std::string bytes = damaged(seed, seeds, rng);
    if (repair && i % 4 != 0) repair(bytes);
    try {
      parse(bytes);
      ++outcome.accepted;
    } catch (const Error& error) {
      ++outcome.refused;
      REQUIRE(std::string_view(error.what()).size() < 2000);
    }
  }
  MESSAGE(name << ": " << outcome.accepted << " accepted, " << outcome.refused << " refused");
  return outcome;
}

/// Makes the checksums of a PNG right again, so that damage gets past them.
void repair_png(std::string& bytes) {
  const auto big32 = [&](std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
      value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
  };
  for (std::size_t at = 8; at + 12 <= bytes.size();) {
    const std::size_t length = big32(at);
    if (length > bytes.size() - at - 12) return;
    const std::uint32_t crc = detail::crc32(std::string_view(bytes).substr(at + 4, 4 + length));
    for (std::size_t i = 0; i < 4; ++i)
      bytes[at + 8 + length + i] = static_cast<char>(crc >> (24 - 8 * i));
    at += 12 + length;
  }
}

}  // namespace

TEST_CASE("corruption: pictures") {
  const auto sample = [](int x, int y, int c) { return x * 5 + y * 3 + c; };
  const std::string palette = png_chunk("PLTE", std::string(30, 'p'));
  const std::vector<std::string> pngs = {
      make_png(9, 7, 8, 2, sample),
      make_png(
          9, 7, 1, 0, [](int x, int y, int) { return (x + y) % 2; }, "", true),
      make_png(9, 7, 16, 6, sample, "", true),
      make_png(
          9, 7, 8, 3, [](int x, int, int) { return x; }, palette + png_chunk("tRNS", "abc")),
      make_png(
          9, 7, 4, 3, [](int x, int, int) { return x; }, palette),
      make_png(9, 7, 8, 0, sample, png_chunk("tRNS", std::string("\0\5", 2))),
      encode_png(Tensor::full({3, 20, 30}, Real(0.3)))};
  const ImageLimits limits{.pixels = 1 << 20, .memory = std::int64_t{32} << 20};
  const auto decode = [&](const std::string& bytes) {
    const Tensor image = decode_image(bytes, "x", 3, limits);
    for (const Real value : image.data()) REQUIRE((value >= 0 && value <= 1));
    // The same file gives the same pixels: nothing comes from memory that was not written.
    const Tensor again = decode_image(bytes, "x", 3, limits);
    REQUIRE(std::equal(image.data().begin(), image.data().end(), again.data().begin()));
  };
  const Outcome png_outcome = feed("png", pngs, decode, 1, repair_png);
  CHECK(png_outcome.accepted > 0);  // else the decoder has not been reached
  CHECK(png_outcome.refused > 0);
  CHECK(feed("jpeg", {grey_jpeg(), baseline_jpeg(), progressive_jpeg()}, decode).accepted > 0);
  const std::vector<std::string> bmps = {
      make_bmp(5, 4, 24, sample), make_bmp(5, -4, 32, sample),
      make_bmp(
          5, 4, 8, [](int x, int, int) { return x; }, std::string(16, 'p')),
      make_bmp(
          9, 4, 1, [](int x, int, int) { return x % 2; }, std::string(8, 'p'))};
  CHECK(feed("bmp", bmps, decode).accepted > 0);
}

TEST_CASE("corruption: checkpoints") {
  Checkpoint checkpoint;
  checkpoint.tensors = {{"a.weight", Tensor::ones({2, 3})},
                        {"a.num_batches_tracked", Tensor::scalar(3)},
                        {"none", Tensor::zeros({0})}};
  checkpoint.texts = {{"note", "x\n\"y\""}};
  const Outcome outcome = feed("checkpoint", {checkpoint_bytes(checkpoint), checkpoint_bytes({})},
                               [](const std::string& bytes) {
                                 const Checkpoint read = parse_checkpoint(bytes, "x");
                                 std::size_t held = 0;
                                 for (const auto& entry : read.tensors)
                                   held += static_cast<std::size_t>(entry.value.size());
                                 REQUIRE(held <= bytes.size());
                               });
  CHECK(outcome.accepted > 0);
  CHECK(outcome.refused > 0);
}

TEST_CASE("corruption: configs") {
  const std::vector<std::string> texts = {
      R"({"type": "scenes", "count": 20, "size": 32, // words
          "range": [-1, 1], "flip": 0.5})",
      R"({"a": [1, 2.5e-3, -7, true, null, "é\n\u00e9"], /* x */ "b": {"c": {}, "d": []}})"};
  const Outcome outcome = feed("config", texts, [](const std::string& bytes) {
    const Json json = parse_json(bytes, "c.json");
    const std::string text = json.dump();
    REQUIRE(parse_json(text, "again") == json);
    REQUIRE(parse_json(text, "again").dump() == text);
    data::DataSetting setting;
    Problems problems;
    read_settings(json, setting, problems);
    problems.throw_if_any();
    REQUIRE((setting.size >= 4 && setting.size <= 1024));
  });
  CHECK(outcome.accepted > 0);
  CHECK(outcome.refused > 0);
  feed("path", {"model.generator.blocks[2].width", "a[0][1].b"}, [](const std::string& bytes) {
    Json root = parse_json(R"({"a": [[1, {"b": 2}]], "model": {}})", "t");
    set_path(root, bytes, parse_loosely(bytes));
    REQUIRE(find_path(root, bytes) != nullptr);
  });
}

TEST_CASE("corruption: IDX files and gzip") {
  const TempFolder folder;
  std::string images("\0\0\x08\x03\0\0\0\x02\0\0\0\x03\0\0\0\x02", 16);
  images += std::string(12, 'p');
  const auto labels = folder.write("labels", std::string("\0\0\x08\x01\0\0\0\x02\1\2", 10));
  const auto idx = [&](const char* name) {
    return [&, name](const std::string& bytes) {
      const auto set = data::read_idx(folder.write(name, bytes), labels);
      REQUIRE(set->size() == 2);
    };
  };
  CHECK(feed("idx", {images}, idx("images"), 4).accepted > 0);
  const std::string packed = from_hex(
      "1f8b08000000000002036360e06066606060826266062e11390d231bb780a8943c001810b7751c000000");
  CHECK(feed("gzip", {packed}, idx("images.gz"), 4).refused > 0);
  feed("inflate", {packed}, [](const std::string& bytes) {
    gunzip_start(bytes, 20, "x");
    gunzip(bytes, std::min<std::size_t>(gzip_claimed_size(bytes, "x"), 1 << 16), "x");
  });
}
