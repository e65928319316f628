#include "datasets/builder.h"

#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include "datasets/synthetic.h"
#include "tests/support/errors.h"
#include "tests/support/pictures.h"
#include "tests/support/temp_folder.h"

using namespace tapestry;
using namespace tapestry::testing;

namespace {

data::DataSetting setting_of(const std::string& json) {
  data::DataSetting setting;
  Problems problems;
  read_settings(parse_json(json, "c.json"), setting, problems, "/data");
  problems.throw_if_any();
  return setting;
}

data::DataPair build(const std::string& json, const std::filesystem::path& base = ".") {
  return data::make_data(setting_of(json), base, Rng(1));
}

std::string problem(const std::string& json) {
  return error_of([&] { setting_of(json); });
}

}  // namespace

TEST_CASE("data settings: every kind that needs no file can be made") {
  const struct {
    const char* json;
    Shape shape;
    int classes;
  } cases[] = {
      {R"({"type": "fashion_mnist"})", {1, 28, 28}, 10},
      {R"({"type": "fashion_mnist", "size": 32, "range": [-1, 1]})", {1, 32, 32}, 10},
      {R"({"type": "fashion_mnist", "size": 14})", {1, 14, 14}, 10},
      {R"({"type": "fashion_mnist", "size": 56})", {1, 56, 56}, 10},
      {R"({"type": "ring", "count": 100})", {2}, 8},
      {R"({"type": "grid", "count": 100})", {2}, 25},
      {R"({"type": "shapes", "count": 100, "size": 16})", {1, 16, 16}, 4},
      {R"({"type": "scenes", "count": 10, "size": 16})", {3, 16, 16}, 1},
      {R"({"type": "textures", "count": 10, "size": 16})", {3, 16, 16}, 4},
  };
  for (const auto& item : cases) {
    INFO(item.json);
    const data::DataPair pair = build(item.json);
    CHECK(pair.train->shape() == item.shape);
    CHECK(pair.test->shape() == item.shape);
    CHECK(pair.train->classes() == item.classes);
    CHECK(pair.train->get(0).image.data()[0] >= -5);
    CHECK(!pair.train->describe().empty());
  }
}

TEST_CASE("data settings: pixels go from black and white to the range, borders are black") {
  const data::DataPair plain = build(R"({"type": "fashion_mnist"})"),
                       wide = build(R"({"type": "fashion_mnist", "size": 32, "range": [-1, 1]})");
  const Tensor a = plain.train->get(5).image, b = wide.train->get(5).image;
  for (std::int64_t y = 0; y < 32; ++y) {
    for (std::int64_t x = 0; x < 32; ++x) {
      const bool inside = y >= 2 && y < 30 && x >= 2 && x < 30;
      const Real want =
          inside ? 2 * a.data()[static_cast<std::size_t>((y - 2) * 28 + x - 2)] - 1 : Real(-1);
      REQUIRE(b.data()[static_cast<std::size_t>(y * 32 + x)] == doctest::Approx(want));
    }
  }
}

TEST_CASE("data settings: mistakes are told by path, with what is possible") {
  CHECK(contains(problem(R"({"type": "mnist"})"), "/data/type\n  must be one of fashion_mnist"));
  CHECK(contains(problem(R"({"type": "cifar10"})"), "the key \"folder\" is missing"));
  CHECK(contains(problem(R"({"type": "ring", "size": 3})"),
                 "unknown key \"size\" in ring\n  it takes: type, count"));
  CHECK(contains(problem(R"({"source": "medium"})"), "must be one of mini, full"));
  CHECK(contains(problem(R"({"range": [0, 0]})"), "two different numbers"));
  CHECK(contains(problem(R"({"size": 3})"), "from 4 to 1024, but is 3"));
  CHECK(contains(problem(R"({"type": "image_folder", "folder": "x", "channels": 2})"),
                 "must be 1 or 3, but is 2"));
  CHECK(contains(error_of([] { build(R"({"type": "image_folder", "folder": "no"})", "/x"); }),
                 "/x/no: is not a folder"));
}

TEST_CASE("data settings: folders with train and test, or every fifth picture held out") {
  const TempFolder folder;
  const auto picture = [](int value) {
    return make_png(4, 4, 8, 0, [=](int, int, int) { return value; });
  };
  for (int i = 0; i < 10; ++i) {
    folder.write("all/c/" + std::to_string(i) + ".png", picture(i));
    folder.write(i < 7 ? "parts/train/c/" + std::to_string(i) + ".png"
                       : "parts/test/c/" + std::to_string(i) + ".png",
                 picture(i));
  }
  const auto json = [](const std::string& name) {
    return R"({"type": "image_folder", "size": 4, "channels": 1, "folder": ")" + name + "\"}";
  };
  const data::DataPair all = build(json("all"), folder.path()),
                       parts = build(json("parts"), folder.path());
  CHECK(all.train->size() == 8);
  CHECK(all.test->size() == 2);
  CHECK(all.test->get(0).image.data()[0] == doctest::Approx(4 / 255.0));
  CHECK(parts.train->size() == 7);
  CHECK(parts.test->size() == 3);
}

TEST_CASE("data settings: flips turn whole rows around") {
  CHECK(!data::make_augment(setting_of(R"({"flip": 0})")));
  const data::Augment always = data::make_augment(setting_of(R"({"flip": 1})")),
                      half = data::make_augment(setting_of(R"({"flip": 0.5})"));
  data::Batch batch = data::first(data::Shapes(64, 8, Rng(1)), 64);
  const Tensor before = batch.images;
  Rng rng(1);
  always(batch, rng);
  for (std::size_t row = 0; row < 64 * 8; ++row) {
    for (std::size_t x = 0; x < 8; ++x)
      REQUIRE(batch.images.data()[8 * row + x] == before.data()[8 * row + 7 - x]);
  }
  batch.images = before;
  half(batch, rng);
  int flipped = 0;
  for (std::size_t i = 0; i < 64; ++i) {
    flipped += !std::equal(before.data().begin() + static_cast<std::ptrdiff_t>(64 * i),
                           before.data().begin() + static_cast<std::ptrdiff_t>(64 * (i + 1)),
                           batch.images.data().begin() + static_cast<std::ptrdiff_t>(64 * i));
  }
  CHECK(flipped > 16);
  CHECK(flipped < 48);
}
