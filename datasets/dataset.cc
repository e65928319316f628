#include "datasets/dataset.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace tapestry::data {

Batch collect(const Dataset& dataset, const std::vector<std::int64_t>& indices) {
  if (indices.empty()) throw Error("dataset", "a batch needs at least one example");
  Batch batch;
  Real* to = nullptr;
  for (const std::int64_t index : indices) {
    const Example example = dataset.get(index);
    const std::vector<std::int64_t> extents = example.image.shape().extents();
    if (to == nullptr) {
      std::vector<std::int64_t> all{static_cast<std::int64_t>(indices.size())};
      all.insert(all.end(), extents.begin(), extents.end());
      batch.images = Tensor::empty(Shape(all));
      to = batch.images.mutable_data().data();
    } else if (example.image.size() * static_cast<std::int64_t>(indices.size()) !=
               batch.images.size()) {
      throw Error("dataset", "example {} has another shape than the ones before it", index)
          .shape("example", example.image)
          .shape("batch", batch.images)
          .hint("give the data a \"size\", so that all images are resized alike");
    }
    to = std::copy(example.image.data().begin(), example.image.data().end(), to);
    batch.labels.push_back(example.label);
  }
  return batch;
}

Batch first(const Dataset& dataset, std::int64_t count) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min(count, dataset.size())));
  std::iota(indices.begin(), indices.end(), 0);
  return collect(dataset, indices);
}

InMemory::InMemory(Tensor images, std::vector<std::int32_t> labels, int classes,
                   std::string description)
    : images_(std::move(images)),
      labels_(std::move(labels)),
      classes_(classes),
      description_(std::move(description)) {
  if (images_.rank() < 2 || images_.dim(0) != static_cast<std::int64_t>(labels_.size())) {
    throw Error("dataset", "{} labels for the images", labels_.size())
        .shape("images", images_, "(N, …)");
  }
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    if (labels_[i] < 0 || labels_[i] >= classes_) {
      throw Error("dataset", "label {} of example {} is outside 0 … {}", labels_[i], i,
                  classes_ - 1);
    }
  }
}

Example InMemory::get(std::int64_t index) const {
  if (index < 0 || index >= size())
    throw Error("dataset", "there is no example {}; the set has {}", index, size());
  const std::vector<std::int64_t> extents = images_.shape().extents();
  const Shape shape{std::span(extents).subspan(1)};
  return {images_.view(shape, index * shape.size()), labels_[static_cast<std::size_t>(index)]};
}

}  // namespace tapestry::data
