#include "datasets/files.h"

#include <cmath>
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

std::string record(const std::string& labels, int fill) {
  std::string text = labels;
  for (int i = 0; i < 3072; ++i) text += static_cast<char>((fill + i) % 251);
  return text;
}

std::string grey_png(int width, int height, int value) {
  return make_png(width, height, 8, 0, [=](int, int, int) { return value; });
}

}  // namespace

TEST_CASE("cifar: both versions of the binary format") {
  const TempFolder folder;
  for (int i = 1; i <= 5; ++i) {
    folder.write("data_batch_" + std::to_string(i) + ".bin",
                 record(std::string(1, static_cast<char>(i)), i) + record("\x09", 100));
  }
  const auto ten = data::cifar(folder.path(), false, true);
  CHECK(ten->size() == 10);
  CHECK(ten->shape() == Shape{3, 32, 32});
  CHECK(ten->labels() == std::vector<std::int32_t>{1, 9, 2, 9, 3, 9, 4, 9, 5, 9});
  CHECK(ten->get(4).image.data()[1000] == doctest::Approx((3 + 1000) % 251 / 255.0));
  folder.write("test.bin", record("\x05\x63", 0));  // coarse 5, fine 99
  const auto hundred = data::cifar(folder.path(), true, false);
  CHECK(hundred->classes() == 100);
  CHECK(hundred->labels() == std::vector<std::int32_t>{99});

  const auto fails = [&](const std::string& bytes) {
    folder.write("test_batch.bin", bytes);
    return error_of([&] { data::cifar(folder.path(), false, false); });
  };
  CHECK(contains(fails(record("\1", 0) + "x"),
                 "test_batch.bin: is 3074 bytes long, which is no multiple of a record's 3073"));
  CHECK(contains(fails(""), "is 0 bytes long"));
  CHECK(contains(fails(record("\1", 0) + record("\x0A", 0)),
                 "label 10 at byte 3073 is outside 0 … 9"));
  CHECK(contains(error_of([&] { data::cifar(folder.path() / "no", true, true); }),
                 "no/train.bin: cannot be read: No such file"));
}

TEST_CASE("image folder: a class per subfolder, cut to squares") {
  const TempFolder folder;
  folder.write("dogs/b.png", grey_png(8, 8, 51));
  folder.write("dogs/a.PNG", grey_png(40, 8, 102));
  folder.write("cats/x.bmp", make_bmp(4, 9, 24, [](int, int, int c) { return 60 * (c + 1); }));
  folder.write("cats/y.jpg", baseline_jpeg());
  folder.write("cats/notes.txt", "no picture, and not looked at");
  const auto set = data::image_folder(folder.path(), {.size = 8});
  CHECK(set->size() == 4);
  CHECK(set->shape() == Shape{3, 8, 8});
  CHECK(set->classes() == 2);
  CHECK(set->labels() == std::vector<std::int32_t>{0, 0, 1, 1});  // cats, dogs
  CHECK(set->get(0).image.data()[64] == doctest::Approx(120 / 255.0));
  CHECK(set->get(2).image.data()[0] == doctest::Approx(102 / 255.0));  // a.PNG before b.png
  CHECK(set->get(3).image.data()[0] == doctest::Approx(51 / 255.0));
  const auto grey = data::image_folder(folder.path() / "dogs", {.size = 5, .channels = 1});
  CHECK(grey->shape() == Shape{1, 5, 5});
  CHECK(grey->classes() == 1);
}

TEST_CASE("image folder: one bad picture stops, or is left out and named") {
  const TempFolder folder;
  folder.write("a.png", grey_png(8, 8, 51));
  folder.write("b.png", grey_png(8, 8, 51).substr(0, 50));
  folder.write("c\x1b.png", "");
  const std::string error = error_of([&] { data::image_folder(folder.path(), {.size = 8}); });
  CHECK(contains(error, "b.png: is no intact PNG file"));
  const auto set = data::image_folder(folder.path(), {.size = 8, .skip_bad = true});
  CHECK(set->size() == 1);
  CHECK(contains(set->describe(), "2 bad files left out: b.png, c\\x1b.png"));
  const TempFolder empty;
  CHECK(contains(error_of([&] { data::image_folder(empty.path(), {}); }),
                 "holds no PNG, JPEG or BMP picture that can be read"));
  CHECK(
      contains(error_of([&] { data::image_folder(empty.path() / "no", {}); }), "is not a folder"));
}

TEST_CASE("fit_square: the middle, averaged or interpolated") {
  Tensor wide = Tensor::empty({1, 2, 6});
  for (std::size_t i = 0; i < 12; ++i) wide.mutable_data()[i] = static_cast<Real>(i % 6);
  const Tensor cut = data::fit_square(wide, 2);
  CHECK(cut.data()[0] == 2);
  CHECK(cut.data()[1] == 3);
  CHECK(data::fit_square(wide, 1).item() == doctest::Approx(2.5));
  CHECK(data::fit_square(wide, 4).shape() == Shape{1, 4, 4});
  // A line as long as pictures may be costs no more than its middle.
  const Tensor line = Tensor::full({3, 1, 16384}, Real(0.25));
  const Tensor square = data::fit_square(line, 64);
  CHECK(square.shape() == Shape{3, 64, 64});
  CHECK(square.data()[5000] == doctest::Approx(0.25));
}
