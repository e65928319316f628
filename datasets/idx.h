// IDX files, the format of MNIST and its relatives, plain or gzipped; and Fashion-MNIST from the
// shipped slice or in full.
#ifndef TAPESTRY_DATASETS_IDX_H_
#define TAPESTRY_DATASETS_IDX_H_

#include <filesystem>
#include <memory>
#include <string>

#include "datasets/dataset.h"

namespace tapestry::data {

/// Images and labels from a pair of IDX files of unsigned bytes: images (N, H, W) as (1, H, W) in
/// [0, 1], labels (N). Names ending in .gz are unpacked. Throws Error naming the file, the byte or
/// index, what was found and what was expected.
std::unique_ptr<InMemory> read_idx(const std::filesystem::path& images,
                                   const std::filesystem::path& labels, int classes = 10);

/// Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), 28 × 28 grey, 10 classes.
/// source "mini": the 2,000 training and 1,000 test images in datasets/mini. source "full": 60,000
/// and 10,000, from $TAPESTRY_DATA or where the Debian package dataset-fashion-mnist puts them;
/// when they are not there, an Error with Fault::kEnvironment says how to get them. Never one in
/// place of the other.
std::unique_ptr<InMemory> fashion_mnist(const std::string& source, bool train);

/// A file of the datasets folder: of the source tree the program was built from, of an
/// installation, or of $TAPESTRY_DATA.
std::filesystem::path shipped_file(const std::string& name);

}  // namespace tapestry::data

#endif  // TAPESTRY_DATASETS_IDX_H_
