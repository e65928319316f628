#include "datasets/builder.h"

#include <algorithm>

#include "core/error.h"
#include "core/ops/arithmetic.h"
#include "core/ops/pad.h"
#include "core/ops/pool.h"
#include "datasets/files.h"
#include "datasets/idx.h"
#include "datasets/synthetic.h"

namespace tapestry::data {

void describe(Fields& f, DataSetting& s) {
  f.variant("type", s.type,
            {"fashion_mnist", "cifar10", "cifar100", "image_folder", "ring", "grid", "shapes",
             "scenes", "textures"},
            "which data");
  const bool files = s.type == "cifar10" || s.type == "cifar100" || s.type == "image_folder",
             points = s.type == "ring" || s.type == "grid";
  if (s.type == "fashion_mnist")
    f.choice("source", s.source, {"mini", "full"},
             "mini: the 2,000 images that are shipped; full: all 60,000");
  if (files) {
    f.required("folder");
    f.string("folder", s.folder, "where the files are, relative to the config");
  } else if (s.type != "fashion_mnist") {
    f.integer("count", s.count, {.min = 1, .max = 1e8}, "examples made");
  }
  if (s.type == "image_folder") {
    f.integer("channels", s.channels, {.min = 1, .max = 3}, "1: grey, 3: RGB");
    if (s.channels == 2) f.problem("channels", "must be 1 or 3, but is 2");
    f.choice("on_bad_image", s.on_bad_image, {"error", "skip"},
             "what to do with files that cannot be read");
  }
  if (points) return;
  if (!f.given("size"))
    s.size = s.type == "fashion_mnist" ? 28 : s.type.starts_with("cifar") ? 32 : 64;
  f.integer("size", s.size, {.min = 4, .max = 1024},
            "height and width in pixels; smaller pictures are enlarged or, for grey 28 × 28, given "
            "a border");
  f.numbers("range", s.range, 2, {.min = -1e3, .max = 1e3}, false,
            "pixel values of black and white");
  if (s.range.size() == 2 && s.range[0] == s.range[1])
    f.problem("range", "must be two different numbers: else all pictures are the same");
  f.number("flip", s.flip, {.min = 0, .max = 1}, "probability of a left-right flip while training");
}

namespace {

/// All images to size × size and from [0, 1] to the range.
std::unique_ptr<Dataset> adapted(std::unique_ptr<InMemory> set, const DataSetting& s) {
  Tensor images = set->images();
  const std::int64_t h = images.dim(2), size = s.size;
  if (h < size && size - h <= 8) {
    const std::int64_t before = (size - h) / 2, after = size - h - before;
    images =
        pad(images, {{before, after},
                     {before, after}});  // 28 → 32: a black border keeps the pixels as they are
  } else if (h < size) {
    images = upsample(images, static_cast<int>(size), Resample::kBilinear);
  } else if (h > size) {
    images = adaptive_avg_pool2d(images, static_cast<int>(size));
  }
  const Real low = static_cast<Real>(s.range[0]), high = static_cast<Real>(s.range[1]);
  if (low != 0 || high != 1) images = affine(images, high - low, low);
  return std::make_unique<InMemory>(images, set->labels(), set->classes(), set->describe());
}

std::unique_ptr<InMemory> in_memory(const Dataset& set) {
  Batch all = first(set, set.size());
  return std::make_unique<InMemory>(all.images, all.labels, set.classes(), set.describe());
}

}  // namespace

DataPair make_data(const DataSetting& s, const std::filesystem::path& base, const Rng& rng) {
  const std::filesystem::path folder = std::filesystem::path(s.folder).is_absolute()
                                           ? std::filesystem::path(s.folder)
                                           : base / s.folder;
  const Rng train = rng.split("train"), test = rng.split("test");
  if (s.type == "ring") return {ring(s.count, train), ring(s.count, test)};
  if (s.type == "grid") return {grid(s.count, train), grid(s.count, test)};
  const std::int64_t test_count = std::max<std::int64_t>(64, s.count / 5);
  if (s.type == "shapes")
    return {adapted(in_memory(Shapes(s.count, s.size, train)), s),
            adapted(in_memory(Shapes(test_count, s.size, test)), s)};
  if (s.type == "scenes")
    return {adapted(in_memory(Scenes(s.count, s.size, train)), s),
            adapted(in_memory(Scenes(test_count, s.size, test)), s)};
  if (s.type == "textures")
    return {adapted(in_memory(Textures(s.count, s.size, train)), s),
            adapted(in_memory(Textures(test_count, s.size, test)), s)};
  if (s.type == "cifar10" || s.type == "cifar100") {
    const bool hundred = s.type == "cifar100";
    return {adapted(cifar(folder, hundred, true), s), adapted(cifar(folder, hundred, false), s)};
  }
  if (s.type == "image_folder") {
    const ImageFolderOptions options{.size = s.size,
                                     .channels = static_cast<int>(s.channels),
                                     .skip_bad = s.on_bad_image == "skip"};
    // With subfolders train and test these are the two sets; else every fifth picture is for
    // testing.
    std::error_code ignored;
    if (std::filesystem::is_directory(folder / "train", ignored) &&
        std::filesystem::is_directory(folder / "test", ignored)) {
      return {adapted(image_folder(folder / "train", options), s),
              adapted(image_folder(folder / "test", options), s)};
    }
    const auto all = image_folder(folder, options);
    std::vector<std::int64_t> kept, held;
    for (std::int64_t i = 0; i < all->size(); ++i) (i % 5 == 4 ? held : kept).push_back(i);
    if (held.empty()) held = kept;
    const auto part = [&](const std::vector<std::int64_t>& which) {
      Batch batch = collect(*all, which);
      return adapted(
          std::make_unique<InMemory>(batch.images, batch.labels, all->classes(), all->describe()),
          s);
    };
    return {part(kept), part(held)};
  }
  return {adapted(fashion_mnist(s.source, true), s), adapted(fashion_mnist(s.source, false), s)};
}

Augment make_augment(const DataSetting& s) {
  if (s.flip <= 0) return {};
  return [probability = s.flip](Batch& batch, Rng& rng) {
    Tensor images = batch.images.clone();
    std::span<Real> pixels = images.mutable_data();
    const std::int64_t width = images.dim(-1), rows = images.size() / images.dim(0) / width;
    for (std::int64_t i = 0; i < images.dim(0); ++i) {
      if (rng.uniform() >= probability) continue;
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto begin = pixels.begin() + (i * rows + r) * width;
        std::reverse(begin, begin + width);
      }
    }
    batch.images = images;
  };
}

}  // namespace tapestry::data
