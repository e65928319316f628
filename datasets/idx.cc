#include "datasets/idx.h"

#include <cstdlib>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/image.h"

namespace tapestry::data {
namespace {

constexpr std::size_t kMaxFile = std::size_t{1} << 30;

/// The contents of an IDX file: extents and bytes.
struct Idx {
  std::vector<std::int64_t> extents;
  std::string bytes;
};

/// The extents an IDX header claims. `length` is how long the whole file is, unpacked.
std::vector<std::int64_t> read_header(std::string_view start, std::size_t length, std::size_t rank,
                                      const std::string& name) {
  const std::size_t header = 4 + 4 * rank;
  if (length < header)
    throw Error(name, "is truncated: {} bytes, the header alone has {}", length, header);
  if (start.size() < header) throw Error(name, "is damaged: its first bytes do not unpack");
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(start[at]); };
  if (byte(0) != 0 || byte(1) != 0)
    throw Error(name, "is no IDX file: it begins with {} {}, not 0 0", byte(0), byte(1));
  if (byte(2) != 8)
    throw Error(name, "holds numbers of type {} at byte 2; only 8, unsigned bytes, is supported",
                byte(2));
  if (byte(3) != rank)
    throw Error(name, "has {} axes at byte 3, {} were expected: are images and labels exchanged?",
                byte(3), rank);
  std::vector<std::int64_t> extents;
  std::string shape;
  std::uint64_t size = 1;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    std::uint64_t extent = 0;
    for (std::size_t i = 0; i < 4; ++i) extent = extent << 8 | byte(4 + 4 * axis + i);
    if (__builtin_mul_overflow(size, extent, &size))
      throw Error(name, "claims more elements than 64 bits can count");
    extents.push_back(static_cast<std::int64_t>(extent));
    shape += (shape.empty() ? "" : ", ") + to_text(extent);
  }
  if (length - header != size) {
    throw Error(name, "has {} bytes behind the header, its shape [{}] needs {}", length - header,
                shape, size)
        .hint(length - header < size ? "the file is truncated; get it again"
                                     : "there is something behind the data");
  }
  return extents;
}

Idx read_one(const std::filesystem::path& file, std::size_t rank) {
  std::string bytes = read_file(file, kMaxFile);
  const std::string name = path_text(file);
  const std::size_t header = 4 + 4 * rank;
  Idx idx;
  if (file.extension() == ".gz") {
    // The header must agree with the claimed size before memory is taken for all of it.
    const std::size_t size = gzip_claimed_size(bytes, name);
    idx.extents = read_header(gunzip_start(bytes, header, name), size, rank, name);
    bytes = gunzip(bytes, size, name);
    if (read_header(bytes, size, rank, name) != idx.extents)
      throw Error(name, "is damaged: its header does not unpack the same way twice");
  } else {
    idx.extents = read_header(bytes, bytes.size(), rank, name);
  }
  idx.bytes = bytes.substr(header);
  return idx;
}

std::filesystem::path either(const std::filesystem::path& folder, const std::string& name) {
  const std::filesystem::path plain = folder / name, packed = folder / (name + ".gz");
  std::error_code ignored;
  return std::filesystem::exists(plain, ignored) ? plain : packed;
}

}  // namespace

std::unique_ptr<InMemory> read_idx(const std::filesystem::path& images,
                                   const std::filesystem::path& labels, int classes) {
  const Idx pictures = read_one(images, 3), numbers = read_one(labels, 1);
  const std::int64_t n = pictures.extents[0];
  if (numbers.extents[0] != n) {
    throw Error(path_text(labels), "has {} labels, {} has {} images", numbers.extents[0],
                path_text(images), n);
  }
  if (n < 1 || pictures.extents[1] < 1 || pictures.extents[2] < 1)
    throw Error(path_text(images), "holds no images: its shape is {}", Shape(pictures.extents));
  Tensor tensor = Tensor::empty({n, 1, pictures.extents[1], pictures.extents[2]});
  std::span<Real> to = tensor.mutable_data();
  for (std::size_t i = 0; i < to.size(); ++i)
    to[i] = static_cast<Real>(static_cast<unsigned char>(pictures.bytes[i])) / 255;
  std::vector<std::int32_t> classes_of;
  for (std::size_t i = 0; i < numbers.bytes.size(); ++i) {
    classes_of.push_back(static_cast<unsigned char>(numbers.bytes[i]));
    if (classes_of.back() >= classes) {
      throw Error(path_text(labels), "label {} at index {} is outside 0 … {}", classes_of.back(), i,
                  classes - 1);
    }
  }
  return std::make_unique<InMemory>(std::move(tensor), std::move(classes_of), classes,
                                    format("{} images from {}", n, path_text(images.filename())));
}

