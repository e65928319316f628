// What a dataset is to the rest of Tapestry: numbered examples, each an image (or a point) and a
// label.
#ifndef TAPESTRY_DATASETS_DATASET_H_
#define TAPESTRY_DATASETS_DATASET_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace tapestry::data {

/// One example. Images are (C, H, W) in [0, 1]; points are (D). The label is 0 where a set has
/// none.
struct Example {
  Tensor image;
  std::int32_t label = 0;
};

/// Examples 0 … size() − 1. get() is const, thread-safe, and gives the same bits for the same
/// number every time.
class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual std::int64_t size() const = 0;
  virtual Example get(std::int64_t index) const = 0;
  /// Number of classes; 1 for a set without labels.
  virtual int classes() const { return 1; }
  /// Shape of every example: (C, H, W) or (D).
  virtual Shape shape() const { return get(0).image.shape(); }
  /// One line for logs and reports: what it is, how many, from where.
  virtual std::string describe() const = 0;
};

/// Examples stacked: images (N, …) and one label each.
struct Batch {
  Tensor images;
  std::vector<std::int32_t> labels;
};
/// Stacks the numbered examples of a set. Throws Error when their shapes differ.
Batch collect(const Dataset& dataset, const std::vector<std::int64_t>& indices);
/// The first `count` examples (all, if fewer).
Batch first(const Dataset& dataset, std::int64_t count);

/// Examples held in memory: images (N, C, H, W) in [0, 1] or points (N, D), and a label each.
class InMemory : public Dataset {
 public:
  InMemory(Tensor images, std::vector<std::int32_t> labels, int classes, std::string description);
  std::int64_t size() const override { return images_.dim(0); }
  Example get(std::int64_t index) const override;
  int classes() const override { return classes_; }
  std::string describe() const override { return description_; }
  const Tensor& images() const { return images_; }
  const std::vector<std::int32_t>& labels() const { return labels_; }

 private:
  Tensor images_;
  std::vector<std::int32_t> labels_;
  int classes_;
  std::string description_;
};

}  // namespace tapestry::data

#endif  // TAPESTRY_DATASETS_DATASET_H_
