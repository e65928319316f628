#include "datasets/files.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"
#include "core/file.h"
#include "core/image.h"
#include "core/ops/movement.h"
#include "core/ops/pool.h"

namespace tapestry::data {

std::unique_ptr<InMemory> cifar(const std::filesystem::path& folder, bool hundred, bool train) {
  std::vector<std::string> names;
  if (hundred) {
    names = {train ? "train.bin" : "test.bin"};
  } else if (train) {
    for (int i = 1; i <= 5; ++i) names.push_back("data_batch_" + std::to_string(i) + ".bin");
  } else {
    names = {"test_batch.bin"};
  }
  const std::size_t label_bytes = hundred ? 2 : 1, pixels = 3 * 32 * 32,
                    record = label_bytes + pixels;
  const int classes = hundred ? 100 : 10;
  std::string all;
  std::vector<std::int32_t> labels;
  for (const std::string& name : names) {
    const std::string bytes = read_file(folder / name, std::size_t{1} << 30),
                      file = path_text(folder / name);
    if (bytes.empty() || bytes.size() % record != 0) {
      throw Error(file, "is {} bytes long, which is no multiple of a record's {}", bytes.size(),
                  record)
          .hint("the file is truncated, or not CIFAR's binary version");
    }
    for (std::size_t at = 0; at < bytes.size(); at += record) {
      // CIFAR-100 has the coarse label first, the fine one second.
      labels.push_back(static_cast<unsigned char>(bytes[at + label_bytes - 1]));
      if (labels.back() >= classes)
        throw Error(file, "label {} at byte {} is outside 0 … {}", labels.back(),
                    at + label_bytes - 1, classes - 1);
      all.append(bytes, at + label_bytes, pixels);
    }
  }
  Tensor images = Tensor::empty({static_cast<std::int64_t>(labels.size()), 3, 32, 32});
  std::span<Real> to = images.mutable_data();
  for (std::size_t i = 0; i < to.size(); ++i)
    to[i] = static_cast<Real>(static_cast<unsigned char>(all[i])) / 255;
  const std::string description =
      format("CIFAR-{}, {} {} images", classes, labels.size(), train ? "train" : "test");
  return std::make_unique<InMemory>(std::move(images), std::move(labels), classes, description);
}

Tensor fit_square(const Tensor& image, std::int64_t size) {
  const std::int64_t h = image.dim(1), w = image.dim(2);
  const std::int64_t side = std::min(h, w), top = (h - side) / 2, left = (w - side) / 2;
  // Cut first: scaling a picture of 1 × 16,384 pixels as a whole would take more memory than there
  // is.
  Tensor square = slice(slice(image, 1, {.start = top, .end = top + side}), 2,
                        {.start = left, .end = left + side});
  square = unsqueeze(square, {0});
  const int target = static_cast<int>(size);
  if (side > size) square = adaptive_avg_pool2d(square, target);  // averaging: nothing aliases
  if (side < size) square = upsample(square, target, Resample::kBilinear);
  return reshape(square, Shape{image.dim(0), size, size});
}

std::unique_ptr<InMemory> image_folder(const std::filesystem::path& folder,
                                       const ImageFolderOptions& options) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error))
    throw Error(path_text(folder), "is not a folder")
        .hint("paths in a config are relative to the config file");
  const auto sorted = [](const std::filesystem::path& place, bool folders) {
    std::vector<std::filesystem::path> found;
    std::error_code failure, ignored;
    for (std::filesystem::directory_iterator entry(place, failure), end; !failure && entry != end;
         entry.increment(failure)) {
      if (folders ? entry->is_directory(ignored) : entry->is_regular_file(ignored))
        found.push_back(entry->path());
    }
    if (failure) throw Error(path_text(place), "cannot be listed: {}", failure.message());
    std::sort(found.begin(), found.end());
    return found;
  };
  std::vector<std::filesystem::path> classes = sorted(folder, true);
  if (classes.empty()) classes = {folder};
  std::vector<Tensor> images;
  std::vector<std::int32_t> labels;
  std::string skipped;
  int skipped_count = 0;
  for (std::size_t c = 0; c < classes.size(); ++c) {
    for (const std::filesystem::path& file : sorted(classes[c], false)) {
      std::string ending = file.extension().string();
      std::transform(ending.begin(), ending.end(), ending.begin(),
                     [](unsigned char letter) { return std::tolower(letter); });
      if (ending != ".png" && ending != ".jpg" && ending != ".jpeg" && ending != ".bmp") continue;
      try {
        images.push_back(fit_square(read_image(file, options.channels), options.size));
        labels.push_back(static_cast<std::int32_t>(c));
      } catch (const Error&) {
        if (!options.skip_bad) throw;
        if (++skipped_count <= 5)
          skipped += (skipped.empty() ? "" : ", ") + path_text(file.filename());
      }
    }
  }
  if (images.empty())
    throw Error(path_text(folder), "holds no PNG, JPEG or BMP picture that can be read");
  std::string description =
      format("{} pictures in {} classes from {}", images.size(), classes.size(), path_text(folder));
  if (skipped_count > 0)
    description += format("; {} bad files left out: {}{}", skipped_count, skipped,
                          skipped_count > 5 ? ", …" : "");
  return std::make_unique<InMemory>(stack(images, 0), std::move(labels),
                                    static_cast<int>(classes.size()), description);
}

}  // namespace tapestry::data