std::filesystem::path shipped_file(const std::string& name) {
  std::vector<std::filesystem::path> places;
  if (const char* folder = std::getenv("TAPESTRY_DATA"); folder != nullptr && *folder != '\0')
    places.emplace_back(folder);
  places.emplace_back(TAPESTRY_DATASETS_DIR);
  std::error_code ignored;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  if (!program.empty())
    places.push_back(program.parent_path().parent_path() / "share" / "tapestry" / "datasets");
  std::string searched;
  for (const std::filesystem::path& place : places) {
    if (std::filesystem::exists(place / name, ignored)) return place / name;
    searched += (searched.empty() ? "" : ", ") + place.string();
  }
  throw Error("datasets", "{} is not there; looked in {}", name, searched)
      .hint("set TAPESTRY_DATA to the datasets folder of the source tree")
      .fault(Fault::kEnvironment);
}

namespace {

std::unique_ptr<InMemory> mini(bool train) {
  const std::string part = train ? "train" : "test";
  const std::int64_t count = train ? 2000 : 1000;
  const Tensor sheet = read_image(shipped_file("mini/" + part + ".png"), 1);
  const std::filesystem::path label_file = shipped_file("mini/" + part + "_labels.txt");
  const std::string text = read_file(label_file, 1 << 20);
  std::vector<std::int32_t> labels;
  for (const char c : text) {
    if (c >= '0' && c <= '9') labels.push_back(c - '0');
  }
  if (static_cast<std::int64_t>(labels.size()) != count)
    throw Error(path_text(label_file), "has {} labels, {} were expected", labels.size(), count);
  return std::make_unique<InMemory>(cut_sheet(sheet, 28, 28, count), std::move(labels), 10,
                                    format("Fashion-MNIST mini, {} {} images", count, part));
}

std::unique_ptr<InMemory> full(bool train) {
  const std::string part = train ? "train" : "t10k", kind = "-images-idx3-ubyte";
  std::vector<std::filesystem::path> places;
  if (const char* folder = std::getenv("TAPESTRY_DATA"); folder != nullptr && *folder != '\0') {
    places.emplace_back(folder);
    places.emplace_back(std::filesystem::path(folder) / "fashion-mnist");
  }
  places.emplace_back("/usr/share/datasets/fashion-mnist");
  places.emplace_back(std::filesystem::path(TAPESTRY_DATASETS_DIR) / "cache" / "fashion-mnist");
  for (const std::filesystem::path& place : places) {
    const std::filesystem::path images = either(place, part + kind);
    std::error_code ignored;
    if (!std::filesystem::exists(images, ignored)) continue;
    auto set = read_idx(images, either(place, part + "-labels-idx1-ubyte"));
    return std::make_unique<InMemory>(
        set->images(), set->labels(), 10,
        format("Fashion-MNIST, all {} {} images", set->size(), train ? "train" : "test"));
  }
  throw Error("fashion_mnist", "the full set is not on this machine")
      .hint(
          "apt-get install dataset-fashion-mnist, or cmake -P datasets/fetch.cmake; or use "
          "\"source\": \"mini\"")
      .fault(Fault::kEnvironment);
}

}  // namespace

std::unique_ptr<InMemory> fashion_mnist(const std::string& source, bool train) {
  if (source == "mini") return mini(train);
  if (source == "full") return full(train);
  throw Error("fashion_mnist", "there is no source \"{}\"", source).hint("use mini or full");
}

}  // namespace tapestry::data
