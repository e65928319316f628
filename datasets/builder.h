// Datasets from settings.
#ifndef TAPESTRY_DATASETS_BUILDER_H_
#define TAPESTRY_DATASETS_BUILDER_H_

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/config.h"
#include "datasets/loader.h"

namespace tapestry::data {

/// "data" in a config.
struct DataSetting {
  std::string type = "fashion_mnist";
  std::string source = "mini";         // fashion_mnist
  std::string folder;                  // cifar10, cifar100, image_folder
  std::int64_t size = 28;              // pictures are resized to size × size
  std::int64_t channels = 3;           // image_folder
  std::string on_bad_image = "error";  // image_folder
  std::int64_t count = 2000;           // synthetic sets
  std::vector<double> range{0, 1};     // pixels are mapped from [0, 1] to this
  double flip = 0;                     // probability of a left-right flip in training
};
void describe(Fields& fields, DataSetting& setting);

/// A training set and a test set of one kind. Relative folders count from `base`. Synthetic sets
/// are drawn from `rng`; their test set is a fresh one.
struct DataPair {
  std::unique_ptr<Dataset> train, test;
};
DataPair make_data(const DataSetting& setting, const std::filesystem::path& base, const Rng& rng);
/// The random flips the setting asks for; empty if none.
Augment make_augment(const DataSetting& setting);

}  // namespace tapestry::data

#endif  // TAPESTRY_DATASETS_BUILDER_H_
