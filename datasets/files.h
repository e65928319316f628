// Datasets in files of other kinds: CIFAR's binary batches and folders of pictures.
#ifndef TAPESTRY_DATASETS_FILES_H_
#define TAPESTRY_DATASETS_FILES_H_

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "datasets/dataset.h"

namespace tapestry::data {

/// CIFAR-10 or CIFAR-100 in the binary version (Krizhevsky 2009): (3, 32, 32), 10 classes, or the
/// 100 fine ones. `folder` holds data_batch_1.bin … or train.bin. Throws Error when a file is
/// missing, is not a whole number of records, or holds a label outside the classes.
std::unique_ptr<InMemory> cifar(const std::filesystem::path& folder, bool hundred, bool train);

struct ImageFolderOptions {
  std::int64_t size = 64;  // the middle square of every picture is scaled to size × size pixels
  int channels = 3;
  bool skip_bad = false;  // leave out files that cannot be read, and name them in describe(); else
                          // the first one is an Error
};
/// Pictures below a folder, one class per subfolder in alphabetical order (one class if there are
/// none). All are read at once.
std::unique_ptr<InMemory> image_folder(const std::filesystem::path& folder,
                                       const ImageFolderOptions& options);

/// The middle square of (C, H, W), scaled with area averaging or bilinear interpolation:
/// (C, size, size).
Tensor fit_square(const Tensor& image, std::int64_t size);

}  // namespace tapestry::data

#endif  // TAPESTRY_DATASETS_FILES_H_
